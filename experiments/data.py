"""Image data sets as arrays in memory, their binarisation and their batch order.

MNIST ships with the repository. Every other data set is read from ArrayRecord files
that tensorflow-datasets (TFDS) has prepared. Preparing them needs TensorFlow and a
network; reading them needs neither, and nothing here downloads.

Shapes: B batch, D pixels (784), n images of a split.
"""

import dataclasses
import difflib
import functools
import hashlib
import io
import lzma
import os
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

SIDE = 28
BINARIZATIONS = ("static", "dynamic", "threshold")

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
# Of np.packbits of the statically binarised splits of the shipped MNIST.
STATIC_MNIST_SHA256 = {
    "train": "7c5e4ac85484376e291522c6fefbb99c6fd5b496bde21798130d471304d2b206",
    "valid": "cb24fc8a4cb342bcef655bc1b5c1f3c911d91a5581fbb250952fbb2605c794e1",
    "test": "9bc61efd68c7817ed695a9113df918e7a1673b4b10fd2aa7eac41dfd7e0c16fe",
}

# What each Pillow mode is read as; 16 bits and floats are refused. TFDS's own decoder
# is no use: it returns one-bit PNGs, which is what Omniglot holds, as 0/1 where it
# finds Pillow and as 0/255 where it finds OpenCV.
_PILLOW_MODES = {mode: "L" for mode in ("1", "L", "LA")} | {
    mode: "RGB" for mode in ("P", "RGB", "RGBA", "CMYK")
}
_INK_IS_DARK = ("omniglot",)
# Images held out of train where TFDS has no validation split: for Omniglot as many
# as Burda et al. (2016), otherwise a sixth, as for MNIST.
_VALID_SIZES = {"omniglot": 1345}


class DataError(ValueError):
    """Data that cannot be used as it is; the message says what to do."""


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
        10,000 images in the original order. Anything else is a TFDS image data set:
        "fashion_mnist", "kmnist", "binarized_mnist", "omniglot" (19,280 / 13,180
        images in TFDS, not the division of Burda et al.), or another.
      data_dir: folder of prepared TFDS data sets, by default TFDS's own.

    Raises:
      DataError: it is not there or not usable; the message says what to do.
    """
    is_shipped = name == "mnist" and data_dir is None
    return read_mnist() if is_shipped else _read_tfds(name, data_dir)


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


def _read_tfds(name: str, data_dir: str | None) -> Dataset:
    """Reads any data set but the shipped one."""
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
        size = _VALID_SIZES.get(name, len(train.images) // 6)
        train, valid = _hold_out(train, size)
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
        raise DataError(f"unknown data set {name!r}: TFDS has, for example, {near}")
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
            images.append(shrink(_decode(example["image"])))
            labels.append(example.get("label", -1))
    pixels = np.stack(images).reshape(len(images), SIDE * SIDE)
    return Split(pixels, np.array(labels, np.int32))


def _decode(encoded: bytes) -> np.ndarray:
    """Decodes an image file to uint8 [height, width, channels]."""
    import PIL.Image

    with PIL.Image.open(io.BytesIO(encoded)) as image:
        mode = _PILLOW_MODES.get(image.mode)
        if mode is None:
            raise DataError(f"Pillow mode {image.mode!r}: choose a data set of 8 bits")
        pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels if pixels.ndim == 3 else pixels[..., None]


def shrink(image: np.ndarray) -> np.ndarray:
    """Averages channels and areas: uint8 [height, width, channels] -> [28, 28].

    Exact but for one rounding, halves up: all sums are integers that float64 holds, so
    that the result does not depend on their order.
    """
    if image.shape == (SIDE, SIDE, 1):
        return image[..., 0]
    height, width, _ = image.shape
    total = (
        _overlaps(height) @ image.sum(axis=-1, dtype=np.float64) @ _overlaps(width).T
    )
    return ((2 * total + image.size) // (2 * image.size)).astype(np.uint8)


@functools.cache
def _overlaps(size: int) -> np.ndarray:
    """Lengths that 28 equal cells share with `size` equal pixels: [28, size].

    In a unit that makes them integers: a cell is `size` long, a pixel 28.
    """
    cell, pixel = size * np.arange(SIDE)[:, None], SIDE * np.arange(size)[None]
    shared = np.minimum(cell + size, pixel + SIDE) - np.maximum(cell, pixel)
    return np.maximum(shared, 0).astype(np.float64)


def _checksum(splits: list[Split]) -> str:
    digest = hashlib.sha256()
    for split in splits:
        digest.update(split.images)
        digest.update(split.labels.astype("<i4"))
        digest.update(f"{len(split.labels)}".encode())
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Pixels:
    """What training and evaluation read.

    Attributes:
      train: uint8 [n, D], 0/1, or grey where `batch` draws the pixels.
      valid, test: uint8 [n, D], always 0/1: evaluation is on fixed pixels.
      mean: float32 [D], probability that a training pixel is 1.
      batch: (key, rows of train [B, D]) -> float32 [B, D] in {0, 1}, jit-able: the one
        array that encoder and likelihood both read.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    mean: np.ndarray
    batch: Callable[[jax.Array, jax.Array], jax.Array]


