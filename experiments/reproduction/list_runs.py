"""Lists runs, and plots their curves over each other.

    python scripts/runs.py
    python scripts/runs.py runs/vae --where=estimator=muprop --where=state=done
    python scripts/runs.py runs/sweep runs/vae --sort=test_nll --csv > runs.csv
    python scripts/runs.py runs/vae --curves=curves.png

  DIR …      folders, all run directories below which are listed [runs]
  --where    NAME=VALUE, a column or a field of the config; several must all hold; VALUE
             is a pattern such as 'gumbel*'
  --sort     a column: run, part_of, state, step, valid_nll, test_nll, accuracy, seconds
             [valid_nll]
  --csv      CSV instead of Markdown
  --curves   FILE.png: the validation curves of the listed runs in one figure

`config` are the fields that differ among the listed runs of an experiment. `part_of` is
the sweep's point or the table's cell that a run belongs to; it is empty for single
runs. The state is done, trained (not evaluated), stopped or diverged. `accuracy` is of
the test set, or of the best validation before that is read. nlls are −L_m in nats, m
being the run's config.valid_samples and config.eval_samples.
"""

import csv
import math
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from absl import flags
from matplotlib.figure import Figure

from experiments import REPOSITORY, ConfigError, WorkdirError
from experiments.engine import plots, report
from experiments.engine.fields import flatten
from experiments.engine.run_directory import read_json
from experiments.engine.trained import experiment_of
from experiments.reproduction.arguments import parse_flags

COLUMNS = (
    *("run", "part_of", "config", "state", "step", "valid_nll", "test_nll"),
    *("accuracy", "seconds"),
)


def read_run(directory: Path) -> dict[str, Any]:
    """The columns of a run, its flat config, and the lines of its validations."""
    files = {path.stem: _read(path) for path in directory.glob("*.json")}
    config, result = flatten(files["config"]), files.get("result", {})
    lines = report.read_metrics(directory / "metrics.jsonl")
    validated = [line for line in lines if "valid_nll" in line]
    best = min(validated, key=lambda line: line["valid_nll"], default={})
    last = lines[-1] if lines else {}
    finite = all(math.isfinite(x) for x in last.values() if isinstance(x, float))
    if any(file.get("diverged") for file in files.values()) or not finite:
        state = "diverged"
    elif result:
        state = "done"
    else:
        is_trained = last.get("step") == config.get("num_steps")
        state = "trained" if is_trained else "stopped"
    if directory.resolve().is_relative_to(REPOSITORY):
        directory = directory.resolve().relative_to(REPOSITORY)
    test = result.get("test", {})
    return {
        "run": str(directory),
        "part_of": files.get("grid", {}).get("name", ""),
        "state": state,
        "step": last.get("step", 0),
        "valid_nll": best.get("valid_nll"),
        "test_nll": test.get("nll"),
        "accuracy": test.get("accuracy", best.get("valid_accuracy")),
        "seconds": last.get("seconds"),
        # Runs of one kind can be compared.
        "kind": experiment_of(files["config"]) or frozenset(config),
        "fields": config,
        "lines": validated,
    }


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where it is damaged."""
    try:
        return read_json(path) or {}
    except WorkdirError:
        return {}


def read_runs(folders: Sequence[Path], where: Sequence[str]) -> list[dict[str, Any]]:
    """The runs below folders for which all NAME=VALUE hold.

    `config` of a run are the fields that differ among the runs of its experiment.

    Raises:
        ConfigError: if a condition is no NAME=VALUE.
    """
    files = sorted({file for folder in folders for file in folder.rglob("config.json")})
    runs = [read_run(file.parent) for file in files]
    for condition in where:
        name, equals, pattern = condition.partition("=")
        if not equals:
            raise ConfigError(f"--where={condition}: must be NAME=VALUE")
        runs = [
            run
            for run in runs
            if fnmatch(str(run.get(name, run["fields"].get(name))), pattern)
        ]
    for run in runs:
        # A field that a config lacks, say of a user's own estimator, is unset in it.
        alike = [x["fields"] for x in runs if x["kind"] == run["kind"]]
        names = dict.fromkeys(name for fields in alike for name in fields)
        run["config"] = " ".join(
            f"{name}={run['fields'].get(name)}"
            for name in names
            if any(other.get(name) != run["fields"].get(name) for other in alike)
        )
    return runs


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value or ''}"


def plot(runs: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plots the validation curves of runs over each other."""
    figure = Figure(figsize=(9, 6))
    axes = figure.subplots()
    for run in runs:
        steps, nlls = ([x[n] for x in run["lines"]] for n in ("step", "valid_nll"))
        label = run["config"] or Path(run["run"]).name
        axes.plot(steps, nlls, "o-", markersize=3, linewidth=1, label=label)
    axes.set(xlabel="step", ylabel="validation nll, nats")
    axes.legend(fontsize=6)
    plots.save(figure, path)


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_multi_string("where", [], "NAME=VALUE", flag_values=values)
    flags.DEFINE_enum("sort", "valid_nll", COLUMNS, "a column", flag_values=values)
    flags.DEFINE_boolean("csv", False, "instead of Markdown", flag_values=values)
    flags.DEFINE_string("curves", None, "file of a figure", flag_values=values)


def main(argv: list[str]) -> None:
    """Prints the table and plots the curves."""
    values, folders = parse_flags(argv, _define_flags)
    folders = [Path(folder) for folder in folders or [REPOSITORY / "runs"]]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: must be a folder")
    runs = read_runs(folders, values.where)
    # What has no such number comes last.
    runs.sort(key=lambda run: (run[values.sort] is None, run[values.sort]))
    if values.csv:
        writer = csv.DictWriter(sys.stdout, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(runs)
    else:
        rows = [[_text(run[column]) for column in COLUMNS] for run in runs]
        print(report.markdown(COLUMNS, rows))
    if values.curves:
        plot(runs, Path(values.curves))
