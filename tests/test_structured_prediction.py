"""Structured prediction: the bound, the named networks, the halves, whole runs.

The truth is computed here in NumPy from the parameters alone, by a loop over codes.
"""

import functools
import itertools
import json

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import gumbel
from configs.structured_prediction import VARIANTS, get_config
from experiments import structured_prediction as sp
from experiments.data import datasets
from experiments.engine import train
from experiments.models.latents import FAMILIES

# Family, code, N, K and L of networks small enough to enumerate; 2 pixels in, 3 out.
TINY = {
    "bernoulli-plain": ("bernoulli", "plain", 2, 2, 2),
    "bernoulli-corners": ("bernoulli", "corners", 2, 2, 2),
    "categorical-plain": ("categorical", "plain", 2, 3, 2),
    "categorical-corners": ("categorical", "corners", 1, 4, 3),
}
CORNERS = {2: [[-1], [1]], 4: [[-1, -1], [-1, 1], [1, -1], [1, 1]]}


def random_params(init, scale):
    """Normal parameters, biases too, without compiling an initialisation."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(scale * rng.normal(size=leaf.shape), jnp.float32),
        jax.eval_shape(init, jax.random.key(0)),
    )


@functools.cache
def make_tiny(name):
    """A network, its program, random parameters and a batch."""
    family, code, num_variables, num_classes, num_layers = TINY[name]
    config = get_config().model.unlock()
    config.update(
        family=family,
        code=code,
        num_variables=num_variables,
        num_classes=num_classes,
        num_layers=num_layers,
    )
    model = sp.make_model(config, np.full(3, 0.5))
    rng = np.random.default_rng(0)
    upper, lower = (
        jnp.asarray(rng.integers(0, 2, (2, d)), jnp.float32) for d in (2, 3)
    )
    params = random_params(
        lambda key: model.init(key, upper, lambda _, logits: logits), scale=1.0
    )
    return model, sp.make_program(model, FAMILIES[family]), params, (upper, lower)


def dense(params, layer, h):
    weights = jax.tree.map(np.float64, params["params"][layer]["Dense_0"])
    return h @ weights["kernel"] + weights["bias"]


def brute_force(name, params, upper, lower):
    """log p(lower | zL) and p(z1 … zL | upper) at every joint value, each [C, B]."""
    _, code, num_variables, num_classes, num_layers = TINY[name]
    bernoulli = name.startswith("bernoulli")
    layer_values = list(itertools.product(range(num_classes), repeat=num_variables))
    log_ws, masses = [], []
    for joint in itertools.product(layer_values, repeat=num_layers):
        log_w, mass = [], []
        for x, y in zip(np.float64(upper), np.float64(lower), strict=True):
            h, probability = x, 1.0
            for layer, classes in enumerate(joint):
                logits = dense(params, f"z{layer + 1}", h)
                h = []
                for n, k in enumerate(classes):
                    if bernoulli:
                        odds = np.array([1.0, np.exp(logits[n])])
                    else:
                        odds = np.exp(logits[n * num_classes : (n + 1) * num_classes])
                    probability *= odds[k] / odds.sum()
                    if code == "corners":
                        h += CORNERS[num_classes][k]
                    else:
                        h += [k] if bernoulli else list(np.eye(num_classes)[k])
                h = np.array(h, np.float64)
            ones = 1 / (1 + np.exp(-dense(params, "pixels", h)))
            log_w.append(np.log(np.where(y == 1, ones, 1 - ones)).sum())
            mass.append(probability)
        log_ws.append(log_w)
        masses.append(mass)
    return np.array(log_ws), np.array(masses)


@pytest.mark.parametrize("num_samples", [1, 2])
@pytest.mark.parametrize("name", TINY)
def test_bound_is_that_of_enumeration(name, num_samples):
    _, program, params, args = make_tiny(name)
    log_w, mass = brute_force(name, params, *args)
    np.testing.assert_allclose(mass.sum(axis=0), 1.0, rtol=1e-9)
    if num_samples == 1:
        expected = (mass * log_w).sum(axis=0)
    else:
        mean_w = (np.exp(log_w)[:, None] + np.exp(log_w)[None]) / 2
        expected = (mass[:, None] * mass[None] * np.log(mean_w)).sum(axis=(0, 1))
    exact = gumbel.value_and_grad("exact", program, num_samples=num_samples)
    bound, _, _ = jax.jit(exact)(jax.random.key(0), params, *args)
    np.testing.assert_allclose(bound, expected, rtol=1e-4)


def test_hard_bound_tends_to_the_log_likelihood():
    _, program, params, args = make_tiny("categorical-corners")
    log_w, mass = brute_force("categorical-corners", params, *args)
    expected = np.log((mass * np.exp(log_w)).sum(axis=0))
    bound = jax.jit(gumbel.evaluate(program, num_samples=20_000))
    np.testing.assert_allclose(
        bound(jax.random.key(0), params, *args), expected, atol=0.02
    )


@pytest.mark.parametrize("name", TINY)
def test_every_layer_is_in_the_generative_path(name):
    model, _, params, (upper, _) = make_tiny(name)
    family, _, num_variables, num_classes, num_layers = TINY[name]
    shape = FAMILIES[family].latent_shape(num_variables, num_classes)

    def pixels(replaced, value):
        """Pixel logits of the mean-field pass, one layer's value replaced."""

        def value_of(layer, logits):
            mean = FAMILIES[family].distribution(logits).mean()
            return jnp.broadcast_to(value, mean.shape) if layer == replaced else mean

        return model.apply(params, upper, value_of)

    first, second = jnp.zeros(shape), jnp.zeros(shape)
    if family == "categorical":
        first, second = first.at[..., 0].set(1), second.at[..., 1].set(1)
    else:
        second = second + 1
    for layer in range(1, num_layers + 1):
        change = pixels(f"z{layer}", first) - pixels(f"z{layer}", second)
        assert np.abs(change).min() > 1e-5
    assert np.array_equal(pixels(f"z{num_layers + 1}", first), pixels(None, second))


