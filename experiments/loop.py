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

from experiments import hosts, report
from experiments.checkpoint import Checkpoints
from experiments.evaluation import Evaluator
from experiments.interrupt import Interrupted
from experiments.mesh import local, whole
from experiments.step import Task, TrainState, hyper_parameters, static_fields
from experiments.together import Together


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
                found = {key: np.ravel(value) for key, value in found.items()}
            # What a run takes of the time of all.
            spent = (time.perf_counter() - chunk_started) / len(runs)
            step += length
            done = step == steps
            metrics = [
                {key: float(values[i]) for key, values in found.items()}
                for i in range(len(runs))
            ]
            left = [i for i, run in enumerate(runs) if not run.diverged]
            if done or step % config.eval_every == 0:
                for i in left:
                    metrics[i] |= runs[i].validate(together.pick(state.params, i))
                numbers = [
                    task.choose_by(metrics[i]) if i in left else np.nan
                    for i in range(len(runs))
                ]
                state = together.keep_best(state, numbers)
            seconds = (time.perf_counter() - started) / len(runs)
            for i in left:
                timings = {"steps_per_second": length / spent}
                timings["seconds"] = earlier[i] + seconds
                runs[i].note(step, metrics[i], **timings)
            left = [i for i in left if not runs[i].diverged]
            bar.update(length)
            if left:
                bar.set_postfix(report.postfix(runs[left[0]].log.lines))
            stop = stopping()
            if done or stop or step % config.checkpoint_every == 0:
                for i in left:
                    runs[i].save(together.pick(state, i), step)
            if stop and left and not done:
                raise Interrupted(f"stopped at step {step} of {steps}")
    return state
