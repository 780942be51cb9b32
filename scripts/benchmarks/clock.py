"""Timing: functions take turns in one process, and the median counts."""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from experiments.engine import report
from experiments.engine.provenance import processor

REPEATS = 15


def time_in_turns(
    functions: Mapping[str, Callable], *args, repeats: int = REPEATS
) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of the first calls, which compile, and the median of the others.

    The functions take turns, so that drift hits all of them.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            started = time.perf_counter()
            jax.block_until_ready(function(*args))
            times[name].append(time.perf_counter() - started)
    median = {name: float(np.median(values[1:])) for name, values in times.items()}
    return {name: values[0] for name, values in times.items()}, median


def compare(
    title: str,
    conditions: str,
    functions: Mapping[str, Callable],
    *args,
    count: int = 1,
) -> None:
    """Times functions of the same arguments, `count` times what the title says each.

    Prints microseconds, and their ratio to the first function, ours.
    """
    _, seconds = time_in_turns(functions, *args)
    ours = next(iter(seconds.values()))
    rows = [
        [name, f"{1e6 * value / count:.0f}", f"{value / ours:.2f}"]
        for name, value in seconds.items()
    ]
    print(report.markdown([title, "µs", "time / ours"], rows), end="\n\n")
    print(
        f"{conditions}, median of {REPEATS}, jax {jax.__version__}, "
        f"{jax.devices()[0].device_kind}, {processor()['cpu']}"
    )


def machine() -> dict[str, Any]:
    """The processor, how much of it there is to use, and what else is running."""
    return {**processor(), "load": os.getloadavg()[0]}
