"""Who trains: this project, a plain Flax loop, and PyTorch where it is installed."""

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

from scripts.benchmarks.start import Start

OURS, PLAIN, EAGER, COMPILED = (
    "this project",
    "plain Flax",
    "PyTorch eager",
    "torch.compile",
)


# Each loads its own library and no other: a process may be asked what one takes.
def _ours(name: str, start: Start | None) -> Callable[[], Any]:
    from scripts.benchmarks import networks, ours

    del start
    return ours.training(networks.NETWORKS[name])


def _plain(name: str, start: Start) -> Callable[[], Any]:
    from scripts.benchmarks import plain

    return plain.training(start)


def _eager(name: str, start: Start) -> Callable[[], Any]:
    from scripts.benchmarks import pytorch_loop

    return pytorch_loop.eager(start)


def _compiled(name: str, start: Start) -> Callable[[], Any]:
    from scripts.benchmarks import pytorch_loop

    return pytorch_loop.compiled(start)


# (name of a network, its start) -> the function that goes on training for a turn of
# steps. The start of ours is not needed.
IMPLEMENTATIONS: Mapping[str, Callable[[str, Start | None], Callable[[], Any]]] = {
    OURS: _ours,
    PLAIN: _plain,
    EAGER: _eager,
    COMPILED: _compiled,
}


def installed() -> list[str]:
    """The names of those that can run here."""
    missing = set() if importlib.util.find_spec("torch") else {EAGER, COMPILED}
    return [name for name in IMPLEMENTATIONS if name not in missing]
