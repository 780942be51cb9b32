"""Rao-Blackwellised, gapped and second-order straight-through: bias and variance.

What is known of biased estimators: their mean and variance beside straight-through's,
and the costs for which they have no bias.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
from enumeration import (
    assert_falls,
    brute_force,
    many_estimates,
    max_z,
    mean_difference_z,
    one_estimate,
    total_variance,
)
from gumbel import quality
from gumbel.conditionals import conditional_gumbel
from gumbel.estimators import ESTIMATORS, hard_forward, pathwise
from gumbel.samplers import straight_through
from toys import TOYS, Toy, normal


def probe():
    """A VAE with 4 variables of 8 classes: 4096 joint values."""
    rng = np.random.default_rng(0)
    params = {"in": 0.2 * normal(rng, 6, 32), "out": normal(rng, 32, 12)}
    pixels = jnp.asarray(rng.random((2, 12)) < 0.4, jnp.float32)

    def program(params, x):
        def run(draw):
            z = draw("z", gumbel.Categorical((x @ params["in"]).reshape(2, 4, 8)))
            decoded = z.value.reshape(2, 32) @ params["out"]
            fit = gumbel.objectives.bernoulli_log_likelihood(decoded, pixels)
            return fit + z.log_prob(gumbel.Categorical(jnp.zeros((4, 8)))) - z.log_q

        return run

    return Toy(program, params, (normal(rng, 2, 6),), (("z", (4,), 8),))


def test_the_known_order_of_the_biases():
    toy, repeats, biases = probe(), 8000, {}
    exact = np.asarray(brute_force(toy)[1]["in"]).ravel()
    for name in ("reinmax", "straight_through", "st_gumbel_softmax"):
        grads = many_estimates(name, toy, repeats=repeats)(None, {})[1]["in"]
        grads = np.asarray(grads, np.float64).reshape(repeats, -1)
        moments = quality.Moments(grads.mean(0), grads.var(0), repeats)
        found = quality.quality(moments, exact)
        # What 5 standard errors of the mean gradient leave of a bias.
        low = np.sqrt(max(found.bias**2 - 5 * found.bias_noise**2, 0))
        biases[name] = low, np.hypot(found.bias, np.sqrt(5) * found.bias_noise)
    assert biases["reinmax"][1] < biases["straight_through"][0]
    assert biases["straight_through"][1] < biases["st_gumbel_softmax"][0]


@pytest.mark.parametrize("toy", [TOYS["2-3-cost"], probe()], ids=["2-3", "probe"])
def test_gumbel_rao_has_the_mean_of_st_gumbel_softmax_and_less_variance(toy):
    hyper = {"temperature": 0.3}
    plain, averaged = (
        many_estimates(name, toy)(None, hyper)[1]
        for name in ("st_gumbel_softmax", "gumbel_rao")
    )
    assert mean_difference_z(plain, averaged) < 5
    assert_falls(total_variance(plain), total_variance(averaged))


def test_through_the_conditioning_the_mean_would_be_another():
    def value_of(key, distribution, hyper):
        value = distribution.sample(key)
        z = conditional_gumbel(jax.random.fold_in(key, 1), distribution.logits, value)
        return straight_through(value, jax.nn.softmax(z / hyper["temperature"]))

    through = pathwise(hard_forward.hard_value(value_of))
    hyper, toy = {"temperature": 0.3}, TOYS["3-cost"]
    plain, other = (
        many_estimates(estimator, toy)(None, hyper)[1]
        for estimator in ("st_gumbel_softmax", through)
    )
    assert mean_difference_z(plain, other) > 10


def quadratic_toy(classes, power):
    """Costs of a degree `power` in each variable, with products of variables."""
    rng = np.random.default_rng(classes)
    shape = (2, 2) if classes == 2 else (2, 2, classes)
    params = {"logits": normal(rng, *shape)}
    weights = jnp.tanh(normal(rng, 2, np.prod(shape[1:])))
    family = gumbel.Bernoulli if classes == 2 else gumbel.Categorical

    def program(params, weights):
        def run(draw):
            value = draw("z", family(params["logits"])).value.reshape(2, -1)
            return ((weights * value).sum(1) - 0.5) ** power

        return run

    return Toy(program, params, (weights,), (("z", (2,), classes),))


@pytest.mark.parametrize("name", ["reinmax", "zgr"])
@pytest.mark.parametrize("classes", [2, 4])
def test_exact_to_second_order(name, classes):
    quadratic, quartic = (quadratic_toy(classes, power) for power in (2, 4))
    assert max_z(name, quadratic) < 5
    assert max_z("straight_through", quadratic) > 10, "negative control"
    assert max_z(name, quartic) > 10, "negative control"
    if name == "reinmax":
        assert max_z(name, quadratic, temperature=3.0) > 5, "at τ = 1 only"


def test_zgr_is_darn_for_bits_sample_by_sample():
    toy = TOYS["2-2-elbo"]
    ours, darn, other = (
        one_estimate(name, toy)(jax.random.key(4), None, {})
        for name in ("zgr", "darn", "straight_through")
    )
    np.testing.assert_allclose(ours.bound, darn.bound, rtol=1e-6)
    for leaf in toy.params:
        np.testing.assert_allclose(
            ours.grads[leaf], darn.grads[leaf], rtol=1e-4, atol=1e-5, err_msg=leaf
        )
    assert (jnp.abs(ours.grads["in0"] - other.grads["in0"]) > 1e-3).any()


def test_zgr_is_the_mean_of_straight_through_and_darn_for_classes():
    toy = TOYS["3-elbo"]
    at_mean = dataclasses.replace(
        ESTIMATORS["darn"], hyper={**ESTIMATORS["darn"].hyper, "centre": "p"}
    )
    zgr, through, darn = (
        one_estimate(estimator, toy)(jax.random.key(4), None, {})
        for estimator in ("zgr", "straight_through", at_mean)
    )
    for leaf in toy.params:
        mean = (through.grads[leaf] + darn.grads[leaf]) / 2
        np.testing.assert_allclose(zgr.grads[leaf], mean, rtol=1e-4, atol=1e-5)
    assert (jnp.abs(through.grads["in0"] - darn.grads["in0"]) > 1e-3).any()
