"""A sweep: the points of a grid, trained as one or one after the other, and evaluated.

The points share what they compile, and each is a run in the directory of its own
command, with the sweep's two numbers of it beside the run's own files.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

import gumbel
from experiments.cli.config import check_config, common_rules
from experiments.engine import processes as hosts
from experiments.engine import report
from experiments.engine.checkpoint import Checkpoints
from experiments.engine.devices import local
from experiments.engine.evaluation import Evaluator, nll_summary
from experiments.engine.run_directory import default_workdir, write_json
from experiments.engine.step import EVALUATE, TrainState, check_task
from experiments.engine.task import Task
from experiments.engine.traced import hyper_parameters, static_fields
from experiments.engine.train import first_state
from experiments.reproduction import grid


class Point(NamedTuple):
    """A point of a grid: the values of the swept fields, its config and its run."""

    fields: dict[str, Any]
    config: ConfigDict
    run: Path

    def found(self, samples: int) -> Path:
        """The file of its bounds L_m, there once the point is done."""
        return self.run / f"bounds-{samples}.json"


def make_points(
    experiment: str, variant: str, base: ConfigDict, fields: Mapping[str, Sequence]
) -> list[Point]:
    """The points of a grid, the last field changing fastest.

    Args:
        experiment: name of the experiment.
        variant: the variant of its config.
        base: the config of that variant, with what all points have changed in it.
        fields: the values of each swept field.

    Raises:
        ConfigError: if a value is impossible in a field that all experiments have.
    """
    points = []
    for values in grid.product(fields):
        given = dict(values)
        if "temperature" in fields and "schedule.minimum" not in fields:
            # Below the floor of its schedule a temperature lowers the floor to itself.
            floor = min(base.schedule.minimum, values["temperature"])
            given["schedule.minimum"] = floor
        config = grid.point_config(base, given)
        check_config(config, common_rules())
        run = default_workdir(experiment, variant, config.to_dict())
        points.append(Point(values, config, run))
    return points


def check_points(make_task: Callable, points: Sequence[Point]) -> None:
    """Checks what depends on the experiment, once for points that share a step.

    Raises:
        ConfigError: if a point cannot run.
    """
    for group in _groups(points):
        config = group[0].config
        check_task(make_task(config), config)


def run_points(
    make_task: Callable[[ConfigDict], Task], points: Sequence[Point], samples: int
) -> list[dict[str, Any]]:
    """Trains and evaluates the points that are not done.

    Args:
        make_task: config -> Task.
        points: what to do.
        samples: m of the bounds.

    Returns:
        What `measure` found, for every point in order.

    Raises:
        Interrupted: on SIGTERM or Ctrl-C in training, with the state saved.
    """
    with report.progress(len(points), 0, "sweep") as bar:
        bar.unit = "point"
        for group in _groups(points):
            left = hosts.on_first(lambda group=group: _left(group, samples))
            bar.update(len(group) - len(left))
            if not left:
                continue
            config, compiled = group[0].config, {}
            task, mesh = make_task(config), grid.mesh_of(config, len(group))
            runs = [(group[i].config, group[i].run) for i in left]
            grid.train_as_one(task, runs, mesh, compiled)
            for point in (group[i] for i in left):
                _say(bar, f"{_named(point.fields)}: {point.run}")
                found = measure(task, point, samples, compiled, mesh)
                _write(point.found(samples), found)
                _say(bar, f"  {_shown(found)}")
                bar.update()
    return read_points(points, samples)


def read_points(points: Sequence[Point], samples: int) -> list[dict[str, Any]] | None:
    """What `measure` found for every point in order; None while one is not done."""

    def read() -> list[dict[str, Any]] | None:
        if _left(points, samples):
            return None
        return [json.loads(point.found(samples).read_text()) for point in points]

    return hosts.on_first(read)


def _left(points: Sequence[Point], samples: int) -> list[int]:
    return [i for i, p in enumerate(points) if not p.found(samples).exists()]


def _write(path: Path, found: Mapping[str, Any]) -> None:
    hosts.on_first(lambda: write_json(path, found))


def measure(
    task: Task,
    point: Point,
    samples: int,
    compiled: dict[Any, Callable],
    mesh: Mesh,
) -> dict[str, Any]:
    """Trains a point, or continues it, and evaluates its best parameters.

    Args:
        task: of the point's config.
        point: what to train.
        samples: m of the bounds.
        compiled, mesh: as in `train`.

    Returns:
        `diverged`, `seconds` of training and `versions`; unless it diverged also
        `steps`, `best_step`, the `bounds`, and `measured`: the task's own numbers of
        the validation set, by name.
    """
    config, run = point.config, point.run
    diverged = "diverged" in grid.trained(task, config, run, compiled, mesh)
    found: dict[str, Any] = {"diverged": diverged}
    if not diverged:
        template = first_state(task, config, compiled, mesh)
        state, step = Checkpoints(run / "checkpoints").restore(template, print)
        found |= {"steps": step, "best_step": int(state.best_step)}
        found |= bounds(task, config, state, samples)
        params = local(state.best_params)
        found["measured"] = hosts.on_first(lambda: dict(task.measure(params, "valid")))
    return found | hosts.on_first(lambda: _described(run))


def _described(run: Path) -> dict[str, Any]:
    lines = report.read_metrics(run / "metrics.jsonl")
    return {
        "seconds": lines[-1]["seconds"] if lines else 0.0,
        "versions": json.loads((run / "versions.json").read_text()),
    }


def bounds(task: Task, config, state: TrainState, samples: int) -> dict[str, Any]:
    """The bounds of a run's best parameters on hard and on relaxed samples.

    Both are −L_m on the validation set. The relaxed one is of the program that the last
    step was trained on, under the objective: a bound for relaxed_density, (20) of
    Maddison et al. (2017), or where there is no KL; figure 4, right, of the paper.

    Args:
        task: what was trained.
        config: of the run.
        state: at its end.
        samples: m.

    Returns:
        `temperature`, of the last step, and for `discrete` and `relaxed` the mean over
        examples as `nll` and its standard error as `nll_stderr`, in nats.
    """
    schedule = gumbel.schedules.exponential(**hyper_parameters(config)["schedule"])
    temperatures = {"temperature": schedule(config.num_steps - 1)}
    if config.prior_temperature is not None:
        temperatures["prior_temperature"] = config.prior_temperature
    evaluator = Evaluator(
        task.program,
        task.evaluation,
        config.eval_batch_size,
        jax.random.fold_in(state.key, EVALUATE),
    )
    params = state.best_params
    discrete = evaluator(params, "valid", samples)
    relaxed = evaluator.relaxed(
        params, "valid", samples, config.objective, temperatures
    )
    return {
        "temperature": float(temperatures["temperature"]),
        "discrete": nll_summary(discrete),
        "relaxed": nll_summary(relaxed),
    }


def _groups(points: Sequence[Point]) -> list[list[Point]]:
    """The points, those together that share a compiled step."""
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(static_fields(point.config), []).append(point)
    return list(groups.values())


def _say(bar, line: str) -> None:
    bar.write(line)  # above the bar, where there is one
    sys.stdout.flush()  # a log of hours should be read while it grows


def _named(fields: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in fields.items())


def _shown(found: Mapping[str, Any]) -> str:
    if found["diverged"]:
        return "diverged"
    numbers = [f"{name} {found[name]['nll']:.2f}" for name in ("discrete", "relaxed")]
    text = f"{', '.join(numbers)} nats; {found['seconds']:.0f} s"
    return "; ".join([text, *(f"{k} {v:.4f}" for k, v in found["measured"].items())])
