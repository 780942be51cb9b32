"""MuProp and DARN against enumeration, and where they are exact."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
from enumeration import (
    assert_falls,
    brute_force,
    init_state,
    many_estimates,
    max_z,
    moments,
    one_estimate,
    total_variance,
    worst_z,
)
from gumbel.estimators import ESTIMATORS, pathwise
from toys import TELLING, TOYS, Toy, normal


@pytest.mark.parametrize("toy", TELLING)
def test_muprop_is_unbiased_with_any_baseline(toy):
    estimates = many_estimates("muprop", TOYS[toy])
    assert ESTIMATORS["muprop"].unbiased
    assert worst_z(estimates(moments(0.0), {}), brute_force(TOYS[toy])) < 5
    assert worst_z(estimates(moments(3.0), {}), brute_force(TOYS[toy])) < 5


def one_layer(program, size, draws):
    rng = np.random.default_rng(0)
    params = {"in": normal(rng, 3, size), "out": normal(rng, size, size)}
    return Toy(program, params, (normal(rng, 2, 3),), draws)


def linear_program(params, x):
    def run(draw):
        z = draw("z", gumbel.Categorical((x @ params["in"]).reshape(-1, 2, 3)))
        return (z.value.reshape(-1, 6) @ params["out"]).sum(1) + 5.0

    return run


def quadratic_program(params, x):
    def run(draw):
        z = draw("z", gumbel.Bernoulli(x @ params["in"]))
        return jnp.einsum("bi,ij,bj->b", z.value, params["out"], z.value) + 5.0

    return run


LINEAR = one_layer(linear_program, 6, (("z", (2,), 3),))
QUADRATIC = one_layer(quadratic_program, 3, (("z", (3,), 2),))


def test_muprop_is_free_of_noise_for_a_linear_cost():
    estimate = one_estimate("muprop", LINEAR)(jax.random.key(0), None, {})
    exact = brute_force(LINEAR)[1]["in"]
    np.testing.assert_allclose(estimate.grads["in"], exact, rtol=1e-4, atol=1e-5)


def darn_about(centre):
    darn = ESTIMATORS["darn"]
    return dataclasses.replace(darn, hyper={**darn.hyper, "centre": centre})


@pytest.mark.parametrize("centre", ["1/K", "1/2", "p"])
def test_darn_is_unbiased_up_to_linear_classes_and_quadratic_bits(centre):
    for toy in (LINEAR, QUADRATIC):
        assert max_z(darn_about(centre), toy) < 5


@pytest.mark.parametrize("centre", ["1/K", "1/2", "p"])
def test_darn_is_the_backward_pass_it_stands_for(centre):
    # The same estimate another way: each value carries (z − z̄) ∇ log q(z), and what
    # comes after a draw, scores of later draws included, is differentiated in it.
    def carrying(hyper):
        def sampler(key, name, distribution):
            value = distribution.sample(key)
            log_q = distribution.log_prob(value)
            score = log_q - jax.lax.stop_gradient(log_q)
            if isinstance(distribution, gumbel.Categorical):
                p = jax.lax.stop_gradient(distribution.mean())
                middle = {"1/K": 1 / 3, "1/2": 1 / 2, "p": p}[centre]
                value = value + (value - middle) * score[..., None]
            else:
                value = value + (value - 0.5) * score
            return gumbel.programs.discrete_node(value, distribution, hyper["kl"])

        return sampler

    # A cost that only the second layer enters: the first learns by way of its scores.
    toy = TOYS["2-3-cost"]
    ours, theirs = (
        one_estimate(estimator, toy)(jax.random.key(5), None, {})
        for estimator in (darn_about(centre), pathwise(carrying))
    )
    np.testing.assert_allclose(ours.bound, theirs.bound, rtol=1e-6)
    for name, grad in ours.grads.items():
        np.testing.assert_allclose(
            grad, theirs.grads[name], rtol=1e-4, atol=1e-5, err_msg=name
        )
    assert (jnp.abs(ours.grads["in0"]) > 1e-3).any()


def test_the_moments_follow_the_signals():
    toy = TOYS["2-3-cost"]
    for name, size in (("muprop", 2), ("darn", 4)):
        estimate = one_estimate(name, toy)
        moved, unmoved = (
            jax.tree.leaves(
                estimate(
                    jax.random.key(0),
                    None,
                    {"baseline_decay": decay, "variance_decay": decay},
                ).state
            )
            for decay in (0.5, 1.0)
        )
        assert len(moved) == size
        assert all(float(leaf) != 0.0 for leaf in moved)
        assert all(float(leaf) == 0.0 for leaf in unmoved)


def offset_program(params, x):
    """A large offset of the input's, a mild nonlinearity in two dependent layers."""

    def run(draw):
        low = draw("low", gumbel.Bernoulli(x @ params["low"]))
        high = draw("high", gumbel.Categorical((low.value @ params["high"])[:, None]))
        h = low.value @ params["out"] + high.value[:, 0] @ params["out2"]
        return h + 0.3 * jnp.tanh(h) + 6.0 * x[:, 0] - 3.0

    return run


@pytest.fixture(scope="module")
def offset_toy():
    rng = np.random.default_rng(1)
    names = {"low": (3, 4), "high": (4, 3), "out": (4,), "out2": (3,)}
    params = {
        name: jnp.asarray(rng.normal(size=shape), jnp.float32)
        for name, shape in names.items()
    }
    x = jnp.asarray([[-1.0, 0.3, 0.5], [1.2, -0.4, 0.1]])
    draws = (("low", (4,), 2), ("high", (1,), 3))
    return Toy(offset_program, params, (x,), draws)


def trained_nvil_state(toy, learning_rate):
    """The state after 400 calls at fixed parameters."""
    estimate = gumbel.value_and_grad("nvil", toy.program)

    def step(state, key):
        return estimate(
            key,
            toy.params,
            *toy.args,
            state=state,
            baseline_learning_rate=learning_rate,
        ).state, None

    def train(key):
        init_key, key = jax.random.split(key)
        state = init_state("nvil", init_key, toy)
        return jax.lax.scan(step, state, jax.random.split(key, 400))[0]

    return jax.jit(train)(jax.random.key(1))


def test_each_control_variate_lowers_the_variance(offset_toy):
    bound, grads = brute_force(offset_toy)
    score = many_estimates("score_function", offset_toy)
    nvil = many_estimates("nvil", offset_toy)
    estimates = [
        score(moments(0.0), {}),
        score(moments(bound.mean()), {}),
        nvil(trained_nvil_state(offset_toy, 0.01), {}),
        many_estimates("muprop", offset_toy)(None, {}),
    ]
    for estimate in estimates:
        assert worst_z(estimate, (bound, grads)) < 5
    variances = [total_variance(grads) for _, grads in estimates]
    for worse, better in zip(variances, variances[1:], strict=False):
        assert_falls(worse, better)
