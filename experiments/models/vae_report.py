"""Samples of a VAE, and its figures: samples, reconstructions, use of the latents.

Shapes: D pixels; n images.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.engine import plots
from experiments.models.latents import Family
from experiments.models.nets import DiscreteVae


def sample_pixels(model: DiscreteVae, family: Family, params, key, n: int) -> jax.Array:
    """Pixel means of n ancestral samples, drawn from the top layer down, [n, D]."""
    logits = model.apply(params, method="prior_logits")
    logits = jnp.broadcast_to(logits, (n, *logits.shape))
    keys = jax.random.split(key, len(model.layer_names))
    for layer, layer_key in reversed(list(enumerate(keys))):
        z = family.distribution(logits).sample(layer_key)
        logits = model.apply(params, z, layer, method="decode")
    return jax.nn.sigmoid(logits)


def make_plot(model: DiscreteVae, family: Family, images: np.ndarray) -> Callable:
    """Makes the plots of samples, reconstructions and latent usage on images [n, D]."""
    columns = min(10, len(images))
    rows = min(3, len(images) // columns)
    shown = rows * columns

    @jax.jit
    def compute(params, key, slope):
        posterior_key, sample_key = jax.random.split(key)
        samples = sample_pixels(model, family, params, sample_key, 100)
        below, probabilities = images, {}
        for layer, name in enumerate(model.layer_names):
            logits = slope * model.apply(params, below, layer, method="encode")
            layer_key = jax.random.fold_in(posterior_key, layer)
            below = family.distribution(logits).sample(layer_key)
            probabilities[name] = family.probabilities(logits)
            if layer == 0:
                decoded = model.apply(params, below[:shown], method="decode")
        return samples, jax.nn.sigmoid(decoded), probabilities

    def plot(params: Any, key: jax.Array, directory: Path, slope=1.0) -> None:
        samples, decoded, probabilities = compute(params, key, slope)
        plots.plot_image_grid(
            samples, 10, directory / "samples.png", "decoded samples of the prior"
        )
        pairs = np.stack([images[:shown], decoded], axis=1)
        pairs = pairs.reshape(rows, columns, 2, -1).transpose(0, 2, 1, 3)
        plots.plot_image_grid(
            pairs.reshape(2 * shown, -1),
            2 * rows,
            directory / "reconstructions.png",
            "validation images, each above its reconstruction from one hard sample",
        )
        below = "the image"
        for name in model.layer_names:
            path = directory / f"latents{name.removeprefix('z')}.png"
            plots.plot_latent_usage(probabilities[name], path, below)
            below = f"a sample of {name}"

    return plot
