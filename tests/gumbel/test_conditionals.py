"""Conditional Gumbels and logistics: against rejection sampling and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from gumbel import conditionals
from gumbel.samplers import gumbel_noise, logistic_noise

# As users call them; without jit each operation is compiled alone.
conditional_gumbel = jax.jit(conditionals.conditional_gumbel)
conditional_logistic = jax.jit(conditionals.conditional_logistic)

LOGITS = jnp.asarray([1.0, -0.5, 0.3])
SAMPLES = 50_000
# A Kolmogorov statistic above 2.7 / √n has probability below 1e-6.
LIMIT = 2.7


def given_class(index, logits=LOGITS, seed=0):
    one_hot = jnp.broadcast_to(jnp.eye(len(logits))[index], (SAMPLES, len(logits)))
    tiled = jnp.broadcast_to(logits, one_hot.shape)
    return np.asarray(conditional_gumbel(jax.random.key(seed), tiled, one_hot), float)


def by_rejection(index):
    noise = np.asarray(gumbel_noise(jax.random.key(9), (SAMPLES, 3)), float)
    perturbed = np.asarray(LOGITS, float) + noise
    return perturbed[perturbed.argmax(1) == index]


def worst_statistic(one, other):
    """In units of the 1e-6 limit: each entry, and each difference of two."""
    pairs = [(0, 1), (0, 2), (1, 2)]

    def views(z):
        return [*z.T, *(z[:, i] - z[:, j] for i, j in pairs)]

    limit = LIMIT * np.sqrt(1 / len(one) + 1 / len(other))
    return max(
        stats.ks_2samp(a, b).statistic / limit
        for a, b in zip(views(one), views(other), strict=True)
    )


@pytest.mark.parametrize("index", [0, 1])
def test_gumbels_given_the_argmax_equal_rejection_sampling(index):
    assert worst_statistic(given_class(index), by_rejection(index)) < 1
    assert worst_statistic(given_class(2), by_rejection(index)) > 1, "negative control"


@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_largest_is_gumbel_of_the_logsumexp_and_the_others_are_truncated(index):
    z, logits = given_class(index, seed=1), np.asarray(LOGITS, float)
    top = z[:, index]
    assert (z.argmax(1) == index).all()
    total = special.logsumexp(logits)
    limit = LIMIT / np.sqrt(SAMPLES)
    assert stats.kstest(top, stats.gumbel_r(loc=total).cdf).statistic < limit
    assert stats.kstest(top, stats.gumbel_r(loc=logits[index]).cdf).statistic > limit
    # F(z_k) / F(top), the distribution function below the cut, is uniform.
    for k in {0, 1, 2} - {index}:
        uniform = np.exp(np.exp(logits[k] - top) - np.exp(logits[k] - z[:, k]))
        assert stats.kstest(uniform, "uniform").statistic < limit
        assert abs(np.corrcoef(uniform, top)[0, 1]) < 5 / np.sqrt(SAMPLES)


@pytest.mark.parametrize("bit", [0, 1])
def test_logistics_given_the_bit_equal_rejection_and_their_closed_form(bit):
    logit = 0.8
    logits, bits = jnp.full(SAMPLES, logit), jnp.full(SAMPLES, float(bit))
    z = np.asarray(conditional_logistic(jax.random.key(2), logits, bits), float)
    assert ((z > 0) == bit).all()
    sign = 2 * bit - 1

    def survival(t):  # P(s·z > t | s·z > 0)
        return special.expit(sign * logit - t) / special.expit(sign * logit)

    limit = LIMIT / np.sqrt(SAMPLES)
    assert stats.kstest(sign * z, lambda t: 1 - survival(t)).statistic < limit
    noise = np.asarray(logistic_noise(jax.random.key(3), (SAMPLES,)), float)
    kept = (logit + noise)[(logit + noise > 0) == bit]
    limit = LIMIT * np.sqrt(1 / SAMPLES + 1 / len(kept))
    assert stats.ks_2samp(z, kept).statistic < limit
    assert stats.ks_2samp(-z, kept).statistic > limit, "negative control"


@pytest.mark.parametrize("bit", [0, 1])
def test_the_gradient_is_that_of_a_conditional_expectation(bit):
    # d/dl E[h(z) | b; l], by quadrature of the conditional density and differences.
    sign, logit, step = 2 * bit - 1, 0.4, 1e-4

    def h(z):
        return 1 / (1 + z**2)

    def expectation(logit):
        def integrand(z):
            density = stats.logistic.pdf(z, loc=logit)
            return h(z) * density / special.expit(sign * logit)

        low, high = (0, np.inf) if bit else (-np.inf, 0)
        return integrate.quad(integrand, low, high)[0]

    exact = (expectation(logit + step) - expectation(logit - step)) / (2 * step)
    slope = jax.vmap(
        jax.grad(lambda logit, b, key: h(conditional_logistic(key, logit, b))),
        (0, None, 0),
    )(
        jnp.full(SAMPLES, logit),
        jnp.asarray(float(bit)),
        jax.random.split(jax.random.key(4), SAMPLES),
    )
    slope = np.asarray(slope, float)
    stderr = slope.std() / np.sqrt(SAMPLES)
    assert abs(slope.mean() - exact) < 5 * stderr
    assert abs(slope.mean()) > 5 * stderr, "negative control: no gradient"


def test_two_gumbels_are_one_logistic_values_and_gradients():
    # Same noise: the difference of two conditional Gumbels, on either side of 0.
    logits = jnp.linspace(-4.0, 4.0, 9)
    pair = jnp.stack([logits, jnp.zeros(9)], axis=1)
    for chosen in (0, 1):
        one_hot = jnp.broadcast_to(jnp.eye(2)[chosen], (9, 2))

        def gap(pair, one_hot=one_hot):
            z = conditional_gumbel(jax.random.key(5), pair, one_hot)
            return z[:, 0] - z[:, 1]

        noise = gumbel_noise(jax.random.key(5), (9, 2))
        logistic = noise[:, chosen] - noise[:, 1 - chosen]
        sign = 1 - 2 * chosen
        expected = sign * jax.nn.softplus(logistic + jax.nn.softplus(sign * logits))
        np.testing.assert_allclose(gap(pair), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_finite_at_extreme_logits(dtype):
    logits = (1000 * jax.random.normal(jax.random.key(6), (200, 5))).astype(dtype)
    # Any class, however improbable.
    one_hot = jax.nn.one_hot(jnp.arange(200) % 5, 5, dtype=dtype)
    bits = one_hot[:, 0]

    @jax.jit
    def every(logits):
        def total(logits):
            z = conditional_gumbel(jax.random.key(7), logits, one_hot)
            y = conditional_logistic(jax.random.key(8), logits[:, 0], bits)
            return z.sum() + y.sum(), (z, y)

        return jax.grad(total, has_aux=True)(logits)

    grads, (z, y) = every(logits)
    for values in (grads, z, y):
        assert jnp.isfinite(values).all()
    assert z.dtype == y.dtype == jnp.float32
    np.testing.assert_array_equal((z * one_hot).sum(1), z.max(1))
    assert ((y > 0) == (bits == 1)).all()
    # At the likeliest class the condition is void: what remains is plain noise.
    likeliest = jax.nn.one_hot(logits.argmax(1), 5)
    z = conditional_gumbel(jax.random.key(7), logits, likeliest)
    plain = logits + gumbel_noise(jax.random.key(7), logits.shape)
    clear = jnp.sort(logits, axis=1)[:, -1] - jnp.sort(logits, axis=1)[:, -2] > 50
    assert clear.sum() > 100
    np.testing.assert_allclose(z[clear], plain[clear], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda key: conditional_gumbel(key, jnp.zeros((2, 3)), jnp.zeros(3)),
            "one_hot has shape (3,): must be (2, 3), as the logits have",
        ),
        (
            lambda key: conditional_gumbel(key, jnp.zeros(()), jnp.zeros(())),
            "logits has shape (): must have at least one class on axis -1",
        ),
        (
            lambda key: conditional_logistic(key, jnp.zeros(3), jnp.zeros(2)),
            "bit has shape (2,): must be (3,), as the logits have",
        ),
        (
            lambda key: conditional_logistic(key, jnp.arange(3), jnp.zeros(3)),
            "logits has dtype int32: must be floating point",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError) as error:
        call(jax.random.key(0))
    assert message in str(error.value)


def test_forbidden_and_certain_classes():
    logits = jnp.asarray([[1.0, -jnp.inf, 0.3], [0.0, jnp.inf, 0.3]])
    one_hot = jnp.asarray([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])

    def draw(logits):
        return conditional_gumbel(jax.random.key(0), logits, one_hot)

    z = draw(logits)
    np.testing.assert_array_equal(jnp.isneginf(z), [[0, 1, 0], [1, 0, 1]])
    assert (z.argmax(1) == jnp.asarray([2, 1])).all()
    slope = jax.grad(lambda x: draw(x)[0, 0] + draw(x)[0, 2])(logits)
    assert np.isfinite(slope).all() and slope[0, 1] == 0 and slope[0, 2] != 0
    # The law is that of the classes left: its top is Gumbel(logsumexp) of these.
    many = jnp.broadcast_to(logits[0], (SAMPLES, 3))
    drawn = conditional_gumbel(
        jax.random.key(1), many, jnp.broadcast_to(one_hot[0], many.shape)
    )
    law = stats.gumbel_r(loc=special.logsumexp([1.0, 0.3]))
    statistic = stats.kstest(np.float64(drawn[:, 2]), law.cdf).statistic
    assert statistic < LIMIT / np.sqrt(SAMPLES)
    impossible = conditional_gumbel(
        jax.random.key(0), logits[:1], jnp.asarray([[0.0, 1.0, 0.0]])
    )
    assert jnp.isnan(impossible).all()
    bits = jnp.asarray([jnp.inf, -jnp.inf, 0.2])
    z = conditional_logistic(jax.random.key(0), bits, jnp.asarray([1.0, 0.0, 1.0]))
    np.testing.assert_array_equal(z[:2], [np.inf, -np.inf])
    assert z[2] > 0
