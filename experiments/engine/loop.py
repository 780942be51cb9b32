"""The loop over chunks of steps, of a run or of several as one.

A chunk is one call of a compiled scan: the data set lies on the device, batches are
gathered, binarised and trained on inside it, and the host sees one set of metrics a
chunk.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from experiments import Interrupted
from experiments.engine import processes as hosts
from experiments.engine import report
from experiments.engine.checkpoint import Checkpoints
from experiments.engine.devices import local, whole
from experiments.engine.evaluation import Evaluator
from experiments.engine.step import TrainState
from experiments.engine.task import Task
from experiments.engine.together import Together
from experiments.engine.traced import hyper_parameters, static_fields


@dataclasses.dataclass
class Run:
    """A run that has claimed its directory.

    Attributes:
        task, config, workdir: what and where it is.
        checkpoints, log, evaluator: of the run.
        saved: the step of its newest checkpoint.
        diverged: which metric was not finite at which step; such a run is over.
    """

    task: Task
    config: Any
    workdir: Path
    checkpoints: Checkpoints
    log: report.MetricsLog
    evaluator: Evaluator
    saved: int
    diverged: str | None = None

    def validate(self, params) -> dict[str, float]:
        """The `valid_…` metrics of parameters."""
        bounds = self.evaluator(params, "valid", self.config.valid_samples)
        return {"valid_nll": float(-bounds.mean())} | {
            f"valid_{name}": value
            for name, value in self.measure(params, "valid").items()
        }

    def measure(self, params, split: str) -> Mapping[str, float]:
        """The task's own numbers of a split."""
        return hosts.on_first(lambda: self.task.measure(local(params), split))

    def note(self, step: int, metrics: Mapping[str, float], **timings: float) -> None:
        """Logs the metrics of a step; or the run is over, if one is not finite."""
        if self.diverged:
            return
        for name, value in metrics.items():
            if not np.isfinite(value):
                last = f"step {self.saved}" if self.saved else "none"
                self.diverged = (
                    f"step {step}: {name} is {value}; last good checkpoint: {last}, "
                    f"in {self.workdir / 'checkpoints'}"
                )
                return
        self.log.write({"step": step, **metrics, **timings})

    def save(self, state: TrainState, step: int) -> None:
        """Saves the state of a step."""
        self.checkpoints.save(state, step)
        self.saved = step


def advance(
    runs: Sequence[Run],
    states: Sequence[TrainState],
    step: int,
    mesh: Mesh,
    stopping: Callable[[], bool],
    compiled: dict[Any, Callable],
    tracing: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
) -> TrainState:
    """Trains runs from a step to the last one, or until they have diverged.

    Args:
        runs: whose configs differ in traced fields only.
        states: of each run at the step.
        step: that all of them are at.
        mesh: where they compute.
        stopping: asked once a chunk.
        compiled: as in `train`.
        tracing: the context of a chunk.

    Returns:
        The states at the end, as `Together` keeps them.

    Raises:
        Interrupted: if stopped, with all states saved.
    """
    task, config, together = runs[0].task, runs[0].config, Together(len(runs), mesh)
    hypers = [jax.device_put(hyper_parameters(r.config), whole(mesh)) for r in runs]
    state, hyper = together.stack_states(states), together.stack(hypers)
    data = jax.device_put(dict(task.data), whole(mesh))
    static, steps = static_fields(config), config.num_steps
    earlier, started = [run.log.seconds for run in runs], time.perf_counter()
    with report.progress(steps, step, task.experiment) as bar:
        while step < steps and not all(run.diverged for run in runs):
            length = min(config.log_every, steps - step)
            name = static, mesh, len(runs), length
            if name not in compiled:
                chunk = together.make_chunk(task, config, length)
                compiled[name] = chunk.lower(state, hyper, data).compile()
            chunk_started = time.perf_counter()
            with tracing():
                state, found = compiled[name](state, hyper, data)
                metrics = _of_each(found, len(runs))
            # Of all that runs take as one, each has its share.
            rate = length * len(runs) / (time.perf_counter() - chunk_started)
            step += length
            done = step == steps
            if done or step % config.eval_every == 0:
                state = _validate(runs, state, metrics, together)
            seconds = (time.perf_counter() - started) / len(runs)
            for run, values, before in zip(runs, metrics, earlier, strict=True):
                run.note(step, values, steps_per_second=rate, seconds=before + seconds)
            bar.update(length)
            if lines := runs[0].log.lines:
                bar.set_postfix(report.postfix(lines))
            stop = stopping()
            if done or stop or step % config.checkpoint_every == 0:
                for i, run in enumerate(runs):
                    if not run.diverged:
                        run.save(together.pick(state, i), step)
            if stop and not done:
                raise Interrupted(f"stopped at step {step} of {steps}")
    return state


def _of_each(found: Mapping[str, jax.Array], count: int) -> list[dict[str, float]]:
    """The metrics of a chunk, a scalar each, or stacked, as those of each run."""
    found = {name: np.ravel(values) for name, values in found.items()}
    return [{name: float(found[name][i]) for name in found} for i in range(count)]


def _validate(
    runs: Sequence[Run],
    state: TrainState,
    metrics: Sequence[dict[str, float]],
    together: Together,
) -> TrainState:
    """Adds the metrics of a validation, and keeps the best parameters so far."""
    numbers = []
    for i, (run, values) in enumerate(zip(runs, metrics, strict=True)):
        if not run.diverged:
            values |= run.validate(together.pick(state.params, i))
        numbers.append(np.nan if run.diverged else run.task.choose_by(values))
    return together.keep_best(state, numbers)
