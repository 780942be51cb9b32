"""Binarisation: frequencies, pinned pixels, and one array for both readers."""

import hashlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import DataError
from experiments.data import binarization, datasets
from experiments.data.binarization import (
    binarized,
    dynamic_binarize,
    static_binarize,
    threshold_binarize,
)


@pytest.fixture(scope="module")
def mnist():
    return datasets.load("mnist")


def sigmas(ones, grey, draws):
    """Deviations from grey / 255 in standard errors, [D]; 0 where both are exact."""
    p = np.asarray(grey, np.float64) / 255
    error = np.sqrt(np.maximum(p * (1 - p), 1e-12) / draws)
    return (ones / draws - p) / error


def test_static_frequencies():
    draws, grey = 20_000, np.arange(256, dtype=np.uint8)
    ones = static_binarize(np.tile(grey, (draws, 1)), "test/static").sum(axis=0)
    assert np.abs(sigmas(ones, grey, draws)).max() < 5
    assert (ones[0], ones[255]) == (0, draws)
    # Negative control: P = grey / 256 would not pass.
    assert np.abs(sigmas(draws * (grey / 256), grey, draws)[1:]).max() > 5


def test_static_rule_by_hand():
    stream = hashlib.shake_128(b"static binarisation of a/b").digest(2000)
    draws = [byte for byte in stream if byte != 255][:1568]
    assert draws != list(stream[:1568])  # at least one byte was dropped
    images = np.random.default_rng(0).integers(0, 256, (2, 784), np.uint8)
    expected = np.array(draws).reshape(2, 784) < images
    binary = static_binarize(images, "a/b")
    np.testing.assert_array_equal(binary, expected)
    assert binary.dtype == np.uint8
    assert (binary != static_binarize(images, "a/c")).any()


def test_pinned_static_mnist(mnist, monkeypatch):
    pixels = binarized(mnist, "static")
    assert pixels.train.shape == (50_000, 784)
    assert pixels.train.max() == 1
    np.testing.assert_allclose(pixels.mean, pixels.train.mean(0), atol=1e-6)
    dynamic = binarized(mnist, "dynamic")
    np.testing.assert_array_equal(dynamic.fixed["valid"], pixels.fixed["valid"])
    np.testing.assert_array_equal(dynamic.fixed["test"], pixels.fixed["test"])
    assert dynamic.train is mnist.train.images
    for split in ("valid", "test"):
        grey = getattr(mnist, split).images / 255
        np.testing.assert_allclose(dynamic.expected(split), grey, atol=1e-7)
        np.testing.assert_array_equal(pixels.expected(split), pixels.fixed[split])
    assert np.abs(dynamic.mean - pixels.mean).max() < 5 * 0.5 / np.sqrt(50_000)
    monkeypatch.setitem(binarization.STATIC_MNIST_SHA256, "test", "0" * 64)
    with pytest.raises(DataError, match="statically binarised mnist/test"):
        binarized(mnist, "dynamic")


def test_threshold(mnist):
    grey = np.arange(256, dtype=np.uint8)[None]
    np.testing.assert_array_equal(threshold_binarize(grey), grey / 255 > 0.5)
    small = types.SimpleNamespace(images=mnist.test.images[:100])
    dataset = types.SimpleNamespace(name="x", train=small, valid=small, test=small)
    pixels = binarized(dataset, "threshold")
    for images in pixels.fixed.values():
        np.testing.assert_array_equal(images, small.images >= 128)
    batch = jax.jit(pixels.batch)(jax.random.key(0), pixels.train)
    assert batch.dtype == jnp.float32
    np.testing.assert_array_equal(batch, pixels.train)


def test_dynamic_frequencies():
    draws = 20_000
    grey = np.append(np.arange(256), 128).astype(np.uint8)  # an odd number of pixels
    rows = jnp.tile(grey, (draws, 1))
    binary = jax.jit(dynamic_binarize)(jax.random.key(1), rows)
    assert binary.dtype == jnp.float32
    binary = np.asarray(binary)
    assert set(np.unique(binary)) == {0.0, 1.0}
    ones = binary.sum(axis=0)
    assert np.abs(sigmas(ones, grey, draws)).max() < 5
    assert (ones[0], ones[255]) == (0, draws)
    # The two pixels that share a 32-bit draw are independent.
    halves = binary[:, 100], binary[:, 100 + 129]
    assert abs(np.corrcoef(*halves)[0, 1]) < 5 / np.sqrt(draws)
    other = dynamic_binarize(jax.random.key(2), rows[:10])
    assert (np.asarray(other) != binary[:10]).any()


def test_unknown_binarization(mnist):
    with pytest.raises(ValueError, match="dataset.binarization='none': must be one of"):
        binarized(mnist, "none")
