"""Samplers: exact frequencies, finite noise, exact one-hot values, stable extremes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads
from scipy import stats

import gumbel
from gumbel import inverse_cdf, noise, samplers

LOGITS = jnp.asarray(
    [[1.0, -0.5, 0.3, 2.0], [0.0, 0.0, 0.0, 0.0], [-3.0, 1.0, 0.2, 0.1]]
)
# As users call them; without jit each operation is compiled alone.
gumbel_max = jax.jit(gumbel.gumbel_max, static_argnames="axis")
gumbel_softmax = jax.jit(gumbel.gumbel_softmax, static_argnames=("hard", "axis"))
binary_concrete = jax.jit(gumbel.binary_concrete, static_argnames="hard")
categorical = jax.jit(inverse_cdf.categorical)
HARD = functools.partial(gumbel.gumbel_softmax, hard=True)
DTYPES = [jnp.float32, jnp.bfloat16, jnp.float16]
SAMPLES = 200_000


def frequencies(one_hot) -> np.ndarray:
    return np.asarray(one_hot, np.float64).mean(axis=0)


def z_scores(observed, expected, samples: int) -> np.ndarray:
    return (observed - expected) / np.sqrt(expected * (1 - expected) / samples)


def test_noise_is_finite_monotone_symmetric_and_resolves_the_tails():
    rng = np.random.default_rng(0)
    bits = np.sort(rng.integers(0, 2**32, 100_000, np.uint32) & ~np.uint32(1))
    assert (np.diff(noise._gumbel_from_bits(jnp.asarray(bits))) <= 0).all()
    assert (np.diff(noise._logistic_from_bits(jnp.asarray(bits))) >= 0).all()
    np.testing.assert_array_equal(
        noise._logistic_from_bits(bits), -noise._logistic_from_bits(bits ^ 1)
    )
    # Monotone in the 31 bits (per sign), so these inputs bound the values of all 2^32,
    # hence of any number of draws.
    bits = jnp.asarray([0, 1, 2, 3, 2**31, 2**32 - 4, 2**32 - 2, 2**32 - 1], jnp.uint32)
    gumbel_values = np.asarray(noise._gumbel_from_bits(bits))
    logistic_values = np.asarray(noise._logistic_from_bits(bits))
    assert np.isfinite(gumbel_values).all() and np.isfinite(logistic_values).all()
    # Small bits are the Gumbel's upper tail: −log(2⁻³²) = 22.18.
    np.testing.assert_allclose(gumbel_values.max(), 32 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(np.abs(logistic_values).max(), 33 * np.log(2), rtol=1e-6)


@pytest.mark.parametrize(
    ("draw", "law"),
    [
        (samplers.gumbel_noise, stats.gumbel_r),
        (samplers.logistic_noise, stats.logistic),
    ],
)
def test_noise_has_its_law(draw, law):
    values = np.asarray(draw(jax.random.key(1), (SAMPLES,)), np.float64)
    # The Kolmogorov statistic exceeds 2.7 / √n with probability below 1e-6.
    limit = 2.7 / np.sqrt(SAMPLES)
    assert stats.kstest(values, law.cdf).statistic < limit
    assert stats.kstest(values, stats.norm.cdf).statistic > limit, "negative control"


@pytest.mark.parametrize("draw", [gumbel_max, categorical])
def test_categorical_frequencies(draw):
    logits = jnp.broadcast_to(LOGITS, (SAMPLES, *LOGITS.shape))
    observed = frequencies(draw(jax.random.key(3), logits))
    expected = np.asarray(jax.nn.softmax(LOGITS), np.float64)
    assert np.abs(z_scores(observed, expected, SAMPLES)).max() < 5
    wrong_axis = np.asarray(jax.nn.softmax(LOGITS, axis=0), np.float64)
    assert np.abs(z_scores(observed, wrong_axis, SAMPLES)).max() > 5, "negative control"


def test_a_rare_class_is_never_drawn_too_often():
    exact = np.asarray([0.3, 1.6e-8, 1e-9, 0.3, 0.4 - 1.7e-8])
    logits = jnp.asarray(np.log(exact), jnp.float32)
    masses = np.asarray(inverse_cdf._integer_masses(jax.nn.softmax(logits)), np.int64)
    assert masses.sum() == 2**31
    np.testing.assert_allclose(masses / 2**31, exact, rtol=1e-5, atol=2**-31)
    rare = slice(1, 3)
    limit = exact[rare] * (1 + 1e-5)
    assert (masses[rare] / 2**31 <= limit).all()
    rounded = np.diff(np.cumsum(exact.astype(np.float32), dtype=np.float32))[:2]
    assert (rounded > limit).any(), f"negative control: {rounded}"


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_categorical_is_one_hot_at_any_logits(scale):
    logits = scale * jax.random.normal(jax.random.key(30), (20_000, 7))
    sample = categorical(jax.random.key(31), logits)
    assert set(np.unique(sample)) == {0.0, 1.0}
    np.testing.assert_array_equal(sample.sum(-1), 1.0)
    if scale == 1e4:
        assert (jnp.argmax(sample, -1) == jnp.argmax(logits, -1)).mean() > 0.999


def test_bfloat16_logits_do_not_bias_the_frequencies():
    logits = jnp.zeros((SAMPLES, 10), jnp.bfloat16)
    observed = frequencies(gumbel_max(jax.random.key(4), logits))
    assert np.abs(z_scores(observed, 0.1, SAMPLES)).max() < 5
    # The usual mistake, noise drawn in bfloat16, ties and favours the first class.
    noise = jax.random.gumbel(jax.random.key(4), logits.shape, jnp.bfloat16)
    naive = frequencies(jax.nn.one_hot(jnp.argmax(logits + noise, -1), 10))
    assert np.abs(z_scores(naive, 0.1, SAMPLES)).max() > 5, "negative control"


@pytest.mark.parametrize("dtype", DTYPES)
def test_hard_samples_are_exactly_one_hot_or_bits(dtype):
    logits = jax.random.normal(jax.random.key(5), (20_000, 5), dtype)

    @jax.jit
    def draw(temperature):
        return [
            hard(jax.random.key(6), logits, temperature, hard=True)
            for hard in (gumbel_softmax, binary_concrete)
        ]

    one_hot, bits = draw(0.7)
    for hard in (one_hot, bits):
        assert hard.dtype == dtype
        assert set(np.unique(np.asarray(hard, np.float32))) == {0.0, 1.0}
    np.testing.assert_array_equal(one_hot, gumbel_max(jax.random.key(6), logits))


def test_another_order_of_straight_through_is_inexact():
    # Why the parentheses in `straight_through` matter: a common form fails.
    stop = jax.lax.stop_gradient
    soft = jax.nn.softmax(jax.random.normal(jax.random.key(9), (20_000, 5)))
    hard = jax.nn.one_hot(jnp.argmax(soft, -1), 5)
    one = jax.jit(lambda hard, soft: hard + soft - stop(soft))
    assert (one(hard, soft) != hard).any()
    soft16, hard16 = soft.astype(jnp.bfloat16), hard.astype(jnp.bfloat16)
    np.testing.assert_array_equal(samplers.straight_through(hard16, soft16), hard16)
    np.testing.assert_array_equal(jax.jit(samplers.straight_through)(hard, soft), hard)


def test_straight_through_has_the_gradient_of_the_soft_sample():
    weights = jnp.asarray(
        np.random.default_rng(0).normal(size=LOGITS.shape), jnp.float32
    )

    def loss(logits, hard):
        sample = gumbel_softmax(jax.random.key(10), logits, 0.5, hard=hard)
        return (weights * sample).sum()

    hard, soft = (jax.grad(loss)(LOGITS, hard) for hard in (True, False))
    np.testing.assert_allclose(hard, soft, rtol=1e-6)
    assert np.abs(soft).max() > 0


def test_gumbel_softmax_gradient_against_finite_differences():
    with jax.enable_x64(True):
        logits = jnp.asarray(np.asarray(LOGITS), jnp.float64)

        def loss(logits, temperature):
            sample = gumbel_softmax(jax.random.key(11), logits, temperature)
            return jnp.sin(3 * sample).sum()

        check_grads(loss, (logits, 0.6), order=1, modes=["rev"])


def test_binary_concrete_is_the_two_class_gumbel_softmax():
    # The difference of two Gumbels is logistic: means of any function agree.
    logit, temperature = 0.8, 0.5
    pair = jnp.broadcast_to(jnp.asarray([logit, 0.0]), (SAMPLES, 2))
    two = gumbel_softmax(jax.random.key(12), pair, temperature)[:, 0]
    binary = binary_concrete(jax.random.key(13), jnp.full(SAMPLES, logit), temperature)
    assert stats.ks_2samp(two, binary).statistic < 2.7 * np.sqrt(2 / SAMPLES)
    other = binary_concrete(jax.random.key(14), jnp.full(SAMPLES, 0.7), 0.5)
    assert stats.ks_2samp(two, other).statistic > 2.7 * np.sqrt(2 / SAMPLES)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_axis_is_the_class_axis(axis):
    logits = jax.random.normal(jax.random.key(15), (3, 4, 5))
    soft = gumbel_softmax(jax.random.key(16), logits, 0.5, axis=axis)
    hard = gumbel_max(jax.random.key(16), logits, axis=axis)
    np.testing.assert_allclose(soft.sum(axis), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(hard.sum(axis), 1.0)
    assert soft.shape == hard.shape == logits.shape


@pytest.mark.parametrize("offset", [1e7, -1e9, np.finfo(np.float32).max])
def test_large_logits_do_not_absorb_the_noise(offset):
    # Offsets whose sum with the logits is exact: 0 and 4, or the same for all classes.
    logits = jnp.asarray([0.0, 4.0, 0.0] if offset == 1e7 else [0.0] * 3)

    def draws(key, logits):
        max_key, softmax_key, point_key = jax.random.split(key, 3)
        relaxed, hotter = (gumbel.Categorical(logits).relax(t) for t in (0.5, 0.7))
        point = relaxed.sample(point_key)
        return (
            gumbel.gumbel_max(max_key, logits),
            gumbel.gumbel_softmax(softmax_key, logits, 0.5),
            relaxed.log_prob(point),
            hotter.log_prob(point),
            gumbel.exp_concrete_log_prob(point.y, logits, 0.7),
        )

    def draw(logits):
        keys = jax.random.split(jax.random.key(18), 100)
        return jax.jit(jax.vmap(draws, (0, None)))(keys, logits)

    for far, near in zip(draw(logits + offset), draw(logits), strict=True):
        np.testing.assert_allclose(far, near, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", [gumbel.Categorical, gumbel.Bernoulli])
def test_large_logits_at_a_small_temperature(family):
    @jax.jit
    def draw(logits, temperature):
        law = family(logits).relax(temperature)
        point = law.sample(jax.random.key(0))
        return law.value(point), law.log_prob(point)

    for large in (1e9, float(np.finfo(np.float32).max)):
        logits = jnp.asarray([[0.0, -large, 1.0], [large, 0.0, 0.0]])
        for temperature in (1e-3, 1e-9, 1e-30):
            value, density = draw(logits, temperature)
            # A finite number is no mask: its density is that of any class, not of none.
            assert np.isfinite(density).all()
            if family is gumbel.Categorical:
                np.testing.assert_array_equal(value, np.eye(3)[logits.argmax(1)])
            else:
                np.testing.assert_array_equal(value[0, 1], 0.0)
                np.testing.assert_array_equal(value[1, 0], 1.0)


@pytest.mark.parametrize(("dtype", "scale"), [(jnp.float32, 1e4), (jnp.bfloat16, 1e2)])
def test_finite_at_extremes_and_compiled_once_for_all_temperatures(dtype, scale):
    logits, traces = [[scale, -scale, 0.0], [0.0, 0.0, 0.0]], []

    @jax.jit
    def values_and_slopes(logits, temperature):
        def loss(logits, temperature, draw):
            return (draw(jax.random.key(18), logits, temperature) ** 2).sum()

        traces.append(None)
        both = gumbel.gumbel_softmax, gumbel.binary_concrete
        return [
            jax.value_and_grad(loss, argnums=(0, 1))(logits, temperature, draw)
            for draw in both
        ]

    for temperature in (1e-3, 0.1, 1.0, 1e3):
        found = values_and_slopes(jnp.asarray(logits, dtype), temperature)
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert len(traces) == 1


def test_noise_is_the_same_on_one_device_and_on_four():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    logits = jax.random.normal(jax.random.key(20), (8, 3, 5))
    sharded = jax.device_put(logits, NamedSharding(mesh, PartitionSpec("data")))
    sample = jax.jit(lambda x: gumbel.gumbel_max(jax.random.key(21), x))
    assert len(sample(sharded).sharding.device_set) == 4
    np.testing.assert_array_equal(sample(logits), sample(sharded))


@pytest.mark.parametrize(
    ("draw", "arguments", "message"),
    [
        (gumbel.gumbel_softmax, (LOGITS, 0.0), "temperature=0.0: must be a positive"),
        (gumbel.gumbel_softmax, (LOGITS, -1.0), "temperature=-1.0: must be a positive"),
        (gumbel.gumbel_softmax, (LOGITS, 1e-38), "temperature"),  # overflows
        (HARD, (LOGITS, 1e-38), "temperature"),
        (gumbel.binary_concrete, (LOGITS, np.nan), "temperature=nan: must be a posit"),
        (gumbel.gumbel_max, (jnp.arange(3),), "logits has dtype int32: must be floati"),
        (
            gumbel.gumbel_max,
            (jnp.zeros(()),),
            "must have at least one class on axis -1",
        ),
        *(
            (call, (), "=[0.0, 1.0]: must be an array, jnp.array(…)")
            for call in (
                lambda key: gumbel.gumbel_max(key, [0.0, 1.0]),
                lambda key: gumbel.gumbel_softmax(key, [0.0, 1.0], 0.5),
                lambda key: gumbel.binary_concrete(key, [0.0, 1.0], 0.5),
                lambda key: gumbel.gumbel_top_k(key, [0.0, 1.0], 1),
                lambda key: gumbel.hard_concrete(key, [0.0, 1.0], 0.5),
                lambda key: gumbel.concrete_log_prob([0.0, 1.0], LOGITS, 0.5),
                lambda key: gumbel.Categorical([0.0, 1.0]).entropy(),
                lambda key: gumbel.Bernoulli([0.0, 1.0]).sample(key),
            )
        ),
    ],
)
def test_bad_arguments_are_named(draw, arguments, message):
    with pytest.raises(ValueError) as error:
        draw(jax.random.key(0), *arguments)
    assert message in str(error.value)
    with pytest.raises(ValueError, match="must have at least one class on axis 2"):
        gumbel.gumbel_softmax(jax.random.key(0), jnp.zeros((2, 3)), 1.0, axis=2)


DRAWS = {
    "gumbel_max": jax.jit(gumbel.gumbel_max),
    "categorical": jax.jit(inverse_cdf.categorical),
    "gumbel_softmax": jax.jit(
        functools.partial(gumbel.gumbel_softmax, temperature=0.5)
    ),
    "hard": jax.jit(functools.partial(HARD, temperature=0.5)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", DRAWS)
def test_certain_forbidden_and_undefined_classes(name, dtype):
    rows = [[0.0, jnp.inf, 1.0], [0.0, -jnp.inf, 1.0], [0.0, jnp.nan, 1.0]]
    logits = jnp.broadcast_to(jnp.asarray(rows, dtype), (2000, 3, 3))
    drawn = DRAWS[name](jax.random.key(0), logits)
    assert drawn.dtype == dtype
    np.testing.assert_array_equal(drawn[:, 0], np.broadcast_to([0, 1, 0], (2000, 3)))
    assert (drawn[:, 1, 1] == 0).all() and (drawn[:, 1, 2] > 0.5).any()
    assert jnp.isnan(drawn[:, 2]).all()
    none = DRAWS[name](jax.random.key(0), jnp.full((5, 3), -jnp.inf, dtype))
    assert jnp.isnan(none).all()
    # Several certain classes are equally likely.
    two = jnp.broadcast_to(jnp.asarray([jnp.inf, 5.0, jnp.inf], dtype), (20_000, 3))
    share = (DRAWS[name](jax.random.key(1), two)[:, 0] > 0.5).mean()
    assert abs(z_scores(float(share), 0.5, 20_000)) < 5


@pytest.mark.parametrize("hard", [False, True])
def test_gradients_at_forbidden_and_certain_classes_are_zero(hard):
    logits = jnp.asarray([[0.3, -jnp.inf, 1.0], [0.0, jnp.inf, 1.0]])
    weights = jnp.asarray([1.0, -2.0, 0.5])

    def cost(logits, tau):
        sample = gumbel.gumbel_softmax(jax.random.key(2), logits, tau, hard=hard)
        return (sample * weights[None]).sum()

    slope, of_tau = jax.jit(jax.grad(cost, (0, 1)))(logits, 0.7)
    assert np.isfinite(slope).all() and np.isfinite(of_tau)
    assert slope[0, 1] == 0 and (slope[1] == 0).all() and slope[0, 0] != 0
    np.testing.assert_allclose(slope[0].sum(), 0.0, atol=1e-6)

    def bits(logits):
        return gumbel.binary_concrete(jax.random.key(2), logits, 0.7, hard=hard).sum()

    value, slope = jax.jit(jax.value_and_grad(bits))(
        jnp.asarray([jnp.inf, -jnp.inf, 0.2])
    )
    assert np.isfinite(value) and (slope[:2] == 0).all() and slope[2] != 0


@pytest.mark.parametrize("name", DRAWS)
def test_undefined_logits_in_large_arrays(name):
    # On CPU the max of a large array passes over NaN, that of a small one does not.
    logits = jnp.zeros((5000, 200)).at[:, 4].set(jnp.nan)
    for draw in (DRAWS[name], DRAWS[name].__wrapped__):
        assert jnp.isnan(draw(jax.random.key(0), logits)).any(axis=1).all()


def test_bits_that_are_certain_or_undefined():
    logits = jnp.asarray([jnp.inf, -jnp.inf, jnp.nan], jnp.bfloat16)
    for drawn in (
        gumbel.binary_concrete(jax.random.key(0), logits, 0.5),
        gumbel.binary_concrete(jax.random.key(0), logits, 0.5, hard=True),
        gumbel.Bernoulli(logits).sample(jax.random.key(0)),
    ):
        np.testing.assert_array_equal(drawn.astype("float32"), [1, 0, np.nan])


def test_a_temperature_for_each_variable():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 4)).astype(np.float32)

    @jax.jit
    def draw(tau):
        drawn = gumbel.gumbel_softmax(jax.random.key(0), logits, tau)
        return drawn, gumbel.binary_concrete(jax.random.key(0), logits[..., 0], tau)

    for shape in ((3,), (2, 3)):
        tau = np.float32(0.2 + rng.random(shape))
        drawn, each = draw(tau), np.broadcast_to(tau, (2, 3))
        for b, n in np.ndindex(2, 3):
            for ours, alone in zip(drawn, draw(each[b, n]), strict=True):
                np.testing.assert_allclose(ours[b, n], alone[b, n], rtol=1e-5)


@pytest.mark.parametrize("tau", [np.ones(2), np.ones((2, 3, 1)), np.ones((2, 3, 4))])
def test_temperatures_that_are_not_of_the_variables_are_refused(tau):
    logits = jnp.zeros((2, 3, 4))
    for draw in (gumbel.gumbel_softmax, gumbel.binary_concrete):
        if draw is gumbel.binary_concrete:
            tau = np.ones((5, 2, 3, 4))
        with pytest.raises(ValueError, match="temperature"):
            draw(jax.random.key(0), logits, tau)


def test_many_keys_are_refused():
    keys = jax.random.split(jax.random.key(0), 3)
    for draw in DRAWS.values():
        with pytest.raises(ValueError, match="vmap"):
            draw(keys, jnp.zeros((3, 2)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_strict_dtype_promotion(dtype):
    def narrow_and_wide(key, logits):
        key = functools.partial(jax.random.clone, key)
        drawn = [draw(key(), logits) for draw in DRAWS.values()]
        drawn += [
            gumbel.binary_concrete(key(), logits, 0.5, hard=True),
            gumbel.gumbel_top_k(key(), logits, 2),
            gumbel.relaxed_top_k(key(), logits, 2, 0.5, hard=True),
            gumbel.hard_concrete(key(), logits, 0.5),
        ]
        laws = gumbel.Categorical(logits), gumbel.Bernoulli(logits)
        wide = [law.kl(law) for law in laws] + [law.entropy() for law in laws]
        wide += [law.log_prob(law.mode()) for law in laws]
        for law in laws:
            relaxed = law.relax(0.5)
            wide.append(relaxed.log_prob(relaxed.sample(key())))
        wide.append(gumbel.conditional_gumbel(key(), logits, drawn[0]))
        wide.append(gumbel.objectives.bernoulli_log_likelihood(logits, drawn[0]))
        return drawn, wide

    with jax.numpy_dtype_promotion("strict"):
        logits = jnp.zeros((2, 6), dtype)
        drawn, wide = jax.eval_shape(narrow_and_wide, jax.random.key(0), logits)
    assert all(x.dtype == dtype for x in drawn)
    assert all(x.dtype == jnp.float32 for x in wide)
