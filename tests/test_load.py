"""Loaded runs: what their models do is what the networks do, applied by hand."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import experiments
import runs
from configs import semi_supervised as ss_config
from configs import structured_prediction as sp_config
from configs import vae as vae_config
from experiments import CheckpointError, WorkdirError, semi_supervised, vae
from experiments import structured_prediction as sp
from experiments.data import datasets
from experiments.engine.checkpoint import Checkpoints
from experiments.engine.run_directory import write_json
from experiments.engine.step import init_state

EXPERIMENTS = {"vae": vae, "sp": sp, "ss": semi_supervised}
CONFIGS = {"vae": vae_config, "sp": sp_config, "ss": ss_config}


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """(experiment, variant, fields) -> a loaded run of random parameters, images."""
    noise = runs.dataset()
    splits = {
        name: datasets.Split(images, np.int32(np.arange(len(images)) % 4))
        for name in ("train", "valid", "test")
        for images in (getattr(noise, name).images,)
    }
    noise = dataclasses.replace(noise, num_classes=4, **splits)

    def make(name, variant, **fields):
        config = CONFIGS[name].get_config(variant)
        fields = {name.replace("__", "."): value for name, value in fields.items()}
        config.update_from_flattened_dict({"batch_size": 8} | fields)
        monkeypatch.setattr(datasets, "load", lambda *args: noise)
        task = EXPERIMENTS[name].make_task(config)
        rng = np.random.default_rng(0)
        state = init_state(task, config)
        best = jax.tree.map(
            lambda leaf: jnp.asarray(0.1 * rng.normal(size=leaf.shape), leaf.dtype),
            state.best_params,
        )
        write_json(tmp_path / "config.json", config.to_dict())
        write_json(
            tmp_path / "versions.json", {"num_examples": len(noise.train.labels)}
        )
        state = state.replace(best_params=best, best_step=jnp.asarray(12))
        Checkpoints(tmp_path / "checkpoints").save(state, 0)
        monkeypatch.setattr(datasets, "load", None)  # no data set is read
        run = experiments.load(tmp_path)
        jax.tree.map(np.testing.assert_array_equal, run.params, best)
        assert run.result is None
        return run, noise.test.images[:3]

    return make


def dense(run, part, layer, h):
    weights = run.params["params"][part][f"Dense_{layer}"]
    return h @ np.float64(weights["kernel"]) + np.float64(weights["bias"])


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize("variant", ["categorical", "4H-4H-784V-4ary", "bernoulli"])
def test_vae(variant, loaded):
    run, images = loaded("vae", variant)
    codes = np.asarray(run.encode(images))
    centre = np.float64(run.params.get("centres", {}).get("x", 0.0))
    logits = dense(run, "encoder", 0, images / 255 - centre)
    if variant == "bernoulli":
        np.testing.assert_array_equal(codes, logits > 0)
        inputs = codes
    else:
        *_, num_classes = codes.shape
        classes = logits.reshape(3, -1, num_classes).argmax(axis=2)
        np.testing.assert_array_equal(codes, np.eye(num_classes)[classes])
        corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
        inputs = codes if variant == "categorical" else codes @ corners
    means = run.decode(codes)
    assert means.shape == (3, 28, 28)
    expected = sigmoid(dense(run, "decoder", 0, inputs.reshape(3, -1)))
    np.testing.assert_allclose(means.reshape(3, 784), expected, rtol=1e-4)
    key = jax.random.key(0)
    sampled = run.posterior(images).sample(key)
    assert not np.array_equal(sampled, codes)
    np.testing.assert_array_equal(run.reconstruct(key, images), run.decode(sampled))
    assert run.sample(key, 5).shape == (5, 28, 28)


def test_images_in_every_form(loaded):
    run, images = loaded("vae", "categorical")
    codes = run.encode(images)
    square = images.reshape(3, 28, 28)
    for same in (square, square / 255, np.float32(images / 255), jnp.asarray(images)):
        np.testing.assert_array_equal(run.encode(same), codes)
    np.testing.assert_array_equal(run.encode(images.astype(int)), codes)
    ones = run.encode(images > 127)
    for kind in (np.float32, np.uint8, int):
        np.testing.assert_array_equal(run.encode((images > 127).astype(kind)), ones)
    wrongs = (images * 1.0, images.astype(int) - 9, images / 255 - 0.5, images * 1j)
    for wrong in wrongs:
        with pytest.raises(ValueError, match="images"):
            run.encode(wrong)
    shape = r"images have shape .*: must be \[n, 28, 28\] or \[n, 784\], grey"
    for wrong in (images[0], square[..., None], square[:, :14], images[:, :100]):
        with pytest.raises(ValueError, match=shape):
            run.encode(wrong)


# Two epochs of six batches are behind the best step, 12.
SLOPES = {"gumbel_softmax": 1.0, "slope_annealed_st": 2.0}


@pytest.mark.parametrize("estimator", SLOPES)
def test_posterior_at_the_slope_that_the_bound_is_evaluated_at(estimator, loaded):
    run, images = loaded("vae", "bernoulli", estimator=estimator, slope__rate=0.5)
    logits = dense(run, "encoder", 0, images / 255)
    expected = SLOPES[estimator] * logits
    np.testing.assert_allclose(run.posterior(images).logits, expected, rtol=1e-3)


@pytest.mark.parametrize("estimator", SLOPES)
def test_structured_prediction(estimator, loaded):
    fields = {"model__num_variables": 2, "slope__rate": 0.5, "estimator": estimator}
    run, images = loaded("sp", "bernoulli", **fields)
    upper = images[:, :392]
    lower = run.predict(jax.random.key(0), upper.reshape(3, 14, 28), 2000)
    assert lower.shape == (3, 2000, 14, 28)
    # p(pixel | upper) by enumeration of two layers of two bits.
    codes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])

    def masses(part, h):
        ones = sigmoid(SLOPES[estimator] * dense(run, part, 0, h))[:, None]
        return np.where(codes, ones, 1 - ones).prod(axis=2)

    second = masses("z1", upper / 255) @ masses("z2", codes)
    expected = second @ sigmoid(dense(run, "pixels", 0, codes))
    samples = np.float64(lower).reshape(3, 2000, 392)
    error = samples.std(axis=1) / np.sqrt(2000)
    assert (np.abs(samples.mean(axis=1) - expected) < 5 * error + 1e-6).all()


@pytest.mark.parametrize("variant", ["mlp", "conv", "mlp_labels_only"])
def test_semi_supervised(variant, loaded):
    run, images = loaded("ss", variant, labelled__count=8, model__num_styles=3)
    probabilities = np.asarray(run.class_probabilities(images))
    assert probabilities.shape == (3, 4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(run.classify(images), probabilities.argmax(axis=1))
    if variant == "mlp_labels_only":
        with pytest.raises(ValueError, match="generates nothing"):
            run.generate(jax.random.key(0), [0])
        return
    means = run.generate(jax.random.key(0), [0, 3])
    assert means.shape == (2, 28, 28)
    if variant == "mlp":
        h = np.maximum(dense(run, "classifier", 0, images / 255), 0)
        logits = dense(run, "classifier", 1, h)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        expected = odds / odds.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(probabilities, expected, rtol=1e-3)
        z = np.float64(jax.random.normal(jax.random.key(0), (2, 3)))
        h = np.concatenate([np.eye(4)[[0, 3]], z], axis=1)
        h = np.maximum(dense(run, "decoder", 0, h), 0)
        expected = sigmoid(dense(run, "decoder", 1, h))
        np.testing.assert_allclose(means.reshape(2, 784), expected, rtol=1e-4)


def test_what_cannot_be_loaded(tmp_path):
    with pytest.raises(WorkdirError, match=r"config.json: cannot be read"):
        experiments.load(tmp_path / "nothing")
    config = tmp_path / "config.json"
    for text, message in (("{", "cannot be read"), ("{}", "is of none of vae, ")):
        config.write_text(text)
        with pytest.raises(WorkdirError, match=message):
            experiments.load(tmp_path)
    config.write_text(json.dumps(vae_config.get_config().to_dict()))
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        experiments.load(tmp_path)
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="step 5 is damaged"):
        experiments.load(tmp_path)
