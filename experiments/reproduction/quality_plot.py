"""The figure of gradient estimators: bias against spread."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from experiments import plots


def plot_gradient_quality(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plots bias against spread, a line an estimator, a point a temperature.

    Args:
        rows: the rows of scripts/gradient_quality.py.
        path: the file to write.
    """
    figure = Figure(figsize=(9.5, 6.5))
    axes = figure.subplots()
    show_gradient_quality(axes, rows)
    axes.set_title("gradient estimators against the exact gradient")
    plots.save(figure, path)


def show_gradient_quality(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Shows bias against spread, each estimator's name beside one of its points.

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
        color = f"C{number % 10}"
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
