"""The networks in plain Flax, trained by a plain loop: one jitted call a step.

Images are indexed on the host; noise is of jax.random, the likelihood and Adam of
optax. The mathematics is that of the project.

Legend: m samples, B batch, D pixels, N variables, K classes, L labelled images.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import random

from scripts.benchmarks.start import Start


def _mlp(layers: Sequence[nn.Dense], h, activation: Callable):
    for layer in layers[:-1]:
        h = activation(layer(h))
    return layers[-1](h)


def _log_likelihood(logits, x):
    return -optax.sigmoid_binary_cross_entropy(logits, x).sum(axis=-1)


class Network(nn.Module):
    """Dense layers, and a prior where it is learned.

    Subclasses have `noise(key, B)` -> arrays, and map (x [B, D], *noise) to the log
    weights [m, B].

    Attributes:
        outputs: the size of what each layer gives.
        biases: whether each of them adds a bias.
        prior_shape: of the prior's logits; None where it is not learned.
        mean: of the pixels, [D].
        settings: from a Start.
    """

    outputs: Sequence[int]
    biases: Sequence[bool]
    prior_shape: Sequence[int] | None
    mean: Any
    settings: Mapping[str, Any]

    def setup(self):
        self.layers = [
            nn.Dense(size, use_bias=bias)
            for size, bias in zip(self.outputs, self.biases, strict=True)
        ]
        if self.prior_shape is not None:
            self.prior = self.param("prior", nn.initializers.zeros, self.prior_shape)


class Categorical(Network):
    """A VAE with Gumbel-Softmax latents; its KL is form (21)."""

    def noise(self, key, batch: int):
        shape = (self.settings["num_samples"], batch, *self.settings["latents"])
        return (random.gumbel(key, shape),)

    def __call__(self, x, gumbels):
        half = len(self.layers) // 2
        logits = _mlp(self.layers[:half], x, nn.relu).reshape(gumbels.shape[1:])
        z = nn.softmax((logits[None] + gumbels) / self.settings["temperature"])
        h = z.reshape(*z.shape[:2], -1)
        log_ratio = nn.log_softmax(logits) - nn.log_softmax(self.prior)[None]
        kl = (z * log_ratio[None]).sum(axis=(2, 3))
        pixels = _mlp(self.layers[half:], h, nn.relu)
        return _log_likelihood(pixels, jnp.broadcast_to(x[None], pixels.shape)) - kl


def _log_density(y, logits, temperature):
    """Of the logit of a binary Concrete, [m, B, N] -> [m, B]."""
    s = logits - temperature * y
    return (jnp.log(temperature) + s - 2 * nn.softplus(s)).sum(axis=2)


class Binary(Network):
    """A VAE with binary Concrete latents at the corners of a cube; form (20)."""

    def noise(self, key, batch: int):
        shape = (self.settings["num_samples"], batch, self.settings["latents"][0])
        return (random.logistic(key, shape),)

    def __call__(self, x, logistics):
        half = len(self.layers) // 2
        temperature = self.settings["temperature"]
        logits = _mlp(self.layers[:half], x - self.mean[None], nn.tanh)[None]
        y = (logits + logistics) / temperature
        pixels = _mlp(self.layers[half:], 2 * nn.sigmoid(y) - 1, nn.tanh)
        log_p = _log_density(
            y, self.prior[None, None], self.settings["prior_temperature"]
        )
        log_q = _log_density(y, logits, temperature)
        x = jnp.broadcast_to(x[None], pixels.shape)
        return _log_likelihood(pixels, x) + log_p - log_q


class Structured(Network):
    """The lower half of an image from the upper, through two layers of draws."""

    def noise(self, key, batch: int):
        shape = (self.settings["num_samples"], batch, *self.settings["latents"])
        return tuple(random.gumbel(k, shape) for k in random.split(key))

    def __call__(self, x, *noise):
        upper, lower = jnp.split(x, 2, axis=1)
        h = jnp.broadcast_to(upper[None], (len(noise[0]), *upper.shape))
        for layer, gumbels in zip(self.layers, noise, strict=False):
            scores = layer(h).reshape(gumbels.shape) + gumbels
            z = nn.softmax(scores / self.settings["temperature"])
            h = z.reshape(*z.shape[:2], -1)
        pixels = self.layers[-1](h)
        return _log_likelihood(pixels, jnp.broadcast_to(lower[None], pixels.shape))


class M2(Network):
    """The semi-supervised model, its class sampled once by Gumbel-Softmax; m = 1."""

    def noise(self, key, batch: int):
        keys = random.split(key)
        gumbels = random.gumbel(keys[0], (batch, self.outputs[self.depth]))
        return gumbels, self.normals(keys[1], batch)

    def normals(self, key, batch: int):
        return random.normal(key, (batch, self.outputs[-self.depth - 2] // 2))

    @property
    def depth(self) -> int:
        """The number of hidden layers of the classifier and of the decoder."""
        return self.settings["hidden"]

    def __call__(self, x, gumbels, normals):
        logits = self.classify(x)
        y = nn.softmax((logits + gumbels) / self.settings["temperature"])
        log_q = nn.log_softmax(logits)
        kl = (jnp.exp(log_q) * log_q).sum(axis=1) + jnp.log(logits.shape[1])
        return (self.bound(x, y, normals) - kl)[None]

    def labelled(self, x, labels, normals):
        """−L(x, y) + α log q(y|x) of labelled images, [L]."""
        logits = self.classify(x)
        y = nn.one_hot(labels, logits.shape[1])
        log_q = (y * nn.log_softmax(logits)).sum(axis=1)
        bound = self.bound(x, y, normals) - jnp.log(logits.shape[1])
        return bound + self.settings["alpha"] * log_q

    def classify(self, x):
        return _mlp(self.layers[: self.depth + 1], x, nn.relu)

    def bound(self, x, y, normals):
        """log p(x|y, z) − KL(q(z|x, y) ‖ p(z)), [B]."""
        features, of_class, *rest = self.layers[self.depth + 1 :]
        h = nn.relu(features(x) + of_class(y))
        h = _mlp(rest[: self.depth], h, nn.relu)
        loc, log_scale = jnp.split(h, 2, axis=1)
        z = loc + jnp.exp(log_scale) * normals
        pixels = _mlp(rest[self.depth :], jnp.concatenate([y, z], axis=1), nn.relu)
        kl = 0.5 * (loc**2 + jnp.exp(2 * log_scale) - 1) - log_scale
        return _log_likelihood(pixels, x) - kl.sum(axis=1)


NETWORKS: Mapping[str, type[Network]] = {
    "categorical": Categorical,
    "binary": Binary,
    "structured": Structured,
    "m2": M2,
}


def make(start: Start) -> tuple[Network, Any]:
    """The network of a start, and its first parameters."""
    model = NETWORKS[start.settings["network"]](
        outputs=[weights.shape[1] for weights, _ in start.layers],
        biases=[bias is not None for _, bias in start.layers],
        prior_shape=None if start.prior is None else start.prior.shape,
        mean=start.mean,
        settings=start.settings,
    )
    params = {} if start.prior is None else {"prior": jnp.asarray(start.prior)}
    for i, (weights, bias) in enumerate(start.layers):
        layer = (
            {"kernel": weights} if bias is None else {"kernel": weights, "bias": bias}
        )
        params[f"layers_{i}"] = jax.tree.map(jnp.asarray, layer)
    return model, {"params": params}


def make_objective(model: Network) -> Callable:
    """Makes (params, key, *arrays of a batch) -> what is maximised, in nats."""

    def objective(params, key, images):
        x = images.astype(jnp.float32)
        log_w = model.apply(params, x, *model.noise(key, len(x)))
        return (nn.logsumexp(log_w, axis=0) - jnp.log(len(log_w))).mean()

    def semi_supervised(params, key, images, labelled, labels):
        keys = random.split(key, 4)
        x, seen = (
            random.bernoulli(k, grey / 255).astype(jnp.float32)
            for k, grey in zip(keys, (images, labelled), strict=False)
        )
        log_w = model.apply(params, x, *model.noise(keys[2], len(x)))
        normals = model.normals(keys[3], len(seen))
        more = model.apply(params, seen, labels, normals, method="labelled")
        return log_w.mean() + more.mean()

    return semi_supervised if isinstance(model, M2) else objective


def training(start: Start) -> Callable[[], jax.Array]:
    """Makes the function that goes on training for a turn of steps."""
    model, params = make(start)
    objective = make_objective(model)
    optimizer = optax.adam(start.settings["learning_rate"])
    opt_state, key = optimizer.init(params), random.key(0)
    batches, step = start.batches(), 0

    @jax.jit(donate_argnums=(0, 1))
    def update(params, opt_state, step, *batch):
        step_key = random.fold_in(key, step)
        loss, grads = jax.value_and_grad(lambda p: -objective(p, step_key, *batch))(
            params
        )
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    def go_on():
        nonlocal params, opt_state, step
        for _ in range(start.settings["steps"]):
            params, opt_state, loss = update(params, opt_state, step, *next(batches))
            step += 1
        return jax.block_until_ready(loss)

    return go_on
