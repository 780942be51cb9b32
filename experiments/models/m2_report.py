"""Metrics of M2 beside its bound, and its figures.

Accuracy, the confusion of the classes, the styles that are used, and samples. Of the
classifier alone only the first two.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data.binarization import Pixels
from experiments.engine import plots
from experiments.models import m2

# A style variable counts as used above this mean KL in nats; a collapsed one has none.
USED = 0.1
# Columns of the figure of samples.
STYLES = 10


def choose_by(metrics: Mapping[str, float]) -> float:
    """The best parameters have the highest accuracy."""
    return -metrics["valid_accuracy"]


def make_measure(
    model: m2.M2, pixels: Pixels, true: Mapping[str, np.ndarray], has_style: bool
) -> Callable:
    """Makes (params, split) -> accuracy and, if M2, the number of styles used.

    Args:
        model: the networks.
        pixels: of every split.
        true: the classes of the images of "valid" and "test", int [n].
        has_style: whether it is M2, and not the classifier alone.
    """
    classify, style_kl = (m2.over_images(model, m) for m in ("classify", "style_kl"))
    x = {split: jnp.asarray(pixels.expected(split)) for split in true}

    def measure(params, split: str) -> dict[str, float]:
        predicted = classify(params, x[split])[:, 0].argmax(axis=1)
        metrics = {"accuracy": float((predicted == true[split]).mean())}
        if has_style:
            kl = style_kl(params, pixels.fixed[split]).mean(axis=0)
            metrics["styles_used"] = float((kl > USED).sum())
        return metrics

    return measure


def make_plot(
    model: m2.M2, pixels: Pixels, true: Mapping[str, np.ndarray], has_style: bool
) -> Callable:
    """Makes the plots of the confusion of classes and, if M2, of styles and samples.

    Args: as of `make_measure`.
    """
    classify, style_kl = (m2.over_images(model, m) for m in ("classify", "style_kl"))
    x, classes = jnp.asarray(pixels.expected("valid")), true["valid"]
    num_classes = model.num_classes

    def plot(params: Any, key: jax.Array, directory: Path, slope=1.0) -> None:
        del slope  # It changes no most probable class.
        predicted = classify(params, x)[:, 0].argmax(axis=1)
        path = directory / "confusion.png"
        plots.plot_confusion(classes, predicted, num_classes, path)
        if not has_style:
            return
        kl = style_kl(params, pixels.fixed["valid"]).mean(axis=0)
        plots.plot_style_usage(kl, USED, directory / "latents.png")
        z = jnp.tile(
            jax.random.normal(key, (STYLES, model.num_styles)), (num_classes, 1)
        )
        each_class = np.repeat(np.arange(num_classes), STYLES)
        plots.plot_image_grid(
            m2.generate(model, params, each_class, z),
            num_classes,
            directory / "samples.png",
            "a class in each row, one style from the prior in each column",
        )

    return plot
