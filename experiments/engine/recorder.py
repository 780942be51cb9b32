"""A run in its directory: what it validates, logs and saves."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from experiments import DivergedError
from experiments.engine import processes as hosts
from experiments.engine.checkpoint import Checkpoints
from experiments.engine.devices import local
from experiments.engine.evaluation import Evaluator
from experiments.engine.hyper import network_hyper
from experiments.engine.provenance import versions
from experiments.engine.report import MetricsLog
from experiments.engine.run_directory import claim
from experiments.engine.step import EVALUATE, TrainState, init_state
from experiments.engine.task import Task


@dataclasses.dataclass
class Recorder:
    """A run that has claimed its directory.

    Attributes:
        task, config, workdir: of the run.
        checkpoints: in its directory.
        log: its metrics.
        evaluator: of the bounds of its parameters.
        saved: the step of the newest checkpoint.
    """

    task: Task
    config: Any
    workdir: Path
    checkpoints: Checkpoints
    log: MetricsLog
    evaluator: Evaluator
    saved: int

    def validates(self, step: int) -> bool:
        """Whether a step is validated.

        Every `eval_every` steps and at the end; before the first of these at doubling
        intervals, so that short runs are validated, too, and at the same steps as
        longer ones.
        """
        config = self.config
        chunks, rest = divmod(step, config.log_every)
        early = step < config.eval_every and rest == 0 and chunks & (chunks - 1) == 0
        return early or step % config.eval_every == 0 or step == config.num_steps

    def bounds(
        self,
        params,
        step: int,
        split: str,
        num_samples: int,
        stop: Callable[[], None] = lambda: None,
    ) -> np.ndarray:
        """The bounds L_m of the parameters of a step, [n], in nats."""
        return self.evaluator(params, split, num_samples, stop, self.network(step))

    def network(self, step: int) -> dict[str, jax.Array]:
        """The hyper-parameters of the network that is evaluated at a step."""
        return network_hyper(self.config, self.task.num_examples, step)

    def validate(self, params, step: int) -> dict[str, float]:
        """The `valid_…` metrics of the parameters of a step."""
        bounds = self.bounds(params, step, "valid", self.config.valid_samples)
        metrics = {"nll": float(-bounds.mean()), **self.measure(params, "valid")}
        return {f"valid_{name}": value for name, value in metrics.items()}

    def measure(self, params, split: str) -> Mapping[str, float]:
        """The task's further metrics of a split."""
        return hosts.on_first(lambda: self.task.measure(local(params), split))

    def write(self, step: int, metrics: Mapping[str, float], **timings: float) -> None:
        """Logs the metrics of a step.

        Raises:
            DivergedError: if one of them is not finite.
        """
        for name, value in metrics.items():
            if not np.isfinite(value):
                last = f"step {self.saved}" if self.saved else "none"
                raise DivergedError(
                    f"step {step}: {name} is {value}; last good checkpoint: {last}, "
                    f"in {self.workdir / 'checkpoints'}"
                )
        self.log.write({"step": step, **metrics, **timings})

    def save(self, state: TrainState, step: int) -> None:
        """Saves the state of a step."""
        self.checkpoints.save(state, step)
        self.saved = step


def make_evaluator(
    task: Task, config, state: TrainState, mesh: Mesh | None = None
) -> Evaluator:
    """The evaluator of a run, whose noise is that of the state's root key."""
    return Evaluator(
        task.program,
        task.evaluation,
        config.eval_batch_size,
        jax.random.fold_in(state.key, EVALUATE),
        mesh,
        config.estimator,
        task.hard_program,
    )


def claim_directory(
    stack: contextlib.ExitStack,
    task: Task,
    config,
    workdir: Path,
    announce: Callable[[str], None],
) -> None:
    """Holds a run directory until the stack closes.

    Raises:
        WorkdirError: if the directory is another run's, or in use.
    """

    def claim_first() -> None:
        made_with = versions(task.checksum) | {"num_examples": task.num_examples}
        stack.enter_context(claim(workdir, config.to_dict(), made_with, announce))
        (workdir / "diverged.json").unlink(missing_ok=True)

    hosts.on_first(claim_first)


def open_run(
    stack: contextlib.ExitStack,
    task: Task,
    config,
    workdir: Path,
    mesh: Mesh,
    *,
    announce: Callable[[str], None],
    tensorboard: bool = False,
) -> tuple[Recorder, TrainState]:
    """The recorder of a run in its claimed directory, and its newest state."""
    checkpoints = Checkpoints(workdir / "checkpoints")
    state, step = init_state(task, config, mesh), 0
    if restored := checkpoints.restore(state, announce):
        state, step = restored
        announce(f"continuing from step {step} in {workdir}")
    evaluator = make_evaluator(task, config, state, mesh)
    log = stack.enter_context(MetricsLog(workdir, step, tensorboard, announce))
    if hosts.is_first() and step:
        logged = {line["step"] for line in log.lines}
        lost = [s for s in range(0, step + 1, config.log_every) if s not in logged]
        if lost:
            announce(f"{workdir / 'metrics.jsonl'}: has no line of the steps {lost}")
    return Recorder(task, config, workdir, checkpoints, log, evaluator, step), state
