"""Densities: float64 closed forms, quadrature, and stable extremes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

import gumbel

TEMPERATURES = [0.3, 1.0, 2.5]


def simplex_points(classes: int, count: int) -> np.ndarray:
    return np.random.default_rng(classes).dirichlet(np.ones(classes), count)


def closed_form_concrete(x, logits, temperature) -> np.ndarray:
    """The cheat sheet's formula, term by term, in float64."""
    n = x.shape[-1]
    return (
        special.gammaln(n)
        + (n - 1) * np.log(temperature)
        + (logits - (temperature + 1) * np.log(x)).sum(-1)
        - n * special.logsumexp(logits - temperature * np.log(x), axis=-1)
    )


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_concrete_and_exp_concrete_against_the_closed_form(classes, temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, classes)) * 2
    x = simplex_points(classes, 50)
    expected = closed_form_concrete(x, logits, temperature)
    single = jnp.asarray(x, jnp.float32), jnp.asarray(logits, jnp.float32)
    np.testing.assert_allclose(
        gumbel.concrete_log_prob(*single, temperature), expected, rtol=2e-4, atol=2e-4
    )
    np.testing.assert_allclose(
        gumbel.exp_concrete_log_prob(jnp.log(single[0]), single[1], temperature),
        expected + np.log(x).sum(-1),
        rtol=2e-4,
        atol=2e-4,
    )


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_concrete_integrates_to_one_on_the_triangle(temperature):
    with jax.enable_x64(True):
        logits = jnp.asarray([0.5, -0.3, 0.1])

        # The log ratios (a, b) = (y_1 − y_3, y_2 − y_3) cover the plane, and the
        # density falls exponentially in them.
        grid = np.linspace(-60 / temperature, 60 / temperature, 1201) / 2
        a, b = np.meshgrid(grid, grid)
        y = jax.nn.log_softmax(jnp.stack([a, b, np.zeros_like(a)], axis=-1))
        logits = jnp.broadcast_to(logits, y.shape)
        log_density = jax.jit(gumbel.exp_concrete_log_prob)(y, logits, temperature)
        density = np.exp(np.asarray(log_density))
    total = np.trapezoid(np.trapezoid(density, grid), grid)
    np.testing.assert_allclose(total, 1.0, rtol=1e-3)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("logit", [-2.0, 0.0, 1.5])
def test_binary_densities_integrate_to_one(logit, temperature):
    with jax.enable_x64(True):
        # Compiled once for all points, float64.
        in_logit_space, in_probability_space = (
            jax.jit(lambda x, f=f: jnp.exp(f(x, jnp.float64(logit), temperature)))
            for f in (
                gumbel.logit_binary_concrete_log_prob,
                gumbel.binary_concrete_log_prob,
            )
        )
        # Beyond ±40/τ the density is below e⁻³⁸.
        limit = 40 / temperature
        total, _ = integrate.quad(in_logit_space, -limit, limit, points=[0.0])
        low, high = 0.1, 0.7
        part, _ = integrate.quad(in_probability_space, low, high)
    np.testing.assert_allclose(total, 1.0, rtol=1e-6)
    # P(low < X < high) through the logistic: X < x iff L < τ logit(x) − logit.
    cdf = stats.logistic.cdf(temperature * special.logit([low, high]) - logit)
    np.testing.assert_allclose(part, cdf[1] - cdf[0], rtol=1e-6)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_binary_density_is_the_derivative_of_its_distribution(temperature):
    y, logit = np.linspace(-5, 5, 41), 0.7
    expected = stats.logistic.logpdf(temperature * y - logit) + np.log(temperature)
    observed = gumbel.logit_binary_concrete_log_prob(
        jnp.asarray(y, jnp.float32), jnp.full(41, logit), temperature
    )
    np.testing.assert_allclose(observed, expected, rtol=1e-4, atol=1e-5)


def test_the_density_scores_the_samples_it_belongs_to():
    # E_q[log q − log p] is a KL divergence: negative for no p, near 0 for p = q only.
    key, count = jax.random.key(1), 50_000
    logits = jnp.broadcast_to(jnp.asarray([1.0, 0.0, -1.0]), (count, 3))
    y = jnp.log(gumbel.gumbel_softmax(key, logits, 1.0))
    own = gumbel.exp_concrete_log_prob(y, logits, 1.0)
    for other in (0.7, 1.4):
        gap = np.asarray(own - gumbel.exp_concrete_log_prob(y, logits, other))
        assert gap.mean() > 5 * gap.std() / np.sqrt(count)


