"""Truth for the tests of M2: a tiny model, and its networks and bounds in NumPy.

Computed from the parameters alone, by a loop over classes; only the standard normal
noise of z is that of the program.
"""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from experiments import semi_supervised
from experiments.models import m2

CLASSES, STYLES, PIXELS, BATCH = 3, 2, 5, 4


@functools.cache
def make_tiny():
    """A model, its program, random parameters, images and labels."""
    model = m2.mlp(CLASSES, STYLES, (4,), PIXELS, jax.nn.initializers.zeros)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, PIXELS)))
    params = jax.tree.map(
        lambda leaf: jnp.asarray(0.7 * rng.normal(size=leaf.shape), jnp.float32), shapes
    )
    x = jnp.asarray(rng.integers(0, 2, (BATCH, PIXELS)), jnp.float32)
    return (
        model,
        semi_supervised.make_program(model),
        params,
        x,
        jnp.asarray([2, 0, 1, 1]),
    )


def noise_of(key):
    """ε of the draw "z" of a program that is interpreted with this key."""
    z_key = jax.random.fold_in(key, zlib.crc32(b"z"))
    return np.float64(jax.random.normal(z_key, (BATCH, STYLES)))


class ByHand:
    """The networks of the tiny model in NumPy."""

    def __init__(self, params):
        self.params = jax.tree.map(np.float64, params["params"])

    def dense(self, net, layer, h):
        weights = self.params[net][f"Dense_{layer}"]
        return h @ weights["kernel"] + weights["bias"]

    def log_q(self, x):
        """log q(y|x), [B, K]."""
        logits = self.dense(
            "classifier", 1, np.maximum(self.dense("classifier", 0, x), 0)
        )
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    def bound(self, x, classes, noise):
        """−L(x, y), [B]: log p(y) + log p(x|y, z) − KL(q(z|x, y) ‖ p(z))."""
        y = np.eye(CLASSES)[classes]
        h = self.dense("features", 0, x) + y @ self.params["class_features"]["kernel"]
        out = self.dense("style", 0, np.maximum(h, 0))
        loc, log_scale = out[:, :STYLES], out[:, STYLES:]
        z = loc + np.exp(log_scale) * noise
        h = self.dense("decoder", 0, np.concatenate([y, z], axis=1))
        ones = 1 / (1 + np.exp(-self.dense("decoder", 1, np.maximum(h, 0))))
        log_x = np.log(np.where(x == 1, ones, 1 - ones)).sum(axis=1)
        kl = 0.5 * (loc**2 + np.exp(2 * log_scale) - 1 - 2 * log_scale).sum(axis=1)
        return log_x - kl - np.log(CLASSES)
