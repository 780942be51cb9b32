"""Repeats semi-supervised runs over seeds: mean and standard deviation of accuracy.

    python scripts/label_seeds.py --config=configs/semi_supervised.py:mlp \\
        --estimators=exact,gumbel_softmax,st_gumbel_softmax --seeds=0,1,2,3,4

A seed chooses the labelled images, and is that of parameters, batches and noise, too.
Every point is a run of its own, in the directory that its command would use, one after
another: stopped at any point, the same command goes on. Writes what the runs of an
estimator have in common to results/semi_supervised/VARIANT-ESTIMATOR.json and prints
the table.
"""

import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags
from ml_collections import ConfigDict, config_flags

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from experiments import launch, report  # noqa: E402
from experiments.grid import point_config  # noqa: E402
from experiments.semi_supervised import make_task  # noqa: E402
from experiments.train import train  # noqa: E402
from experiments.workdir import default_workdir, write_json  # noqa: E402

EXPERIMENT = "semi_supervised"

# Table 2 of Jang, Gu & Poole (2017): accuracy in %, and the bound in nats as an nll.
PUBLISHED = {
    "exact": (92.6, 106.8),
    "gumbel_softmax": (92.4, 109.6),
    "st_gumbel_softmax": (93.6, 110.7),
}
HEADER = (
    "estimator | seeds | test accuracy, % | published | validation accuracy, % | "
    "test L_1, nll | published"
).split(" | ")


def define_flags() -> None:
    """Defines the flags of the command, and not of who imports this."""
    default = str(ROOT / "configs" / f"{EXPERIMENT}.py")
    config_flags.DEFINE_config_file("config", default)
    flags.DEFINE_list("estimators", "exact,gumbel_softmax,st_gumbel_softmax", "names")
    flags.DEFINE_list("seeds", "0,1,2,3,4", "seeds of labels and runs")


def seed_config(base: ConfigDict, estimator: str, seed: int) -> ConfigDict:
    """The config of one run."""
    fields = {"estimator": estimator, "seed": seed, "labelled.seed": seed}
    return point_config(base, fields)


def summarise(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over runs, of each number of valid and test.

    Args:
        results: the contents of result.json of each run.

    Returns:
        {"valid": {"accuracy": {"mean": …, "std": …}, …}, "test": …}; the deviation is
        that of one run, with n − 1, and 0 for a single one.
    """
    summary = {}
    for split in ("valid", "test"):
        summary[split] = {}
        for name in ("accuracy", "nll", "nll_1"):
            values = [result[split][name] for result in results]
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            summary[split][name] = {"mean": float(np.mean(values)), "std": spread}
    return summary


def row(estimator: str, record: dict[str, Any]) -> list[str]:
    """The cells of an estimator in the table."""

    def cell(split: str, name: str, scale: float = 1.0) -> str:
        value = record["summary"][split][name]
        return f"{scale * value['mean']:.2f} ± {scale * value['std']:.2f}"

    accuracy, nll = (
        f"{x:.1f}" if x is not None else "–"
        for x in PUBLISHED.get(estimator, (None, None))
    )
    return [
        f"`{estimator}`",
        str(len(record["seeds"])),
        cell("test", "accuracy", 100),
        accuracy,
        cell("valid", "accuracy", 100),
        cell("test", "nll_1"),
        nll,
    ]


def main(argv: list[str]) -> None:
    """Trains and evaluates every run, records them and prints the table."""
    del argv
    path, variant = launch.file_and_variant(flags.FLAGS)
    rows = []
    for estimator in flags.FLAGS.estimators:
        results, configs, versions = [], [], {}
        for seed in map(int, flags.FLAGS.seeds):
            config = seed_config(flags.FLAGS.config, estimator, seed)
            run = default_workdir(EXPERIMENT, variant, config.to_dict())
            result = train(make_task(config), config, run)
            versions = json.loads((run / "versions.json").read_text())
            results.append(result)
            configs.append(config.to_dict())
            print(f"{estimator}, seed {seed}: {report.summary(result, run)}")
        record = {
            "config": configs[0],
            "seeds": [config["seed"] for config in configs],
            "results": results,
            "summary": summarise(results),
            "versions": versions,
        }
        folder = ROOT / "results" / EXPERIMENT
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{variant}-{estimator}.json", record)
        rows.append(row(estimator, record))
    print(report.markdown(HEADER, rows))


if __name__ == "__main__":
    define_flags()
    app.run(functools.partial(launch.run_script, main))
