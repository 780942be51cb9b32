"""The binary autoencoder: hard bits, and fewer nats for more of them."""

import numpy as np

from experiments.data import binarization
from experiments.examples import binary_autoencoder as example


def mean_image_error(pixels):
    """Nats of the best code of no bits at all: each pixel's mean in training."""
    mean = np.clip(pixels.mean, 1e-3, 1 - 1e-3)
    x = pixels.fixed["test"]
    return -(x * np.log(mean) + (1 - x) * np.log1p(-mean)).sum(1).mean()


def least_error(bits, x):
    """Nats that no decoder of such bits goes below: it has one image for each code."""
    total = 0.0
    for code in np.unique(bits, axis=0):
        own = x[(np.asarray(bits) == code).all(1)].astype(np.float64)
        p = np.clip(own.mean(0), 1e-12, 1 - 1e-12)
        total -= (own * np.log(p) + (1 - own) * np.log1p(-p)).sum()
    return total / len(x)


def test_bits_are_hard_and_more_of_them_are_better(digits, monkeypatch):
    pixels, fits = binarization.binarized(digits, "static"), []
    fit = example.fit
    monkeypatch.setattr(example, "RUNS", ((3, True), (24, False)))
    monkeypatch.setattr(example, "fit", lambda *a: fits.append(fit(*a)) or fits[-1])
    errors = example.main(steps=100)
    for ((num_bits, _), told), (bits, error) in zip(errors.items(), fits, strict=True):
        assert told == error
        assert bits.shape == (500, num_bits) and set(np.unique(bits)) == {0.0, 1.0}
        least = least_error(bits, pixels.fixed["test"])
        assert least < error < mean_image_error(pixels) - 10
    assert errors[24, False] < errors[3, True] - 5