@pytest.mark.parametrize("name", TINY)
def test_every_layer_learns(name):
    _, program, params, args = make_tiny(name)
    for estimator in ("exact", "gumbel_softmax"):
        estimate = jax.jit(gumbel.value_and_grad(estimator, program))
        grads = estimate(jax.random.key(0), params, *args).grads["params"]
        assert set(grads) == {f"z{i + 1}" for i in range(TINY[name][4])} | {"pixels"}
        for leaf in jax.tree.leaves(grads):
            assert np.abs(leaf).max() > 1e-5


def test_halves_of_a_hand_made_image():
    # Row r of the image holds r: rows 0 to 13 are the upper half.
    image = np.repeat(np.arange(28), 28)[None]
    upper, lower = sp.halves(np.concatenate([image, image + 100]))
    assert upper.shape == lower.shape == (2, 392)
    np.testing.assert_array_equal(upper[0].reshape(14, 28)[:, 5], np.arange(14))
    np.testing.assert_array_equal(lower[0].reshape(14, 28)[:, 5], np.arange(14, 28))
    np.testing.assert_array_equal(lower[1] - lower[0], np.full(392, 100))


@pytest.mark.parametrize("binarization", ["static", "dynamic", "threshold"])
def test_task_reads_fixed_halves_of_every_split(noise, binarization):
    config = get_config()
    config.dataset.binarization = binarization
    task = sp.make_task(config)
    assert set(task.evaluation) == {"train", "valid", "test"}
    for split, size in (("train", 48), ("valid", 40), ("test", 40)):
        grey = getattr(noise, split).images
        upper, lower = task.evaluation[split]
        whole = np.concatenate([upper, lower], axis=1)
        assert upper.shape == lower.shape == (size, 392)
        assert set(np.unique(whole)) == {0, 1}
        # Binarised from this split in this order: white stays white, black black.
        assert np.all(whole[grey == 255] == 1) and np.all(whole[grey == 0] == 0)
        if binarization == "threshold":
            np.testing.assert_array_equal(whole, grey >= 128)
    rows = {"images": task.data["images"][:7]}
    one, two = (task.batch(jax.random.key(i), rows) for i in (0, 1))
    assert [half.shape for half in one] == [(7, 392), (7, 392)]
    assert np.array_equal(one[1], two[1]) == (binarization != "dynamic")


