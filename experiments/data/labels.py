"""The choice of the training images that keep their labels."""

import hashlib

import numpy as np

from experiments import ConfigError
from experiments.data.datasets import Dataset


def choose(dataset: Dataset, count: int, seed: int) -> np.ndarray:
    """Chooses the training images whose labels may be seen, as many of every class.

    Where the classes do not divide the count, some drawn ones have one image more. The
    draw is by SHAKE-128, hence the same whatever the library versions.

    Args:
        dataset: from `data.load`.
        count: number of labelled images.
        seed: of the draw.

    Returns:
        Rows of the training split, [count].

    Raises:
        ConfigError: if the data set has no labels, or too few of a class.
    """
    labels, num_classes = dataset.train.labels, dataset.num_classes
    if num_classes == 0:
        raise ConfigError(
            f"config.dataset.name={dataset.name!r}: must be a data set with labels"
        )
    shake = hashlib.shake_128(f"labels of {dataset.name}, seed {seed}".encode())
    size = len(labels) + num_classes
    order = np.argsort(np.frombuffer(shake.digest(8 * size), np.uint64))
    images, classes = order[order < len(labels)], order[order >= len(labels)]
    quota = np.full(num_classes, count // num_classes)
    quota[classes[: count % num_classes] - len(labels)] += 1
    chosen = [images[labels[images] == k][: quota[k]] for k in range(num_classes)]
    for k, rows in enumerate(chosen):
        if len(rows) < quota[k]:
            raise ConfigError(
                f"config.labelled.count={count}: must be less, for class {k} has "
                f"{len(rows)} training images and not {quota[k]}"
            )
    return np.concatenate(chosen)
