"""Small networks that estimators learn as they go, and a step of their optimiser.

Shapes: F features, H hidden units.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

# H, the width of the hidden layer.
HIDDEN = 100
# Features beyond this are masks, of which a network learns nothing.
_LARGEST = 1e6

_ADAM = optax.scale_by_adam()


def init_net(key: jax.Array, num_features: int) -> dict[str, jax.Array]:
    """Parameters of a network whose output is 0 before it learns.

    Args:
        key: a typed PRNG key.
        num_features: F.
    """
    hidden = jax.random.normal(key, (num_features, HIDDEN)) / np.sqrt(num_features)
    # Two arrays and not one twice: a state that is donated owns each of its buffers.
    return {"hidden": hidden, "bias": jnp.zeros(HIDDEN), "out": jnp.zeros(HIDDEN)}


def net(params: Any, features: jax.Array) -> jax.Array:
    """One tanh layer and a linear one without a bias: [..., F] -> [...]."""
    features = features.astype(params["hidden"].dtype)
    features = jnp.where(jnp.abs(features) > _LARGEST, 0.0, features)
    flat = features.reshape(-1, features.shape[-1])
    hidden = jnp.tanh(flat @ params["hidden"] + params["bias"][None])
    return (hidden @ params["out"]).reshape(features.shape[:-1])


@struct.dataclass
class Learned:
    """Parameters that an estimator learns, and their optimiser's state."""

    params: Any
    opt_state: Any

    def descend(self, grads: Any, learning_rate: Any) -> "Learned":
        """One step of Adam down a gradient that is shaped like the parameters."""
        # optax takes powers of integers, which strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = _ADAM.update(grads, self.opt_state)
        step = jax.tree.map(lambda u: -learning_rate * u, updates)
        return Learned(optax.apply_updates(self.params, step), opt_state)


def to_learn(params: Any) -> Learned:
    """Parameters before the first step."""
    return Learned(params, _ADAM.init(params))
