"""Figures of a run, for people who look rather than read."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

# Draw to files: there may be no display.
matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402


def save(figure, path: Path) -> None:
    """Writes a figure and lets go of it."""
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)


def curves(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws the training objective, the validation bound and the temperature.

    Args:
        lines: the lines of metrics.jsonl.
        path: the file to write.
    """
    steps = [line["step"] for line in lines]
    validated = [line for line in lines if "valid_nll" in line]
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(7, 6), sharex=True, height_ratios=(3, 1)
    )
    objective = [line["objective"] for line in lines]
    top.plot(steps, objective, color="0.6", label="training objective")
    top.plot(
        [line["step"] for line in validated],
        [-line["valid_nll"] for line in validated],
        "o-",
        markersize=3,
        label="validation bound, hard samples",
    )
    # The first steps climb hundreds of nats and would flatten all that follows, but
    # both curves are to be seen from there to their ends.
    bounds = [-line["valid_nll"] for line in validated] or objective
    low = min(np.percentile(objective, 15), np.percentile(bounds, 25))
    high = max(*objective, *bounds)
    top.set_ylim(low - 0.15 * (high - low) - 1, high + 0.15 * (high - low) + 1)
    top.set_ylabel("nats")
    top.legend()
    bottom.plot(steps, [line["temperature"] for line in lines])
    bottom.set_ylabel("temperature")
    bottom.set_ylim(bottom=0)
    bottom.set_xlabel("step")
    save(figure, path)


def _tile(images: np.ndarray, rows: int, shape: tuple[int, int]) -> np.ndarray:
    """[n, D] images in row-major order as one picture with thin borders."""
    height, width = shape
    grid = np.pad(images.reshape(-1, height, width), ((0, 0), (1, 1), (1, 1)))
    columns = len(images) // rows
    grid = grid.reshape(rows, columns, height + 2, width + 2)
    return grid.transpose(0, 2, 1, 3).reshape(rows * (height + 2), -1)


def image_grid(
    images, rows: int, path: Path, title: str, shape: tuple[int, int] = (28, 28)
) -> None:
    """Draws images [n, D] with values in [0, 1], n divisible by rows.

    Args:
        images: the images, in row-major order.
        rows: rows of the picture.
        path: the file to write.
        title: what the picture shows.
        shape: height and width of an image.
    """
    picture = _tile(np.asarray(images), rows, shape)
    figure, axes = plt.subplots(figsize=(8, 8 * picture.shape[0] / picture.shape[1]))
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title)
    axes.axis("off")
    save(figure, path)


def completions(truth, completed, mean, path: Path) -> None:
    """Draws digits whose lower half was predicted from the upper, one a row.

    From left to right: the truth, several completions, the mean prediction.

    Args:
        truth: the images, [n, D].
        completed: upper half and predicted lower half for each sample, [n, S, D].
        mean: upper half and mean predicted lower half, [n, D].
        path: the file to write.
    """
    truth, completed, mean = (np.asarray(a) for a in (truth, completed, mean))
    rows, samples, _ = completed.shape
    columns = np.concatenate([truth[:, None], completed, mean[:, None]], axis=1)
    side = math.isqrt(truth.shape[1])
    images = columns.reshape(-1, truth.shape[1])
    picture = _tile(images, rows, (side, side))
    height, width = picture.shape
    figure, axes = plt.subplots(figsize=(8, 8 * height / width))
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    # Above the line is given, below it is predicted; the truth has no line.
    for row in range(rows):
        axes.axhline(
            row * (side + 2) + 1 + side / 2 - 0.5,
            xmin=(side + 2) / width,
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


def latent_usage(probabilities, path: Path, about: str = "the image") -> None:
    """Draws how the posterior uses each latent variable.

    Left, the aggregate posterior: a variable whose classes are used evenly fills its
    column. Right, the information in nats that each variable carries about its input,
    H[mean posterior] − mean H[posterior]; one that carries none has collapsed.

    Args:
        probabilities: posterior probabilities of many images, [n, N, K].
        path: the file to write.
        about: what the posterior is given, in words.
    """
    probabilities = np.asarray(probabilities, np.float64)
    mean = probabilities.mean(axis=0)
    information = _entropy(mean) - _entropy(probabilities).mean(axis=0)
    order = np.argsort(-information)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    shown = left.imshow(mean[order].T, aspect="auto", cmap="viridis", vmin=0)
    figure.colorbar(shown, ax=left, label="share of images")
    left.set(xlabel="latent variable", ylabel="class", title="aggregate posterior")
    right.bar(np.arange(len(order)), information[order], width=1.0)
    right.axhline(np.log(mean.shape[1]), color="0.6", linestyle="--")
    right.set(
        xlabel="latent variable, by information",
        ylabel="nats",
        title=f"information about {about}: {information.sum():.1f} nats in all",
    )
    save(figure, path)


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    logs = np.log(
        probabilities, where=probabilities > 0, out=np.zeros_like(probabilities)
    )
    return -(probabilities * logs).sum(axis=-1)


def gradient_quality(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws bias against spread, a line an estimator, a point a temperature.

    A bias that the Monte Carlo error hides is drawn hollow, at that error: the
    estimator's own lies somewhere below.

    Args:
        rows: the rows of scripts/gradient_quality.py.
        path: the file to write.
    """
    figure, axes = plt.subplots(figsize=(9.5, 6))
    for number, name in enumerate(dict.fromkeys(row["estimator"] for row in rows)):
        own = [row for row in rows if row["estimator"] == name]
        stds = [row["std"] for row in own]
        biases = [max(row["bias"], row["bias_noise"]) for row in own]
        # Ten colours, and then the same ones with another marker.
        color, marker = f"C{number % 10}", "osD^"[number // 10 % 4]
        axes.plot(stds, biases, "-", color=color, linewidth=1, alpha=0.6)
        axes.plot([], [], f"{marker}-", color=color, linewidth=1, label=name)
        for row, std, bias in zip(own, stds, biases, strict=True):
            seen = row["bias"] > row["bias_noise"]
            axes.plot(
                *(std, bias, marker),
                color=color,
                mfc=color if seen else "white",
                markersize=5,
            )
            # Labels of points that hardly differ would cover each other.
            if row["temperature"] is not None and max(stds) > 1.05 * min(stds):
                axes.annotate(
                    f"{row['temperature']:g}",
                    (std, bias),
                    textcoords="offset points",
                    xytext=(4, 3),
                    fontsize=6,
                    color=color,
                )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="relative standard deviation",
        ylabel="relative bias (hollow: below what was measurable)",
        title="gradient estimators against the exact gradient, numbers: temperature",
    )
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    save(figure, path)
