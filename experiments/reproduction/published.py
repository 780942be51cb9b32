"""Published tables as data: every row as a run of ours, and the numbers as printed.

The numbers stand in published.csv, a line for each estimator of a row. [1] is Jang, Gu
& Poole (2017), [2] is Maddison, Mnih & Teh (2017), RELAX is Grathwohl et al. (2018),
ReinMax Liu et al. (2023), GR-MC Paulus, Maddison & Krause (2021). What the later papers
have and we do not is in a table's title; where they give no detail of a network it is
the nearest of [2]'s. RELAX's REBAR learns its temperature. Bounds are in nats, as nll,
and accuracies in %, on MNIST unless a row says Omniglot.
"""

import ast
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gumbel.estimators import ESTIMATORS


class Column(NamedTuple):
    """A number of a run: result[split][name], times the scale.

    The tolerance is the noise of a published number, of which the papers print no
    error bars; None where they have no such number.
    """

    label: str
    split: str
    name: str
    tolerance: float | None
    scale: float = 1.0

    @property
    def is_published(self) -> bool:
        """Whether the papers have this number."""
        return self.tolerance is not None

    @property
    def more_is_better(self) -> bool:
        """Whether it is an accuracy and no bound as nll."""
        return self.name == "accuracy"


class Row(NamedTuple):
    """One network on one data set.

    Attributes:
        name: in the table.
        experiment: module of experiments/ and of configs/.
        variant: of its config.
        fields: what differs from that variant.
        published: by estimator, a number for each column that has a tolerance, or none.
    """

    name: str
    experiment: str
    variant: str
    fields: Mapping[str, Any]
    published: Mapping[str, tuple[float, ...]]


class Table(NamedTuple):
    """A table of a paper.

    Attributes:
        title: in the paper, and how ours differs.
        columns: numbers of every row.
        rows: networks.
        at_a_glance: whether results/README.md has a row an estimator and a column a
            network, and the whole table stands beside the records.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    at_a_glance: bool = False

    @property
    def published_columns(self) -> list[Column]:
        """The columns whose numbers the papers have."""
        return [column for column in self.columns if column.is_published]


def _read_rows() -> dict[str, tuple[Row, ...]]:
    tables: dict[str, dict[str, Row]] = {}
    with Path(__file__).with_name("published.csv").open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            numbers = tuple(map(float, line["published"].split()))
            fields = dict(pair.split("=") for pair in line["fields"].split())
            fields = {name: _literal(text) for name, text in fields.items()}
            name, rows = line["row"], tables.setdefault(line["table"], {})
            row = Row(name, line["experiment"], line["variant"], fields, {})
            rows.setdefault(name, row).published[line["estimator"]] = numbers
    return {table: tuple(rows.values()) for table, rows in tables.items()}


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except ValueError:
        return text


_ROWS = _read_rows()


def _later_rows(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows of [1], with every estimator that can train them with m = 1."""
    # 2^200 or 10^20 joint values are too many to enumerate.
    able = {n: x for n, x in ESTIMATORS.items() if x.samples[0] == 1 and n != "exact"}
    return tuple(
        row._replace(
            name=f"later-{row.name}",
            published={
                name: row.published.get(name, ())
                for name, entry in able.items()
                if row.variant.capitalize() in entry.families
            },
        )
        for row in rows
    )


_NLL = Column("test nll", "test", "nll", 0.5)
_TRAIN_NLL = Column("train nll", "train", "nll", 0.5)
_L1 = Column("L_1", "test", "nll_1", None)
_TEST_L1 = Column("test L_1", "test", "nll_1", None)
_TRAIN_L1 = Column("train L_1", "train", "nll_1", 0.5)
_ACCURACY = Column("test accuracy, %", "test", "accuracy", 1.5, 100.0)
_VALID_ACCURACY = Column("validation accuracy, %", "valid", "accuracy", None, 100.0)

TABLES: Mapping[str, Table] = {
    "jang_table1": Table("Table 1 of [1]", (_NLL, _L1), _ROWS["jang_table1"]),
    "jang_table2": Table(
        "Table 2 of [1]",
        (_ACCURACY, _TEST_L1._replace(tolerance=0.5), _VALID_ACCURACY),
        _ROWS["jang_table2"],
    ),
    "kingma_m2": Table(
        "M2 of Kingma et al. (2014), fully connected",
        (_ACCURACY, _TEST_L1, _VALID_ACCURACY),
        _ROWS["kingma_m2"],
    ),
    "maddison_table1": Table(
        "Table 1 of [2]", (_NLL, _TRAIN_NLL), _ROWS["maddison_table1"]
    ),
    "maddison_table2": Table(
        "Table 2 of [2]", (_NLL, _TRAIN_NLL), _ROWS["maddison_table2"]
    ),
    "maddison_structured": Table(
        "Figure 4, left, of [2]", (_NLL, _TRAIN_NLL), _ROWS["maddison_structured"]
    ),
    "later_table1": Table(
        "Every estimator in the experiments of Table 1 of [1], at equal budgets",
        (_NLL, _L1),
        _later_rows(_ROWS["jang_table1"]),
        at_a_glance=True,
    ),
    "relax": Table(
        "Training bounds of RELAX, there the highest of a run, here where validation "
        "is best, with the temperatures of [2]",
        (_TRAIN_L1, _TEST_L1),
        _ROWS["relax"],
    ),
    "gr_mc": Table(
        "Test bounds of GR-MC, here in networks and at temperatures of [2]",
        (_NLL,),
        _ROWS["gr_mc"],
    ),
    "reinmax": Table(
        "Training bounds of ReinMax, there of grey pixels, here of binary ones drawn "
        "from these",
        (_TRAIN_L1, _TEST_L1),
        _ROWS["reinmax"],
    ),
}

# [1], Figure 5: steps per second of one sample to those of marginalisation, by the
# number of classes.
JANG_FIGURE5 = {10: 2.0, 100: 9.9}
