"""Bounds and likelihoods that programs and estimators are made of. In nats."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gumbel.checks import check_logits
from gumbel.logits import compute_dtype, finite


def log_mean_exp(log_w: ArrayLike) -> jax.Array:
    """The multi-sample bound L_S = log (1/S) Σ_s w_s of Burda et al. (2016).

    Args:
        log_w: log weights, [S, B].

    Returns:
        [B], in float32 where the weights are narrower; for S = 1 the log weight itself,
        and −inf, without a gradient, where all weights are 0.
    """
    log_w = jnp.asarray(log_w).astype(compute_dtype(log_w))
    none = jnp.isneginf(log_w).all(axis=0)
    safe = jnp.where(none[None], 0.0, log_w)
    log_count = jnp.log(jnp.asarray(log_w.shape[0], log_w.dtype))
    return jnp.where(none, -jnp.inf, jax.nn.logsumexp(safe, axis=0) - log_count)


# Factors of one product below: each is at most 2, so it is at most 2¹⁶.
_FACTORS = 16


@jax.custom_jvp
def _log_likelihood(logits: jax.Array, pixels: jax.Array) -> jax.Array:
    # softplus(l) = max(l, 0) + log(1 + exp(−|l|)), and the sum of these logarithms is
    # the logarithm of a product: one logarithm for 16 pixels.
    batch, num_pixels = logits.shape
    factors = 1.0 + jnp.exp(-jnp.abs(logits))
    group = math.gcd(num_pixels, _FACTORS)
    products = factors.reshape(batch, num_pixels // group, group).prod(axis=2)
    linear = pixels * logits - jnp.maximum(logits, 0.0)
    certain = jnp.where(pixels == (logits > 0).astype(pixels.dtype), 0.0, -jnp.inf)
    linear = jnp.where(jnp.isinf(logits), certain, linear)
    return linear.sum(axis=1) - jnp.log(products).sum(axis=1)


@_log_likelihood.defjvp
def _log_likelihood_jvp(primals, tangents):
    (logits, pixels), (of_logits, of_pixels) = primals, tangents
    slope = jnp.where(jnp.isinf(logits), 0.0, pixels - jax.nn.sigmoid(logits))
    slope = slope * of_logits + finite(logits) * of_pixels
    return _log_likelihood(logits, pixels), slope.sum(axis=1)


def bernoulli_log_likelihood(logits: ArrayLike, pixels: ArrayLike) -> jax.Array:
    """log p(x) of binary (or grey) pixels, summed over them.

    Σ_d x_d·logits_d − softplus(logits_d). Written by hand because it is 2.5 times as
    fast as optax's; measure it with `scripts/benchmark.py likelihood`, and delete it
    when the two are equal.

    Args:
        logits: log-odds, [B, D].
        pixels: targets in [0, 1], [B, D].

    Returns:
        [B] in nats, summed in float32 where the logits are narrower; −inf where a
        pixel is not what log-odds of ±inf are certain of.

    Raises:
        ValueError: if the logits are not floating point or not [B, D], or the pixels
            have another shape.
    """
    check_logits("logits", logits, 2, "[B, D]")
    if jnp.shape(pixels) != jnp.shape(logits):
        raise ValueError(
            f"pixels has shape {jnp.shape(pixels)}: "
            f"must be {jnp.shape(logits)}, as the logits have"
        )
    dtype = compute_dtype(logits)
    return _log_likelihood(
        jnp.asarray(logits).astype(dtype), jnp.asarray(pixels).astype(dtype)
    )
