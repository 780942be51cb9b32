"""The generators of a run's noise, and the root of it."""

import jax

# With rbg, the device's own generator, the samples of a vmap have other draws than one
# by one. Not offered is unsafe_rbg: its fold_in of a and then of b is that of b and of
# a, so that in evaluations different images would see the same noise.
PRNGS = ("threefry2x32", "rbg")


def root_key(config) -> jax.Array:
    """The key that all noise of a run comes from: of config.seed and config.prng."""
    return jax.random.key(config.seed, impl=config.prng)
