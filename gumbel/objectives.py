"""Bounds and likelihoods that programs and estimators are made of. In nats."""

import math

import jax
import jax.numpy as jnp


def log_mean_exp(log_w) -> jax.Array:
    """The multi-sample bound L_S = log (1/S) Σ_s w_s of Burda et al. (2016).

    Args:
        log_w: log weights, [S, B].

    Returns:
        [B]; for S = 1 the log weight itself.
    """
    return jax.nn.logsumexp(log_w, axis=0) - jnp.log(log_w.shape[0])


# Factors of one product below: each is at most 2, so it is at most 2¹⁶.
_FACTORS = 16


@jax.custom_jvp
def _log_likelihood(logits, pixels) -> jax.Array:
    # softplus(l) = max(l, 0) + log(1 + exp(−|l|)), and the sum of these logarithms is
    # the logarithm of a product: one logarithm for 16 pixels.
    factors = 1.0 + jnp.exp(-jnp.abs(logits))
    group = math.gcd(logits.shape[1], _FACTORS)
    products = factors.reshape(logits.shape[0], -1, group).prod(axis=2)
    linear = pixels * logits - jnp.maximum(logits, 0.0)
    return linear.sum(axis=1) - jnp.log(products).sum(axis=1)


@_log_likelihood.defjvp
def _log_likelihood_jvp(primals, tangents):
    (logits, pixels), (of_logits, of_pixels) = primals, tangents
    slope = (pixels - jax.nn.sigmoid(logits)) * of_logits + logits * of_pixels
    return _log_likelihood(logits, pixels), slope.sum(axis=1)


def bernoulli_log_likelihood(logits, pixels) -> jax.Array:
    """log p(x) of binary (or grey) pixels, summed over them.

    Σ_d x_d·logits_d − softplus(logits_d), with few logarithms and the one-pass gradient
    x − sigmoid(logits) (`scripts/benchmark.py likelihood`): at many samples this term
    is the step, and most of an evaluation.

    Args:
        logits: log-odds, [B, D].
        pixels: targets in [0, 1], [B, D].

    Returns:
        [B] in nats, summed in float32 where the logits are narrower.
    """
    dtype = jnp.promote_types(logits.dtype, jnp.float32)
    return _log_likelihood(logits.astype(dtype), pixels.astype(dtype))
