"""A table of many estimators at a glance: a row each, a column a network, and a plot.

The whole table, a row a cell with its published number, its learning rate and a link to
its record, goes to a file beside the records.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments import plots
from experiments.engine import report
from experiments.reproduction import records
from experiments.reproduction.budgets import TABLE_BUDGETS
from experiments.reproduction.published import Row
from experiments.reproduction.published_tables import (
    Found,
    compared,
    find,
    means,
    shared,
    table,
)
from experiments.reproduction.tables import TABLES
from gumbel.estimators import ESTIMATORS

# Of these the README has the overview.
NAMES = ("later_table1",)
TABLE, FIGURE = "table.md", "estimators.png"


def make(name: str, budget: str) -> str:
    """The numbers of each estimator on each network, the least of a network in bold."""
    found, columns = find(name, budget), TABLES[name].columns
    networks = {one.row.name: one.row for one in found}
    least = [
        {row.name: min(own.values()) for row, own in compared(found, column)}
        for column in columns
    ]
    rows = []
    for estimator, entry in ESTIMATORS.items():
        own = {one.row.name: one for one in found if one.estimator == estimator}
        cells = [_cell(own.get(network), columns, least) for network in networks]
        unbiased = "yes" if entry.unbiased else "no"
        if own:
            rows.append([f"`{estimator}`", unbiased, entry.evaluations, *cells])
    header = ["estimator", "unbiased", "evaluations", *map(_label, networks.values())]
    return f"{report.markdown(header, rows)}\n\n{_note(name, budget, found)}"


def _cell(one: Found | None, columns, least: Sequence[Mapping[str, float]]) -> str:
    if one is None or not one.whole:
        return "–" if one is None else "diverged"
    texts = []
    for column, best in zip(columns, least, strict=True):
        mean = float(np.mean(one.numbers(column)))
        is_best = mean == best.get(one.row.name)
        texts.append(f"**{mean:.2f}**" if is_best else f"{mean:.2f}")
    return " / ".join(texts)


def _note(name: str, budget: str, found: Sequence[Found]) -> str:
    every = [record for one in found for record in one.all]
    numbers = " / ".join(column.label for column in TABLES[name].columns)
    rates = TABLE_BUDGETS[name][budget].grids["*"]["learning_rate"]
    counts = sorted({len(one.all) for one in found})
    seeds = f"{' or '.join(map(str, counts))} seed{'s' * (counts != [1])}"
    return (
        f"{TABLES[name].title}: {numbers}, nll being L_m with m = "
        f"{shared(every, 'eval_samples')}, in nats, mean over {seeds}. "
        f"{shared(every, 'num_steps')} steps of {shared(every, 'optimizer')}, batch "
        f"{shared(every, 'batch_size')}, the learning rate of each cell chosen from "
        f"{', '.join(f'{rate:g}' for rate in rates)} on validation. Published numbers, "
        "standard errors, learning rates and records are in "
        f"[{TABLE}](results/{name}/{budget}/{TABLE})."
    )


def _label(row: Row, between: str = ", ") -> str:
    return f"{row.experiment.replace('_', ' ')}{between}{row.variant}"


def whole(name: str, budget: str) -> str:
    """The whole table, as it stands in its file."""
    return f"{table(name, budget, links='')}\n"


def write(name: str, budget: str) -> None:
    """Writes the whole table and the plot beside the records."""
    folder = records.RESULTS / name / budget
    (folder / TABLE).write_text(whole(name, budget))
    found = find(name, budget)
    columns = {column.label: means(found, column) for column in TABLES[name].columns}
    draw(columns, folder / FIGURE)


def draw(columns: Mapping[str, Sequence[tuple[Row, dict]]], path: Path) -> None:
    """Draws the numbers of estimators, a panel a network, the best ones on top.

    Args:
        columns: by label, the numbers by estimator of each network; the first column
            has full markers and makes the order, further ones hollow ones.
        path: the file to write.
    """
    networks = next(iter(columns.values()))
    order = _order([numbers for _, numbers in networks])
    places = {name: place for place, name in enumerate(reversed(order))}
    size = 2.6 * len(networks) + 1.5, 0.32 * len(order) + 1.2
    figure = Figure(figsize=size)
    panels = figure.subplots(1, len(networks), sharey=True, squeeze=False)
    for index, axes in enumerate(panels[0]):
        for number, (label, rows) in enumerate(columns.items()):
            _points(axes, rows[index][1], places, label, full=number == 0)
        axes.set(title=_label(networks[index][0], "\n"), xlabel="nats")
        axes.grid(axis="both", color="0.9")
        axes.set_axisbelow(True)
    panels[0][0].set_yticks(list(places.values()), list(places))
    handles, labels = panels[0][-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=4, bbox_to_anchor=(0.5, 0))
    figure.tight_layout()
    plots.save(figure, path)


def _points(axes, numbers, places, label: str, *, full: bool) -> None:
    for unbiased, color in ((False, "C0"), (True, "C1")):
        names = [n for n in numbers if ESTIMATORS[n].unbiased == unbiased]
        axes.plot(
            [numbers[name] for name in names],
            [places[name] for name in names],
            "o",
            color=color,
            markerfacecolor=color if full else "white",
            label=f"{label}, {'unbiased' if unbiased else 'biased'}",
        )


def _order(networks: Sequence[Mapping[str, float]]) -> list[str]:
    """Estimators by how far they are behind the best, on average over networks."""
    behind: dict[str, list[float]] = {}
    for numbers in networks:
        for name, number in numbers.items():
            behind.setdefault(name, []).append(number - min(numbers.values()))
    return sorted(behind, key=lambda name: np.mean(behind[name]))
