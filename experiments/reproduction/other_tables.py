"""Tables of single runs, estimators, sweeps and speed, from recorded files alone."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.engine import report
from experiments.reproduction import records
from experiments.reproduction.published import JANG_FIGURE5, TABLES
from experiments.reproduction.records import read_records

RUNS_HEADER = (
    "record|estimator|objective|steps|learning rate|test nll (m)|test L_1|published|"
    "seed|trained in|jax, device"
).split("|")
# Figures of the papers, made by scripts/sweep.py and scripts/benchmark.py.
FIGURES = {
    "jang_figure5": "Figure 5 of [1]",
    "maddison_figure4": "Figure 4, right, of [2]",
    "vae_temperature": "Temperature and form of the KL of the categorical VAE of [1]",
}


def _published(experiment: str, config: Mapping[str, Any]) -> str:
    """The published number of the same network and estimator, or a dash."""
    model = config["model"]
    # Only the linear networks, coded plainly, are Jang et al.'s.
    if model.get("hidden") or model.get("code", "plain") != "plain":
        return "–"
    (row,) = (
        row
        for row in TABLES["jang_table1"].rows
        if (row.experiment, row.variant) == (experiment, model["family"])
    )
    return "".join(map(str, row.published.get(config["estimator"], "–")))


def runs_table(folder: str) -> str:
    """A row a record of a folder of single runs, the best validation bound first."""
    every = read_records(folder)
    rows = []
    for name in sorted(every, key=lambda name: every[name]["result"]["valid"]["nll"]):
        config, result = every[name]["config"], every[name]["result"]
        test, versions = result["test"], every[name]["versions"]
        bound = f"{test['nll']:.2f} ± {test['nll_stderr']:.2f}"
        rows.append(
            [
                f"[{name}](results/{folder}/{name}.json)",
                f"`{config['estimator']}`",
                config["objective"],
                f"{config['num_steps']:,}",
                f"{config['optimizer']} {config['learning_rate']:g}",
                f"{bound} ({test['eval_samples']})",
                f"{test['nll_1']:.2f}",
                _published(every[name]["experiment"], config),
                str(config["seed"]),
                f"{result['seconds']:.0f} s",
                f"{versions['jax']}, {versions['device_kind']}",
            ]
        )
    return report.markdown(RUNS_HEADER, rows)


def quality_table() -> str:
    """Bias and spread of scripts/gradient_quality.py, a row an estimator."""
    path = records.RESULTS / "gradient_quality" / "quality.json"
    record = json.loads(path.read_text())
    settings, versions = record["settings"], record["versions"]
    temperatures = {row["temperature"] for row in record["rows"]} - {None}
    columns = [None, *sorted(temperatures)]
    rows = []
    for name in dict.fromkeys(row["estimator"] for row in record["rows"]):
        by = {r["temperature"]: r for r in record["rows"] if r["estimator"] == name}
        (cost,) = {row["evaluations"] for row in by.values()}
        cells = [_bias_and_std(by[t]) if t in by else "–" for t in columns]
        rows.append([f"`{name}`", cost, *cells])
    header = ["estimator", "evaluations", "no τ", *(f"τ = {t:g}" for t in columns[1:])]
    return (
        f"{report.markdown(header, rows)}\n\nRelative bias / relative std. Reference: "
        f"{settings['reference']}; {settings['repeats']:,} draws of a gradient, "
        f"{settings['num_parameters']:,} parameters, step {settings['step']:,}, "
        f"{settings['warmup']:,} batches to learn baselines and control variates; jax "
        f"{versions['jax']}, {versions['device_kind']}. Cosines, saturated variables "
        "and times are in table.md and "
        "[quality.json](results/gradient_quality/quality.json)."
    )


def _bias_and_std(row: Mapping[str, Any]) -> str:
    """The bias, or < its Monte Carlo error where that hides it, and the spread."""
    seen = row["bias"] > row["bias_noise"]
    bias = f"{row['bias']:.2f}" if seen else f"< {row['bias_noise']:.2f}"
    return f"{bias} / {row['std']:.2f}"


def figure_table(name: str) -> str:
    """The table below a figure of the papers."""
    folder = records.RESULTS / name / "cpu"
    return figure5(folder) if name == "jang_figure5" else sweep_table(folder)


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
    versions = record["versions"]
    note = f"jax {versions['jax']}, {versions['device_kind']}."
    return f"{report.markdown(header, rows)}\n\n{note}"


def sweep_table(folder: Path) -> str:
    """The bounds over what was swept, as scripts/sweep.py wrote them."""
    record = json.loads((folder / "sweep.json").read_text())
    config, versions = record["config"], record["points"][0]["versions"]
    note = (
        f"{config['num_steps']:,} steps of {config['optimizer']} at "
        f"{config['learning_rate']:g}, batch {config['batch_size']}, m = "
        f"{config['num_samples']}, the parameters of the best validation bound; jax "
        f"{versions['jax']}, {versions['device_kind']}."
    )
    return f"{(folder / 'table.md').read_text().strip()}\n\n{note}"


# Implementations of a training step, in the order of their columns, and its floor.
OURS, FLOOR = "this project", "floor"
OTHERS = ("plain Flax", "PyTorch eager", "torch.compile")


def training_tables() -> str:
    """The tables of every processor that has a recorded benchmark."""
    paths = sorted((records.RESULTS / "benchmark").glob("*.json"))
    parts = [training_table(json.loads(path.read_text())) for path in paths]
    return "\n\n".join(parts) or "Not recorded yet."


def training_table(values: Mapping[str, Any]) -> str:
    """The Markdown of a benchmark of training, with its conditions."""
    networks = values["networks"]
    others = [name for name in OTHERS if name in networks[0]["milliseconds"]]
    header = ["steps/s", OURS, *others, *(f"× {name}" for name in others), "× floor"]
    rows = []
    for network in networks:
        times = network["milliseconds"]
        rows.append(
            [
                network["name"],
                *(f"{1e3 / times[name]:,.0f}" for name in (OURS, *others)),
                *(f"{times[name] / times[OURS]:.2f}" for name in others),
                f"{times[OURS] / times[FLOOR]:.2f}",
            ]
        )
    machine, versions = values["machine"], values["versions"]
    packages = [n for n in ("jax", "flax", "optax", "torch") if n in versions]
    note = (
        f"Medians of {values['repeats']} turns in one process; {machine['cpu']}, "
        f"{machine['cores']} cores, load {machine['load']:.1f} at the start; "
        f"{', '.join(f'{n} {versions[n]}' for n in packages)}, Python "
        f"{versions['python']}. × is how many times as long the other takes as this "
        "project, and this project as the floor: the bare matrix products of a step, "
        "and Adam's memory traffic."
    )
    if start_up := values.get("start_up"):
        seconds = (f"{value:.1f} s to {name}" for name, value in start_up.items())
        note = f"{note} The default command takes {', '.join(seconds)}."
    return "\n\n".join([report.markdown(header, rows), _costs(networks), note])


def _costs(networks: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: compilation and evaluation, a row a network."""
    names = [name for name in (OURS, *OTHERS) if name in networks[0]["compile_seconds"]]
    header = ["compilation, s", *names, "L_1000 of the test set, s"]
    rows = []
    for network in networks:
        cells = [f"{max(0.0, network['compile_seconds'][n]):.1f}" for n in names]
        seconds = network.get("evaluation_seconds")
        cells.append("–" if seconds is None else f"{seconds:.0f}")
        rows.append([network["name"], *cells])
    return report.markdown(header, rows)
