"""Training steps in PyTorch: eager, and torch.compile with fused Adam."""

from collections.abc import Callable

import numpy as np
import torch

from scripts.benchmarks.pytorch_networks import M2, NETWORKS, Network
from scripts.benchmarks.start import Start


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


def eager(start: Start) -> Callable[[], torch.Tensor]:
    """Makes the function that goes on training for a turn of steps."""
    model = NETWORKS[start.settings["network"]](start)
    rate = start.settings["learning_rate"]
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    return _training(start, make_objective(model), optimizer)


def compiled(start: Start) -> Callable[[], torch.Tensor]:
    """As `eager`, with objective and gradient compiled and Adam in one kernel."""
    model = NETWORKS[start.settings["network"]](start)
    rate = start.settings["learning_rate"]
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=True)
    objective = torch.compile(make_objective(model), dynamic=False)
    return _training(start, objective, optimizer)


def _training(start: Start, objective: Callable, optimizer) -> Callable:
    batches = start.batches()

    def go_on():
        for _ in range(start.settings["steps"]):
            batch = (torch.from_numpy(array) for array in next(batches))
            optimizer.zero_grad(set_to_none=True)
            loss = -objective(*batch)
            loss.backward()
            optimizer.step()
        return loss.detach().numpy()

    return go_on
