"""Families of discrete latents, and the initial bias of binary pixels.

Shapes: B batch, D pixels, N variables, K classes.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import gumbel
from experiments.models import one_hot


class Family(NamedTuple):
    """The array layout of a family of latents.

    Attributes:
        distribution: logits -> distribution.
        latent_shape: (N, K) -> shape of the logits of an example.
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


def for_hard_values(model: nn.Module, config: ConfigDict) -> nn.Module:
    """The same network, faster where the values of its latents are discrete.

    Args:
        model: with a field `product`.
        config: config.model; with other codes than plain classes nothing is faster.
    """
    if config.family != "categorical" or config.code != "plain":
        return model
    product = functools.partial(one_hot.sum_of_rows, num_classes=config.num_classes)
    return model.clone(product=product)


def visible_bias_init(pixel_mean: np.ndarray) -> Callable:
    """An initialiser of pixel biases: the logit of the clipped pixel means [D]."""
    mean = np.clip(pixel_mean, 1e-3, 1 - 1e-3)
    bias = np.log(mean) - np.log1p(-mean)
    return lambda key, shape, dtype: jnp.asarray(bias, dtype)
