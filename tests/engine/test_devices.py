"""Eight fake devices: batches and evaluations split over them change nothing."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import runs
from experiments import ConfigError, vae
from experiments.data.binarization import dynamic_binarize
from experiments.engine import devices as mesh
from experiments.engine import step
from experiments.engine.evaluation import Evaluator
from experiments.engine.together import Together
from experiments.engine.traced import hyper_parameters


@pytest.fixture
def eight(monkeypatch):
    """All eight devices."""
    monkeypatch.setattr(mesh, "all_devices", jax.devices)
    assert len(jax.devices()) == 8


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
    found = mesh.sweep_mesh(points, batch_size)
    assert (found.axis_names, found.devices.shape) == (("sweep", "data"), shape)


def test_batch_that_the_devices_do_not_divide_is_an_error(eight):
    assert mesh.data_mesh(104).devices.shape == (1, 8)
    message = "^config.batch_size=100: must be a multiple of 8, the number of devices"
    with pytest.raises(ConfigError, match=message):
        mesh.data_mesh(100)


def compiled_chunk(task, config, devices):
    """A compiled chunk of three steps, and its arguments."""
    chunk = Together(1, devices).make_chunk(task, config, 3)
    state = jax.jit(
        lambda: step.init_state(task, config), out_shardings=mesh.whole(devices)
    )()
    args = state, hyper_parameters(config), dict(task.data)
    args = state, *jax.device_put(args[1:], mesh.whole(devices))
    return chunk.lower(*args).compile(), args


COLLECTIVES = r"= .*? (all-reduce|all-gather|all-to-all|collective-\w+|reduce-scatter)"


def collectives(task, config):
    chunk, _ = compiled_chunk(task, config, mesh.make_mesh())
    text = chunk.as_text()
    assert "while(" in text and "num_partitions=8" in text
    return re.findall(COLLECTIVES, text)


def test_a_step_has_one_all_reduce_and_moves_no_data(eight, noise):
    """Gradients and metrics are reduced as one, and nothing else leaves a device."""
    fields = {"model__num_variables": 3, "model__hidden": (8, 4)}
    config = runs.config("mlp", dataset__binarization="dynamic", **fields)
    assert collectives(vae.make_task(config), config) == ["all-reduce"]


def test_other_collectives_would_be_seen(eight):
    """A batch that every device has to see whole."""
    task = runs.task()

    def batch(key, rows):
        images = rows["images"].astype(jnp.float32)
        return (jnp.sort(images, axis=0),)

    sorting = dataclasses.replace(task, batch=batch)
    assert collectives(sorting, runs.config()) != ["all-reduce"]


def steps(devices, **fields):
    """State and metrics after three steps of the tiny task."""
    task, config = runs.task(), runs.config(**fields)
    chunk, args = compiled_chunk(task, config, devices)
    return jax.device_get(jax.tree.map(_raw, chunk(*args)))


def _raw(leaf):
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


def test_steps_on_eight_devices_are_those_on_one(monkeypatch):
    fields = {"estimator": "nvil", "num_samples": 3}
    one = steps(mesh.make_mesh(), **fields)
    monkeypatch.setattr(mesh, "all_devices", jax.devices)
    eight = steps(mesh.make_mesh(), **fields)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    # Other noise would be no rounding.
    other = steps(mesh.make_mesh(), **fields, seed=1)
    gap = np.abs(other[1]["objective"] - eight[1]["objective"])
    assert gap > 100 * np.abs(one[1]["objective"] - eight[1]["objective"])


def test_pixels_drawn_on_eight_devices_are_those_on_one_to_the_bit(eight):
    grey = np.random.default_rng(0).integers(0, 256, (16, 784), np.uint8)
    split = jax.device_put(grey, mesh.rows_sharding(mesh.make_mesh()))
    draw = jax.jit(dynamic_binarize)
    drawn = draw(jax.random.key(0), split)
    assert len(drawn.sharding.device_set) == 8 and not drawn.is_fully_replicated
    np.testing.assert_array_equal(drawn, draw(jax.random.key(0), grey))


def test_bounds_on_eight_devices_are_those_on_one(monkeypatch):
    task = runs.task()
    params = runs.init_state(task, runs.config()).params

    def evaluate():
        key = jax.random.key(3)
        evaluator = Evaluator(task.program, task.evaluation, 7, key)
        temperatures = {"temperature": 0.5}
        relaxed = evaluator.relaxed(params, "valid", 2, "soft_mass", temperatures)
        return evaluator(params, "valid", 20), relaxed

    one = evaluate()
    monkeypatch.setattr(mesh, "all_devices", jax.devices)
    for a, b in zip(one, evaluate(), strict=True):
        assert a.shape == b.shape == (18,)
        np.testing.assert_allclose(a, b, rtol=1e-5)
