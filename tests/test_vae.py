import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
import runs
from experiments import ConfigError, vae
from experiments.data import datasets

B, D, N, K = 3, 5, 2, 3
OBJECTIVES = ("relaxed_density", "soft_mass", "analytic")
CASES = list(itertools.product(vae.FAMILIES, vae.PRIORS))


def make(family: str, prior: str):
    """A tiny linear model, its program, and random parameters as float64 arrays."""
    classes = K if family == "categorical" else 2
    config = runs.config(
        model__family=family,
        model__num_variables=N,
        model__num_classes=classes,
        model__prior=prior,
    ).model
    model = vae.make_model(config, np.full(D, 0.5))
    program = vae.make_program(model, vae.FAMILIES[family], vae.PRIORS[prior])
    latent = N * K if family == "categorical" else N
    rng = np.random.default_rng(0)
    tree = {
        "encoder": {
            "Dense_0": {"kernel": rng.normal(size=(D, latent)), "bias": latent}
        },
        "decoder": {"Dense_0": {"kernel": rng.normal(size=(latent, D)), "bias": D}},
        "prior": rng.normal(size=model.latent_shapes[0]),
    }
    for part in ("encoder", "decoder"):
        layer = tree[part]["Dense_0"]
        layer["bias"] = rng.normal(size=layer["bias"])
    expected = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, D)))
    assert jax.tree.map(np.shape, {"params": tree}) == jax.tree.map(
        lambda leaf: leaf.shape, expected
    )
    return program, {"params": tree}


def images():
    return np.random.default_rng(1).integers(0, 2, (B, D)).astype(float)


def floats(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


class ByHand:
    """The model in float64 numpy; classes of a Bernoulli are 0 and 1."""

    def __init__(self, family: str, prior: str, params):
        params = params["params"]
        self.family, self.params = family, params
        shape = (N, K) if family == "categorical" else (N,)
        learned = params["prior"] if prior == "learned" else np.zeros(shape)
        self.log_p = self.log_masses(learned.reshape(1, -1))[0]

    def log_masses(self, logits):
        """Flat logits to log class probabilities [B, N, K]."""
        if self.family == "bernoulli":
            logits = np.stack([np.zeros_like(logits), logits], axis=-1)
        logits = logits.reshape(len(logits), N, -1)
        return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))

    def log_q(self, x):
        layer = self.params["encoder"]["Dense_0"]
        return self.log_masses(x @ layer["kernel"] + layer["bias"])

    def value(self, codes):
        """Class indices [B, N] to what a draw returns."""
        return np.eye(K)[codes] if self.family == "categorical" else codes.astype(float)

    def log_likelihood(self, x, codes):
        layer = self.params["decoder"]["Dense_0"]
        flat = self.value(codes).reshape(len(codes), -1)
        mean = 1 / (1 + np.exp(-(flat @ layer["kernel"] + layer["bias"])))
        return (x * np.log(mean) + (1 - x) * np.log(1 - mean)).sum(axis=1)

    def kl(self, x, codes, objective):
        log_q = self.log_q(x)
        if objective == "analytic":
            return (np.exp(log_q) * (log_q - self.log_p)).sum(axis=(1, 2))
        rows, variables = np.arange(len(codes))[:, None], np.arange(N)
        chosen = log_q[rows, variables, codes] - self.log_p[variables, codes]
        return chosen.sum(axis=1)

    def bound(self, x):
        """The exact L_1 and log p(x), both [B], by enumeration."""
        classes = self.log_p.shape[-1]
        bound, evidence = 0.0, 0.0
        for code in itertools.product(range(classes), repeat=N):
            codes = np.tile(code, (len(x), 1))
            log_q = sum(self.log_q(x)[:, n, k] for n, k in enumerate(code))
            log_p = sum(self.log_p[n, k] for n, k in enumerate(code))
            log_joint = self.log_likelihood(x, codes) + log_p
            bound = bound + np.exp(log_q) * (log_joint - log_q)
            evidence = evidence + np.exp(log_joint)
        return bound, np.log(evidence)


