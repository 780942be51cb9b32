"""A training step: what a task may track, and its supervised term."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import runs
from experiments.engine import step
from experiments.engine.batches import batch_indices
from experiments.engine.task import Task
from experiments.engine.traced import hyper_parameters


def test_what_a_task_tracks_moves_apart_from_what_is_learned():
    def program(params, x):
        shifted = x - jax.lax.stop_gradient(params["mean"])[None]
        return lambda draw: -((shifted @ params["weights"]) ** 2).sum(axis=1)

    def track(key, params, x):
        return params | {"mean": 0.5 * params["mean"] + 0.5 * x.mean(axis=0)}

    weights = jnp.ones((runs.PIXELS, 2))
    task = dataclasses.replace(
        runs.task(program),
        init=lambda key: {"weights": weights, "mean": jnp.zeros(runs.PIXELS)},
        track=track,
    )
    config = runs.config(weight_decay=0.3)
    key = jax.random.fold_in(jax.random.key(config.seed), step.ORDER)
    rows = batch_indices(key, 0, 3, task.num_examples, config.batch_size)
    mean = np.zeros(runs.PIXELS)
    for index in rows:
        mean = 0.5 * mean + 0.5 * np.asarray(task.data["images"])[index].mean(axis=0)
    state, _ = runs.run_chunk(task, config, 3)
    np.testing.assert_allclose(state.params["mean"], mean, rtol=1e-5)
    # The same mean whatever is learned; without `track` it stays.
    still, _ = runs.run_chunk(dataclasses.replace(task, track=Task.track), config, 3)
    assert not np.any(still.params["mean"])
    assert np.abs(state.params["weights"] - weights).min() > 1e-3
    # The first step sees the mean of before it.
    one, _ = runs.run_chunk(task, config, 1)
    other, _ = runs.run_chunk(dataclasses.replace(task, track=Task.track), config, 1)
    np.testing.assert_array_equal(one.params["weights"], other.params["weights"])


def test_supervised_term_is_maximised_beside_the_bound():
    def program(params, x):
        return lambda draw: x[:, 0] * 0 - (params["a"] - 2.0) ** 2

    def supervised(key, params):
        return -3.0 * (params["b"] - 1.0) ** 2 - (params["a"] - 4.0) ** 2

    task = dataclasses.replace(
        runs.task(program),
        init=lambda key: {"a": jnp.zeros(()), "b": jnp.zeros(())},
        supervised=supervised,
    )
    config = runs.config(optimizer="sgd", learning_rate=0.1)
    train_step = jax.jit(step.make_train_step(task, config))
    state, hyper = runs.init_state(task, config), hyper_parameters(config)
    state, metrics = train_step(state, jnp.arange(8), hyper, task.data)
    assert (metrics["objective"], metrics["supervised"]) == (-4.0, -3.0 - 16.0)
    assert state.params["a"] == pytest.approx(0.1 * (4.0 + 8.0))
    assert state.params["b"] == pytest.approx(0.1 * 6.0)
    alone = dataclasses.replace(task, supervised=None)
    _, metrics = jax.jit(step.make_train_step(alone, config))(
        state, jnp.arange(8), hyper, task.data
    )
    assert "supervised" not in metrics


def test_supervised_term_has_noise_of_its_own_at_every_step():
    def program(params, x):
        return lambda draw: x[:, 0] * 0 + params["a"]

    task = dataclasses.replace(
        runs.task(program),
        init=lambda key: {"a": jnp.zeros(())},
        supervised=lambda key, params: jax.random.normal(key) + 0 * params["a"],
    )
    config = runs.config()
    train_step = jax.jit(step.make_train_step(task, config))
    state, hyper = runs.init_state(task, config), hyper_parameters(config)
    values = set()
    for _ in range(3):
        state, metrics = train_step(state, jnp.arange(8), hyper, task.data)
        values.add(float(metrics["supervised"]))
    assert len(values) == 3
