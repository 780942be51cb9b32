"""Structured prediction: the bound, the named networks, the halves, runs in use.

The truth is computed here in NumPy from the parameters alone, by a loop over codes.
"""

import functools
import itertools
import json

import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest

import gumbel
from configs.structured_prediction import get_config
from experiments import ConfigError
from experiments import structured_prediction as sp
from experiments.data import datasets
from experiments.engine import plots, train
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


def test_figure_shows_truth_completions_and_their_mean(noise, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        plots,
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


def test_a_whole_run_learns_the_lower_half(tmp_path, monkeypatch):
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
    figure = matplotlib.image.imread(tmp_path / "figures" / "completions.png")
    assert figure.shape[0] > 500 and figure[..., :3].std() > 0.1


def test_predictions_have_the_mean_of_enumeration():
    model, _, params, (upper, _) = make_tiny("bernoulli-plain")
    n = 4000
    predict = sp.make_predict(model, FAMILIES["bernoulli"], n)
    means = np.asarray(predict(params, jax.random.key(0), upper), np.float64)
    ones = np.ones((2, 3))
    for pixel in range(3):
        # Σ_z p(z | upper) p(this pixel is 1 | z), the other pixels summed out.
        expected = 0.0
        for others in itertools.product((0.0, 1.0), repeat=2):
            lower = np.insert(ones[:, 0][:, None] * others, pixel, 1.0, axis=1)
            log_w, mass = brute_force("bernoulli-plain", params, upper, lower)
            expected = expected + (mass * np.exp(log_w)).sum(axis=0)
        error = means[:, :, pixel].std(axis=0) / np.sqrt(n)
        assert (np.abs(means[:, :, pixel].mean(axis=0) - expected) < 5 * error).all()


# Weights and biases by hand, from the units below to the logits above.
PARAMETER_COUNTS = {
    "categorical": (392 + 1) * 200 + (200 + 1) * 200 + (200 + 1) * 392,
    "392V-240H-240H-240H-392V-8ary": (392 + 1) * 640
    + 2 * (240 + 1) * 640
    + (240 + 1) * 392,
}


@pytest.mark.parametrize("variant", PARAMETER_COUNTS)
def test_parameter_counts(noise, variant):
    params = jax.eval_shape(sp.make_task(get_config(variant)).init, jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert count == PARAMETER_COUNTS[variant]


@pytest.mark.parametrize(
    ("suffix", "arity", "temperature"),
    [("", 2, 2 / 3), ("-4ary", 4, 1.0), ("-8ary", 8, 2 / 3)],
)
def test_networks_written_as_in_the_paper(suffix, arity, temperature):
    for layers in (1, 3):
        config = get_config(f"392V-{'240H-' * layers}392V{suffix}")
        assert config.model.num_layers == layers
        assert config.model.num_classes == arity
        assert config.model.num_variables * np.log2(arity) == 240
        assert config.temperature == temperature


@pytest.mark.parametrize(
    "variant", ["", "392V-392V", "392V-240H-200H-392V", "392V-240H-392V-3ary"]
)
def test_malformed_variants_show_the_grammar(variant):
    with pytest.raises(ValueError, match=r"392V-<units>H-…-392V\[-4ary\|-8ary\]"):
        get_config(variant)


@pytest.mark.parametrize("variant", ["392V-0H-392V", "392V-200H-392V-8ary"])
def test_units_that_no_variables_fill(variant):
    with pytest.raises(ValueError, match="<units> must be a positive multiple of"):
        get_config(variant)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model.num_classes", 10, "must be a power of two for model.code='corners'"),
        ("model.num_layers", 0, "config.model.num_layers=0: must be"),
        ("model.family", "bernoulli", "must be 2 for model.family='bernoulli'"),
    ],
)
def test_impossible_fields(noise, field, value, message):
    config = get_config("392V-240H-392V-4ary")
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ConfigError, match=message):
        sp.make_task(config)
