"""Hard Concrete gates against their closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import gumbel

DRAWS = 40_000


def frequencies(logit, temperature, stretch):
    """The shares of gates that are 0 and that are 1."""
    logits = jnp.full(DRAWS, logit, jnp.float32)
    gates = gumbel.hard_concrete(
        jax.random.key(0), logits, temperature, stretch=stretch
    )
    assert ((gates >= 0) & (gates <= 1)).all()
    return float((gates == 0).mean()), float((gates == 1).mean())


def z_score(share, p):
    return abs(share - p) / np.sqrt(p * (1 - p) / DRAWS)


@pytest.mark.parametrize("logit", [-1.0, 0.0, 1.3])
@pytest.mark.parametrize(
    ("temperature", "stretch"), [(2 / 3, (-0.1, 1.1)), (0.3, (-0.5, 1.2))]
)
def test_gates_are_zero_and_one_as_often_as_they_should(logit, temperature, stretch):
    low, high = stretch
    # P(x < t) of a binary Concrete x is sigmoid(τ logit(t) − logits).
    expected = [
        scipy.special.expit(temperature * scipy.special.logit(t) - logit)
        for t in (-low / (high - low), (1 - low) / (high - low))
    ]
    zeros, ones = frequencies(logit, temperature, stretch)
    assert z_score(zeros, expected[0]) < 5
    assert z_score(ones, 1 - expected[1]) < 5
    assert z_score(zeros, expected[0] + 0.02) > 5  # the control
    nonzero = gumbel.hard_concrete_nonzero_prob(
        jnp.float32(logit), temperature, stretch=stretch
    )
    np.testing.assert_allclose(nonzero, 1 - expected[0], rtol=1e-5)


def test_values_between_are_the_stretched_sample_with_its_gradient():
    logits = jnp.linspace(-2.0, 2.0, 50)

    def gate(logits):
        return gumbel.hard_concrete(jax.random.key(1), logits, 0.8)

    def stretched(logits):
        return 1.2 * gumbel.binary_concrete(jax.random.key(1), logits, 0.8) - 0.1

    @jax.jit
    def values_and_slopes(logits):
        both = [jax.vjp(f, logits) for f in (gate, stretched)]
        return [(value, pull(jnp.ones(50))[0]) for value, pull in both]

    (value, slope), (whole, whole_slope) = values_and_slopes(logits)
    inside = (value > 0) & (value < 1)
    assert 5 < inside.sum() < 50
    np.testing.assert_allclose(value, np.clip(whole, 0, 1), atol=1e-6)
    np.testing.assert_allclose(slope, np.where(inside, whole_slope, 0), atol=1e-6)


def test_extremes():
    logits = jnp.asarray([-jnp.inf, jnp.inf, jnp.nan, -1e4, 1e4], jnp.bfloat16)
    gates = gumbel.hard_concrete(jax.random.key(0), logits, 0.5)
    assert gates.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gates.astype("float32"), [0, 1, np.nan, 0, 1])
    nonzero = gumbel.hard_concrete_nonzero_prob(logits, 0.5)
    assert nonzero.dtype == jnp.float32
    np.testing.assert_array_equal(nonzero, [0, 1, np.nan, 0, 1])


@pytest.mark.parametrize("stretch", [(0.0, 1.1), (-0.1, 1.0), (0.2, 0.8)])
def test_a_stretch_that_does_not_contain_the_unit_interval(stretch):
    with pytest.raises(ValueError, match=r"^stretch="):
        gumbel.hard_concrete(jax.random.key(0), jnp.zeros(3), 0.5, stretch=stretch)
