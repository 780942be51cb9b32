"""Gumbel and logistic noise against their laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from scipy import stats

import gumbel
from gumbel import noise, samplers

SAMPLES = 200_000


def test_noise_is_finite_monotone_symmetric_and_resolves_the_tails():
    rng = np.random.default_rng(0)
    bits = np.sort(rng.integers(0, 2**32, 100_000, np.uint32) & ~np.uint32(1))
    assert (np.diff(noise._gumbel_from_bits(jnp.asarray(bits))) <= 0).all()
    assert (np.diff(noise._logistic_from_bits(jnp.asarray(bits))) >= 0).all()
    np.testing.assert_array_equal(
        noise._logistic_from_bits(bits), -noise._logistic_from_bits(bits ^ 1)
    )
    # Monotone in the 31 bits (per sign), so these inputs bound the values of all 2^32,
    # hence of any number of draws.
    bits = jnp.asarray([0, 1, 2, 3, 2**31, 2**32 - 4, 2**32 - 2, 2**32 - 1], jnp.uint32)
    gumbel_values = np.asarray(noise._gumbel_from_bits(bits))
    logistic_values = np.asarray(noise._logistic_from_bits(bits))
    assert np.isfinite(gumbel_values).all() and np.isfinite(logistic_values).all()
    # Small bits are the Gumbel's upper tail: −log(2⁻³²) = 22.18.
    np.testing.assert_allclose(gumbel_values.max(), 32 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(np.abs(logistic_values).max(), 33 * np.log(2), rtol=1e-6)


@pytest.mark.parametrize(
    ("draw", "law"),
    [
        (samplers.gumbel_noise, stats.gumbel_r),
        (samplers.logistic_noise, stats.logistic),
    ],
)
def test_noise_has_its_law(draw, law):
    values = np.asarray(draw(jax.random.key(1), (SAMPLES,)), np.float64)
    # The Kolmogorov statistic exceeds 2.7 / √n with probability below 1e-6.
    limit = 2.7 / np.sqrt(SAMPLES)
    assert stats.kstest(values, law.cdf).statistic < limit
    assert stats.kstest(values, stats.norm.cdf).statistic > limit, "negative control"


def test_noise_is_the_same_on_one_device_and_on_four():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    logits = jax.random.normal(jax.random.key(20), (8, 3, 5))
    sharded = jax.device_put(logits, NamedSharding(mesh, PartitionSpec("data")))
    sample = jax.jit(lambda x: gumbel.gumbel_max(jax.random.key(21), x))
    assert len(sample(sharded).sharding.device_set) == 4
    np.testing.assert_array_equal(sample(logits), sample(sharded))
