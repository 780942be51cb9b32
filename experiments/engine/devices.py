"""Where a run computes: one mesh of all devices, with the axes `sweep` and `data`.

A batch is split over `data`, and the points of a sweep that train as one over `sweep`;
all else is whole on every device, the data set too. XLA divides the work accordingly.
Noise is a function of key and position, whatever is computed where: on any number of
devices and hosts a run has the same, and its bounds are the same up to rounding.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from experiments import ConfigError
from experiments.engine.task import Task

AXES = ("sweep", "data")


def all_devices() -> list[jax.Device]:
    """All devices, those of other hosts among them, or JAX's `jax_default_device`."""
    default = jax.config.jax_default_device
    return [default] if isinstance(default, jax.Device) else jax.devices(default)


def memory() -> int | None:
    """Bytes of a device's memory that JAX may use; None where it does not say."""
    stats = all_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit")


def make_mesh(sweep: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh of devices, by default all, with so many of them along `sweep`."""
    devices = np.asarray(devices or all_devices()).reshape(sweep, -1)
    # Explicit axes, the default, would make every reshape of samples say where it is.
    return Mesh(devices, AXES, axis_types=(AxisType.Auto, AxisType.Auto))


def data_mesh(batch_size: int) -> Mesh:
    """The mesh of a single run: its batch is split over all devices.

    Raises:
        ConfigError: if the devices do not divide the batch.
    """
    mesh = make_mesh()
    if batch_size % mesh.size:
        raise ConfigError(
            f"config.batch_size={batch_size}: must be a multiple of {mesh.size}, the "
            "number of devices that share a batch"
        )
    return mesh


def sweep_mesh(points: int, batch_size: int) -> Mesh:
    """The mesh of so many points that train as one.

    As few devices along `sweep` as give every point one of its own, and no fewer than
    leave a number along `data` that divides the batch: for a single point, too, some
    devices may then do the same as others.
    """
    total = len(all_devices())
    sizes = [s for s in range(1, total + 1) if total % s == 0]
    fitting = [s for s in sizes if batch_size % (total // s) == 0]
    return make_mesh(next(s for s in fitting if s >= min(points, total)))


def whole(mesh: Mesh) -> NamedSharding:
    """On every device, whole."""
    return NamedSharding(mesh, P())


def points_sharding(mesh: Mesh) -> NamedSharding:
    """The first axis, that of the points, along `sweep`."""
    return NamedSharding(mesh, P("sweep"))


def rows_sharding(mesh: Mesh) -> NamedSharding:
    """The first axis, that of examples evaluated together, over all devices."""
    return NamedSharding(mesh, P(AXES))


def split_batches(task: Task, mesh: Mesh) -> Task:
    """The task with its batches split over `data`."""
    split = NamedSharding(mesh, P("data"))

    def batch(key, rows):
        return task.batch(key, jax.lax.with_sharding_constraint(rows, split))

    return dataclasses.replace(task, batch=batch)


def local(tree):
    """The arrays of a tree, whole on every device, on this process's first device."""
    return jax.tree.map(lambda array: array.addressable_data(0), tree)
