"""Reproduces the tables of the papers, from the choice of learning rates to Markdown.

    python scripts/reproduce.py --list
    python scripts/reproduce.py --table=jang_table1 --dry-run
    python scripts/reproduce.py --table=jang_table1
    python scripts/reproduce.py --row='vae-*-gumbel_softmax' --budget=paper
    python scripts/reproduce.py --record=results/vae/categorical-20k.json

  --list         show tables, their rows and published numbers, and what is recorded
  --table        NAME,NAME,… of the list
  --row          GLOB,GLOB,… of ROW-ESTIMATOR or of a figure's name
  --estimators   NAME,NAME,… instead of the published ones, in tables of runs
  --budget       smoke (seconds a run), cpu (hours to days on two cores) or paper (the
                 paper's own protocol, for accelerators) [cpu]
  --seeds        n: seeds 0 … n − 1 in final runs [that of the budget]
  --shard        i/n, i from 0: only every n-th row of the selection, for n processes
  --data_dir     folder of chardata.mat, for the rows on Omniglot
  --dry-run      print the commands of the runs that are left, and estimate their time
  --record       run a record's config again and compare all numbers to the last bit

Of a row, an estimator's grid is trained for a fraction of the steps, the validation set
chooses, and the choice is trained whole with several seeds, each of which reads the
test set once and leaves results/TABLE/BUDGET/ROW-ESTIMATOR-seedN.json. Every run is in
the directory of its own command. Stopped at any point, the same command does what is
left; so do several at once with a --shard each. A record of another config than the
budget's is made anew. scripts/make_tables.py puts the tables into the README.
"""

import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import jax
from absl import flags

import gumbel
from experiments import ConfigError
from experiments.cli import launch
from experiments.data.omniglot import BURDA, FILES
from experiments.reproduction import (
    grid,
    published_tables,
    records,
    timing,
)
from experiments.reproduction import runs as reproduction
from experiments.reproduction.budgets import BUDGETS
from experiments.reproduction.cells import Drawn, make_figure, table_cells
from experiments.reproduction.runs import Cell, Run
from experiments.reproduction.tables import FIGURES, TABLES


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_boolean("list", False, "show what there is", flag_values=values)
    flags.DEFINE_list("table", [], "names", flag_values=values)
    flags.DEFINE_list("row", [], "patterns", flag_values=values)
    flags.DEFINE_list("estimators", [], "names", flag_values=values)
    flags.DEFINE_enum("budget", "cpu", BUDGETS, "its name", flag_values=values)
    flags.DEFINE_integer("seeds", None, "of final runs", 1, flag_values=values)
    flags.DEFINE_string("shard", "0/1", "i/n", flag_values=values)
    flags.DEFINE_string("data_dir", None, "of Omniglot", flag_values=values)
    flags.DEFINE_boolean("dry-run", False, "only show", flag_values=values)
    flags.DEFINE_string("record", None, "a record", flag_values=values)


def parse(argv: list[str]) -> flags.FlagValues:
    """Parses a command line.

    Raises:
        ConfigError: in one line, for anything that cannot be parsed.
    """
    values = flags.FlagValues()
    _define_flags(values)
    try:
        rest = values(argv)[1:]
    except flags.Error as error:
        raise ConfigError(str(error)) from error
    if rest:
        raise ConfigError(f"{rest[0]}: unexpected argument")
    return values


def select(values: flags.FlagValues) -> list[Cell | Drawn]:
    """The cells and figures that a command line asks for.

    Raises:
        ConfigError: if it names what is not there, or nothing.
    """
    names = [*TABLES, *FIGURES]
    for table in values.table:
        if table not in names:
            raise ConfigError(f"--table={table}: must be one of {', '.join(names)}")
    for name in values.estimators:
        if name not in gumbel.estimators.ESTIMATORS:
            raise ConfigError(
                f"--estimators={name}: must be one of "
                f"{', '.join(gumbel.estimators.ESTIMATORS)}"
            )
    if not (values.table or values.row or values.list):
        raise ConfigError(
            f"--table: must be given, or --row; tables are {', '.join(names)}"
        )
    found: list[Cell | Drawn] = []
    for table in values.table or names:
        if table in FIGURES:
            found.append(make_figure(table, values.budget, values.seeds))
        else:
            given = {"seeds": values.seeds, "data_dir": values.data_dir}
            found += table_cells(table, values.budget, values.estimators, **given)
    for pattern in values.row:
        if not any(fnmatch(one.name, pattern) for one in found):
            raise ConfigError(
                f"--row={pattern}: must match a ROW-ESTIMATOR of --list, such as "
                f"{found[0].name}"
            )
    if values.row:
        found = [
            one for one in found if any(fnmatch(one.name, glob) for glob in values.row)
        ]
    return found[grid.read_shard(values.shard)]


