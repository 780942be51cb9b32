"""The probe: what it finds on a program that is small enough to enumerate."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import runs
from experiments import ConfigError
from experiments.reproduction import probe
from gumbel import quality

COUNT = 4000


@functools.cache
def made() -> probe.Probe:
    """All examples of the tiny task, so that a bound of it is that of the batch."""
    task = runs.task()
    return probe.Probe(task, runs.config(), runs.init(jax.random.key(5)), 24)


def moments(name, state=None, temperature=1.0) -> quality.Moments:
    if state is None:
        state = made().warm_up(name, 0)(jax.random.key(1), temperature)
    return made().moments(name, COUNT)(jax.random.key(2), temperature, state)


@functools.cache
def exact() -> np.ndarray:
    """The gradient of the encoder, by a loop over all codes."""
    _, x = made().point
    mean_bound = jax.jit(
        jax.grad(lambda params: runs.enumerated_bound(params, x).mean())
    )
    return np.asarray(mean_bound(made().point[0])["encoder"]).ravel()


def test_the_reference_is_the_exact_gradient_of_what_the_draws_depend_on():
    found, noise, how = made().reference("muprop", 2)
    assert (noise, how) == (0.0, "exact")
    np.testing.assert_allclose(found, exact(), rtol=1e-4, atol=1e-5)


def test_where_it_cannot_be_enumerated_it_is_the_mean_of_an_unbiased_estimator():
    config = runs.config(num_samples=6)  # of 9 joint values: too many together
    other = probe.Probe(runs.task(), config, made().point[0], 24)
    found, noise, how = other.reference("reinforce_loo", 50)
    assert how == "mean of 50 reinforce_loo" and noise > 0
    assert found.shape == exact().shape
    with pytest.raises(ConfigError, match="--reference=straight_through: must be unb"):
        other.reference("straight_through", 2)


def test_a_learned_baseline_lowers_the_variance_once_it_is_learned():
    fresh, plain = moments("nvil"), moments("score_function")
    np.testing.assert_allclose(fresh.mean, plain.mean, rtol=1e-3, atol=1e-4)
    state = made().warm_up("nvil", 300)(jax.random.key(3), 1.0)
    warm = moments("nvil", state)
    assert warm.variance.sum() < 0.5 * fresh.variance.sum()
    stderr = np.sqrt(np.asarray(warm.variance) / COUNT)
    assert (np.abs(np.asarray(warm.mean) - exact()) < 5 * stderr).all()


def test_what_is_learned_is_learned_from_the_training_data():
    config = runs.config(**{"options.baseline_decay": 0.99})
    other = probe.Probe(runs.task(), config, made().point[0], 8)
    state = other.warm_up("score_function", 2000)(jax.random.key(4), 1.0)
    _, x = made().point
    bound = float(runs.enumerated_bound(made().point[0], x).mean())
    # A mean of some 200 batches of 8, of noise below a nat or two each.
    assert abs(float(state.mean) - bound) < 0.5
    part = float(runs.enumerated_bound(made().point[0], other.point[1]).mean())
    assert abs(part - bound) > 0.6, "negative control: the probe's own batch"


def test_without_a_warm_up_the_state_is_fresh():
    state = made().warm_up("nvil", 0)(jax.random.key(3), 1.0)
    assert (
        state["z"].moments.mean == 0 and (state["z"].learned.params["out"] == 0).all()
    )


def test_options_are_for_the_estimators_that_have_them():
    options = {"options.scale": 0.5, "options.inner_samples": 3}
    config = runs.config(**options)
    probe.check_estimators(config, ["rebar", "gumbel_rao", "straight_through"])
    other = probe.Probe(runs.task(), config, made().point[0], 8)
    assert other.hyper("gumbel_rao") == {"kl": config.objective, "inner_samples": 3}
    assert other.hyper("straight_through") == {"kl": config.objective}
    assert other.hyper("rebar")["scale"] == jnp.asarray(0.5)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["rebar", "foo"], "--estimators=foo: must be one of gumbel_softmax, "),
        (["nvil"], "config.options.scale=0.5: must be unset for --estimators=nvil"),
        (["rebar", "vimco"], "config.num_samples=1: must be an integer ≥ 2 for the es"),
    ],
)
def test_what_cannot_be_compared_is_named(names, message):
    with pytest.raises(ConfigError) as error:
        probe.check_estimators(runs.config(**{"options.scale": 0.5}), names)
    assert str(error.value).startswith(message)
