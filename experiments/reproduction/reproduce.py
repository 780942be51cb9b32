"""Reproduces the tables of the papers, from the choice of learning rates to Markdown.

    python scripts/reproduce.py --list
    python scripts/reproduce.py --table=jang_table1 --dry-run
    python scripts/reproduce.py --table=jang_table1 --processes=2
    python scripts/reproduce.py --row='vae-*-gumbel_softmax' --budget=paper
    python scripts/reproduce.py --record=results/vae/categorical-20k.json

  --list         show tables, their rows and published numbers, and what is recorded
  --table        NAME,NAME,… of the list
  --row          GLOB,GLOB,… of ROW or of ROW-ESTIMATOR
  --estimators   NAME,NAME,… instead of the published ones
  --budget       smoke (seconds a run), cpu (hours to days on two cores) or paper (the
                 paper's own protocol, for accelerators) [cpu]
  --seeds        n: seeds 0 … n − 1 in final runs [that of the budget]
  --processes    n: share the selection among n processes of one core each [1]
  --shard        i/n, i from 0: only every n-th row of the selection, for n processes
  --data_dir     folder of chardata.mat, for the rows on Omniglot
  --dry-run      print the commands of the runs that are left, and what the recorded
                 ones took
  --record       run a record's config again and compare all numbers to the last bit

Of a row, an estimator's grid is trained for a fraction of the steps, the validation set
chooses, and the choice is trained whole with several seeds, each of which reads the
test set once and leaves results/TABLE/BUDGET/ROW-ESTIMATOR-seedN.json. Every run is in
the directory of its own command. Stopped at any point, the same command does what is
left; so do several at once with a --shard each. A record of another config than the
budget's is made anew. scripts/make_tables.py makes the tables of them.
"""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from absl import flags

import gumbel
from experiments import REPOSITORY, ConfigError
from experiments.cli import launch
from experiments.data.omniglot import BURDA, FILES
from experiments.engine import provenance
from experiments.engine.fields import differences, flatten
from experiments.engine.run_directory import default_workdir
from experiments.engine.train import train
from experiments.reproduction import records, runs, tables
from experiments.reproduction.arguments import parse_flags
from experiments.reproduction.cells import Cell, recorded_cells, table_cells
from experiments.reproduction.published import BUDGETS, TABLES
from experiments.reproduction.runs import Run

