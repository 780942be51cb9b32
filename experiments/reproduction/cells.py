"""What there is to reproduce: the cells of tables at a budget, and the figures."""

import importlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments import REPOSITORY
from experiments.reproduction import grid, records
from experiments.reproduction.budgets import FIGURE_BUDGETS, TABLE_BUDGETS
from experiments.reproduction.published import Row
from experiments.reproduction.runs import Cell
from experiments.reproduction.tables import FIGURES, TABLES


def row_cell(
    table: str,
    row: Row,
    estimator: str,
    budget: str,
    *,
    seeds: int | None = None,
    data_dir: str | None = None,
) -> Cell:
    """What an estimator makes of a row.

    Args:
        table: the row's.
        row: the row.
        estimator: a name, published there or not.
        budget: of BUDGETS.
        seeds: instead of the budget's.
        data_dir: of the rows on Omniglot.
    """
    spent = TABLE_BUDGETS[table][budget]
    make = importlib.import_module(f"configs.{row.experiment}").get_config
    fields = {**row.fields, **spent.fields, "estimator": estimator}
    fields |= spent.options.get(estimator, {})
    if "dataset.name" in fields:
        fields["dataset.data_dir"] = data_dir
    return Cell(
        table=table,
        row=row.name,
        experiment=row.experiment,
        variant=row.variant,
        config=grid.point_config(make(row.variant), fields),
        grid=spent.grid(f"{row.name}-{estimator}"),
        fraction=spent.fraction,
        seeds=seeds or spent.seeds,
        folder=records.RESULTS / table / budget,
    )


def table_cells(
    table: str, budget: str, estimators: Sequence[str] = (), **given
) -> list[Cell]:
    """The cells of a table, of some estimators instead of the published ones."""
    return [
        row_cell(table, row, estimator, budget, **given)
        for row in TABLES[table].rows
        for estimator in estimators or row.published
    ]


class Drawn(NamedTuple):
    """A figure: what its script is called with, and the folder that this writes."""

    table: str
    arguments: tuple[str, ...]
    folder: Path

    @property
    def name(self) -> str:
        """The name that a pattern matches."""
        return self.table

    @property
    def is_there(self) -> bool:
        """Whether the script has left its file."""
        return (self.folder / FIGURES[self.table].file).exists()

    def command(self) -> str:
        """The command that makes the figure."""
        script = f"scripts/{FIGURES[self.table].script}.py"
        line = shlex.join(["python", script, *self.arguments])
        return line.replace(f"{REPOSITORY}/", "")

    def make(self) -> None:
        """Runs the script."""
        module = importlib.import_module(f"scripts.{FIGURES[self.table].script}")
        module.main([module.__name__, *self.arguments])


def make_figure(table: str, budget: str, seeds: int | None) -> Drawn:
    """A figure at a budget."""
    folder = records.RESULTS / table / budget
    arguments = *FIGURE_BUDGETS[table][budget], f"{FIGURES[table].out}{folder}"
    if seeds and FIGURES[table].script == "sweep":
        arguments += (f"--seeds={seeds}",)
    return Drawn(table, arguments, folder)
