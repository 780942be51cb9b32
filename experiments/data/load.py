"""Image data sets as arrays in memory.

MNIST ships with the repository. Omniglot is read from its published files where its
name says so (omniglot.py). Every other data set is read from ArrayRecord files that
tensorflow-datasets (TFDS) has prepared. Preparing them needs TensorFlow and a network;
reading them needs neither, and nothing here downloads.

Shapes: D pixels (784), n images of a split.
"""

import dataclasses
import difflib
import hashlib
import io
import lzma
import os
import re
import tarfile
from pathlib import Path

import numpy as np

from experiments import DataError
from experiments.data import omniglot
from experiments.data.images import SIDE, decode, shrink

MNIST_PATH = Path(__file__).with_name("mnist.tar.xz")
MNIST_SHA256 = "06bd71ad7daf76d73da6e912ceb0020f0ac992eb47a6675ba4e4554a73b29c92"
IDX_FILES = (
    *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
IDX_SHA256 = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)

_INK_IS_DARK = ("omniglot",)
# Images held out of train where there is no validation split, by name and size of
# train: for the whole of Omniglot as many as Burda et al. (2016), otherwise a sixth, as
# for MNIST.
_VALID_SIZES = {
    ("omniglot", 19_280): 1345,
    (omniglot.ARCHIVES, 19_280): 1345,
    (omniglot.BURDA, 24_345): 1345,
}


@dataclasses.dataclass(frozen=True)
class Split:
    """Grey images uint8 [n, D], and labels int32 [n], -1 where there are none."""

    images: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    Attributes:
      name: as given to `load`.
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


def load(name: str, data_dir: str | None = None) -> Dataset:
    """Loads a data set as 28x28 grey images with bright ink.

    Args:
      name: "mnist" without `data_dir` is the file of this repository, 50,000 / 10,000 /
        10,000 images in the original order. "omniglot_burda" (23,000 / 1,345 / 8,070),
        "omniglot_archives" (17,935 / 1,345 / 13,180) and "omniglot_archives_small"
        are described in omniglot.py. Anything else is a TFDS image data set:
        "fashion_mnist", "kmnist", "binarized_mnist", "omniglot" (the drawings of
        "omniglot_archives", not the division of Burda et al.), or another.
      data_dir: folder of the files of Omniglot, or of prepared TFDS data sets, then by
        default TFDS's own.

    Raises:
      DataError: it is not there or not usable; the message says what to do.
    """
    if name == "mnist" and data_dir is None:
        return read_mnist()
    is_published = name in omniglot.FILES
    return (_read_omniglot if is_published else _read_tfds)(name, data_dir)


def read_mnist(path: str | os.PathLike = MNIST_PATH) -> Dataset:
    """Reads and verifies the archive that scripts/make_mnist.py writes.

    Raises:
      DataError: the archive is missing or its SHA-256 is wrong.
    """
    repair = "restore it with git checkout, or with scripts/make_mnist.py SOURCE_DIR"
    if not Path(path).is_file():
        raise DataError(f"{path} is missing: {repair}")
    archive = Path(path).read_bytes()
    check_sha256(str(path), archive, MNIST_SHA256, repair)
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(archive))) as tar:
        contents = [tar.extractfile(name).read() for name in IDX_FILES]
    for name, content, sha256 in zip(IDX_FILES, contents, IDX_SHA256, strict=True):
        check_sha256(f"{name} in {path}", content, sha256, repair)

    def split(images: bytes, labels: bytes) -> Split:
        pixels = np.frombuffer(images, np.uint8, offset=16)  # after the IDX header
        classes = np.frombuffer(labels, np.uint8, offset=8)
        return Split(pixels.reshape(-1, SIDE * SIDE), classes.astype(np.int32))

    train, valid = _hold_out(split(*contents[:2]), 10_000)
    return Dataset("mnist", train, valid, split(*contents[2:]), MNIST_SHA256, 10)


def check_sha256(what: str, content: bytes, expected: str, repair: str) -> None:
    """Raises a DataError unless the SHA-256 of the content is the expected one."""
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise DataError(f"{what} has SHA-256 {found}, expected {expected}: {repair}")


