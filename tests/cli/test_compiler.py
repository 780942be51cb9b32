"""The pinned compiler: sums that one of its releases got wrong without a word."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.mark.parametrize("shape", [(4000, 2, 2, 3), (1000, 20, 10), (24_000, 3)])
def test_chained_sums_over_many_numbers(shape):
    # The gradient of a softmax has this form. jaxlib 0.10.2 is wrong on CPU beyond
    # 2^15 numbers: github.com/jax-ml/jax/issues/39103.
    rng = np.random.default_rng(0)
    z, c = rng.normal(size=shape), rng.normal(size=shape)
    expected = (z * (c * z).sum(-1, keepdims=True)).sum(-1)

    # As anywhere but in these tests, see conftest.py.
    @jax.jit(
        compiler_options={
            "xla_backend_optimization_level": 3,
            "xla_cpu_use_fusion_emitters": True,
        }
    )
    def chained(z, c):
        return (z * (c * z).sum(-1)[..., None]).sum(-1)

    single = jnp.asarray(z, jnp.float32), jnp.asarray(c, jnp.float32)
    np.testing.assert_allclose(chained(*single), expected, rtol=1e-3, atol=1e-3)
