"""The bits of jax.random, the same ones, in less time on CPU.

There jax.random.bits is a loop of five passes over all counters, each written to memory
and read again; here all rounds of Threefry-2x32 (Salmon, Moraes, Dror & Shaw, 2011) are
one pass. Elsewhere, and for keys of another generator, jax.random itself is called.
"""

import math

import jax
import jax.numpy as jnp

from gumbel.checks import check_key

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def random_bits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws 32 random bits an element: bit for bit jax.random.bits(key, shape).

    Args:
        key: a typed PRNG key.
        shape: the shape of the result.

    Returns:
        uint32 array of that shape.

    Raises:
        ValueError: if the key is not typed, or a batch of keys.
    """
    check_key(key)

    def by_jax(key: jax.Array) -> jax.Array:
        return jax.random.bits(key, shape, jnp.uint32)

    is_threefry = str(jax.random.key_impl(key)) == "threefry2x32"
    size = math.prod(shape)
    # Below, a counter is the low one of two words, and an element has its own.
    if not (is_threefry and jax.config.jax_threefry_partitionable and 1 < size < 2**32):
        return by_jax(key)
    return jax.lax.platform_dependent(
        key, cpu=lambda key: _in_one_pass(key, size).reshape(shape), default=by_jax
    )


def _in_one_pass(key: jax.Array, size: int) -> jax.Array:
    high, low = jax.random.key_data(key)

    def draw(unused):
        counters = jax.lax.iota(jnp.uint32, size)
        words = _threefry(high, low, jnp.zeros_like(counters), counters)
        return words[0] ^ words[1]

    # The first turn draws, the second does nothing: a loop is the one thing that XLA
    # does not fuse with what reads the bits, and rounds fused with a logarithm are not
    # vectorised. Not halves in turns: devices that share a batch split the whole.
    return jax.lax.fori_loop(
        0,
        2,
        lambda turn, bits: jax.lax.cond(turn == 0, draw, lambda bits: bits, bits),
        jnp.zeros(size, jnp.uint32),
    )


def _threefry(high, low, x, y) -> tuple[jax.Array, jax.Array]:
    """Threefry-2x32 of 20 rounds: counters of two words, x and y, under a key of two.

    Args:
        high, low: the words of the key, scalars.
        x, y: of the counters, [n].
    """
    keys = high, low, high ^ low ^ jnp.uint32(_PARITY)
    x, y = x + keys[0], y + keys[1]
    for block in range(5):
        for rotation in _ROTATIONS[block % 2]:
            x = x + y
            y = x ^ ((y << rotation) | (y >> (32 - rotation)))
        x = x + keys[(block + 1) % 3]
        y = y + keys[(block + 2) % 3] + jnp.uint32(block + 1)
    return x, y
