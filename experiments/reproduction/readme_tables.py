"""The small tables of the README, from records alone; all others are in results/."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from experiments.engine import report
from experiments.reproduction import records
from experiments.reproduction.cells import WORSE, Cell, by_row, recorded_cells
from experiments.reproduction.other_tables import readme_speed
from experiments.reproduction.published import TABLES

# The records of the README's commands: what it is, table, row and estimator.
EXPERIMENTS = (
    ("VAE with discrete codes", "jang_table1", "vae-categorical", "gumbel_softmax"),
    (
        *("lower half of a digit from its upper half", "jang_table1"),
        *("structured_prediction-categorical", "gumbel_softmax"),
    ),
    ("100 labels, M2 of Kingma et al. (2014)", "kingma_m2", "m2_mlp", "exact"),
)
# The tables of both papers, in the order of the summary.
SUMMARY = (
    *("jang_table1", "jang_table2"),
    *("maddison_table1", "maddison_table2", "maddison_structured"),
)


def expected() -> str:
    """The result of the default command."""
    every = records.read_records(records.RESULTS / "vae")
    result, longer = (every[f"categorical-{n}k"]["result"] for n in (20, 50))
    test, best = result["test"], longer["test"]
    return (
        f"It ends with `test: nll {test['nll']:.2f} ± {test['nll_stderr']:.2f} nats "
        f"(L_{test['eval_samples']} on hard samples)`; {result['steps']:,} steps took "
        f"{result['seconds']:.0f} s on two cores. At {longer['steps']:,} steps the "
        f"same model reaches {best['nll']:.1f} (L_{best['eval_samples']})."
    )


def experiments() -> str:
    """The result of each experiment's command, beside the published number."""
    rows = []
    for title, table, row, estimator in EXPERIMENTS:
        cell = by_row(recorded_cells(table))[row][estimator]
        column = TABLES[table].columns[0]
        published, mean = cell.published(column), cell.mean(column)
        here = f"{mean:.1f} ± {cell.spread(column):.1f} {cell.mark(column)}".strip()
        rows.append(
            [
                title,
                column.label,
                here,
                "–" if published is None else f"{published:.1f}",
                f"{cell.records[0]['config']['num_steps']:,}",
                _time(cell.whole[0]),
            ]
        )
    header = ["experiment", "number", "here", "published", "steps", "training took"]
    return report.markdown(header, rows)


def _time(record: Mapping[str, Any]) -> str:
    """The minutes of training, and on how many cores where the record says."""
    cores, minutes = record["versions"].get("cores"), record["result"]["seconds"] / 60
    where = "" if cores is None else f" on {cores} core{'s' * (cores > 1)}"
    return f"{minutes:.0f} minutes{where}"


def summary() -> str:
    """A row a network of the two papers, for the estimator that both introduce.

    Networks of [2] are trained with several numbers of samples m.
    """
    networks: dict[tuple[str, str], list[Cell]] = {}
    for table in SUMMARY:
        column = TABLES[table].columns[0]
        for cell in recorded_cells(table):
            numbers = cell.published(column), cell.mean(column)
            if cell.estimator == "gumbel_softmax" and None not in numbers:
                network = re.sub("-m[0-9]+$", "", cell.row.name)
                networks.setdefault((table, network), []).append(cell)
    rows, marks = [], []
    for (table, network), cells in networks.items():
        column = TABLES[table].columns[0]
        marks += [cell.mark(column) for cell in cells]
        here = [f"{c.mean(column):.1f} {c.mark(column)}".strip() for c in cells]
        configs = [cell.records[0]["config"] for cell in cells]
        rows.append(
            [
                TABLES[table].title,
                f"`{network}`",
                ", ".join(f"{config['num_samples']}" for config in configs),
                column.label,
                ", ".join(f"{cell.published(column):.1f}" for cell in cells),
                ", ".join(here),
                f"{configs[0]['num_steps']:,}",
            ]
        )
    header = ["table", "network", "training m", "number", "published", "here", "steps"]
    note = (
        f"✗: worse than published by more than our tolerance, 0.5 nats or 1.5 % "
        f"({marks.count(WORSE)} of {len(marks)}), ✓: better by more. [2] trained for "
        "10,000,000 steps and has L_50,000, here it is L_1000; [1] does not say."
    )
    return f"{report.markdown(header, rows)}\n\n{note}"


# The makers of the README's tables, by name, in their order.
README_TABLES: Mapping[str, Callable[[], str]] = {
    "expected": expected,
    "experiments": experiments,
    "summary": summary,
    "speed": readme_speed,
}
