"""Subsets of k classes: Gumbel top-k, its relaxation, and straight-through.

The k largest of logits with Gumbel noise are a sample of k classes without replacement:
the order in which they come is that of drawing one after another, each from the classes
that are left (Gumbel-Max top-k; Kool, van Hoof & Welling, Stochastic Beams, 2019).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gumbel.checks import check_classes, check_count, check_logits
from gumbel.logits import bit_logits, finite
from gumbel.noise import gumbel_noise
from gumbel.samplers import of_variables, straight_through

# By how much a class of logit +inf leads the others. Noise differs by less than 26.
_LEAD = 60.0


class Scores(NamedTuple):
    """logits + G as an unevaluated sum, [..., K]: exact, however large the logits.

    Attributes:
        scores: the rounded sum, −inf at forbidden classes.
        errors: what rounding took away.
    """

    scores: jax.Array
    errors: jax.Array


def _perturbed(key: jax.Array, logits: ArrayLike, k: int) -> Scores:
    """logits + G with the classes on the last axis."""
    check_logits("logits", logits)
    check_classes("logits", logits)
    check_count("k", k)
    if k > jnp.shape(logits)[-1]:
        raise ValueError(f"k={k}: must be at most {jnp.shape(logits)[-1]}, the classes")
    logits = bit_logits(logits)
    certain = jnp.isposinf(logits)
    # Relative to the largest: in a sum with large logits noise would be lost.
    largest = jnp.where(certain, -jnp.inf, logits).max(axis=-1, keepdims=True)
    relative = finite(logits) - jax.lax.stop_gradient(finite(largest))
    noise = gumbel_noise(key, logits.shape).astype(logits.dtype)
    leading = jnp.where(certain, _LEAD, relative)
    scores = leading + noise
    # Knuth's two-sum: classes that are masked by −10⁹ are still told apart by noise.
    of_noise = scores - leading
    errors = (leading - (scores - of_noise)) + (noise - of_noise)
    return Scores(jnp.where(jnp.isneginf(logits), -jnp.inf, scores), errors)


def _top_k(perturbed: Scores, k: int) -> jax.Array:
    """k-hot of the k largest, NaN where a score is, or fewer than k are allowed."""
    scores, errors = perturbed
    classes = jax.lax.broadcasted_iota(jnp.int32, scores.shape, scores.ndim - 1)
    ordered, _, order = jax.lax.sort((-scores, -errors, classes), num_keys=2)
    k_hot = jnp.put_along_axis(
        jnp.zeros_like(scores), order[..., :k], 1.0, axis=-1, inplace=False
    )
    exists = (ordered[..., k - 1 : k] < jnp.inf) & ~jnp.isnan(scores).any(
        -1, keepdims=True
    )
    return jnp.where(exists, k_hot, jnp.nan)


def gumbel_top_k(
    key: jax.Array, logits: ArrayLike, k: int, *, axis: int = -1
) -> jax.Array:
    """Draws k of K classes without replacement, exactly.

    The k-hot vector of the k largest of logits + G: class after class is drawn with
    the probabilities softmax(logits) of those that are left.

    Args:
        key: a typed PRNG key.
        logits: unnormalised log probabilities, [..., K] with K on `axis`. Classes of
            +inf come first, in uniform order.
        k: how many, from 1 to K.
        axis: the class axis.

    Returns:
        k-hot array of the shape and dtype of `logits`, NaN where fewer than k classes
        are allowed; no gradient flows to the logits.

    Raises:
        ValueError: if logits are not floating point or have no class axis, or k is not
            an integer from 1 to K.
    """
    check_classes("logits", logits, axis)
    moved = jnp.moveaxis(jax.lax.stop_gradient(logits), axis, -1)
    k_hot = jnp.moveaxis(_top_k(_perturbed(key, moved, k), k), -1, axis)
    return k_hot.astype(jnp.result_type(logits))


def _log_not_drawn(log_p: jax.Array) -> jax.Array:
    """log(1 − p) of each class; of a p near 1 it is the log mass of the rest."""
    # One class at most. The rest is empty where it is the last one, and none is needed.
    likely = log_p > -0.5
    others = jnp.where(likely, -jnp.inf, log_p)
    empty = jnp.isneginf(others).all(axis=-1, keepdims=True)
    log_rest = jax.nn.logsumexp(jnp.where(empty, 0.0, others), axis=-1, keepdims=True)
    return jnp.where(likely, log_rest, jnp.log1p(-jnp.exp(others)))


def relaxed_top_k(
    key: jax.Array,
    logits: ArrayLike,
    k: int,
    temperature: ArrayLike,
    *,
    hard: bool = False,
    axis: int = -1,
) -> jax.Array:
    """Draws a relaxed k-hot sample, differentiable in logits and temperature.

    Σ_j p^j, j = 1 … k, with α¹ = logits + G, p^j = softmax(α^j / τ) and
    α^{j+1} = α^j + log(1 − p^j): Xie & Ermon, Reparameterizable Subset Sampling via
    Continuous Relaxations, 2019. For τ → 0 it is the sample of `gumbel_top_k` of the
    same key. The entries sum to k; where τ is high, one may exceed 1.

    Args:
        key: a typed PRNG key.
        logits: unnormalised log probabilities, [..., K] with K on `axis`. A class of
            +inf counts as one that leads all others by 60.
        k: how many, from 1 to K.
        temperature: τ > 0, broadcasts against the logits without the class axis.
        hard: whether the forward value is exactly k-hot, with the gradient of the
            relaxed one.
        axis: the class axis.

    Returns:
        Array of the shape and dtype of `logits`, NaN where fewer than k classes are
        allowed.

    Raises:
        ValueError: if logits are not floating point or have no class axis, k is not an
            integer from 1 to K, or the temperature has another shape or, where
            concrete, is not in range.
    """
    check_classes("logits", logits, axis)
    dtype = jnp.result_type(logits)
    perturbed = _perturbed(key, jnp.moveaxis(jnp.asarray(logits), axis, -1), k)
    scores = perturbed.scores
    allowed = ~jnp.isneginf(scores)
    temperature = of_variables(temperature, scores, -1)

    def log_softmax(alpha: jax.Array) -> jax.Array:
        masked = jnp.where(allowed, alpha / temperature, -jnp.inf)
        return jax.nn.log_softmax(masked)

    def draw(carry: tuple, unused: None) -> tuple:
        alpha, log_p, total = carry
        alpha = alpha + _log_not_drawn(log_p)
        log_p = log_softmax(alpha)
        return (alpha, log_p, total + jnp.exp(log_p)), None

    alpha = finite(scores)
    log_p = log_softmax(alpha)
    (_, _, soft), _ = jax.lax.scan(draw, (alpha, log_p, jnp.exp(log_p)), length=k - 1)
    hot = _top_k(perturbed, k)
    soft = jnp.where(jnp.isnan(hot), jnp.nan, soft)
    soft, hot = (jnp.moveaxis(a, -1, axis).astype(dtype) for a in (soft, hot))
    return straight_through(hot, soft) if hard else soft
