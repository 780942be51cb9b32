"""Training VAEs with layers of latents: centres, named networks, figures, a run."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
import runs
from configs.vae import VARIANTS, get_config
from experiments import plots, vae
from experiments.engine import step, train
from experiments.engine.checkpoint import Checkpoints
from experiments.engine.traced import hyper_parameters


def small(variant, **fields):
    """A config of a variant with so few variables that it compiles fast."""
    config = get_config(variant)
    sizes = {"num_variables": 3, "higher": (2,) * len(config.model.higher)}
    fields = {f"model__{name}": size for name, size in sizes.items()} | fields
    return runs.config(variant, **{"learning_rate": 1e-3, "schedule__rate": 0} | fields)


def train_steps(task, config, num_steps, state=None):
    """The states before and after some steps, and their metrics; images in order."""

    @jax.jit
    def run(state, hyper, data):
        first = step.init_state(task, config) if state is None else state
        train_step = step.make_train_step(task, config)
        index = (first.step + jnp.arange(num_steps))[:, None] * 8 + jnp.arange(8)[None]
        last, metrics = jax.lax.scan(
            lambda state, index: train_step(state, index % 48, hyper, data),
            first,
            index,
        )
        return first, last, metrics

    return run(state, hyper_parameters(config), dict(task.data))


def test_centres_are_running_means_of_the_activity(noise):
    config = small("4H-4H-784V", learning_rate=1e-6)
    task = vae.make_task(config)
    mean = vae.load_pixels(config)[0].mean
    state = jax.jit(lambda: step.init_state(task, config))()
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


def test_centres_are_bitwise_the_same_after_resuming(noise, tmp_path):
    config = small("4H~4H~784V", weight_decay=0.1)
    task = vae.make_task(config)
    # One program for both, so that what differs is the checkpoint and nothing else.
    start, half, _ = train_steps(task, config, 2)
    _, whole, _ = train_steps(task, config, 2, half)
    assert np.any(half.params["centres"]["z"] != whole.params["centres"]["z"])
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(half, 2)
    restored, _ = checkpoints.restore(start)
    _, resumed, _ = train_steps(task, config, 2, restored)
    for one, two in zip(
        *(jax.tree.leaves((s.params, s.opt_state)) for s in (resumed, whole)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, two)


def test_evaluation_uses_the_centres_kept_with_the_best_parameters(noise):
    config = small("4H~4H~784V")
    task = vae.make_task(config)
    _, state, _ = train_steps(task, config, 1)
    state = step.keep_best(state, 5.0)
    kept = np.array(state.best_params["centres"]["z"])
    _, state, _ = train_steps(task, config, 2, state)
    np.testing.assert_array_equal(state.best_params["centres"]["z"], kept)
    assert np.any(kept) and np.any(state.params["centres"]["z"] != kept)
    # An image's bound does not depend on the other images of its batch.
    evaluate = jax.jit(gumbel.evaluate(task.program, num_samples=1))
    (images,) = task.evaluation["valid"]
    one, two = (
        evaluate(jax.random.key(0), state.params, jnp.stack([images[0], images[i]]))
        for i in (1, 2)
    )
    assert one[0] == two[0] and one[1] != two[1]


NETWORKS = [name for name in VARIANTS if name.endswith(("V", "ary"))]
SAMPLES = {"gumbel_softmax": 5, "vimco": 5, "nvil": 1}
# [2] trains all of them with Concrete, those of its Table 1 with the others, too.
PAIRS = [(network, "gumbel_softmax") for network in NETWORKS] + [
    (network, estimator)
    for network in NETWORKS
    for estimator in ("vimco", "nvil")
    if network.startswith("200H")
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


def test_a_whole_run_of_two_layers(noise, tmp_path, monkeypatch):
    # Drawing the curves takes longer than training.
    monkeypatch.setattr(plots, "plot_curves", lambda *args: None)
    config = small("4H-4H-784V", num_samples=2, num_steps=4, log_every=2)
    config.update(eval_every=4, checkpoint_every=2, eval_samples=1)
    result = train.train(vae.make_task(config), config, tmp_path)
    assert json.loads((tmp_path / "result.json").read_text()) == result
    for split in ("valid", "test"):
        assert 500 < result[split]["nll"] < 1000
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    expected = "samples.png reconstructions.png latents.png latents2.png"
    assert names == set(expected.split())


def test_figures_show_ancestral_samples_and_every_layer(monkeypatch, tmp_path):
    drawn = {}
    monkeypatch.setattr(
        vae.plots,
        "plot_image_grid",
        lambda images, rows, path, title: drawn.update({path.stem: images}),
    )
    monkeypatch.setattr(
        vae.plots,
        "plot_latent_usage",
        lambda probabilities, path, about: (
            drawn.update({path.stem: about})
            or drawn.update({path.stem + " shape": probabilities.shape})
        ),
    )
    config = get_config("2H-1H-784V").model
    model = vae.make_model(config, np.full(2, 0.5))
    variables = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape),
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2))),
    )
    # Every draw is sure. Top: 1 and 0, hence 1 and −1; then 1·9 − 1·(−9) = 18, so 1;
    # the pixels get 20·1 and −20·1. An encoder that is as sure of 0 turns them round.
    params = variables["params"]
    params["prior"] = jnp.array([50.0, -50.0])
    params["higher_decoders_0"]["Dense_0"]["kernel"] = jnp.array([[9.0], [-9.0]])
    params["decoder"]["Dense_0"]["kernel"] = jnp.array([[20.0, -20.0]])
    params["encoder"]["Dense_0"]["bias"] = jnp.array([-50.0])
    family, prior = vae.FAMILIES["bernoulli"], vae.PRIORS["learned"]
    images = np.ones((40, 2), np.float32)
    vae.make_draw(model, family, prior, images)(variables, jax.random.key(0), tmp_path)
    np.testing.assert_allclose(drawn["samples"], np.tile([1, 0], (100, 1)), atol=1e-6)
    pairs = drawn["reconstructions"].reshape(3, 2, 10, 2)
    np.testing.assert_array_equal(pairs[:, 0], np.ones((3, 10, 2)))
    np.testing.assert_allclose(pairs[:, 1], np.tile([0, 1], (3, 10, 1)), atol=1e-6)
    assert (drawn["latents"], drawn["latents shape"]) == ("the image", (40, 1, 2))
    assert (drawn["latents2"], drawn["latents2 shape"]) == ("a sample of z", (40, 2, 2))
