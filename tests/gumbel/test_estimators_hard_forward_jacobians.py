"""Rao-Blackwellised, gapped and second-order straight-through: their Jacobians.

Given the sample, the Jacobian of its value is a matrix that each paper defines; and
values, gradients and errors at the extremes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import gumbel
from gumbel.estimators import hard_forward
from gumbel.samplers import gumbel_noise


def values_and_jacobians(value_of, distribution, **hyper):
    """Samples [B, N(, K)] and, by vjp, the Jacobian in a variable's own logits."""

    @jax.jit
    def pull(logits):
        sampler = hard_forward.hard_value(value_of)({"kl": "analytic", **hyper})

        def draw(logits):
            return sampler(jax.random.key(3), "z", type(distribution)(logits)).value

        value, vjp = jax.vjp(draw, logits)
        if logits.ndim == 2:
            return value, vjp(jnp.ones_like(value))[0]
        rows = [
            vjp(jnp.zeros_like(value).at[..., k].set(1.0))[0]
            for k in range(logits.shape[-1])
        ]
        return value, jnp.stack(rows, axis=-2)

    value, jacobian = pull(distribution.logits)
    return np.asarray(value, np.float64), np.asarray(jacobian, np.float64)


def jacobian_at(p):
    """diag(p) − ppᵀ of probabilities [..., K]."""
    return p[..., None] * np.eye(p.shape[-1]) - p[..., None] * p[..., None, :]


def gapped_jacobian(logits, chosen, gap, temperature):
    """GST, by its definition: the class raised to the top, the others pushed down."""
    moved = logits.copy()
    for row, one_hot in zip(moved.reshape(-1, 4), chosen.reshape(-1, 4), strict=True):
        k, top = one_hot.argmax(), row.max()
        probability = special.softmax(row)[k]
        lead = -np.log1p(-probability) / probability if gap is None else gap
        for other in range(4):
            row[other] = top if other == k else min(row[other], top - lead)
    return jacobian_at(special.softmax(moved / temperature, axis=-1)) / temperature


def reinmax_jacobian(logits, chosen, temperature):
    """Algorithm 2, by its matrices."""
    midpoint = (chosen + special.softmax(logits / temperature, axis=-1)) / 2
    return 2 * jacobian_at(midpoint) - jacobian_at(special.softmax(logits, axis=-1)) / 2


LOGITS = np.random.default_rng(5).normal(size=(40, 2, 4)) * 1.5


@pytest.mark.parametrize("gap", [0.5, 2.0, None])
def test_gapped_st_against_its_definition(gap):
    chosen, jacobian = values_and_jacobians(
        hard_forward._gapped_value,
        gumbel.Categorical(jnp.asarray(LOGITS, jnp.float32)),
        gap=gap,
        temperature=0.7,
    )
    expected = gapped_jacobian(LOGITS, chosen, gap, 0.7)
    np.testing.assert_allclose(jacobian, expected, rtol=1e-4, atol=1e-5)
    assert (np.abs(expected - gapped_jacobian(LOGITS, chosen, 1.0, 0.7)) > 1e-2).any()


def test_reinmax_against_its_definition():
    chosen, jacobian = values_and_jacobians(
        hard_forward._reinmax_value,
        gumbel.Categorical(jnp.asarray(LOGITS, jnp.float32)),
        temperature=0.7,
    )
    expected = reinmax_jacobian(LOGITS, chosen, 0.7)
    np.testing.assert_allclose(jacobian, expected, rtol=1e-4, atol=1e-5)


def zgr_jacobian(logits, chosen):
    """½ (J(p) + (D − p)(D − p)ᵀ), the derivative of ½ (p + (D − p) log q(D))."""
    p = special.softmax(logits, axis=-1)
    gap = chosen - p
    return (jacobian_at(p) + gap[..., None] * gap[..., None, :]) / 2


def test_zgr_against_its_definition():
    chosen, jacobian = values_and_jacobians(
        hard_forward._zgr_value, gumbel.Categorical(jnp.asarray(LOGITS, jnp.float32))
    )
    expected = zgr_jacobian(LOGITS, chosen)
    reinmax = reinmax_jacobian(LOGITS, chosen, 1.0)
    np.testing.assert_allclose(expected, reinmax, atol=1e-12)
    np.testing.assert_allclose(jacobian, expected, rtol=1e-4, atol=1e-5)


def test_zgr_is_the_limit_of_gumbel_rao():
    rows = 20_000
    logits = np.broadcast_to(LOGITS[0, :1], (rows, 1, 4))
    chosen, jacobian = values_and_jacobians(
        hard_forward._gumbel_rao_value,
        gumbel.Categorical(jnp.asarray(logits, jnp.float32)),
        temperature=0.02,
        inner_samples=10,
    )
    for k in range(4):
        of_class = jacobian[chosen[:, 0, k] == 1, 0]
        stderr = of_class.std(0) / np.sqrt(len(of_class)) + 1e-3
        limit = zgr_jacobian(logits[0, 0], np.eye(4)[k])
        assert (np.abs(of_class.mean(0) - limit) < 5 * stderr).all()
        through = jacobian_at(special.softmax(logits[0, 0]))
        assert (np.abs(through - limit) > 5 * stderr).any(), "negative control"


@pytest.mark.parametrize(
    ("value_of", "hyper"),
    [
        (hard_forward._gapped_value, {"gap": 1.5}),
        (hard_forward._gapped_value, {"gap": None}),
        (hard_forward._reinmax_value, {}),
    ],
)
def test_a_bit_is_a_class_of_two(value_of, hyper):
    # For each of its two values: what a class gives to logits (l, 0), in z_0 and l_0.
    logits = LOGITS[..., 0]
    pair = np.stack([logits, np.zeros_like(logits)], axis=-1)
    hyper = {"temperature": 0.7, **hyper}
    bits, slopes = values_and_jacobians(
        value_of, gumbel.Bernoulli(jnp.asarray(logits, jnp.float32)), **hyper
    )
    classes, jacobian = values_and_jacobians(
        value_of, gumbel.Categorical(jnp.asarray(pair, jnp.float32)), **hyper
    )
    same = bits == classes[..., 0]
    assert same.mean() > 0.2 and {0.0, 1.0} == set(bits[same])
    expected = jacobian[..., 0, 0][same]
    np.testing.assert_allclose(slopes[same], expected, rtol=1e-4, atol=1e-5)


def test_the_expected_gap_is_that_of_gumbel_max():
    noise = np.asarray(gumbel_noise(jax.random.key(6), (100_000, 4)), np.float64)
    logits = LOGITS[0, 0]
    perturbed = np.sort(logits + noise, axis=1)
    gaps, winner = perturbed[:, -1] - perturbed[:, -2], (logits + noise).argmax(1)
    log_p = np.log(special.softmax(logits))
    for k in range(4):
        log_rest = special.logsumexp(np.delete(log_p, k))
        exact = float(
            hard_forward.expected_gap(*map(jnp.float32, (log_p[k], log_rest)))
        )
        of_class = gaps[winner == k]
        stderr = of_class.std() / np.sqrt(len(of_class))
        assert abs(of_class.mean() - exact) < 5 * stderr
    # The limits, far beyond where 1 − p or p itself is a float.
    log_p = jnp.asarray([-1e4, -200.0, -30.0, -1e-30, 0.0])
    log_rest = jnp.asarray([0.0, 0.0, -1e-13, -69.0, -1e4])
    gaps = hard_forward.expected_gap(log_p, log_rest)
    np.testing.assert_allclose(gaps, [1.0, 1.0, 1.0, 69.0, 1e4], rtol=1e-6)
