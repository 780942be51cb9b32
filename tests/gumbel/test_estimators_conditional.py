"""REBAR and RELAX against enumeration; what their control variates learn."""

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
    one_estimate,
    total_variance,
    worst_z,
)
from gumbel.conditionals import conditional_gumbel, conditional_logistic
from gumbel.estimators import ESTIMATORS, conditional, stateless
from gumbel.estimators.reinforce import score_term
from gumbel.programs import hard, interpret, valued
from toys import TOYS, Toy, normal

HYPER = {"temperature": 0.6, "scale": 0.8}


def _conditional(key, distribution, value):
    if isinstance(distribution, gumbel.Bernoulli):
        return conditional_logistic(key, distribution.logits, value)
    return conditional_gumbel(key, distribution.logits, value)


def joint_rebar(key, run, state, hyper):
    """REBAR as written for one layer: z̃ of all draws at once, with its own noise."""
    hard_key, z_key, conditional_key = jax.random.split(key, 3)
    log_w, nodes = interpret(run, hard_key, hard())

    def soft(make):
        def value_of(key, name, distribution):
            z = make(key, name, distribution)
            return type(distribution)(z / hyper["temperature"]).mean()

        return valued(value_of, hyper["kl"])

    plain, _ = interpret(run, z_key, soft(lambda key, _, d: d.relax(1.0).sample(key).y))
    given, _ = interpret(
        run,
        conditional_key,
        soft(lambda key, name, d: _conditional(key, d, nodes[name].value)),
    )
    log_q = sum(node.log_q for node in nodes.values())
    score = score_term(log_w - given, log_q)
    return log_w + score + (plain - given) - jax.lax.stop_gradient(plain - given), state


def test_one_joint_conditional_pass_is_biased_at_two_layers():
    joint = gumbel.Estimator(stateless, joint_rebar)
    assert max_z(joint, TOYS["2-elbo"], temperature=0.6) < 5
    assert max_z(joint, TOYS["2-3-cost"], temperature=0.6) > 10


def far_state(toy):
    """RELAX's control variates far from fresh, and different for each draw."""
    state = jax.jit(lambda key: init_state("relax", key, toy))(jax.random.key(3))
    for i, draw in enumerate(state):
        params = dict(state[draw].params)
        params["log_temperature"] = jnp.asarray(0.4 - 0.7 * i)
        params["scale"] = jnp.asarray(0.5 - i)
        out = 0.2 * jnp.cos(jnp.arange(100.0) + i)
        params["net"] = {**params["net"], "out": out}
        state[draw] = state[draw].replace(params=params)
    return state


@pytest.mark.parametrize("toy", ["2-elbo", "2-3-cost"])
def test_unbiased_with_any_control_variate(toy):
    toy = TOYS[toy]
    assert ESTIMATORS["relax"].unbiased and ESTIMATORS["tuned_rebar"].unbiased
    estimates = many_estimates("relax", toy)(far_state(toy), HYPER)
    assert worst_z(estimates, brute_force(toy)) < 5


def test_a_fresh_control_variate_is_that_of_rebar():
    toy, estimate = TOYS["2-elbo"], one_estimate("relax", TOYS["2-elbo"])
    fresh = jax.jit(lambda key: init_state("relax", key, toy))(jax.random.key(3))
    plain = one_estimate("rebar", toy)(jax.random.key(0), None, HYPER).grads["in0"]
    same, other = (
        estimate(jax.random.key(0), state, HYPER).grads["in0"]
        for state in (fresh, far_state(toy))
    )
    np.testing.assert_allclose(same, plain, rtol=1e-4, atol=1e-6)
    assert (jnp.abs(other - plain) > 1e-3).any()


def test_control_variates_are_used_before_they_learn():
    toy, state = TOYS["2-elbo"], far_state(TOYS["2-elbo"])
    estimate = one_estimate("relax", toy)
    still, learning = (
        estimate(jax.random.key(0), state, {"control_learning_rate": rate})
        for rate in (0.0, 0.1)
    )
    jax.tree.map(np.testing.assert_array_equal, still.grads, learning.grads)
    jax.tree.map(
        np.testing.assert_array_equal, still.state["z0"].params, state["z0"].params
    )
    moved = jax.tree.map(
        lambda a, b: (a != b).any(),
        learning.state["z0"].params,
        state["z0"].params,
    )
    assert all(jax.tree.leaves(moved))


def offset_toy():
    """An offset that depends on the input, and a cost beyond the quadratic."""
    rng = np.random.default_rng(1)
    params = {"in": normal(rng, 3, 3), "out": normal(rng, 3)}
    x = jnp.asarray([[-1.0, 0.3, 0.5], [1.2, -0.4, 0.1]])

    def program(params, x):
        def run(draw):
            h = draw("z", gumbel.Bernoulli(x @ params["in"])).value @ params["out"]
            return h + jnp.tanh(3 * h) + 3.0 * x[:, 0]

        return run

    return Toy(program, params, (x,), (("z", (3,), 2),))


def trained(name, toy, hyper):
    """The state after 600 calls at fixed parameters."""
    estimate = gumbel.value_and_grad(name, toy.program)

    def step(state, key):
        result = estimate(key, toy.params, *toy.args, state=state, **hyper)
        return result.state, None

    def train(key):
        init_key, key = jax.random.split(key)
        state = init_state(name, init_key, toy)
        return jax.lax.scan(step, state, jax.random.split(key, 600))[0]

    return jax.jit(train)(jax.random.key(1))


def test_learning_lowers_the_variance():
    toy = offset_toy()
    # A control variate that fits badly, to begin with.
    hyper = {"temperature": 0.05, "scale": 0.3}
    variances = []
    for name, state in (
        ("rebar", None),
        ("tuned_rebar", trained("tuned_rebar", toy, hyper)),
        ("relax", trained("relax", toy, hyper)),
    ):
        estimates = many_estimates(name, toy)(state, hyper)
        assert worst_z(estimates, brute_force(toy)) < 5
        variances.append(total_variance(estimates[1]))
    for worse, better in zip(variances, variances[1:], strict=False):
        assert_falls(worse, better)


def test_a_constant_cost_has_no_gradient_at_all():
    def program(params, x):
        def run(draw):
            draw("z", gumbel.Categorical(params["logits"]))
            return x

        return run

    params = {"logits": normal(np.random.default_rng(0), 4, 2, 3)}
    toy = Toy(program, params, (jnp.full(4, 7.0),), ())
    estimate = one_estimate("rebar", toy)
    for scale, none in ((1.0, True), (0.5, False)):
        grads = estimate(jax.random.key(0), None, {"scale": scale}).grads["logits"]
        assert (grads == 0).all() == none


@pytest.mark.parametrize("classes", [2, 4])
def test_the_difference_of_the_paths_is_that_of_the_conditional_sample(classes):
    # z = l + noise has the identity for a Jacobian, z̃ that of the sampler.
    rng = np.random.default_rng(classes)
    shape = (50, 3) if classes == 2 else (50, 3, classes)
    logits, slope = normal(rng, *shape), normal(rng, *shape)
    law = gumbel.Bernoulli if classes == 2 else gumbel.Categorical

    @jax.jit
    def both(logits, slope):
        value = law(logits).sample(jax.random.key(0))
        z, pull = jax.vjp(
            lambda x: _conditional(jax.random.key(1), law(x), value), logits
        )
        return conditional.path_difference(law(logits), z, slope), pull(slope)[0]

    ours, held = both(logits, slope)
    np.testing.assert_allclose(ours, slope - held, rtol=1e-4, atol=1e-5)
    assert (jnp.abs(held) > 0.1).any()
