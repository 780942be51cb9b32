"""What the experiments with layers of discrete latents and binary pixels share."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gumbel
from experiments import ConfigError
from experiments.cli.config import MAX_UNITS, Rule, at_least, common_rules, one_of
from experiments.data import binarization, datasets
from experiments.engine.step import OPTIMIZERS
from experiments.models.coding import CODES, is_power_of_two


class Family(NamedTuple):
    """How a family of latents is laid out.

    Attributes:
        distribution: logits -> distribution.
        latent_shape: (N, K) -> the shape of one example's logits.
        probabilities: logits -> class probabilities [B, N, K].
    """

    distribution: Callable[[jax.Array], gumbel.programs.Distribution]
    latent_shape: Callable[[int, int], tuple[int, ...]]
    probabilities: Callable[[jax.Array], jax.Array]


def _binary_probabilities(logits):
    ones = jax.nn.sigmoid(logits)
    return jnp.stack([1 - ones, ones], axis=-1)


FAMILIES: Mapping[str, Family] = {
    "categorical": Family(gumbel.Categorical, lambda n, k: (n, k), jax.nn.softmax),
    "bernoulli": Family(gumbel.Bernoulli, lambda n, k: (n,), _binary_probabilities),
}


def latent_rules() -> dict[str, Rule]:
    """What is allowed in the fields that these experiments share."""
    return common_rules() | {
        "optimizer": one_of(OPTIMIZERS),
        "model.family": one_of(FAMILIES),
        "model.num_variables": at_least(1, MAX_UNITS),
        "model.num_classes": at_least(2, MAX_UNITS),
        "model.code": one_of(CODES),
        "dataset.binarization": one_of(binarization.BINARIZATIONS),
    }


def check_latents(model) -> None:
    """Checks that the classes of config.model suit its family and its code.

    Raises:
        ConfigError: if they do not.
    """
    if model.num_variables * model.num_classes > MAX_UNITS:
        raise ConfigError(
            f"config.model.num_variables={model.num_variables}: with "
            f"{model.num_classes} classes each must be at most "
            f"{MAX_UNITS // model.num_classes}"
        )
    if model.family == "bernoulli" and model.num_classes != 2:
        raise ConfigError(
            f"config.model.num_classes={model.num_classes}: "
            "must be 2 for model.family='bernoulli'"
        )
    if model.code == "corners" and not is_power_of_two(model.num_classes):
        raise ConfigError(
            f"config.model.num_classes={model.num_classes}: "
            "must be a power of two for model.code='corners'"
        )


def load_pixels(config) -> tuple[binarization.Pixels, str]:
    """Reads the binary pixels of a checked config, and the data set's checksum.

    Raises:
        DataError: if the data set cannot be read.
    """
    fields = config.dataset
    dataset = datasets.load(fields.name, fields.data_dir, fields.side)
    pixels = binarization.binarized(dataset, config.dataset.binarization)
    return pixels, dataset.checksum


def pixel_fields(pixels: binarization.Pixels, arrange: Callable) -> dict[str, Any]:
    """The fields of a Task that hold its data.

    Args:
        pixels: of every split.
        arrange: images [n, D] -> the program's args.
    """
    return {
        "data": {"images": jnp.asarray(pixels.train)},
        "batch": lambda key, rows: arrange(pixels.batch(key, rows["images"])),
        # uint8, a quarter of the memory: they become floats where they meet a weight.
        "evaluation": {
            split: arrange(jnp.asarray(images))
            for split, images in pixels.fixed.items()
        },
    }


def visible_bias_init(pixel_mean: np.ndarray) -> Callable:
    """An initialiser of visible biases: the logit of the pixel means [D], clipped."""
    mean = np.clip(pixel_mean, 1e-3, 1 - 1e-3)
    bias = np.log(mean) - np.log1p(-mean)
    return lambda key, shape, dtype: jnp.asarray(bias, dtype)
