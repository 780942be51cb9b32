"""Gumbel-Max, its softmax relaxation, and their straight-through forms.

Adding Gumbel noise to logits and taking the argmax is an exact categorical sample
(Gumbel-Max). Replacing the argmax by a softmax with a temperature gives a sample
that the chain rule can pass through: Gumbel-Softmax [1], also called Concrete [2].
With two classes only the difference of the two Gumbels counts; it is logistic.

[1] Jang, Gu & Poole, Categorical Reparameterization with Gumbel-Softmax, 2017.
[2] Maddison, Mnih & Teh, The Concrete Distribution, 2017.

Logits need not be normalised: adding a constant to all classes changes nothing. One of
−inf is never drawn, one of +inf always, and NaN gives NaN (see `gumbel.logits`). Noise,
softmax and argmax are computed in float32 (float64 where the logits are) and cast to
the dtype of the logits last: noise drawn in bfloat16 has 128 distinct values, and the
classes' frequencies are visibly wrong.

A temperature is a scalar or has an entry a variable: it broadcasts, as NumPy would,
against the logits without their class axis.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import ArrayLike

from gumbel.checks import check_classes, check_logits, check_temperature
from gumbel.logits import bit_logits, class_logits, finite
from gumbel.noise import gumbel_noise, logistic_noise


def straight_through(hard: jax.Array, soft: jax.Array) -> jax.Array:
    """The hard value forward, the gradient of the soft one backward.

    (soft − sg(soft)) + sg(hard), with these parentheses: the bracket is exactly 0, so
    the value is exactly `hard` in every dtype, under jit too. Summed in another order
    the rounding of `soft` remains.

    Args:
        hard: the value; its gradient is stopped.
        soft: same shape and dtype; gives the gradient.

    Returns:
        An array equal to `hard`.
    """
    return (soft - jax.lax.stop_gradient(soft)) + jax.lax.stop_gradient(hard)


def one_hot_argmax(scores: ArrayLike, axis: int = -1) -> jax.Array:
    """One-hot argmax of scores, NaN where there is none: a score is NaN, or all −inf.

    Args:
        scores: [..., K] with K on `axis`.
        axis: the class axis.
    """
    scores = jnp.asarray(scores)
    index = jnp.argmax(scores, axis=axis)
    one_hot = jax.nn.one_hot(index, scores.shape[axis], dtype=scores.dtype, axis=axis)
    # Of argmax, which finds NaN: XLA's max passes over NaN in large arrays on CPU.
    largest = jnp.where(one_hot == 1, scores, 0.0).sum(axis=axis, keepdims=True)
    return jnp.where(largest > -jnp.inf, one_hot, jnp.nan)


def threshold(scores: ArrayLike) -> jax.Array:
    """1[scores > 0], NaN where a score is NaN."""
    scores = jnp.asarray(scores)
    return jnp.where(jnp.isnan(scores), scores, (scores > 0).astype(scores.dtype))


def of_variables(
    temperature: ArrayLike, logits: jax.Array, axis: int | None = None
) -> jax.Array:
    """A checked temperature in the logits' dtype: a scalar, or one a variable.

    Args:
        temperature: [], or broadcasts against the logits without the class axis.
        logits: float32 or float64.
        axis: the class axis, on which the result has size 1; None: there is none.

    Returns:
        [], or an array that broadcasts against the logits.
    """
    variables = list(logits.shape)
    if axis is not None:
        del variables[axis]
    check_temperature(temperature, tuple(variables))
    temperature = jnp.asarray(temperature).astype(logits.dtype)
    if temperature.ndim == 0:
        return temperature
    temperature = jnp.broadcast_to(temperature, variables)
    return temperature if axis is None else jnp.expand_dims(temperature, axis)


def _within_range(scores: jax.Array) -> jax.Array:
    """Scores that did not overflow: infinite ones are those of infinite logits."""
    most = jnp.finfo(scores.dtype).max / 2
    return jnp.clip(scores, -most, most)


@struct.dataclass
class Relaxed:
    """A relaxed sample in log or logit space, and what it was made of.

    From y alone, rounded, the density of a sample with a logit of −10⁹ cannot be
    computed; from the logits and the noise it can. All float32 or float64.

    Attributes:
        y: log_softmax((logits + noise) / temperature), or without the softmax for bits.
        logits: finite, or as infinite as y.
        noise: Gumbel or logistic noise, shaped like the logits.
        temperature: broadcasts against the logits.
    """

    y: jax.Array
    logits: jax.Array
    noise: jax.Array
    temperature: jax.Array


def exp_concrete(
    key: jax.Array, logits: ArrayLike, temperature: ArrayLike, *, axis: int = -1
) -> Relaxed:
    """Draws the log of a Concrete variable: log_softmax((logits + G) / τ).

    The Gumbel-Softmax equation, [1] eq. (2) and [2] Definition 1, in log space.

    Args:
        key: a typed PRNG key.
        logits: unnormalised log probabilities, [..., K] with K on `axis`.
        temperature: τ > 0, broadcasts against the logits without the class axis.
        axis: the class axis.

    Returns:
        The sample y [..., K], −inf at forbidden classes, with its noise.

    Raises:
        ValueError: if logits are not floating point or have no class axis, or the
            temperature has another shape or, where concrete, is not in range.
    """
    check_logits("logits", logits)
    check_classes("logits", logits, axis)
    logits = class_logits(logits, axis)
    temperature = of_variables(temperature, logits, axis)
    noise = gumbel_noise(key, logits.shape).astype(logits.dtype)
    scores = _within_range((finite(logits) + noise) / temperature)
    scores = jnp.where(jnp.isneginf(logits), -jnp.inf, scores)
    return Relaxed(jax.nn.log_softmax(scores, axis), logits, noise, temperature)


def logit_binary_concrete(
    key: jax.Array, logits: ArrayLike, temperature: ArrayLike
) -> Relaxed:
    """Draws the logit of a binary Concrete variable: (logits + L) / τ.

    Args:
        key: a typed PRNG key.
        logits: log-odds, [...].
        temperature: τ > 0, broadcasts against the logits.

    Returns:
        The sample y [...], ±inf where the logits are, with its noise.

    Raises:
        ValueError: if logits are not floating point, or the temperature has another
            shape or, where concrete, is not in range.
    """
    check_logits("logits", logits)
    logits = bit_logits(logits)
    temperature = of_variables(temperature, logits)
    noise = logistic_noise(key, logits.shape).astype(logits.dtype)
    y = _within_range((finite(logits) + noise) / temperature)
    y = jnp.where(jnp.isinf(logits), jax.lax.stop_gradient(logits), y)
    return Relaxed(y, logits, noise, temperature)


def gumbel_max(key: jax.Array, logits: ArrayLike, *, axis: int = -1) -> jax.Array:
    """Draws an exact one-hot categorical sample.

    onehot(argmax_k(logits_k + G_k)), G_k ~ Gumbel(0, 1): [1] eq. (1).

    Args:
        key: a typed PRNG key.
        logits: unnormalised log probabilities, [..., K] with K on `axis`.
        axis: the class axis.

    Returns:
        One-hot array of the shape and dtype of `logits`; no gradient flows to them.

    Raises:
        ValueError: if logits are not floating point or have no class axis.
    """
    check_logits("logits", logits)
    sample = exp_concrete(key, jax.lax.stop_gradient(logits), 1.0, axis=axis)
    hard = one_hot_argmax(sample.logits + sample.noise, axis)
    return hard.astype(jnp.result_type(logits))


def bernoulli(key: jax.Array, logits: ArrayLike) -> jax.Array:
    """Draws an exact 0/1 sample: 1[logits + L > 0], L logistic noise.

    Args:
        key: a typed PRNG key.
        logits: log-odds, [...].

    Returns:
        Array of the shape and dtype of `logits`; no gradient flows to them.

    Raises:
        ValueError: if logits are not floating point.
    """
    check_logits("logits", logits)
    sample = logit_binary_concrete(key, jax.lax.stop_gradient(logits), 1.0)
    return threshold(sample.logits + sample.noise).astype(jnp.result_type(logits))


def gumbel_softmax(
    key: jax.Array,
    logits: ArrayLike,
    temperature: ArrayLike,
    *,
    hard: bool = False,
    axis: int = -1,
) -> jax.Array:
    """Draws a relaxed one-hot sample, differentiable in logits and temperature.

    softmax((logits + G) / τ): [1] eq. (2), [2] Definition 1. With `hard` the value is
    onehot(argmax(logits + G)), the Gumbel-Max sample of the same key, and the gradient
    that of the softmax (straight-through Gumbel-Softmax, [1] section 2.2).

    Args:
        key: a typed PRNG key.
        logits: unnormalised log probabilities, [..., K] with K on `axis`.
        temperature: τ > 0, broadcasts against the logits without the class axis: of
            logits [B, N, K] it is [], [N] or [B, N]. For τ → 0 use `gumbel_max`.
        hard: whether the forward value is exactly one-hot.
        axis: the class axis.

    Returns:
        Array of the shape and dtype of `logits`, on the simplex along `axis`.

    Raises:
        ValueError: if logits are not floating point or have no class axis, or the
            temperature has another shape or, where concrete, is not in range.
    """
    sample = exp_concrete(key, logits, temperature, axis=axis)
    dtype = jnp.result_type(logits)
    soft = jnp.exp(sample.y).astype(dtype)
    if not hard:
        return soft
    one_hot = one_hot_argmax(sample.logits + sample.noise, axis)
    return straight_through(one_hot.astype(dtype), soft)


def binary_concrete(
    key: jax.Array, logits: ArrayLike, temperature: ArrayLike, *, hard: bool = False
) -> jax.Array:
    """Draws a relaxed 0/1 sample, differentiable in logits and temperature.

    sigmoid((logits + L) / τ), L ~ Logistic(0, 1): [2], the binary case. With `hard` the
    value is 1[logits + L > 0] and the gradient that of the sigmoid.

    Args:
        key: a typed PRNG key.
        logits: log-odds, [...].
        temperature: τ > 0, broadcasts against the logits.
        hard: whether the forward value is exactly 0 or 1.

    Returns:
        Array of the shape and dtype of `logits`, in [0, 1].

    Raises:
        ValueError: if logits are not floating point, or the temperature has another
            shape or, where concrete, is not in range.
    """
    sample = logit_binary_concrete(key, logits, temperature)
    dtype = jnp.result_type(logits)
    soft = jax.nn.sigmoid(sample.y).astype(dtype)
    if not hard:
        return soft
    return straight_through(threshold(sample.logits + sample.noise).astype(dtype), soft)
