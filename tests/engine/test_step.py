import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gumbel
import runs
from experiments import ConfigError, vae
from experiments.data.binarization import dynamic_binarize
from experiments.engine import step
from experiments.engine.batches import batch_indices
from experiments.engine.task import Task


def first_rows(task):
    """The first eight rows of a task's data."""
    return jax.tree.map(lambda rows: rows[:8], dict(task.data))


def one_step(task, config, state=None):
    """The state and metrics after a step on the first rows."""
    state = step.init_state(task, config) if state is None else state
    return jax.jit(step.make_train_step(task, config))(state, first_rows(task))


def test_chunk_equals_a_loop_written_by_hand():
    task, config = runs.task(), runs.config(estimator="exact")
    state, metrics = runs.run_chunk(task, config, 7)

    start = step.init_state(task, config)
    key = jax.random.fold_in(jax.random.key(config.seed), step.ORDER)
    by_hand = optax.adam(config.learning_rate)
    params, opt_state, losses = start.params, by_hand.init(start.params), []

    @jax.jit
    def loss_and_grads(params, x):
        return jax.value_and_grad(
            lambda params: -runs.enumerated_bound(params, x).mean()
        )(params)

    by_hand = by_hand._replace(update=jax.jit(by_hand.update))
    for index in batch_indices(key, 0, 7, task.num_examples, config.batch_size):
        x = task.data["images"][index].astype(jnp.float32)
        loss, grads = loss_and_grads(params, x)
        updates, opt_state = by_hand.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        losses.append(loss)
    for name, expected in params.items():
        np.testing.assert_allclose(state.params[name], expected, rtol=2e-4, atol=2e-5)
    assert np.abs(state.params["prior"] - start.params["prior"]).max() > 0.05
    assert metrics["objective"] == pytest.approx(-np.mean(losses), rel=1e-5)
    assert state.step == 7


def test_chunk_does_not_depend_on_where_chunks_begin():
    task, config = runs.task(), runs.config(estimator="exact")
    whole, _ = runs.run_chunk(task, config, 4)
    state = step.init_state(task, config)
    chunk = jax.jit(step.make_train_chunk(task, config, 2))
    for _ in range(2):
        state, _ = chunk(state, dict(task.data))
    for name, expected in whole.params.items():
        assert np.array_equal(state.params[name], expected)


def test_step_estimates_at_the_temperature_of_its_step():
    task, config = runs.task(), runs.config()
    state = step.init_state(task, config).replace(step=jnp.asarray(7, jnp.int32))
    _, metrics = one_step(task, config, state)
    temperature = np.exp(-0.05 * 6)
    assert metrics["temperature"] == pytest.approx(temperature, rel=1e-6)

    estimate = gumbel.value_and_grad("gumbel_softmax", runs.program)

    @jax.jit
    def objective(temperature):
        _, key = jax.random.split(jax.random.fold_in(jax.random.key(0), 7))
        x = task.data["images"][:8].astype(jnp.float32)
        hyper = {"temperature": temperature, "kl": config.objective}
        return estimate(key, state.params, x, **hyper).bound.mean()

    bound, other = objective(temperature), objective(1.0)
    assert metrics["objective"] == pytest.approx(float(bound), rel=1e-6)
    assert abs(bound - other) > 1e-3


def test_what_is_traced_does_not_retrace():
    program, traces = runs.counting(runs.program)
    task = runs.task(program)
    config = runs.config(estimator="st_gumbel_softmax", clip_norm=10.0)
    chunk = jax.jit(step.make_train_chunk(task, config, 5))
    objectives = set()
    for field in (
        {},
        {"temperature": 0.7},
        {"learning_rate": 0.3},
        {"clip_norm": 0.1},
        {"seed": 5},
        {"schedule__minimum": 0.9, "schedule__rate": 0.5, "schedule__every": 2},
    ):
        other = runs.config(
            **{"estimator": "st_gumbel_softmax", "clip_norm": 10.0} | field
        )
        before = len(traces)
        _, metrics = chunk(step.init_state(task, other), dict(task.data))
        assert (len(traces) > before) == (not field)
        objectives.add(float(metrics["objective"]))
    assert len(objectives) == 6


def test_encoder_and_likelihood_see_the_same_binary_pixels(monkeypatch):
    seen = {}

    class Spy:
        layer_names = ("z",)

        def apply(self, params, *args, method):
            if method == "encode":
                seen["encoder"] = args[0]
                return args[0] @ params["encoder"]
            if method == "decode":
                return args[0] @ params["decoder"]
            return params["prior"]

    def likelihood(logits, pixels):
        seen["likelihood"] = pixels
        return (logits * pixels).sum(axis=1)

    monkeypatch.setattr(vae, "bernoulli_log_likelihood", likelihood)
    program = vae.make_program(Spy(), vae.FAMILIES["bernoulli"])

    def batch(key, rows):
        seen["batch"] = dynamic_binarize(key, rows["images"])
        return (seen["batch"],)

    shapes = {"encoder": (5, 3), "decoder": (3, 5), "prior": (3,)}
    task = dataclasses.replace(
        runs.task(program),
        init=lambda key: {name: jnp.ones(shape) for name, shape in shapes.items()},
        batch=batch,
    )
    step.check_task(task, runs.config())  # traces a step
    assert seen["encoder"] is seen["likelihood"] is seen["batch"]