def log_weight(program, params, x, value, objective):
    def pinned(key, name, distribution):
        shaped = jnp.asarray(value, jnp.float32)
        return gumbel.programs.discrete_node(shaped, distribution, objective)

    run = program(floats(params), jnp.asarray(x, jnp.float32))
    return gumbel.programs.interpret(run, jax.random.key(0), pinned)[0]


def exact_bound(program, params, x, objective="relaxed_density"):
    estimate = gumbel.value_and_grad("exact", program)
    x = jnp.asarray(x, jnp.float32)

    @jax.jit
    def bound(params):
        return estimate(jax.random.key(0), params, x, kl=objective).bound

    return bound(floats(params))


@pytest.mark.parametrize("family, prior", CASES)
def test_log_weight_of_given_codes(family, prior):
    program, params = make(family, prior)
    by_hand, x = ByHand(family, prior, params), images()
    codes = np.random.default_rng(2).integers(0, by_hand.log_p.shape[-1], (B, N))
    weights = {}
    for objective in OBJECTIVES:
        value = by_hand.value(codes)
        weights[objective] = log_weight(program, params, x, value, objective)
        expected = by_hand.log_likelihood(x, codes) - by_hand.kl(x, codes, objective)
        np.testing.assert_allclose(weights[objective], expected, rtol=2e-5, atol=2e-5)
    difference = np.abs(weights["analytic"] - weights["soft_mass"])
    assert difference.min() > 1e-3


@pytest.mark.parametrize("family, prior", CASES)
def test_bound_by_enumeration(family, prior):
    program, params = make(family, prior)
    expected, evidence = ByHand(family, prior, params).bound(images())
    assert (expected < evidence - 1e-3).all()
    for objective in OBJECTIVES if prior == "learned" else ("analytic",):
        bound = exact_bound(program, params, images(), objective)
        np.testing.assert_allclose(bound, expected, rtol=2e-5, atol=2e-5)


def test_variables_and_classes_can_be_renamed():
    program, params = make("categorical", "learned")
    bound = exact_bound(program, params, images())

    def renamed(variables, classes):
        """Permutes the latents wherever they have an axis."""
        order = np.arange(N * K).reshape(N, K)[variables][:, classes].ravel()
        encoder = params["params"]["encoder"]["Dense_0"]
        decoder = params["params"]["decoder"]["Dense_0"]
        encoder = {name: leaf[..., order] for name, leaf in encoder.items()}
        decoder = decoder | {"kernel": decoder["kernel"][order]}
        prior = params["params"]["prior"][variables][:, classes]
        tree = {"prior": prior}
        tree |= {"encoder": {"Dense_0": encoder}, "decoder": {"Dense_0": decoder}}
        return {"params": tree}

    same = exact_bound(program, renamed([1, 0], [2, 0, 1]), images())
    np.testing.assert_allclose(same, bound, rtol=1e-5)
    other = renamed([1, 0], [2, 0, 1])
    other["params"]["prior"] = params["params"]["prior"]
    assert np.abs(exact_bound(program, other, images()) - bound).min() > 1e-3


def test_uniform_prior_is_not_learned():
    for prior, moves in (("learned", True), ("uniform", False)):
        program, params = make("categorical", prior)
        estimate = gumbel.value_and_grad("exact", program)
        x = jnp.asarray(images(), jnp.float32)

        @jax.jit
        def prior_gradient(params, estimate=estimate, x=x):
            grads = estimate(jax.random.key(0), params, x).grads
            return grads["params"]["prior"]

        gradient = prior_gradient(floats(params))
        assert (np.abs(gradient).max() > 1e-3) == moves


