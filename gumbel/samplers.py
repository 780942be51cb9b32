"""Gumbel-Max, its softmax relaxation, and their straight-through forms.

Adding Gumbel noise to logits and taking the argmax is an exact categorical sample
(Gumbel-Max). Replacing the argmax by a softmax with a temperature gives a sample
that the chain rule can pass through: Gumbel-Softmax [1], also called Concrete [2].
With two classes only the difference of the two Gumbels counts; it is logistic.

[1] Jang, Gu & Poole, Categorical Reparameterization with Gumbel-Softmax, 2017.
[2] Maddison, Mnih & Teh, The Concrete Distribution, 2017.

Logits need not be normalised: adding a constant to all classes changes nothing.
Noise, softmax and argmax are computed in float32 (float64 where the logits are) and
cast to the dtype of the logits last: noise drawn in bfloat16 has 128 distinct
values, and the classes' frequencies are visibly wrong.
"""

import jax
import jax.numpy as jnp

from gumbel.checks import check_classes, check_logits, check_positive
from gumbel.threefry import random_bits

# The largest float32 below 1, so that log1p(-u) stays finite.
_ALMOST_ONE = 1.0 - 2.0**-24


def _midpoints(bits):
    """Maps 32 random bits to uniforms (k + 1/2) / 2³¹, k = the upper 31 bits.

    Small values keep float32's relative precision (the smallest is 2⁻³²), so the
    tail that `log` stretches is resolved; 0 and 1 never occur.
    """
    k = (bits >> 1).astype(jnp.int32).astype(jnp.float32)
    return jnp.minimum((k + 0.5) * 2.0**-31, _ALMOST_ONE)


def _gumbel_from_bits(bits):
    """−log(−log(1 − u)): monotone in the bits, so its extremes bound every draw."""
    return -jnp.log(-jnp.log1p(-_midpoints(bits)))


def _logistic_from_bits(bits):
    """±(log v − log(1 − v)), v = u/2 ≤ 1/2, the lowest bit gives the sign."""
    v = 0.5 * _midpoints(bits)
    magnitude = jnp.log1p(-v) - jnp.log(v)
    return jnp.where(bits & 1 == 1, magnitude, -magnitude)


def gumbel_noise(key, shape: tuple[int, ...]):
    """Standard Gumbel noise, finite for every key: in [−2.81, 22.2].

    `jax.random.gumbel` stops at 15.9 by default; its `mode="high"` reaches further
    with twice the random bits. Here 31 bits resolve the upper tail, the one that
    decides an argmax, at the cost of the default (`scripts/benchmark.py noise`).

    Args:
        key: a typed PRNG key.
        shape: the shape of the result.

    Returns:
        float32 array of that shape.
    """
    return _gumbel_from_bits(random_bits(key, shape))


def logistic_noise(key, shape: tuple[int, ...]):
    """Standard logistic noise, symmetric and finite for every key: within ±22.9.

    Args:
        key: a typed PRNG key.
        shape: the shape of the result.

    Returns:
        float32 array of that shape.
    """
    return _logistic_from_bits(random_bits(key, shape))


def straight_through(hard, soft):
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


def compute_dtype(logits):
    """float32, or float64 for float64 logits: what noise and densities are made in."""
    return jnp.promote_types(jnp.result_type(logits), jnp.float32)


def _perturbed(key, logits):
    dtype = compute_dtype(logits)
    return logits.astype(dtype) + gumbel_noise(key, logits.shape).astype(dtype)


def _one_hot_argmax(scores, axis: int, dtype):
    index = jnp.argmax(scores, axis=axis)
    return jax.nn.one_hot(index, scores.shape[axis], dtype=dtype, axis=axis)


def gumbel_max(key, logits, *, axis: int = -1):
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
    check_classes("logits", logits, axis)
    logits = jnp.asarray(logits)
    return _one_hot_argmax(_perturbed(key, logits), axis, logits.dtype)


