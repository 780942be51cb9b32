"""Gradient quality: known moments, known errors, and counts by hand."""

import jax
import jax.numpy as jnp
import numpy as np

import gumbel
from gumbel import quality
from toys import TOYS

TOY = TOYS["2-3-elbo"]


def test_moments_of_a_known_gradient():
    count, scale = 20_000, jnp.asarray([1.0, 3.0])
    moments = jax.jit(
        lambda key: quality.gradient_moments(
            lambda k: 2.0 + scale * jax.random.normal(k, (2,)), key, count
        )
    )(jax.random.key(0))
    error = np.asarray(moments.mean) - 2.0
    assert (np.abs(error) < 5 * np.asarray(scale) / np.sqrt(count)).all()
    # The variance of a sample variance of normals is 2σ⁴ / (n − 1).
    ratio = np.asarray(moments.variance) / np.asarray(scale) ** 2
    assert (np.abs(ratio - 1) < 5 * np.sqrt(2 / count)).all()


def test_quality_by_hand():
    moments = quality.Moments(np.asarray([3.0, 4.0]), np.asarray([8.0, 24.0]), 16)
    result = quality.quality(moments, np.asarray([0.0, 4.0]))
    # ‖bias‖² = 9 less the noise (8 + 24) / 16 = 2; ‖g*‖ = 4.
    np.testing.assert_allclose(result.bias, np.sqrt(7) / 4)
    np.testing.assert_allclose(result.bias_noise, np.sqrt(2) / 4)
    np.testing.assert_allclose(result.std, np.sqrt(32) / 4)
    np.testing.assert_allclose(result.cosine, 16 / (5 * 4))
    hidden = quality.quality(moments, np.asarray([0.0, 4.0]), exact_noise=8.0)
    assert hidden.bias == 0.0


def test_draw_parameters_are_those_that_the_draws_depend_on():
    flags = quality.draw_parameters(
        TOY.program, jax.random.key(1), TOY.params, *TOY.args
    )
    named = dict(zip(sorted(TOY.params), flags, strict=True))
    inside = {name for name, flag in named.items() if flag}
    assert inside == {name for name in TOY.params if name.startswith("in")}


def test_zero_rows_counts_saturated_softmaxes():
    logits = 3.0 * jax.random.normal(jax.random.key(2), (500, 4, 6))

    def program(scale, x):
        return lambda draw: draw("z", gumbel.Categorical(scale * x)).log_q

    def share(name, temperature):
        return float(
            quality.zero_rows(
                name,
                program,
                jax.random.key(3),
                jnp.ones(()),
                logits,
                temperature=temperature,
            )
        )

    shares = [share("gumbel_softmax", t) for t in (1.0, 0.05, 0.01, 1e-4)]
    assert shares[0] == 0.0 and shares[-1] > 0.99
    assert shares == sorted(shares) and 0 < shares[1] < shares[2]
    # The same count for softmaxes sampled here: saturated in float32.
    soft = gumbel.gumbel_softmax(jax.random.key(4), logits, 0.01)
    expected = float((soft * (1 - soft) == 0).all(-1).mean())
    stderr = np.sqrt(expected * (1 - expected) / 2000)
    assert abs(shares[2] - expected) < 5 * np.sqrt(2) * stderr
    assert share("straight_through", 0.01) == 0.0


def test_it_is_imported_with_the_package():
    # Here it was imported by name; a user writes gumbel.quality.
    assert "quality" in gumbel.__all__
