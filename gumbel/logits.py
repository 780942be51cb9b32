"""Logits in float32: forbidden and certain values, log masses, expectations of them.

A logit of −inf forbids a class (a bit: a 1) and one of +inf makes it certain; several
classes of +inf share the mass equally. A formula that meets an infinity is NaN, in its
gradient even where `where` discards its value, so formulas get `finite` logits and
restore the infinities afterwards, as constants: gradients of infinite logits are 0.
NaN stays NaN.

One dtype rule: everything is computed in float32, in float64 where the logits are.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

# Finite logits count as at most this large: noise is lost in any beyond 10⁸, and sums
# and multiples of what remains are finite. `jnp.finfo(jnp.float32).min` is beyond.
_LARGEST = 1e30


def compute_dtype(*arrays: ArrayLike) -> jnp.dtype:
    """float32, or float64 where an array is: what all is computed in."""
    return jnp.promote_types(jnp.result_type(*arrays), jnp.float32)


def class_logits(logits: ArrayLike, axis: int = -1) -> jax.Array:
    """Logits that are finite or −inf: beside a certain class, all others are −inf."""
    logits = jnp.asarray(logits).astype(compute_dtype(logits))
    certain = jnp.isposinf(logits)
    others = jnp.where(jnp.isnan(logits), logits, -jnp.inf)
    among = certain.any(axis, keepdims=True)
    logits = jnp.where(among, jnp.where(certain, 0.0, others), logits)
    return bit_logits(logits)


def bit_logits(logits: ArrayLike) -> jax.Array:
    """Log-odds that are ±inf or of moderate size."""
    logits = jnp.asarray(logits).astype(compute_dtype(logits))
    return jnp.where(
        jnp.isinf(logits), logits, jnp.clip(logits, -_LARGEST, _LARGEST)
    )


def finite(logits: jax.Array) -> jax.Array:
    """Logits with 0 instead of ±inf, and no gradient there."""
    return jnp.where(jnp.isinf(logits), 0.0, logits)


def log_masses(logits: ArrayLike, axis: int = -1) -> jax.Array:
    """Normalised log masses of the classes: log_softmax(logits), −inf if forbidden."""
    return jax.nn.log_softmax(class_logits(logits, axis), axis)


def bit_log_masses(logits: ArrayLike) -> jax.Array:
    """Normalised log masses of 0 and 1, [..., 2]."""
    logits = bit_logits(logits)
    signed = jnp.stack([-logits, logits], axis=-1)
    certain = jnp.where(signed > 0, 0.0, -jnp.inf).astype(signed.dtype)
    return jnp.where(jnp.isinf(signed), certain, jax.nn.log_sigmoid(finite(signed)))


def weighted_sum(weights: jax.Array, logs: jax.Array) -> jax.Array:
    """Σ_k weights_k · logs_k with 0 · (−inf) = 0; −inf if a forbidden class has weight.

    Args:
        weights: [..., K].
        logs: log masses, [..., K].

    Returns:
        [...], linear in the weights of the allowed classes.
    """
    total = (weights * finite(logs)).sum(axis=-1)
    forbidden = (jnp.isneginf(logs) & (weights != 0)).any(axis=-1)
    return jnp.where(forbidden, -jnp.inf, total)


def kl_sum(log_q: jax.Array, log_p: jax.Array) -> jax.Array:
    """Σ_k q_k (log q_k − log p_k), [...]; +inf where q has mass on what p forbids."""
    forbidden = jnp.isneginf(log_q) | jnp.isneginf(log_p)
    safe_q = jnp.where(forbidden, 0.0, log_q)
    safe_p = jnp.where(forbidden, 0.0, log_p)
    total = (jnp.exp(safe_q) * (safe_q - safe_p)).sum(axis=-1)
    absent = (jnp.isneginf(log_p) & (jnp.exp(log_q) > 0)).any(axis=-1)
    return jnp.where(absent, jnp.inf, total)


def log_ratio(log_q: jax.Array, log_p: jax.Array) -> jax.Array:
    """log q − log p of a point; 0 where q is 0, as a weight by q would make it."""
    return jnp.where(jnp.isneginf(log_q), 0.0, log_q - log_p)
