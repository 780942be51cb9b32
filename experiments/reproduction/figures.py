"""Figures of results/: of the papers' tables, and bias against spread of estimators."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from experiments.engine import plots
from experiments.reproduction.cells import Cell, label, means
from experiments.reproduction.published import TABLES
from gumbel.estimators import ESTIMATORS

# Of these tables the training curves are shown, as figures 3 and 4 of [1] do.
CURVES = ("jang_table1",)


def plot_estimators(cells: Sequence[Cell], path: Path) -> None:
    """Plots the numbers of estimators, a panel a network, the best ones on top.

    The first column has full markers and makes the order, further ones hollow ones.
    """
    columns = TABLES[cells[0].table].columns
    rows = {cell.row.name: cell.row for cell in cells}
    numbers = {column.label: means(cells, column) for column in columns}
    order = _order(numbers[columns[0].label])
    places = {estimator: place for place, estimator in enumerate(reversed(order))}
    size = 2.6 * len(rows) + 1.5, 0.32 * len(order) + 1.2
    figure = Figure(figsize=size)
    panels = figure.subplots(1, len(rows), sharey=True, squeeze=False)
    for axes, (row_name, row) in zip(panels[0], rows.items(), strict=True):
        for column in columns:
            for unbiased, color in ((False, "C0"), (True, "C1")):
                same = numbers[column.label][row_name]
                names = [n for n in same if ESTIMATORS[n].unbiased == unbiased]
                axes.plot(
                    [same[estimator] for estimator in names],
                    [places[estimator] for estimator in names],
                    "o",
                    color=color,
                    markerfacecolor=color if column == columns[0] else "white",
                    label=f"{column.label}, {'unbiased' if unbiased else 'biased'}",
                )
        axes.set(title=label(row, "\n"), xlabel="nats")
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


def curves(cells: Sequence[Cell]) -> dict[str, dict[str, np.ndarray]]:
    """Steps and validation nlls, [1 + S, T], by row and estimator.

    S are the seeds whose records have a curve, and T the steps that all of them have.
    """
    rows: dict[str, dict[str, np.ndarray]] = {}
    for cell in cells:
        every = [record["curve"] for record in cell.whole if "curve" in record]
        seeds = [dict(zip(x["step"], x["valid_nll"], strict=True)) for x in every]
        if seeds:
            steps = sorted(set.intersection(*map(set, seeds)))
            values = [[seed[step] for step in steps] for seed in seeds]
            row = rows.setdefault(label(cell.row), {})
            row[cell.estimator] = np.array([steps, *values])
    return rows


def plot_curves(rows: Mapping[str, Mapping[str, np.ndarray]], path: Path) -> None:
    """Plots what `curves` returns against the step: a panel a row, a line an estimator.

    Lines are means over seeds, in a band of one standard deviation.
    """
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


def plot_gradient_quality(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plots the rows of scripts/gradient_quality.py, see `show_gradient_quality`."""
    figure = Figure(figsize=(9.5, 6.5))
    axes = figure.subplots()
    show_gradient_quality(axes, rows)
    axes.set_title("gradient estimators against the exact gradient")
    plots.save(figure, path)


def show_gradient_quality(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Shows bias against spread, a line an estimator with its name, a point a row.

    A circle grows with the temperature; a diamond has none, or one that changes less
    than 5 % of the spread. A bias within the Monte Carlo error is hollow, at that
    error: the estimator's own lies somewhere below.

    Args:
        axes: where, of their final size and position.
        rows: the rows of scripts/gradient_quality.py.
    """
    temperatures = sorted({row["temperature"] for row in rows} - {None})
    sizes = dict(zip(temperatures, np.linspace(3.5, 9, len(temperatures)), strict=True))
    labels = []
    for number, name in enumerate(dict.fromkeys(row["estimator"] for row in rows)):
        own = [row for row in rows if row["estimator"] == name]
        if max(row["std"] for row in own) <= 1.05 * min(row["std"] for row in own):
            own = [{**own[0], "temperature": None}]
        places = [(row["std"], max(row["bias"], row["bias_noise"])) for row in own]
        # Ten colours, and the same ten darker.
        color = to_hex(
            np.multiply(to_rgb(f"C{number % 10}"), 1 if number < 10 else 0.5)
        )
        axes.plot(*zip(*places, strict=True), "-", color=color, linewidth=1, alpha=0.6)
        for row, place in zip(own, places, strict=True):
            fill = color if row["bias"] > row["bias_noise"] else "white"
            style = {"color": color, "mfc": fill, "linestyle": "none"}
            if row["temperature"] is None:
                axes.plot(*place, marker="D", markersize=5.5, **style)
            else:
                size = sizes[row["temperature"]]
                axes.plot(*place, marker="o", markersize=size, **style)
        middle = (len(places) - 1) / 2
        order = sorted(
            range(len(places)), key=lambda index, middle=middle: abs(index - middle)
        )
        labels.append((name, [places[index] for index in order], color))
    for temperature, size in sizes.items():
        style = {"color": "0.5", "linestyle": "none", "markersize": size}
        axes.plot([], [], marker="o", label=f"τ = {temperature:g}", **style)
    axes.plot([], [], "D", color="0.5", label="no τ", markersize=5.5)
    axes.plot([], [], "o", color="0.5", mfc="white", label="bias below this")
    axes.legend(fontsize=8, loc="lower left")
    axes.set(xscale="log", yscale="log")
    axes.set(xlabel="spread: relative standard deviation", ylabel="relative bias")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(ticker.NullLocator())
    _place_labels(axes, labels)


def _place_labels(axes: Any, labels: Sequence[tuple]) -> None:
    """Writes each name beside one of its points, where no point, line or name is.

    Args:
        axes: where, with the lines and points.
        labels: (name, places, color) of each; the first free place is taken.
    """
    renderer = FigureCanvasAgg(axes.get_figure(root=True)).get_renderer()
    taken = [axes.get_legend().get_window_extent(renderer)]
    for line in axes.lines:
        if not line.get_xydata().size:
            continue
        path = axes.transData.transform(line.get_xydata())
        taken += [Bbox.from_extents(*(point - 5), *(point + 5)) for point in path]
        between = np.linspace(0, 1, 30)[:, None]
        for start, end in itertools.pairwise(path):
            on_line = start + between * (end - start)
            taken += [Bbox.from_extents(*(p - 1), *(p + 1)) for p in on_line]
    directions = ((1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1))
    for name, places, color in labels:
        for radius, place, (x, y) in itertools.product((7, 14, 24), places, directions):
            text = axes.annotate(
                name,
                place,
                (radius * x, radius * y),
                textcoords="offset points",
                color=color,
                fontsize=8,
                ha=("center", "left", "right")[x],
                va=("center", "bottom", "top")[y],
            )
            box = text.get_window_extent(renderer)
            inside = axes.bbox.x0 < box.x0 and box.x1 < axes.bbox.x1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()
