"""Distributions against scipy, enumeration and quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

import gumbel

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


def test_normal_density_and_kl_by_quadrature():
    q, p = stats.norm(0.3, 0.7), stats.norm(-0.5, 1.6)
    kl, _ = integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), -10, 10)

    def normal(law):
        return gumbel.Normal(jnp.full((1, 1), law.mean()), jnp.full((1, 1), law.std()))

    np.testing.assert_allclose(normal(q).kl(normal(p)), [[kl]], rtol=1e-5)
    z = jnp.full((1, 1), 0.9)
    np.testing.assert_allclose(normal(p).log_prob(z), [[p.logpdf(0.9)]], rtol=1e-5)


@pytest.mark.parametrize("family", [gumbel.Categorical, gumbel.Bernoulli])
def test_kl_and_its_gradient_are_finite_at_extreme_logits(family):
    @jax.jit
    def kl(q, p):
        return family(q).kl(family(p)).sum()

    value_and_slopes = jax.jit(jax.value_and_grad(kl, (0, 1)))
    for scale in (1.0, 1e4):
        logits = jnp.asarray([[[scale, -scale, 0.0]]])
        found = value_and_slopes(logits, -logits)
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def test_support_is_every_value_once():
    assert gumbel.Bernoulli(jnp.zeros((1, 2))).support().tolist() == [0.0, 1.0]
    support = gumbel.Categorical(jnp.zeros((1, 2, 3))).support()
    assert support.tolist() == np.eye(3).tolist()


def test_distributions_are_pytrees_that_jit_and_broadcast():
    prior = gumbel.Categorical(jnp.asarray(P[0]))
    wide = jax.jit(lambda d: d.broadcast_to((5, 3, 4)))(prior)
    np.testing.assert_array_equal(wide.logits, np.broadcast_to(P[0], (5, 3, 4)))


def test_normals_whose_parameters_broadcast_have_noise_of_their_own():
    loc, scale = jnp.zeros((1, 2)), jnp.ones((3, 2))
    for normal in (
        gumbel.Normal(loc, scale),
        gumbel.Normal(scale, loc + 1.0),
        gumbel.Normal(jnp.zeros(()), scale),
    ):
        assert len(np.unique(normal.sample(jax.random.key(0)))) == 6
        shapes = {x.shape for x in (normal.mean(), normal.mode(), normal.entropy())}
        assert shapes == {(3, 2)}


def test_the_mode_is_the_likeliest_value():
    bits = gumbel.Bernoulli(jnp.asarray([[-0.1, 2.0, -3.0]]))
    np.testing.assert_array_equal(bits.mode(), [[0.0, 1.0, 0.0]])
    classes = gumbel.Categorical(jnp.asarray([[[0.0, 3.0, -1.0], [5.0, 3.0, 4.0]]]))
    np.testing.assert_array_equal(classes.mode(), [[[0, 1, 0], [1, 0, 0]]])


def test_entropies_against_scipy():
    np.testing.assert_allclose(
        gumbel.Categorical(jnp.asarray(Q)).entropy(),
        stats.entropy(softmax(Q), axis=-1),
        rtol=1e-5,
    )
    bits = Q[..., 0]
    np.testing.assert_allclose(
        gumbel.Bernoulli(jnp.asarray(bits)).entropy(),
        stats.bernoulli(1 / (1 + np.exp(-np.float64(bits)))).entropy(),
        rtol=1e-5,
    )
    scale = np.exp(bits)
    np.testing.assert_allclose(
        gumbel.Normal(jnp.zeros_like(bits), jnp.asarray(scale)).entropy(),
        stats.norm(scale=scale).entropy(),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_logits_are_computed_with_in_float32(dtype):
    # Near uniform: in bfloat16 the terms of the sum have errors larger than it.
    logits, other = (jnp.asarray(0.1 * a, dtype) for a in (Q, P))
    wide = [np.float64(a.astype("float32")) for a in (logits, other)]
    q, p = map(softmax, wide)
    kl = gumbel.Categorical(logits).kl(gumbel.Categorical(other))
    np.testing.assert_allclose(kl, (q * np.log(q / p)).sum(-1), rtol=1e-3)
    entropy = gumbel.Categorical(logits).entropy()
    np.testing.assert_allclose(entropy, stats.entropy(q, axis=-1), rtol=1e-5)
    bits = gumbel.Bernoulli(logits).kl(gumbel.Bernoulli(other))
    a, b = (1 / (1 + np.exp(-x)) for x in wide)
    expected = a * np.log(a / b) + (1 - a) * np.log((1 - a) / (1 - b))
    np.testing.assert_allclose(bits, expected, rtol=1e-3, atol=1e-7)
    for result in (kl, entropy, bits, gumbel.Bernoulli(logits).log_prob(0 * logits)):
        assert result.dtype == jnp.float32


def test_any_axes_between_batch_and_classes():
    rng = np.random.default_rng(3)
    q, p = (rng.normal(size=(2, 3, 2, 4)).astype(np.float32) for _ in range(2))
    flat_q, flat_p = (
        gumbel.Categorical(jnp.asarray(a.reshape(2, 6, 4))) for a in (q, p)
    )
    deep_q, deep_p = (gumbel.Categorical(jnp.asarray(a)) for a in (q, p))
    np.testing.assert_array_equal(deep_q.kl(deep_p), flat_q.kl(flat_p).reshape(2, 3, 2))
    np.testing.assert_array_equal(deep_q.entropy(), flat_q.entropy().reshape(2, 3, 2))
    sample = deep_q.sample(jax.random.key(0))
    assert sample.shape == q.shape and (sample.sum(-1) == 1).all()
    point = deep_q.relax(0.5).sample(jax.random.key(1))
    assert deep_p.relax(0.5).log_prob(point).shape == (2, 3, 2)


def test_another_number_of_classes_is_refused_and_not_broadcast():
    law, other = (gumbel.Categorical(jnp.zeros((2, k))) for k in (3, 1))
    for call in (
        lambda: law.kl(other),
        lambda: law.log_prob(jnp.ones((2, 1))),
        lambda: law.log_prob(jnp.asarray([0, 2])),  # indices, which are no one-hots
        lambda: law.log_ratio(law.mode(), other),
    ):
        with pytest.raises(ValueError, match="must have the classes last, 3 as"):
            call()
