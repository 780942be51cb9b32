"""Bounds and likelihoods against float64 formulas and an independent library."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gumbel.objectives import bernoulli_log_likelihood, log_mean_exp


def test_log_mean_exp_by_hand():
    log_w = np.random.default_rng(0).normal(size=(7, 5)) * 3
    expected = np.log(np.exp(log_w).mean(axis=0))
    single = jnp.asarray(log_w, jnp.float32)
    np.testing.assert_allclose(log_mean_exp(single), expected, rtol=1e-5)
    np.testing.assert_array_equal(log_mean_exp(single[:1]), single[0])
    huge = jnp.asarray([[1e4], [-1e4]])
    np.testing.assert_allclose(log_mean_exp(huge), [1e4 - np.log(2)])


# Pixels that share no factor with a group of the product, some and all of it.
@pytest.mark.parametrize("num_pixels", [11, 12, 784])
def test_bernoulli_log_likelihood_and_gradient_against_optax(num_pixels):
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(size=(6, num_pixels)) * 5, jnp.float32)
    pixels = jnp.asarray(rng.uniform(size=(6, num_pixels)), jnp.float32)

    def reference(logits):
        return -optax.sigmoid_binary_cross_entropy(logits, pixels).sum(axis=1)

    np.testing.assert_allclose(
        jax.jit(bernoulli_log_likelihood)(logits, pixels), reference(logits), rtol=1e-5
    )
    ours, theirs = (
        jax.jit(jax.grad(lambda x, f=f: f(x).sum()))(logits)
        for f in (lambda x: bernoulli_log_likelihood(x, pixels), reference)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_bernoulli_log_likelihood_is_finite_at_extreme_logits():
    logits = jnp.asarray([[1e4, -1e4]])
    value = bernoulli_log_likelihood(logits, jnp.asarray([[1.0, 1.0]]))
    np.testing.assert_allclose(value, [-1e4])
    # The largest product of factors, in the type with the smallest range.
    undecided = jnp.zeros((1, 784), jnp.float16)
    value = bernoulli_log_likelihood(undecided, jnp.ones((1, 784), jnp.float16))
    np.testing.assert_allclose(value, [-784 * np.log(2)], rtol=1e-6)


def test_second_derivatives_of_the_log_likelihood():
    logits = jnp.asarray([[-3.0, 0.5, 2.0]])
    hessian = jax.jit(
        jax.hessian(
            lambda row: bernoulli_log_likelihood(row[None], jnp.ones((1, 3)))[0]
        )
    )(logits[0])
    p = 1 / (1 + np.exp(-np.float64(logits[0])))
    np.testing.assert_allclose(hessian, np.diag(-p * (1 - p)), rtol=1e-5, atol=1e-7)


def test_pixels_that_are_certain():
    logits = jnp.asarray([[jnp.inf, -jnp.inf, 0.4], [jnp.inf, 0.0, 0.4]])
    pixels = jnp.asarray([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    one = -np.log1p(np.exp(-0.4))
    value = bernoulli_log_likelihood(logits, pixels)
    np.testing.assert_allclose(value, [one, -np.inf], rtol=1e-5)
    slope = jax.grad(lambda x: bernoulli_log_likelihood(x, pixels)[0])(logits)
    np.testing.assert_allclose(slope[0], [0, 0, 1 / (1 + np.exp(0.4))], rtol=1e-5)


@pytest.mark.parametrize(
    ("logits", "pixels"),
    [((4, 4), (4,)), ((4, 4), (1, 4)), ((4,), (4,)), ((2, 4, 4), (2, 4, 4))],
)
def test_shapes_that_would_broadcast_are_refused(logits, pixels):
    with pytest.raises(ValueError, match="has shape"):
        bernoulli_log_likelihood(jnp.zeros(logits), jnp.zeros(pixels))
