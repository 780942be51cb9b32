"""Trained runs for use: their best parameters, without their data set."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import gumbel
from experiments import CheckpointError, WorkdirError
from experiments.data.datasets import SIDE
from experiments.engine.checkpoint import Checkpoints
from experiments.engine.hyper import network_hyper
from experiments.engine.run_directory import read_json

# A field of config or config.model that no other experiment has.
EXPERIMENT_FIELDS = {
    "vae": "connections",
    "structured_prediction": "num_layers",
    "semi_supervised": "labelled",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """The base class of trained runs, whose methods each experiment adds.

    Attributes:
        config: the config of the run.
        params: the parameters that were best on the validation set.
        result: the contents of result.json; None if training has not finished.
        slope: the factor of the logits of what is drawn in the network whose bound was
            evaluated; 1 but for `slope_annealed_st`.
    """

    config: ConfigDict
    params: Any = dataclasses.field(repr=False)
    result: Mapping[str, Any] | None
    slope: float = 1.0

    @property
    def side(self) -> int:
        """The side of an image, S."""
        return self.config.dataset.get("side", SIDE)


def experiment_of(config: Mapping[str, Any]) -> str | None:
    """The experiment of a config, by the fields it has; None if of none or several."""
    fields = {*config, *config.get("model", {})}
    names = [name for name, field in EXPERIMENT_FIELDS.items() if field in fields]
    return names[0] if len(names) == 1 else None


def read(directory: Path) -> tuple[Any, ...]:
    """Reads a run directory.

    Returns:
        The experiment, and the fields of `Trained`.

    Raises:
        WorkdirError: if it is not the directory of a run of these experiments.
        CheckpointError: if it has no checkpoint yet, or none is intact.
    """
    path, advice = directory / "config.json", "the run cannot be read"
    if (contents := read_json(path, advice)) is None:
        raise WorkdirError(f"{path}: cannot be read: there is no such file")
    config = ConfigDict(contents)
    if (experiment := experiment_of(config)) is None:
        raise WorkdirError(f"{path}: is of none of {', '.join(EXPERIMENT_FIELDS)}")
    checkpoint = Checkpoints(directory / "checkpoints").read_newest()
    if checkpoint is None:
        raise CheckpointError(f"{directory}: has no checkpoint yet")
    params = jax.tree.map(jnp.asarray, checkpoint["best_params"])
    slope = _slope(directory / "versions.json", config, int(checkpoint["best_step"]))
    result = read_json(directory / "result.json", advice)
    return experiment, config, params, result, slope


def _slope(versions: Path, config: ConfigDict, step: int) -> float:
    if "slope" not in gumbel.estimators.ESTIMATORS[config.estimator].hyper:
        return 1.0
    num_examples = (read_json(versions) or {}).get("num_examples")
    if num_examples is None:
        raise WorkdirError(
            f"{versions}: does not say num_examples, which the slope depends on"
        )
    return float(network_hyper(config, num_examples, step)["slope"])


def to_pixels(images: Any, rows: int, columns: int) -> jax.Array:
    """The pixels of images as floats in [0, 1], row by row.

    Args:
        images: [n, rows, columns] or [n, rows · columns], bool, floats in [0, 1], or
            integers: grey levels from 0 to 255, or 0/1 where none is larger, as data
            sets are read.
        rows: of an image.
        columns: of an image.

    Returns:
        float32 [n, rows · columns].

    Raises:
        ValueError: if shape or values are others.
    """
    images = np.asarray(images)
    if images.shape[1:] not in ((rows, columns), (rows * columns,)):
        raise ValueError(
            f"images have shape {images.shape}: must be [n, {rows}, {columns}] or "
            f"[n, {rows * columns}], grey"
        )
    if images.dtype.kind in "buif":
        pixels = images.reshape(len(images), -1).astype(np.float32)
        if images.dtype.kind in "ui" and pixels.max(initial=0) > 1:
            pixels /= 255
        if ((0 <= pixels) & (pixels <= 1)).all():
            return jnp.asarray(pixels)
    raise ValueError(
        f"images of type {images.dtype}: must be bool, floats from 0 to 1 or integers "
        "from 0 to 255"
    )


def to_images(pixels: jax.Array) -> jax.Array:
    """Square images of rows of pixels, [n, S·S] -> [n, S, S]."""
    side = math.isqrt(pixels.shape[1])
    return pixels.reshape(-1, side, side)


def output_size(network: Mapping[str, Any]) -> int:
    """The number of outputs of a network with these parameters."""
    while "bias" not in network:
        # Flax numbers the modules of a kind; a network ends with a dense one.
        parts = (name.split("_") for name in network)
        kind, number = max((kind, int(number)) for kind, number in parts)
        network = network[f"{kind}_{number}"]
    return network["bias"].size
