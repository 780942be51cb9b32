"""What runs will take, from what runs of the same networks took."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments import ConfigError
from experiments.engine.report import read_metrics
from experiments.engine.run_directory import flatten
from experiments.reproduction.records import config_of

# What the time of a step depends on, beside the estimator, and that of an evaluation.
_STEP = (
    *("experiment", "model.", "method", "batch_size", "labelled.batch_size"),
    "num_samples",
)
_EVALUATION = (
    *("experiment", "model.", "method", "dataset.name", "eval_samples"),
    *("eval_batch_size", "train_samples", "report_samples"),
)
_ESTIMATOR = ("estimator", "options.inner_samples", "options.replicates")
# Shorter runs are mostly compilation.
_LEAST_STEPS = 1000


class Measured(NamedTuple):
    """A run as it was, and the seconds that parts of it took.

    Those of the steps are with compilation and validations, those of the final
    evaluation are None where there is none yet. `config` is flat, with `experiment`.
    """

    config: Mapping[str, Any]
    steps: int
    seconds: float
    evaluation: float | None


class Estimate(NamedTuple):
    """Seconds of `timed` runs, without those of `unevaluated` evaluations of them.

    Of `untimed` runs nothing is known.
    """

    seconds: float
    timed: int
    unevaluated: int
    untimed: int

    def __str__(self) -> str:
        hours, minutes = divmod(round(self.seconds / 60), 60)
        text = f"about {hours} h {minutes} min" if hours else f"about {minutes} min"
        parts = [f"{text} for {self.timed} runs"] if self.timed else []
        if self.unevaluated:
            parts[0] += f" without {self.unevaluated} final evaluations, never timed"
        if self.untimed:
            parts.append(
                f"nothing to estimate {self.untimed} runs from, whose network never ran"
            )
        return "; ".join(parts) or "nothing left"


def measured(results: Path, runs: Path, device_kind: str) -> list[Measured]:
    """What all records, and then all run directories, tell of a kind of device.

    Args:
        results: the folder of records, at any depth.
        runs: the folder of run directories, runs/EXPERIMENT/NAME.
        device_kind: as in the versions of a run.
    """
    described = [_read(path) for path in sorted(results.rglob("*.json"))]
    for path in sorted(runs.glob("*/*/config.json")):
        names = "config", "result", "versions"
        run = {name: _read(path.with_name(f"{name}.json")) for name in names}
        if lines := read_metrics(path.with_name("metrics.jsonl")):
            last = {"steps": lines[-1]["step"], "seconds": lines[-1]["seconds"]}
            described.append(run | {"result": run["result"] | last})
    found = []
    for run in described:
        result = run.get("result", {})
        if (
            result.get("steps", 0) < _LEAST_STEPS
            or run.get("versions", {}).get("device_kind") != device_kind
        ):
            continue
        with contextlib.suppress(ConfigError):  # of an experiment that is no more
            config = _flat(*config_of(run))
            times = result["seconds"], result.get("evaluation_seconds")
            found.append(Measured(config, result["steps"], *times))
    return found


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none, or not yet."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _flat(experiment: str, config) -> dict[str, Any]:
    return {"experiment": experiment, **flatten(config.to_dict())}


def estimate(
    known: Sequence[Measured], runs: Sequence[tuple[str, Any, bool]]
) -> Estimate:
    """Estimates the time of runs that have not begun.

    A step takes what it took in the longest run of the same network, batch and m, by
    the same estimator where there is one; an evaluation what the last one took.

    Args:
        known: from `measured`.
        runs: of each the experiment, the config, and whether it is evaluated.
    """
    seconds, timed, unevaluated = 0.0, 0, 0
    for experiment, config, is_evaluated in runs:
        flat = _flat(experiment, config)
        alike = _alike(known, flat, _STEP)
        if not alike:
            continue
        timed += 1
        own = _alike(alike, flat, _ESTIMATOR) or alike
        longest = max(own, key=lambda one: one.steps)
        seconds += config.num_steps * longest.seconds / longest.steps
        if is_evaluated:
            found = [one.evaluation for one in _alike(known, flat, _EVALUATION)]
            found = [evaluation for evaluation in found if evaluation is not None]
            seconds += found[-1] if found else 0.0
            unevaluated += not found
    return Estimate(seconds, timed, unevaluated, len(runs) - timed)


def _alike(
    known: Sequence[Measured], config: Mapping[str, Any], fields: tuple[str, ...]
) -> list[Measured]:
    def chosen(flat: Mapping[str, Any]) -> str:
        some = {name: flat[name] for name in flat if name.startswith(fields)}
        return json.dumps(some, sort_keys=True)

    return [one for one in known if chosen(one.config) == chosen(config)]
