"""All tables and figures that there are to reproduce, by name."""

from collections.abc import Mapping

from experiments.reproduction import published
from experiments.reproduction.later import LATER, SWEEPS
from experiments.reproduction.published import PAPERS, Figure, Table

__all__ = ["FIGURES", "TABLES"]

TABLES: Mapping[str, Table] = {**PAPERS, **LATER}
FIGURES: Mapping[str, Figure] = {**published.FIGURES, **SWEEPS}
