"""The small tables of the README, from records alone; all others are in results/."""

import json
import re
from collections.abc import Callable

from experiments.engine import report
from experiments.reproduction import entries, records
from experiments.reproduction.other_tables import OTHERS, OURS
from experiments.reproduction.published import TABLES
from experiments.reproduction.records import read_records

# The records of the README's commands: what it is, table, row and estimator.
EXPERIMENTS = (
    ("VAE with discrete codes", "jang_table1", "vae-categorical", "gumbel_softmax"),
    (
        *("lower half of a digit from its upper half", "jang_table1"),
        *("structured_prediction-categorical", "gumbel_softmax"),
    ),
    ("classification with 100 labels", "kingma_m2", "m2_mlp", "exact"),
)
# The tables of both papers, in the order of the summary.
SUMMARY = (
    *("jang_table1", "jang_table2"),
    *("maddison_table1", "maddison_table2", "maddison_structured"),
)
# The networks of the table of speeds.
NETWORKS = (
    *("784-(20×10)-784", "392-(20×10)-(20×10)-392", "M2 mlp"),
    *("200H~784V, m = 1", "200H~784V, m = 50"),
)


def readme_tables() -> dict[str, Callable[[], str]]:
    """The makers of the README's tables, by name."""
    return {
        "expected": expected,
        "experiments": experiments,
        "summary": summary,
        "speed": speed,
    }


def expected() -> str:
    """The result of the default command."""
    record, longer = (read_records("vae")[f"categorical-{n}k"] for n in (20, 50))
    result, test = record["result"], record["result"]["test"]
    best = longer["result"]["test"]
    return (
        f"It ends with `test: nll {test['nll']:.2f} ± {test['nll_stderr']:.2f} nats "
        f"(L_{test['eval_samples']} on hard samples)`; {result['steps']:,} steps took "
        f"{result['seconds']:.0f} s on two cores. At {longer['result']['steps']:,} "
        f"steps the same model reaches {best['nll']:.1f} (L_{best['eval_samples']})."
    )


def experiments() -> str:
    """The result of each experiment's command, beside the published number."""
    rows = []
    for title, *place in EXPERIMENTS:
        entry = entries.find(*place)
        column = TABLES[entry.table].columns[0]
        published = entry.published(column)
        minutes = entry.whole[0]["result"]["seconds"] / 60
        rows.append(
            [
                title,
                column.label,
                f"{entry.mean(column):.1f} ± {entry.spread(column):.1f} "
                f"{entry.mark(column)}".strip(),
                "–" if published is None else f"{published:.1f}",
                f"{entry.records[0]['config']['num_steps']:,}",
                f"{minutes:.0f} minutes",
            ]
        )
    header = ["experiment", "number", "here", "published", "steps", "on two cores"]
    return report.markdown(header, rows)


def summary() -> str:
    """A row a network of the two papers, for the estimator that both introduce.

    Networks of [2] are trained with several numbers of samples m.
    """
    networks: dict[tuple[str, str], list[entries.Entry]] = {}
    for name in SUMMARY:
        column = TABLES[name].columns[0]
        for entry in entries.read(name, "cpu"):
            numbers = (entry.published(column), entry.mean(column))
            if entry.estimator == "gumbel_softmax" and None not in numbers:
                network = re.sub("-m[0-9]+$", "", entry.row.name)
                networks.setdefault((name, network), []).append(entry)
    rows, good = [], []
    for (name, network), every in networks.items():
        column = TABLES[name].columns[0]
        good += [entry.mark(column) != entries.WORSE for entry in every]
        here = [
            f"{entry.mean(column):.1f} {entry.mark(column)}".strip() for entry in every
        ]
        configs = [entry.records[0]["config"] for entry in every]
        rows.append(
            [
                TABLES[name].title,
                f"`{network}`",
                ", ".join(f"{config['num_samples']}" for config in configs),
                column.label,
                ", ".join(f"{entry.published(column):.1f}" for entry in every),
                ", ".join(here),
                f"{configs[0]['num_steps']:,}",
            ]
        )
    header = ["table", "network", "training m", "number", "published", "here", "steps"]
    note = (
        f"✗: worse than published by more than the papers' noise of 0.5 nats or 1.5 % "
        f"({len(good) - sum(good)} of {len(good)}), ✓: better by more. [2] trained for "
        "10,000,000 steps; [1] does not say for how many."
    )
    return f"{report.markdown(header, rows)}\n\n{note}"


def speed() -> str:
    """Steps a second, and how many times as long others take."""
    path = sorted((records.RESULTS / "benchmark").glob("*.json"))[0]
    values = json.loads(path.read_text())
    others = [x for x in OTHERS if x in values["networks"][0]["milliseconds"]]
    rows = []
    for network in values["networks"]:
        if network["name"] not in NETWORKS:
            continue
        times = network["milliseconds"]
        ratios = [f"{times[name] / times[OURS]:.1f}" for name in others]
        rows.append([network["name"], f"{1e3 / times[OURS]:,.0f}", *ratios])
    header = ["network", "steps/s", *(f"time of {name}, ×" for name in others)]
    machine, versions = values["machine"], values["versions"]
    packages = [f"{n} {versions[n]}" for n in ("jax", "torch") if n in versions]
    note = f"{machine['cpu']}, {machine['cores']} cores; {', '.join(packages)}."
    return f"{report.markdown(header, rows)}\n\n{note}"
