"""Relaxed laws: their points, values and densities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

import gumbel
from gumbel.relaxations import ExpConcrete, LogitBinaryConcrete

RNG = np.random.default_rng(0)


Q = RNG.normal(size=(2, 3, 4)).astype(np.float32)


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


def relaxed_ratios(q, p, temperature, count=100_000):
    """log q(y) − log p(y) of points drawn from q, [count]."""
    law, other = (
        gumbel.Categorical(jnp.broadcast_to(jnp.float32(logits), (count, 3)))
        for logits in (q, p)
    )
    law, other = law.relax(temperature), other.relax(temperature)
    ratio = jax.jit(
        lambda law, other: law.log_ratio(law.sample(jax.random.key(0)), other)
    )
    return np.float64(ratio(law, other))


@pytest.mark.parametrize("low", [-10, -1e6, -1e9, np.finfo(np.float32).min])
def test_large_negative_logits_do_not_cancel(low):
    ratios = relaxed_ratios([1.5, -0.5, low], [0, 0, low], 0.5)
    # The same in NumPy's float64, at a logit that float64 resolves.
    rng = np.random.default_rng(0)
    q, p = np.array([1.5, -0.5, -10]), np.array([0, 0, -10.0])
    s = -rng.gumbel(size=(1_000_000, 3))

    def log_softmax(s):
        return s - np.log(np.exp(s).sum(-1, keepdims=True))

    truth = (log_softmax(s) - log_softmax(p - q + s)).sum(-1)
    error = np.hypot(ratios.std() / 100_000**0.5, truth.std() / 1000)
    assert abs(ratios.mean() - truth.mean()) < 5 * error
    assert abs(ratios.mean() - 0.567) > 5 * error  # what cancellation makes of it


def test_a_relaxed_masked_class_is_the_law_of_the_others_by_quadrature():
    ratios = relaxed_ratios([1.5, -0.5, -np.inf], [0, 0, -np.inf], 0.5)

    def integrand(y):
        q, p = (
            np.log(0.5) + stats.logistic.logpdf(0.5 * y - logit) for logit in (2.0, 0.0)
        )
        return np.exp(q) * (q - p)

    truth, _ = integrate.quad(integrand, -200, 200, points=[0, 4], limit=500)
    error = ratios.std() / 100_000**0.5
    assert abs(ratios.mean() - truth) < 5 * error
    assert abs(ratios.mean() - 0.707) > 5 * error


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_a_temperature_for_each_variable(shape):
    tau = np.float32(0.3 + RNG.random(shape))
    each = np.broadcast_to(tau, (2, 3))
    for family, logits in ((gumbel.Categorical, Q), (gumbel.Bernoulli, Q[..., 0])):
        law = family(jnp.asarray(logits)).relax(tau)
        prior = family(jnp.asarray(np.roll(logits, 1, axis=0))).relax(tau)
        point = law.sample(jax.random.key(0))
        for result, other in ((law.log_prob(point), law), (None, prior)):
            result = other.log_prob(point) if result is None else result
            assert result.shape == (2, 3)
            for b, n in np.ndindex(2, 3):
                density = (
                    gumbel.exp_concrete_log_prob
                    if family is gumbel.Categorical
                    else gumbel.logit_binary_concrete_log_prob
                )
                alone = density(point.y[b, n], other.logits[b, n], each[b, n])
                np.testing.assert_allclose(result[b, n], alone, rtol=1e-4, atol=1e-4)
    for wrong in ((2,), (2, 3, 1), (2, 3, 4), (5, 2, 3)):
        with pytest.raises(ValueError, match="temperature"):
            law = gumbel.Categorical(jnp.asarray(Q)).relax(jnp.ones(wrong))
            law.sample(jax.random.key(0))
