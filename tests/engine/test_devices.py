"""Eight fake devices: batches and evaluations split over them change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import runs
from experiments import ConfigError
from experiments.data.binarization import dynamic_binarize
from experiments.engine import devices, step
from experiments.engine.evaluation import Evaluator


@pytest.mark.parametrize(
    "points, batch_size, shape",
    [
        (1, 64, (1, 8)),
        (2, 64, (2, 4)),
        (3, 64, (4, 2)),  # one of the four has nothing to do
        (8, 64, (8, 1)),
        (50, 64, (8, 1)),
        (2, 100, (2, 4)),
        (1, 100, (2, 4)),  # four devices divide 100, eight do not
        (2, 7, (8, 1)),
    ],
)
def test_points_have_devices_of_their_own_before_they_share_batches(
    eight, points, batch_size, shape
):
    mesh = devices.sweep_mesh(points, batch_size)
    assert (mesh.axis_names, mesh.devices.shape) == (("sweep", "data"), shape)


def test_batch_that_the_devices_do_not_divide_is_an_error(eight):
    assert devices.data_mesh(104).devices.shape == (1, 8)
    message = "^config.batch_size=100: must be a multiple of 8, the number of devices"
    with pytest.raises(ConfigError, match=message):
        devices.data_mesh(100)


def test_a_default_device_of_jax_is_the_only_one():
    assert devices.data_mesh(100).devices.tolist() == [[jax.devices()[0]]]


def steps(mesh, **fields):
    """State and metrics after three steps of the tiny task."""
    task, config = runs.task(), runs.config(**fields)
    chunk = step.make_train_chunk(devices.split_batches(task, mesh), config, 3)
    data = jax.device_put(dict(task.data), devices.whole(mesh))
    chunk = jax.jit(chunk, out_shardings=devices.whole(mesh))
    state, metrics = chunk(step.init_state(task, config, mesh), data)
    assert len(state.step.sharding.device_set) == mesh.size
    return jax.device_get((state.replace(key=jax.random.key_data(state.key)), metrics))


def test_steps_on_eight_devices_are_those_on_one(eight):
    fields = {"estimator": "nvil", "num_samples": 3}
    one = steps(devices.make_mesh(devices=eight[:1]), **fields)
    all_eight = steps(devices.make_mesh(), **fields)
    for a, b in zip(*map(jax.tree.leaves, (one, all_eight)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    # Other noise would be no rounding.
    other = steps(devices.make_mesh(), **fields, seed=1)
    gap = np.abs(other[1]["objective"] - all_eight[1]["objective"])
    assert gap > 100 * np.abs(one[1]["objective"] - all_eight[1]["objective"])


def test_pixels_drawn_on_eight_devices_are_those_on_one_to_the_bit(eight):
    grey = np.random.default_rng(0).integers(0, 256, (16, 784), np.uint8)
    split = jax.device_put(grey, devices.rows_sharding(devices.make_mesh()))
    draw = jax.jit(dynamic_binarize)
    drawn = draw(jax.random.key(0), split)
    assert len(drawn.sharding.device_set) == 8 and not drawn.is_fully_replicated
    np.testing.assert_array_equal(drawn, draw(jax.random.key(0), grey))


def test_bounds_on_eight_devices_are_those_on_one(eight):
    task = runs.task()
    params = step.init_state(task, runs.config()).params

    def evaluate(mesh):
        evaluator = Evaluator(task.program, task.evaluation, 7, jax.random.key(3), mesh)
        temperatures = {"temperature": jnp.asarray(0.5)}
        relaxed = evaluator.relaxed(params, "valid", 2, "soft_mass", temperatures)
        return evaluator(params, "valid", 20), relaxed

    one = evaluate(devices.make_mesh(devices=eight[:1]))
    for a, b in zip(one, evaluate(devices.make_mesh()), strict=True):
        assert a.shape == b.shape == (18,)
        np.testing.assert_allclose(a, b, rtol=1e-5)
