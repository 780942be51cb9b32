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
  curves.png           there, of the tables whose records have curves of validation
"""

import json
from pathlib import Path

from absl import flags

from experiments import REPOSITORY, ConfigError
from experiments.cli.config import EXPERIMENTS
from experiments.engine.run_directory import write_json
from experiments.reproduction import entries, figures, other_tables, records, tables
from experiments.reproduction.published import TABLES
from experiments.reproduction.readme_tables import readme_tables

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
# Captions of the pictures of docs/pictures.py.
_CAPTIONS = REPOSITORY / "docs" / "images" / "captions.json"


def fill(text: str) -> str:
    """A text with the tables between its markers made anew."""
    for name, make in readme_tables().items():
        start, end = f"<!-- table: {name} -->", f"<!-- end: {name} -->"
        before, place, rest = text.partition(start)
        _, place_end, after = rest.partition(end)
        if place and place_end:
            text = f"{before}{start}\n{make()}\n{end}{after}"
    return text


def _recorded() -> list[tuple[str, str, Path]]:
    """The tables of the papers that have records: name, budget and folder."""
    pairs = ((name, budget) for budget in ("cpu", "paper") for name in TABLES)
    return [
        (name, budget, records.RESULTS / name / budget)
        for name, budget in pairs
        if entries.read(name, budget)
    ]


def results_page() -> str:
    """results/README.md: every table, below a title with its conditions."""
    sections, notes = [], _read_notes()

    def add(
        title: str, text: str, folder: Path, name: str = "", first: str = ""
    ) -> None:
        note = notes.pop(name, "")
        sections.append(f"## {title}\n\n{first}{note}{text}\n{show_images(folder)}")

    for name, budget, folder in _recorded():
        make = tables.glance if TABLES[name].at_a_glance else tables.table
        # The notes are about the tables that two cores can make.
        note = name if budget == "cpu" else ""
        first = f"{tables.score(name, budget)}\n\n"
        add(tables.heading(name, budget), make(name, budget), folder, note, first)
    for name, title in other_tables.FIGURES.items():
        text, folder = other_tables.figure_table(name), records.RESULTS / name / "cpu"
        add(f"{title}, `{name}`, budget `cpu`", text, folder, name)
    for title, name, text in (
        ("Single runs of the VAE", "vae", other_tables.runs_table("vae")),
        ("A single run on Omniglot", "omniglot", other_tables.runs_table("omniglot")),
        (
            "Bias and spread of gradients",
            "gradient_quality",
            other_tables.quality_table(),
        ),
        ("Speed of training", "training", other_tables.training_tables()),
    ):
        add(title, text, records.RESULTS / name, name)
    if _CAPTIONS.exists():
        images = "".join(
            f"![{text}](../docs/images/{name})\n\n{text}; {numbers}.\n\n"
            for name, (text, numbers) in json.loads(_CAPTIONS.read_text()).items()
        )
        sections.append(f"## Samples of trained models\n\n{images.strip()}\n")
    if notes:
        raise ConfigError(f"{_NOTES}: no table is named {', '.join(notes)}")
    return "\n".join([_LEGEND, *sections]).replace("](results/", "](./")


def _read_notes() -> dict[str, str]:
    """The sentences about each table, by its name."""
    _, *parts = _NOTES.read_text().split("\n## ")
    pairs = (part.split("\n", 1) for part in parts)
    return {name: f"{text.strip()}\n\n" for name, text in pairs}


# What the figures show, by the names of their files.
_ALT_TEXTS = {
    "curves": "validation nll against the step, where records have a curve",
    "estimators": "the table above, a panel a network",
    "marginalisation": "time of a step against the number of classes",
    "quality": "bias against spread of the estimators",
    "sweep": "bounds against what was swept",
}


def show_images(folder: Path) -> str:
    """The Markdown of the figures in a folder."""
    return "".join(
        f"\n![{_ALT_TEXTS[path.stem]}]({path.relative_to(REPOSITORY)})\n"
        for path in sorted(folder.glob("*.png"))
    )


def generated() -> dict[Path, str]:
    """The contents of every file that is made of records, but for figures."""
    readme = REPOSITORY / "README.md"
    files = {
        readme: fill(readme.read_text()),
        records.RESULTS / "README.md": results_page(),
    }
    for name, budget, folder in _recorded():
        files[folder / "table.csv"] = tables.as_csv(name, budget)
        if TABLES[name].at_a_glance:
            text = f"{tables.score(name, budget)}\n\n{tables.table(name, budget)}\n"
            beside = text.replace(f"](results/{name}/{budget}/", "](")
            files[folder / "table.md"] = beside
    return files


def plot() -> None:
    """Writes the figures that are made of records."""
    for name, budget, folder in _recorded():
        if TABLES[name].at_a_glance:
            figures.plot_estimators(name, budget, folder / "estimators.png")
        if name in figures.CURVES and (rows := figures.curves(name, budget)):
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
    plot()  # the page shows what is there
    for path, text in generated().items():
        path.write_text(text)
