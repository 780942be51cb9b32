"""The four IDX files of MNIST and of the data sets published like it.

A folder holds training and test images and their labels, plain or .gz, under any of the
usual names: [PREFIX-]train-images-idx3-ubyte, [PREFIX-]t10k-labels-idx1-ubyte and the
other two, with "test" instead of "t10k" or a dot before "idx". So Fashion-MNIST, KMNIST
and QMNIST are published; of the label columns of QMNIST the first is the class.
"""

import gzip
import math
import re
from pathlib import Path
from typing import BinaryIO

import numpy as np

from experiments import DataError
from experiments.data.images import Source, damage_named

_NAME = re.compile(
    r"(?:.*[-_.])?(train|t10k|test)[-_.](images|labels)[-_.]idx\d-\w+(?:\.gz)?"
)
_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def find(folder: Path) -> dict[tuple[str, str], list[Path]]:
    """The IDX files of a folder: ("train" or "test", "images" or "labels") -> paths."""
    found: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if match := _NAME.fullmatch(path.name):
            role = "train" if match[1] == "train" else "test", match[2]
            found.setdefault(role, []).append(path)
    return found


def read(folder: Path) -> Source:
    """Reads the four files.

    Raises:
        DataError: one is missing, there twice or damaged.
    """
    arrays, files = {}, find(folder)
    for role in ((s, kind) for s in ("train", "test") for kind in ("images", "labels")):
        paths = files.get(role, [])
        if len(paths) != 1:
            names = " and ".join(path.name for path in paths) or "none"
            raise DataError(
                f"{folder}: must hold one IDX file of {' '.join(role)}, plain or .gz, "
                f"such as {role[0]}-{role[1]}-idx1-ubyte; holds {names}"
            )
        with damage_named(paths[0], "get it again"):
            opened = gzip.open if paths[0].suffix == ".gz" else open
            with opened(paths[0], "rb") as file:
                arrays[role] = parse(file)
    images = {split: x for (split, kind), x in arrays.items() if kind == "images"}
    labels = {split: x for (split, kind), x in arrays.items() if kind == "labels"}
    return Source(images, {s: x[:, 0] if x.ndim == 2 else x for s, x in labels.items()})


def parse(file: BinaryIO) -> np.ndarray:
    """Parses an IDX file: two zeros, type, rank, sizes, and as many numbers."""
    zeros, kind, rank = file.read(2), *file.read(2)
    if zeros != b"\0\0" or kind not in _TYPES:
        raise ValueError("it does not begin as an IDX file")
    shape = np.frombuffer(file.read(4 * rank), ">u4").tolist()
    size = math.prod(shape) * np.dtype(_TYPES[kind]).itemsize
    content = file.read(size + 1)
    if len(shape) != rank or len(content) != size:
        raise ValueError(f"it holds {len(content)} bytes for the shape {shape}")
    return np.frombuffer(content, _TYPES[kind]).reshape(shape)
