"""The figure of a sweep: its bounds against what was swept."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from experiments.engine import plots


def plot_sweep(
    records: Sequence[Mapping[str, Any]], fields: Sequence[str], path: Path, title: str
) -> None:
    """Plots the bounds of a sweep against a swept field.

    The discrete and the relaxed bound, as figure 4, right, of Maddison, Mnih & Teh
    (2017), and a panel for each further number of the validation set: the mean and the
    standard deviation over seeds; a colour for each combination of the other fields.

    Args:
        records: the points of sweep.json; those that diverged are left out.
        fields: the swept fields, that of the x axis first.
        path: the file to write.
        title: what the bounds are of.
    """
    records = [record for record in records if not record["diverged"]]
    measured = list(records[0]["measured"]) if records else []
    figure = Figure(figsize=(7 * (1 + len(measured)), 5))
    first, *others = figure.subplots(1, 1 + len(measured), squeeze=False)[0]
    first.set(title=title, ylabel="negative bound, nats")
    if records:
        bounds = ("discrete", "relaxed")
        numbers = {b: [record[b]["nll"] for record in records] for b in bounds}
        _plot_points(first, records, fields, numbers)
    for axes, name in zip(others, measured, strict=True):
        axes.set(title=f"{name} on the validation set")
        numbers = {name: [record["measured"][name] for record in records]}
        _plot_points(axes, records, fields, numbers)
    plots.save(figure, path)


def _plot_points(
    axes,
    records: Sequence[Mapping[str, Any]],
    fields: Sequence[str],
    numbers: Mapping[str, Sequence[float]],
) -> None:
    """Plots numbers of the records, [n] by name: the first full, the second hollow."""
    field, *others = fields
    ticks = list(dict.fromkeys(record["fields"][field] for record in records))
    names = isinstance(ticks[0], str)
    combinations = list(
        dict.fromkeys(tuple(r["fields"][other] for other in others) for r in records)
    )
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(combinations)))
    for number, values in enumerate(combinations):
        pairs = [f"{o}={_text(v)}" for o, v in zip(others, values, strict=True)]
        for full, (name, all_values) in zip(
            (True, False), numbers.items(), strict=False
        ):
            seeds: dict[Any, list[float]] = {}
            for record, value in zip(records, all_values, strict=True):
                if tuple(record["fields"][other] for other in others) == values:
                    seeds.setdefault(record["fields"][field], []).append(value)
            # At a name, the points stand side by side.
            shift = 0.8 * (number + (0.25 if full else 0.75)) / len(combinations) - 0.4
            axes.errorbar(
                [ticks.index(t) + shift if names else t for t in seeds],
                [np.mean(v) for v in seeds.values()],
                [np.std(v, ddof=1) if len(v) > 1 else 0.0 for v in seeds.values()],
                fmt="o" if names else "o-" if full else "o--",
                color=colors[number],
                markerfacecolor=colors[number] if full else "white",
                capsize=3,
                label=", ".join([name, *pairs]),
            )
    axes.set_xlabel(field)
    if names:
        axes.set_xticks(range(len(ticks)), ticks)
        axes.set_xlim(-0.5, len(ticks) - 0.5)
    elif max(ticks) > 10 * min(positive := [t for t in ticks if t > 0]):
        # Zero, a rate that anneals nothing say, has its place left of the rest.
        scale = {} if min(ticks) > 0 else {"linthresh": min(positive)}
        axes.set_xscale("symlog" if scale else "log", **scale)
        axes.set_xticks(ticks, map(_text, ticks))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
    heights = [value for values in numbers.values() for value in values]
    if min(heights) > 0 and max(heights) > 3 * min(heights):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(ticker.NullLocator())
    axes.legend(fontsize=8)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
