"""Times what is written by hand because it is faster, against what it replaces."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from configs.semi_supervised import get_config
from experiments.models import conv, one_hot
from gumbel import inverse_cdf, samplers
from gumbel.objectives import bernoulli_log_likelihood
from scripts.benchmarks.clock import compare

DRAWS = 200
SHAPE = (100, 20, 10)  # of a training step
CONDITIONS = f"{SHAPE}, {DRAWS} draws"
IMAGES, ROWS = (1600, 784), 1600
# The sides of MNIST, halved by each layer, and of its mirror image.
SIDES, BATCH = (28, 14, 7), 100


def _many(draw: Callable) -> Callable:
    """Sums DRAWS draws of SHAPE in one compiled call; args have an entry for each."""

    @jax.jit
    def total(*args):
        def add(total, each):
            index, *rest = each
            return total + draw(jax.random.fold_in(key, index), *rest).sum(), None

        return jax.lax.scan(add, 0.0, (jnp.arange(DRAWS), *args))[0]

    key = jax.random.key(0)
    return total


def noise() -> None:
    """Prints the table of Gumbel noise."""
    functions = {
        "gumbel.samplers": _many(lambda key: samplers.gumbel_noise(key, SHAPE)),
        **{
            f'jax.random, mode="{mode}"': _many(
                lambda key, mode=mode: jax.random.gumbel(key, SHAPE, mode=mode)
            )
            for mode in ("low", "high")
        },
    }
    # From the inverse of the largest uniform number that each can draw.
    print(f"largest: ours {32 * np.log(2):.1f}, low 15.9, high further")
    compare("noise, a draw", CONDITIONS, functions, count=DRAWS)


def categorical() -> None:
    """Prints the table of exact categorical draws."""
    # Each draw has its own: work on the same logits would be done once for all.
    logits = jax.random.normal(jax.random.key(1), (DRAWS, *SHAPE))
    draws = {"categorical": inverse_cdf.categorical, "gumbel_max": samplers.gumbel_max}
    functions = {name: _many(draw) for name, draw in draws.items()}
    compare("sampler, a draw", CONDITIONS, functions, logits, count=DRAWS)


def one_hot_product() -> None:
    """Prints the table of the product of hard codes with a decoder's weights."""
    index = jax.random.randint(jax.random.key(1), (ROWS, 20), 0, 10)
    values = jax.nn.one_hot(index, 10).reshape(ROWS, -1)
    kernel = jax.random.normal(jax.random.key(2), (200, 784))
    axes = (((1,), (0,)), ((), ()))
    rows = functools.partial(one_hot.sum_of_rows, num_classes=10)
    functions = {
        name: jax.jit(lambda x, w, f=function: f(x, w, axes))
        for name, function in (("rows", rows), ("product", jax.lax.dot_general))
    }
    compare("one-hot product", f"[{ROWS}, 200]·[200, 784]", functions, values, kernel)


def likelihood() -> None:
    """Prints the tables of Bernoulli log-likelihoods, and with their gradient."""
    logits = jax.random.normal(jax.random.key(1), IMAGES)
    pixels = jnp.round(jax.random.uniform(jax.random.key(2), IMAGES))
    functions = {
        "gumbel.objectives": bernoulli_log_likelihood,
        "optax": lambda y, x: -optax.sigmoid_binary_cross_entropy(y, x).sum(axis=1),
    }
    values = {name: jax.jit(f) for name, f in functions.items()}
    gradients = {
        name: jax.jit(jax.value_and_grad(lambda y, x, f=f: f(y, x).mean()))
        for name, f in functions.items()
    }
    compare("likelihood", f"{IMAGES}", values, logits, pixels)
    compare("with its gradient", f"{IMAGES}", gradients, logits, pixels)


def convolutions() -> None:
    """Prints the table of M2's convolutions, three down and three up, with gradient."""
    rng = np.random.default_rng(0)
    channels = get_config("conv").model.channels
    widths = (1, *channels, *channels[-2::-1], 1)
    images = rng.normal(size=(BATCH, SIDES[0], SIDES[0], 1)).astype(np.float32)
    kernels = [
        0.02 * rng.normal(size=(5, 5, *pair)).astype(np.float32)
        for pair in zip(widths[:-1], widths[1:], strict=True)
    ]
    functions = {
        "experiments.models.conv": _network(conv.down, conv.up),
        "XLA's own": _network(conv._plain_down, conv._plain_up),
    }
    conditions = f"three layers down, three up, batch {BATCH}, with the gradient"
    arrays = list(map(jnp.asarray, kernels)), jnp.asarray(images)
    compare("convolutions", conditions, functions, *arrays)


def _network(down: Callable, up: Callable) -> Callable:
    """Makes (kernels, images) -> a mean and its gradient in the kernels."""

    def mean(kernels, x):
        for kernel, side in zip(kernels[:3], SIDES, strict=True):
            odd = side % 2
            x = jnp.pad(x, ((0, 0), (0, odd), (0, odd), (0, 0)))
            x = jax.nn.relu(down(x, kernel))
        for kernel, side in zip(kernels[3:], reversed(SIDES), strict=True):
            x = jax.nn.relu(up(x, kernel)[:, :side, :side])
        return x.mean()

    return jax.jit(jax.value_and_grad(mean))
