"""Figures of a run that classifies."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import plots as figures
from experiments.plots import plt


def confusion(labels, predicted, num_classes: int, path: Path) -> None:
    """Draws the share of the images of every class that went to every other, in %.

    Args:
        labels: true classes, int [n].
        predicted: classes given to the same images, int [n].
        num_classes: K.
        path: the file to write.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (labels, predicted), 1)
    percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = plt.subplots(figsize=(6, 6))
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(*percent.shape):
        share = percent[row, column]
        if share >= 0.05:  # what would be printed as 0.0 is left out
            color = "white" if share > 50 else "black"
            text = f"{share:.1f}"
            axes.text(
                column, row, text, ha="center", va="center", color=color, fontsize=8
            )
    axes.set_xticks(range(num_classes))
    axes.set_yticks(range(num_classes))
    right = 100 * (labels == predicted).mean()
    axes.set(
        xlabel="predicted class",
        ylabel="true class",
        title=f"validation images by class, %; {right:.2f} % right",
    )
    figures.save(figure, path)


def class_samples(means, num_classes: int, path: Path) -> None:
    """Draws images generated with every class, a row each, a style a column.

    Args:
        means: pixel means in [0, 1], [K · columns, D], class by class.
        num_classes: K.
        path: the file to write.
    """
    title = "a class in each row, one style from the prior in each column"
    figures.image_grid(means, num_classes, path, title)


def accuracy(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws the validation accuracy against the step.

    Args:
        lines: the lines of metrics.jsonl.
        path: the file to write.
    """
    validated = [line for line in lines if "valid_accuracy" in line]
    steps = [line["step"] for line in validated]
    percent = [100 * line["valid_accuracy"] for line in validated]
    figure, axes = plt.subplots(figsize=(7, 4))
    axes.plot(steps, percent, "o-", markersize=3)
    best = int(np.argmax(percent))
    axes.plot(steps[best], percent[best], "o", mfc="none", color="tab:red")
    axes.set(
        xlabel="step",
        ylabel="validation accuracy, %",
        title=f"best: {percent[best]:.2f} % at step {steps[best]}",
    )
    figures.save(figure, path)


def marginalisation(
    num_classes: Sequence[int],
    costs: Mapping[str, Sequence[float]],
    fits: Mapping[str, tuple[float, float]],
    path: Path,
) -> None:
    """Draws the cost of a training step against the number of classes.

    Args:
        num_classes: values of K.
        costs: milliseconds a step at each of them, by name.
        fits: a and b of the line a + b·K through the costs, by name.
        path: the file to write.
    """
    figure, axes = plt.subplots(figsize=(7, 5))
    line = np.geomspace(min(num_classes), max(num_classes), 100)
    for number, (name, cost) in enumerate(costs.items()):
        a, b = fits[name]
        label = f"{name}: {a:.2f} + {b:.3f}·K"
        axes.plot(num_classes, cost, "o", color=f"C{number}", label=label)
        axes.plot(line, a + b * line, color=f"C{number}", linewidth=1)
    axes.set(
        xscale="log", yscale="log", xlabel="classes K", ylabel="ms a training step"
    )
    axes.legend()
    figures.save(figure, path)
