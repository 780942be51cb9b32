"""Turns finished runs into records, and records into tables.

    python scripts/make_tables.py --record=RUN_DIR --name=vae/categorical-50k
    python scripts/make_tables.py

A record is one JSON file under results/: the run's experiment (the folder above
RUN_DIR, or --experiment), config, result and versions as the run itself wrote them.
Tables are made from records and nothing else; a test fails when one differs:

  README.md            between its markers <!-- table: NAME -->
  docs/estimators.md   there, too: a table for each estimator
  results/README.md    all tables, with a legend and the sentences of results/notes.md
  table.csv            beside the records of a table of the papers
  table.md             there, too, and estimators.png, where only an overview is above
  curves.png           there, of the tables whose records have curves of validation
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from absl import flags

from experiments import REPOSITORY, ConfigError
from experiments.cli.config import EXPERIMENTS
from experiments.engine.run_directory import write_json
from experiments.reproduction import figures, records, tables
from experiments.reproduction.arguments import parse_flags
from experiments.reproduction.cells import Cell, recorded_cells
from experiments.reproduction.estimator_facts import facts
from experiments.reproduction.other_tables import (
    figure5,
    gpu_tables,
    quality_table,
    runs_table,
    sweep_table,
    training_tables,
)
from experiments.reproduction.published import TABLES
from experiments.reproduction.readme_tables import README_TABLES
from gumbel.estimators import ESTIMATORS

# What is below the tables of the papers: the folder, its title and its table.
_SECTIONS: dict[str, tuple[str, Callable[[Path], str]]] = {
    "jang_figure5/cpu": ("Figure 5 of [1], `jang_figure5`, budget `cpu`", figure5),
    "maddison_figure4/cpu": (
        "Figure 4, right, of [2], `maddison_figure4`, budget `cpu`",
        sweep_table,
    ),
    "vae_temperature/cpu": (
        "Temperature and form of the KL of the categorical VAE of [1], "
        "`vae_temperature`, budget `cpu`",
        sweep_table,
    ),
    "vae": ("Single runs of the VAE", runs_table),
    "omniglot": ("A single run on Omniglot", runs_table),
    "gradient_quality": ("Bias and spread of gradients", quality_table),
    "benchmark": ("Speed of training", training_tables),
    "gpu": ("Speed on accelerators", gpu_tables),
}
# What the figures show, by the names of their files.
_ALT_TEXTS = {
    "curves": "validation nll against the step, where records have a curve",
    "estimators": "the table above, a panel a network",
    "marginalisation": "time of a step against the number of classes",
    "quality": "bias against spread of the estimators",
    "sweep": "bounds against what was swept",
}
# The legend and sentences about tables, written by hand.
_NOTES = records.RESULTS / "notes.md"
# Captions of the pictures of docs/pictures.py.
_CAPTIONS = REPOSITORY / "docs" / "images" / "captions.json"


def fill(text: str, makers: Mapping[str, Callable[[], str]]) -> str:
    """A text with the tables between its markers made anew."""
    for name, make in makers.items():
        start, end = f"<!-- table: {name} -->", f"<!-- end: {name} -->"
        before, place, rest = text.partition(start)
        _, place_end, after = rest.partition(end)
        if place and place_end:
            text = f"{before}{start}\n{make()}\n{end}{after}"
    return text


def read_tables() -> list[list[Cell]]:
    """The cells with records of the tables of the papers that have some."""
    budgets = ("cpu", "paper")
    every = (recorded_cells(name, budget) for budget in budgets for name in TABLES)
    return [cells for cells in every if cells]


def _at_a_glance(cells: Sequence[Cell]) -> bool:
    return TABLES[cells[0].table].at_a_glance


def results_page(every: Sequence[Sequence[Cell]]) -> str:
    """results/README.md: every table, below a title with its conditions."""
    notes = _read_notes()
    sections = [f"# Results\n\n{notes.pop('legend').strip()}\n"]
    for cells in every:
        make = tables.glance if _at_a_glance(cells) else tables.table
        # The notes are about the tables that two cores can make.
        note = notes.pop(cells[0].table, "") if cells[0].budget == "cpu" else ""
        text = f"{tables.score(cells)}\n\n{note}{make(cells)}"
        sections.append(_section(tables.heading(cells), text, cells[0].folder))
    for name, (title, make) in _SECTIONS.items():
        folder = records.RESULTS / name
        if not folder.exists():
            continue
        text = notes.pop(name.removesuffix("/cpu"), "") + make(folder)
        sections.append(_section(title, text, folder))
    if _CAPTIONS.exists():
        images = [
            f"![{text}](../docs/images/{name})\n\n{text}; {numbers}.\n"
            for name, (text, numbers) in json.loads(_CAPTIONS.read_text()).items()
        ]
        sections.append("\n".join(["## Samples of trained models\n", *images]))
    if notes:
        raise ConfigError(f"{_NOTES}: no table is named {', '.join(notes)}")
    return "\n".join(sections).replace("](results/", "](./")


def _section(title: str, text: str, folder: Path) -> str:
    return f"## {title}\n\n{text}\n{show_images(folder)}"


def _read_notes() -> dict[str, str]:
    """The legend, and the sentences about each table by its name."""
    _, *parts = _NOTES.read_text().split("\n## ")
    pairs = (part.split("\n", 1) for part in parts)
    return {name: f"{text.strip()}\n\n" for name, text in pairs}


def show_images(folder: Path) -> str:
    """The Markdown of the figures in a folder."""
    return "".join(
        f"\n![{_ALT_TEXTS[path.stem]}]({records.link(path)})\n"
        for path in sorted(folder.glob("*.png"))
    )


def generated(every: Sequence[Sequence[Cell]]) -> dict[Path, str]:
    """The contents of every file that is made of records, but for figures."""
    readme, estimators = REPOSITORY / "README.md", REPOSITORY / "docs/estimators.md"
    makers = {name: functools.partial(facts, name) for name in ESTIMATORS}
    files = {
        readme: fill(readme.read_text(), README_TABLES),
        estimators: fill(estimators.read_text(), makers),
        records.RESULTS / "README.md": results_page(every),
    }
    for cells in every:
        folder = cells[0].folder
        files[folder / "table.csv"] = tables.as_csv(cells)
        if _at_a_glance(cells):
            text = f"{tables.score(cells)}\n\n{tables.table(cells)}\n"
            beside = text.replace(f"]({records.link(folder)}/", "](")
            files[folder / "table.md"] = beside
    return files


def plot(every: Sequence[Sequence[Cell]]) -> None:
    """Writes the figures that are made of records."""
    for cells in every:
        folder = cells[0].folder
        if _at_a_glance(cells):
            figures.plot_estimators(cells, folder / "estimators.png")
        if cells[0].table in figures.CURVES and (rows := figures.curves(cells)):
            figures.plot_curves(rows, folder / "curves.png")


def _record(values: flags.FlagValues) -> None:
    """Writes the record of a run."""
    run = Path(values.record).resolve()
    experiment = values.experiment or run.parent.name
    if experiment not in EXPERIMENTS:
        raise ConfigError(
            f"--experiment={experiment}: must be one of {', '.join(EXPERIMENTS)}"
        )
    if not values.name:
        raise ConfigError("--name: must be given, folder/name of the record")
    path = records.RESULTS / f"{values.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, records.make_record(run, experiment))


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("record", None, "run directory to record", flag_values=values)
    flags.DEFINE_string("name", None, "of the record, folder/name", flag_values=values)
    flags.DEFINE_string("experiment", None, "of the run", flag_values=values)


def main(argv: list[str]) -> None:
    """Records a run, where one is given, and writes all tables."""
    values, _ = parse_flags(argv, _define_flags)
    if values.record:
        _record(values)
    every = read_tables()
    plot(every)  # the page shows what is there
    for path, text in generated(every).items():
        path.write_text(text)
