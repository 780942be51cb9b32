"""Subsets of k classes against enumeration, their limits, masks and errors."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel

LOGITS = np.array([1.0, 0.0, -1.5, 0.7, -0.3], np.float32)
DRAWS = 40_000


def subset_probabilities(logits, k):
    """The probability of every k-hot vector, by summing over the orders of drawing."""
    weights, probabilities = np.exp(np.float64(logits)), {}
    for order in itertools.permutations(range(len(logits)), k):
        probability, left = 1.0, weights.sum()
        for index in order:
            probability *= weights[index] / left
            left -= weights[index]
        k_hot = tuple(int(i in order) for i in range(len(logits)))
        probabilities[k_hot] = probabilities.get(k_hot, 0.0) + probability
    return probabilities


def largest_z(logits, k, drawn):
    """The largest error of a subset's frequency, in standard errors."""
    rows, counts = np.unique(np.asarray(drawn, int), axis=0, return_counts=True)
    counted = {tuple(r): c for r, c in zip(rows.tolist(), counts, strict=True)}
    expected = subset_probabilities(logits, k)
    assert set(counted) <= set(expected)
    z = []
    for subset, p in expected.items():
        error = counted.get(subset, 0) / len(drawn) - p
        z.append(abs(error) / np.sqrt(p * (1 - p) / len(drawn)))
    return max(z)


def many(logits, dtype="float32"):
    return jnp.broadcast_to(jnp.asarray(logits, dtype), (DRAWS, len(logits)))


@pytest.mark.parametrize("k", [1, 2, 4])
def test_subsets_have_the_frequencies_of_drawing_without_replacement(k):
    drawn = gumbel.gumbel_top_k(jax.random.key(k), many(LOGITS), k)
    assert (drawn.sum(-1) == k).all()
    assert largest_z(LOGITS, k, drawn) < 5
    # The control: another law is far off.
    assert largest_z(LOGITS + np.float32([0.2, 0, 0, 0, 0]), k, drawn) > 5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_hard_is_bitwise_k_hot_and_soft_tends_to_it(dtype):
    logits = many(LOGITS, dtype)[:2000]
    exact = gumbel.gumbel_top_k(jax.random.key(0), logits, 2)

    @jax.jit
    def hard(logits, temperature):
        key = jax.random.key(0)
        return gumbel.relaxed_top_k(key, logits, 2, temperature, hard=True)

    drawn = hard(logits, 0.5)
    np.testing.assert_array_equal(drawn, exact)
    assert drawn.dtype == exact.dtype == logits.dtype
    soft = gumbel.relaxed_top_k(jax.random.key(0), logits, 2, 1e-3)
    assert (jnp.abs(soft - exact).max(-1) < 1e-2).mean() > 0.99
    soft = gumbel.relaxed_top_k(jax.random.key(0), logits, 3, 0.7)
    totals = soft.astype("float32").sum(-1)
    np.testing.assert_allclose(totals, 3.0, rtol=1e-5 if dtype == "float32" else 2e-2)


def test_the_relaxation_is_that_of_the_paper():
    # Xie & Ermon (2019), algorithm 2, in float64 of NumPy, from the same noise: at
    # k = 1 the sample is a softmax, which gives the perturbed logits away.
    tau, logits = 0.6, jnp.asarray(LOGITS)
    one = np.float64(gumbel.relaxed_top_k(jax.random.key(3), logits, 1, tau))
    alpha, expected = tau * np.log(one), np.zeros(5)
    for _ in range(3):
        p = np.exp(alpha / tau) / np.exp(alpha / tau).sum()
        expected, alpha = expected + p, alpha + np.log1p(-p)
    sample = gumbel.relaxed_top_k(jax.random.key(3), logits, 3, tau)
    np.testing.assert_allclose(sample, expected, rtol=1e-4)