WHOLE = "0/1"


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of the command."""
    flags.DEFINE_boolean("list", False, "show what there is", flag_values=values)
    flags.DEFINE_list("table", [], "names", flag_values=values)
    flags.DEFINE_list("row", [], "patterns", flag_values=values)
    flags.DEFINE_list("estimators", [], "names", flag_values=values)
    flags.DEFINE_enum("budget", "cpu", BUDGETS, "its name", flag_values=values)
    flags.DEFINE_integer("seeds", None, "of final runs", 1, flag_values=values)
    flags.DEFINE_integer("processes", 1, "that share it", 1, flag_values=values)
    flags.DEFINE_string("shard", WHOLE, "i/n", flag_values=values)
    flags.DEFINE_string("data_dir", None, "of Omniglot", flag_values=values)
    flags.DEFINE_boolean("dry-run", False, "only show", flag_values=values)
    flags.DEFINE_string("record", None, "a record", flag_values=values)


def select(values: flags.FlagValues) -> list[Cell]:
    """The cells that a command line selects.

    Raises:
        ConfigError: for a name or a pattern that selects nothing.
    """
    for flag, choices in (
        ("table", TABLES),
        ("estimators", gumbel.estimators.ESTIMATORS),
    ):
        for name in set(values[flag].value) - set(choices):
            choice = f"one of {', '.join(choices)}"
            raise ConfigError(f"--{flag}={name}: must be {choice}")
    if not (values.table or values.row or values.list):
        raise ConfigError(
            f"--table: must be given, or --row; tables are {', '.join(TABLES)}"
        )
    options = {"seeds": values.seeds, "data_dir": values.data_dir}
    every = [
        cell
        for table in values.table or TABLES
        for cell in table_cells(table, values.budget, values.estimators, **options)
    ]
    for pattern in values.row:
        if not any(_matches(cell, pattern) for cell in every):
            raise ConfigError(
                f"--row={pattern}: must match a ROW or ROW-ESTIMATOR of --list, such "
                f"as {every[0].name}"
            )
    patterns = values.row or ["*"]
    selected = [cell for cell in every if any(_matches(cell, p) for p in patterns)]
    return selected[runs.read_shard(values.shard)]


def _matches(cell: Cell, pattern: str) -> bool:
    return fnmatch(cell.name, pattern) or fnmatch(cell.row.name, pattern)


def _by_table(selected: Sequence[Cell]) -> Iterator[tuple[str, list[Cell]]]:
    for table, cells in itertools.groupby(selected, lambda cell: cell.table):
        yield table, list(cells)


def listing(selected: Sequence[Cell]) -> str:
    """The selection, table by table, with published numbers and our records."""
    lines = []
    for table, cells in _by_table(selected):
        labels = [column.label for column in TABLES[table].published_columns]
        lines.append(f"{table}: {TABLES[table].title}; {', '.join(labels)}")
        for cell in cells:
            numbers = cell.row.published.get(cell.estimator, ("–",))
            lines.append(
                f"  {cell.name:<58} {'  '.join(map(str, numbers)):<14} "
                f"{len(cell.recorded())} of {cell.num_seeds} recorded"
            )
    return "\n".join(lines)


def dry_run(selected: Sequence[Cell]) -> None:
    """Prints the commands of what is left, and what the recorded runs took."""
    for cell in selected:
        for command in cell.commands():
            print(command)
    left = [run for cell in selected for run in cell.left()]
    steps = sum(run.config.num_steps for run in left)
    print(f"{len(left)} runs left, {steps:,} steps")
    for table, cells in _by_table(selected):
        files = [run.file for cell in cells for run in cell.recorded()]
        hours = sum(records.seconds(records.read_record(file)) for file in files) / 3600
        took = f"; their final runs took {hours:.1f} h, as a rerun would" * bool(files)
        count = sum(cell.num_seeds for cell in cells)
        print(f"{table}: {len(files)} of {count} records are there{took}")


def share(argv: list[str], count: int) -> int:
    """Runs the same command in several processes, a shard and a core each.

    Args:
        argv: the command line.
        count: number of processes.

    Returns:
        The largest of their exit codes.
    """
    pin = getattr(os, "sched_setaffinity", None)  # not on a Mac
    cores = sorted(os.sched_getaffinity(0)) if pin else []
    processes = []
    for index in range(count):
        flags_of_shard = ["--processes=1", f"--shard={index}/{count}"]
        command = [sys.executable, REPOSITORY / "scripts" / "reproduce.py", *argv[1:]]
        # XLA takes the number of its threads from it.
        environment = os.environ | {"NPROC": "1"}
        processes.append(subprocess.Popen([*command, *flags_of_shard], env=environment))
        if pin:
            pin(processes[-1].pid, {cores[index % len(cores)]})
    signal.signal(signal.SIGTERM, lambda *_: [p.terminate() for p in processes])
    # Ctrl-C reaches all of them, and each saves its state.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return max(process.wait() for process in processes)


def rerun(path: Path, data_dir: str | None) -> None:
    """Does the run of a record again, in a directory of its own, and compares them.

    All numbers but timings count, to the last bit; where one differs the command exits
    with 1.

    Raises:
        ConfigError: if the file is no record of a whole run.
        Interrupted: on SIGTERM or Ctrl-C in training, with the state saved.
    """
    record = records.read_record(path)
    if "result" not in record:
        raise ConfigError(f"{path}: must be a record of a run that did not diverge")
    experiment, config = records.config_of(record)
    if data_dir is not None:
        config = runs.with_fields(config, {"dataset.data_dir": data_dir})
    task = runs.module_of(experiment).make_task(config)
    versions = provenance.versions(task.checksum)
    settings = {"config": config.to_dict(), "versions": versions}
    result = train(task, config, default_workdir("again", path.stem, settings))
    numbers = [flatten(result) for result in (record["result"], result)]
    for name, flat in itertools.product(records.TIMINGS, numbers):
        flat.pop(name, None)
    # Not what the directory of a run has beside its versions.
    recorded = {n: v for n, v in record["versions"].items() if n in versions}
    if other := differences(*numbers):
        print("these numbers differ:", *other, sep="\n  ")
    else:
        print("every number is the same to the last bit")
    if changed := differences(recorded, versions):
        print("these versions differ:", *changed, sep="\n  ")
    if other:
        sys.exit(1)


def check(todo: Sequence[Cell], data_dir: str | None) -> None:
    """Checks that what is to do can run.

    Raises:
        ConfigError: if some of it cannot.
        DataError: if a data set cannot be read.
    """
    for cell in todo:
        if cell.config.dataset.name == BURDA and not data_dir:
            raise ConfigError(
                f"--data_dir: must be the folder of {FILES[BURDA][0]} for {cell.name}, "
                "or --row must leave it out"
            )
    runs.check(run for cell in todo for run in [*cell.points(), cell.finals()[0]])


def main(argv: list[str]) -> None:
    """Selects, checks, trains and evaluates, and prints the tables."""
    values, rest = parse_flags(argv, define_flags)
    if rest:
        raise ConfigError(f"{rest[0]}: unexpected argument")
    if values.processes > 1 and values.shard != WHOLE:
        raise ConfigError("--shard: must not be given with --processes")
    if values.record:
        launch.check_compiler()
        return rerun(Path(values.record), values.data_dir)
    selected = select(values)
    if values.list:
        return print(listing(selected))
    if values["dry-run"].value:
        return dry_run(selected)
    todo = [cell for cell in selected if not cell.is_done]
    launch.check_compiler()
    check(todo, values.data_dir)
    if values.processes > 1:
        code = share(argv, values.processes)
        if any(not cell.is_done for cell in todo):
            print("the same command does what is left")
            sys.exit(code)
    else:
        complete(todo)
    if values.shard != WHOLE:
        return print("done; the command without --shard prints the tables")
    for table, _ in _by_table(selected):
        if cells := recorded_cells(table, values.budget):
            print(tables.table(cells), end="\n\n")


def complete(todo: Sequence[Cell]) -> None:
    """Does what is left, counting down the runs."""
    total = sum(len(cell.left()) for cell in todo)

    def announce(run: Run) -> None:
        left = sum(len(cell.left()) for cell in todo)
        print(f"{run.name}: {left} of {total} runs left", flush=True)

    for cell in todo:
        cell.complete(announce)
