"""Cells of tables as runs: choose on validation, then evaluate once a seed.

What is left of a cell follows from the files of its runs and its records alone, so that
the same command goes on wherever the last one stopped, and several processes can share
a table.
"""

import importlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from experiments import REPOSITORY, ConfigError
from experiments.cli.config import check_config
from experiments.engine import report
from experiments.engine import run_directory as workdir
from experiments.engine.run_directory import differences, flatten, write_json
from experiments.engine.step import check_task
from experiments.engine.traced import static_fields
from experiments.engine.train import train
from experiments.reproduction import grid
from experiments.reproduction.records import (
    config_of,
    is_of,
    make_record,
    other_numbers,
    read_record,
)


class Cell(NamedTuple):
    """What one estimator makes of one row of a table.

    Attributes:
        table, row: where it stands.
        experiment, variant: of the config.
        config: of its final runs, whose fields of the grid and seeds are set later.
        grid: the values of fields of which the validation set chooses; may be empty.
        fraction: of the steps, after which it chooses.
        seeds: number of final runs; seed n sets every field of the config called seed.
        folder: of its records.
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

    def record(self, seed: int) -> Path:
        """The file of the record of a final run."""
        return self.folder / f"{self.name}-seed{seed}.json"


class Run(NamedTuple):
    """A run of a cell: a point of its grid, or a final run of a seed.

    `values` are those of the fields of the grid; None in a final run before there is a
    choice, when those in its config stand for them.
    """

    cell: Cell
    values: Mapping[str, Any] | None
    seed: int
    is_final: bool

    @property
    def config(self) -> ConfigDict:
        """The config of the run."""
        config = self.cell.config
        names = [n for n in flatten(config.to_dict()) if n.split(".")[-1] == "seed"]
        fields = dict.fromkeys(names, self.seed) | dict(self.values or {})
        if not self.is_final:
            steps = round(self.cell.fraction * config.num_steps)
            fields["num_steps"] = max(1, steps)
        return grid.point_config(config, fields)

    @property
    def directory(self) -> Path:
        """That of the run's own command."""
        cell, config = self.cell, self.config.to_dict()
        return workdir.default_workdir(cell.experiment, cell.variant, config)

    @property
    def validation(self) -> Path:
        """The file of what a point of the grid is chosen by, there once it is done."""
        return self.directory / "validation.json"

    def __str__(self) -> str:
        if self.is_final:
            return f"{self.cell.table}/{self.cell.name}, seed {self.seed}"
        values = ", ".join(f"{n}={v}" for n, v in self.values.items())
        return f"{self.cell.table}/{self.cell.name}, {values}"


def points(cell: Cell) -> list[Run]:
    """The points of the grid of a cell."""
    return [Run(cell, values, 0, False) for values in grid.product(cell.grid)]


def selection(cell: Cell) -> list[dict[str, Any]] | None:
    """What the points of a cell's grid came to; None while one is not done.

    Returns:
        Of each point the values of its fields, its steps, and what `grid.trained` says.
    """
    runs = points(cell)
    if not all(run.validation.exists() for run in runs):
        return None
    return [run.values | json.loads(run.validation.read_text()) for run in runs]


