"""Image data sets by name, as arrays in memory.

MNIST ships with the repository. The files of other data sets are read where they lie;
nothing here downloads.

Shapes: S side and D = S² pixels of an image, n images of a split.
"""

import dataclasses
import hashlib
import math
from pathlib import Path

import numpy as np

from experiments import DataError
from experiments.data import idx, mnist, npz, omniglot, tfds
from experiments.data.images import SIDE, Source, to_grey

# Images held out of train where there is no validation split, by name and size of
# train: for the whole of Omniglot as many as Burda et al. (2016), otherwise a sixth, as
# for MNIST.
_VALID_SIZES = {
    ("omniglot", 19_280): 1345,
    (omniglot.ARCHIVES, 19_280): 1345,
    (omniglot.BURDA, 24_345): 1345,
}
MAX_CLASSES = 1000


@dataclasses.dataclass(frozen=True)
class Split:
    """Grey images uint8 [n, D], and labels int32 [n], -1 where there are none."""

    images: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    Attributes:
        name: as given to `load`; of a file its name without .npz. It names the draw of
            static binarisation.
        train, valid, test: the splits.
        checksum: SHA-256 that identifies images, labels and splits.
        num_classes: number of label values, 0 where there are no labels.
    """

    name: str
    train: Split
    valid: Split
    test: Split
    checksum: str
    num_classes: int

    @property
    def side(self) -> int:
        """The side of an image, S."""
        return math.isqrt(self.train.images.shape[1])


def load(name: str, data_dir: str | None = None, side: int = SIDE) -> Dataset:
    """Loads a data set as grey images with bright ink, and says what was read.

    The first of these that fits decides how the data set is read:

    * "mnist" without `data_dir` is the file of this repository, 50,000 / 10,000 /
      10,000 images in the original order.
    * A name that ends with .npz is such a file, see npz.py.
    * "omniglot_burda" (23,000 / 1,345 / 8,070), "omniglot_archives" (17,935 / 1,345 /
      13,180) and "omniglot_archives_small" are described in omniglot.py.
    * A `data_dir` that holds IDX files is read as in idx.py, whatever the name.
    * Anything else is a TFDS image data set prepared in `data_dir`, see tfds.py:
      "fashion_mnist", "kmnist", "binarized_mnist", "omniglot" (the drawings of
      "omniglot_archives", not the division of Burda et al.), or another.

    Where there is no validation split, the last sixth of the training images is one.

    Args:
        name: of the data set, or its file.
        data_dir: folder of the files, by default TFDS's own, or for .npz none.
        side: S; images of another size are averaged over areas.

    Raises:
        DataError: it is not there or not usable; the message says what to do.
    """
    shown = name
    if name == "mnist" and data_dir is None:
        source = mnist.read()
    elif name.endswith(".npz"):
        path = Path(data_dir or "").expanduser() / Path(name).expanduser()
        source, name, shown = npz.read(path), path.stem, str(path)
    elif name in omniglot.FILES:
        source = omniglot.read(name, data_dir, side)
    elif data_dir and idx.find(Path(data_dir).expanduser()):
        shown = f"{name} in {data_dir}"
        source = idx.read(Path(data_dir).expanduser())
    else:
        source = tfds.read(name, data_dir, side)
    try:
        dataset = from_source(name, source, side)
    except DataError as error:
        raise DataError(f"{shown}: {error}") from error
    if source.checksum is None:
        print(description(shown, dataset, source))
    return dataset


def from_source(name: str, source: Source, side: int = SIDE) -> Dataset:
    """The data set of what a reader has read, checked and divided.

    Raises:
        DataError: if images or labels are of the wrong shape, type, range or number.
    """
    for split, images in source.images.items():
        if images.ndim < 2 or not images.size:
            raise DataError(
                f"{split} images have the shape {list(images.shape)}: "
                "must not be empty, and have one row an image"
            )
    grey = to_grey(source.images, side)
    labels, num_classes = _read_labels(source)
    splits = {split: Split(grey[split], labels[split]) for split in grey}
    if "valid" not in splits:
        size = len(grey["train"])
        if size < 6:
            raise DataError(f"has {size} training images: must be at least 6")
        held = _VALID_SIZES.get((name, size), size // 6)
        splits["train"], splits["valid"] = _hold_out(splits["train"], held)
    ordered = [splits[split] for split in ("train", "valid", "test")]
    is_whole = source.checksum and side == SIDE
    checksum = source.checksum if is_whole else _checksum(ordered)
    return Dataset(name, *ordered, checksum, num_classes)


def description(shown: str, dataset: Dataset, source: Source) -> str:
    """The line that says what was read: counts, size, range and classes."""
    splits = dataset.train, dataset.valid, dataset.test
    counts = " / ".join(f"{len(split.labels):,}" for split in splits)
    images, side = source.images["train"], dataset.side
    size = "x".join(map(str, images.shape[1:]))
    return (
        f"read {shown}: {counts} images to train, validate and test on, {size} "
        f"{images.dtype} from {images.min():g} to {images.max():g}, as {side}x{side} "
        f"grey; {dataset.num_classes or 'no'} classes"
    )


def _read_labels(source: Source) -> tuple[dict[str, np.ndarray], int]:
    """The labels of all splits as int32 [n], and the number of classes."""
    if not source.labels:
        sizes = {split: len(images) for split, images in source.images.items()}
        return {s: np.full(size, -1, np.int32) for s, size in sizes.items()}, 0
    labels, most = {}, source.num_classes or MAX_CLASSES
    for split, images in source.images.items():
        array = source.labels[split]
        if array.shape not in ((len(images),), (len(images), 1)):
            raise DataError(
                f"{split} labels have the shape {list(array.shape)}: must be "
                f"[{len(images)}], one an image"
            )
        if array.dtype.kind not in "ui" or array.min() < 0 or array.max() >= most:
            raise DataError(
                f"{split} labels are of type {array.dtype} from {array.min()} to "
                f"{array.max()}: must be integers from 0 to {most - 1}"
            )
        labels[split] = array.reshape(-1).astype(np.int32)
    largest = 1 + max(int(array.max()) for array in labels.values())
    return labels, source.num_classes or largest


def _hold_out(split: Split, size: int) -> tuple[Split, Split]:
    """Divides a split into all but the last `size` examples, and those."""
    first, last = slice(-size), slice(-size, None)
    return (
        Split(split.images[first], split.labels[first]),
        Split(split.images[last], split.labels[last]),
    )


def _checksum(splits: list[Split]) -> str:
    digest = hashlib.sha256()
    for split in splits:
        digest.update(split.images)
        digest.update(split.labels.astype("<i4"))
        digest.update(f"{len(split.labels)}".encode())
    return digest.hexdigest()
