"""Training: a task and a config in, a described run directory out.

Starting the same command again continues the run from its newest checkpoint, to the
bits it would have ended with.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from experiments import Interrupted, plots
from experiments.engine import processes as hosts
from experiments.engine import profiling, report
from experiments.engine.checkpoint import Checkpoints
from experiments.engine.devices import data_mesh, local, whole
from experiments.engine.evaluation import Evaluator, bound_summary
from experiments.engine.loop import Run, advance
from experiments.engine.provenance import versions
from experiments.engine.run_directory import claim, read_result, write_json
from experiments.engine.step import (
    DRAW,
    EVALUATE,
    TrainState,
    check_task,
    seeded_state,
)
from experiments.engine.task import Task
from experiments.engine.traced import static_fields


def train(
    task: Task,
    config,
    workdir: Path,
    *,
    mesh: Mesh | None = None,
    tensorboard: bool = False,
    profile: bool = False,
    train_only: bool = False,
    announce: Callable[[str], None] = print,
    compiled: dict[Any, Callable] | None = None,
) -> dict[str, Any] | None:
    """Trains a task, or continues it, and evaluates its best parameters once.

    Args:
        task: what to train.
        config: the locked config, checked.
        workdir: the run directory; belongs to this config.
        mesh: of all devices; by default they share the batches.
        tensorboard: whether to write TensorBoard events too.
        profile: whether to write a trace of a chunk of steps too.
        train_only: whether to stop before the final evaluation, the only one that
            reads the test set: a choice among runs is made on their validation bounds.
        announce: gets a line at the few moments worth one.
        compiled: what other runs of the experiment have compiled, to use and add to;
            those whose configs differ only in traced fields compile once.

    Returns:
        The contents of result.json; None where only training was asked for.

    Raises:
        ConfigError: if the config cannot run, or not on so many devices.
        WorkdirError: if the directory is another run's.
        FloatingPointError: if a metric is not finite.
        Interrupted: on SIGTERM or Ctrl-C, with the state saved.
    """
    mesh = data_mesh(config.batch_size) if mesh is None else mesh
    check_task(task, config)
    compiled = {} if compiled is None else compiled
    result_file = workdir / "result.json"
    with contextlib.ExitStack() as stack:
        _claim(stack, task, config, workdir, announce)
        stopping = stack.enter_context(hosts.interruptions())
        if result := hosts.on_first(lambda: read_result(workdir, config.num_steps)):
            announce(f"this run is complete: {workdir}")
            return result
        options = {"tensorboard": tensorboard, "announce": announce}
        run, state = _open(stack, task, config, workdir, mesh, compiled, **options)
        state = advance(
            [run],
            [state],
            run.saved,
            mesh,
            stopping,
            compiled,
            profiling.once(workdir / "profile") if profile else contextlib.nullcontext,
        )
        if run.diverged:
            raise FloatingPointError(run.diverged)
        if train_only:
            return None
        started = time.perf_counter()
        result = _conclude(run, state, stopping)
        result["evaluation_seconds"] = time.perf_counter() - started
        hosts.on_first(lambda: write_json(result_file, result))
        return result


def train_together(
    task: Task,
    configs: Sequence,
    workdirs: Sequence[Path],
    mesh: Mesh,
    compiled: dict[Any, Callable],
    announce: Callable[[str], None] = print,
) -> None:
    """Trains several runs of one compiled step, or continues them, as one.

    Each leaves what `train` does with `train_only`, and `train` goes on from it. A run
    whose metrics are not finite is left at its last good checkpoint.

    Args:
        task: what to train.
        configs: locked and checked; they differ in traced fields only.
        workdirs: the run directories.
        mesh: of all devices, those along `sweep` for different runs.
        compiled, announce: as in `train`.

    Raises:
        WorkdirError: if a directory is another run's.
        Interrupted: on SIGTERM or Ctrl-C, with all states saved.
    """
    with contextlib.ExitStack() as stack:
        for config, workdir in zip(configs, workdirs, strict=True):
            _claim(stack, task, config, workdir, announce)
        stopping = stack.enter_context(hosts.interruptions())
        opened = [
            _open(stack, task, config, workdir, mesh, compiled, announce=announce)
            for config, workdir in zip(configs, workdirs, strict=True)
        ]
        # Broken off between two saves, they are not all at the same step.
        by_step: dict[int, list] = {}
        for run, state in opened:
            by_step.setdefault(run.saved, []).append((run, state))
        for step, group in by_step.items():
            runs, states = zip(*group, strict=True)
            advance(runs, states, step, mesh, stopping, compiled)


def _claim(
    stack: contextlib.ExitStack,
    task: Task,
    config,
    workdir: Path,
    announce: Callable[[str], None],
) -> None:
    def claim_first() -> None:
        made_with = versions(task.checksum)
        stack.enter_context(claim(workdir, config.to_dict(), made_with, announce))

    hosts.on_first(claim_first)


def _open(
    stack: contextlib.ExitStack,
    task: Task,
    config,
    workdir: Path,
    mesh: Mesh,
    compiled: dict[Any, Callable],
    *,
    announce: Callable[[str], None],
    tensorboard: bool = False,
) -> tuple[Run, TrainState]:
    """A run in its claimed directory, and its state at its newest checkpoint."""
    checkpoints = Checkpoints(workdir / "checkpoints")
    state, step = first_state(task, config, compiled, mesh), 0
    if restored := checkpoints.restore(state, announce):
        state, step = restored
        announce(f"continuing from step {step} in {workdir}")
    evaluator = Evaluator(
        task.program,
        task.evaluation,
        config.eval_batch_size,
        jax.random.fold_in(state.key, EVALUATE),
    )
    log = stack.enter_context(report.MetricsLog(workdir, step, tensorboard))
    return Run(task, config, workdir, checkpoints, log, evaluator, step), state


def first_state(
    task: Task, config, compiled: dict[Any, Callable], mesh: Mesh
) -> TrainState:
    """The state before the first step, whole on every device; `compiled` as above."""
    name = static_fields(config), mesh, "state"
    if name not in compiled:
        # One compilation; op by op it takes three times as long.
        compiled[name] = jax.jit(
            lambda key: seeded_state(key, task, config), out_shardings=whole(mesh)
        )
    return compiled[name](jax.random.key(config.seed))


def _conclude(
    run: Run, state: TrainState, stopping: Callable[[], bool]
) -> dict[str, Any]:
    """Evaluates the best parameters on validation and, this once, on test."""

    def stop() -> None:
        if stopping():
            raise Interrupted("stopped in the final evaluation, training is done")

    config, params = run.config, state.best_params
    result = {
        "steps": config.num_steps,
        "seconds": run.log.seconds,
        "best_step": int(state.best_step),
    }
    samples = dict.fromkeys(("valid", "test"), config.eval_samples)
    samples["train"] = config.train_samples
    for split, m in samples.items():
        if m == 0:
            continue
        bounds, bounds_1 = (
            run.evaluator(params, split, count, stop) for count in (m, 1)
        )
        result[split] = bound_summary(bounds, bounds_1, m)
        if split != "train":
            result[split] |= run.measure(params, split)
        for count in config.report_samples:
            if count < m:
                bounds = run.evaluator(params, split, count, stop)
                result[split][f"nll_{count}"] = float(-bounds.mean())
    hosts.on_first(lambda: _draw(run, state))
    return result


def _draw(run: Run, state: TrainState) -> None:
    directory = run.workdir / "figures"
    directory.mkdir(exist_ok=True)
    title = f"{run.task.experiment}, {run.workdir.name}"
    plots.plot_curves(run.log.lines, directory / "curves.png", title)
    params, key = local((state.best_params, jax.random.fold_in(state.key, DRAW)))
    run.task.plot(params, key, directory)
