"""Pathwise estimators: derivatives of their own bound, biased for the hard one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
from enumeration import (
    brute_force,
    many_estimates,
    one_estimate,
    worst_z,
)
from toys import Toy, normal


def linear_toy(classes):
    """A cost linear in the values: Σ c · z, c a constant."""
    rng = np.random.default_rng(classes)
    shape = (2, 3) if classes == 2 else (2, 3, classes)
    params, weights = {"logits": normal(rng, *shape)}, normal(rng, *shape)
    family = gumbel.Bernoulli if classes == 2 else gumbel.Categorical

    def program(params, weights):
        def run(draw):
            value = draw("z", family(params["logits"])).value
            return (weights * value).reshape(2, -1).sum(1)

        return run

    return Toy(program, params, (weights,), (("z", (3,), classes),))


LINEAR = [linear_toy(2), linear_toy(4)]
families = pytest.mark.parametrize("toy", LINEAR, ids=["bernoulli", "categorical"])


@pytest.mark.parametrize("kl", list(gumbel.programs.KL_FORMS))
def test_the_relaxed_gradient_is_that_of_the_bound_at_fixed_noise(kl):
    # Finite differences in float64, two dependent layers and the prior, m = 2.
    rng = np.random.default_rng(0)
    shapes = {"low": (3, 2), "high": (2, 6), "prior": (2,), "out": (6, 2)}
    params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    x = rng.normal(size=(2, 3))

    def program(params, x):
        def run(draw):
            low = draw("low", gumbel.Bernoulli(x @ params["low"]))
            logits = (low.value @ params["high"]).reshape(2, 2, 3)
            high = draw("high", gumbel.Categorical(logits))
            h = jnp.tanh(high.value.reshape(2, 6) @ params["out"]).sum(1)
            uniform = gumbel.Categorical(jnp.zeros((2, 3), x.dtype))
            return h - low.kl(gumbel.Bernoulli(params["prior"])) - high.kl(uniform)

        return run

    estimate = gumbel.value_and_grad("gumbel_softmax", program, num_samples=2)

    @jax.jit
    def call(params):
        return estimate(
            jax.random.key(0), params, x, temperature=0.7, prior_temperature=0.5, kl=kl
        )

    with jax.enable_x64(True):
        grads = call(params).grads
        for name in params:
            direction, step = rng.normal(size=shapes[name]), 1e-5
            moved = [
                call({**params, name: params[name] + sign * step * direction}).bound
                for sign in (1, -1)
            ]
            slope = float((moved[0] - moved[1]).mean()) / (2 * step)
            ours = float((grads[name] * direction).sum())
            np.testing.assert_allclose(ours, slope, rtol=1e-6, atol=1e-8)
            assert abs(ours) > 1e-4, "every parameter matters"


@families
def test_st_gumbel_softmax_has_the_gradient_of_the_soft_sample(toy):
    # For a linear cost the gradient does not depend on the value: the two agree.
    soft, hard = (
        one_estimate(name, toy)(jax.random.key(0), None, {"temperature": 0.4})
        for name in ("gumbel_softmax", "st_gumbel_softmax")
    )
    np.testing.assert_allclose(
        soft.grads["logits"], hard.grads["logits"], rtol=1e-4, atol=1e-6
    )
    assert (jnp.abs(soft.bound - hard.bound) > 1e-3).all()


@families
def test_straight_through_is_exact_on_a_linear_cost(toy):
    result = one_estimate("straight_through", toy)(jax.random.key(0), None, {})
    exact = brute_force(toy)[1]["logits"]
    np.testing.assert_allclose(result.grads["logits"], exact, rtol=1e-4, atol=1e-6)


def test_slope_annealing_is_straight_through_of_the_sharpened_network():
    rng, shape, family = np.random.default_rng(4), (2, 3, 4), gumbel.Categorical
    params = {"logits": normal(rng, *shape), "prior": normal(rng, *shape[1:])}
    weights = normal(rng, *shape)

    def sharpened(slope):
        def program(params, weights):
            def run(draw):
                z = draw("z", family(slope * params["logits"]))
                kl = z.kl(family(params["prior"]))
                return jnp.sin(weights * z.value).reshape(2, -1).sum(1) - kl

            return run

        return Toy(program, params, (weights,), (("z", (3,), 4),))

    slope, hyper = 2.5, {"kl": "analytic"}
    flat, steep = sharpened(1.0), sharpened(slope)

    @jax.jit
    def both():
        ours = gumbel.value_and_grad("slope_annealed_st", flat.program)
        theirs = gumbel.value_and_grad("straight_through", steep.program)
        return (
            ours(jax.random.key(0), params, weights, slope=slope, **hyper),
            theirs(jax.random.key(0), params, weights, **hyper),
            ours(jax.random.key(0), params, weights, slope=1.0, **hyper),
        )

    ours, theirs, other = both()
    np.testing.assert_allclose(ours.bound, theirs.bound, rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        ours.grads,
        theirs.grads,
    )
    assert (other.bound != ours.bound).all()
    # The slope is part of the network that is evaluated.
    annealed = gumbel.evaluate(
        flat.program, num_samples=20, estimator="slope_annealed_st"
    )(jax.random.key(0), params, weights, slope=slope)
    by_hand, unsharpened = (
        gumbel.evaluate(toy.program, num_samples=20)(jax.random.key(0), params, weights)
        for toy in (steep, flat)
    )
    np.testing.assert_array_equal(annealed, by_hand)
    assert (annealed != unsharpened).all()


def test_gaussian_draws_are_reparameterised():
    def program(params, x):
        def run(draw):
            z = draw("z", gumbel.Normal(x @ params["loc"], jnp.exp(x @ params["log"])))
            unit = gumbel.Normal(jnp.zeros(2), jnp.ones(2))
            return 2.0 * z.value.sum(1) - z.kl(unit)

        return run

    rng = np.random.default_rng(0)
    params = {"loc": normal(rng, 3, 2), "log": 0.3 * normal(rng, 3, 2)}
    x = normal(rng, 2, 3)
    toy = Toy(program, params, (x,), ())

    def expected_bound(params):
        loc, log_scale = x @ params["loc"], x @ params["log"]
        kl = 0.5 * (jnp.exp(2 * log_scale) + loc**2 - 1.0) - log_scale
        return (2.0 * loc - kl).sum(1).mean()

    grads = many_estimates("gumbel_softmax", toy, repeats=10_000)(None, {})[1]
    assert worst_z(grads, jax.grad(expected_bound)(params)) < 5


def test_a_sharpened_draw_keeps_the_dtype_of_its_logits():
    def program(logits):
        def run(draw):
            value = draw("z", gumbel.Bernoulli(logits)).value
            assert value.dtype == logits.dtype
            return value.sum(axis=1)

        return run

    f = gumbel.value_and_grad("slope_annealed_st", program)
    logits = jnp.zeros((2, 3), jnp.bfloat16)
    with jax.numpy_dtype_promotion("strict"):
        call = jax.jit(lambda slope: f(jax.random.key(0), logits, slope=slope))
        grads = call(jnp.float32(2.0)).grads
    np.testing.assert_allclose(np.float32(grads), 2.0 * 0.25 / 2, rtol=1e-2)
