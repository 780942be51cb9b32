"""The figure of a sweep: what was found against the fields that were swept."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import ticker

from experiments import plots as figures
from experiments.plots import plt

# Beyond this ratio of largest to smallest, an axis is logarithmic.
_DECADE, _WIDE = 10, 3
_BOUNDS: Mapping[str, Callable[[Mapping], float]] = {
    "discrete": lambda record: record["discrete"]["nll"],
    "relaxed": lambda record: record["relaxed"]["nll"],
}


def sweep(
    records: Sequence[Mapping[str, Any]], fields: Sequence[str], path: Path, title: str
) -> None:
    """Draws what a sweep found against a swept field.

    The discrete and the relaxed bound, as figure 4, right, of Maddison, Mnih & Teh
    (2017), and a panel for each further measured number: the mean and the standard
    deviation over seeds; a colour for each combination of further swept fields.

    Args:
        records: the points of sweep.json; those that diverged are left out.
        fields: what is swept, the field of the x axis first.
        path: the file to write.
        title: what the bounds are of.
    """
    records = [record for record in records if not record["diverged"]]
    measured = list(records[0]["measured"]) if records else []
    size = 1 + len(measured)
    figure, panels = plt.subplots(1, size, figsize=(7 * size, 5), squeeze=False)
    first, *others = panels[0]
    first.set(title=title, ylabel="negative bound, nats")
    if records:
        _panel(first, records, fields, _BOUNDS)
    for axes, name in zip(others, measured, strict=True):
        axes.set(title=f"{name} on the validation set")
        curve = {name: lambda record, name=name: record["measured"][name]}
        _panel(axes, records, fields, curve)
    figures.save(figure, path)


def _panel(
    axes,
    records: Sequence[Mapping[str, Any]],
    fields: Sequence[str],
    curves: Mapping[str, Callable[[Mapping], float]],
) -> None:
    field, *others = fields
    ticks = list(dict.fromkeys(record["fields"][field] for record in records))
    place = _x_axis(axes, field, ticks)
    lines: dict[tuple, dict[Any, list]] = {}
    for record in records:
        values = tuple(record["fields"][other] for other in others)
        line = lines.setdefault(values, {})
        line.setdefault(record["fields"][field], []).append(record)
    colors = plt.colormaps["viridis"](np.linspace(0, 0.85, len(lines)))
    # The second curve is dashed and its markers are hollow; at a name the markers
    # stand beside each other, instead of above.
    styles = ((-0.02, "-", True), (0.02, "--", False))
    everything = []
    for number, (values, line) in enumerate(lines.items()):
        pairs = [f"{o}={_text(v)}" for o, v in zip(others, values, strict=True)]
        for (name, read), (side, style, full) in zip(
            curves.items(), styles, strict=False
        ):
            step = min(0.1, 0.8 / len(lines))
            shift = side + step * (number - (len(lines) - 1) / 2)
            found = [[read(record) for record in seeds] for seeds in line.values()]
            everything += [value for seeds in found for value in seeds]
            axes.errorbar(
                [place[tick] + shift if place else tick for tick in line],
                [np.mean(seeds) for seeds in found],
                [np.std(seeds, ddof=1) if len(seeds) > 1 else 0.0 for seeds in found],
                fmt="o" if place else f"o{style}",
                color=colors[number],
                markerfacecolor=colors[number] if full else "white",
                capsize=3,
                label=", ".join([name, *pairs]),
            )
    if min(everything) > 0 and max(everything) > _WIDE * min(everything):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(ticker.NullLocator())
    axes.legend(fontsize=8)


def _x_axis(axes, field: str, ticks: Sequence) -> dict[Any, int] | None:
    """Scales the axis of a swept field; the places of its values if these are names."""
    axes.set_xlabel(field)
    if isinstance(ticks[0], str):
        axes.set_xticks(range(len(ticks)), ticks)
        axes.set_xlim(-0.5, len(ticks) - 0.5)
        return {tick: place for place, tick in enumerate(ticks)}
    above = [tick for tick in ticks if tick > 0]
    if above and max(above) > _DECADE * min(above):
        if min(ticks) > 0:
            axes.set_xscale("log")
        else:  # zero, say a rate that anneals nothing, has its place left of the rest
            axes.set_xscale("symlog", linthresh=min(above))
        axes.set_xticks(ticks, [_text(tick) for tick in ticks])
        axes.xaxis.set_minor_locator(ticker.NullLocator())
    return None


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
