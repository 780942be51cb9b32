"""Several runs as one: a vmap over their states, stacked and split over `sweep`.

A single run is left as it is, whole on every device.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments.mesh import data_parallel, points_sharding, whole
from experiments.step import Task, TrainState, keep_best, make_train_chunk


class Together:
    """So many runs of one compiled step on a mesh.

    Args:
        count: the number of runs.
        mesh: if several runs, they are split over its `sweep`.
    """

    def __init__(self, count: int, mesh: Mesh):
        self.count, self.mesh = count, mesh
        self._sharding = whole(mesh) if count == 1 else points_sharding(mesh)

    def stack(self, trees: Sequence[Any]) -> Any:
        """The trees of all runs as one, the last repeated to fill the devices."""
        if self.count == 1:
            return trees[0]
        copies = [trees[-1]] * (-self.count % self.mesh.shape["sweep"])
        return _stacker(self._sharding)(*trees, *copies)

    def pick(self, tree: Any, index: int) -> Any:
        """That of one run, whole on every device."""
        return tree if self.count == 1 else _picker(whole(self.mesh))(tree, index)

    def make_chunk(self, task: Task, config, num_steps: int) -> Callable:
        """Makes the jitted (states, hyper, data) -> (states, metrics) of a chunk."""
        chunk = make_train_chunk(data_parallel(task, self.mesh), config, num_steps)
        if self.count > 1:
            chunk = jax.vmap(chunk, in_axes=(0, 0, None), spmd_axis_name="sweep")
        shardings = self._sharding, whole(self.mesh)
        return jax.jit(chunk, donate_argnums=0, out_shardings=shardings)

    def keep_best(self, state: TrainState, numbers: Sequence[float]) -> TrainState:
        """As `step.keep_best`, each run by its own number."""
        if self.count == 1:
            return keep_best(state, numbers[0])
        copies = [numbers[-1]] * (len(state.step) - self.count)
        return _chooser(self._sharding)(state, np.float32([*numbers, *copies]))


@functools.cache
def _stacker(sharding) -> Callable:
    def stack(*trees):
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    return jax.jit(stack, out_shardings=sharding)


@functools.cache
def _picker(sharding) -> Callable:
    def pick(tree, index):
        return jax.tree.map(lambda leaf: leaf[index], tree)

    return jax.jit(pick, out_shardings=sharding)


@functools.cache
def _chooser(sharding) -> Callable:
    return jax.jit(jax.vmap(keep_best), out_shardings=sharding)
