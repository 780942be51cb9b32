"""Turns finished runs into records, and records into tables.

    python scripts/make_tables.py --record=RUN_DIR --name=vae/categorical-50k
    python scripts/make_tables.py

A record is one JSON file under results/: the run's experiment (the folder above
RUN_DIR, or --experiment), config, result and versions as the run itself wrote them.
Tables are made from records and nothing else; a test fails when one differs:

  README.md            between its markers <!-- table: NAME -->
  results/README.md    all tables, with a legend and the sentences of results/notes.md
  table.csv            beside the records of a table of the papers
  table.md             there, too, and estimators.png, where only an overview is above
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from absl import flags
from matplotlib.figure import Figure

from experiments import REPOSITORY, ConfigError, plots
from experiments.cli.config import EXPERIMENTS
from experiments.engine.run_directory import write_json
from experiments.reproduction import other_tables, records, tables
from experiments.reproduction.other_tables import (
    quality_table,
    runs_table,
    training_tables,
)
from experiments.reproduction.published import FIGURES, TABLES
from experiments.reproduction.readme_tables import readme_tables
from gumbel.estimators import ESTIMATORS

_LEGEND = """# Results

Written by `python scripts/make_tables.py` from the records in this folder, one JSON
file a run; every table of the papers is beside its records as `table.csv`, too. [1] is
Jang, Gu & Poole (2017), [2] is Maddison, Mnih & Teh (2017). Bounds are in nats, lower
is better.

* test nll: −L_m of the test set on hard samples, m = `eval_samples`; L_1: the same with
  one sample, the negative ELBO.
* published, difference: the number in the paper, and ours minus it; ✗ where ours is
  worse and ✓ where it is better by more than the tolerance in the table's note.
* ±: standard deviation over seeds; of a single seed, standard error over images.
* learning_rate, alpha, temperature: chosen by the validation set; ◂ where the choice is
  at the edge of the grid that was tried, (set) where there was nothing to choose.
* best at: the steps at which validation was best; the test set is read once, with the
  parameters of that step.
