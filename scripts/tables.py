"""All tables and figures that there are to reproduce, by name."""

from collections.abc import Mapping

from scripts.later import LATER
from scripts.published import FIGURES, PAPERS, Table

__all__ = ["FIGURES", "TABLES"]

TABLES: Mapping[str, Table] = {**PAPERS, **LATER}
