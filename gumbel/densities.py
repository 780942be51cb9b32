"""Log densities of the relaxed variables, each in the space where it is stable.

A saturated sample is exactly 0 or 1 in float32 and its density on the simplex is
infinite there, so a program keeps y = log x (ExpConcrete) or y = logit x and scores
that; exp and sigmoid only feed the decoder. With s = logits − τ y both densities of
Maddison, Mnih & Teh (2017), cheat sheet, become sums of log_softmax(s) or of
log_sigmoid(±s): finite, with finite gradients, wherever s is.

Computed in float32 (float64 where the logits are); in nats.
"""

import jax
import jax.numpy as jnp

from gumbel.checks import check_classes, check_logits, check_positive
from gumbel.samplers import compute_dtype


def _prepare(point_name: str, point, logits, temperature):
    check_logits(point_name, point)
    check_logits("logits", logits)
    check_positive("temperature", temperature)
    dtype = jnp.promote_types(compute_dtype(logits), compute_dtype(point))
    return (jnp.asarray(a).astype(dtype) for a in (point, logits, temperature))


def exp_concrete_log_prob(y, logits, temperature):
    """Log density of ExpConcrete, the log of a Concrete variable.

    log (K−1)! + (K−1) log τ + Σ_k log_softmax_k(logits − τ y): the cheat sheet's form
    with its terms gathered; with respect to the log ratios y_k − y_K, k < K.

    Args:
        y: log x, [..., K], with logsumexp_k(y) = 0.
        logits: unnormalised log probabilities, [..., K].
        temperature: τ > 0, a scalar.

    Returns:
        [...] log density in nats.

    Raises:
        ValueError: if y or logits are not floating point or their class axes differ,
            or a concrete temperature is not positive and finite.
    """
    check_classes("y", y)
    check_classes("logits", logits)
    if jnp.shape(y)[-1] != jnp.shape(logits)[-1]:
        raise ValueError(
            f"logits has shape {jnp.shape(logits)}: "
            f"must have as many classes as y, of shape {jnp.shape(y)}"
        )
    y, logits, temperature = _prepare("y", y, logits, temperature)
    classes = y.shape[-1]
    constant = jax.lax.lgamma(jnp.asarray(classes, y.dtype))
    scale = (classes - 1) * jnp.log(temperature)
    return constant + scale + jax.nn.log_softmax(logits - temperature * y).sum(-1)


def concrete_log_prob(x, logits, temperature):
    """Log density of a Concrete (Gumbel-Softmax) variable on the open simplex.

    Definition 1: log (K−1)! + (K−1) log τ + Σ_k [logits_k − (τ+1) log x_k]
    − K logsumexp_k(logits_k − τ log x_k). Infinite or NaN where a float x_k is
    exactly 0: use `exp_concrete_log_prob` for samples.

    Args:
        x: [..., K], in the interior of the simplex.
        logits: unnormalised log probabilities, [..., K].
        temperature: τ > 0, a scalar.

    Returns:
        [...] log density in nats, with respect to Lebesgue measure on x_1 … x_{K−1}.

    Raises:
        ValueError: as `exp_concrete_log_prob`.
    """
    check_logits("x", x)
    y = jnp.log(jnp.asarray(x).astype(compute_dtype(x)))
    return exp_concrete_log_prob(y, logits, temperature) - y.sum(-1)


def logit_binary_concrete_log_prob(y, logits, temperature):
    """Log density of the logit of a binary Concrete variable.

    log τ + log_sigmoid(s) + log_sigmoid(−s), s = logits − τ y: the cheat sheet's
    log τ − τ y + logits − 2 softplus(logits − τ y), in symmetric form.

    Args:
        y: logit x, [...].
        logits: log-odds, [...].
        temperature: τ > 0, a scalar.

    Returns:
        [...] log density in nats.

    Raises:
        ValueError: if y or logits are not floating point, or a concrete temperature is
            not positive and finite.
    """
    y, logits, temperature = _prepare("y", y, logits, temperature)
    s = logits - temperature * y
    return jnp.log(temperature) + jax.nn.log_sigmoid(s) + jax.nn.log_sigmoid(-s)


def binary_concrete_log_prob(x, logits, temperature):
    """Log density of a binary Concrete variable on (0, 1).

    The density of y = logit x, times dy/dx = 1 / (x (1 − x)).
    Infinite or NaN where a float x is exactly 0 or 1: use
    `logit_binary_concrete_log_prob` for samples.

    Args:
        x: [...], in (0, 1).
        logits: log-odds, [...].
        temperature: τ > 0, a scalar.

    Returns:
        [...] log density in nats.

    Raises:
        ValueError: as `logit_binary_concrete_log_prob`.
    """
    check_logits("x", x)
    x = jnp.asarray(x).astype(compute_dtype(x))
    log_x, log_not_x = jnp.log(x), jnp.log1p(-x)
    density = logit_binary_concrete_log_prob(log_x - log_not_x, logits, temperature)
    return density - log_x - log_not_x
