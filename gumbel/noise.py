"""Standard Gumbel and logistic noise, finite and with the tails resolved."""

import jax
import jax.numpy as jnp

from gumbel.threefry import random_bits

# The largest float32 below 1, so that log1p(-u) stays finite.
_ALMOST_ONE = 1.0 - 2.0**-24


def _midpoints(bits: jax.Array) -> jax.Array:
    """Maps 32 random bits to uniforms (k + 1/2) / 2³¹, k = the upper 31 bits.

    Small values keep float32's relative precision (the smallest is 2⁻³²), so the
    tail that `log` stretches is resolved; 0 and 1 never occur.
    """
    k = (bits >> 1).astype(jnp.int32).astype(jnp.float32)
    return jnp.minimum((k + 0.5) * 2.0**-31, _ALMOST_ONE)


def _gumbel_from_bits(bits: jax.Array) -> jax.Array:
    """−log(−log(1 − u)): monotone in the bits, so its extremes bound every draw."""
    return -jnp.log(-jnp.log1p(-_midpoints(bits)))


def _logistic_from_bits(bits: jax.Array) -> jax.Array:
    """±(log v − log(1 − v)), v = u/2 ≤ 1/2, the lowest bit gives the sign."""
    v = 0.5 * _midpoints(bits)
    magnitude = jnp.log1p(-v) - jnp.log(v)
    return jnp.where(bits & 1 == 1, magnitude, -magnitude)


def gumbel_noise(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
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


def logistic_noise(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard logistic noise, symmetric and finite for every key: within ±22.9.

    Args:
        key: a typed PRNG key.
        shape: the shape of the result.

    Returns:
        float32 array of that shape.
    """
    return _logistic_from_bits(random_bits(key, shape))
