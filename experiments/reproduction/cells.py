"""Cells of the tables: an estimator in a row at a budget, from its grid to its records.

The best point of a cell's grid is trained again with final seeds, which read the test
set.
"""

import dataclasses
import functools
import importlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments.engine.fields import flatten
from experiments.reproduction import records
from experiments.reproduction.budgets import TABLE_BUDGETS
from experiments.reproduction.published import TABLES, Row
from experiments.reproduction.runs import (
    TRAIN_ONLY,
    Run,
    complete,
    evaluate,
    product,
    run_directory,
    validate,
    with_fields,
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One estimator in one row of a table: a grid, a choice, final runs.

    Attributes:
        table: its name.
        row: name of the row.
        experiment: module of experiments/ and of configs/.
        variant: of the config.
        config: of the final runs, but for the fields of the grid and the seeds.
        grid: values of fields among which the validation set chooses; may be empty.
        fraction: of the steps, after which it chooses.
        seeds: number of final runs; seed n sets every field of the config called seed.
        folder: of the records.
    """

    table: str
    row: str
    experiment: str
    variant: str
    config: ConfigDict
    grid: Mapping[str, Sequence]
    fraction: float
    seeds: int
    folder: Path

    @property
    def name(self) -> str:
        """ROW-ESTIMATOR."""
        return f"{self.row}-{self.config.estimator}"

    def points(self) -> list[Run]:
        """The points of the grid, trained for a fraction of the steps."""
        steps = max(1, round(self.fraction * self.config.num_steps))
        return [self._point(values, steps) for values in product(self.grid)]

    def _point(self, values: Mapping[str, Any], steps: int) -> Run:
        fields = self._seed(0) | dict(values) | {"num_steps": steps}
        config = with_fields(self.config, fields)
        text = ", ".join(f"{field}={value}" for field, value in values.items())
        file = run_directory(self.experiment, self.variant, config) / "validation.json"
        name = f"{self.table}/{self.name}, {text}"
        return Run(self.experiment, self.variant, config, name, file, validate)

    def _seed(self, seed: int) -> dict[str, int]:
        names = flatten(self.config.to_dict())
        return {name: seed for name in names if name.split(".")[-1] == "seed"}

    def finals(self, selection: Sequence[Mapping[str, Any]] | None = None) -> list[Run]:
        """The final runs; before a choice the config stands for what is chosen.

        Args:
            selection: of `selection`, the choice among which is set.
        """
        values = choose(selection, self.grid) if selection else {}
        return [
            Run(
                self.experiment,
                self.variant,
                with_fields(self.config, self._seed(seed) | values),
                f"{self.table}/{self.name}, seed {seed}",
                self.folder / f"{self.name}-seed{seed}.json",
                functools.partial(evaluate, selection=selection or ()),
                is_final=True,
                # A temperature may have moved its floor.
                free=(*self.grid, *["schedule.minimum"] * ("temperature" in self.grid)),
            )
            for seed in range(self.seeds)
        ]

    def selection(self) -> list[dict[str, Any]] | None:
        """Values and validation of every point of the grid; None while one is left."""
        files = [point.file for point in self.points()]
        if not all(file.exists() for file in files):
            return None
        pairs = zip(product(self.grid), files, strict=True)
        return [values | json.loads(file.read_text()) for values, file in pairs]

    def left(self) -> list[Run]:
        """The runs that are not done, in order; none where the whole grid diverged."""
        finals = [run for run in self.finals() if not run.is_done]
        if not finals or not self.grid:
            return finals
        selection = self.selection()
        if selection is None:
            return [run for run in self.points() if not run.is_done] + finals
        if choose(selection, self.grid) is None:
            return []
        return [run for run in self.finals(selection) if not run.is_done]

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return not self.left()

    def recorded(self) -> list[Run]:
        """The final runs that have a record."""
        return [run for run in self.finals() if run.is_done]

    def commands(self) -> list[str]:
        """The commands of what is left; before a choice CHOSEN stands for it."""
        is_open = self.grid and self.selection() is None
        chosen = "".join(f" --config.{field}=CHOSEN" for field in self.grid)
        return [
            run.command()
            + ((chosen if is_open else "") if run.is_final else TRAIN_ONLY)
            for run in self.left()
        ]

    def complete(self, announce: Callable[[Run], None]) -> None:
        """Does what is left; see `complete`."""
        if self.is_done:
            return
        if not self.grid:
            return complete(self.finals(), announce)
        complete(self.points(), announce)
        selection = self.selection()
        if choose(selection, self.grid) is None:
            return print(f"{self.table}/{self.name}: diverged at every point")
        return complete(self.finals(selection), announce)


def choose(
    selection: Sequence[Mapping[str, Any]], fields: Iterable[str]
) -> dict[str, Any] | None:
    """The values of the best point of a selection; None if all of them diverged."""
    points = [point for point in selection if "diverged" not in point]
    if not points:
        return None
    best = min(points, key=lambda point: point["chosen_by"])
    return {name: best[name] for name in fields}


def row_cell(
    table: str,
    row: Row,
    estimator: str,
    budget: str,
    *,
    seeds: int | None = None,
    data_dir: str | None = None,
) -> Cell:
    """The cell of an estimator in a row.

    Args:
        table: name of the row's table.
        row: the row.
        estimator: a name, published there or not.
        budget: one of BUDGETS.
        seeds: instead of the budget's.
        data_dir: folder of the data of rows on Omniglot.
    """
    spent = TABLE_BUDGETS[table][budget]
    get_config = importlib.import_module(f"configs.{row.experiment}").get_config
    fields = {**row.fields, **spent.fields, "estimator": estimator}
    fields |= spent.options.get(estimator, {})
    if "dataset.name" in fields:
        fields["dataset.data_dir"] = data_dir
    return Cell(
        table=table,
        row=row.name,
        experiment=row.experiment,
        variant=row.variant,
        config=with_fields(get_config(row.variant), fields),
        grid=spent.grid(f"{row.name}-{estimator}"),
        fraction=spent.fraction,
        seeds=seeds or spent.seeds,
        folder=records.RESULTS / table / budget,
    )


def table_cells(
    table: str, budget: str, estimators: Sequence[str] = (), **options
) -> list[Cell]:
    """The cells of a table, of some estimators instead of the published ones.

    Args:
        table: its name.
        budget: one of BUDGETS.
        estimators: names.
        **options: of `row_cell`.
    """
    return [
        row_cell(table, row, estimator, budget, **options)
        for row in TABLES[table].rows
        for estimator in estimators or row.published
    ]