def test_visible_biases_are_the_logits_of_the_clipped_means():
    mean = np.asarray([0.0, 0.25, 0.5, 1.0, 5e-4])
    model = vae.make_model(runs.config().model, mean)

    @jax.jit
    def biases(key):
        params = model.init(key, jnp.zeros((1, 5)))["params"]
        layers = [params[part]["Dense_0"]["bias"] for part in ("encoder", "decoder")]
        return [*layers, params["prior"]]

    *zeros, bias, prior = biases(jax.random.key(0))
    clipped = np.asarray([0.001, 0.25, 0.5, 0.999, 0.001])
    expected = np.log(clipped / (1 - clipped))
    np.testing.assert_allclose(bias, expected, rtol=1e-5, atol=1e-6)
    assert not zeros[0].any() and not prior.any()


@pytest.mark.parametrize(
    "variant, expected",
    [
        ("categorical", (784 + 1) * 200 + (200 + 1) * 784 + 20 * 10),
        ("bernoulli", (784 + 1) * 200 + (200 + 1) * 784 + 200),
        (
            "mlp",
            (784 + 1) * 512 + (512 + 1) * 256 + (256 + 1) * 300  # encoder
            + (300 + 1) * 256 + (256 + 1) * 512 + (512 + 1) * 784  # decoder
            + 30 * 10,
        ),
    ],
)  # fmt: skip
def test_parameter_counts(variant, expected):
    model = vae.make_model(runs.config(variant).model, np.full(784, 0.5))
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 784)))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


def test_task_holds_the_splits_it_names(monkeypatch):
    noise = runs.dataset()
    monkeypatch.setattr(datasets, "load", lambda *args: noise)
    task = vae.make_task(runs.config(dataset__binarization="threshold"))
    for split in ("valid", "test"):
        (pixels,) = task.evaluation[split]
        expected = getattr(noise, split).images > 127
        assert np.array_equal(pixels, expected.astype(np.float32))
    assert np.array_equal(task.data["images"], noise.train.images > 127)
    assert task.checksum == noise.checksum
    grey = vae.make_task(runs.config(dataset__binarization="dynamic"))
    assert np.array_equal(grey.data["images"], noise.train.images)
    for split in ("valid", "test"):
        assert set(np.unique(grey.evaluation[split][0])) == {0.0, 1.0}


@pytest.mark.parametrize(
    "size, across, down", [(40, 10, 3), (19, 10, 1), (7, 7, 1), (1, 1, 1)]
)
def test_reconstructions_stand_below_their_images(
    size, across, down, monkeypatch, tmp_path
):
    drawn = {}
    monkeypatch.setattr(
        vae.plots,
        "plot_image_grid",
        lambda images, rows, path, title: drawn.update({path.stem: (images, rows)}),
    )
    monkeypatch.setattr(vae.plots, "plot_latent_usage", lambda *args: None)
    program, params = make("bernoulli", "learned")
    params["params"]["decoder"]["Dense_0"]["bias"] = np.full(D, 100.0)  # all white
    config = runs.config("bernoulli", model__num_variables=N).model
    model = vae.make_model(config, np.full(D, 0.5))
    pixels = np.random.default_rng(0).random((size, D)).astype(np.float32)
    family, prior = vae.FAMILIES["bernoulli"], vae.PRIORS["learned"]
    draw = vae.make_draw(model, family, prior, pixels)
    draw(floats(params), jax.random.key(0), tmp_path)
    pairs, rows = drawn["reconstructions"]
    assert rows == 2 * down
    pairs = pairs.reshape(2 * down, across, D)
    shown = across * down
    assert np.array_equal(pairs[::2].reshape(shown, D), pixels[:shown])
    assert (pairs[1::2] > 0.99).all()
    samples, rows = drawn["samples"]
    assert rows == 10 and samples.shape == (100, D)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"model__num_classes": 3}, "num_classes=3: must be 2 for .*bernoulli"),
        ({"eval_every": 7}, "eval_every=7: must be a multiple of config.log_every=5"),
    ],
)
def test_impossible_combinations(fields, message, monkeypatch):
    monkeypatch.setattr(datasets, "load", None)  # refused before anything is read
    with pytest.raises(ConfigError, match=message):
        vae.make_task(runs.config("bernoulli", **fields))
