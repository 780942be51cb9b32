"""The small nets that estimators learn by the way, and a step of their optimiser.

Legend: F features, H hidden units.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

# H, the width of the one hidden layer.
HIDDEN = 100

_ADAM = optax.scale_by_adam()


def init_net(key, num_features: int) -> dict[str, jax.Array]:
    """Parameters of a net that is 0 everywhere, ready to learn.

    Args:
        key: a typed PRNG key.
        num_features: F.
    """
    hidden = jax.random.normal(key, (num_features, HIDDEN)) / np.sqrt(num_features)
    # Two arrays and not one twice: a state that is donated owns each of its buffers.
    return {"hidden": hidden, "bias": jnp.zeros(HIDDEN), "out": jnp.zeros(HIDDEN)}


def net(params, features) -> jax.Array:
    """One tanh layer and a linear one without a bias: [..., F] -> [...]."""
    features = features.astype(params["hidden"].dtype)
    flat = features.reshape(-1, features.shape[-1])
    hidden = jnp.tanh(flat @ params["hidden"] + params["bias"][None])
    return (hidden @ params["out"]).reshape(features.shape[:-1])


def init_optimizer(params) -> Any:
    """The optimiser's state for new parameters."""
    return _ADAM.init(params)


def descend(params, opt_state, grads, learning_rate) -> tuple[Any, Any]:
    """One step of Adam down a gradient.

    Args:
        params: what is learned.
        opt_state: of the step before.
        grads: shaped like the parameters.
        learning_rate: a scalar.

    Returns:
        Parameters and optimiser state after the step.
    """
    updates, opt_state = _ADAM.update(grads, opt_state)
    step = jax.tree.map(lambda u: -learning_rate * u, updates)
    return optax.apply_updates(params, step), opt_state
