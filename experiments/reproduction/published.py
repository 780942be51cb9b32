"""Published tables as data: every row as a run of ours, and the numbers as printed.

The numbers stand in published.csv, a line for each estimator of a row; titles, columns
and budgets in tables.toml. [1] is Jang, Gu & Poole (2017), [2] is Maddison, Mnih & Teh
(2017), RELAX is Grathwohl et al. (2018), ReinMax Liu et al. (2023), GR-MC Paulus,
Maddison & Krause (2021). What the later papers have and we do not is in a table's
title; where they give no detail of a network it is the nearest of [2]'s. RELAX's REBAR
learns its temperature. Bounds are in nats, as nll, and accuracies in %, on MNIST unless
a row says Omniglot.
"""

import ast
import csv
import tomllib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from gumbel.estimators import ESTIMATORS

BUDGETS = ("smoke", "cpu", "paper")


class Column(NamedTuple):
    """A number of a run: result[split][name], times the scale.

    The tolerance is None where the papers have no such number.
    """

    label: str
    split: str
    name: str
    tolerance: float | None = None
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


class Budget(NamedTuple):
    """The runs of a cell; what the fields mean is in tables.toml."""

    fields: Mapping[str, Any]
    grids: Mapping[str, Mapping[str, tuple]]
    seeds: int
    fraction: float
    options: Mapping[str, Mapping[str, Any]]

    def grid(self, cell: str) -> Mapping[str, tuple]:
        """The grid of a cell, ROW-ESTIMATOR: that of the last pattern it matches."""
        return [grid for glob, grid in self.grids.items() if fnmatch(cell, glob)][-1]


class Table(NamedTuple):
    """A table of a paper.

    Attributes:
        title: in the paper, and how ours differs.
        columns: numbers of every row.
        rows: networks.
        budgets: by name.
        at_a_glance: whether results/README.md has a row an estimator and a column a
            network, and the whole table stands beside the records.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    budgets: Mapping[str, Budget]
    at_a_glance: bool

    @property
    def published_columns(self) -> list[Column]:
        """The columns whose numbers the papers have."""
        return [column for column in self.columns if column.is_published]


def _read_rows() -> dict[str, list[Row]]:
    tables: dict[str, dict[str, Row]] = {}
    with Path(__file__).with_name("published.csv").open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            numbers = tuple(map(float, line["published"].split()))
            fields = dict(pair.split("=") for pair in line["fields"].split())
            fields = {name: _literal(text) for name, text in fields.items()}
            name, rows = line["row"], tables.setdefault(line["table"], {})
            row = Row(name, line["experiment"], line["variant"], fields, {})
            rows.setdefault(name, row).published[line["estimator"]] = numbers
    return {table: list(rows.values()) for table, rows in tables.items()}


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except ValueError:
        return text


def _with_every_estimator(rows: Sequence[Row]) -> list[Row]:
    """Rows with every estimator that can train them with m = 1."""
    # 2^200 or 10^20 joint values are too many to enumerate.
    able = {n: x for n, x in ESTIMATORS.items() if x.samples[0] == 1 and n != "exact"}
    return [
        row._replace(
            name=f"later-{row.name}",
            published={
                name: row.published.get(name, ())
                for name, entry in able.items()
                if row.variant.capitalize() in entry.families
            },
        )
        for row in rows
    ]


def _read_tables() -> dict[str, Table]:
    text = Path(__file__).with_name("tables.toml").read_text(encoding="utf-8")
    contents, rows = tomllib.loads(text), _read_rows()
    columns = {name: Column(**x) for name, x in contents.pop("columns").items()}
    options = contents.pop("options")

    def budget(table: str, name: str) -> Budget:
        own = dict(contents[table][name])
        own["fields"] = _tuples(own.get("fields", {}))
        own["options"] = options | own.get("options", {})
        if "grids" in own:
            own["grids"] = _tuples(own["grids"])
        if "like" not in own:
            return Budget(**own)
        like = budget(*own.pop("like").split("."))
        return like._replace(**own | {"fields": like.fields | own["fields"]})

    tables = {}
    for name, table in contents.items():
        copied = table.get("every_estimator_of")
        tables[name] = Table(
            table["title"],
            [columns[column] for column in table["columns"]],
            _with_every_estimator(rows[copied]) if copied else rows[name],
            {each: budget(name, each) for each in BUDGETS},
            at_a_glance=copied is not None,
        )
    return tables


def _tuples(value: Any) -> Any:
    """A value of TOML with tuples, which configs have, instead of lists."""
    if isinstance(value, dict):
        return {name: _tuples(each) for name, each in value.items()}
    return tuple(value) if isinstance(value, list) else value


TABLES: Mapping[str, Table] = _read_tables()

# [1], Figure 5: steps per second of one sample to those of marginalisation, by the
# number of classes.
JANG_FIGURE5 = {10: 2.0, 100: 9.9}
