"""Small nonlinear programs whose gradients can be enumerated.

They have one or more dependent layers of Bernoulli or categorical variables, parameters
inside and outside the draws, and costs with log q (as in an ELBO) or without (as in
structured prediction).
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

import gumbel

BATCH, CLASSES = 2, 3


# (name, axes, GAUSSIAN) is a Normal draw, integrated by quadrature.
GAUSSIAN = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Toy:
    """A program with everything needed to run it.

    Attributes:
        draws: name, axes of the variables and number of values of each.
    """

    program: gumbel.programs.Program
    params: dict
    args: tuple
    draws: tuple[tuple[str, tuple[int, ...], int], ...]


def normal(rng, *shape):
    """Standard normal float32 numbers."""
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


def family(classes: int):
    """The distribution of a variable with so many values."""
    return gumbel.Bernoulli if classes == 2 else gumbel.Categorical


def _shape(axes, classes: int) -> tuple[int, ...]:
    return axes if classes == 2 else (*axes, classes)


def make_toy(classes: tuple[int, ...], elbo: bool, axes: tuple[int, ...] = (2,)) -> Toy:
    """One layer per entry of `classes`; 2 means Bernoulli, 3 categorical."""
    rng = np.random.default_rng(sum(classes) + 10 * len(classes) + elbo)
    shapes = [_shape(axes, k) for k in classes]
    sizes = [math.prod(shape) for shape in shapes]
    params = {"out": normal(rng, sizes[-1], 4), "bias": normal(rng, 1)}
    for layer, (size, below) in enumerate(zip(sizes, [3, *sizes], strict=False)):
        params[f"in{layer}"] = normal(rng, below, size)
        if elbo:
            params[f"prior{layer}"] = normal(rng, *shapes[layer])

    def program(params, x):
        def run(draw):
            h, log_ratio = x, 0.0
            for layer, k in enumerate(classes):
                logits = jnp.tanh(h @ params[f"in{layer}"]) * 1.5
                logits = logits.reshape(len(x), *shapes[layer])
                node = draw(f"z{layer}", family(k)(logits))
                h = node.value.reshape(len(x), -1)
                if elbo:
                    prior = family(k)(params[f"prior{layer}"])
                    log_ratio = log_ratio + node.log_prob(prior) - node.log_q
            features = jnp.tanh(h @ params["out"] + x[:, :1])
            return (features**2).sum(1) * params["bias"][0] + features[:, 0] + log_ratio

        return run

    draws = tuple((f"z{i}", axes, k) for i, k in enumerate(classes))
    return Toy(program, params, (normal(rng, BATCH, 3),), draws)


TOYS = {
    f"{'-'.join(map(str, ks))}-{'elbo' if elbo else 'cost'}": make_toy(ks, elbo)
    for ks in ((2,), (3,), (2, 2), (3, 3), (2, 3), (3, 2))
    for elbo in (True, False)
}


# Both families as either of two layers, with and without log q.
TELLING = ("2-3-cost", "3-2-elbo")


# An estimator of each way to make a gradient, for what does not depend on more.
KINDS = (
    *("gumbel_softmax", "gumbel_rao", "gapped_st", "reinmax", "darn", "nvil", "vimco"),
    *("disarm", "relax", "exact"),
)


def _make_loop_toy(classes: tuple[int, ...]) -> Toy:
    """A recurrent network with a map [B, 1, 2] of variables at each step; ELBO."""
    rng = np.random.default_rng(sum(classes))
    shapes, params = [_shape((1, 2), k) for k in classes], {"carry": normal(rng, 3, 3)}
    for t, shape in enumerate(shapes):
        params[f"in{t}"] = normal(rng, 3, math.prod(shape))
        params[f"out{t}"] = normal(rng, math.prod(shape), 3)

    def program(params, x):
        def run(draw):
            h, log_ratio = x, 0.0
            for t, (k, shape) in enumerate(zip(classes, shapes, strict=True)):
                logits = (h @ params[f"in{t}"]).reshape(len(x), *shape)
                z = draw(f"z{t}", family(k)(logits))
                read = z.value.reshape(len(x), -1) @ params[f"out{t}"]
                h = jnp.tanh(h @ params["carry"] + read + x)
                log_ratio += z.log_prob(family(k)(jnp.zeros(shape))) - z.log_q
            return 2.0 * h.sum(1) + log_ratio

        return run

    draws = tuple((f"z{t}", (1, 2), k) for t, k in enumerate(classes))
    return Toy(program, params, (normal(rng, BATCH, 3),), draws)


BITS_LOOP, LOOP = _make_loop_toy((2, 2, 2)), _make_loop_toy((2, 3, 2))


def _make_mixed_toy() -> Toy:
    """A class between two Gaussian draws, each depending on the one before; ELBO."""
    rng = np.random.default_rng(0)
    names = {"loc": (3, 1), "in": (1, CLASSES), "loc2": (CLASSES, 1), "out": (2, 1)}
    params = {name: normal(rng, *shape) for name, shape in names.items()}

    def program(params, x):
        def run(draw):
            unit = gumbel.Normal(jnp.zeros(1), jnp.ones(1))
            a = draw("a", gumbel.Normal(x @ params["loc"], jnp.full((BATCH, 1), 0.7)))
            y = draw("y", gumbel.Categorical((a.value @ params["in"])[:, None]))
            loc = y.value[:, 0] @ params["loc2"]
            b = draw("b", gumbel.Normal(loc, jax.nn.softplus(loc)))
            uniform = gumbel.Categorical(jnp.zeros((1, CLASSES)))
            log_ratio = y.log_prob(uniform) - y.log_q
            for node in (a, b):
                log_ratio = log_ratio + node.log_prob(unit) - node.log_q
            features = jnp.concatenate([a.value, b.value], axis=1) @ params["out"]
            return jnp.tanh(features)[:, 0] * 3.0 + log_ratio

        return run

    draws = (("a", (1,), GAUSSIAN), ("y", (1,), CLASSES), ("b", (1,), GAUSSIAN))
    return Toy(program, params, (normal(rng, BATCH, 3),), draws)


MIXED = _make_mixed_toy()
