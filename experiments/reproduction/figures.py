"""Figures of the papers' tables, from records alone."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from experiments import plots
from experiments.reproduction import entries
from experiments.reproduction.published import TABLES
from gumbel.estimators import ESTIMATORS

# Of these tables the training curves are shown, as figures 3 and 4 of [1] do.
CURVES = ("jang_table1",)


def plot_estimators(name: str, budget: str, path: Path) -> None:
    """Plots the numbers of estimators, a panel a network, the best ones on top.

    The first column has full markers and makes the order, further ones hollow ones.
    """
    every, columns = entries.read(name, budget), TABLES[name].columns
    rows = {entry.row.name: entry.row for entry in every}
    numbers = {column.label: entries.means(every, column) for column in columns}
    order = _order(numbers[columns[0].label])
    places = {estimator: place for place, estimator in enumerate(reversed(order))}
    size = 2.6 * len(rows) + 1.5, 0.32 * len(order) + 1.2
    figure = Figure(figsize=size)
    panels = figure.subplots(1, len(rows), sharey=True, squeeze=False)
    for axes, (row_name, row) in zip(panels[0], rows.items(), strict=True):
        for column in columns:
            for unbiased, color in ((False, "C0"), (True, "C1")):
                means = numbers[column.label][row_name]
                names = [n for n in means if ESTIMATORS[n].unbiased == unbiased]
                axes.plot(
                    [means[estimator] for estimator in names],
                    [places[estimator] for estimator in names],
                    "o",
                    color=color,
                    markerfacecolor=color if column == columns[0] else "white",
                    label=f"{column.label}, {'unbiased' if unbiased else 'biased'}",
                )
        axes.set(title=entries.label(row, "\n"), xlabel="nats")
        axes.grid(axis="both", color="0.9")
        axes.set_axisbelow(True)
    panels[0][0].set_yticks(list(places.values()), list(places))
    handles, labels = panels[0][-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=4, bbox_to_anchor=(0.5, 0))
    figure.tight_layout()
    plots.save(figure, path)


def _order(rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Estimators by how far they are behind the best, on average over rows."""
    behind: dict[str, list[float]] = {}
    for numbers in rows.values():
        for name, number in numbers.items():
            behind.setdefault(name, []).append(number - min(numbers.values()))
    return sorted(behind, key=lambda name: np.mean(behind[name]))


def curves(name: str, budget: str) -> dict[str, dict[str, np.ndarray]]:
    """Steps and validation nlls, [1 + S, T], by row and estimator.

    S are the seeds whose records have a curve, and T the steps that all of them have.
    """
    rows: dict[str, dict[str, np.ndarray]] = {}
    for entry in entries.read(name, budget):
        seeds = [
            dict(
                zip(record["curve"]["step"], record["curve"]["valid_nll"], strict=True)
            )
            for record in entry.whole
            if "curve" in record
        ]
        if seeds:
            steps = sorted(set.intersection(*map(set, seeds)))
            values = [[seed[step] for step in steps] for seed in seeds]
            row = rows.setdefault(entries.label(entry.row), {})
            row[entry.estimator] = np.array([steps, *values])
    return rows


def plot_curves(name: str, budget: str, path: Path) -> None:
    """Plots validation nll against the step: a panel a row, a line an estimator.

    Lines are means over seeds, in a band of one standard deviation.
    """
    rows = curves(name, budget)
    estimators = list(dict.fromkeys(e for lines in rows.values() for e in lines))
    columns = min(2, len(rows))
    shape = -(-len(rows) // columns), columns
    figure = Figure(figsize=(6 * shape[1], 4.8 * shape[0]), layout="constrained")
    panels = figure.subplots(*shape, squeeze=False).ravel()
    for axes, (row, lines) in zip(panels, rows.items(), strict=False):
        low, high = np.inf, -np.inf
        for estimator, (steps, *seeds) in lines.items():
            mean, color = np.mean(seeds, axis=0), f"C{estimators.index(estimator)}"
            axes.plot(steps, mean, color=color, linewidth=1.5, label=estimator)
            if len(seeds) > 1:
                spread = np.std(seeds, axis=0, ddof=1)
                band = mean - spread, mean + spread
                axes.fill_between(steps, *band, color=color, alpha=0.2, linewidth=0)
            # The first steps fall by tens of nats, which would flatten the rest.
            shown = mean[steps >= 0.01 * steps[-1]]
            low, high = min(low, *shown), max(high, *shown)
        margin = 0.03 * (high - low) + 0.1
        axes.set(ylim=(low - margin, high + margin), title=row)
        axes.set(xscale="log", xlabel="step", xlim=(0.01 * steps[-1], steps[-1]))
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.set_ylabel("validation nll, nats")
        axes.grid(color="0.9")
    for axes in panels[len(rows) :]:
        axes.remove()
    handles = {line.get_label(): line for axes in panels for line in axes.lines}
    figure.legend(
        handles.values(), handles, loc="outside lower center", ncols=4 * columns
    )
    plots.save(figure, path)
