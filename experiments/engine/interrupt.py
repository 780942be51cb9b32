"""SIGTERM and Ctrl-C as a question that the loop asks between compiled calls.

In a run of many processes all ask it together, and a signal to one is one to all.
"""

import contextlib
import signal
from collections.abc import Callable, Iterator

from experiments.engine import processes as hosts


@contextlib.contextmanager
def interruptions() -> Iterator[Callable[[], bool]]:
    """Notes SIGTERM and Ctrl-C; a second one has its usual effect."""
    received: list[int] = []
    watched = (signal.SIGTERM, signal.SIGINT)
    previous = {number: signal.getsignal(number) for number in watched}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def note(number, frame) -> None:
        del frame
        received.append(number)
        restore()

    for number in watched:
        signal.signal(number, note)
    try:
        yield lambda: hosts.anywhere(bool(received))
    finally:
        restore()
