"""The networks in PyTorch: the same layers, draws and bounds.

Legend: m samples, B batch, D pixels, N variables, K classes, L labelled images.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.benchmarks.start import Start


def _mlp(layers: Sequence[nn.Linear], h: Tensor, activation: Callable) -> Tensor:
    for layer in layers[:-1]:
        h = activation(layer(h))
    return layers[-1](h)


def _log_likelihood(logits: Tensor, x: Tensor) -> Tensor:
    x = x.expand_as(logits)
    loss = functional.binary_cross_entropy_with_logits(logits, x, reduction="none")
    return -loss.sum(-1)


def _gumbels(*shape: int) -> Tensor:
    # As in functional.gumbel_softmax.
    return -torch.empty(shape).exponential_().log()


def _logistics(*shape: int) -> Tensor:
    u = torch.rand(shape).clamp_min(torch.finfo(torch.float32).tiny)
    return u.log() - (-u).log1p()


class Network(nn.Module):
    """Dense layers, and a prior where it is learned, with the values of a Start.

    Subclasses have `noise(B)` -> tensors, and map (x [B, D], *noise) to the log weights
    [m, B].
    """

    def __init__(self, start: Start):
        super().__init__()
        self.layers = nn.ModuleList(_linear(*layer) for layer in start.layers)
        if start.prior is not None:
            self.prior = nn.Parameter(torch.tensor(start.prior))
        self.register_buffer("mean", torch.tensor(start.mean))
        self.samples = start.settings["num_samples"]
        self.latents = start.settings.get("latents", ())
        self.temperature = start.settings["temperature"]
        self.settings = start.settings


def _linear(weights: np.ndarray, bias: np.ndarray | None) -> nn.Linear:
    layer = nn.Linear(*weights.shape, bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights.T))
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias))
    return layer


class Categorical(Network):
    """A VAE with Gumbel-Softmax latents; its KL is form (21)."""

    def noise(self, batch: int) -> tuple[Tensor, ...]:
        return (_gumbels(self.samples, batch, *self.latents),)

    def forward(self, x: Tensor, gumbels: Tensor) -> Tensor:
        half = len(self.layers) // 2
        logits = _mlp(self.layers[:half], x, functional.relu)
        logits = logits.reshape(gumbels.shape[1:])
        z = ((logits + gumbels) / self.temperature).softmax(-1)
        log_ratio = logits.log_softmax(-1) - self.prior.log_softmax(-1)
        kl = (z * log_ratio).sum((2, 3))
        pixels = _mlp(self.layers[half:], z.flatten(2), functional.relu)
        return _log_likelihood(pixels, x) - kl


def _log_density(y: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """Of the logit of a binary Concrete, [m, B, N] -> [m, B]."""
    s = logits - temperature * y
    return (np.log(temperature) + s - 2 * functional.softplus(s)).sum(2)


class Binary(Network):
    """A VAE with binary Concrete latents at the corners of a cube; form (20)."""

    def noise(self, batch: int) -> tuple[Tensor, ...]:
        return (_logistics(self.samples, batch, self.latents[0]),)

    def forward(self, x: Tensor, logistics: Tensor) -> Tensor:
        half = len(self.layers) // 2
        logits = _mlp(self.layers[:half], x - self.mean, torch.tanh)
        y = (logits + logistics) / self.temperature
        pixels = _mlp(self.layers[half:], 2 * y.sigmoid() - 1, torch.tanh)
        log_p = _log_density(y, self.prior, self.settings["prior_temperature"])
        log_q = _log_density(y, logits, self.temperature)
        return _log_likelihood(pixels, x) + log_p - log_q


class Structured(Network):
    """The lower half of an image from the upper, through two layers of draws."""

    def noise(self, batch: int) -> tuple[Tensor, ...]:
        shape = (self.samples, batch, *self.latents)
        return _gumbels(*shape), _gumbels(*shape)

    def forward(self, x: Tensor, *noise: Tensor) -> Tensor:
        upper, lower = x.chunk(2, 1)
        h = upper.expand(self.samples, *upper.shape)
        for layer, gumbels in zip(self.layers, noise, strict=False):
            scores = layer(h).reshape(gumbels.shape) + gumbels
            h = (scores / self.temperature).softmax(-1).flatten(2)
        return _log_likelihood(self.layers[-1](h), lower)


class M2(Network):
    """The semi-supervised model, its class sampled once by Gumbel-Softmax; m = 1."""

    def __init__(self, start: Start):
        super().__init__(start)
        self.depth = start.settings["hidden"]
        self.classes = self.layers[self.depth].out_features
        self.styles = self.layers[-self.depth - 2].out_features // 2

    def noise(self, batch: int) -> tuple[Tensor, ...]:
        return _gumbels(batch, self.classes), torch.randn(batch, self.styles)

    def forward(self, x: Tensor, gumbels: Tensor, normals: Tensor) -> Tensor:
        logits = self.classify(x)
        y = ((logits + gumbels) / self.temperature).softmax(-1)
        log_q = logits.log_softmax(-1)
        kl = (log_q.exp() * log_q).sum(1) + np.log(self.classes)
        return (self.bound(x, y, normals) - kl)[None]

    def labelled(self, x: Tensor, labels: Tensor, normals: Tensor) -> Tensor:
        """−L(x, y) + α log q(y|x) of labelled images, [L]."""
        y = functional.one_hot(labels, self.classes).float()
        log_q = (y * self.classify(x).log_softmax(-1)).sum(1)
        bound = self.bound(x, y, normals) - np.log(self.classes)
        return bound + self.settings["alpha"] * log_q

    def classify(self, x: Tensor) -> Tensor:
        return _mlp(self.layers[: self.depth + 1], x, functional.relu)

    def bound(self, x: Tensor, y: Tensor, normals: Tensor) -> Tensor:
        """log p(x|y, z) − KL(q(z|x, y) ‖ p(z)), [B]."""
        features, of_class, *rest = self.layers[self.depth + 1 :]
        h = functional.relu(features(x) + of_class(y))
        h = _mlp(rest[: self.depth], h, functional.relu)
        loc, log_scale = h.chunk(2, 1)
        z = loc + log_scale.exp() * normals
        pixels = _mlp(rest[self.depth :], torch.cat([y, z], 1), functional.relu)
        kl = 0.5 * (loc**2 + (2 * log_scale).exp() - 1) - log_scale
        return _log_likelihood(pixels, x) - kl.sum(1)


NETWORKS: Mapping[str, type[Network]] = {
    "categorical": Categorical,
    "binary": Binary,
    "structured": Structured,
    "m2": M2,
}
