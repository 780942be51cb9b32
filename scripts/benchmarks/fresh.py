"""Trains for two turns in a process of its own, and says what that took.

    python -m scripts.benchmarks.fresh NETWORK IMPLEMENTATION START

NETWORK and IMPLEMENTATION are names, START is a file that Start.save wrote. The first
turn compiles, so what it takes beyond the second is the time of compilation. Memory is
the most that was resident, with Python, libraries and data.
"""

import json
import sys
import time
from pathlib import Path

from scripts.benchmarks.implementations import IMPLEMENTATIONS, OURS
from scripts.benchmarks.start import load


def two_turns(name: str, implementation: str, path: Path) -> dict[str, float | None]:
    """Seconds of compilation and, in MiB, the peak of this process's memory."""
    start = None if implementation == OURS else load(path)
    go_on = IMPLEMENTATIONS[implementation](name, start)
    times = [time.perf_counter()]
    for _ in range(2):
        go_on()
        times.append(time.perf_counter())
    first, second = times[1] - times[0], times[2] - times[1]
    return {"compile_seconds": first - second, "peak_mib": peak_mib()}


def peak_mib() -> float | None:
    """The most memory of this process that was resident, in MiB; None but on Linux."""
    # Not ru_maxrss: that of a child begins at its parent's.
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    words = [line.split() for line in lines if line.startswith("VmHWM:")]
    return int(words[0][1]) / 1024 if words else None  # printed in KiB


if __name__ == "__main__":
    print(json.dumps(two_turns(*sys.argv[1:3], Path(sys.argv[3]))))
