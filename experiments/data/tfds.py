"""Image data sets that tensorflow-datasets (TFDS) has prepared as ArrayRecord files.

Preparing them needs TensorFlow and a network; reading them needs neither.
"""

import difflib
import os
import re
from pathlib import Path

import numpy as np

from experiments import DataError
from experiments.data.images import Source, damage_named, decode, shrink
from experiments.data.omniglot import FILES

_SPLITS = {"train": "train", "validation": "valid", "test": "test"}
_INK_IS_DARK = ("omniglot",)


def read(name: str, data_dir: str | None, side: int) -> Source:
    """Reads a prepared data set, its images already of the side that is asked for.

    Raises:
        DataError: it is not prepared, or not usable; the message says what to do.
    """
    default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")  # as TFDS has it
    root = Path(data_dir or default).expanduser()
    prepare = f"with TensorFlow, run {_build_command(name, root)} --overwrite"
    with damage_named(f"{name!r} in {root}", prepare):
        import importlib_resources  # noqa: F401  TFDS needs it, but does not say so
        import tensorflow_datasets as tfds

        # From the folder, not by name: that runs none of the code that prepares data,
        # so that it can neither download nor import TensorFlow.
        builder = tfds.builder_from_directory(_find_prepared(name, root))
        file_format = builder.info.file_format
        if file_format is not tfds.core.FileFormat.ARRAY_RECORD:
            raise DataError(
                f"{name!r} in {root} is prepared as {file_format.value}, not "
                f"array_record: {prepare}"
            )
        features, available = dict(builder.info.features), sorted(builder.info.splits)
        image, label = features.get("image"), features.get("label")
        if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
            raise DataError(f"{name!r} has no 8-bit 'image': choose an image data set")
        if not {"train", "test"} <= set(available):
            raise DataError(
                f"{name!r} has the splits {available}: train, test are needed"
            )
        images, labels = {}, {}
        for split in _SPLITS.keys() & available:
            pair = _read_split(builder, split, side)
            images[_SPLITS[split]], labels[_SPLITS[split]] = pair
    if name in _INK_IS_DARK:
        images = {split: 255 - pixels for split, pixels in images.items()}
    return Source(
        images, {} if label is None else labels, getattr(label, "num_classes", None)
    )


def _build_command(name: str, root: Path) -> str:
    return f"tfds build {name} --data_dir={root} --file_format=array_record"


def _find_prepared(name: str, root: Path) -> Path:
    """Returns the folder, ROOT/NAME/VERSION, of the newest version prepared there."""
    import tensorflow_datasets as tfds

    infos = (root / name).glob("*/dataset_info.json")
    folders = [i.parent for i in infos if re.fullmatch(r"\d+(\.\d+){2}", i.parent.name)]
    if folders:
        return max(folders, key=lambda folder: tfds.core.Version(folder.name))
    known = tfds.list_builders(with_community_datasets=False)
    if name.split("/")[0] not in known:  # "name/config" is a TFDS name, too
        near = ", ".join(difflib.get_close_matches(name, known)) or "mnist"
        others = ", ".join(["mnist", *FILES, "FILE.npz", "a data_dir of IDX files"])
        has = "holds none" if root.is_dir() else "does not exist"
        raise DataError(
            f"unknown data set {name!r}: TFDS has, for example, {near}; "
            f"read without TFDS are {others}, and {root} {has}"
        )
    missing = "" if root.is_dir() else " (no such folder)"
    raise DataError(
        f"{name!r} is not prepared in {root}{missing}, and nothing is downloaded here: "
        f"on a machine with TensorFlow and a network, run {_build_command(name, root)}"
    )


def _read_split(builder, split: str, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads the images [n, S, S] and labels [n] of one split."""
    import tensorflow_datasets as tfds

    undecoded = {"image": tfds.decode.SkipDecoding()}
    source = builder.as_data_source(split=split, decoders=undecoded)
    images, labels = [], []
    for start in range(0, len(source), 4096):  # bounds what is in memory undecoded
        rows = list(range(start, min(start + 4096, len(source))))
        for example in source.__getitems__(rows):
            pixels = decode(example["image"], ("PNG", "JPEG"))
            images.append(shrink(pixels[None], side)[0])
            labels.append(example.get("label", 0))
    return np.array(images, np.uint8), np.array(labels, np.int32)
