"""Forbidden, certain, undefined and large logits, and the one dtype rule."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
from gumbel import inverse_cdf

HARD = functools.partial(gumbel.gumbel_softmax, hard=True)


DTYPES = [jnp.float32, jnp.bfloat16, jnp.float16]


def z_scores(observed, expected, samples: int) -> np.ndarray:
    return (observed - expected) / np.sqrt(expected * (1 - expected) / samples)


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


DRAWS = {
    "gumbel_max": jax.jit(gumbel.gumbel_max),
    "categorical": jax.jit(inverse_cdf.categorical),
    "gumbel_softmax": jax.jit(
        functools.partial(gumbel.gumbel_softmax, temperature=0.5)
    ),
    "hard": jax.jit(functools.partial(HARD, temperature=0.5)),
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16])
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