def test_visible_biases_are_the_logits_of_the_lower_pixel_means(noise):
    task = sp.make_task(get_config())
    params = jax.jit(task.init)(jax.random.key(0))["params"]
    _, lower = task.evaluation["train"]
    mean = np.clip(np.asarray(lower, np.float64).mean(axis=0), 1e-3, 1 - 1e-3)
    bias = params["pixels"]["Dense_0"]["bias"]
    np.testing.assert_allclose(bias, np.log(mean / (1 - mean)), rtol=1e-4, atol=1e-5)
    for layer in ("z1", "z2"):
        np.testing.assert_array_equal(params[layer]["Dense_0"]["bias"], np.zeros(200))


def test_figure_shows_truth_completions_and_their_mean(noise, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        sp.plots,
        "plot_completions",
        lambda truth, completed, mean, path: drawn.update(
            truth=truth, completed=completed, mean=mean
        ),
    )
    monkeypatch.setattr(sp, "MEAN_SAMPLES", sp.COMPLETIONS)
    task = sp.make_task(get_config())
    task.plot(random_params(task.init, scale=0.1), jax.random.key(1), tmp_path)
    truth = np.concatenate(task.evaluation["valid"], axis=1)[: sp.DIGITS]
    np.testing.assert_array_equal(drawn["truth"], truth)
    completed = drawn["completed"]
    assert completed.shape == (sp.DIGITS, sp.COMPLETIONS, 784)
    upper = np.broadcast_to(truth[:, None, :392], (*completed.shape[:2], 392))
    np.testing.assert_array_equal(completed[:, :, :392], upper)
    # As many samples as are shown, so the mean is theirs; and they differ.
    np.testing.assert_allclose(drawn["mean"], completed.mean(axis=1), atol=1e-6)
    assert np.abs(completed[:, 0, 392:] - completed[:, 1, 392:]).max() > 0.01


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_takes_a_step(noise, variant):
    config = get_config(variant)
    task = sp.make_task(config)
    params = random_params(task.init, scale=0.05)
    upper, lower = task.batch(jax.random.key(0), {"images": task.data["images"][:8]})
    estimate = jax.jit(gumbel.value_and_grad(config.estimator, task.program))
    bound, grads, _ = estimate(
        jax.random.key(1), params, upper, lower, temperature=config.temperature
    )
    # Noise has 392·log 2 = 272 nats, and small weights are not far from even odds.
    assert -400 < bound.mean() < -260
    for leaf in jax.tree.leaves(grads):
        assert np.abs(leaf).max() > 1e-4


def test_a_whole_run_learns_the_lower_half_from_the_upper(tmp_path, monkeypatch):
    # Images are black or white all over: one bit, which has to pass every layer.
    def split(size):
        images = np.repeat(np.arange(size) % 2 * 255, 784).reshape(size, 784)
        return datasets.Split(np.uint8(images), np.zeros(size, np.int32))

    dataset = datasets.Dataset("bit", split(48), split(40), split(40), "c0ffee", 0)
    monkeypatch.setattr(datasets, "load", lambda *args: dataset)
    monkeypatch.setattr(sp, "MEAN_SAMPLES", 10)
    config = get_config("392V-6H-6H-392V-4ary")
    config.update(
        num_steps=60,
        batch_size=8,
        learning_rate=0.05,
        log_every=30,
        eval_every=60,
        checkpoint_every=60,
        valid_samples=1,
        eval_samples=5,
        report_samples=(3,),
        eval_batch_size=40,
    )
    result = train.train(sp.make_task(config), config, tmp_path)
    assert json.loads((tmp_path / "result.json").read_text()) == result
    assert result["steps"] == 60
    for name in ("valid", "test"):
        assert result[name]["eval_samples"] == 5
        # L_1 of a network that does not see the upper half is −392·log 2 = −272 nats.
        assert 0 < result[name]["nll"] <= result[name]["nll_1"] < 60
    figure = plt.imread(tmp_path / "figures" / "completions.png")
    assert figure.shape[0] > 500 and figure[..., :3].std() > 0.1
