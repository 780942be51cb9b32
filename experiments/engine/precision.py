"""In what the networks multiply; all else is float32."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

# As `nets.product_in` takes them: None leaves float32 as it is.
COMPUTE_DTYPES: Mapping[str, Any] = {"float32": None, "bfloat16": jnp.bfloat16}
