"""VAEs with layers of latents: their bounds against enumeration.

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
from gumbel.programs import KL_FORMS

PIXELS, IMAGES = 3, np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
# Small enough to enumerate: 8, 16, 16 and 16·4 joint values.
TINY = ("3H-784V", "2H~2H~784V", "2H-1H~1H-784V", "2H~4H-784V-4ary")
CORNERS = {2: [[-1], [1]], 4: [[-1, -1], [-1, 1], [1, -1], [1, 1]]}
MEAN = np.array([0.9, 0.2, 0.6])


@functools.cache
def make_tiny(variant):
    """A network of three pixels, its program and random variables, centres too."""
    config = get_config(variant).model
    model = vae.make_model(config, MEAN)
    family = vae.FAMILIES[config.family]
    program = vae.make_program(model, family, vae.PRIORS["learned"])
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32),
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, PIXELS))),
    )
    return model, program, variables


class ByHand:
    """A network in float64, all its joint values and their log masses."""

    def __init__(self, variant):
        self.arity = 4 if variant.endswith("-4ary") else 2
        variables = jax.tree.map(np.float64, make_tiny(variant)[2])
        self.params, self.centres = variables["params"], variables["centres"]
        units = [int(part) for part in variant.replace("~", "-").split("H-")[:-1]]
        self.counts = [n // (self.arity // 2) for n in reversed(units)]

    def net(self, part, layer, h):
        name = part if layer == 0 else f"higher_{part}s_{layer - 1}"
        stack = self.params[name]
        for i in range(len(stack)):
            h = np.tanh(h) if i else h
            h = h @ stack[f"Dense_{i}"]["kernel"] + stack[f"Dense_{i}"]["bias"]
        return h

    def log_mass(self, logits, classes):
        """Of the classes of a layer, given its flat logits."""
        if self.arity == 2:
            logits = np.stack([np.zeros_like(logits), logits], axis=-1)
        logits = logits.reshape(len(classes), -1)
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return logs[np.arange(len(classes)), classes].sum()

    def joint(self, x):
        """log p(x, z) − log q(z|x) and q(z|x) of every z, both [C]."""
        log_ws, masses = [], []
        values = [itertools.product(range(self.arity), repeat=n) for n in self.counts]
        for layers in itertools.product(*values):
            codes = [
                np.concatenate([CORNERS[self.arity][k] for k in z]) for z in layers
            ]
            log_q, below = 0.0, x - self.centres["x"]
            for layer, z in enumerate(layers):
                log_q += self.log_mass(self.net("encoder", layer, below), list(z))
                if layer + 1 < len(layers):
                    below = codes[layer] - self.centres[("z", "z2")[layer]]
            log_p = self.log_mass(self.params["prior"].ravel(), list(layers[-1]))
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


@pytest.mark.parametrize("variant", TINY)
def test_bound_is_that_of_enumeration(variant):
    model, program, variables = make_tiny(variant)
    by_hand = ByHand(variant)
    expected = [by_hand.bound(x, 1) for x in IMAGES]
    assert np.all(np.array([by_hand.log_evidence(x) for x in IMAGES]) > expected)
    estimate = gumbel.value_and_grad("exact", program)
    for kl in KL_FORMS:
        bound = jax.jit(functools.partial(estimate, kl=kl))(
            jax.random.key(0), variables, jnp.asarray(IMAGES, jnp.float32)
        ).bound
        # The closed form takes a layer apart from the layer above, which depends on it.
        equal = kl != "analytic" or len(model.layer_names) == 1
        assert np.allclose(bound, expected, rtol=1e-4) == equal


@pytest.mark.parametrize("variant", TINY)
def test_multi_sample_bounds_are_those_of_enumeration_and_grow(variant):
    _, program, variables = make_tiny(variant)
    by_hand, repeats = ByHand(variant), 5000
    samples = (1, 2) if variant.endswith("4ary") else (1, 2, 5)
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
    _, program, variables = make_tiny("2H~2H~784V")
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
