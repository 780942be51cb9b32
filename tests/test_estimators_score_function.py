"""Score function, NVIL and VIMCO against enumeration; their baselines by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from enumeration import (
    MIXED,
    TOYS,
    Toy,
    brute_force,
    many_estimates,
    max_z,
    one_estimate,
    quick_jit,
    worst_z,
)

import gumbel
from gumbel.estimators import ESTIMATORS
from gumbel.estimators.baselines import (
    MOMENTS_HYPER,
    Moments,
    init_baseline,
    leave_one_out,
    standardise,
)

# Both families, in one layer and as either of two, with and without log q.
TELLING = ("2-elbo", "3-cost", "2-3-cost", "3-2-elbo")


def moments(mean, variance=0.0):
    return Moments(jnp.asarray(mean), jnp.asarray(variance))


def init_state(name, key, toy):
    estimator = ESTIMATORS[name]
    run = toy.program(toy.params, *toy.args)
    return estimator.init(key, run, estimator.complete(1, {}))


def far_nvil_state(toy):
    """NVIL's state with baselines that are large, input dependent and different."""
    state = quick_jit(lambda key: init_state("nvil", key, toy))(jax.random.key(3))
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


@pytest.mark.parametrize(
    ("name", "toy", "num_samples"),
    [
        ("score_function", "2-3-cost", 2),
        ("nvil", "3-2-elbo", 2),
        ("vimco", "2-elbo", 2),
        ("vimco", "2-3-cost", 2),
        ("vimco", "3-2-elbo", 2),
        ("vimco", "3-cost", 3),
    ],
)
def test_unbiased_for_the_multi_sample_bound(name, toy, num_samples):
    toy = TOYS[toy]
    state = far_nvil_state(toy) if name == "nvil" else None
    estimates = many_estimates(name, toy, num_samples)(state, {})
    assert ESTIMATORS[name].unbiased
    assert worst_z(estimates, brute_force(toy, num_samples)) < 5
    assert worst_z(estimates[1], brute_force(toy, 1)[1]) > 10, "another bound's"


def test_vimco_lowers_the_variance_of_the_multi_sample_score_function():
    toy, variances = TOYS["2-elbo"], []
    for name in ("score_function", "vimco"):
        estimates = many_estimates(name, toy, 3)(None, {})
        assert worst_z(estimates, brute_force(toy, 3)) < 5
        variances.append(total_variance(estimates[1]))
    assert_falls(*variances)


def test_nvil_with_gaussian_draws_before_and_after_a_class():
    assert max_z("nvil", MIXED, state=far_nvil_state(MIXED)) < 5


def test_moments_are_used_before_they_are_updated():
    signal = jnp.asarray([1.0, 5.0, 6.0])
    hyper = {"baseline_decay": 0.9, "variance_decay": 0.5}
    result, new = standardise(signal, moments(2.0, 16.0), hyper)
    np.testing.assert_allclose(result, (np.asarray(signal) - 2.0) / 4.0, rtol=1e-6)
    np.testing.assert_allclose(new.mean, 0.9 * 2.0 + 0.1 * 4.0, rtol=1e-6)
    np.testing.assert_allclose(new.variance, 0.5 * 16.0 + 0.5 * np.var(signal))
    # σ < 1 is not enlarged; decays of 1 leave both where they are.
    result, new = standardise(signal, moments(0.0, 0.25), MOMENTS_HYPER)
    np.testing.assert_array_equal(result, signal)
    assert (new.mean, new.variance) == (0.0, 0.25)


def test_variance_normalisation_scales_what_goes_through_log_q():
    toy = TOYS["3-cost"]
    estimate = one_estimate("score_function", toy)

    def grads(variance):
        return estimate(jax.random.key(1), moments(0.5, variance), {}).grads

    plain, scaled = grads(0.0), grads(9.0)
    np.testing.assert_allclose(scaled["in0"], plain["in0"] / 3.0, rtol=1e-5)
    assert (jnp.abs(plain["in0"]) > 1e-3).any()
    np.testing.assert_array_equal(scaled["out"], plain["out"])


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
    baseline = init_baseline(jax.random.key(0), 1)
    np.testing.assert_array_equal(baseline(features), 0.0)
    fitted = quick_jit(
        lambda b: jax.lax.fori_loop(
            0, 500, lambda _, b: b.fit(features, target, 0.01), b
        )
    )(baseline)
    assert jnp.mean((fitted(features) - target) ** 2) < 0.05 * jnp.mean(target**2)


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
    toy = Toy(program, params, (x,), (("z", 2, 2),))
    result = one_estimate("vimco", toy, num_samples=4)(jax.random.key(0), None, {})
    assert jnp.isfinite(result.bound).all() and jnp.isfinite(result.grads).all()
    assert (result.grads != 0).all()


@pytest.mark.parametrize("name", ["score_function", "nvil", "darn", "muprop"])
def test_the_state_keeps_its_structure(name):
    # As the carry of a scan and of a checkpoint, whatever the program computes in.
    toy = TOYS["2-3-elbo"]
    params, args = jax.tree.map(lambda a: a.astype("bfloat16"), (toy.params, toy.args))
    estimate = gumbel.value_and_grad(name, toy.program)
    hyper = {"baseline_decay": 0.9, "variance_decay": 0.9}

    def step(state, key):
        result = estimate(key, params, *args, state=state, **hyper)
        return result.state, result.bound

    def steps(key):
        state = init_state(name, key, toy)
        return state, jax.lax.scan(step, state, jax.random.split(key, 3))

    state, (carried, bounds) = jax.eval_shape(steps, jax.random.key(0))
    assert bounds.dtype == "bfloat16"
    assert jax.tree.structure(carried) == jax.tree.structure(state)
    for old, new in zip(*map(jax.tree.leaves, (state, carried)), strict=True):
        assert (old.shape, old.dtype) == (new.shape, new.dtype)


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
    draws = (("low", 4, 2), ("high", 1, 3))
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

    return quick_jit(train)(jax.random.key(1))


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


def total_variance(grads, groups=20):
    """The variance summed over the parameters, with its standard error."""
    flat = np.concatenate(
        [np.asarray(g, np.float64).reshape(len(g), -1) for g in jax.tree.leaves(grads)],
        axis=1,
    )
    per_group = flat.reshape(groups, -1, flat.shape[1]).var(1).sum(1)
    return per_group.mean(), per_group.std() / np.sqrt(groups)


def assert_falls(high, low):
    """Asserts that one variance is above another by 5 standard errors."""
    assert high[0] - low[0] > 5 * np.hypot(high[1], low[1])


@pytest.mark.parametrize(
    ("name", "num_samples", "hyper", "message"),
    [
        ("vimco", 1, {}, "num_samples=1: must be an integer ≥ 2 for the estimator vim"),
        (
            "score_function",
            1,
            {"baseline_decay": 1.5},
            "baseline_decay=1.5: must be from 0 to 1",
        ),
        ("nvil", 1, {"variance_decay": -0.1}, "variance_decay=-0.1: must be from 0"),
        ("vimco", 2, {"baseline_decay": 0.9}, "baseline_decay=0.9: unknown hyper-par"),
    ],
)
def test_bad_arguments_are_named(name, num_samples, hyper, message):
    toy = TOYS["2-elbo"]
    with pytest.raises(ValueError) as error:
        estimate = gumbel.value_and_grad(name, toy.program, num_samples=num_samples)
        jax.eval_shape(
            lambda key: estimate(key, toy.params, *toy.args, **hyper),
            jax.random.key(0),
        )
    assert message in str(error.value)
