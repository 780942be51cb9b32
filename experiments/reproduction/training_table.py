"""The table of training steps, from what `scripts/benchmark.py training` wrote."""

import json
from typing import Any

from experiments.engine import report
from experiments.reproduction.records import RESULTS
from scripts.benchmarks.implementations import IMPLEMENTATIONS, OURS

FLOOR = "floor"
# Of a recorded benchmark.
RECORD = RESULTS / "benchmark" / "training.json"


def table(values: dict[str, Any]) -> str:
    """Markdown: a row a network, and what it was measured on."""
    networks = values["networks"]
    others = [n for n in IMPLEMENTATIONS if n in networks[0]["milliseconds"]][1:]
    header = ["steps/s", OURS, *others, *(f"× {name}" for name in others), "× floor"]
    rows = []
    for found in networks:
        times = found["milliseconds"]
        ours = times[OURS]
        rows.append(
            [
                found["name"],
                *(f"{1e3 / times[each]:,.0f}" for each in (OURS, *others)),
                *(f"{times[each] / ours:.2f}" for each in others),
                f"{ours / times[FLOOR]:.2f}",
            ]
        )
    return "\n\n".join([report.markdown(header, rows), _costs(networks), _note(values)])


def _costs(networks: list[dict[str, Any]]) -> str:
    """Markdown: compilation, memory and evaluation, a row a network."""
    names = [n for n in IMPLEMENTATIONS if n in networks[0]["processes"]]
    header = ["compilation, s; peak memory, MiB", *names, "L_1000 of the test set, s"]
    rows = []
    for found in networks:
        cells = [
            f"{max(0.0, one['compile_seconds']):.1f}; {_memory(one['peak_mib'])}"
            for one in (found["processes"][each] for each in names)
        ]
        seconds = found.get("evaluation_seconds")
        rows.append(
            [found["name"], *cells, "–" if seconds is None else f"{seconds:.0f}"]
        )
    return report.markdown(header, rows)


def _memory(mib: float | None) -> str:
    return "–" if mib is None else f"{mib:,.0f}"


def _note(values: dict[str, Any]) -> str:
    """What it was measured on, and with what."""
    machine, versions = values["machine"], values["versions"]
    packages = [n for n in ("jax", "flax", "optax", "torch") if n in versions]
    return (
        f"Medians of {values['repeats']} turns in one process; {machine['cpu']}, "
        f"{machine['cores']} cores, load {machine['load']:.1f} at the start; "
        f"{', '.join(f'{n} {versions[n]}' for n in packages)}, Python "
        f"{versions['python']}. × is how many times as long the other takes as this "
        "project, and this project as the floor: the bare matrix products of a step, "
        "and Adam's memory traffic."
    )


def recorded() -> str:
    """The table of the recorded benchmark, if there is one."""
    if not RECORD.exists():
        return "Not recorded yet."
    return table(json.loads(RECORD.read_text()))
