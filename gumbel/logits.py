"""Logits and sums in float32: forbidden and certain values, log masses, expectations.

A logit of −inf forbids a class (a bit: a 1) and one of +inf makes it certain; several
classes of +inf share the mass equally. A formula that meets an infinity is NaN, in its
gradient even where `where` discards its value, so formulas get `finite` logits and
restore the infinities afterwards, as constants: gradients of infinite logits are 0.
NaN stays NaN.

One dtype rule: everything is computed in float32, in float64 where the logits are.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gumbel.checks import check_array

# Finite logits count as at most this large: noise is lost in any beyond 10⁸, and sums
# and multiples of what remains are finite. `jnp.finfo(jnp.float32).min` is beyond.
_LARGEST = 1e30
# Noise added to more than this has less than 5 digits in float32.
_LARGE = 100.0


def compute_dtype(*arrays: ArrayLike) -> jnp.dtype:
    """float32, or float64 where an array is: what all is computed in."""
    for array in arrays:
        check_array("argument", array)
    # By hand: strict promotion refuses a narrow type beside float32.
    doubles = any(jnp.result_type(array) == jnp.float64 for array in arrays)
    return jnp.dtype(jnp.float64 if doubles else jnp.float32)


def wide(x: jax.Array) -> jax.Array:
    """The same numbers in float32, or float64 where they are: for sums and scores."""
    return x.astype(compute_dtype(x))


def sum_variables(per_variable: jax.Array) -> jax.Array:
    """Sums [B, ...] over all axes but the batch, in float32: done here and only here.

    A sum in bfloat16 has three digits, whatever those of its terms.
    """
    per_variable = wide(per_variable)
    return per_variable.sum(axis=tuple(range(1, per_variable.ndim)))


def class_logits(
    logits: ArrayLike, axis: int = -1, *, relative: bool = True
) -> jax.Array:
    """Logits that are finite or −inf: beside a certain class, all others are −inf.

    Args:
        logits: [..., K] with K on `axis`.
        axis: the class axis.
        relative: whether large ones count from the largest, which changes no law:
            noise that is added to 10⁸ is lost.
    """
    logits = bit_logits(logits)
    certain = jnp.isposinf(logits)
    known = jnp.where(jnp.isnan(logits), -jnp.inf, jax.lax.stop_gradient(logits))
    largest = known.max(axis, keepdims=True)
    is_large = relative & (jnp.abs(largest) > _LARGE)
    offset = jnp.where(is_large, finite(largest), 0.0)
    others = jnp.where(jnp.isnan(logits), logits, -jnp.inf)
    only_certain = jnp.where(certain, 0.0, others)
    return jnp.where(jnp.isposinf(largest), only_certain, logits - offset)


def bit_logits(logits: ArrayLike) -> jax.Array:
    """Log-odds that are ±inf or of moderate size."""
    logits = jnp.asarray(logits).astype(compute_dtype(logits))
    return jnp.where(jnp.isinf(logits), logits, jnp.clip(logits, -_LARGEST, _LARGEST))


def finite(logits: jax.Array) -> jax.Array:
    """Logits with 0 instead of ±inf, and no gradient there."""
    return jnp.where(jnp.isinf(logits), 0.0, logits)


def unless(impossible: jax.Array, value: jax.Array, instead: ArrayLike) -> jax.Array:
    """A value, or what stands for an impossible one; NaN where the value is."""
    return jnp.where(impossible & ~jnp.isnan(value), instead, value)


class LogMasses(NamedTuple):
    """Normalised log masses of the values of a variable, [..., K].

    Attributes:
        logs: the log masses, but any finite numbers at the forbidden values.
        allowed: which values are not forbidden.
    """

    logs: jax.Array
    allowed: jax.Array

    @property
    def masses(self) -> jax.Array:
        """The masses, exactly 0 at the forbidden values."""
        return jnp.exp(jnp.where(self.allowed, self.logs, -jnp.inf))


def log_masses(logits: ArrayLike) -> LogMasses:
    """Log masses of the classes, [..., K]: log_softmax(logits)."""
    logits = class_logits(logits)
    allowed = ~jnp.isneginf(logits)
    top = jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True))
    shifted = finite(logits) - top
    weights = jnp.exp(jnp.where(allowed, shifted, -jnp.inf))
    return LogMasses(shifted - jnp.log(weights.sum(axis=-1, keepdims=True)), allowed)


def bit_log_masses(logits: ArrayLike) -> LogMasses:
    """Log masses of 0 and 1, [..., 2]: log_sigmoid(∓logits)."""
    logits = bit_logits(logits)
    signed = jnp.stack([-logits, logits], axis=-1)
    logs = jnp.where(jnp.isinf(signed), 0.0, jax.nn.log_sigmoid(finite(signed)))
    return LogMasses(logs, ~jnp.isneginf(signed))


def weighted_sum(weights: jax.Array, masses: LogMasses) -> jax.Array:
    """Σ_k weights_k · log mass_k with 0 · (−inf) = 0, linear in the weights.

    Args:
        weights: [..., K].
        masses: [..., K].

    Returns:
        [...], −inf where a forbidden value has weight.
    """
    total = (weights * masses.logs).sum(axis=-1)
    return unless(outside(weights, masses), total, -jnp.inf)


def outside(weights: jax.Array, masses: LogMasses) -> jax.Array:
    """Whether a forbidden value has weight, [...]."""
    return (~masses.allowed & (weights != 0)).any(axis=-1)


def log_ratio_sum(weights: jax.Array, q: LogMasses, p: LogMasses) -> jax.Array:
    """Σ_k weights_k (log q_k − log p_k), [...].

    0 where q forbids what has weight, as the expectation under q would count it;
    else +inf where p does.
    """
    total = (weights * q.logs).sum(axis=-1) - (weights * p.logs).sum(axis=-1)
    total = unless(outside(weights, p), total, jnp.inf)
    return unless(outside(weights, q), total, 0.0)


def kl_sum(q: LogMasses, p: LogMasses) -> jax.Array:
    """Σ_k q_k (log q_k − log p_k), [...]; +inf where q has mass on what p forbids."""
    total = (q.masses * (q.logs - p.logs)).sum(axis=-1)
    return unless(outside(q.masses, p), total, jnp.inf)


def entropy_sum(masses: LogMasses) -> jax.Array:
    """−Σ_k p_k log p_k, [...]."""
    return -(masses.masses * masses.logs).sum(axis=-1)


def log_ratio(log_q: jax.Array, log_p: jax.Array) -> jax.Array:
    """log q − log p of a point; 0 where q is 0, as a weight by q would make it."""
    return jnp.where(jnp.isneginf(log_q), 0.0, log_q - log_p)