def chosen(cell: Cell, found: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The values of the best point of a selection; None if all of them diverged."""
    good = [point for point in found if "diverged" not in point]
    if not good:
        return None
    best = min(good, key=lambda point: point["chosen_by"])
    return {name: best[name] for name in cell.grid}


def missing(cell: Cell) -> list[int]:
    """The seeds of a cell that have no record of its config."""

    def is_there(seed: int) -> bool:
        path, config = cell.record(seed), Run(cell, None, seed, True).config
        return path.exists() and is_of(read_record(path), config, [*cell.grid])

    return [seed for seed in range(cell.seeds) if not is_there(seed)]


def left(cell: Cell) -> list[Run]:
    """The runs of a cell that are not done, in order; none if its grid diverged."""
    seeds = missing(cell)
    if not seeds:
        return []
    if not cell.grid:
        return [Run(cell, {}, seed, True) for seed in seeds]
    found = selection(cell)
    if found is None:
        todo = [run for run in points(cell) if not run.validation.exists()]
        return todo + [Run(cell, None, seed, True) for seed in seeds]
    values = chosen(cell, found)
    return [Run(cell, values, seed, True) for seed in seeds if values is not None]


def command(run: Run) -> str:
    """The command of a run; where a choice is not made yet, CHOSEN stands for it."""
    cell = run.cell
    file = str(REPOSITORY / "configs" / f"{cell.experiment}.py")
    line = grid.command(cell.experiment, file, cell.variant, run.config)
    if not run.is_final:
        return f"{line} --train_only"
    if run.values is None:
        line += "".join(f" --config.{field}=CHOSEN" for field in cell.grid)
    return line


def check(cells: Iterable[Cell]) -> None:
    """Checks that cells can run; those of a row share their task.

    Raises:
        ConfigError: if one of them cannot.
        DataError: if the data set of one cannot be read.
    """
    row, task = None, None
    for cell in cells:
        module = importlib.import_module(f"experiments.{cell.experiment}")
        for run in [*points(cell), Run(cell, None, 0, True)]:
            check_config(run.config, module.rules())
        if (cell.table, cell.row) != row:
            row, task = (cell.table, cell.row), module.make_task(cell.config)
        check_task(task, cell.config)


def reproduce(cells: Sequence[Cell], progress: Callable[[Run], None]) -> None:
    """Does what is left of cells.

    Args:
        cells: what to do, in order.
        progress: called with every run before it begins.

    Raises:
        Interrupted: on SIGTERM or Ctrl-C in training, with the state saved.
    """
    for cell in cells:
        shared, task, compiled, mesh = None, None, {}, None
        while runs := left(cell):
            run = runs[0]
            progress(run)
            if _shared(run) != shared:
                module = importlib.import_module(f"experiments.{cell.experiment}")
                shared, task, compiled = _shared(run), module.make_task(run.config), {}
                mesh = grid.mesh_of(run.config, _count(run))
                alike = [other for other in runs if _shared(other) == shared]
                directories = [(one.config, one.directory) for one in alike]
                grid.train_as_one(task, directories, mesh, compiled)
            (_finish if run.is_final else _validate)(run, task, compiled, mesh)
        if missing(cell):
            print(f"{cell.table}/{cell.name}: diverged at every value of its grid")


def _shared(run: Run) -> tuple[str, bool]:
    """What runs of a cell have in common that can train as one."""
    return static_fields(run.config), run.is_final


def _count(run: Run) -> int:
    """How many runs of its cell can train as one with a run, at most."""
    return run.cell.seeds if run.is_final else len(points(run.cell))


def _validate(run: Run, task, compiled, mesh) -> None:
    """Trains a point of a grid and writes what it is chosen by."""
    found = grid.trained(task, run.config, run.directory, compiled, mesh)
    write_json(run.validation, found | {"steps": run.config.num_steps})
    print("  " + ", ".join(f"{name} {value}" for name, value in found.items()))


def _finish(run: Run, task, compiled, mesh) -> None:
    """Trains and evaluates a final run and writes its record."""
    cell, config = run.cell, run.config
    try:
        result = train(task, config, run.directory, compiled=compiled, mesh=mesh)
        record = make_record(run.directory)
        print(report.summary(result, run.directory), flush=True)
    except FloatingPointError as error:
        print(f"diverged: {error}")
        record = {
            "config": config.to_dict(),
            "diverged": str(error).partition(";")[0],
            "versions": workdir.versions(task.checksum),
        }
    if cell.grid:
        record["selection"] = [
            {name: value for name, value in point.items() if name != "chosen_by"}
            for point in selection(cell)
        ]
    cell.folder.mkdir(parents=True, exist_ok=True)
    write_json(cell.record(run.seed), record)


def rerun(path: Path, data_dir: str | None) -> tuple[list[str], list[str]]:
    """Does the run of a record again, in a directory of its own.

    Args:
        path: of the record.
        data_dir: where the data is here; None: where the record says.

    Returns:
        What differs of the numbers, to the last bit, and of the versions, in words.

    Raises:
        ConfigError: if the file is no record of a whole run.
        Interrupted: on SIGTERM or Ctrl-C in training, with the state saved.
    """
    record = read_record(path)
    if "result" not in record:
        raise ConfigError(f"{path}: must be a record of a run that did not diverge")
    experiment, config = config_of(record)
    if data_dir is not None:
        config = grid.point_config(config, {"dataset.data_dir": data_dir})
    task = importlib.import_module(f"experiments.{experiment}").make_task(config)
    now = workdir.versions(task.checksum)
    settings = {"config": config.to_dict(), "versions": now}
    run = workdir.default_workdir("again", path.stem, settings)
    result = train(task, config, run)
    numbers = other_numbers(record["result"], result)
    return numbers, differences(record["versions"], now)
