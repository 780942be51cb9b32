"""Times the convolutions of M2 against XLA's own and PyTorch's.

Three layers down and their mirror image up, batch 100, forward and backward. PyTorch
is optional: without it its row is left out.
"""

import importlib.util
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from configs.semi_supervised import get_config
from experiments.engine import report
from experiments.models import conv
from scripts.benchmarks.clock import conditions, medians

# The sides of MNIST, padded where they are odd.
SIDES, BATCH = (28, 14, 8, 4), 100


def _arrays() -> tuple[np.ndarray, list[np.ndarray]]:
    """Images, and kernels [5, 5, C, E] downwards and then upwards."""
    rng = np.random.default_rng(0)
    channels = get_config("conv").model.channels
    widths = (1, *channels, *channels[-2::-1], 1)
    images = rng.normal(size=(BATCH, SIDES[0], SIDES[0], 1)).astype(np.float32)
    kernels = [
        0.02 * rng.normal(size=(5, 5, *pair)).astype(np.float32)
        for pair in zip(widths[:-1], widths[1:], strict=True)
    ]
    return images, kernels


def _network(down: Callable, up: Callable) -> Callable:
    """Makes (images, kernels) -> a mean and its gradient in the kernels."""

    def mean(kernels, x):
        for kernel in kernels[:3]:
            odd = x.shape[1] % 2
            x = jnp.pad(x, ((0, 0), (0, odd), (0, odd), (0, 0)))
            x = jax.nn.relu(down(x, kernel))
        for kernel, side in zip(kernels[3:], (7, 14, 28), strict=True):
            x = jax.nn.relu(up(x, kernel)[:, :side, :side])
        return x.mean()

    compiled = jax.jit(jax.value_and_grad(mean))
    return lambda images, kernels: compiled(kernels, images)


def _torch_network(images: np.ndarray, kernels: list[np.ndarray]) -> Callable:
    """The same network in PyTorch, whose arrays have their channels first."""
    import torch
    from torch.nn import functional

    x0 = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    axes = [(3, 2, 0, 1)] * 3 + [(2, 3, 0, 1)] * 3
    weights = [
        torch.from_numpy(kernel.transpose(order).copy()).requires_grad_()
        for kernel, order in zip(kernels, axes, strict=True)
    ]

    def step(*_):
        x = x0
        for weight in weights[:3]:
            x = functional.relu(functional.conv2d(x, weight, stride=2, padding=2))
        for weight, side in zip(weights[3:], (7, 14, 28), strict=True):
            x = functional.conv_transpose2d(x, weight, stride=2, padding=1)
            x = functional.relu(x[:, :, :side, :side])
        gradients = torch.autograd.grad(x.mean(), weights)
        return [gradient.numpy() for gradient in gradients]

    return step


def convolutions() -> None:
    """Prints the table of convolutional networks."""
    images, kernels = _arrays()
    functions = {
        "gumbel.conv": _network(conv.down, conv.up),
        "XLA's own": _network(conv._plain_down, conv._plain_up),
    }
    if importlib.util.find_spec("torch"):
        functions["PyTorch"] = _torch_network(images, kernels)
    else:
        print("PyTorch is not installed: its row is left out")
    seconds = medians(functions, jnp.asarray(images), list(map(jnp.asarray, kernels)))
    rows = [
        [name, f"{1e3 * value:.0f}", f"{value / seconds['gumbel.conv']:.2f}"]
        for name, value in seconds.items()
    ]
    print(report.markdown(["network", "ms", "time / ours"], rows))
    conditions(f"three layers down, three up, batch {BATCH}, with the gradient")
