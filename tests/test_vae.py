"""The VAE's bounds, hard and relaxed, against enumeration and quadrature.

The truth is computed here in NumPy from the variables alone, by a loop over codes.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
from configs.vae import get_config
from experiments import vae
from experiments.models.latents import FAMILIES
from gumbel import samplers
from gumbel.programs import KL_FORMS, Node, interpret

PIXELS, IMAGES = 3, np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
CORNERS = {2: [[-1], [1]], 4: [[-1, -1], [-1, 1], [1, -1], [1, 1]]}
MEAN = np.array([0.9, 0.2, 0.6])
# Small enough to enumerate: 9, 9, 4, 8, 16, 16 and 16·4 joint values.
THREE = {"num_variables": 2, "num_classes": 3}
TINY = {
    "categorical": ("categorical", THREE),
    "uniform": ("categorical", THREE | {"prior": "uniform"}),
    "bernoulli": ("bernoulli", {"num_variables": 2}),
    "corners": ("3H-784V", {}),
    "two layers": ("2H~2H~784V", {}),
    "three layers": ("2H-1H~1H-784V", {}),
    "4-ary": ("2H~4H-784V-4ary", {}),
}


@functools.cache
def make_tiny(name):
    """The config of a network of three pixels, its model, program and variables."""
    variant, fields = TINY[name]
    config = get_config(variant).model
    config.update(fields)
    model = vae.make_model(config, MEAN)
    program = vae.make_program(model, FAMILIES[config.family])
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32),
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, PIXELS))),
    )
    return config, model, program, variables


class ByHand:
    """A network in float64, all its joint values and their log masses."""

    def __init__(self, name):
        self.config, _, _, variables = make_tiny(name)
        variables = jax.tree.map(np.float64, variables)
        self.params, self.centres = variables["params"], variables.get("centres", {})
        self.counts = [self.config.num_variables, *self.config.higher]

    def net(self, part, layer, h):
        name = part if layer == 0 else f"higher_{part}s_{layer - 1}"
        stack = self.params[name]
        for i in range(len(stack)):
            h = np.tanh(h) if i else h
            h = h @ stack[f"Dense_{i}"]["kernel"] + stack[f"Dense_{i}"]["bias"]
        return h

    def log_mass(self, logits, classes):
        """Log mass of the classes of a layer, given its flat logits."""
        if self.config.family == "bernoulli":
            logits = np.stack([np.zeros_like(logits), logits], axis=-1)
        logits = logits.reshape(len(classes), -1)
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return logs[np.arange(len(classes)), classes].sum()

    def code(self, classes):
        if self.config.code == "corners":
            return np.concatenate(
                [CORNERS[self.config.num_classes][k] for k in classes]
            )
        if self.config.family == "bernoulli":
            return np.float64(classes)
        return np.eye(self.config.num_classes)[list(classes)].ravel()

    def joint(self, x):
        """log p(x, z) − log q(z|x) and q(z|x) of every z, both [C]."""
        log_ws, masses = [], []
        each = range(self.config.num_classes)
        values = [itertools.product(each, repeat=n) for n in self.counts]
        prior = self.params["prior"].ravel() * (self.config.prior == "learned")
        for layers in itertools.product(*values):
            codes = [self.code(z) for z in layers]
            log_q, below = 0.0, x - self.centres.get("x", 0.0)
            for layer, z in enumerate(layers):
                log_q += self.log_mass(self.net("encoder", layer, below), list(z))
                if layer + 1 < len(layers):
                    below = codes[layer] - self.centres[("z", "z2")[layer]]
            log_p = self.log_mass(prior, list(layers[-1]))
            for layer, z in enumerate(layers[:-1]):
                logits = self.net("decoder", layer + 1, codes[layer + 1])
                log_p += self.log_mass(logits, list(z))
            ones = 1 / (1 + np.exp(-self.net("decoder", 0, codes[0])))
            log_p += np.log(np.where(x == 1, ones, 1 - ones)).sum()
            log_ws.append(log_p - log_q)
            masses.append(np.exp(log_q))
        return np.array(log_ws), np.array(masses)

    def bound(self, x, m):
        """L_m: a sum over all multisets of m joint values."""
        log_w, mass = self.joint(x)
        np.testing.assert_allclose(mass.sum(), 1.0, rtol=1e-9)
        sets = np.array(
            list(itertools.combinations_with_replacement(range(len(mass)), m))
        )
        repeats = [math.prod(map(math.factorial, np.bincount(s))) for s in sets]
        weight = math.factorial(m) / np.array(repeats) * mass[sets].prod(axis=1)
        return (weight * np.log(np.exp(log_w)[sets].mean(axis=1))).sum()

    def log_evidence(self, x):
        log_w, mass = self.joint(x)
        return np.log((mass * np.exp(log_w)).sum())


@pytest.mark.parametrize("name", TINY)
def test_bound_is_that_of_enumeration(name):
    _, model, program, variables = make_tiny(name)
    by_hand = ByHand(name)
    expected = [by_hand.bound(x, 1) for x in IMAGES]
    assert np.all(np.array([by_hand.log_evidence(x) for x in IMAGES]) > expected)
    estimate = gumbel.value_and_grad("exact", program)
    for kl in KL_FORMS:
        bound, grads, _ = jax.jit(functools.partial(estimate, kl=kl))(
            jax.random.key(0), variables, jnp.asarray(IMAGES, jnp.float32)
        )
        # The closed form takes a layer apart from the layer above, which depends on it.
        equal = kl != "analytic" or len(model.layer_names) == 1
        assert np.allclose(bound, expected, rtol=1e-4) == equal
        learned = np.abs(grads["params"]["prior"]).max() > 1e-3
        assert learned == (name != "uniform")


@pytest.mark.parametrize("name", ["corners", "two layers", "three layers", "4-ary"])
def test_multi_sample_bounds_are_those_of_enumeration_and_grow(name):
    _, _, program, variables = make_tiny(name)
    by_hand, repeats = ByHand(name), 5000
    samples = (1, 2) if name == "4-ary" else (1, 2, 5)
    expected = np.array([[by_hand.bound(x, m) for x in IMAGES] for m in samples])
    log_p = np.array([by_hand.log_evidence(x) for x in IMAGES])
    assert np.all(np.diff([*expected, log_p], axis=0) > 1e-3)
    images = jnp.asarray(np.repeat(IMAGES, repeats, axis=0), jnp.float32)
    means, errors = [], []
    for m in samples:
        evaluate = jax.jit(gumbel.evaluate(program, num_samples=m))
        bounds = np.asarray(evaluate(jax.random.key(m), variables, images), np.float64)
        bounds = bounds.reshape(len(IMAGES), repeats)
        means.append(bounds.mean(axis=1))
        errors.append(bounds.std(axis=1) / np.sqrt(repeats))
    assert np.all(np.abs(means - expected) < 5 * np.array(errors))
    # The bound of another m would be seen.
    assert np.any(np.abs(means[1] - expected[0]) > 5 * errors[1])


def test_centres_shift_the_posterior_and_have_no_gradient():
    _, _, program, variables = make_tiny("two layers")
    x = jnp.asarray(IMAGES, jnp.float32)
    estimate = jax.jit(gumbel.value_and_grad("exact", program))
    bound, grads, _ = estimate(jax.random.key(0), variables, x)
    for name, centre in variables["centres"].items():
        assert not np.any(grads["centres"][name])
        moved = variables["centres"] | {name: centre + 1.0}
        other = estimate(jax.random.key(0), variables | {"centres": moved}, x).bound
        assert np.abs(other - bound).min() > 1e-3
    for leaf in jax.tree.leaves(grads["params"]):
        assert np.abs(leaf).max() > 1e-6


def relaxed_log_weights(program, variables, x, y, temperatures, kl):
    """log w of one image at each logit y [G] of its one binary latent, [G]."""
    prior_temperature, temperature = temperatures

    def pinned(key, name, distribution):
        law = distribution.relax(temperature)
        logit = jnp.asarray(y, jnp.float32)[:, None]
        noise = temperature * logit - distribution.logits
        tau = jnp.asarray(temperature, jnp.float32)
        point = samplers.Relaxed(logit, distribution.logits, noise, tau)
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
    program = vae.make_program(model, FAMILIES["bernoulli"])
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


def test_visible_biases_are_the_logits_of_the_clipped_means():
    mean = np.asarray([0.0, 0.25, 0.5, 1.0, 5e-4])
    model = vae.make_model(get_config().model, mean)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 5)))["params"]
    clipped = np.asarray([0.001, 0.25, 0.5, 0.999, 0.001])
    expected = np.log(clipped / (1 - clipped))
    bias = params["decoder"]["Dense_0"]["bias"]
    np.testing.assert_allclose(bias, expected, rtol=1e-5, atol=1e-6)