def test_the_gradient_is_that_of_finite_differences():
    weights = jnp.asarray([0.3, -1.0, 2.0, 0.5, 1.0])

    def cost(logits, hard=False):
        sample = gumbel.relaxed_top_k(jax.random.key(1), logits, 2, 0.8, hard=hard)
        return (weights * sample).sum()

    logits = jnp.asarray(LOGITS)
    value = jax.jit(cost)
    slope = jax.jit(jax.grad(cost), static_argnums=1)
    gradient = slope(logits)
    for index in range(5):
        step = 1e-2 * np.eye(5, dtype=np.float32)[index]
        difference = (value(logits + step) - value(logits - step)) / 2e-2
        np.testing.assert_allclose(gradient[index], difference, atol=5e-3)
    np.testing.assert_allclose(gradient, slope(logits, True), rtol=1e-5)
    assert np.abs(gradient).max() > 0.05


@pytest.mark.parametrize("low", [-np.inf, -1e9, np.finfo(np.float32).min])
def test_forbidden_classes_are_never_drawn_and_get_no_gradient(low):
    masked = np.float32([1.0, low, -1.5, 0.7, low])
    drawn = gumbel.gumbel_top_k(jax.random.key(0), many(masked), 2)
    assert not drawn[:, [1, 4]].any()
    assert largest_z(masked[[0, 2, 3]], 2, drawn[:, np.array([0, 2, 3])]) < 5

    def soft(logits):
        sample = gumbel.relaxed_top_k(jax.random.key(0), logits, 2, 0.5)
        return (sample * jnp.arange(5.0)).sum(), sample

    gradient, sample = jax.grad(soft, has_aux=True)(jnp.asarray(masked))
    assert np.isfinite(gradient).all() and (gradient[np.array([1, 4])] == 0).all()
    assert (sample[np.array([1, 4])] == 0).all() and np.isclose(sample.sum(), 2)


def test_where_too_few_are_left_masked_classes_are_drawn_with_their_noise():
    masked = np.float32([0.0, 0.5, -1e9, -1e9, -1e9])
    drawn = jax.jit(lambda x: gumbel.gumbel_top_k(jax.random.key(0), x, 3))(
        many(masked)
    )
    assert drawn[:, :2].all() and (drawn.sum(-1) == 3).all()
    assert largest_z(np.zeros(3), 1, drawn[:, 2:]) < 5


def test_extremes_and_axes():
    certain = gumbel.gumbel_top_k(
        jax.random.key(0), jnp.asarray([0.0, jnp.inf, 9.0]), 1
    )
    np.testing.assert_array_equal(certain, [0, 1, 0])
    for logits in ([0.0, jnp.nan, 1.0], [0.0, -jnp.inf, -jnp.inf]):
        drawn = gumbel.gumbel_top_k(jax.random.key(0), jnp.asarray(logits), 2)
        assert jnp.isnan(drawn).all()
    # With many classes and logits that are large, values and gradients are finite.
    logits = 1e4 * jax.random.normal(jax.random.key(1), (64, 5))

    @jax.jit
    def value_and_slope(logits, tau):
        def draw(logits):
            return gumbel.relaxed_top_k(jax.random.key(2), logits, 3, tau)

        values, pull_back = jax.vjp(draw, logits)
        return values, pull_back(jnp.ones_like(values))

    for tau in (1e-3, 1.0, 1e3):
        found = value_and_slope(logits, tau)
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    turned = gumbel.relaxed_top_k(jax.random.key(0), many(LOGITS)[:6].T, 2, 0.5, axis=0)
    np.testing.assert_allclose(turned.sum(0), 2.0, rtol=1e-5)


@pytest.mark.parametrize("k", [0, 6, 2.0, True])
def test_impossible_numbers_of_classes(k):
    for draw in (
        lambda: gumbel.gumbel_top_k(jax.random.key(0), jnp.asarray(LOGITS), k),
        lambda: gumbel.relaxed_top_k(jax.random.key(0), jnp.asarray(LOGITS), k, 1.0),
    ):
        with pytest.raises(ValueError, match=r"^k="):
            draw()


def test_a_number_of_classes_may_be_one_of_numpy():
    drawn = gumbel.gumbel_top_k(jax.random.key(0), jnp.asarray(LOGITS), np.int64(2))
    assert drawn.sum() == 2