def listing(selected: Sequence[Cell | Drawn]) -> str:
    """What is selected, table by table, with its published and our records."""
    lines = []
    for table in dict.fromkeys(one.table for one in selected):
        own = [one for one in selected if one.table == table]
        if table in FIGURES:
            state = "recorded" if own[0].is_there else "not recorded"
            lines.append(f"{table}: {FIGURES[table].title}; {state}")
            continue
        columns = [c for c in TABLES[table].columns if c.is_published]
        labels = ", ".join(column.label for column in columns)
        lines.append(f"{table}: {TABLES[table].title}; {labels}")
        rows = {row.name: row for row in TABLES[table].rows}
        for cell in own:
            numbers = rows[cell.row].published.get(cell.config.estimator, ("–",))
            done = cell.seeds - len(reproduction.missing(cell))
            lines.append(
                f"  {cell.name:<58} {'  '.join(map(str, numbers)):<14} "
                f"{done} of {cell.seeds} recorded"
            )
    return "\n".join(lines)


def estimate(runs: Sequence[Run]) -> timing.Estimate:
    """The time of runs, from records and from run directories."""
    known = []
    if runs:
        device, folder = jax.devices()[0].device_kind, runs[0].directory.parents[1]
        known = timing.measured(records.RESULTS, folder, device)
    planned = [(run.cell.experiment, run.config, run.is_final) for run in runs]
    return timing.estimate(known, planned)


def dry_run(cells: Sequence[Cell], figures: Sequence[Drawn]) -> None:
    """Prints the commands of what is left, and how long it may take."""
    runs = [run for cell in cells for run in reproduction.left(cell)]
    for line in [*map(reproduction.command, runs), *(f.command() for f in figures)]:
        print(line)
    if runs or not figures:
        steps = sum(run.config.num_steps for run in runs)
        print(f"{len(runs)} runs, {steps:,} steps; on this device {estimate(runs)}")


def rerun(path: str, data_dir: str | None) -> None:
    """Does the run of a record again and says whether its numbers are the same."""
    numbers, versions = reproduction.rerun(Path(path), data_dir)
    if numbers:
        print("these numbers differ:", *numbers, sep="\n  ")
    else:
        print("every number is the same to the last bit")
    if versions:
        print("these versions differ:", *versions, sep="\n  ")
    if numbers:
        sys.exit(1)


def main(argv: list[str]) -> None:
    """Selects, checks, trains and evaluates, and prints the tables."""
    values = parse(argv)
    if values.record:
        launch.check_compiler()
        return rerun(values.record, values.data_dir)
    selected = select(values)
    if values.list:
        return print(listing(selected))
    cells = [one for one in selected if isinstance(one, Cell)]
    todo = [cell for cell in cells if reproduction.left(cell)]
    figures = [f for f in selected if isinstance(f, Drawn) and not f.is_there]
    if values["dry-run"].value:
        return dry_run(todo, figures)
    for cell in todo:
        if cell.config.dataset.name == BURDA and not values.data_dir:
            raise ConfigError(
                f"--data_dir: must be the folder of {FILES[BURDA][0]} for {cell.name}, "
                "or --row must leave it out"
            )
    launch.check_compiler()
    reproduction.check(todo)

    total = sum(len(reproduction.left(cell)) for cell in todo)

    def progress(run: Run) -> None:
        runs = [r for cell in todo for r in reproduction.left(cell)]
        print(f"{run}: {len(runs)} of {total} runs left, {estimate(runs)}", flush=True)

    reproduction.reproduce(todo, progress)
    for figure in figures:
        print(figure.command(), flush=True)
        figure.make()
    for table in dict.fromkeys(one.table for one in selected):
        print(published_tables.make(table, values.budget), end="\n\n")


if __name__ == "__main__":
    launch.run_script(__doc__, main, sys.argv)
