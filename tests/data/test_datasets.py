"""Data sets by name: the shipped MNIST, what decides the reader, sizes and labels."""

import gzip
import hashlib
import lzma
import tarfile

import numpy as np
import pytest

from experiments import DataError
from experiments.data import datasets, mnist
from experiments.data.images import Source
from scripts import make_mnist


def test_shipped_mnist(mnist):
    sizes = [len(split.labels) for split in (mnist.train, mnist.valid, mnist.test)]
    assert sizes == [50_000, 10_000, 10_000]
    assert mnist.train.images.shape == (50_000, 784)
    assert mnist.train.images.dtype == np.uint8
    assert mnist.train.labels.dtype == np.int32
    assert (mnist.num_classes, mnist.side) == (10, 28)
    # The well-known beginnings of the training and test files, and the class counts.
    assert mnist.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    labels = np.concatenate([mnist.train.labels, mnist.valid.labels])
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(labels).tolist() == counts
    # Known mean of the training file.
    images = [mnist.train.images.mean(), mnist.valid.images.mean()]
    np.testing.assert_allclose((5 * images[0] + images[1]) / 6 / 255, 0.1306604762)


def test_corrupted_or_missing_archive(tmp_path):
    content = bytearray(mnist.MNIST_PATH.read_bytes())
    assert len(content) <= 12_000_000
    content[len(content) // 2] ^= 1
    path = tmp_path / "mnist.tar.xz"
    with pytest.raises(DataError, match="is missing: restore it with git"):
        mnist.read(path)
    path.write_bytes(content)
    actual = hashlib.sha256(content).hexdigest()
    with pytest.raises(DataError) as error:
        mnist.read(path)
    for part in (str(path), actual, mnist.MNIST_SHA256, "make_mnist.py SOURCE_DIR"):
        assert part in str(error.value)


def test_the_archive_holds_the_originals(tmp_path, monkeypatch, capsys):
    with tarfile.open(mnist.MNIST_PATH) as tar:
        for member in tar.getmembers():
            content = tar.extractfile(member).read()
            plain = "labels" in member.name  # the larger two compressed, as they come
            path = tmp_path / (member.name if plain else f"{member.name}.gz")
            path.write_bytes(content if plain else gzip.compress(content, 1))
    shipped, written = mnist.MNIST_PATH, tmp_path / "written.tar"
    monkeypatch.setattr(mnist, "MNIST_PATH", written)
    # As it ships, it is compressed for half a minute.
    monkeypatch.setattr(make_mnist.lzma, "compress", lambda content, preset: content)
    make_mnist.main(["make_mnist", str(tmp_path)])
    assert written.read_bytes() == lzma.decompress(shipped.read_bytes())
    assert "experiments/data/mnist.py differs" in capsys.readouterr().out
    (tmp_path / mnist.IDX_FILES[1]).write_bytes(b"damaged")
    with pytest.raises(DataError, match="fetch the original"):
        make_mnist.main(["make_mnist", str(tmp_path)])


def source(train=12, test=4, labels=True, **splits):
    """A source of noise images of 2x2 pixels."""
    rng = np.random.default_rng(0)
    sizes = {"train": train, "test": test} | splits
    images = {s: rng.integers(0, 256, (n, 2, 2), np.uint8) for s, n in sizes.items()}
    for array in images.values():
        array[:1] = 255
    classes = {s: np.arange(n) % 3 for s, n in sizes.items()}
    return Source(images, classes if labels else {})


def made(source, name="noise"):
    return datasets.from_source(name, source, 2)


def test_the_last_sixth_is_held_out_unless_there_is_a_validation_split():
    whole = source(13)
    dataset = made(whole)
    assert (len(dataset.train.labels), len(dataset.valid.labels)) == (11, 2)
    images = np.concatenate([dataset.train.images, dataset.valid.images])
    np.testing.assert_array_equal(images, whole.images["train"].reshape(13, 4))
    assert dataset.valid.labels.tolist() == [11 % 3, 12 % 3]
    dataset = made(source(2, valid=1))
    assert [len(s.labels) for s in (dataset.train, dataset.valid)] == [2, 1]
    # Of Omniglot as published 1,345, of anything else a sixth, however it is called.
    for name in ("omniglot_archives", "omniglot"):
        assert len(made(source(19_280), name).valid.labels) == 1345
    assert len(made(source(24_345), "omniglot_burda").train.labels) == 23_000
    assert len(made(source(60), "omniglot_burda").valid.labels) == 10


@pytest.mark.parametrize("size", [1, 5])
def test_too_few_images_to_hold_some_out(size):
    with pytest.raises(DataError, match=f"has {size} training images: .* at least 6"):
        made(source(size))


def test_empty_splits():
    for split in ("train", "test", "valid"):
        with pytest.raises(DataError, match=rf"{split} images have .* \[0, 2, 2"):
            made(source(**{"valid": 2, split: 0}))


def test_checksum_sees_a_grey_level_a_label_and_the_splits():
    sums = {made(source()).checksum, made(source(labels=False)).checksum}
    changed = source()
    changed.images["test"][3, 1, 1] ^= 1
    sums.add(made(changed).checksum)
    changed = source()
    changed.labels["train"][0] = 2
    sums.add(made(changed).checksum)
    assert made(source()).checksum in sums and len(sums) == 4


def test_labels_of_any_integer_type_and_none():
    column = source()
    labels = {s: np.uint8(array)[:, None] for s, array in column.labels.items()}
    dataset = made(column._replace(labels=labels))
    assert dataset.train.labels.dtype == np.int32 and dataset.num_classes == 3
    dataset = made(source(labels=False))
    assert dataset.num_classes == 0 and set(dataset.test.labels) == {-1}


@pytest.mark.parametrize(
    "labels, message",
    [
        (np.zeros(3, int), r"the shape \[3\]: must be \[4\]"),
        (np.eye(4, dtype=int), r"the shape \[4, 4\]"),
        (np.full(4, -1), "from -1 to -1: must be integers from 0 to 999"),
        (np.full(4, 10**6), "from 1000000 to 1000000: must be"),
        (np.zeros(4), "of type float64"),
    ],
)
def test_impossible_labels(labels, message):
    wrong = source()
    wrong.labels["test"] = labels
    with pytest.raises(DataError, match=f"test labels .*{message}"):
        made(wrong)


def test_first_line_says_what_was_read(tmp_path, capsys):
    images = np.random.default_rng(0).random((12, 32, 32, 3))
    path = tmp_path / "mine.npz"
    np.savez(path, train_images=images, test_images=images[:7])
    dataset = datasets.load(str(path), side=14)
    assert (dataset.name, dataset.side) == ("mine", 14)
    line = capsys.readouterr().out
    assert line.startswith(f"read {path}: 10 / 2 / 7 images to train, validate")
    assert "32x32x3 float64 from " in line and line.endswith("no classes\n")
    assert "as 14x14 grey" in line
    # Its name without the folder names the draw of its static binarisation.
    again = datasets.load("mine.npz", str(tmp_path), 14)
    assert (again.name, again.checksum) == ("mine", dataset.checksum)


def test_mnist_of_another_side_is_another_data_set(mnist, capsys):
    small = datasets.load("mnist", side=14)
    blocks = mnist.test.images[5].reshape(14, 2, 14, 2).mean((1, 3)).reshape(-1)
    np.testing.assert_array_equal(small.test.images[5], np.floor(blocks + 0.5))
    assert small.checksum != mnist.checksum and small.num_classes == 10
    assert capsys.readouterr().out == ""
