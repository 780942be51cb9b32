"""Tables of single runs, estimators and sweeps, from recorded files alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.engine import report
from experiments.reproduction import records
from experiments.reproduction.published import TABLES

RUNS_HEADER = (
    "record|estimator|objective|steps|learning rate|test nll (m)|test L_1|published|"
    "seed|trained in|jax, device"
).split("|")


def runs_table(folder: Path) -> str:
    """A row a record of a folder of single runs, the best validation bound first."""
    every, rows = records.read_records(folder), []
    for name in sorted(every, key=lambda name: every[name]["result"]["valid"]["nll"]):
        config, result = every[name]["config"], every[name]["result"]
        test = result["test"]
        bound = f"{test['nll']:.2f} ± {test['nll_stderr']:.2f}"
        rows.append(
            [
                f"[{name}]({records.link(folder / name)}.json)",
                f"`{config['estimator']}`",
                config["objective"],
                f"{config['num_steps']:,}",
                f"{config['optimizer']} {config['learning_rate']:g}",
                f"{bound} ({test['eval_samples']})",
                f"{test['nll_1']:.2f}",
                _published(every[name]["experiment"], config),
                str(config["seed"]),
                f"{result['seconds']:.0f} s",
                records.machine(every[name]),
            ]
        )
    return report.markdown(RUNS_HEADER, rows)


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


def quality_table(folder: Path) -> str:
    """Bias and spread of scripts/gradient_quality.py, a row an estimator."""
    record = json.loads((folder / "quality.json").read_text())
    settings = record["settings"]
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
        f"{records.machine(record)}. Cosines, saturated variables and times are in "
        f"table.md and [quality.json]({records.link(folder / 'quality.json')})."
    )


def _bias_and_std(row: Mapping[str, Any]) -> str:
    """The bias, or < its Monte Carlo error where that hides it, and the spread."""
    seen = row["bias"] > row["bias_noise"]
    bias = f"{row['bias']:.2f}" if seen else f"< {row['bias_noise']:.2f}"
    return f"{bias} / {row['std']:.2f}"


def sweep_table(folder: Path) -> str:
    """The bounds over what was swept, as scripts/sweep.py wrote them."""
    record = json.loads((folder / "sweep.json").read_text())
    config = record["config"]
    return (
        f"{(folder / 'table.md').read_text().strip()}\n\n"
        f"{config['num_steps']:,} steps of {config['optimizer']} at "
        f"{config['learning_rate']:g}, batch {config['batch_size']}, m = "
        f"{config['num_samples']}, the parameters of the best validation bound; jax "
        f"{records.machine(record['points'][0])}."
    )
