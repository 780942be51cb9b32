"""Score-function estimators against enumeration; their baselines by hand."""

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
    moments,
    one_estimate,
    total_variance,
    worst_z,
)
from gumbel.estimators import ESTIMATORS
from gumbel.estimators.baselines import fit, leave_one_out
from gumbel.estimators.learned import init_net, net, to_learn
from toys import TELLING, TOYS, Toy


def far_nvil_state(toy):
    """NVIL's state with baselines that are large, input dependent and different."""
    state = jax.jit(lambda key: init_state("nvil", key, toy))(jax.random.key(3))
    for i, name in enumerate(state):
        params = state[name].learned.params
        params = {**params, "out": 0.3 * jnp.cos(jnp.arange(100.0) + i)}
        learned = state[name].learned.replace(params=params)
        state[name] = state[name].replace(learned=learned, moments=moments(1.0 + i))
    return state


@pytest.mark.parametrize("toy", TELLING)
def test_score_function_is_unbiased_with_any_baseline(toy):
    estimates = many_estimates("score_function", TOYS[toy])
    without, with_baseline = (estimates(moments(mean), {}) for mean in (0.0, 2.0))
    assert ESTIMATORS["score_function"].unbiased
    assert worst_z(without, brute_force(TOYS[toy])) < 5
    assert worst_z(with_baseline, brute_force(TOYS[toy])) < 5
    largest = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), without, with_baseline)
    assert max(map(float, jax.tree.leaves(largest))) > 0.1, "the baseline is used"


@pytest.mark.parametrize("toy", TELLING)
def test_nvil_is_unbiased_with_baselines_far_from_fresh(toy):
    estimates = many_estimates("nvil", TOYS[toy])(far_nvil_state(TOYS[toy]), {})
    assert ESTIMATORS["nvil"].unbiased
    assert worst_z(estimates, brute_force(TOYS[toy])) < 5


def test_vimco_lowers_the_variance_of_the_multi_sample_score_function():
    toy, variances = TOYS["2-elbo"], []
    for name in ("score_function", "vimco"):
        estimates = many_estimates(name, toy, 3)(None, {})
        assert worst_z(estimates, brute_force(toy, 3)) < 5
        variances.append(total_variance(estimates[1]))
    assert_falls(*variances)


def test_more_replicates_lower_the_variance_of_the_same_bound():
    toy, exact = TOYS["2-3-cost"], brute_force(TOYS["2-3-cost"])
    variances = [total_variance(many_estimates("score_function", toy)(None, {})[1])]
    for replicates in (2, 3):
        # A number that sets shapes is not traced: it is not among the arguments.
        loo = dataclasses.replace(
            ESTIMATORS["reinforce_loo"], hyper={"replicates": replicates}
        )
        estimates = many_estimates(loo, toy)(None, {})
        assert worst_z(estimates, exact) < 5
        variances.append(total_variance(estimates[1]))
    for worse, better in zip(variances, variances[1:], strict=False):
        assert_falls(worse, better)


def test_nvil_uses_its_baseline_before_learning_from_the_sample():
    toy, state = TOYS["2-3-cost"], far_nvil_state(TOYS["2-3-cost"])
    estimate = one_estimate("nvil", toy, num_samples=2)
    still, learning = (
        estimate(jax.random.key(0), state, {"baseline_learning_rate": rate})
        for rate in (0.0, 0.1)
    )
    jax.tree.map(np.testing.assert_array_equal, still.grads, learning.grads)
    for name in state:
        before, after = state[name].learned, learning.state[name].learned
        np.testing.assert_array_equal(
            still.state[name].learned.params["out"], before.params["out"]
        )
        assert (after.params["out"] != before.params["out"]).any()


def test_the_learned_baseline_learns_a_function_of_its_features():
    features = jnp.linspace(-2.0, 2.0, 32)[:, None]
    target = 3.0 * jnp.sin(2.0 * features[:, 0])
    baseline = to_learn(init_net(jax.random.key(0), 1))
    np.testing.assert_array_equal(net(baseline.params, features), 0.0)
    fitted = jax.jit(
        lambda b: jax.lax.fori_loop(
            0, 500, lambda _, b: fit(b, features, target, 0.01), b
        )
    )(baseline)
    error = net(fitted.params, features) - target
    assert jnp.mean(error**2) < 0.05 * jnp.mean(target**2)


def test_leave_one_out_against_a_loop():
    log_w = np.random.default_rng(0).normal(size=(5, 3)) * 3.0
    expected = np.zeros_like(log_w)
    for b in range(3):
        for s in range(5):
            others = [log_w[j, b] for j in range(5) if j != s]
            weights = np.exp([*others, np.mean(others)])
            expected[s, b] = np.log(weights.mean())
    result = leave_one_out(jnp.asarray(log_w, jnp.float32))
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_leave_one_out_where_one_weight_dominates():
    log_w = jnp.asarray([[1e4, 0.0], [0.0, -1e4], [1.0, 2.0]])
    result = leave_one_out(log_w)
    # Without the dominating sample the others' weights are seen to their last digit.
    others = np.log(np.mean(np.exp([0.0, 1.0, 0.5])))
    np.testing.assert_allclose(result[0, 0], others, rtol=1e-6)
    np.testing.assert_allclose(result[1:, 0], 1e4 - np.log(3.0), rtol=1e-6)
    # The bound does not move when a sample without weight is replaced by the mean of
    # others with some.
    np.testing.assert_allclose(
        result[1, 1], np.log(np.mean(np.exp([0.0, 2.0, 1.0]))), rtol=1e-6
    )


def test_vimco_is_finite_where_one_weight_dominates():
    def program(params, x):
        def run(draw):
            z = draw("z", gumbel.Bernoulli(params[None, :] + x))
            return 1e4 * z.value[:, 0] - z.log_q

        return run

    params, x = jnp.asarray([0.3, -0.2]), jnp.zeros((16, 2))
    toy = Toy(program, params, (x,), (("z", (2,), 2),))
    result = one_estimate("vimco", toy, num_samples=4)(jax.random.key(0), None, {})
    assert jnp.isfinite(result.bound).all() and jnp.isfinite(result.grads).all()
    assert (result.grads != 0).all()
