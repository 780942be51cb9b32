"""Figures of runs.

They are made without pyplot, so that a notebook's backend stays as it is.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure to a file."""
    figure.savefig(path, dpi=150, bbox_inches="tight")


def plot_curves(lines: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Plots nll, accuracy where there is one, and temperature against the step.

    Args:
        lines: the lines of metrics.jsonl.
        path: the file to write.
        title: the run.
    """
    validated = [line for line in lines if "valid_nll" in line]
    # The steps ahead of the first validation fall by hundreds of nats.
    first = validated[0]["step"] if len(validated) > 1 else 0
    trained = [line for line in lines if "objective" in line and line["step"] >= first]
    accurate = [line for line in validated if "valid_accuracy" in line]
    heights = (3, 1.5, 1) if accurate else (3, 1)
    figure = Figure(figsize=(7, 1.5 * sum(heights)))
    top, *middle, bottom = figure.subplots(
        len(heights), 1, sharex=True, height_ratios=heights
    )
    training = [-line["objective"] for line in trained]
    validation = [line["valid_nll"] for line in validated]
    steps, valid_steps = ([line["step"] for line in x] for x in (trained, validated))
    top.plot(steps, training, color="0.6", label="training, minus the objective")
    top.plot(valid_steps, validation, "o-", markersize=3, label="validation")
    # What is left of the fall must not flatten the rest.
    curves = [curve for curve in (training, validation) if curve]
    low = min(map(min, curves))
    high = max(max(np.percentile(curve, 80), curve[-1]) for curve in curves)
    margin = 0.15 * (high - low) + 0.01 * abs(high)
    top.set(ylim=(low - margin, high + margin), ylabel="nll, nats", title=title)
    top.legend()
    for axes in middle:
        percent = [100 * line["valid_accuracy"] for line in accurate]
        best = int(np.argmax(percent))
        label = f"best: {percent[best]:.2f} % at step {accurate[best]['step']}"
        axes.plot([line["step"] for line in accurate], percent, "o-", markersize=3)
        axes.plot(
            accurate[best]["step"], percent[best], "o", c="C3", mfc="none", label=label
        )
        axes.set_ylabel("accuracy, %")
        axes.legend()
    bottom.plot(steps, [line["temperature"] for line in trained])
    bottom.set(ylabel="temperature", xlabel="step")
    bottom.set_ylim(bottom=0)
    save(figure, path)


def _tile(images: np.ndarray, rows: int) -> np.ndarray:
    """Square images [n, D] in row-major order as one picture with thin borders."""
    side = math.isqrt(images.shape[1])
    grid = np.pad(images.reshape(-1, side, side), ((0, 0), (1, 1), (1, 1)))
    grid = grid.reshape(rows, len(images) // rows, side + 2, side + 2)
    return grid.transpose(0, 2, 1, 3).reshape(rows * (side + 2), -1)


def _show_tiles(images: np.ndarray, rows: int) -> tuple[Figure, Any]:
    picture = _tile(np.asarray(images), rows)
    height, width = picture.shape
    figure = Figure(figsize=(8, 8 * height / width))
    axes = figure.subplots()
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    return figure, axes


def plot_image_grid(images, rows: int, path: Path, title: str) -> None:
    """Plots square images side by side.

    Args:
        images: values in [0, 1] in row-major order, [n, D], n divisible by `rows`.
        rows: rows of the grid.
        path: the file to write.
        title: what the images are.
    """
    figure, axes = _show_tiles(images, rows)
    axes.set_title(title)
    axes.axis("off")
    save(figure, path)


def plot_completions(truth, completed, mean, path: Path) -> None:
    """Plots digits whose lower half was predicted from the upper, one a row.

    From left to right: the truth, several completions, the mean prediction.

    Args:
        truth: the images, [n, D].
        completed: upper half and predicted lower half of each sample, [n, S, D].
        mean: upper half and mean predicted lower half, [n, D].
        path: the file to write.
    """
    truth, completed, mean = (np.asarray(a) for a in (truth, completed, mean))
    rows, samples, pixels = completed.shape
    columns = np.concatenate([truth[:, None], completed, mean[:, None]], axis=1)
    figure, axes = _show_tiles(columns.reshape(-1, pixels), rows)
    side = math.isqrt(pixels)
    # The upper half is the input, the lower one predicted; the truth has no line.
    for row in range(rows):
        axes.axhline(
            row * (side + 2) + 1 + side / 2 - 0.5,
            xmin=1 / (samples + 2),
            color="tab:red",
            linewidth=0.5,
        )
    positions = (np.array([0, (1 + samples) / 2, 1 + samples]) + 0.5) * (side + 2)
    names = ("truth", "completions, a hard sample each", "mean")
    axes.set_xticks(positions, names)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    save(figure, path)


def plot_latent_usage(probabilities, path: Path, about: str = "the image") -> None:
    """Plots how the posterior uses each latent variable.

    Left, the aggregate posterior: a variable whose classes are used evenly fills its
    column. Right, the information in nats that each variable carries about its input,
    H[mean posterior] minus mean H[posterior]; one that carries none has collapsed.

    Args:
        probabilities: posterior probabilities of many images, [n, N, K].
        path: the file to write.
        about: the input of the posterior, in words.
    """
    probabilities = np.asarray(probabilities, np.float64)
    mean = probabilities.mean(axis=0)
    information = _entropy(mean) - _entropy(probabilities).mean(axis=0)
    order = np.argsort(-information)
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    shares = left.imshow(mean[order].T, aspect="auto", cmap="viridis", vmin=0)
    figure.colorbar(shares, ax=left, label="share of images")
    left.set(
        xlabel="latent variable, by information",
        ylabel="class",
        title="aggregate posterior",
    )
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_locator(ticker.MaxNLocator(integer=True))
    title = f"information about {about}: {information.sum():.1f} nats in all"
    right.set(xlabel="latent variable, by information", ylabel="nats", title=title)
    most = f"log {mean.shape[1]}, the largest possible"
    _plot_bars(right, information[order], np.log(mean.shape[1]), most)
    save(figure, path)


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    logs = np.log(
        probabilities, where=probabilities > 0, out=np.zeros_like(probabilities)
    )
    return -(probabilities * logs).sum(axis=-1)


def plot_style_usage(kl, threshold: float, path: Path) -> None:
    """Plots the KL of each style variable; one that has none has collapsed.

    Args:
        kl: mean KL of the posterior from the prior of each variable in nats, [N].
        threshold: the KL above which a variable counts as used.
        path: the file to write.
    """
    kl = np.sort(np.asarray(kl))[::-1]
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    used = f"{(kl > threshold).sum()} of {len(kl)} style variables used"
    title = f"{used}, {kl.sum():.1f} nats in all"
    axes.set(xlabel="style variable, by KL", ylabel="KL, nats", title=title)
    _plot_bars(axes, kl, threshold, f"used above {threshold:g} nats")
    save(figure, path)


def _plot_bars(axes, values: np.ndarray, height: float, name: str) -> None:
    """Plots a bar a variable, and a named dashed line."""
    axes.bar(np.arange(len(values)), values, width=1.0)
    axes.axhline(height, color="0.6", linestyle="--")
    beside = axes.get_yaxis_transform()
    axes.text(0.99, height, name, transform=beside, ha="right", va="bottom")
    axes.set_ylim(top=1.1 * max(height, *values))
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))


def plot_confusion(labels, predicted, num_classes: int, path: Path) -> None:
    """Plots the share of the images of each class that each class was predicted for.

    Args:
        labels: true classes, int [n].
        predicted: classes predicted for the same images, int [n].
        num_classes: K.
        path: the file to write.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (labels, predicted), 1)
    percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(6, 6))
    axes = figure.subplots()
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(*percent.shape):
        share = percent[row, column]
        if share >= 0.05:  # less would be printed as 0.0
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
    save(figure, path)
