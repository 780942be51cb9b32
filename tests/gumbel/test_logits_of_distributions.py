"""Masses, KLs and entropies where logits are infinite or undefined."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import gumbel

RNG = np.random.default_rng(0)


Q = RNG.normal(size=(2, 3, 4)).astype(np.float32)


P = RNG.normal(size=(2, 3, 4)).astype(np.float32)


def softmax(logits):
    weights = np.exp(logits.astype(np.float64))
    return weights / weights.sum(-1, keepdims=True)


MASK = np.array([True, False, True, True])


def masked(logits, low=-np.inf):
    """Logits whose second class is forbidden, and those of the classes left."""
    return np.where(MASK, logits, np.float32(low)), logits[..., MASK]


def value_and_slopes(function, *logits):
    def total(*logits):
        value = function(*map(gumbel.Categorical, logits))
        return value.sum(), value

    gradient = jax.grad(total, range(len(logits)), has_aux=True)
    slopes, value = jax.jit(gradient)(*map(jnp.asarray, logits))
    return value, slopes


@pytest.mark.parametrize("low", [-np.inf, -1e9, np.finfo(np.float32).min])
@pytest.mark.parametrize("name", ["kl", "entropy", "log_prob"])
def test_a_forbidden_class_is_as_if_it_were_not_there(name, low):
    (q, q_left), (p, p_left) = masked(Q, low), masked(P, low)
    if name == "kl":
        whole = value_and_slopes(lambda a, b: a.kl(b), q, p)
        left = value_and_slopes(lambda a, b: a.kl(b), q_left, p_left)
    elif name == "entropy":
        whole = value_and_slopes(lambda a: a.entropy(), q)
        left = value_and_slopes(lambda a: a.entropy(), q_left)
    else:
        corners = [np.broadcast_to(np.eye(k)[-1], (2, 3, k)) for k in (4, 3)]
        whole = value_and_slopes(lambda a: a.log_prob(corners[0]), q)
        left = value_and_slopes(lambda a: a.log_prob(corners[1]), q_left)
    np.testing.assert_allclose(whole[0], left[0], rtol=1e-5, atol=1e-6)
    for slope, expected in zip(whole[1], left[1], strict=True):
        np.testing.assert_allclose(slope[..., MASK], expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(slope[..., ~MASK], 0.0)


def test_impossible_values_and_priors():
    q, _ = masked(Q)
    distribution = gumbel.Categorical(jnp.asarray(q))
    forbidden = np.broadcast_to(np.eye(4)[1], Q.shape)
    np.testing.assert_array_equal(distribution.log_prob(forbidden), -np.inf)
    np.testing.assert_array_equal(
        gumbel.Categorical(jnp.asarray(Q)).kl(distribution), np.inf
    )
    # The other way round the prior's class is only never drawn.
    p = softmax(P)
    left = softmax(q)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.nansum(left * np.log(left / p), axis=-1)
    kl = distribution.kl(gumbel.Categorical(jnp.asarray(P)))
    np.testing.assert_allclose(kl, expected, rtol=1e-4)


def test_an_undefined_logit_beside_a_certain_one_is_not_an_impossible_value():
    undefined = jnp.asarray([0.0, jnp.nan, jnp.inf])
    q, p = gumbel.Categorical(undefined), gumbel.Categorical(jnp.zeros(3))
    y = p.relax(0.5).sample(jax.random.key(0))
    for corner in jnp.eye(3):
        for number in (q.log_prob(corner), q.log_ratio(corner, p)):
            assert np.isnan(number)
    for number in (
        q.kl(p),
        p.kl(q),
        q.entropy(),
        q.relax(0.5).log_prob(y),
        p.relax(0.5).log_ratio(y, q.relax(0.5)),
        gumbel.exp_concrete_log_prob(y.y, undefined, 0.5),
        gumbel.concrete_log_prob(jnp.exp(y.y), undefined, 0.5),
        gumbel.logit_binary_concrete_log_prob(jnp.inf, jnp.asarray(jnp.nan), 0.5),
        gumbel.logit_binary_concrete_log_prob(jnp.nan, jnp.asarray(jnp.inf), 0.5),
    ):
        assert np.isnan(number)


def test_certain_bits():
    logits = jnp.asarray([[jnp.inf, -jnp.inf, 0.3]])
    distribution = gumbel.Bernoulli(logits)
    half = np.log(stats.logistic.cdf(0.3))
    np.testing.assert_allclose(
        distribution.log_prob(jnp.ones((1, 3))), [[0, -np.inf, half]], rtol=1e-5
    )
    np.testing.assert_array_equal(
        distribution.log_prob(jnp.zeros((1, 3)))[:, :2], [[-np.inf, 0]]
    )
    np.testing.assert_array_equal(distribution.kl(distribution), [[0, 0, 0]])
    np.testing.assert_array_equal(distribution.entropy()[:, :2], [[0, 0]])
    free = gumbel.Bernoulli(jnp.zeros((1, 3)))
    np.testing.assert_allclose(distribution.kl(free)[:, :2], np.log(2), rtol=1e-6)
    np.testing.assert_array_equal(free.kl(distribution)[:, :2], np.inf)
    for function in (
        lambda x: gumbel.Bernoulli(x).kl(free).sum(),
        lambda x: gumbel.Bernoulli(x).entropy().sum(),
        lambda x: gumbel.Bernoulli(x).log_prob(jnp.ones((1, 3)))[:, 2].sum(),
        lambda x: gumbel.Bernoulli(x).mean().sum(),
    ):
        slope = jax.grad(function)(logits)
        np.testing.assert_array_equal(slope[:, :2], 0.0)
        assert np.isfinite(slope).all() and slope[0, 2] != 0