def _hold_out(split: Split, size: int) -> tuple[Split, Split]:
    """Divides a split into all but the last `size` examples, and those."""
    first, last = slice(-size), slice(-size, None)
    return (
        Split(split.images[first], split.labels[first]),
        Split(split.images[last], split.labels[last]),
    )


def _valid_size(name: str, size: int) -> int:
    """Number of images to hold out of a training split of `size`."""
    return _VALID_SIZES.get((name, size), size // 6)


def _read_omniglot(name: str, data_dir: str | None) -> Dataset:
    """Reads the published files of Omniglot, as images without labels."""
    train, test = (
        Split(images, np.full(len(images), -1, np.int32))
        for images in omniglot.read(name, data_dir)
    )
    train, valid = _hold_out(train, _valid_size(name, len(train.images)))
    return Dataset(name, train, valid, test, _checksum([train, valid, test]), 0)


def _read_tfds(name: str, data_dir: str | None) -> Dataset:
    """Reads a data set that TFDS has prepared."""
    try:  # here, because the shipped MNIST needs none of them
        import importlib_resources  # noqa: F401  TFDS needs it, but does not say so
        import PIL.Image  # noqa: F401
        import tensorflow_datasets as tfds
    except ImportError as error:
        packages = "tensorflow-datasets importlib_resources pillow"
        raise DataError(
            f"{name!r} cannot be read ({error}): pip install {packages}"
        ) from error

    root = Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
    # From the folder, not by name: that runs none of the code that prepares data, so
    # that it can neither download nor import TensorFlow.
    builder = tfds.builder_from_directory(_find_prepared(name, root))
    file_format = builder.info.file_format
    if file_format is not tfds.core.FileFormat.ARRAY_RECORD:
        raise DataError(
            f"{name!r} in {root} is prepared as {file_format.value}, not array_record: "
            f"with TensorFlow, run {_build_command(name, root)} --overwrite"
        )
    features, available = dict(builder.info.features), sorted(builder.info.splits)
    image, label = features.get("image"), features.get("label")
    if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
        raise DataError(f"{name!r} has no 8-bit 'image': choose an image data set")
    if not {"train", "test"} <= set(available):
        raise DataError(f"{name!r} has the splits {available}: train, test are needed")

    train, test = _read_split(builder, "train"), _read_split(builder, "test")
    if "validation" in available:
        valid = _read_split(builder, "validation")
    else:
        train, valid = _hold_out(train, _valid_size(name, len(train.images)))
    splits = [train, valid, test]
    if train.images.max() <= 1:  # binarized_mnist holds 0/1
        splits = [Split(255 * split.images, split.labels) for split in splits]
    if name in _INK_IS_DARK:
        splits = [Split(255 - split.images, split.labels) for split in splits]
    num_classes = getattr(label, "num_classes", 0)
    return Dataset(name, *splits, _checksum(splits), num_classes)


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
        others = ", ".join(["mnist", *omniglot.FILES])
        raise DataError(
            f"unknown data set {name!r}: TFDS has, for example, {near}; "
            f"read without TFDS are {others}"
        )
    missing = "" if root.is_dir() else " (no such folder)"
    raise DataError(
        f"{name!r} is not prepared in {root}{missing}, and nothing is downloaded here: "
        f"on a machine with TensorFlow and a network, run {_build_command(name, root)}"
    )


def _read_split(builder, split: str) -> Split:
    """Reads one split of a prepared TFDS data set."""
    import tensorflow_datasets as tfds

    undecoded = {"image": tfds.decode.SkipDecoding()}
    source = builder.as_data_source(split=split, decoders=undecoded)
    images, labels = [], []
    for start in range(0, len(source), 4096):  # bounds what is in memory undecoded
        rows = list(range(start, min(start + 4096, len(source))))
        for example in source.__getitems__(rows):
            images.append(shrink(decode(example["image"])))
            labels.append(example.get("label", -1))
    pixels = np.stack(images).reshape(len(images), SIDE * SIDE)
    return Split(pixels, np.array(labels, np.int32))


def _checksum(splits: list[Split]) -> str:
    digest = hashlib.sha256()
    for split in splits:
        digest.update(split.images)
        digest.update(split.labels.astype("<i4"))
        digest.update(f"{len(split.labels)}".encode())
    return digest.hexdigest()
