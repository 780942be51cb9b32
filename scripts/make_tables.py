"""Turns finished runs into records, and records into the tables of the README.

    python scripts/make_tables.py --record=RUN_DIR --name=vae/categorical-50k
    python scripts/make_tables.py

A record is one JSON file under results/: the run's config, result and versions as the
run itself wrote them. Tables are made from records and nothing else, between the
README's <!-- table: NAME --> markers; a test fails when they differ.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from absl import app, flags

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from experiments import report  # noqa: E402
from experiments.workdir import write_json  # noqa: E402

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


def vae_table() -> str:
    """Single runs of the discrete VAE."""
    header = (
        "run|estimator|objective|steps|test L_1000|test L_1|published|"
        "training|CPU run on"
    )
    rows = []
    for name, record in read_records("vae").items():
        config, test = record["config"], record["result"]["test"]
        published = {"categorical": "101.5", "bernoulli": "105.0"}
        linear = not config["model"]["hidden"]
        rows.append(
            [
                name,
                config["estimator"],
                config["objective"],
                f"{config['num_steps']:,}",
                f"{test['nll']:.2f} ± {test['nll_stderr']:.2f}",
                f"{test['nll_1']:.2f}",
                published[config["model"]["family"]] if linear else "–",
                f"{record['result']['seconds']:.0f} s",
                f"jax {record['versions']['jax']}, seed {config['seed']}",
            ]
        )
    return report.markdown(header.split("|"), rows)


TABLES: dict[str, Callable[[], str]] = {"vae": vae_table}


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
