"""How everything is timed: in turns, in one run, and the median."""

import os
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments.engine.provenance import processor

REPEATS = 15


def medians(
    functions: dict[str, Callable], *args, repeats: int = REPEATS
) -> dict[str, float]:
    """Median seconds a call, the functions taking turns so that drift hits all."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(repeats + 1):
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
        f"{jax.devices()[0].device_kind}, {processor()['cpu']}"
    )


def machine() -> dict[str, Any]:
    """The processor, how much of it there is to use, and what else is running."""
    return {**processor(), "load": os.getloadavg()[0]}
