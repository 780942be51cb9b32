"""Several runs trained as one: a vmap of the same chunk, split over the axis `sweep`.

Their states are stacked, but for the step: all of them are at the same one, so that
batches are ordered without a vmap.
"""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments import DivergedError, Interrupted
from experiments.engine import processes as hosts
from experiments.engine import report
from experiments.engine.devices import (
    memory,
    points_sharding,
    split_batches,
    whole,
)
from experiments.engine.hyper import static_fields
from experiments.engine.recorder import Recorder, claim_directory, open_run
from experiments.engine.step import TrainState, init_state, keep_best, make_train_chunk
from experiments.engine.task import Task


def train_together(
    task: Task,
    configs: Sequence,
    workdirs: Sequence[Path],
    mesh: Mesh,
    announce: Callable[[str], None] = print,
) -> None:
    """Trains several runs that share a compiled step, or continues them, as one.

    Each leaves what `train` does with `train_only`, and `train` goes on from it. A run
    whose metrics are not finite is left at its last good checkpoint.

    Args:
        task: what to train.
        configs: locked and checked; they differ in traced fields only.
        workdirs: the run directories.
        mesh: of all devices, those along `sweep` for different runs.
        announce: as in `train`.

    Raises:
        WorkdirError: if a directory is another run's.
        Interrupted: on SIGTERM or Ctrl-C, with all states saved.
    """
    with contextlib.ExitStack() as stack:
        for config, workdir in zip(configs, workdirs, strict=True):
            claim_directory(stack, task, config, workdir, announce)
        stopping = stack.enter_context(hosts.interruptions())
        # Broken off between two saves, they are not all at the same step.
        by_step: dict[int, list[tuple[Recorder, TrainState]]] = {}
        for config, workdir in zip(configs, workdirs, strict=True):
            opened = open_run(stack, task, config, workdir, mesh, announce=announce)
            by_step.setdefault(opened[0].saved, []).append(opened)
        for group in by_step.values():
            runs, states = zip(*group, strict=True)
            _train_steps(runs, states, mesh, stopping)


def most_together(task: Task, config, mesh: Mesh) -> int | None:
    """The number of runs that fit into the memory of the devices; None: any.

    Half of it is for their states and what a step computes; the other half is for the
    data set, evaluation and what else there is.
    """
    if (limit := memory()) is None:
        return None
    state = jax.eval_shape(lambda: init_state(task, config))
    step = jax.jit(make_train_chunk(task, static_fields(config), 1))
    analysis = step.lower(state, dict(task.data)).compile().memory_analysis()
    bytes_of_run = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    return max(1, limit // 2 // bytes_of_run) * mesh.shape["sweep"]


def _train_steps(
    runs: Sequence[Recorder],
    states: Sequence[TrainState],
    mesh: Mesh,
    stopping: Callable[[], bool],
) -> None:
    """Trains runs from the step that they are at to the last, or until all diverged."""
    task, config, step = runs[0].task, runs[0].config, runs[0].saved
    steps, alive = config.num_steps, dict(enumerate(runs))
    compiled: dict[int, Callable] = {}
    state = stack_states(states, mesh)
    data = jax.device_put(dict(task.data), whole(mesh))
    earlier, started = [run.log.seconds for run in runs], time.perf_counter()

    def record(metrics: dict[str, np.ndarray], **timings: float) -> TrainState:
        """Validates and logs a step; returns the state with the best parameters."""
        # Each run has its share of the time that all of them take as one.
        seconds = (time.perf_counter() - started) / len(runs)
        scores = np.full(len(state.best_score), np.inf, np.float32)
        for i, run in list(alive.items()):
            values = {name: float(array[i]) for name, array in metrics.items()}
            if run.validates(step):
                values |= run.validate(pick(state.params, i, mesh), step)
                scores[i] = task.choose_by(values)
            try:
                run.write(step, values, **timings, seconds=earlier[i] + seconds)
            except DivergedError:
                del alive[i]
        return _keep_best(mesh)(state, scores) if runs[0].validates(step) else state

    with report.progress(steps, step, f"{task.experiment} × {len(runs)}") as bar:
        if step == 0:
            state = record({})
        while step < steps and alive:
            length = min(config.log_every, steps - step)
            if length not in compiled:
                bar.set_postfix_str("compiling …")
                chunk = jitted_chunk(task, static_fields(config), length, mesh)
                compiled[length] = chunk.lower(state, data).compile()
            chunk_started = time.perf_counter()
            state, metrics = compiled[length](state, data)
            metrics = jax.tree.map(np.asarray, metrics)
            rate = length * len(runs) / (time.perf_counter() - chunk_started)
            step += length
            state = record(metrics, steps_per_second=rate)
            bar.update(length)
            if alive:
                bar.set_postfix(report.postfix(next(iter(alive.values())).log.lines))
            stop = stopping()
            if step == steps or stop or step % config.checkpoint_every == 0:
                for i, run in alive.items():
                    run.save(pick(state, i, mesh), step)
            if stop and step < steps:
                raise Interrupted(f"stopped at step {step} of {steps}")


def _fields(step: Any, others: Any) -> TrainState:
    """One value for the step of a state, and another for each of its other fields."""
    names = [field.name for field in dataclasses.fields(TrainState)]
    return TrainState(**dict.fromkeys(names, others) | {"step": step})


def _shardings(mesh: Mesh) -> TrainState:
    return _fields(whole(mesh), points_sharding(mesh))


def stack_states(states: Sequence[TrainState], mesh: Mesh) -> TrainState:
    """The states of all runs as one, the last repeated to fill the devices."""
    copies = [states[-1]] * (-len(states) % mesh.shape["sweep"])
    return _stack(mesh)(*states, *copies)


def pick(tree: Any, index: int, mesh: Mesh) -> Any:
    """The state of one run, or a part of it, whole on every device."""
    return _pick(mesh)(tree, index)


@functools.lru_cache(maxsize=4)
def jitted_chunk(task: Task, config, num_steps: int, mesh: Mesh) -> Callable:
    """The chunk of `train` for stacked states."""
    axes = _fields(None, 0)
    chunk = jax.vmap(
        make_train_chunk(split_batches(task, mesh), config, num_steps),
        in_axes=(axes, None),
        out_axes=(axes, 0),
        spmd_axis_name="sweep",
    )
    return jax.jit(
        chunk, donate_argnums=0, out_shardings=(_shardings(mesh), whole(mesh))
    )


@functools.cache
def _keep_best(mesh: Mesh) -> Callable:
    axes = _fields(None, 0)
    keep = jax.vmap(keep_best, in_axes=(axes, 0), out_axes=axes)
    return jax.jit(keep, out_shardings=_shardings(mesh))


@functools.cache
def _stack(mesh: Mesh) -> Callable:
    def stack(*states):
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        return stacked.replace(step=states[0].step)

    return jax.jit(stack, out_shardings=_shardings(mesh))


@functools.cache
def _pick(mesh: Mesh) -> Callable:
    def pick(tree, index):
        # The step is the only leaf without an axis of runs.
        return jax.tree.map(lambda leaf: leaf[index] if leaf.ndim else leaf, tree)

    return jax.jit(pick, out_shardings=whole(mesh))