def _integer_masses(logits):
    """How many of 2³¹ equally likely numbers each class owns, [..., K] uint32.

    ⌊2³¹ softmax_k(logits)⌋, and the likeliest class has the rest.
    """
    probabilities = jax.nn.softmax(logits.astype(compute_dtype(logits)))
    likeliest = jnp.argmax(probabilities, axis=-1)
    has_rest = jax.nn.one_hot(likeliest, logits.shape[-1], dtype=bool)
    masses = jnp.floor(probabilities * 2.0**31).astype(jnp.uint32)
    masses = jnp.where(has_rest, jnp.uint32(0), masses)
    rest = jnp.uint32(2**31) - masses.sum(axis=-1, keepdims=True, dtype=jnp.uint32)
    return jnp.where(has_rest, rest, masses)


def categorical(key, logits):
    """Draws an exact one-hot sample from one random number a variable.

    Inverse CDF on integers: the class whose share of 2³¹ numbers, ⌊2³¹ p_k⌋, holds
    the number drawn. Sums of integers are exact, so a rare class never comes more often
    than it should; the rounded sums of floats let it, and a bound on hard samples,
    where its weight 1/q is large, would be none. Gumbel-Max has the same law and needs
    K random numbers (`scripts/benchmark.py categorical`).

    Args:
        key: a typed PRNG key.
        logits: unnormalised log probabilities, [..., K].

    Returns:
        One-hot array of the shape and dtype of `logits`; no gradient flows to them.

    Raises:
        ValueError: if logits are not floating point or have no class axis.
    """
    check_logits("logits", logits)
    check_classes("logits", logits, -1)
    logits = jax.lax.stop_gradient(jnp.asarray(logits))
    masses = _integer_masses(logits)
    above = jnp.cumsum(masses, axis=-1, dtype=jnp.uint32)
    number = random_bits(key, (*logits.shape[:-1], 1)) >> 1
    return ((above - masses <= number) & (number < above)).astype(logits.dtype)


def gumbel_softmax(key, logits, temperature, *, hard: bool = False, axis: int = -1):
    """Draws a relaxed one-hot sample, differentiable in logits and temperature.

    softmax((logits + G) / τ): [1] eq. (2), [2] Definition 1. With `hard` the value is
    onehot(argmax(logits + G)), the Gumbel-Max sample of the same key, and the gradient
    that of the softmax (straight-through Gumbel-Softmax, [1] section 2.2).

    Args:
        key: a typed PRNG key.
        logits: unnormalised log probabilities, [..., K] with K on `axis`.
        temperature: τ > 0, broadcast against logits. For τ → 0 use `gumbel_max`.
        hard: whether the forward value is exactly one-hot.
        axis: the class axis.

    Returns:
        Array of the shape and dtype of `logits`, on the simplex along `axis`.

    Raises:
        ValueError: if logits are not floating point or have no class axis, or a
            concrete temperature is not positive and finite.
    """
    check_logits("logits", logits)
    check_classes("logits", logits, axis)
    check_positive("temperature", temperature)
    logits = jnp.asarray(logits)
    scores = _perturbed(key, logits)
    soft = jax.nn.softmax(scores / temperature, axis=axis).astype(logits.dtype)
    if not hard:
        return soft
    return straight_through(_one_hot_argmax(scores, axis, logits.dtype), soft)


def binary_concrete(key, logits, temperature, *, hard: bool = False):
    """Draws a relaxed 0/1 sample, differentiable in logits and temperature.

    sigmoid((logits + L) / τ), L ~ Logistic(0, 1): [2], the binary case. With `hard` the
    value is 1[logits + L > 0] and the gradient that of the sigmoid.

    Args:
        key: a typed PRNG key.
        logits: log-odds, [...].
        temperature: τ > 0, broadcast against logits.
        hard: whether the forward value is exactly 0 or 1.

    Returns:
        Array of the shape and dtype of `logits`, in [0, 1].

    Raises:
        ValueError: if logits are not floating point, or a concrete temperature is not
            positive and finite.
    """
    check_logits("logits", logits)
    check_positive("temperature", temperature)
    logits = jnp.asarray(logits)
    dtype = compute_dtype(logits)
    scores = logits.astype(dtype) + logistic_noise(key, logits.shape).astype(dtype)
    soft = jax.nn.sigmoid(scores / temperature).astype(logits.dtype)
    if not hard:
        return soft
    return straight_through((scores > 0).astype(logits.dtype), soft)
