"""Batch order: a pure function of key and step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.engine import batches


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_batches_do_not_depend_on_chunks(impl):
    key = jax.random.key(3, impl=impl)
    indices = jax.jit(batches.batch_indices, static_argnums=(2, 3, 4))
    whole = np.asarray(indices(key, 0, 30, 23, 4))
    for size in (1, 7):  # an epoch has 5 steps
        sizes = [min(size, 30 - start) for start in range(0, 30, size)]
        starts = np.cumsum([0, *sizes[:-1]])
        parts = [indices(key, *part, 23, 4) for part in zip(starts, sizes, strict=True)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert whole.dtype == np.int32


def test_epochs_see_every_example_at_most_once():
    rows = np.asarray(batches.batch_indices(jax.random.key(4), 0, 12, 24, 4))
    epochs = rows.reshape(2, 24)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(24), (2, 1)))
    assert (epochs[0] != epochs[1]).any()
    # 23 examples: five batches of four, and another three left out each epoch.
    rows = np.asarray(batches.batch_indices(jax.random.key(4), 0, 50, 23, 4))
    epochs = rows.reshape(10, 20)
    assert all(len(set(epoch)) == 20 for epoch in epochs.tolist())
    assert set(rows.ravel()) == set(range(23))


def test_batches_compile_once():
    traces = []

    @jax.jit
    def chunk(key, start):
        traces.append(1)
        return batches.batch_indices(key, start, 5, 23, 4)

    key = jax.random.key(5)
    for start in (0, 5, 1_000_000):
        chunk(key, jnp.int32(start))
    assert len(traces) == 1


def test_batch_larger_than_the_data():
    with pytest.raises(ValueError, match="batch_size=24: must be at most 23"):
        batches.batch_indices(jax.random.key(6), 0, 1, 23, 24)
