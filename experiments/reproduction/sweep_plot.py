"""The figure of a sweep: its bounds against what was swept."""

from collections.abc import Callable, Mapping, Sequence
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
        _plot_points(first, records, fields, "discrete", lambda r: r["discrete"]["nll"])
        _plot_points(first, records, fields, "relaxed", lambda r: r["relaxed"]["nll"])
    for axes, name in zip(others, measured, strict=True):
        axes.set(title=f"{name} on the validation set")
        _plot_points(axes, records, fields, name, lambda r, n=name: r["measured"][n])
    plots.save(figure, path)


def _plot_points(
    axes: Any,
    records: Sequence[Mapping[str, Any]],
    fields: Sequence[str],
    name: str,
    number: Callable[[Mapping[str, Any]], float],
) -> None:
    """Plots a number of the records; that of relaxed samples is hollow."""
    field, *others = fields
    # By combination of the other fields: numbers of the seeds by the field's value.
    lines: dict[str, dict[Any, list[float]]] = {}
    for record in records:
        pairs = [f"{other}={_text(record['fields'][other])}" for other in others]
        line = lines.setdefault(", ".join([name, *pairs]), {})
        line.setdefault(record["fields"][field], []).append(number(record))
    ticks = list(dict.fromkeys(record["fields"][field] for record in records))
    names = isinstance(ticks[0], str)
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(lines)))
    hollow = name == "relaxed"
    for (label, seeds), color in zip(lines.items(), colors, strict=True):
        axes.errorbar(
            list(seeds),
            [np.mean(v) for v in seeds.values()],
            [np.std(v, ddof=1) if len(v) > 1 else 0.0 for v in seeds.values()],
            fmt="o" if names else "o--" if hollow else "o-",
            color=color,
            markerfacecolor="white" if hollow else color,
            capsize=3,
            label=label,
        )
    axes.set_xlabel(field)
    if not names and max(ticks) > 10 * min(positive := [t for t in ticks if t > 0]):
        # Zero, a rate that anneals nothing say, has its place left of the rest.
        scale = {} if min(ticks) > 0 else {"linthresh": min(positive)}
        axes.set_xscale("symlog" if scale else "log", **scale)
        axes.set_xticks(ticks, map(_text, ticks))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
    low, high = min(map(number, records)), max(map(number, records))
    if low > 0 and high > 3 * low:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(ticker.NullLocator())
    axes.legend(fontsize=8)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
