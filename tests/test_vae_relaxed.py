"""The relaxed objectives of the VAE against quadrature over its one relaxed bit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
from configs.vae import get_config
from experiments import vae
from gumbel.programs import KL_FORMS, Node, interpret


def relaxed_log_weights(program, variables, x, y, temperatures, kl):
    """log w of one image at each logit y [G] of its one binary latent, [G]."""
    prior_temperature, temperature = temperatures

    def pinned(key, name, distribution):
        law = distribution.relax(temperature)
        point = jnp.asarray(y, jnp.float32)[:, None]
        return Node(
            law.value(point),
            point,
            distribution,
            law,
            lambda prior: prior.relax(prior_temperature),
            kl,
        )

    images = jnp.asarray(np.tile(x, (len(y), 1)), jnp.float32)
    return interpret(program(variables, images), jax.random.key(0), pinned)[0]


def log_density(y, logit, temperature):
    """Of the logit of a binary Concrete variable, the cheat sheet of the paper."""
    s = logit - temperature * y
    return np.log(temperature) + s - 2 * np.logaddexp(0, s)


ONE_BIT = {
    # Posterior logit, prior logit, weights and biases of the pixels, image.
    "agree": (0.5, 0.0, [0.4, -0.3, 0.2], [0.0, 0.1, 0.2], [1, 0, 1]),
    "differ": (-2.0, 1.0, [2.0, 1.0, -1.0], [0.3, 0.0, 0.0], [1, 1, 0]),
    "sure": (9.0, 0.0, [9.0, 9.0, 9.0], [-4.0, -4.0, -4.0], [1, 1, 1]),
}


@functools.cache
def one_bit(name):
    """The relaxed bound of each form and the relaxed log p(x), by quadrature."""
    posterior, prior, weights, biases, x = ONE_BIT[name]
    config = get_config("1H-784V")
    model = vae.make_model(config.model, np.full(3, 0.5))
    family, learned = vae.FAMILIES["bernoulli"], vae.PRIORS["learned"]
    program = vae.make_program(model, family, learned)
    variables = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape),
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 3))),
    )
    params = variables["params"]
    params["encoder"]["Dense_0"]["bias"] = jnp.array([posterior])
    params["decoder"]["Dense_0"] = {
        "kernel": jnp.array([weights]),
        "bias": jnp.array(biases),
    }
    params["prior"] = jnp.array([prior])
    temperatures = config.prior_temperature, config.temperature
    y = np.linspace(-80, 80, 16_001)
    h = 2 / (1 + np.exp(-y)) - 1
    logits = h[:, None] * weights + np.array(biases)
    log_x = (np.array(x) * logits - np.logaddexp(0, logits)).sum(axis=1)
    log_p, log_q = log_density(y, prior, 0.5), log_density(y, posterior, 2 / 3)
    evidence = np.log(np.trapezoid(np.exp(log_p + log_x), y))
    truth = np.trapezoid(np.exp(log_q) * (log_x + log_p - log_q), y)
    bounds = {
        kl: np.trapezoid(
            np.exp(log_q)
            * np.asarray(
                relaxed_log_weights(program, variables, x, y, temperatures, kl)
            ),
            y,
        )
        for kl in KL_FORMS
    }
    return program, variables, jnp.asarray([x], jnp.float32), bounds, truth, evidence


@pytest.mark.parametrize("name", ONE_BIT)
def test_relaxed_density_is_below_the_relaxed_log_marginal(name):
    *_, bounds, truth, evidence = one_bit(name)
    assert bounds["relaxed_density"] == pytest.approx(truth, abs=2e-3)
    assert bounds["relaxed_density"] < evidence


@pytest.mark.parametrize("form", ["soft_mass", "analytic"])
def test_the_other_forms_can_be_above_the_relaxed_log_marginal(form):
    *_, bounds, _, evidence = one_bit("sure")
    assert bounds[form] > evidence + 0.1


@pytest.mark.parametrize("name", ONE_BIT)
def test_multi_sample_relaxed_bounds_grow_towards_the_relaxed_log_marginal(name):
    program, variables, x, _, truth, evidence = one_bit(name)
    images = jnp.tile(x, (20_000, 1))
    last = -np.inf
    for m in (1, 5, 50):
        estimate = gumbel.value_and_grad("gumbel_softmax", program, num_samples=m)

        @jax.jit
        def bound(key, estimate=estimate):
            hyper = {"temperature": 2 / 3, "prior_temperature": 1 / 2}
            return estimate(key, variables, images, **hyper).bound

        bounds = np.asarray(bound(jax.random.key(m)), np.float64)
        mean, error = bounds.mean(), bounds.std() / np.sqrt(len(bounds))
        if m == 1:
            assert abs(mean - truth) < 5 * error
        assert last < mean < evidence + 5 * error
        last = mean
