"""The point of a sweep: its run's bounds on hard and on relaxed samples."""

import json
from typing import Any

from jax.sharding import Mesh
from ml_collections import ConfigDict

from experiments.engine import processes as hosts
from experiments.engine import report
from experiments.engine.checkpoint import Checkpoints
from experiments.engine.devices import local
from experiments.engine.evaluation import nll_summary
from experiments.engine.hyper import (
    hyper_parameters,
    network_hyper,
    temperature_schedule,
)
from experiments.engine.recorder import make_evaluator
from experiments.engine.step import TrainState, init_state
from experiments.engine.task import Task
from experiments.reproduction import runs
from experiments.reproduction.runs import Run


def measure(task: Task, run: Run, mesh: Mesh, *, samples: int) -> dict[str, Any]:
    """Trains a point, or continues it, and evaluates its best parameters.

    Args:
        task: of the run's config.
        run: the point.
        mesh: of all devices.
        samples: m of the bounds.

    Returns:
        `diverged`, `seconds` of training and `versions`; unless it diverged also
        `steps`, `best_step`, the `bounds`, and `measured`: the task's own numbers of
        the validation set, by name.
    """
    result = {"diverged": "diverged" in runs.validate(task, run, mesh)}
    if not result["diverged"]:
        template = init_state(task, run.config, mesh)
        checkpoints = Checkpoints(run.directory / "checkpoints")
        state, step = checkpoints.restore(template, print)
        result |= {"steps": step, "best_step": int(state.best_step)}
        result |= bounds(task, run.config, state, samples)
        params = local(state.best_params)
        result["measured"] = hosts.on_first(lambda: dict(task.measure(params, "valid")))

    def describe() -> dict[str, Any]:
        lines = report.read_metrics(run.directory / "metrics.jsonl")
        return {
            "seconds": lines[-1]["seconds"] if lines else 0.0,
            "versions": json.loads((run.directory / "versions.json").read_text()),
        }

    return result | hosts.on_first(describe)


def bounds(
    task: Task, config: ConfigDict, state: TrainState, samples: int
) -> dict[str, Any]:
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
    schedule = temperature_schedule(hyper_parameters(config))
    temperatures = {"temperature": schedule(config.num_steps - 1)}
    if config.prior_temperature is not None:
        temperatures["prior_temperature"] = config.prior_temperature
    evaluator, params = make_evaluator(task, config, state), state.best_params
    hyper = network_hyper(config, task.num_examples, int(state.best_step))
    discrete = evaluator(params, "valid", samples, hyper=hyper)
    relaxed = evaluator.relaxed(
        params, "valid", samples, config.objective, temperatures
    )
    return {
        "temperature": float(temperatures["temperature"]),
        "discrete": nll_summary(discrete),
        "relaxed": nll_summary(relaxed),
    }
