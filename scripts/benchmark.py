"""Times what the library claims about speed: ratios, all from one run.

    python scripts/benchmark.py noise

noise: Gumbel noise of a training step, [100, 20, 10], against jax.random.gumbel in
its two modes: microseconds a draw, the ratio to ours, and how far the tail reaches.
"""

import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from experiments import report  # noqa: E402
from gumbel import samplers  # noqa: E402

REPEATS, DRAWS = 15, 200


def medians(functions: dict[str, Callable], *args) -> dict[str, float]:
    """Median seconds a call, the functions taking turns so that drift hits all."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(REPEATS + 1):
        for name, function in functions.items():
            started = time.perf_counter()
            jax.block_until_ready(function(*args))
            if repeat:  # the first call compiles
                times[name].append(time.perf_counter() - started)
    return {name: float(np.median(values)) for name, values in times.items()}


def noise() -> None:
    """Prints the table of Gumbel noise."""
    shape = (100, 20, 10)
    draws = {
        "gumbel.samplers": samplers.gumbel_noise,
        'jax.random, mode="low"': lambda k, s: jax.random.gumbel(k, s, mode="low"),
        'jax.random, mode="high"': lambda k, s: jax.random.gumbel(k, s, mode="high"),
    }

    def many(draw: Callable) -> Callable:
        def add(total, index):
            return total + draw(jax.random.fold_in(key, index), shape).sum(), None

        key = jax.random.key(0)
        return jax.jit(lambda: jax.lax.scan(add, 0.0, jnp.arange(DRAWS))[0])

    seconds = medians({name: many(draw) for name, draw in draws.items()})
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
    print(
        f"{shape}, median of {REPEATS} × {DRAWS} draws, jax {jax.__version__}, "
        f"{jax.devices()[0].device_kind}, {platform.processor() or platform.machine()}"
    )


BENCHMARKS = {"noise": noise}

if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    if name not in BENCHMARKS:
        sys.exit(f"usage: scripts/benchmark.py {{{','.join(BENCHMARKS)}}}")
    BENCHMARKS[name]()
