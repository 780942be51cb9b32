"""Tables of single runs, estimators, sweeps and speed, from recorded files alone."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.engine import report
from experiments.reproduction import records
from experiments.reproduction.published import JANG_FIGURE5, TABLES

RUNS_HEADER = (
    "record|estimator|objective|steps|learning rate|test nll (m)|test nll_1|published|"
    "seed|trained in|jax, device"
).split("|")
# Implementations of a training step, in the order of their columns, and its floor.
OURS, FLAX, FLOOR = "this project", "plain Flax", "floor"
EAGER, COMPILED = "PyTorch eager", "torch.compile"
# Of an evaluation: its matrix products.
PRODUCTS = "products alone"
IMPLEMENTATIONS = (OURS, FLAX, EAGER, COMPILED)
# The networks of the README's table.
README_NETWORKS = (
    *("784-(20×10)-784", "200H~784V, m = 1", "200H~784V, m = 5", "200H~784V, m = 50"),
    "M2 mlp",
)


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
        cells = [bias_and_std(by[t]) if t in by else "–" for t in columns]
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


def bias_and_std(row: Mapping[str, Any]) -> str:
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
    parts = [report.markdown(header, rows), _costs(networks)]
    if "evaluation" in values:
        parts.append(_evaluation(values))
    return "\n\n".join([*parts, note])


def _implementations(networks: Sequence[Mapping[str, Any]]) -> list[str]:
    """The implementations that were timed, ours first."""
    return [name for name in IMPLEMENTATIONS if name in networks[0]["milliseconds"]]


def _packages(values: Mapping[str, Any], *names: str) -> str:
    versions = values["versions"]
    return ", ".join(f"{name} {versions[name]}" for name in names if name in versions)


def _costs(networks: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: seconds of compilation, a row a network."""
    names = _implementations(networks)
    rows = [
        [x["name"], *(f"{max(0.0, x['compile_seconds'][n]):.1f}" for n in names)]
        for x in networks
    ]
    return report.markdown(["compilation, s", *names], rows)


def _evaluation(values: Mapping[str, Any]) -> str:
    """Markdown: seconds of an evaluation, by implementation."""
    evaluation = values["evaluation"]
    title = f"L_{evaluation['samples']:,} of {evaluation['images']:,} images, s"
    seconds = evaluation["seconds"]
    names = [name for name in (OURS, EAGER, PRODUCTS) if name in seconds]
    rows = [[values["networks"][0]["name"], *(f"{seconds[x]:.1f}" for x in names)]]
    return report.markdown([title, *names], rows)


def readme_speed() -> str:
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
    header = ["network", "steps/s", *(f"{name}, time / ours" for name in others)]
    machine = f"{values['machine']['cpu']}, {values['machine']['cores']} cores"
    return (
        f"{report.markdown(header, rows)}\n\n{machine}; "
        f"{_packages(values, 'jax', 'torch')}."
    )


def gpu_tables(folder: Path) -> str:
    """The tables of every accelerator that has a recorded benchmark."""
    files = sorted(folder.glob("*.json"))
    return "\n\n".join(gpu_table(json.loads(path.read_text())) for path in files)


def gpu_table(values: Mapping[str, Any]) -> str:
    """The Markdown of scripts/benchmark.py gpu, with its conditions."""
    networks, costs = values["networks"], values["estimators"]
    names = list(networks[0]["steps_per_second"])
    speed = [
        [network["name"], *(f"{network['steps_per_second'][n]:,.0f}" for n in names)]
        for network in networks
    ]
    least = min(costs.values())
    cost = [
        [f"`{name}`", f"{cost:.3f}", f"{cost / least:.1f}"]
        for name, cost in sorted(costs.items(), key=lambda item: item[1])
    ]
    effect = [
        [x["precision"], f"{x['steps_per_second']:,.0f}"]
        + [f"{x[name]:.2f}" for name in ("nll", "nll_own")]
        for x in values["precision"]
    ]
    evaluation, row = values["evaluation"], values["row"]
    note = (
        f"L_{evaluation['samples']:,} of {evaluation['images']} images of the linear "
        f"VAE takes {evaluation['seconds']:.1f} s. `{row['name']}` at budget "
        f"`{row['budget']}` took {row['seconds']:,.0f} s: test nll {row['nll']:.2f}, "
        f"published {row['published']}. {values['versions']['device_kind']}; "
        f"{_packages(values, 'jax', 'torch')}."
    )
    return "\n\n".join(
        [
            report.markdown(["steps/s", *names], speed),
            report.markdown(["estimator", "ms a step", "× the least"], cost),
            report.markdown(
                ["products", "steps/s", "nll", "nll by its own products"], effect
            ),
            note,
        ]
    )
