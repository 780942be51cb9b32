"""Hard memory: every chain is followed by integer addresses, however long."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.examples import hard_memory as example


def test_chains_are_followed():
    right = example.main(steps=300)
    assert right.shape == (100,)
    # One in ten by chance.
    assert right.min() > 0.9


def test_a_wrong_address_is_seen():
    code_key, memory_key = jax.random.split(jax.random.key(0))
    codes = jax.random.rademacher(code_key, (example.SLOTS, example.BITS), float)
    memory = example.make_memory(memory_key, 500)
    # Codes of different slots agree in fewer bits than a code has: this is perfect.
    perfect = {"address": codes.T, "symbol": jnp.eye(example.SYMBOLS)}
    assert (example.follow(perfect, codes, *memory) == 1.0).all()
    permuted = perfect | {"address": jnp.roll(codes.T, 1, axis=1)}
    assert example.follow(permuted, codes, *memory).mean() < 0.25


def test_slots_point_anywhere():
    pointers, symbols = example.make_memory(jax.random.key(3), 500)
    for numbers, most in ((pointers, example.SLOTS), (symbols, example.SYMBOLS)):
        counts = np.bincount(np.asarray(numbers).ravel(), minlength=most)
        n, p = numbers.size, 1 / most
        assert len(counts) == most
        assert (np.abs(counts - n * p) < 5 * np.sqrt(n * p * (1 - p))).all()
