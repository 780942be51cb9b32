"""Training: a task and a config in, a described run directory out.

Starting the same command again continues the run from its newest checkpoint, to the
bits it would have ended with.
"""

import contextlib
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from experiments import DivergedError, Interrupted
from experiments.engine import plots, report
from experiments.engine import processes as hosts
from experiments.engine.devices import data_mesh, local, split_batches, whole
from experiments.engine.evaluation import bound_summary
from experiments.engine.hyper import static_fields
from experiments.engine.recorder import Recorder, claim_directory, open_run
from experiments.engine.run_directory import read_result, write_json
from experiments.engine.step import (
    PLOT,
    TrainState,
    check_task,
    keep_best,
    make_train_chunk,
)
from experiments.engine.task import Task


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
) -> dict[str, Any] | None:
    """Trains a task, or continues it, and evaluates its best parameters once.

    Args:
        task: what to train.
        config: the locked config, checked.
        workdir: the run directory; belongs to this config.
        mesh: of all devices; by default they share the batches.
        tensorboard: whether to write TensorBoard events too.
        profile: whether to write a trace of the first chunk of steps, too.
        train_only: whether to stop before the final evaluation, the only one that
            reads the test set: a choice among runs is made on their validation bounds.
        announce: gets a line at the few moments worth one.

    Returns:
        The contents of result.json; None where only training was asked for.

    Raises:
        ConfigError: if the config cannot run, or not on so many devices.
        WorkdirError: if the directory is another run's.
        DivergedError: if a metric is not finite, or no validation is better than the
            one before training; `diverged.json` says so, too.
        Interrupted: on SIGTERM or Ctrl-C, with the state saved.
    """
    mesh = data_mesh(config.batch_size) if mesh is None else mesh
    check_task(task, config)
    result_file = workdir / "result.json"
    with contextlib.ExitStack() as stack:
        claim_directory(stack, task, config, workdir, announce)
        stopping = stack.enter_context(hosts.interruptions())
        if result := hosts.on_first(lambda: read_result(workdir, config.num_steps)):
            announce(f"this run is complete: {workdir}")
            return result
        run, state = open_run(
            *(stack, task, config, workdir, mesh),
            tensorboard=tensorboard,
            announce=announce,
        )
        try:
            state = _train_steps(run, state, mesh, stopping, profile)
        except DivergedError as error:
            reason = {"diverged": str(error)}
            hosts.on_first(lambda: write_json(workdir / "diverged.json", reason))
            raise
        if train_only:
            return None
        started = time.perf_counter()
        result = _evaluate(run, state, stopping)
        result["evaluation_seconds"] = time.perf_counter() - started
        hosts.on_first(lambda: _plot(run, state))
        hosts.on_first(lambda: write_json(result_file, result))
        return result


def _train_steps(
    run: Recorder,
    state: TrainState,
    mesh: Mesh,
    stopping: Callable[[], bool],
    profile: bool,
) -> TrainState:
    """Trains from the step of the state to the last one, chunk by chunk.

    A chunk is one call of a compiled scan: the data set lies on the device, batches are
    gathered, binarised and trained on inside it, and the host gets one set of metrics.
    """
    task, config, step = run.task, run.config, run.saved
    data = jax.device_put(dict(task.data), whole(mesh))
    compiled: dict[int, Callable] = {}
    earlier, started = run.log.seconds, time.perf_counter()

    def seconds() -> float:
        return earlier + time.perf_counter() - started

    with report.progress(config.num_steps, step, task.experiment) as bar:
        if step == 0:
            bar.set_postfix_str("validating …")
            metrics = run.validate(state.params, 0)
            run.write(0, metrics, seconds=seconds())
            state = _keep_best(state, task.choose_by(metrics))
        while step < config.num_steps:
            length = min(config.log_every, config.num_steps - step)
            if length not in compiled:
                bar.set_postfix_str("compiling …")
                chunk = _jitted_chunk(task, static_fields(config), length, mesh)
                compiled[length] = chunk.lower(state, data).compile()
            chunk_started = time.perf_counter()
            with _trace(run.workdir / "profile", profile):
                state, metrics = compiled[length](state, data)
                metrics = {name: float(value) for name, value in metrics.items()}
            profile = False
            rate = length / (time.perf_counter() - chunk_started)
            step += length
            if run.validates(step):
                metrics |= run.validate(state.params, step)
                state = _keep_best(state, task.choose_by(metrics))
            run.write(step, metrics, steps_per_second=rate, seconds=seconds())
            bar.update(length)
            bar.set_postfix(report.postfix(run.log.lines))
            done, stop = step == config.num_steps, stopping()
            if done or stop or step % config.checkpoint_every == 0:
                run.save(state, step)
            if stop and not done:
                raise Interrupted(f"stopped at step {step} of {config.num_steps}")
    if state.best_step == 0:
        raise DivergedError(
            f"no validation in {step} steps was better than the one before training, "
            f"in {run.workdir / 'metrics.jsonl'}"
        )
    return state


# One compilation for all runs that differ in traced fields only, as in a sweep.
@functools.lru_cache(maxsize=4)
def _jitted_chunk(task: Task, config, num_steps: int, mesh: Mesh) -> Callable:
    chunk = make_train_chunk(split_batches(task, mesh), config, num_steps)
    return jax.jit(chunk, donate_argnums=0, out_shardings=whole(mesh))


_keep_best = jax.jit(keep_best)


def _trace(directory: Path, wanted: bool) -> contextlib.AbstractContextManager:
    """The context of steps that are traced for Perfetto and TensorBoard, if wanted."""
    if wanted and hosts.is_first():
        return jax.profiler.trace(directory, create_perfetto_trace=True)
    return contextlib.nullcontext()


def _evaluate(
    run: Recorder, state: TrainState, stopping: Callable[[], bool]
) -> dict[str, Any]:
    """Evaluates the best parameters on validation and, this once, on test."""

    def stop() -> None:
        if stopping():
            raise Interrupted("stopped in the final evaluation, training is done")

    config, params, best_step = run.config, state.best_params, int(state.best_step)
    result = {
        "steps": config.num_steps,
        "seconds": run.log.seconds,
        "best_step": best_step,
    }
    samples = dict.fromkeys(("valid", "test"), config.eval_samples)
    if config.train_samples:
        samples["train"] = config.train_samples
    for split, m in samples.items():
        counts = [m, 1, *(count for count in config.report_samples if count < m)]
        bounds = {
            count: run.bounds(params, best_step, split, count, stop)
            for count in dict.fromkeys(counts)
        }
        result[split] = bound_summary(bounds[m], bounds[1], m)
        if split != "train":
            result[split] |= run.measure(params, split)
        for count in counts[2:]:
            result[split][f"nll_{count}"] = float(-bounds[count].mean())
    return result


def _plot(run: Recorder, state: TrainState) -> None:
    directory = run.workdir / "figures"
    directory.mkdir(exist_ok=True)
    title = ", ".join(dict.fromkeys((run.task.experiment, run.workdir.name)))
    plots.plot_curves(run.log.lines, directory / "curves.png", title)
    params, key = local((state.best_params, jax.random.fold_in(state.key, PLOT)))
    slope = run.network(int(state.best_step)).get("slope", 1.0)
    run.task.plot(params, key, directory, slope)
