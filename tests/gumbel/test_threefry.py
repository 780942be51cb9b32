"""The bits of jax.random: the same ones, for every key and shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gumbel.threefry import _threefry, random_bits


@pytest.mark.parametrize(
    "counter, key, expected",
    [
        # The known answers that its authors distribute, kat_vectors of Random123.
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((2**32 - 1,) * 2, (2**32 - 1,) * 2, (0x1CB996FC, 0xBB002BE7)),
        (
            (0x243F6A88, 0x85A308D3),
            (0x13198A2E, 0x03707344),
            (0xC4923A9C, 0x483DF7A0),
        ),
    ],
)
def test_known_answers(counter, key, expected):
    words = (jnp.full(1, word, jnp.uint32) for word in counter)
    found = _threefry(*(jnp.uint32(word) for word in key), *words)
    assert tuple(int(word[0]) for word in found) == expected


@pytest.mark.parametrize("shape", [(), (1,), (2,), (3,), (7, 3), (0, 4), (100, 20, 10)])
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_the_bits_are_those_of_jax(shape, impl):
    key = jax.random.key(5, impl=impl)
    expected = np.asarray(jax.random.bits(jax.random.clone(key), shape, jnp.uint32))
    found = random_bits(key, shape)
    assert found.dtype == jnp.uint32
    np.testing.assert_array_equal(found, expected)


def test_under_jit_and_vmap():
    keys = jax.random.split(jax.random.key(0), 5)
    one_by_one = [jax.random.bits(jax.random.clone(k), (3, 4)) for k in keys]
    found = jax.jit(jax.vmap(lambda key: random_bits(key, (3, 4))))(keys)
    np.testing.assert_array_equal(found, np.stack(one_by_one))


def test_the_older_layout_of_counters_is_left_to_jax():
    with jax.threefry_partitionable(False):
        key = jax.random.key(1)
        expected = np.asarray(jax.random.bits(jax.random.clone(key), (8,), jnp.uint32))
        np.testing.assert_array_equal(random_bits(key, (8,)), expected)
