"""Cells of the tables: an estimator in a row at a budget, its runs and its records.

Of a cell's grid the best point is trained again with final seeds, which read the test
set and leave the records.
"""

import dataclasses
import functools
import importlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments.engine.fields import flatten
from experiments.reproduction import records
from experiments.reproduction.published import TABLES, Budget, Column, Row
from experiments.reproduction.runs import (
    TRAIN_ONLY,
    Run,
    complete,
    evaluate,
    product,
    validate,
    with_fields,
)
from gumbel.estimators import ESTIMATORS

# Beyond the tolerance, worse or better than published.
WORSE, BETTER = "✗", "✓"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One estimator in one row of a table: a grid, a choice, final runs, records.

    Attributes:
        table: its name.
        row: the network.
        estimator: published there or not.
        budget: one of BUDGETS.
        seeds: number of final runs, instead of the budget's.
        data_dir: folder of the data of rows on Omniglot.
    """

    table: str
    row: Row
    estimator: str
    budget: str = "cpu"
    seeds: int | None = None
    data_dir: str | None = None

    @property
    def name(self) -> str:
        """ROW-ESTIMATOR."""
        return f"{self.row.name}-{self.estimator}"

    @property
    def spent(self) -> Budget:
        """The budget of the table."""
        return TABLES[self.table].budgets[self.budget]

    @property
    def num_seeds(self) -> int:
        """The number of final runs; seed n sets every field of the config called so."""
        return self.seeds or self.spent.seeds

    @property
    def grid(self) -> Mapping[str, tuple]:
        """The values of fields among which validation chooses; may be empty."""
        return self.spent.grid(self.name)

    @property
    def folder(self) -> Path:
        """The folder of the records."""
        return records.RESULTS / self.table / self.budget

    @functools.cached_property
    def config(self) -> ConfigDict:
        """The config of the final runs, but for grid and seeds."""
        module = importlib.import_module(f"configs.{self.row.experiment}")
        fields = {**self.row.fields, **self.spent.fields, "estimator": self.estimator}
        fields |= self.spent.options.get(self.estimator, {})
        if "dataset.name" in fields:
            fields["dataset.data_dir"] = self.data_dir
        return with_fields(module.get_config(self.row.variant), fields)

    def _run(self, text: str, fields: Mapping[str, Any], seed: int, **options) -> Run:
        names = flatten(self.config.to_dict())
        seeds = {name: seed for name in names if name.split(".")[-1] == "seed"}
        config = with_fields(self.config, seeds | dict(fields))
        where = self.row.experiment, self.row.variant, config
        return Run(*where, f"{self.table}/{self.name}, {text}", **options)

    def points(self) -> list[Run]:
        """The points of the grid, trained for a fraction of the steps."""
        steps = max(1, round(self.spent.fraction * self.config.num_steps))
        return [
            self._run(
                ", ".join(f"{field}={value}" for field, value in values.items()),
                values | {"num_steps": steps},
                seed=0,
                finish=validate,
                output="validation.json",
                values=values,
            )
            for values in (product(self.grid) if self.grid else ())
        ]

    def selection(self) -> list[dict[str, Any]] | None:
        """Values and validation of every point of the grid; None while one is left."""
        points = self.points()
        if not all(point.is_done for point in points):
            return None
        return [point.values | json.loads(point.file.read_text()) for point in points]

    def finals(self, selection: Sequence[Mapping[str, Any]] | None = None) -> list[Run]:
        """The final runs; none where the whole grid diverged.

        Args:
            selection: of `selection`, the choice among which is set; while there is
                none, the config stands for what is chosen.
        """
        values = choose(selection, self.grid) if selection else {}
        # A temperature may have moved its floor.
        free = (*self.grid, *["schedule.minimum"] * ("temperature" in self.grid))
        return [
            self._run(
                f"seed {seed}",
                values,
                seed,
                finish=functools.partial(evaluate, selection=selection or ()),
                record=self.folder / f"{self.name}-seed{seed}.json",
                free=free,
            )
            for seed in range(0 if values is None else self.num_seeds)
        ]

    def recorded(self) -> list[Run]:
        """The final runs that have a record."""
        return [run for run in self.finals() if run.is_done]

    def left(self) -> list[Run]:
        """The runs that are not done, in order; none where the whole grid diverged."""
        if len(self.recorded()) == self.num_seeds:
            return []
        selection = self.selection()
        points = self.points() if selection is None else []
        return [run for run in points + self.finals(selection) if not run.is_done]

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return not self.left()

    def commands(self) -> list[str]:
        """The commands of what is left; before a choice CHOSEN stands for it."""
        is_open = self.selection() is None
        chosen = "".join(f" --config.{field}=CHOSEN" for field in self.grid) * is_open
        return [
            run.command() + (TRAIN_ONLY if run.record is None else chosen)
            for run in self.left()
        ]

    def complete(self, announce: Callable[[Run], None]) -> None:
        """Does what is left; see `runs.complete`."""
        if self.is_done:
            return
        complete(self.points(), announce)
        finals = self.finals(self.selection())
        complete(finals, announce)
        if not finals:
            print(f"{self.table}/{self.name}: diverged at every point")

    @property
    def files(self) -> list[Path]:
        """The records that are there, in order of their seeds."""
        return sorted(
            self.folder.glob(f"{self.name}-seed[0-9]*.json"),
            key=lambda path: int(path.stem.rpartition("-seed")[2]),
        )

    @functools.cached_property
    def records(self) -> list[dict[str, Any]]:
        """The contents of `files`."""
        return [records.read_record(file) for file in self.files]

    @property
    def whole(self) -> list[dict[str, Any]]:
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
        columns = TABLES[self.table].published_columns
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


def choose(
    selection: Sequence[Mapping[str, Any]], fields: Iterable[str]
) -> dict[str, Any] | None:
    """The values of the best point of a selection; None if all of them diverged."""
    points = [point for point in selection if "diverged" not in point]
    if not points:
        return None
    best = min(points, key=lambda point: point["chosen_by"])
    return {name: best[name] for name in fields}


def table_cells(
    table: str, budget: str, estimators: Sequence[str] = (), **options
) -> list[Cell]:
    """The cells of a table, of some estimators instead of the published ones."""
    return [
        Cell(table, row, estimator, budget, **options)
        for row in TABLES[table].rows
        for estimator in estimators or row.published
    ]


def recorded_cells(table: str, budget: str = "cpu") -> list[Cell]:
    """The cells of a table that have records, row by row, first of the published."""
    every = [
        Cell(table, row, estimator, budget)
        for row in TABLES[table].rows
        for estimator in dict.fromkeys([*row.published, *ESTIMATORS])
    ]
    return [cell for cell in every if cell.files]


def by_row(cells: Iterable[Cell]) -> dict[str, dict[str, Cell]]:
    """Cells by row and estimator."""
    rows: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        rows.setdefault(cell.row.name, {})[cell.estimator] = cell
    return rows


def means(cells: Iterable[Cell], column: Column) -> dict[str, dict[str, float]]:
    """The means over seeds, by row and estimator, of what did not diverge."""
    return {
        row: {name: cell.mean(column) for name, cell in same.items() if cell.whole}
        for row, same in by_row(cells).items()
    }


def best(cells: Iterable[Cell], column: Column) -> dict[str, str]:
    """The estimator with the lowest mean of each row that has several."""
    rows = means(cells, column)
    return {row: min(x, key=x.get) for row, x in rows.items() if len(x) > 1}


def label(row: Row, separator: str = ", ") -> str:
    """The experiment and the variant of a row."""
    return f"{row.experiment.replace('_', ' ')}{separator}{row.variant}"
