"""Bounds and likelihoods that programs and estimators are made of. In nats."""

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


def bernoulli_log_likelihood(logits, pixels) -> jax.Array:
    """log p(x) of binary (or grey) pixels, summed over them.

    Σ_d x_d·logits_d − softplus(logits_d). In this form the value and its gradient
    x − sigmoid(logits) take one pass each: about half the time of the sigmoid
    cross-entropy in two terms, and at many samples this is the step.

    Args:
        logits: log-odds, [B, D].
        pixels: targets in [0, 1], [B, D].

    Returns:
        [B] in nats.
    """
    return (pixels * logits - jax.nn.softplus(logits)).sum(axis=1)
