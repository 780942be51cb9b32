"""Turns finished runs into records, and records into the tables of the README.

    python scripts/make_tables.py --record=RUN_DIR --name=vae/categorical-50k
    python scripts/make_tables.py

A record is one JSON file under results/: the run's config, result and versions as the
run itself wrote them. Tables are made from records and nothing else, between the
README's <!-- table: NAME --> markers; a test fails when they differ.
"""

import itertools
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from absl import app, flags

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import gumbel  # noqa: E402
from experiments import report  # noqa: E402
from experiments.workdir import write_json  # noqa: E402
from scripts.published import JANG, MADDISON  # noqa: E402

RESULTS = ROOT / "results"

_RECORD = flags.DEFINE_string("record", None, "run directory to record")
_NAME = flags.DEFINE_string("name", None, "name of the record, folder/name")


def make_record(run: Path) -> dict:
    """What a finished run wrote about itself, as one object.

    Raises:
        FileNotFoundError: if the run is not finished.
    """
    files = ("config", "result", "versions")
    return {name: json.loads((run / f"{name}.json").read_text()) for name in files}


def read_records(folder: str) -> dict[str, dict]:
    """The records of a folder of results/, by name."""
    paths = sorted((RESULTS / folder).glob("*.json"))
    return {path.stem: json.loads(path.read_text()) for path in paths}


HEADER = (
    "record|estimator|objective|steps|learning rate|test nll (m)|test L_1|published|"
    "seed|trained in|jax, device"
).split("|")


def published(experiment: str, config: dict) -> str:
    """The published number of the same network and estimator, or a dash."""
    model = config["model"]
    # Only the linear networks, coded plainly, are Jang et al.'s.
    if model.get("hidden") or model.get("code", "plain") != "plain":
        return "–"
    numbers = JANG[experiment, model["family"]]
    return (
        f"{numbers[config['estimator']]:.1f}" if config["estimator"] in numbers else "–"
    )


def runs_table(experiment: str) -> str:
    """A row a record of one experiment, the best validation bound first."""
    records = read_records(experiment)
    order = sorted(records, key=lambda name: records[name]["result"]["valid"]["nll"])
    rows = []
    for name in order:
        config, result = records[name]["config"], records[name]["result"]
        test, versions = result["test"], records[name]["versions"]
        bound = f"{test['nll']:.2f} ± {test['nll_stderr']:.2f}"
        rows.append(
            [
                f"[{name}](results/{experiment}/{name}.json)",
                f"`{config['estimator']}`",
                config["objective"],
                f"{config['num_steps']:,}",
                f"{config['optimizer']} {config['learning_rate']:g}",
                f"{bound} ({test['eval_samples']})",
                f"{test['nll_1']:.2f}",
                published(experiment, config),
                str(config["seed"]),
                f"{result['seconds']:.0f} s",
                f"{versions['jax']}, {versions['device_kind']}",
            ]
        )
    return report.markdown(HEADER, rows)


# Nats; the papers give no error bars, and closer numbers are a tie.
TIE = 0.5


def compared(experiment: str) -> dict[str, dict[str, dict]]:
    """The records of scripts/compare.py, by family of the network and estimator."""
    families: dict[str, dict[str, dict]] = {}
    for record in read_records(experiment).values():
        if "selection" in record:
            family = families.setdefault(record["config"]["model"]["family"], {})
            family[record["config"]["estimator"]] = record
    return families


def orderings(experiment: str, family: str, records: dict[str, dict]) -> str:
    """Which of the published orderings of two estimators hold in the records."""
    numbers = JANG[experiment, family]
    names = [name for name in numbers if name in records]
    holds, ties, reverse = [], [], []
    for better, worse in itertools.permutations(names, 2):
        if numbers[worse] - numbers[better] <= TIE:
            continue
        ours = [records[name]["result"]["test"]["nll"] for name in (better, worse)]
        gap = ours[1] - ours[0]
        kind = ties if abs(gap) <= TIE else holds if gap > 0 else reverse
        kind.append(f"`{better}` before `{worse}`")
    found = len(holds) + len(ties) + len(reverse)
    lines = [
        f"{family}: of the {found} published orderings by more than {TIE} nats, "
        f"{len(holds)} hold"
    ]
    lines += [f"within {TIE} nats here: {', '.join(ties)}"] if ties else []
    lines += [f"the other way round: {', '.join(reverse)}"] if reverse else []
    return "; ".join(lines) + "."


def conditions(records: list[dict]) -> str:
    """What the rows of a comparison have in common, and what they took."""

    def shared(field: str) -> str:
        values = {record["config"][field] for record in records}
        return " or ".join(
            x if isinstance(x, str) else f"{x:,}" for x in sorted(values)
        )

    rates = {x["learning_rate"] for record in records for x in record["selection"]}
    test = records[0]["result"]["test"]
    versions = records[0]["versions"]
    seconds = [record["result"]["seconds"] for record in records]
    return (
        f"{shared('num_steps')} steps of {shared('optimizer')}, batch "
        f"{shared('batch_size')}, m = {shared('num_samples')}, seed {shared('seed')}; "
        f"test L_{test['eval_samples']} in nats, the learning rate of each row from "
        f"{', '.join(f'{rate:g}' for rate in sorted(rates))} by its best validation "
        f"bound; {min(seconds):.0f} to {max(seconds):.0f} s of training a run, jax "
        f"{versions['jax']}, {versions['device_kind']}."
    )