def binarized(dataset: Dataset, kind: str) -> Pixels:
    """Binarises a data set.

    Args:
      dataset: from `load`.
      kind: "static" draws every pixel once, "dynamic" draws those of the training batch
        at every step and the others once, "threshold" cuts at 1/2.

    Raises:
      ValueError: unknown kind.
      DataError: the shipped MNIST comes out other than it should.
    """
    if kind not in BINARIZATIONS:
        allowed = ", ".join(BINARIZATIONS)
        raise ValueError(f"dataset.binarization={kind!r}: must be one of {allowed}")

    def fixed(split: str) -> np.ndarray:
        images = getattr(dataset, split).images
        if kind == "threshold":
            return threshold_binarize(images)
        pixels = static_binarize(images, f"{dataset.name}/{split}")
        if dataset.checksum == MNIST_SHA256:
            repair = "the rule of static_binarize has changed; restore it"
            expected, packed = STATIC_MNIST_SHA256[split], np.packbits(pixels).tobytes()
            check_sha256(
                f"statically binarised mnist/{split}", packed, expected, repair
            )
        return pixels

    if kind == "dynamic":
        train, scale, batch = dataset.train.images, 255, dynamic_binarize
    else:
        train, scale, batch = fixed("train"), 1, _as_float
    mean = np.float32(train.mean(axis=0) / scale)
    return Pixels(train, fixed("valid"), fixed("test"), mean, batch)


def static_binarize(images: np.ndarray, name: str) -> np.ndarray:
    """Draws every pixel once, P(1) = grey / 255, whatever the library versions.

    Args:
      images: uint8 [n, D].
      name: names the draw, for example "mnist/train".

    Returns:
      uint8 [n, D] in {0, 1}: u < grey, where u runs through the bytes of SHAKE-128 of
      "static binarisation of NAME" that are not 255.
    """
    shake = hashlib.shake_128(f"static binarisation of {name}".encode())
    length = images.size + images.size // 200 + 64  # one byte in 256 is dropped
    while len(uniform := shake.digest(length).replace(b"\xff", b"")) < images.size:
        length *= 2  # a longer digest begins with the shorter one
    draws = np.frombuffer(uniform, np.uint8, images.size).reshape(images.shape)
    return (draws < images).view(np.uint8)


def threshold_binarize(images: np.ndarray) -> np.ndarray:
    """Returns uint8 [n, D]: 1 where grey / 255 > 1/2."""
    return (images >= 128).view(np.uint8)


def dynamic_binarize(key: jax.Array, images: jax.Array) -> jax.Array:
    """Draws every pixel anew, P(1) = grey / 255.

    Two pixels share a draw of 32 bits: P is rounded to a multiple of 2^-16, hence off
    by less than 8e-6, and exact for black and white.

    Args:
      key: typed PRNG key.
      images: uint8 [B, D].

    Returns:
      float32 [B, D] in {0, 1}.
    """
    rows, columns = images.shape
    words = jax.random.bits(key, (rows, (columns + 1) // 2), jnp.uint32)
    draws = jnp.concatenate([words >> 16, words & 0xFFFF], axis=1)[:, :columns]
    # 2^16 * grey / 255 = 257 * grey + grey / 255, rounded.
    limits = 257 * images.astype(jnp.uint32) + (images >= 128)
    return (draws < limits).astype(jnp.float32)


def _as_float(key: jax.Array, images: jax.Array) -> jax.Array:
    """The batch function of pixels that are binary already."""
    del key
    return images.astype(jnp.float32)


def batch_indices(
    key: jax.Array,
    start_step: jax.Array | int,
    num_steps: int,
    num_examples: int,
    batch_size: int,
) -> jax.Array:
    """Rows of the training data that each step of a chunk reads.

    A pure function of key and step, wherever chunks begin: epoch e is a permutation
    drawn with fold_in(key, e), without the remainder that fills no batch.

    Args:
      key: typed PRNG key.
      start_step: first step of the chunk, counted from 0; may be traced.
      num_steps: steps in the chunk.
      num_examples: n.
      batch_size: B, at most n.

    Returns:
      int32 [num_steps, B].
    """
    per_epoch = num_examples // batch_size
    if per_epoch == 0:
        raise ValueError(f"batch_size={batch_size}: must be at most {num_examples}")
    first, last = start_step // per_epoch, (start_step + num_steps - 1) // per_epoch

    def permutation(epoch: jax.Array) -> jax.Array:
        # One sort, where jax.random.permutation takes two (23 against 44 ms for 50,000
        # on one core); equal draws, of which an epoch has 0.3 pairs, keep their order.
        draws = jax.random.bits(jax.random.fold_in(key, epoch), (num_examples,))
        return jnp.argsort(draws)[: per_epoch * batch_size].astype(jnp.int32)

    def batches(epoch: jax.Array) -> jax.Array:
        unused = jnp.zeros(per_epoch * batch_size, jnp.int32)
        return jax.lax.cond(epoch <= last, permutation, lambda _: unused, epoch)

    # map, not vmap, which would sort for unused epochs, too, and under which the draws
    # of the rbg generators depend on the number of keys.
    rows = jax.lax.map(batches, first + jnp.arange((num_steps - 1) // per_epoch + 2))
    rows = rows.reshape(-1, batch_size)
    return jax.lax.dynamic_slice_in_dim(rows, start_step % per_epoch, num_steps)
