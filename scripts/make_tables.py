"""Turns finished runs into records, and records into the tables of the README.

    python scripts/make_tables.py --record=RUN_DIR --name=vae/categorical-50k
    python scripts/make_tables.py

A record is one JSON file under results/: the run's config, result and versions as the
run itself wrote them. Tables are made from records and nothing else, between the
README's <!-- table: NAME --> markers, and where that is an overview the whole table and
a plot beside the records. A test fails when a table differs.
"""

import functools
import itertools
import re
from collections.abc import Callable
from pathlib import Path

from absl import app, flags

from experiments import REPOSITORY
from experiments.engine.run_directory import write_json
from experiments.reproduction import (
    overview,
    published_tables,
    run_tables,
    training_table,
)
from experiments.reproduction.cells import make_figure
from experiments.reproduction.records import RESULTS, make_record
from experiments.reproduction.tables import FIGURES, TABLES

_RECORD = flags.DEFINE_string("record", None, "run directory to record")
_NAME = flags.DEFINE_string("name", None, "name of the record, folder/name")

# What a budget's tables have after their name.
_SUFFIXES = {"cpu": "", "paper": "-paper"}


def tables() -> dict[str, Callable[[], str]]:
    """What makes each table of the README.

    The papers' tables and figures, NAME or NAME-paper, are there once recorded.
    """
    made: dict[str, Callable[[], str]] = {
        "expected": run_tables.expected_line,
        "estimators": run_tables.estimators_table,
        "gradient_quality": run_tables.quality_table,
        "vae": lambda: run_tables.runs_table("vae"),
        "omniglot": lambda: run_tables.runs_table("omniglot"),
        "training": training_table.recorded,
    }
    for budget, suffix in _SUFFIXES.items():
        recorded = [name for name in TABLES if published_tables.find(name, budget)]
        recorded += [n for n in FIGURES if make_figure(n, budget, None).is_there]
        for name in recorded:
            module = overview if name in overview.NAMES else published_tables
            made[name + suffix] = functools.partial(module.make, name, budget)
    return made


def overviews() -> list[tuple[str, str]]:
    """The tables and budgets with an overview in the README, once recorded."""
    pairs = itertools.product(overview.NAMES, _SUFFIXES)
    return [pair for pair in pairs if published_tables.find(*pair)]


def markers(name: str) -> tuple[str, str]:
    """What stands before and after a table."""
    return f"<!-- table: {name} -->", f"<!-- end: {name} -->"


def fill(text: str) -> str:
    """A text with the tables between its markers made anew."""
    for name, table in tables().items():
        start, end = markers(name)
        pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
        text = pattern.sub(lambda _, t=table, s=start, e=end: f"{s}\n{t()}\n{e}", text)
    return text


def main(argv: list[str]) -> None:
    """Records a run, where one is given, and rewrites the README's tables."""
    del argv
    if _RECORD.value:
        path = RESULTS / f"{_NAME.value}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, make_record(Path(_RECORD.value)))
    for name, budget in overviews():
        overview.write(name, budget)
    readme = REPOSITORY / "README.md"
    readme.write_text(fill(readme.read_text()))
    for start, end in map(markers, tables()):
        if start not in readme.read_text():
            print(f"README.md has no place for a table: give it {start} {end}")


if __name__ == "__main__":
    app.run(main)