@pytest.mark.parametrize(("dtype", "scale"), [(jnp.float32, 1e4), (jnp.bfloat16, 1e2)])
def test_finite_at_extreme_logits_and_temperatures(dtype, scale):
    def log_prob(logits, temperature, family):
        law = family(logits).relax(temperature)
        return law.log_prob(law.sample(jax.random.key(2))).sum()

    @jax.jit
    def values_and_slopes(logits, temperature):
        return [
            jax.value_and_grad(log_prob, (0, 1))(logits, temperature, family)
            for family in (gumbel.Categorical, gumbel.Bernoulli)
        ]

    logits = jnp.asarray([[scale, -scale, 0.0], [0.0, 0.0, 0.0]], dtype)
    for temperature in (1e-3, 0.5, 1e3):
        found = values_and_slopes(logits, temperature)
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize(
    ("density", "x", "logits", "temperature", "message"),
    [
        (
            "concrete",
            jnp.ones(3) / 3,
            jnp.zeros(4),
            1.0,
            "must have as many classes as",
        ),
        ("exp_concrete", jnp.zeros(3), jnp.zeros(3), 0.0, "temperature=0.0: must be"),
        (
            "binary_concrete",
            jnp.asarray([1]),
            jnp.zeros(1),
            1.0,
            "x has dtype int32: m",
        ),
    ],
)
def test_bad_arguments_are_named(density, x, logits, temperature, message):
    with pytest.raises(ValueError, match=message):
        getattr(gumbel, f"{density}_log_prob")(x, logits, temperature)


def test_forbidden_classes_are_not_there():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20, 4)).astype(np.float32)
    x = rng.dirichlet(np.ones(3), 20).astype(np.float32)
    masked = np.insert(logits[:, 1:], 1, -np.inf, axis=1)
    with_zero = np.insert(x, 1, 0.0, axis=1)
    expected = closed_form_concrete(np.float64(x), np.float64(logits[:, 1:]), 0.7)
    np.testing.assert_allclose(
        gumbel.concrete_log_prob(with_zero, masked, 0.7), expected, rtol=1e-4
    )
    with np.errstate(divide="ignore"):
        y = np.log(with_zero)
    left = gumbel.exp_concrete_log_prob(np.log(x), logits[:, 1:], 0.7)
    density = gumbel.exp_concrete_log_prob(y, masked, 0.7)
    np.testing.assert_allclose(density, left, rtol=1e-5)

    def total(y, logits):
        return gumbel.exp_concrete_log_prob(y, logits, 0.7).sum()

    slopes = jax.grad(total, (0, 1))(jnp.asarray(y), jnp.asarray(masked))
    expected_slopes = jax.grad(total, (0, 1))(jnp.log(x), jnp.asarray(logits[:, 1:]))
    for slope, expected in zip(slopes, expected_slopes, strict=True):
        np.testing.assert_array_equal(slope[:, 1], 0.0)
        np.testing.assert_allclose(np.delete(slope, 1, axis=1), expected, atol=1e-5)
    # A point that has mass where there is none.
    np.testing.assert_array_equal(
        gumbel.exp_concrete_log_prob(
            np.log(np.full((1, 4), 0.25, "f")), masked[:1], 1.0
        ),
        -np.inf,
    )


def test_certain_bits_have_a_single_point():
    logits = jnp.asarray([jnp.inf, jnp.inf, -jnp.inf, -jnp.inf])
    y = jnp.asarray([jnp.inf, 3.0, -jnp.inf, jnp.inf])
    np.testing.assert_array_equal(
        gumbel.logit_binary_concrete_log_prob(y, logits, 0.5), [0, -np.inf, 0, -np.inf]
    )
    np.testing.assert_array_equal(
        gumbel.binary_concrete_log_prob(jax.nn.sigmoid(y), logits, 0.5),
        [0, -np.inf, 0, -np.inf],
    )
    slope = jax.grad(lambda x: gumbel.logit_binary_concrete_log_prob(y, x, 0.5)[0])(
        logits
    )
    np.testing.assert_array_equal(slope, 0.0)


@pytest.mark.parametrize("tau", [np.ones((3, 1)), np.ones(2), np.ones((2, 3, 4))])
def test_temperatures_that_are_not_of_the_variables_are_refused(tau):
    y = jnp.log(jnp.full((2, 3, 4), 0.25))
    with pytest.raises(ValueError, match="temperature"):
        gumbel.exp_concrete_log_prob(y, y, tau)
