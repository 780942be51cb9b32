"""VAEs in training: named networks, what is refused, centres, figures, a run."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
import runs
from configs.vae import get_config
from experiments import ConfigError, vae
from experiments.data import datasets
from experiments.engine import plots, step, train
from experiments.models import vae_report
from experiments.models.latents import FAMILIES

# Weights and biases by hand, from the pixels up and down again, and the prior.
PARAMETER_COUNTS = {
    "categorical": (784 + 1) * 200 + (200 + 1) * 784 + 20 * 10,
    "mlp": (784 + 1) * 512 + (512 + 1) * 256 + (256 + 1) * 300
    + (300 + 1) * 256 + (256 + 1) * 512 + (512 + 1) * 784 + 30 * 10,
    "200H~200H~784V": (784 + 1) * 200 + 2 * (200 + 1) * 200
    + 2 * (200 + 1) * 200 + (200 + 1) * 784
    + 2 * 3 * (200 + 1) * 200 + 200,
    # Two 8-ary variables of 3 units each above three; 8 logits a variable.
    "6H-9H~784V-8ary": (784 + 1) * 9 + (9 + 1) * 9 + (9 + 1) * 24
    + 2 * (9 + 1) * 9 + (9 + 1) * 784
    + (9 + 1) * 16 + (6 + 1) * 24 + 16,
}  # fmt: skip


@pytest.mark.parametrize("variant", PARAMETER_COUNTS)
def test_parameter_counts(variant):
    model = vae.make_model(get_config(variant).model, np.full(784, 0.5))
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 784)))
    leaves = jax.tree.leaves(variables["params"])
    assert sum(leaf.size for leaf in leaves) == PARAMETER_COUNTS[variant]
    sizes = {name: leaf.shape for name, leaf in variables.get("centres", {}).items()}
    if variant == "6H-9H~784V-8ary":
        assert sizes == {"x": (784,), "z": (9,)}


@pytest.mark.parametrize(
    ("suffix", "arity", "temperatures"),
    [("", 2, (1 / 2, 2 / 3)), ("-4ary", 4, (2 / 3, 1.0)), ("-8ary", 8, (2 / 5, 2 / 3))],
)
def test_networks_have_the_temperatures_of_the_paper(suffix, arity, temperatures):
    """Prior and posterior temperature of Maddison et al. (2017), appendix D.5."""
    config = get_config(f"240H~120H-784V{suffix}")
    assert (config.prior_temperature, config.temperature) == temperatures
    assert config.model.num_classes == arity
    counts = (*config.model.higher, config.model.num_variables)
    assert [n * np.log2(arity) for n in counts] == [240, 120]


@pytest.mark.parametrize(
    "variant",
    ["", "784V", "200H-", "200H784V", "200H~~784V", "200H-784V-3ary"],
)
def test_malformed_variants_show_the_grammar(variant):
    with pytest.raises(ValueError, match=r"<units>H…784V\[-4ary\|-8ary\], with -"):
        get_config(variant)


@pytest.mark.parametrize(
    ("variant", "each"), [("0H-784V", 1), ("200H~784V-8ary", 3), ("4H~3H-784V-4ary", 2)]
)
def test_units_that_no_variables_fill(variant, each):
    with pytest.raises(ValueError, match=f"must be a positive multiple of {each},"):
        get_config(variant)


@pytest.mark.parametrize(
    ("variant", "fields", "message"),
    [
        ("mlp", {"connections": "~"}, r"hidden=\(512, 256\): must be \(\) for"),
        ("categorical", {"higher": (3,)}, "connections='': .* each of 2 stochastic"),
        ("6H~784V", {"higher": (3,)}, "connections='~': .* each of 2 stochastic"),
        ("6H~784V", {"connections": "~~"}, "connections='~~': .* each of 1 stoch"),
        ("6H~784V-4ary", {"num_classes": 6}, "num_classes=6: must be a power of two"),
    ],
)
def test_impossible_layers(noise, variant, fields, message):
    config = get_config(variant)
    config.model.update(fields)
    with pytest.raises(ConfigError, match=message):
        vae.make_task(config)


def test_closed_form_is_refused_where_it_is_no_bound(noise):
    for variant, refused in (("6H-784V", False), ("6H-6H-784V", True)):
        config = get_config(variant)
        config.objective = "analytic"
        if not refused:
            vae.make_task(config)
            continue
        with pytest.raises(ConfigError, match="for 2 stochastic layers"):
            vae.make_task(config)


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
    "fields, message",
    [
        ({"model__num_classes": 3}, "num_classes=3: must be 2 for .*bernoulli"),
        ({"num_samples": 2}, "objective='analytic': must be relaxed_density or soft_m"),
        ({"eval_every": 7}, "eval_every=7: must be a multiple of config.log_every=5"),
    ],
)
def test_impossible_combinations(fields, message, monkeypatch):
    monkeypatch.setattr(datasets, "load", None)  # refused before anything is read
    with pytest.raises(ConfigError, match=message):
        vae.make_task(runs.config("bernoulli", **fields))


def small(variant, **fields):
    """A config of a variant with so few variables that it compiles fast."""
    config = get_config(variant)
    sizes = {"num_variables": 3, "higher": (2,) * len(config.model.higher)}
    fields = {f"model__{name}": size for name, size in sizes.items()} | fields
    return runs.config(variant, **{"learning_rate": 1e-3, "schedule__rate": 0} | fields)


def train_steps(task, config, num_steps, state=None):
    """The states before and after some steps, and their metrics; images in order."""

    first = step.init_state(task, config) if state is None else state
    index = (first.step + jnp.arange(num_steps))[:, None] * 8 + jnp.arange(8)[None]
    rows = jax.tree.map(lambda rows: rows[index % 48], dict(task.data))
    last, metrics = jax.jit(
        lambda *args: jax.lax.scan(step.make_train_step(task, config), *args)
    )(first, rows)
    return first, last, metrics


def test_centres_are_running_means_of_the_activity(noise):
    config = small("4H-4H-784V", learning_rate=1e-6)
    task = vae.make_task(config)
    mean = task.evaluation["train"][0].mean(axis=0)
    state = step.init_state(task, config)
    np.testing.assert_allclose(state.params["centres"]["x"], mean, rtol=1e-6)
    assert not np.any(state.params["centres"]["z"])
    # So sure a posterior has one sample: 1, -1, 1 whatever the image.
    layer = state.params["params"]["encoder"]["Dense_0"]
    layer["bias"] = jnp.array([1e3, -1e3, 1e3])
    layer["kernel"] = jnp.zeros_like(layer["kernel"])
    _, state, _ = train_steps(task, config, 4, state)
    expected = (1 - 0.9**4) * np.array([1.0, -1.0, 1.0])
    np.testing.assert_allclose(state.params["centres"]["z"], expected, rtol=1e-5)
    np.testing.assert_allclose(state.params["centres"]["x"], mean, rtol=1e-6)


def test_the_bound_of_an_image_does_not_depend_on_its_batch(noise):
    config = small("4H~4H~784V")
    task = vae.make_task(config)
    _, state, _ = train_steps(task, config, 1)
    assert np.any(state.params["centres"]["z"])
    evaluate = jax.jit(gumbel.evaluate(task.program, num_samples=1))
    (images,) = task.evaluation["valid"]
    one, two = (
        evaluate(jax.random.key(0), state.params, jnp.stack([images[0], images[i]]))
        for i in (1, 2)
    )
    assert one[0] == two[0] and one[1] != two[1]


SAMPLES = {"gumbel_softmax": 5, "vimco": 5, "nvil": 1}
# Every connection, number of layers and estimator of [2].
PAIRS = [
    ("200H-200H-784V", "nvil"),
    ("200H~784V", "vimco"),
    ("240H~240H~784V-8ary", "gumbel_softmax"),
]


@pytest.mark.parametrize("variant, estimator", PAIRS)
def test_every_network_trains_with_the_papers_estimators(noise, variant, estimator):
    config = small(variant, estimator=estimator, num_samples=SAMPLES[estimator])
    start, state, metrics = train_steps(vae.make_task(config), config, 3)
    # Noise has 784·log 2 = 543 nats.
    objective = np.array(metrics["objective"])
    assert np.all((-1000 < objective) & (objective < -500))
    before = dict(jax.tree.leaves_with_path(start.params))
    for path, leaf in jax.tree.leaves_with_path(state.params):
        fixed = jax.tree_util.keystr(path) == "['centres']['x']"
        assert np.array_equal(leaf, before[path]) == fixed, path


@pytest.fixture
def grids(monkeypatch):
    """The images of the figures that are not written, by name."""
    images = {}
    monkeypatch.setattr(
        plots,
        "plot_image_grid",
        lambda pixels, rows, path, title: images.update({path.stem: (pixels, rows)}),
    )
    return images


@pytest.mark.parametrize(
    "size, across, down", [(40, 10, 3), (19, 10, 1), (7, 7, 1), (1, 1, 1)]
)
def test_reconstructions_stand_below_their_images(
    size, across, down, grids, monkeypatch, tmp_path
):
    monkeypatch.setattr(plots, "plot_latent_usage", lambda *args: None)
    config = runs.config("bernoulli", model__num_variables=2).model
    model = vae.make_model(config, np.full(5, 0.5))
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 5)))
    params["params"]["decoder"]["Dense_0"]["bias"] = jnp.full(5, 100.0)  # all white
    images = np.random.default_rng(0).random((size, 5)).astype(np.float32)
    plot = vae_report.make_plot(model, FAMILIES["bernoulli"], images)
    plot(params, jax.random.key(0), tmp_path)
    pairs, rows = grids["reconstructions"]
    assert rows == 2 * down
    pairs = pairs.reshape(2 * down, across, 5)
    shown = across * down
    assert np.array_equal(pairs[::2].reshape(shown, 5), images[:shown])
    assert (pairs[1::2] > 0.99).all()
    samples, rows = grids["samples"]
    assert rows == 10 and samples.shape == (100, 5)


def sure_network():
    """A network of two layers and four pixels whose every draw is sure.

    Top: 1 and 0, hence 1 and −1; then 1·9 − 1·(−9) = 18, so 1; the pixels get 20·1 and
    −20·1 in turn. The encoder is as sure of 0, which turns them round.
    """
    config = get_config("2H-1H-784V")
    model = vae.make_model(config.model, np.full(4, 0.5))
    variables = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape),
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 4))),
    )
    params = variables["params"]
    params["prior"] = jnp.array([50.0, -50.0])
    params["higher_decoders_0"]["Dense_0"]["kernel"] = jnp.array([[9.0], [-9.0]])
    params["decoder"]["Dense_0"]["kernel"] = jnp.array([[20.0, -20.0] * 2])
    params["encoder"]["Dense_0"]["bias"] = jnp.array([-50.0])
    return config, model, variables


def test_figures_show_ancestral_samples_and_every_layer(grids, monkeypatch, tmp_path):
    usage = {}
    monkeypatch.setattr(
        plots,
        "plot_latent_usage",
        lambda probabilities, path, about: usage.update(
            {path.stem: (probabilities.shape, about)}
        ),
    )
    _, model, variables = sure_network()
    plot = vae_report.make_plot(
        model, FAMILIES["bernoulli"], np.ones((40, 4), np.float32)
    )
    plot(variables, jax.random.key(0), tmp_path)
    samples = np.tile([1, 0], (100, 2))
    np.testing.assert_allclose(grids["samples"][0], samples, atol=1e-6)
    pairs = grids["reconstructions"][0].reshape(3, 2, 10, 4)
    np.testing.assert_array_equal(pairs[:, 0], np.ones((3, 10, 4)))
    np.testing.assert_allclose(pairs[:, 1], np.tile([0, 1], (3, 10, 2)), atol=1e-6)
    expected = {"latents": ((40, 1, 2), "the image")}
    expected |= {"latents2": ((40, 2, 2), "a sample of z")}
    assert usage == expected


@pytest.mark.parametrize("variant", ["categorical", "4H-4H-784V-4ary"])
def test_a_whole_run(variant, digits, tmp_path, monkeypatch):
    # Plotting the curves takes longer than training.
    monkeypatch.setattr(plots, "plot_curves", lambda *args: None)
    config = small(variant, num_steps=40, log_every=20, learning_rate=1e-2)
    config.update(eval_every=20, checkpoint_every=20, eval_samples=1)
    result = train.train(vae.make_task(config), config, tmp_path)
    assert json.loads((tmp_path / "result.json").read_text()) == result
    for split in ("valid", "test"):
        assert 150 < result[split]["nll"] < 300
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    layers = {"latents.png"} | ({"latents2.png"} if "H" in variant else set())
    assert names == {"samples.png", "reconstructions.png"} | layers


def test_a_loaded_run_samples_ancestrally():
    config, _, variables = sure_network()
    config.dataset.side = 2
    run = vae.Trained(config, variables, None)
    expected = np.tile([1, 0], (6, 2, 1))
    samples = run.sample(jax.random.key(0), 6)
    np.testing.assert_allclose(samples, expected, atol=1e-6)
    turned = run.reconstruct(jax.random.key(0), np.ones((6, 2, 2)))
    np.testing.assert_allclose(turned, 1 - expected, atol=1e-6)
