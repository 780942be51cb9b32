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

from experiments import CheckpointError, WorkdirError
from experiments.engine.checkpoint import Checkpoints
from experiments.engine.run_directory import read_json

# A field of config or config.model that no other experiment has.
FIELDS = {
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
    """

    config: ConfigDict
    params: Any
    result: Mapping[str, Any] | None


def read(directory: Path) -> tuple[str, ConfigDict, Any, Mapping[str, Any] | None]:
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
    fields = {*config, *config.get("model", {})}
    experiments = [name for name, field in FIELDS.items() if field in fields]
    if len(experiments) != 1:
        raise WorkdirError(f"{path}: is of none of {', '.join(FIELDS)}")
    checkpoint = Checkpoints(directory / "checkpoints").read_newest()
    if checkpoint is None:
        raise CheckpointError(f"{directory}: has no checkpoint yet")
    params = jax.tree.map(jnp.asarray, checkpoint["best_params"])
    return *experiments, config, params, read_json(directory / "result.json", advice)


def to_pixels(images: Any) -> jax.Array:
    """The pixels of images as floats in [0, 1], row by row.

    Args:
        images: grey levels uint8, bool, or floats in [0, 1], [n, …].

    Returns:
        float32 [n, D].

    Raises:
        ValueError: if the values are none of these.
    """
    images = np.asarray(images)
    pixels = images.reshape(len(images), -1).astype(np.float32)
    if images.dtype == np.uint8:
        pixels /= 255
    elif images.dtype != bool and not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"images are {images.dtype}: must be uint8, bool or floats")
    if not ((0 <= pixels) & (pixels <= 1)).all():
        raise ValueError("images have floats outside of [0, 1]: divide them by 255")
    return jnp.asarray(pixels)


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
