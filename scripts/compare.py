"""Compares estimators, each at its best learning rate of a grid.

    python scripts/compare.py --config=configs/structured_prediction.py:bernoulli \\
        --experiment=structured_prediction --learning_rates=3e-4,1e-3,3e-3

Every point of the grid is a run of its own, in the directory that its command would
use. For each estimator only the run with the best validation bound is evaluated, so
the test set is read once an estimator. The records go to
results/EXPERIMENT/VARIANT-ESTIMATOR.json, with the validation bounds of the whole grid
in them; scripts/make_tables.py makes the table. Stopped at any point, the same command
goes on. The learning rates of an estimator share one compiled step.
"""

import functools
import importlib
import sys
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from experiments import launch, report  # noqa: E402
from experiments.grid import Point, command, point_config, trained  # noqa: E402
from experiments.step import Task  # noqa: E402
from experiments.train import train  # noqa: E402
from experiments.workdir import default_workdir, write_json  # noqa: E402
from scripts.make_tables import RESULTS, make_record  # noqa: E402

_CONFIG = config_flags.DEFINE_config_file("config")
_EXPERIMENT = flags.DEFINE_string("experiment", "vae", "module of experiments/")
_ESTIMATORS = flags.DEFINE_list(
    "estimators",
    "score_function,nvil,darn,muprop,straight_through,slope_annealed_st,"
    "gumbel_softmax,st_gumbel_softmax",
    "names",
)
_RATES = flags.DEFINE_list("learning_rates", "3e-4,1e-3,3e-3", "the grid")

# Jang, Gu & Poole (2017) normalise the variance of these; a running-mean baseline is
# what makes the score function comparable at all.
OPTIONS = {
    "score_function": {"options.baseline_decay": 0.9, "options.variance_decay": 0.9},
    "darn": {"options.variance_decay": 0.9},
    "muprop": {"options.variance_decay": 0.9},
}


def record(task: Task, grid: list[Point], path: Path, compiled: dict) -> str:
    """Evaluates the best point of one estimator and writes its record."""
    best = min(grid, key=lambda point: point.valid_nll)
    if best.valid_nll == float("inf"):
        return "diverged at every learning rate; nothing recorded"
    result = train(task, best.config, best.run, compiled=compiled)
    selection = [
        {"learning_rate": point.config.learning_rate, "valid_nll": point.valid_nll}
        for point in grid
        if point.valid_nll < float("inf")
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, make_record(best.run) | {"selection": selection})
    return f"{best.config.learning_rate:g}: " + report.summary(result, best.run)


def main(argv: list[str]) -> None:
    """Trains the grid, evaluates the best of each estimator and records it."""
    del argv
    base, experiment = _CONFIG.value, _EXPERIMENT.value
    path, variant = launch.file_and_variant(flags.FLAGS)
    make_task = importlib.import_module(f"experiments.{experiment}").make_task
    task = make_task(base)  # the same for every point of the grid
    compiled: dict = {}
    for estimator in _ESTIMATORS.value:
        grid = []
        for rate in map(float, _RATES.value):
            fields = {"estimator": estimator, "learning_rate": rate}
            config = point_config(base, fields | OPTIONS.get(estimator, {}))
            run = default_workdir(experiment, variant, config.to_dict())
            print(command(experiment, path, variant, config), flush=True)
            grid.append(trained(task, config, run, compiled))
            print(f"  best validation nll {grid[-1].valid_nll:.2f}", flush=True)
        destination = RESULTS / experiment / f"{variant}-{estimator}.json"
        found = record(task, grid, destination, compiled)
        print(f"{estimator}: {found}", flush=True)


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(functools.partial(launch.run_script, main))
