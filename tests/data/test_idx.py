"""IDX files: those of MNIST as torchvision, Fashion-MNIST and QMNIST name them."""

import gzip
import struct

import numpy as np
import pytest

from experiments import DataError
from experiments.data import datasets, idx

CODES = {"uint8": 8, "int32": 12, "float32": 13}


def encoded(array) -> bytes:
    header = struct.pack(">BBBB", 0, 0, CODES[array.dtype.name], array.ndim)
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return header + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(folder, names, images, labels):
    contents = encoded(images), encoded(labels)
    for name, content in zip(names, 2 * contents, strict=True):
        packed = gzip.compress(content) if name.endswith(".gz") else content
        (folder / name).write_bytes(packed)


PLAIN = (
    *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
LAYOUTS = {
    "plain": PLAIN,
    "gz": [f"{name}.gz" for name in PLAIN],
    "dotted": [name.replace("-idx", ".idx") for name in PLAIN],
    "qmnist": [
        "qmnist-train-images-idx3-ubyte.gz",
        "qmnist-train-labels-idx2-int.gz",
        "qmnist-test-images-idx3-ubyte.gz",
        "qmnist-test-labels-idx2-int.gz",
    ],
}
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 28, 28), np.uint8)
LABELS = np.arange(12, dtype=np.uint8) % 10


@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_layouts(layout, tmp_path):
    labels = LABELS
    if layout == "qmnist":  # the class, and seven columns about the writer
        labels = np.column_stack([np.int32(LABELS), *np.full((7, 12), 5000, np.int32)])
    write(tmp_path, LAYOUTS[layout], IMAGES, labels)
    (tmp_path / "README").write_text("of the data")
    dataset = datasets.load("any_label", str(tmp_path))
    read = np.concatenate([dataset.train.images, dataset.valid.images])
    np.testing.assert_array_equal(read, IMAGES.reshape(12, 784))
    np.testing.assert_array_equal(dataset.test.labels, LABELS)
    assert (dataset.name, dataset.num_classes) == ("any_label", 10)


def test_numbers_of_other_types_are_big_endian(tmp_path):
    array = np.array([[1, 256], [-3, 70_000]], np.int32)
    (tmp_path / "a").write_bytes(encoded(array))
    with open(tmp_path / "a", "rb") as file:
        np.testing.assert_array_equal(idx.parse(file), array)


def test_files_that_are_missing_or_there_twice(tmp_path):
    write(tmp_path, PLAIN, IMAGES, LABELS)
    (tmp_path / "my-train-images-idx3-ubyte").write_bytes(encoded(IMAGES))
    with pytest.raises(DataError, match="file of train images.* holds my-train"):
        datasets.load("mnist", str(tmp_path))
    (tmp_path / "my-train-images-idx3-ubyte").unlink()
    (tmp_path / PLAIN[3]).unlink()
    with pytest.raises(DataError, match="file of test labels.* holds none"):
        datasets.load("mnist", str(tmp_path))


WHOLE, PACKED = encoded(IMAGES), gzip.compress(encoded(IMAGES))
HUGE = WHOLE[:4] + b"\xff" * 12


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\x08", WHOLE[:-1], WHOLE + b"x", b"<html>" + WHOLE, HUGE]
)
def test_damaged_files(content, tmp_path):
    for name, packed in (
        (PLAIN[0], content),
        (f"{PLAIN[0]}.gz", gzip.compress(content)),
    ):
        write(tmp_path, PLAIN, IMAGES, LABELS)
        (tmp_path / PLAIN[0]).unlink()
        (tmp_path / name).write_bytes(packed)
        with pytest.raises(DataError, match="cannot be read .*: get it again"):
            datasets.load("mnist", str(tmp_path))


@pytest.mark.parametrize(
    "content",
    [PACKED[:-9], PACKED[:60] + b"x" + PACKED[61:], PACKED[:-8] + b"1234"],
)
def test_damaged_compression(content, tmp_path):
    write(tmp_path, LAYOUTS["gz"], IMAGES, LABELS)
    (tmp_path / f"{PLAIN[0]}.gz").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read .*: get it again"):
        datasets.load("mnist", str(tmp_path))