def comparison_table(experiment: str) -> str:
    """Every estimator at its best learning rate, beside the published number."""
    families = compared(experiment)
    header = ["estimator"]
    for family in families:
        header += [f"{family}: test nll", "L_1", "published", "learning rate"]
    rows = []
    for name in gumbel.estimators.ESTIMATORS:
        cells = [f"`{name}`"]
        for family, records in families.items():
            if name not in records:
                cells += ["–"] * 4
                continue
            test, config = records[name]["result"]["test"], records[name]["config"]
            link = f"results/{experiment}/{family}-{name}.json"
            cells += [
                f"[{test['nll']:.2f} ± {test['nll_stderr']:.2f}]({link})",
                f"{test['nll_1']:.2f}",
                published(experiment, config),
                f"{config['learning_rate']:g}",
            ]
        if set(cells[1:]) != {"–"}:
            rows.append(cells)
    records = [record for family in families.values() for record in family.values()]
    notes = [orderings(experiment, *item) for item in families.items()]
    return "\n\n".join([report.markdown(header, rows), conditions(records), *notes])


def concrete_table() -> str:
    """The networks of Maddison et al., Concrete against NVIL and VIMCO."""
    records = read_records("concrete")
    rows = []
    for (network, m), numbers in MADDISON.items():
        row, found = [network, str(m)], False
        for kind, name in (
            ("concrete", "gumbel_softmax"),
            ("vimco", "nvil" if m == 1 else "vimco"),
        ):
            file = f"{network}-{name}-m{m}"
            record = records.get(file)
            found = found or record is not None
            row += _concrete_cells(file, record) if record else ["–"] * 3
            row.append("{:.1f} / {:.1f}".format(*numbers[kind]))
        if found:
            rows.append(row)
    header = ["network", "m"]
    for kind in ("Concrete", "NVIL, VIMCO"):
        header += [f"{kind}: test nll (m)", "train", "steps", "published"]
    return report.markdown(header, rows)


def _concrete_cells(file: str, record: dict) -> list[str]:
    test, train = (record["result"][split] for split in ("test", "train"))
    bound = f"{test['nll']:.2f} ± {test['nll_stderr']:.2f} ({test['eval_samples']})"
    return [
        f"[{bound}](results/concrete/{file}.json)",
        f"{train['nll']:.2f}",
        f"{record['result']['steps']:,}",
    ]


def estimators_table() -> str:
    """Every estimator, as its entry documents it."""
    rows = []
    for name, entry in gumbel.estimators.ESTIMATORS.items():
        least, most = entry.samples
        rows.append(
            [
                f"`{name}`",
                "yes" if entry.unbiased else "no",
                f"{least}" if most == least else f"≥ {least}",
                entry.cost,
                ", ".join(f"`{h}={v}`" for h, v in entry.hyper.items()) or "–",
                entry.reference,
            ]
        )
    header = (
        "name|unbiased|m|evaluations of the program|own hyper-parameters|what it is"
    )
    return report.markdown(header.split("|"), rows)


def expected_line() -> str:
    """What the default command ends with, from its record."""
    record, longer = (read_records("vae")[f"categorical-{n}k"] for n in (20, 50))
    result, test = record["result"], record["result"]["test"]
    best = longer["result"]["test"]
    return (
        f"It ends with `test: nll {test['nll']:.2f} ± {test['nll_stderr']:.2f} nats "
        f"(L_{test['eval_samples']} on hard samples)`; {result['steps']:,} steps took "
        f"{result['seconds']:.0f} s on two cores. At {longer['result']['steps']:,} "
        f"steps the same model reaches {best['nll']:.1f} (L_{best['eval_samples']})."
    )


def quality_table() -> str:
    """The table of scripts/gradient_quality.py, as it wrote it."""
    folder = RESULTS / "gradient_quality"
    record = json.loads((folder / "quality.json").read_text())
    settings, versions = record["settings"], record["versions"]
    return (
        (folder / "table.md").read_text()
        + f"\nReference: {settings['reference']}; {settings['repeats']:,} draws of a "
        f"gradient, {settings['num_parameters']:,} parameters, step "
        f"{settings['step']:,}; jax {versions['jax']}, {versions['device_kind']}."
    )


TABLES: dict[str, Callable[[], str]] = {
    "expected": expected_line,
    "concrete": concrete_table,
    "estimators": estimators_table,
    "gradient_quality": quality_table,
    "structured_prediction": lambda: comparison_table("structured_prediction"),
    "vae": lambda: runs_table("vae"),
}


def fill(text: str) -> str:
    """A text with the tables between its markers made anew."""
    for name, table in TABLES.items():
        start, end = f"<!-- table: {name} -->", f"<!-- end: {name} -->"
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
    readme = ROOT / "README.md"
    readme.write_text(fill(readme.read_text()))


if __name__ == "__main__":
    app.run(main)
