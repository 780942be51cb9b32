"""Entries of the tables: the records of an estimator in a row, and their numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.reproduction import records
from experiments.reproduction.published import TABLES, Column, Row
from gumbel.estimators import ESTIMATORS

# Beyond the tolerance, worse or better than published; a choice at an edge.
WORSE, BETTER, EDGE = "✗", "✓", "◂"


class Entry(NamedTuple):
    """The records of an estimator in a row.

    Attributes:
        table: its name.
        row: the row.
        estimator: published there or not.
        files: of the records.
        records: in order of their seeds.
    """

    table: str
    row: Row
    estimator: str
    files: Sequence[Path]
    records: Sequence[Mapping[str, Any]]

    @property
    def whole(self) -> list[Mapping[str, Any]]:
        """The records of runs that did not diverge."""
        return [record for record in self.records if "result" in record]

    def numbers(self, column: Column) -> list[float]:
        """The numbers of a column, one a seed."""
        results = [record["result"][column.split] for record in self.whole]
        return [column.scale * result[column.name] for result in results]

    def mean(self, column: Column) -> float | None:
        """The mean over seeds; None where all of them diverged."""
        numbers = self.numbers(column)
        return float(np.mean(numbers)) if numbers else None

    def spread(self, column: Column) -> float | None:
        """The standard deviation over seeds, or the standard error of a single one."""
        numbers = self.numbers(column)
        if len(numbers) > 1:
            return float(np.std(numbers, ddof=1))
        result = self.whole[0]["result"][column.split] if numbers else {}
        stderr = result.get(f"{column.name}_stderr")
        return None if stderr is None else column.scale * stderr

    def published(self, column: Column) -> float | None:
        """The published number of a column, where there is one."""
        columns = [c for c in TABLES[self.table].columns if c.is_published]
        numbers = self.row.published.get(self.estimator, ())
        return dict(zip(columns, numbers, strict=False)).get(column)

    def mark(self, column: Column) -> str:
        """The mark of the mean beside the published number: WORSE, BETTER or none."""
        if (mean := self.mean(column)) is None:
            return WORSE
        difference = mean - self.published(column)
        if abs(difference) <= column.tolerance:
            return ""
        return BETTER if (difference > 0) == column.more_is_better else WORSE


def read(table: str, budget: str) -> list[Entry]:
    """The records of a table, row by row: first of the published estimators."""
    entries, folder = [], records.RESULTS / table / budget
    for row in TABLES[table].rows:
        others = [e for e in ESTIMATORS if e not in row.published]
        for estimator in [*row.published, *others]:
            files = sorted(
                folder.glob(f"{row.name}-{estimator}-seed[0-9]*.json"),
                key=lambda path: int(path.stem.rpartition("-seed")[2]),
            )
            if files:
                contents = [records.read_record(file) for file in files]
                entries.append(Entry(table, row, estimator, files, contents))
    return entries


def find(table: str, row: str, estimator: str) -> Entry:
    """The entry of an estimator in a row at budget `cpu`, which must be there."""
    every = read(table, "cpu")
    (entry,) = (e for e in every if (e.row.name, e.estimator) == (row, estimator))
    return entry


def means(entries: Sequence[Entry], column: Column) -> dict[str, dict[str, float]]:
    """The means over seeds, by row and estimator, of what did not diverge."""
    rows: dict[str, dict[str, float]] = {}
    for entry in entries:
        row = rows.setdefault(entry.row.name, {})
        if entry.whole:
            row[entry.estimator] = entry.mean(column)
    return rows


def best(entries: Sequence[Entry], column: Column) -> dict[str, str]:
    """The estimator with the lowest mean of each row that has several."""
    rows = means(entries, column)
    return {row: min(x, key=x.get) for row, x in rows.items() if len(x) > 1}


def label(row: Row, separator: str = ", ") -> str:
    """The experiment and the variant of a row."""
    return f"{row.experiment.replace('_', ' ')}{separator}{row.variant}"
