"""Images of any array: an .npz file as numpy.savez and Keras write it.

It holds train_images and test_images, and perhaps valid_images and the labels of all,
train_labels and so on; or x_train, x_test, x_valid, y_train and so on. "validation" and
"val" are other names for "valid". Pickled objects are refused.
"""

import zipfile
from pathlib import Path

import numpy as np

from experiments import DataError
from experiments.data.images import Source, damage_named

_SPLITS = {
    "train": ("train",),
    "valid": ("valid", "validation", "val"),
    "test": ("test",),
}


def read(path: Path) -> Source:
    """Reads the arrays of all splits.

    Raises:
        DataError: the file, or an array in it, is missing or damaged.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing: must be an .npz file")
    with damage_named(path, "write it again with numpy.savez"):
        if not zipfile.is_zipfile(path):
            raise ValueError("not an .npz file")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}

    def find(split: str, kinds: tuple[str, str]) -> np.ndarray | None:
        names = [f"{word}_{kinds[0]}" for word in _SPLITS[split]]
        names += [f"{kinds[1]}_{word}" for word in _SPLITS[split]]
        return next((arrays[name] for name in names if name in arrays), None)

    images = {split: find(split, ("images", "x")) for split in _SPLITS}
    for split in ("train", "test"):
        if images[split] is None:
            raise DataError(
                f"{path}: must hold {split}_images, or x_{split}; holds "
                f"{', '.join(sorted(arrays)) or 'nothing'}"
            )
    images = {split: array for split, array in images.items() if array is not None}
    labels = {split: find(split, ("labels", "y")) for split in images}
    if all(array is None for array in labels.values()):
        labels = {}
    for split, array in labels.items():
        if array is None:
            raise DataError(f"{path}: must hold {split}_labels as it holds others")
    return Source(images, labels)
