"""Strict JAX for every test: what is only a risk elsewhere is an error here."""

import jax

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_legacy_prng_key", "error")
