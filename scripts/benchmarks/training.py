"""Times the training steps of all networks against Flax, PyTorch and their floor.

The implementations of a network take turns in one process, and the floor with them.
Compilation and memory are those of processes of their own. What is measured is written
after every network.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from experiments import REPOSITORY
from experiments.engine.provenance import versions
from experiments.engine.run_directory import write_json
from experiments.reproduction.other_tables import FLOOR
from experiments.reproduction.other_tables import training_table as table
from scripts.benchmarks import floor, fresh, ours
from scripts.benchmarks.clock import machine, medians
from scripts.benchmarks.implementations import (
    COMPILED,
    EAGER,
    IMPLEMENTATIONS,
    installed,
)
from scripts.benchmarks.networks import NETWORKS, start_of
from scripts.benchmarks.start import Start

REPEATS = 7


def training(out: Path = REPOSITORY / "runs" / "benchmark") -> None:
    """Prints the table of training steps, and writes what it is made of."""
    names = installed()
    if missing := [name for name in (EAGER, COMPILED) if name not in names]:
        print(f"PyTorch is not installed: no rows of {' and '.join(missing)}")
    out.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {"machine": machine(), "repeats": REPEATS, "networks": []}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        # Nothing that was compiled before shortens the compilation that is timed.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        for name, network in NETWORKS.items():
            task = network.task()
            start = start_of(network, task)
            values["versions"] = versions(task.checksum) | _pytorch_version(names)
            found = {
                "name": name,
                "steps": network.steps,
                "milliseconds": _milliseconds(name, names, start),
                "processes": _processes(name, names, start, Path(folder)),
            }
            if network.num_samples == 1:
                found["evaluation_seconds"] = ours.evaluation_seconds(network)
            values["networks"].append(found)
            write_json(out / "training.json", values)
    print(table(values))


def _pytorch_version(names: list[str]) -> dict[str, str]:
    return {"torch": importlib.metadata.version("torch")} if EAGER in names else {}


def _milliseconds(name: str, names: list[str], start: Start) -> dict[str, float]:
    """Median milliseconds a step, by implementation and for the floor."""
    functions = {each: IMPLEMENTATIONS[each](name, start) for each in names}
    functions[FLOOR] = floor.training(start)
    seconds = medians(functions, repeats=REPEATS)
    steps = start.settings["steps"]
    return {each: 1e3 * value / steps for each, value in seconds.items()}


def _processes(name: str, names: list[str], start: Start, folder: Path) -> dict:
    """What `fresh` finds in a process of its own, by implementation."""
    path, found = folder / "start.npz", {}
    start.save(path)
    for each in names:
        # An empty folder: it is a compilation that is timed, not a look into a cache.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
            command = [sys.executable, "-m", fresh.__name__, name, each, str(path)]
            lines = subprocess.check_output(
                command,
                cwd=REPOSITORY,
                env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache},
                text=True,
            ).splitlines()
        found[each] = json.loads(lines[-1])
    return found
