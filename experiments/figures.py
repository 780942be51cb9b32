"""Figures of a run, for people who look rather than read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

# Draw to files: there may be no display.
matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402


def _save(figure, path: Path) -> None:
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
    # The first steps climb hundreds of nats and would flatten all that follows.
    low, high = np.percentile(objective, 15), max(objective)
    top.set_ylim(low - 0.3 * (high - low) - 1, high + 0.15 * (high - low) + 1)
    top.set_ylabel("nats")
    top.legend(loc="lower right")
    bottom.plot(steps, [line["temperature"] for line in lines])
    bottom.set_ylabel("temperature")
    bottom.set_ylim(bottom=0)
    bottom.set_xlabel("step")
    _save(figure, path)


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
    _save(figure, path)


def latent_usage(probabilities, path: Path) -> None:
    """Draws how the posterior uses each latent variable.

    Left, the aggregate posterior: a variable whose classes are used evenly fills its
    column. Right, the information in nats that each variable carries about the image,
    H[mean posterior] − mean H[posterior]; one that carries none has collapsed.

    Args:
        probabilities: posterior probabilities of many images, [n, N, K].
        path: the file to write.
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
        title=f"information about the image: {information.sum():.1f} nats in all",
    )
    _save(figure, path)


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    logs = np.log(
        probabilities, where=probabilities > 0, out=np.zeros_like(probabilities)
    )
    return -(probabilities * logs).sum(axis=-1)
