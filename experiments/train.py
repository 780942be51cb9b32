"""The one training loop: a task and a config in, a described run directory out.

A chunk of steps is one call of a compiled scan: the data set lies on the device,
batches are gathered, binarised and trained on inside it, and the host sees one set of
metrics a chunk. Starting the same command again continues the run from its newest
checkpoint, to the bits it would have ended with.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import class_figures, figures, report
from experiments.checkpoint import Checkpoints
from experiments.evaluation import Evaluator, bound_summary
from experiments.interrupt import Interrupted, interruptions
from experiments.step import (
    DRAW,
    EVALUATE,
    Task,
    TrainState,
    check_task,
    hyper_parameters,
    keep_best,
    make_train_chunk,
    seeded_state,
    static_fields,
)
from experiments.workdir import claim, versions, write_json


def train(
    task: Task,
    config,
    workdir: Path,
    *,
    tensorboard: bool = False,
    train_only: bool = False,
    announce: Callable[[str], None] = print,
    compiled: dict[Any, Callable] | None = None,
) -> dict[str, Any] | None:
    """Trains a task, or continues it, and evaluates its best parameters once.

    Args:
        task: what to train.
        config: the locked config, checked.
        workdir: the run directory; belongs to this config.
        tensorboard: whether to write TensorBoard events too.
        train_only: whether to stop before the final evaluation, the only one that
            reads the test set: a choice among runs is made on their validation bounds.
        announce: gets a line at the few moments worth one.
        compiled: what other runs of the experiment have compiled, to use and add to;
            those whose configs differ only in traced fields compile once.

    Returns:
        The contents of result.json; None where only training was asked for.

    Raises:
        ConfigError: if the config cannot run.
        WorkdirError: if the directory is another run's.
        FloatingPointError: if a metric is not finite.
        Interrupted: on SIGTERM or Ctrl-C, with the state saved.
    """
    check_task(task, config)
    compiled = {} if compiled is None else compiled
    with claim(workdir, config.to_dict()), interruptions() as stopping:
        result_file = workdir / "result.json"
        if result_file.exists():
            announce(f"this run is complete: {workdir}")
            return json.loads(result_file.read_text())
        write_json(workdir / "versions.json", versions(task.checksum))
        checkpoints = Checkpoints(workdir / "checkpoints")
        state, step = first_state(task, config, compiled), 0
        if restored := checkpoints.restore(state, announce):
            state, step = restored
            announce(f"continuing from step {step} in {workdir}")
        evaluator = Evaluator(
            task.program,
            task.evaluation,
            config.eval_batch_size,
            jax.random.fold_in(state.key, EVALUATE),
        )
        with report.MetricsLog(workdir, step, tensorboard) as log:
            run = _Run(
                task, config, workdir, checkpoints, evaluator, log, stopping, compiled
            )
            state = run.train(state, step)
            if train_only:
                return None
            started = time.perf_counter()
            result = run.conclude(state)
            result["evaluation_seconds"] = time.perf_counter() - started
        write_json(result_file, result)
        return result


def first_state(task: Task, config, compiled: dict[Any, Callable]) -> TrainState:
    """The state before the first step; `compiled` as in `train`."""
    name = static_fields(config), "state"
    if name not in compiled:
        # One compilation; op by op it takes three times as long.
        compiled[name] = jax.jit(lambda key: seeded_state(key, task, config))
    return compiled[name](jax.random.key(config.seed))


@dataclasses.dataclass(frozen=True)
class _Run:
    """A run that has claimed its directory."""

    task: Task
    config: Any
    workdir: Path
    checkpoints: Checkpoints
    evaluator: Evaluator
    log: report.MetricsLog
    stopping: Callable[[], bool]
    compiled: dict[Any, Callable]

    def train(self, state: TrainState, step: int) -> TrainState:
        """Trains from a step to the last one."""
        config, saved = self.config, step
        hyper, data = hyper_parameters(config), dict(self.task.data)
        before, started = self.log.seconds, time.perf_counter()
        static = static_fields(config)
        with report.progress(config.num_steps, step, self.task.experiment) as bar:
            while step < config.num_steps:
                length = min(config.log_every, config.num_steps - step)
                name = static, length
                if name not in self.compiled:
                    chunk = make_train_chunk(self.task, config, length)
                    self.compiled[name] = chunk.lower(state, hyper, data).compile()
                chunk_started = time.perf_counter()
                state, metrics = self.compiled[name](state, hyper, data)
                metrics = {name: float(value) for name, value in metrics.items()}
                rate = length / (time.perf_counter() - chunk_started)
                step += length
                done = step == config.num_steps
                if done or step % config.eval_every == 0:
                    bounds = self.evaluator(state.params, "valid", config.valid_samples)
                    metrics["valid_nll"] = float(-bounds.mean())
                    measured = self.task.measure(state.params, "valid")
                    metrics |= {f"valid_{name}": v for name, v in measured.items()}
                    state = keep_best(state, self.task.choose_by(metrics))
                self._check_finite(step, metrics, saved)
                seconds = before + time.perf_counter() - started
                self.log.write(
                    {"step": step, **metrics}
                    | {"steps_per_second": rate, "seconds": seconds}
                )
                bar.update(length)
                bar.set_postfix(report.postfix(self.log.lines))
                if done or self.stopping() or step % config.checkpoint_every == 0:
                    self.checkpoints.save(state, step)
                    saved = step
                if self.stopping() and not done:
                    raise Interrupted(f"stopped at step {step} of {config.num_steps}")
        return state

    def conclude(self, state: TrainState) -> dict[str, Any]:
        """Evaluates the best parameters on validation and, this once, on test."""

        def stop() -> None:
            if self.stopping():
                raise Interrupted("stopped in the final evaluation, training is done")

        result = {
            "steps": self.config.num_steps,
            "seconds": self.log.seconds,
            "best_step": int(state.best_step),
        }
        config, params = self.config, state.best_params
        samples = dict.fromkeys(("valid", "test"), config.eval_samples)
        samples["train"] = config.train_samples
        for split, m in samples.items():
            if m == 0:
                continue
            bounds, bounds_1 = (
                self.evaluator(params, split, count, stop) for count in (m, 1)
            )
            result[split] = bound_summary(bounds, bounds_1, m)
            if split != "train":
                result[split] |= self.task.measure(params, split)
            for count in config.report_samples:
                if count < m:
                    bounds = self.evaluator(params, split, count, stop)
                    result[split][f"nll_{count}"] = float(-bounds.mean())
        directory = self.workdir / "figures"
        directory.mkdir(exist_ok=True)
        figures.curves(self.log.lines, directory / "curves.png")
        if any("valid_accuracy" in line for line in self.log.lines):
            class_figures.accuracy(self.log.lines, directory / "accuracy.png")
        self.task.draw(
            state.best_params, jax.random.fold_in(state.key, DRAW), directory
        )
        return result

    def _check_finite(self, step: int, metrics: Mapping[str, float], saved: int):
        for name, value in metrics.items():
            if not np.isfinite(value):
                last = f"step {saved}" if saved else "none"
                raise FloatingPointError(
                    f"step {step}: {name} is {value}; last good checkpoint: {last}, "
                    f"in {self.workdir / 'checkpoints'}"
                )
