"""Samplers: exact frequencies, finite noise, exact one-hot values, stable extremes."""

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
DTYPES = [jnp.float32, jnp.bfloat16, jnp.float16]
SAMPLES = 200_000


def frequencies(one_hot) -> np.ndarray:
    return np.asarray(one_hot, np.float64).mean(axis=0)


def z_scores(observed, expected, samples: int) -> np.ndarray:
    return (observed - expected) / np.sqrt(expected * (1 - expected) / samples)


def test_every_noise_value_is_finite_and_the_tails_are_resolved():
    # Both maps are monotone in the 31 bits (per sign), so these inputs bound the
    # values of all 2^32, hence of any number of draws.
    bits = jnp.asarray([0, 1, 2, 3, 2**31, 2**32 - 4, 2**32 - 2, 2**32 - 1], jnp.uint32)
    gumbel_values = np.asarray(noise._gumbel_from_bits(bits))
    logistic_values = np.asarray(noise._logistic_from_bits(bits))
    assert np.isfinite(gumbel_values).all() and np.isfinite(logistic_values).all()
    # Small bits are the Gumbel's upper tail: −log(2⁻³²) = 22.18.
    np.testing.assert_allclose(gumbel_values.max(), 32 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(np.abs(logistic_values).max(), 33 * np.log(2), rtol=1e-6)


def test_noise_maps_are_monotone_so_their_extremes_bound_them():
    rng = np.random.default_rng(0)
    bits = np.sort(rng.integers(0, 2**32, 100_000, np.uint32) & ~np.uint32(1))
    assert (np.diff(noise._gumbel_from_bits(jnp.asarray(bits))) <= 0).all()
    assert (np.diff(noise._logistic_from_bits(jnp.asarray(bits))) >= 0).all()
    assert (np.diff(noise._logistic_from_bits(jnp.asarray(bits | 1))) <= 0).all()


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


def test_logistic_noise_is_symmetric():
    bits = jax.random.bits(jax.random.key(2), (1000,), jnp.uint32)
    np.testing.assert_array_equal(
        noise._logistic_from_bits(bits), -noise._logistic_from_bits(bits ^ 1)
    )


@pytest.mark.parametrize("draw", [gumbel.gumbel_max, inverse_cdf.categorical])
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
    sample = inverse_cdf.categorical(jax.random.key(31), logits)
    assert set(np.unique(sample)) == {0.0, 1.0}
    np.testing.assert_array_equal(sample.sum(-1), 1.0)
    if scale == 1e4:
        assert (jnp.argmax(sample, -1) == jnp.argmax(logits, -1)).mean() > 0.999


def test_bfloat16_logits_do_not_bias_the_frequencies():
    logits = jnp.zeros((SAMPLES, 10), jnp.bfloat16)
    observed = frequencies(gumbel.gumbel_max(jax.random.key(4), logits))
    assert np.abs(z_scores(observed, 0.1, SAMPLES)).max() < 5
    # The usual mistake, noise drawn in bfloat16, ties and favours the first class.
    noise = jax.random.gumbel(jax.random.key(4), logits.shape, jnp.bfloat16)
    naive = frequencies(jax.nn.one_hot(jnp.argmax(logits + noise, -1), 10))
    assert np.abs(z_scores(naive, 0.1, SAMPLES)).max() > 5, "negative control"


@pytest.mark.parametrize("dtype", DTYPES)
def test_hard_gumbel_softmax_is_exactly_one_hot_and_equals_gumbel_max(dtype):
    logits = jax.random.normal(jax.random.key(5), (20_000, 5), dtype)
    hard = jax.jit(
        lambda t: gumbel.gumbel_softmax(jax.random.key(6), logits, t, hard=True)
    )(0.7)
    assert hard.dtype == dtype
    np.testing.assert_array_equal(hard, gumbel.gumbel_max(jax.random.key(6), logits))
    assert set(np.unique(np.asarray(hard, np.float32))) == {0.0, 1.0}


@pytest.mark.parametrize("dtype", DTYPES)
def test_hard_binary_concrete_is_exactly_zero_or_one(dtype):
    logits = jax.random.normal(jax.random.key(7), (100_000,), dtype)
    hard = jax.jit(
        lambda t: gumbel.binary_concrete(jax.random.key(8), logits, t, hard=True)
    )(0.7)
    assert hard.dtype == dtype
    assert set(np.unique(np.asarray(hard, np.float32))) == {0.0, 1.0}


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
        sample = gumbel.gumbel_softmax(jax.random.key(10), logits, 0.5, hard=hard)
        return (weights * sample).sum()

    hard, soft = (jax.grad(loss)(LOGITS, hard) for hard in (True, False))
    np.testing.assert_allclose(hard, soft, rtol=1e-6)
    assert np.abs(soft).max() > 0


def test_gumbel_softmax_gradient_against_finite_differences():
    with jax.enable_x64(True):
        logits = jnp.asarray(np.asarray(LOGITS), jnp.float64)

        def loss(logits, temperature):
            sample = gumbel.gumbel_softmax(jax.random.key(11), logits, temperature)
            return jnp.sin(3 * sample).sum()

        check_grads(loss, (logits, 0.6), order=1, modes=["rev"])


def test_binary_concrete_is_the_two_class_gumbel_softmax():
    # The difference of two Gumbels is logistic: means of any function agree.
    logit, temperature = 0.8, 0.5
    pair = jnp.broadcast_to(jnp.asarray([logit, 0.0]), (SAMPLES, 2))
    two = gumbel.gumbel_softmax(jax.random.key(12), pair, temperature)[:, 0]
    binary = gumbel.binary_concrete(
        jax.random.key(13), jnp.full(SAMPLES, logit), temperature
    )
    assert stats.ks_2samp(two, binary).statistic < 2.7 * np.sqrt(2 / SAMPLES)
    other = gumbel.binary_concrete(jax.random.key(14), jnp.full(SAMPLES, 0.7), 0.5)
    assert stats.ks_2samp(two, other).statistic > 2.7 * np.sqrt(2 / SAMPLES)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_axis_is_the_class_axis(axis):
    logits = jax.random.normal(jax.random.key(15), (3, 4, 5))
    soft = gumbel.gumbel_softmax(jax.random.key(16), logits, 0.5, axis=axis)
    hard = gumbel.gumbel_max(jax.random.key(16), logits, axis=axis)
    np.testing.assert_allclose(soft.sum(axis), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(hard.sum(axis), 1.0)
    assert soft.shape == hard.shape == logits.shape


def test_samples_are_invariant_to_a_shift_of_the_logits():
    shifted = LOGITS + jnp.asarray([[8.0], [-16.0], [4.0]])
    np.testing.assert_allclose(
        gumbel.gumbel_softmax(jax.random.key(17), LOGITS, 0.7),
        gumbel.gumbel_softmax(jax.random.key(17), shifted, 0.7),
        atol=1e-5,
    )


@pytest.mark.parametrize(("dtype", "scale"), [(jnp.float32, 1e4), (jnp.bfloat16, 1e2)])
@pytest.mark.parametrize("temperature", [1e-3, 0.1, 1.0, 1e3])
def test_values_and_gradients_are_finite_at_extremes(dtype, scale, temperature):
    logits = jnp.asarray([[scale, -scale, 0.0], [0.0, 0.0, 0.0]], dtype)

    def softmax_loss(logits, temperature):
        key = jax.random.key(18)
        return (gumbel.gumbel_softmax(key, logits, temperature) ** 2).sum()

    def binary_loss(logits, temperature):
        key = jax.random.key(18)
        return (gumbel.binary_concrete(key, logits, temperature) ** 2).sum()

    for loss in (softmax_loss, binary_loss):
        value, grads = jax.value_and_grad(loss, argnums=(0, 1))(logits, temperature)
        assert jax.tree.all(jax.tree.map(lambda g: jnp.isfinite(g).all(), grads))
        assert jnp.isfinite(value)


def test_one_compilation_for_all_temperatures():
    traces = []

    @jax.jit
    def sample(temperature):
        traces.append(None)
        return gumbel.gumbel_softmax(jax.random.key(19), LOGITS, temperature)

    for temperature in (1.0, 0.5, 0.1):
        sample(temperature)
    assert len(traces) == 1


def test_noise_is_the_same_on_one_device_and_on_four():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    logits = jax.random.normal(jax.random.key(20), (8, 3, 5))
    sharded = jax.device_put(logits, NamedSharding(mesh, PartitionSpec("data")))
    sample = jax.jit(lambda x: gumbel.gumbel_max(jax.random.key(21), x))
    assert len(sample(sharded).sharding.device_set) == 4
    np.testing.assert_array_equal(sample(logits), sample(sharded))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda key: gumbel.gumbel_softmax(key, LOGITS, 0.0),
            "temperature=0.0: must be a positive finite number",
        ),
        (
            lambda key: gumbel.gumbel_softmax(key, LOGITS, -1.0),
            "temperature=-1.0: must be a positive finite number",
        ),
        (
            lambda key: gumbel.binary_concrete(key, LOGITS, float("nan")),
            "temperature=nan: must be a positive finite number",
        ),
        (
            lambda key: gumbel.gumbel_max(key, jnp.arange(3)),
            "logits has dtype int32: must be floating point",
        ),
        (
            lambda key: gumbel.gumbel_max(key, jnp.zeros(())),
            "logits has shape (): must have at least one class on axis -1",
        ),
        (
            lambda key: gumbel.gumbel_softmax(key, jnp.zeros((2, 3)), 1.0, axis=2),
            "logits has shape (2, 3): must have at least one class on axis 2",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError) as error:
        call(jax.random.key(0))
    assert message in str(error.value)
