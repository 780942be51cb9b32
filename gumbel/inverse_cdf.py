"""Exact categorical samples by an inverse CDF on integers."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gumbel.checks import check_classes, check_logits
from gumbel.logits import class_logits
from gumbel.threefry import random_bits

# Classes that share 2³¹ numbers with a total variation below 1e-6.
_MOST_CLASSES = 2000


def _integer_masses(probabilities: jax.Array) -> jax.Array:
    """The share of each class in 2³¹ equally likely numbers, [..., K] uint32.

    ⌊2³¹ p_k⌋, and the likeliest class has the rest.
    """
    likeliest = jnp.argmax(probabilities, axis=-1)
    has_rest = jax.nn.one_hot(likeliest, probabilities.shape[-1], dtype=bool)
    masses = jnp.floor(probabilities * 2.0**31).astype(jnp.uint32)
    masses = jnp.where(has_rest, jnp.uint32(0), masses)
    rest = jnp.uint32(2**31) - masses.sum(axis=-1, keepdims=True, dtype=jnp.uint32)
    return jnp.where(has_rest, rest, masses)


def _inverse_cdf(key: jax.Array, probabilities: jax.Array) -> jax.Array:
    """The class whose share of 2³¹ numbers holds the number drawn, [..., K] bool."""
    masses = _integer_masses(probabilities)
    above = jnp.cumsum(masses, axis=-1, dtype=jnp.uint32)
    number = random_bits(key, (*probabilities.shape[:-1], 1)) >> 1
    return (above - masses <= number) & (number < above)


def _in_groups(probabilities: jax.Array) -> tuple[jax.Array, jax.Array]:
    """About √K groups of as many classes: their probabilities, and those within."""
    classes = probabilities.shape[-1]
    size = math.isqrt(classes - 1) + 1
    padding = [(0, 0)] * (probabilities.ndim - 1) + [(0, -classes % size)]
    within = jnp.pad(probabilities, padding)
    within = within.reshape(*within.shape[:-1], -1, size)
    groups = within.sum(axis=-1)
    return groups / groups.sum(axis=-1, keepdims=True), within / groups[..., None]


def categorical(key: jax.Array, logits: ArrayLike) -> jax.Array:
    """Draws an exact one-hot sample from one random number a variable.

    Inverse CDF on integers: the class whose share of 2³¹ numbers, ⌊2³¹ p_k⌋, holds
    the number drawn. Sums of integers are exact, so a rare class never comes more often
    than it should; the rounded sums of floats let it, and a bound on hard samples,
    where its weight 1/q is large, would be none. Gumbel-Max has the same law and needs
    K random numbers (`scripts/benchmark.py categorical`). Of more than 2,000 classes
    the shares would be too coarse: a group of classes is drawn first.

    Args:
        key: a typed PRNG key.
        logits: unnormalised log probabilities, [..., K].

    Returns:
        One-hot array of the shape and dtype of `logits`; no gradient flows to them.

    Raises:
        ValueError: if logits are not floating point or have no class axis.
    """
    check_logits("logits", logits)
    check_classes("logits", logits)
    shape, dtype = jnp.shape(logits), jnp.result_type(logits)
    probabilities = jax.nn.softmax(class_logits(jax.lax.stop_gradient(logits)))
    if shape[-1] <= _MOST_CLASSES:
        drawn = _inverse_cdf(key, probabilities)
    else:
        group_key, class_key = jax.random.split(key)
        groups, within = _in_groups(probabilities)
        group = _inverse_cdf(group_key, groups)[..., None]
        # NaN within a group of no mass, which is never drawn.
        within = jnp.where(group, within, 0.0).sum(axis=-2)
        drawn = group & _inverse_cdf(class_key, within)[..., None, :]
        drawn = drawn.reshape(*shape[:-1], -1)[..., : shape[-1]]
    # Of one NaN, or no class allowed, all are NaN.
    exists = ~jnp.isnan(probabilities[..., :1])
    return jnp.where(exists, drawn.astype(dtype), jnp.nan)