* evaluations: of the program in a training step, of m samples and n draws.
"""


# Sentences about tables, written by hand.
_NOTES = records.RESULTS / "notes.md"


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- table: {name} -->", f"<!-- end: {name} -->"


def fill(text: str) -> str:
    """A text with the tables between its markers made anew."""
    for name, make in readme_tables().items():
        start, end = _markers(name)
        pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
        text = pattern.sub(lambda _, m=make, s=start, e=end: f"{s}\n{m()}\n{e}", text)
    return text


def results_page() -> str:
    """results/README.md: every table, below a title with its conditions."""
    sections, notes = [_LEGEND], _read_notes()
    for budget in other_tables.SHOWN:
        for name in other_tables.recorded(budget):
            if name in TABLES:
                title = tables.heading(name, budget)
            else:
                title = f"{FIGURES[name].title}, `{name}`, budget `{budget}`"
            is_short = name in TABLES and TABLES[name].at_a_glance
            text = (tables.glance if is_short else other_tables.make)(name, budget)
            image = _image(records.RESULTS / name / budget)
            # The notes are about the tables that two cores can make.
            note = notes.pop(name, "") if budget == "cpu" else ""
            if name in TABLES:
                note = f"{tables.score(name, budget)}\n\n{note}"
            sections.append(f"## {title}\n\n{note}{text}\n{image}")
    for title, name, make in (
        ("Single runs of the VAE", "vae", lambda: runs_table("vae")),
        ("A single run on Omniglot", "omniglot", lambda: runs_table("omniglot")),
        ("Bias and spread of gradients", "gradient_quality", quality_table),
        ("Speed of training", "training", training_tables),
    ):
        image = _image(records.RESULTS / name)
        sections.append(f"## {title}\n\n{notes.pop(name, '')}{make()}\n{image}")
    if notes:
        raise ConfigError(f"{_NOTES}: no table is named {', '.join(notes)}")
    return "\n".join(sections).replace("](results/", "](./")


def _read_notes() -> dict[str, str]:
    """The sentences about each table, by its name."""
    _, *parts = _NOTES.read_text().split("\n## ")
    pairs = (part.split("\n", 1) for part in parts)
    return {name: f"{text.strip()}\n\n" for name, text in pairs}


def _image(folder: Path) -> str:
    paths = sorted(folder.glob("*.png"))
    return "".join(
        f"\n![{path.stem}]({path.relative_to(REPOSITORY)})\n" for path in paths
    )


def generated() -> dict[Path, str]:
    """The contents of every file that is made of records, but for figures."""
    readme = REPOSITORY / "README.md"
    files = {
        readme: fill(readme.read_text()),
        records.RESULTS / "README.md": results_page(),
    }
    for budget in other_tables.SHOWN:
        for name in set(other_tables.recorded(budget)) & set(TABLES):
            folder = records.RESULTS / name / budget
            files[folder / "table.csv"] = tables.as_csv(name, budget)
            if TABLES[name].at_a_glance:
                text = tables.table(name, budget)
                beside = text.replace(f"](results/{name}/{budget}/", "](")
                first = tables.score(name, budget)
                files[folder / "table.md"] = f"{first}\n\n{beside}\n"
    return files


def plot_estimators(name: str, budget: str, path: Path) -> None:
    """Plots the numbers of estimators, a panel a network, the best ones on top.

    The first column has full markers and makes the order, further ones hollow ones.
    """
    entries, columns = tables.read(name, budget), TABLES[name].columns
    rows = {entry.row.name: entry.row for entry in entries}
    numbers = {column.label: tables.means(entries, column) for column in columns}
    order = _order(numbers[columns[0].label])
    places = {estimator: place for place, estimator in enumerate(reversed(order))}
    size = 2.6 * len(rows) + 1.5, 0.32 * len(order) + 1.2
    figure = Figure(figsize=size)
    panels = figure.subplots(1, len(rows), sharey=True, squeeze=False)
    for axes, (row_name, row) in zip(panels[0], rows.items(), strict=True):
        for column in columns:
            for unbiased, color in ((False, "C0"), (True, "C1")):
                means = numbers[column.label][row_name]
                names = [n for n in means if ESTIMATORS[n].unbiased == unbiased]
                axes.plot(
                    [means[estimator] for estimator in names],
                    [places[estimator] for estimator in names],
                    "o",
                    color=color,
                    markerfacecolor=color if column == columns[0] else "white",
                    label=f"{column.label}, {'unbiased' if unbiased else 'biased'}",
                )
        axes.set(title=tables.label(row, "\n"), xlabel="nats")
        axes.grid(axis="both", color="0.9")
        axes.set_axisbelow(True)
    panels[0][0].set_yticks(list(places.values()), list(places))
    handles, labels = panels[0][-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=4, bbox_to_anchor=(0.5, 0))
    figure.tight_layout()
    plots.save(figure, path)


def _order(rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Estimators by how far they are behind the best, on average over rows."""
    behind: dict[str, list[float]] = {}
    for numbers in rows.values():
        for name, number in numbers.items():
            behind.setdefault(name, []).append(number - min(numbers.values()))
    return sorted(behind, key=lambda name: np.mean(behind[name]))


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


def main(argv: list[str]) -> None:
    """Records a run, where one is given, and writes all tables."""
    values = flags.FlagValues()
    flags.DEFINE_string("record", None, "run directory to record", flag_values=values)
    flags.DEFINE_string("name", None, "of the record, folder/name", flag_values=values)
    flags.DEFINE_string("experiment", None, "of the run", flag_values=values)
    try:
        values(argv)
    except flags.Error as error:
        raise ConfigError(str(error)) from error
    if values.record:
        _record(values)
    for path, text in generated().items():
        path.write_text(text)
        if path.name == "table.md":
            name, budget = path.parts[-3:-1]
            plot_estimators(name, budget, path.with_name("estimators.png"))
    readme = (REPOSITORY / "README.md").read_text()
    for name in readme_tables():
        start, end = _markers(name)
        if start not in readme:
            print(f"README.md has no place for a table: give it {start} {end}")
