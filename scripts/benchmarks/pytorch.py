"""Training steps in PyTorch, with the layers, draws and bounds of the project.

Legend: m samples, B batch, D pixels, N variables, K classes, L labelled images.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.benchmarks.networks import Start


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
        self.config, self.temperature = start.config, start.config["temperature"]
        self.samples = start.config["num_samples"]


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
        return (_gumbels(self.samples, batch, *self.prior.shape),)

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
    """The log density of the logit of a binary Concrete, [m, B, N] -> [m, B]."""
    s = logits - temperature * y
    return (np.log(temperature) + s - 2 * functional.softplus(s)).sum(2)


class Binary(Network):
    """A VAE with binary Concrete latents at the corners of a cube; form (20)."""

    def noise(self, batch: int) -> tuple[Tensor, ...]:
        return (_logistics(self.samples, batch, *self.prior.shape),)

    def forward(self, x: Tensor, logistics: Tensor) -> Tensor:
        half, prior_temperature = (
            len(self.layers) // 2,
            self.config["prior_temperature"],
        )
        logits = _mlp(self.layers[:half], x - self.mean, torch.tanh)
        y = (logits + logistics) / self.temperature
        pixels = _mlp(self.layers[half:], 2 * y.sigmoid() - 1, torch.tanh)
        log_p = _log_density(y, self.prior, prior_temperature)
        log_q = _log_density(y, logits, self.temperature)
        return _log_likelihood(pixels, x) + log_p - log_q


class M2(Network):
    """The semi-supervised model, its class sampled once by Gumbel-Softmax; m = 1."""

    def __init__(self, start: Start):
        super().__init__(start)
        self.depth = len(start.config["model.hidden"])
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
        return bound + self.config["alpha"] * log_q

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


def network(start: Start) -> Network:
    """The network of a start."""
    if len(start.labels):
        return M2(start)
    kinds = {"categorical": Categorical, "bernoulli": Binary}
    return kinds[start.config["model.family"]](start)


def make_objective(model: Network) -> Callable:
    """Makes (tensors of a batch) -> what is maximised, in nats."""

    def objective(images):
        x = images.float()
        log_w = model(x, *model.noise(len(x)))
        return (log_w.logsumexp(0) - np.log(len(log_w))).mean()

    def semi_supervised(images, labelled, labels):
        x, seen = ((torch.rand(g.shape) < g / 255).float() for g in (images, labelled))
        more = model.labelled(seen, labels, torch.randn(len(seen), model.styles))
        return model(x, *model.noise(len(x))).mean() + more.mean()

    return semi_supervised if isinstance(model, M2) else objective


def training(start: Start, *, is_compiled: bool) -> Callable[[], np.ndarray]:
    """Makes the function that continues training for a turn of steps.

    Compiled are the objective and its gradient; Adam is then one kernel.
    """
    model, rate = network(start), start.config["learning_rate"]
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=is_compiled)
    objective, batches = make_objective(model), start.batches()
    if is_compiled:
        objective = torch.compile(objective, dynamic=False)

    def go_on():
        for _ in range(start.steps):
            batch = (torch.from_numpy(array) for array in next(batches))
            optimizer.zero_grad(set_to_none=True)
            loss = -objective(*batch)
            loss.backward()
            optimizer.step()
        return loss.detach().numpy()

    return go_on
