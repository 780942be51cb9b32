"""A trace of a chunk of steps, for Perfetto or TensorBoard."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

from experiments.engine import processes as hosts


def once(directory: Path) -> Callable[[], contextlib.AbstractContextManager]:
    """Makes the context of chunks of which the first is traced; it is compiled already.

    Args:
        directory: where the first process writes its trace.
    """
    traced: list[None] = []

    @contextlib.contextmanager
    def tracing() -> Iterator[None]:
        if traced or not hosts.is_first():
            yield
            return
        traced.append(None)
        with jax.profiler.trace(directory, create_perfetto_trace=True):
            yield

    return tracing