def test_check_task_says_what_cannot_run_without_compiling():
    task = runs.task()
    config = runs.config(batch_size=25)
    with runs.counting_compilations() as compiled:
        with pytest.raises(ConfigError, match=r"batch_size=25: .* at most the 24 "):
            step.check_task(task, config)
        with pytest.raises(ConfigError, match="9 joint .* 6 samples: must be at"):
            step.check_task(task, runs.config(estimator="exact", num_samples=6))
        step.check_task(task, runs.config(estimator="exact", num_samples=2))
    assert not compiled


def test_best_parameters_are_kept_until_a_better_bound():
    state = step.init_state(runs.task(), runs.config())
    bests = []
    for t, nll in enumerate([5.0, 3.0, 4.0, 3.0, float("nan")], start=1):
        params = jax.tree.map(lambda x, t=t: jnp.full_like(x, t), state.params)
        state = state.replace(params=params, step=jnp.asarray(t, jnp.int32))
        state = step.keep_best(state, nll)
        assert state.best_step == state.best_params["prior"][0, 0]
        assert state.params["prior"][0, 0] == t
        bests.append((float(state.best_score), int(state.best_step)))
    assert bests == [(5.0, 1), (3.0, 2), (3.0, 2), (3.0, 2), (3.0, 2)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_largest_magnitude_is_finite_only_if_all_is(bad):
    tree = {"a": jnp.asarray([1.0, -7.5]), "b": (jnp.asarray(9), jnp.zeros((2, 2)))}
    assert step.largest_magnitude(tree) == 7.5
    tree["b"] = (tree["b"][0], tree["b"][1].at[1, 0].set(bad))
    assert not np.isfinite(step.largest_magnitude(tree))
    large = jnp.ones((5000, 200))
    assert step.largest_magnitude(large) == 1
    assert not np.isfinite(step.largest_magnitude(large.at[3, 4].set(bad)))


def test_slope_rises_with_the_epoch_and_reaches_the_estimator():
    task = runs.task()  # three batches of eight an epoch
    config = runs.config(estimator="slope_annealed_st", slope__rate=0.5)
    train_step = jax.jit(step.make_train_step(task, config))
    state, rows = step.init_state(task, config), first_rows(task)
    for at, slope in ((0, 1.0), (2, 1.0), (3, 1.5), (7, 2.0), (300, 5.0)):
        moved = state.replace(step=jnp.asarray(at, jnp.int32))
        new, metrics = train_step(moved, rows)
        assert metrics["slope"] == pytest.approx(slope)
    flat = state.hyper | {"slope": {"rate": jnp.zeros(()), "maximum": jnp.ones(())}}
    unsloped, _ = train_step(moved.replace(hyper=flat), rows)
    assert (new.params["encoder"] != unsloped.params["encoder"]).any()


def test_options_reach_the_estimator_and_its_state_is_carried():
    task = runs.task()
    config = runs.config(estimator="nvil", options__baseline_decay=0.5)
    state, _ = runs.run_chunk(task, config, 3)
    frozen = runs.config(estimator="nvil", options__baseline_decay=1.0)
    still, _ = runs.run_chunk(task, frozen, 3)
    assert state.estimator_state["z"].moments.mean < -0.1
    assert still.estimator_state["z"].moments.mean == 0.0


def test_what_a_task_tracks_moves_apart_from_what_is_learned():
    def program(params, x):
        shifted = x - jax.lax.stop_gradient(params["mean"])[None]
        return lambda draw: -((shifted @ params["kernel"]) ** 2).sum(axis=1)

    def track(key, params, x):
        return params | {"mean": 0.5 * params["mean"] + 0.5 * x.mean(axis=0)}

    weights = jnp.ones((runs.PIXELS, 2))
    task = dataclasses.replace(
        runs.task(program),
        init=lambda key: {"kernel": weights, "mean": jnp.zeros(runs.PIXELS)},
        track=track,
    )
    config = runs.config(weight_decay=0.3, clip_norm=0.1)
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
    assert np.abs(state.params["kernel"] - weights).min() > 1e-3
    # The first step sees the mean of before it.
    one, _ = runs.run_chunk(task, config, 1)
    other, _ = runs.run_chunk(dataclasses.replace(task, track=Task.track), config, 1)
    np.testing.assert_array_equal(one.params["kernel"], other.params["kernel"])


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
    state, metrics = one_step(task, config)
    assert (metrics["objective"], metrics["supervised"]) == (-4.0, -3.0 - 16.0)
    assert state.params["a"] == pytest.approx(0.1 * (4.0 + 8.0))
    assert state.params["b"] == pytest.approx(0.1 * 6.0)
    alone = dataclasses.replace(task, supervised=None)
    _, metrics = one_step(alone, config)
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
    state, values = None, set()
    for _ in range(3):
        state, metrics = one_step(task, config, state)
        values.add(float(metrics["supervised"]))
    assert len(values) == 3
