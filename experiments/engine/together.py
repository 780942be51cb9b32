"""Several runs as one: a vmap over their states, stacked and split over `sweep`.

All of them are at the same step, which is not stacked: where an epoch ends is no matter
of a run. A single run is left as it is, whole on every device.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments.engine.devices import data_parallel, points_sharding, whole
from experiments.engine.step import TrainState, keep_best, make_train_chunk
from experiments.engine.task import Task


def _state(step: Any, rest: Any) -> TrainState:
    """Something of the step of a state, and of each of its other fields."""
    names = [field.name for field in dataclasses.fields(TrainState)]
    return TrainState(**dict.fromkeys(names, rest) | {"step": step})


class Together:
    """So many runs of one compiled step on a mesh.

    Args:
        count: the number of runs.
        mesh: if several runs, they are split over its `sweep`.
    """

    def __init__(self, count: int, mesh: Mesh):
        self.count, self.mesh = count, mesh
        self._split = points_sharding(mesh)

    def stack(self, trees: Sequence[Any]) -> Any:
        """Trees of all runs as one, the last repeated to fill the devices."""
        if self.count == 1:
            return trees[0]
        copies = [trees[-1]] * (-self.count % self.mesh.shape["sweep"])
        return _stacker(self._split)(*trees, *copies)

    def stack_states(self, states: Sequence[TrainState]) -> TrainState:
        """The states of all runs as one."""
        stacked = self.stack(states)
        return stacked if self.count == 1 else stacked.replace(step=states[0].step)

    def pick(self, tree: Any, index: int) -> Any:
        """The state of one run, or a part of it, whole on every device."""
        return tree if self.count == 1 else _picker(whole(self.mesh))(tree, index)

    def make_chunk(self, task: Task, config, num_steps: int) -> Callable:
        """Makes the jitted (state, hyper, data) -> (state, metrics) of a chunk."""
        chunk = make_train_chunk(data_parallel(task, self.mesh), config, num_steps)
        shardings = whole(self.mesh)
        if self.count > 1:
            chunk = jax.vmap(
                chunk,
                in_axes=(_state(None, 0), 0, None),
                out_axes=(_state(None, 0), 0),
                spmd_axis_name="sweep",
            )
            shardings = _state(whole(self.mesh), self._split), whole(self.mesh)
        return jax.jit(chunk, donate_argnums=0, out_shardings=shardings)

    def keep_best(self, state: TrainState, numbers: Sequence[float]) -> TrainState:
        """As `step.keep_best`, each run by its own number."""
        if self.count == 1:
            return keep_best(state, numbers[0])
        copies = [numbers[-1]] * (len(state.best_nll) - self.count)
        return _chooser(self.mesh)(state, np.float32([*numbers, *copies]))


@functools.cache
def _stacker(sharding) -> Callable:
    def stack(*trees):
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    return jax.jit(stack, out_shardings=sharding)


@functools.cache
def _picker(sharding) -> Callable:
    def pick(tree, index):
        # What has no axis is the step.
        return jax.tree.map(lambda leaf: leaf[index] if leaf.ndim else leaf, tree)

    return jax.jit(pick, out_shardings=sharding)


@functools.cache
def _chooser(mesh: Mesh) -> Callable:
    axes = _state(None, 0)
    return jax.jit(
        jax.vmap(keep_best, in_axes=(axes, 0), out_axes=axes),
        out_shardings=_state(whole(mesh), points_sharding(mesh)),
    )
