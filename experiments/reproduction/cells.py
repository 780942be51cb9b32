"""The cells of tables at a budget, and the figures."""

import importlib
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments import REPOSITORY
from experiments.reproduction import records
from experiments.reproduction.budgets import FIGURE_BUDGETS, TABLE_BUDGETS
from experiments.reproduction.published import FIGURES, TABLES, Row
from experiments.reproduction.runs import Cell, Run, with_fields


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


class FigureRun(NamedTuple):
    """A figure: the arguments of its script, and the folder that this writes."""

    table: str
    arguments: tuple[str, ...]
    folder: Path

    @property
    def name(self) -> str:
        """The name that a pattern matches."""
        return self.table

    row = name

    @property
    def is_done(self) -> bool:
        """Whether the script has left its file."""
        return (self.folder / FIGURES[self.table].file).exists()

    def commands(self) -> list[str]:
        """The command that makes the figure, where it is not there."""
        script = f"scripts/{FIGURES[self.table].script}.py"
        line = shlex.join(["python", script, *self.arguments])
        return [] if self.is_done else [line.replace(f"{REPOSITORY}/", "")]

    def complete(self, announce: Callable[[Run], None]) -> None:
        """Runs the script, which announces its runs itself."""
        del announce
        print(*self.commands(), flush=True)
        script = REPOSITORY / "scripts" / f"{FIGURES[self.table].script}.py"
        subprocess.run([sys.executable, str(script), *self.arguments], check=True)


def figure_run(table: str, budget: str, seeds: int | None = None) -> FigureRun:
    """A figure at a budget."""
    folder = records.RESULTS / table / budget
    arguments = *FIGURE_BUDGETS[table][budget], f"{FIGURES[table].out}{folder}"
    if seeds and FIGURES[table].script == "sweep":
        arguments += (f"--seeds={seeds}",)
    return FigureRun(table, arguments, folder)
