"""ARM and DisARM against enumeration, and against closed forms for a single bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
from enumeration import (
    assert_falls,
    many_estimates,
    max_z,
    total_variance,
)
from gumbel.estimators import antithetic
from toys import TOYS, Toy, normal


def test_without_its_factor_it_is_biased():
    wrong = antithetic._antithetic(lambda first, second: (first.bits - second.bits) / 2)
    assert max_z(wrong, TOYS["2-cost"]) > 10


def bit_toy(log_odds):
    """One bit and its two costs."""

    def program(params, costs):
        def run(draw):
            b = draw("b", gumbel.Bernoulli(params["log_odds"])).value[:, 0]
            return costs[:, 0] * (1 - b) + costs[:, 1] * b

        return run

    params = {"log_odds": jnp.full((1, 1), log_odds)}
    return Toy(program, params, (jnp.asarray([[0.5, 2.0]]),), (("b", (1,), 2),))


@pytest.mark.parametrize("log_odds", [0.0, 0.7, -1.5])
def test_mean_and_variance_of_a_single_bit_in_closed_form(log_odds):
    # The bits of a pair differ where u or 1 − u is below q = σ(−|φ|): there the
    # gradient is Δ |u − ½| for ARM and ½ Δ σ(|φ|) for DisARM, Δ the difference of the
    # costs. At φ = 0 they always differ, and DisARM has no noise at all.
    toy, delta = bit_toy(log_odds), 1.5
    q = 1 / (1 + np.exp(abs(log_odds)))
    mean = delta * q * (1 - q)
    second = {
        "arm": delta**2 * (1 / 12 - 2 / 3 * (0.5 - q) ** 3),
        "disarm": delta**2 * (1 - q) ** 2 / 4 * 2 * q,
    }
    for name, square in second.items():
        grads = many_estimates(name, toy)(None, {})[1]["log_odds"]
        grads = np.asarray(grads, np.float64).ravel()
        stderr = grads.std() / np.sqrt(len(grads)) + 1e-6
        assert abs(grads.mean() - mean) < 5 * stderr
        stderr = (grads**2).std() / np.sqrt(len(grads)) + 1e-6
        assert abs((grads**2).mean() - square) < 5 * stderr
        assert abs((grads**2).mean() - 1.1 * square) > 5 * stderr, "negative control"


def test_each_step_lowers_the_variance():
    toy = TOYS["2-elbo"]
    variances = [
        total_variance(many_estimates(name, toy)(None, {})[1])
        for name in ("reinforce_loo", "arm", "disarm")
    ]
    for worse, better in zip(variances, variances[1:], strict=False):
        assert_falls(worse, better)


def test_a_class_is_the_first_bit_that_is_1():
    distribution = gumbel.Categorical(normal(np.random.default_rng(0), 5, 2, 4))
    log_odds = np.asarray(antithetic._log_odds(distribution), np.float64)
    p = np.asarray(distribution.mean(), np.float64)
    first = 1 / (1 + np.exp(-log_odds))
    remaining = np.cumprod(1 - first, axis=-1)
    sticks = first * np.concatenate(
        [np.ones_like(first[..., :1]), remaining[..., :-1]], axis=-1
    )
    np.testing.assert_allclose(sticks, p[..., :-1], rtol=1e-5)
    np.testing.assert_allclose(remaining[..., -1], p[..., -1], rtol=1e-5)
    bits = jnp.asarray([[[1.0, 0, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]]])
    value, seen = antithetic._value(gumbel.Categorical(jnp.zeros((1, 4, 4))), bits)
    np.testing.assert_array_equal(value[0], np.eye(4))
    np.testing.assert_array_equal(seen[0], [[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]])


def test_a_class_of_two_is_a_bit():
    x = normal(np.random.default_rng(1), 6, 3)

    def estimate(family, logits_of):
        def program(params, x):
            def run(draw):
                value = draw("z", family(logits_of(x @ params["w"]))).value
                bits = value if value.ndim == 2 else value[..., 0]
                return jnp.sin(bits @ params["out"] + x[:, 0])

            return run

        params = {"w": normal(np.random.default_rng(2), 3, 4), "out": jnp.arange(4.0)}
        return jax.jit(gumbel.value_and_grad("disarm", program))(
            jax.random.key(0), params, x
        )

    bits = estimate(gumbel.Bernoulli, lambda x: x)
    classes = estimate(
        gumbel.Categorical, lambda x: jnp.stack([x, jnp.zeros_like(x)], axis=-1)
    )
    shifted = estimate(
        gumbel.Categorical, lambda x: jnp.stack([jnp.zeros_like(x), -x], axis=-1)
    )
    for other in (classes, shifted):
        np.testing.assert_allclose(other.bound, bits.bound, rtol=1e-6)
        np.testing.assert_allclose(other.grads["w"], bits.grads["w"], atol=1e-6)
    assert np.abs(bits.grads["w"]).max() > 0.1
