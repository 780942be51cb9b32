"""Distributions against scipy, enumeration and quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

import gumbel
from gumbel.distributions import ExpConcrete, LogitBinaryConcrete

RNG = np.random.default_rng(0)
Q = RNG.normal(size=(2, 3, 4)).astype(np.float32)
P = RNG.normal(size=(2, 3, 4)).astype(np.float32)


def softmax(logits):
    weights = np.exp(logits.astype(np.float64))
    return weights / weights.sum(-1, keepdims=True)


def test_categorical_mass_and_kl_by_enumeration():
    distribution = gumbel.Categorical(jnp.asarray(Q))
    q, p = softmax(Q), softmax(P)
    for k in range(4):
        corner = jnp.broadcast_to(jnp.eye(4)[k], Q.shape)
        np.testing.assert_allclose(
            distribution.log_prob(corner), np.log(q[..., k]), rtol=1e-5
        )
    kl = (q * np.log(q / p)).sum(-1)
    np.testing.assert_allclose(
        distribution.kl(gumbel.Categorical(jnp.asarray(P))), kl, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(distribution.mean(), q, rtol=1e-5)


def test_bernoulli_mass_and_kl_by_enumeration():
    logits, other = Q[..., 0], P[..., 0]
    distribution = gumbel.Bernoulli(jnp.asarray(logits))
    q, p = 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(-other))
    np.testing.assert_allclose(
        distribution.log_prob(jnp.ones_like(logits)), np.log(q), rtol=1e-4
    )
    np.testing.assert_allclose(
        distribution.log_prob(jnp.zeros_like(logits)), np.log1p(-q), rtol=1e-4
    )
    kl = q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))
    np.testing.assert_allclose(
        distribution.kl(gumbel.Bernoulli(jnp.asarray(other))), kl, rtol=1e-4, atol=1e-6
    )


def test_a_bernoulli_is_a_categorical_of_two():
    logits, other = jnp.asarray(Q[..., 0]), jnp.asarray(P[..., 0])

    def pair(logits):
        return gumbel.Categorical(jnp.stack([logits, jnp.zeros_like(logits)], -1))

    np.testing.assert_allclose(
        gumbel.Bernoulli(logits).kl(gumbel.Bernoulli(other)),
        pair(logits).kl(pair(other)),
        rtol=1e-4,
        atol=1e-6,
    )


def test_normal_density_and_kl_by_quadrature():
    q, p = stats.norm(0.3, 0.7), stats.norm(-0.5, 1.6)
    kl, _ = integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), -10, 10)

    def normal(law):
        return gumbel.Normal(jnp.full((1, 1), law.mean()), jnp.full((1, 1), law.std()))

    np.testing.assert_allclose(normal(q).kl(normal(p)), [[kl]], rtol=1e-5)
    z = jnp.full((1, 1), 0.9)
    np.testing.assert_allclose(normal(p).log_prob(z), [[p.logpdf(0.9)]], rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_kl_and_its_gradient_are_finite_at_extreme_logits(scale):
    logits = jnp.asarray([[[scale, -scale, 0.0]]])
    for make, q, p in (
        (gumbel.Categorical, logits, -logits),
        (gumbel.Bernoulli, logits[0], -logits[0]),
    ):
        value, grads = jax.value_and_grad(
            lambda q, p, make=make: make(q).kl(make(p)).sum(), argnums=(0, 1)
        )(q, p)
        assert jnp.isfinite(value)
        assert all(jnp.isfinite(g).all() for g in grads)


@pytest.mark.parametrize("temperature", [0.4, 1.3])
def test_relaxed_points_and_values_belong_together(temperature):
    categorical = gumbel.Categorical(jnp.asarray(Q)).relax(temperature)
    assert isinstance(categorical, ExpConcrete)
    y = categorical.sample(jax.random.key(0))
    np.testing.assert_allclose(jax.nn.logsumexp(y.y, -1), 0.0, atol=1e-5)
    np.testing.assert_allclose(
        categorical.value(y),
        gumbel.gumbel_softmax(jax.random.key(0), jnp.asarray(Q), temperature),
        atol=1e-6,
    )
    binary = gumbel.Bernoulli(jnp.asarray(Q[..., 0])).relax(temperature)
    assert isinstance(binary, LogitBinaryConcrete)
    np.testing.assert_allclose(
        binary.value(binary.sample(jax.random.key(1))),
        gumbel.binary_concrete(jax.random.key(1), jnp.asarray(Q[..., 0]), temperature),
        atol=1e-6,
    )


def test_the_relaxed_sample_rounds_to_the_gumbel_max_of_the_same_key():
    distribution = gumbel.Categorical(jnp.asarray(Q))
    y = distribution.relax(0.1).sample(jax.random.key(2))
    hard = gumbel.gumbel_max(jax.random.key(2), distribution.logits)
    np.testing.assert_array_equal(jnp.argmax(y.y, -1), jnp.argmax(hard, -1))


def test_support_is_every_value_once():
    assert gumbel.Bernoulli(jnp.zeros((1, 2))).support().tolist() == [0.0, 1.0]
    support = gumbel.Categorical(jnp.zeros((1, 2, 3))).support()
    assert support.tolist() == np.eye(3).tolist()


def test_distributions_are_pytrees_that_jit_and_broadcast():
    prior = gumbel.Categorical(jnp.asarray(P[0]))
    wide = jax.jit(lambda d: d.broadcast_to((5, 3, 4)))(prior)
    np.testing.assert_array_equal(wide.logits, np.broadcast_to(P[0], (5, 3, 4)))


def test_the_mode_is_the_likeliest_value():
    bits = gumbel.Bernoulli(jnp.asarray([[-0.1, 2.0, -3.0]]))
    np.testing.assert_array_equal(bits.mode(), [[0.0, 1.0, 0.0]])
    classes = gumbel.Categorical(jnp.asarray([[[0.0, 3.0, -1.0], [5.0, 3.0, 4.0]]]))
    np.testing.assert_array_equal(classes.mode(), [[[0, 1, 0], [1, 0, 0]]])
