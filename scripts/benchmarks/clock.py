"""How everything is timed: in turns, in one run, and the median."""

import platform
import time
from collections.abc import Callable

import jax
import numpy as np

REPEATS = 15


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


def conditions(what: str) -> None:
    """Prints what was measured, on what."""
    print(
        f"{what}, median of {REPEATS}, jax {jax.__version__}, "
        f"{jax.devices()[0].device_kind}, {platform.processor() or platform.machine()}"
    )
