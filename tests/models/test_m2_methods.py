"""M2 as a program: its bounds and samples by hand, every estimator that runs it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
from experiments.models import m2_methods
from gumbel import quality
from gumbel.programs import hard, interpret
from m2_by_hand import BATCH, CLASSES, PIXELS, STYLES, ByHand, make_tiny, noise_of


@pytest.mark.parametrize("kl", ["analytic", "relaxed_density", "soft_mass"])
def test_marginal_bound_is_the_sum_over_classes(kl):
    _, program, params, x, _ = make_tiny()
    estimate = jax.jit(
        lambda *args: gumbel.value_and_grad("exact", program)(*args, kl=kl)
    )
    bound = estimate(jax.random.key(3), params, x).bound
    _, estimate_key = jax.random.split(jax.random.key(3))
    noise = noise_of(jax.random.fold_in(estimate_key, 0))
    by_hand, x = ByHand(params), np.float64(x)
    log_q = by_hand.log_q(x)
    # Equation (7) of Kingma et al. (2014): Σ_y q(y|x) (−L(x, y)) + H(q(y|x)).
    expected = np.zeros(BATCH)
    for k in range(CLASSES):
        one = by_hand.bound(x, np.full(BATCH, k), noise)
        expected += np.exp(log_q[:, k]) * (one - log_q[:, k])
    if kl == "analytic":
        np.testing.assert_allclose(bound, expected, rtol=1e-5)
    else:  # the KL of z by its sample: of the same expectation, another value
        assert np.isfinite(bound).all()
        assert np.abs(np.asarray(bound) - expected).max() > 1e-3


def test_labelled_bound_is_that_of_the_observed_class():
    _, program, params, x, labels = make_tiny()

    @jax.jit
    def bound(key, labels):
        return interpret(program(params, x, labels), key, hard("analytic"))[0]

    noise = noise_of(jax.random.key(5))
    expected = ByHand(params).bound(np.float64(x), np.asarray(labels), noise)
    found = bound(jax.random.key(5), labels)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "estimator",
    [
        name
        for name, entry in gumbel.estimators.ESTIMATORS.items()
        if entry.samples[0] == 1 and "Categorical" in entry.families
    ],
)
def test_every_estimator_runs_the_program(estimator):
    _, program, params, x, _ = make_tiny()
    estimate = jax.jit(gumbel.value_and_grad(estimator, program))
    bound, grads, _ = estimate(jax.random.key(0), params, x)
    assert np.isfinite(bound).all()
    for leaf in jax.tree.leaves(grads):
        assert np.isfinite(leaf).all() and (leaf != 0).any()


def test_bias_of_relaxed_gradients_against_exact():
    """What gradient_quality reports: the class is marginalised, the style sampled."""
    _, program, params, x, _ = make_tiny()
    keep = quality.draw_parameters(program, jax.random.key(1), params, x)

    def moments(name, seed, count=4000):
        def gradient(key):
            grads = gumbel.value_and_grad(name, program)(key, params, x, kl="analytic")
            leaves = zip(jax.tree.leaves(grads.grads), keep, strict=True)
            return jnp.concatenate([g.ravel() for g, kept in leaves if kept])

        run = jax.jit(lambda key: quality.gradient_moments(gradient, key, count))
        return run(jax.random.key(seed))._replace(count=count)

    exact = moments("exact", 2)
    noise = float(exact.variance.sum()) / exact.count
    assert noise > 0
    relaxed = quality.quality(moments("gumbel_softmax", 3), exact.mean, noise)
    assert relaxed.bias > 5 * relaxed.bias_noise
    # Unbiased ones have none that is seen: exact itself, and the score function.
    again = quality.quality(moments("exact", 4), exact.mean, noise)
    assert again.bias < 2 * again.bias_noise and again.std < relaxed.std
    score = quality.quality(moments("score_function", 5), exact.mean, noise)
    assert score.bias < 2 * score.bias_noise


def test_samples_share_a_style_along_columns():
    model, _, params, *_ = make_tiny()
    means = np.asarray(m2_methods.make_samples(model)(params, jax.random.key(1)))
    grid = means.reshape(CLASSES, m2_methods.STYLES, PIXELS)
    # z of a column, with the weights of its class: recomputed by hand.
    z = np.float64(jax.random.normal(jax.random.key(1), (m2_methods.STYLES, STYLES)))
    by_hand = ByHand(params)
    for k in range(CLASSES):
        y = np.tile(np.eye(CLASSES)[k], (m2_methods.STYLES, 1))
        h = by_hand.dense("decoder", 0, np.concatenate([y, z], axis=1))
        logits = by_hand.dense("decoder", 1, np.maximum(h, 0))
        np.testing.assert_allclose(grid[k], 1 / (1 + np.exp(-logits)), rtol=1e-4)
