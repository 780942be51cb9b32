"""Samplers: exact frequencies, finite noise, exact one-hot values, stable extremes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import stats

import gumbel
from gumbel import inverse_cdf, samplers

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
    for draw in (gumbel_max, categorical, functools.partial(HARD, temperature=0.5)):
        with pytest.raises(ValueError, match="vmap"):
            draw(keys, jnp.zeros((3, 2)))
