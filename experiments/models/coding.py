"""Codes of a layer's value for the next layer: as it is, or corners of a cube.

Shapes: B batch, N variables, K classes, U units.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np


def corners(num_classes: int) -> jax.Array:
    """The corner matrix C of Maddison, Mnih & Teh (2017).

    Column k holds the binary digits of k, the highest first and −1 for 0: the columns
    are the corners of {−1, 1}^(log2 K).

    Args:
        num_classes: K, a power of two.

    Returns:
        [log2 K, K].

    Raises:
        ValueError: if K is not a power of two from 2.
    """
    if not is_power_of_two(num_classes):
        raise ValueError(f"num_classes={num_classes!r}: must be a power of two from 2")
    digits = np.arange(num_classes.bit_length() - 1)[::-1, None]
    bits = np.arange(num_classes)[None] >> digits & 1
    return jnp.asarray(2 * bits - 1, jnp.float32)


def is_power_of_two(num_classes: int) -> bool:
    """Whether there is a cube with as many corners as classes."""
    return num_classes >= 2 and num_classes & (num_classes - 1) == 0


def corner_code(value) -> jax.Array:
    """The corner of each variable, C·D for one-hot D and C·X for relaxed X.

    A Bernoulli variable b is the case K = 2, with the code 2b − 1.

    Args:
        value: Bernoulli [B, N] or categorical [B, N, K].

    Returns:
        [B, U] with U = N or N·log2 K, the coordinates of a variable side by side.

    Raises:
        ValueError: if K is not a power of two.
    """
    if value.ndim == 2:
        return 2 * value - 1
    code = value @ corners(value.shape[2]).T.astype(value.dtype)
    return code.reshape(value.shape[0], -1)


def plain_code(value) -> jax.Array:
    """The value as it is: Bernoulli [B, N], categorical [B, N, K] -> [B, N·K]."""
    return value.reshape(value.shape[0], -1)


CODES: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "plain": plain_code,
    "corners": corner_code,
}
