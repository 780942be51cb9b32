"""Training steps in PyTorch, with the layers, draws and bounds of the project.

Legend: m samples, B batch, D pixels, N variables, K classes, L labelled images.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.data import datasets
from experiments.data.labels import choose
from experiments.engine.step import init_state


def dense_layers(part: Mapping, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """A part of our parameters, with an activation between its dense layers."""
    modules = []
    for layer in [part] if "kernel" in part else [part[name] for name in sorted(part)]:
        linear = nn.Linear(*layer["kernel"].shape, bias="bias" in layer)
        values = {"weight": np.asarray(layer["kernel"]).T}
        if "bias" in layer:
            values["bias"] = np.asarray(layer["bias"])
        linear.load_state_dict({n: torch.tensor(v) for n, v in values.items()})
        modules += [linear, activation()]
    return nn.Sequential(*modules[:-1])


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


class Vae(nn.Module):
    """An encoder, a decoder and a learned prior, with the values of our parameters.

    Subclasses have `noise(B)` -> tensors, and map (x [B, D], *noise) to the log weights
    [m, B].
    """

    activation: type[nn.Module] = nn.ReLU

    def __init__(self, config, params: Mapping, images: Tensor):
        super().__init__()
        self.encoder = dense_layers(params["encoder"], self.activation)
        self.decoder = dense_layers(params["decoder"], self.activation)
        self.prior = nn.Parameter(torch.tensor(np.asarray(params["prior"])))
        self.register_buffer("mean", images.float().mean(0))
        self.samples, self.temperature = config.num_samples, config.temperature
        self.prior_temperature = config.prior_temperature

    def objective(self, images: Tensor) -> Tensor:
        """The mean of L_m over images, in nats."""
        x = images.float()
        log_w = self(x, *self.noise(len(x)))
        return (log_w.logsumexp(0) - np.log(len(log_w))).mean()


class Categorical(Vae):
    """A VAE with Gumbel-Softmax latents; its KL is form (21)."""

    def noise(self, batch: int) -> tuple[Tensor, ...]:
        return (_gumbels(self.samples, batch, *self.prior.shape),)

    def forward(self, x: Tensor, gumbels: Tensor) -> Tensor:
        logits = self.encoder(x).reshape(gumbels.shape[1:])
        z = ((logits + gumbels) / self.temperature).softmax(-1)
        log_ratio = logits.log_softmax(-1) - self.prior.log_softmax(-1)
        kl = (z * log_ratio).sum((2, 3))
        return _log_likelihood(self.decoder(z.flatten(2)), x) - kl

    def hard_log_weights(self, x: Tensor, samples: int) -> Tensor:
        """Log weights of discrete samples, [m, B]."""
        logits = self.encoder(x).reshape(len(x), *self.prior.shape)
        noise = _gumbels(samples, *logits.shape)
        drawn = (logits + noise).argmax(-1)
        z = functional.one_hot(drawn, logits.shape[-1]).to(x.dtype)
        log_ratio = logits.log_softmax(-1) - self.prior.log_softmax(-1)
        kl = (z * log_ratio).sum((2, 3))
        return _log_likelihood(self.decoder(z.flatten(2)), x) - kl


def _log_density(y: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """The log density of the logit of a binary Concrete, [m, B, N] -> [m, B]."""
    s = logits - temperature * y
    return (np.log(temperature) + s - 2 * functional.softplus(s)).sum(2)


class Binary(Vae):
    """A VAE with binary Concrete latents at the corners of a cube; form (20)."""

    activation = nn.Tanh

    def noise(self, batch: int) -> tuple[Tensor, ...]:
        return (_logistics(self.samples, batch, *self.prior.shape),)

    def forward(self, x: Tensor, logistics: Tensor) -> Tensor:
        logits = self.encoder(x - self.mean)
        y = (logits + logistics) / self.temperature
        log_p = _log_density(y, self.prior, self.prior_temperature)
        log_q = _log_density(y, logits, self.temperature)
        pixels = self.decoder(2 * y.sigmoid() - 1)
        return _log_likelihood(pixels, x) + log_p - log_q


class M2(nn.Module):
    """The semi-supervised model, its class sampled once by Gumbel-Softmax; m = 1."""

    def __init__(self, config, params: Mapping, images: Tensor):
        super().__init__()
        self.classifier = dense_layers(params["classifier"])
        self.features = dense_layers(params["features"])
        self.class_features = dense_layers(params["class_features"])
        self.style, self.decoder = (
            dense_layers(params["style"]),
            dense_layers(params["decoder"]),
        )
        self.temperature, self.alpha = config.temperature, config.alpha
        dataset, labelled = datasets.load(config.dataset.name), config.labelled
        self.classes, self.styles = dataset.num_classes, config.model.num_styles
        rows = choose(dataset, labelled.count, labelled.seed)
        self.images = torch.tensor(dataset.train.images[rows])
        self.labels = torch.tensor(np.int64(dataset.train.labels[rows]))
        self.labelled_batch = labelled.batch_size

    def objective(self, images: Tensor) -> Tensor:
        """The mean over a batch, and over one of labelled images, whose bits it draws.

        Labelled ones have −L(x, y) + α log q(y|x).
        """
        rows = torch.randperm(len(self.labels))[: self.labelled_batch]
        greys = images, self.images[rows]
        x, seen = ((torch.rand(g.shape) < g / 255).float() for g in greys)
        y = functional.one_hot(self.labels[rows], self.classes).float()
        log_q = (y * self.classifier(seen).log_softmax(-1)).sum(1)
        bound = self.bound(seen, y, torch.randn(len(seen), self.styles))
        labelled = bound - np.log(self.classes) + self.alpha * log_q
        return self(x, *self.noise(len(x))).mean() + labelled.mean()

    def noise(self, batch: int) -> tuple[Tensor, ...]:
        return _gumbels(batch, self.classes), torch.randn(batch, self.styles)

    def forward(self, x: Tensor, gumbels: Tensor, normals: Tensor) -> Tensor:
        """The bounds of images whose class is drawn, [1, B]."""
        logits = self.classifier(x)
        y = ((logits + gumbels) / self.temperature).softmax(-1)
        log_q = logits.log_softmax(-1)
        kl = (log_q.exp() * log_q).sum(1) + np.log(self.classes)
        return (self.bound(x, y, normals) - kl)[None]

    def bound(self, x: Tensor, y: Tensor, normals: Tensor) -> Tensor:
        """log p(x|y, z) − KL(q(z|x, y) ‖ p(z)), [B]."""
        h = functional.relu(self.features(x) + self.class_features(y))
        loc, log_scale = self.style(h).chunk(2, 1)
        z = loc + log_scale.exp() * normals
        pixels = self.decoder(torch.cat([y, z], 1))
        kl = 0.5 * (loc**2 + (2 * log_scale).exp() - 1) - log_scale
        return _log_likelihood(pixels, x) - kl.sum(1)


MODELS = {"categorical": Categorical, "bernoulli": Binary}


def make_model(task, config) -> Vae | M2:
    """The model of a config, with the first parameters of our run of it."""
    params = init_state(task, config).params["params"]
    images = torch.tensor(np.asarray(task.data["images"]))
    kind = M2 if "labelled" in config else MODELS[config.model.family]
    return kind(config, params, images)


def _batches(images: Tensor, size: int) -> Iterator[Tensor]:
    """Yields whole batches, in a new order in every epoch."""
    while True:
        order = torch.randperm(len(images))
        for rows in order[: len(order) // size * size].split(size):
            yield images[rows]


def training(
    task, config, steps: int, *, is_compiled: bool, mode: str | None = None
) -> Callable[[], object]:
    """Makes the function that continues training for a turn of steps.

    Compiled are the objective and its gradient; Adam is then one kernel. The mode is
    that of torch.compile: reduce-overhead makes CUDA graphs.
    """
    model, rate = make_model(task, config), config.learning_rate
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=is_compiled)
    images = torch.tensor(np.asarray(task.data["images"]))
    objective, batches = model.objective, _batches(images, config.batch_size)
    if is_compiled:
        objective = torch.compile(objective, dynamic=False, mode=mode)

    def go_on():
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss = -objective(next(batches))
            loss.backward()
            optimizer.step()
        return loss.detach().cpu().numpy()

    return go_on


def evaluation(
    task, config, images: int, samples: int, chunk: int
) -> Callable[[], Tensor]:
    """Makes the evaluation of L_m of test images, so many samples at once."""
    model = make_model(task, config)
    test = torch.tensor(np.asarray(task.evaluation["test"][0][:images]))

    @torch.no_grad()
    def evaluate() -> Tensor:
        bounds = []
        for x in test.float().split(config.eval_batch_size):
            sums = [
                model.hard_log_weights(x, chunk).logsumexp(0)
                for _ in range(samples // chunk)
            ]
            bounds.append(torch.stack(sums).logsumexp(0) - np.log(samples))
        return torch.cat(bounds)

    return evaluate
