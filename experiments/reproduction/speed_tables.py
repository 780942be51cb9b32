"""Tables of speed, from the files of scripts/benchmark.py alone."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.engine import report
from experiments.reproduction import records
from experiments.reproduction.published import JANG_FIGURE5

# Implementations of a training step, in the order of their columns, and its floor.
OURS, FLAX, FLOOR = "this project", "plain Flax", "floor"
EAGER, COMPILED = "PyTorch eager", "torch.compile"
IMPLEMENTATIONS = (OURS, FLAX, EAGER, COMPILED)
# The networks of the README's table.
README_NETWORKS = (
    *("784-(20×10)-784", "392-(20×10)-(20×10)-392", "M2 mlp"),
    *("200H~784V, m = 1", "200H~784V, m = 50"),
)


def figure5(folder: Path) -> str:
    """Steps per second of M2 with the class marginalised and sampled."""
    record = json.loads((folder / "marginalisation.json").read_text())
    names, costs = zip(*record["milliseconds"].items(), strict=True)
    rows = [
        [
            f"{k}",
            *(f"{1000 / cost:.1f}" for cost in pair),
            f"{pair[0] / pair[1]:.1f}",
            f"{JANG_FIGURE5[k]:.1f}" if k in JANG_FIGURE5 else "–",
        ]
        for k, *pair in zip(record["classes"], *costs, strict=True)
    ]
    header = ["classes", *(f"{n}, steps/s" for n in names), "speed-up", "published"]
    return f"{report.markdown(header, rows)}\n\njax {records.machine(record)}."


def training_tables(folder: Path) -> str:
    """The tables of every processor that has a recorded benchmark."""
    parts = [
        training_table(json.loads(path.read_text()))
        for path in sorted(folder.glob("*.json"))
    ]
    return "\n\n".join(parts) or "Not recorded yet."


def training_table(values: Mapping[str, Any]) -> str:
    """The Markdown of a benchmark of training, with its conditions."""
    networks = values["networks"]
    names = _implementations(networks)
    header = ["steps/s", *names, *(f"× {name}" for name in names[1:]), "× floor"]
    rows = []
    for network in networks:
        times = network["milliseconds"]
        cells = [f"{1e3 / times[name]:,.0f}" for name in names]
        cells += [f"{times[name] / times[OURS]:.2f}" for name in names[1:]]
        rows.append([network["name"], *cells, f"{times[OURS] / times[FLOOR]:.2f}"])
    machine = values["machine"]
    note = (
        f"Medians of {values['repeats']} turns in one process; {machine['cpu']}, "
        f"{machine['cores']} cores, load {machine['load']:.1f} at the start; "
        f"{_packages(values, 'jax', 'flax', 'optax', 'torch')}, Python "
        f"{values['versions']['python']}. × is how many times as long the other takes "
        "as this project, and this project as the floor: the bare matrix products of a "
        "step, and Adam's memory traffic."
    )
    if start_up := values.get("start_up"):
        seconds = (f"{value:.1f} s to {name}" for name, value in start_up.items())
        note = f"{note} The default command takes {', '.join(seconds)}."
    return "\n\n".join([report.markdown(header, rows), _costs(networks), note])


def _implementations(networks: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was timed, ours first."""
    return [name for name in IMPLEMENTATIONS if name in networks[0]["milliseconds"]]


def _packages(values: Mapping[str, Any], *names: str) -> str:
    versions = values["versions"]
    return ", ".join(f"{name} {versions[name]}" for name in names if name in versions)


def _costs(networks: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: compilation and evaluation, a row a network."""
    names = _implementations(networks)
    header = ["compilation, s", *names, "L_1000 of the test set, s"]
    rows = []
    for network in networks:
        cells = [f"{max(0.0, network['compile_seconds'][n]):.1f}" for n in names]
        seconds = network.get("evaluation_seconds")
        cells.append("–" if seconds is None else f"{seconds:.0f}")
        rows.append([network["name"], *cells])
    return report.markdown(header, rows)


def readme_table() -> str:
    """Steps a second of some networks, and how many times as long others take."""
    path = sorted((records.RESULTS / "benchmark").glob("*.json"))[0]
    values = json.loads(path.read_text())
    _, *others = _implementations(values["networks"])
    rows = []
    for network in values["networks"]:
        if network["name"] in README_NETWORKS:
            times = network["milliseconds"]
            ratios = [f"{times[name] / times[OURS]:.1f}" for name in others]
            rows.append([network["name"], f"{1e3 / times[OURS]:,.0f}", *ratios])
    header = ["network", "steps/s", *(f"time of {name}, ×" for name in others)]
    machine = f"{values['machine']['cpu']}, {values['machine']['cores']} cores"
    return (
        f"{report.markdown(header, rows)}\n\n{machine}; "
        f"{_packages(values, 'jax', 'torch')}."
    )
