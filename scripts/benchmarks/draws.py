"""Times the samplers of a training step, [100, 20, 10]."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.engine import report
from gumbel import inverse_cdf, samplers
from scripts.benchmarks.clock import conditions, medians

DRAWS = 200
SHAPE = (100, 20, 10)


def many(draw: Callable) -> Callable:
    """Sums DRAWS draws of SHAPE in one compiled call; args have an entry for each."""

    @jax.jit
    def total(*args):
        def add(total, each):
            index, *own = each
            return total + draw(jax.random.fold_in(key, index), *own).sum(), None

        return jax.lax.scan(add, 0.0, (jnp.arange(DRAWS), *args))[0]

    key = jax.random.key(0)
    return total


def noise() -> None:
    """Prints the table of Gumbel noise."""
    draws = {
        "gumbel.samplers": samplers.gumbel_noise,
        'jax.random, mode="low"': lambda k, s: jax.random.gumbel(k, s, mode="low"),
        'jax.random, mode="high"': lambda k, s: jax.random.gumbel(k, s, mode="high"),
    }
    seconds = medians(
        {
            name: many(lambda key, draw=draw: draw(key, SHAPE))
            for name, draw in draws.items()
        }
    )
    # The tail from the inverse of the largest uniform each one can draw.
    largest = {"gumbel.samplers": 32 * np.log(2), 'jax.random, mode="low"': 15.9}
    ours = seconds["gumbel.samplers"]
    rows = [
        [
            name,
            f"{1e6 * value / DRAWS:.0f}",
            f"{value / ours:.2f}",
            f"{largest[name]:.1f}" if name in largest else "further",
        ]
        for name, value in seconds.items()
    ]
    print(report.markdown(["noise", "µs a draw", "time / ours", "largest"], rows))
    conditions(f"{SHAPE}, {DRAWS} draws")


def categorical() -> None:
    """Prints the table of exact categorical draws."""
    logits = jax.random.normal(jax.random.key(1), (DRAWS, *SHAPE))
    draws = {"categorical": inverse_cdf.categorical, "gumbel_max": samplers.gumbel_max}
    # Of each draw its own: work on the same logits would be done once for all.
    seconds = medians({name: many(draw) for name, draw in draws.items()}, logits)
    ours = seconds["categorical"]
    rows = [
        [name, f"{1e6 * value / DRAWS:.0f}", f"{value / ours:.2f}"]
        for name, value in seconds.items()
    ]
    print(report.markdown(["sampler", "µs a draw", "time / ours"], rows))
    conditions(f"{SHAPE}, {DRAWS} draws")
