"""Data sets against known truth: files made here, and the shipped MNIST."""

import hashlib
import io
import os
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from experiments import DataError
from experiments.data import load as data
from experiments.data.binarization import BINARIZATIONS, binarized


@pytest.fixture(scope="module")
def mnist():
    return data.load("mnist")


def png(pixels, mode=None):
    """Encodes an array as PNG, by way of another Pillow mode if one is given."""
    image, buffer = PIL.Image.fromarray(pixels), io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, "png")
    return buffer.getvalue()


def prepare(root, name, splits, version="1.0.0", **features):
    """Writes a prepared TFDS data set without TensorFlow.

    Args:
      root: the data_dir.
      name: its name.
      splits: split name -> list of (encoded image, label or None).
      version: its version.
      **features: more features, or other ones.
    """
    folder = root / name / version
    folder.mkdir(parents=True)
    features = {"image": tfds.features.Image(shape=(None, None, None))} | features
    identity = tfds.core.DatasetIdentity(
        name=name, version=tfds.core.Version(version), data_dir=folder, module_name=name
    )
    info = tfds.core.DatasetInfo(
        builder=identity, features=tfds.features.FeaturesDict(features)
    )
    writer = tfds.core.SequentialWriter(info, 1000, file_format="array_record")
    writer.initialize_splits(list(splits))
    for split, examples in splits.items():
        rows = [
            {"image": io.BytesIO(image)} | ({} if label is None else {"label": label})
            for image, label in examples
        ]
        writer.add_examples({split: rows})
    writer.close_all()
    return folder


LABEL = {"label": tfds.features.ClassLabel(num_classes=3)}


def grey_images(n, seed, shape=(28, 28)):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


# The shipped MNIST.


def test_shipped_mnist(mnist):
    sizes = [len(split.labels) for split in (mnist.train, mnist.valid, mnist.test)]
    assert sizes == [50_000, 10_000, 10_000]
    assert mnist.train.images.shape == (50_000, 784)
    assert mnist.train.images.dtype == np.uint8
    assert mnist.train.labels.dtype == np.int32
    assert mnist.num_classes == 10
    # The well-known beginnings of the training and test files, and the class counts.
    assert mnist.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    labels = np.concatenate([mnist.train.labels, mnist.valid.labels])
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(labels).tolist() == counts
    # Known mean of the training file.
    images = [mnist.train.images.mean(), mnist.valid.images.mean()]
    np.testing.assert_allclose((5 * images[0] + images[1]) / 6 / 255, 0.1306604762)


def test_shipped_mnist_is_small():
    assert data.MNIST_PATH.stat().st_size <= 12_000_000


def test_corrupted_or_missing_archive(tmp_path):
    content = bytearray(data.MNIST_PATH.read_bytes())
    content[len(content) // 2] ^= 1
    path = tmp_path / "mnist.tar.xz"
    with pytest.raises(DataError, match="is missing: restore it with git"):
        data.read_mnist(path)
    path.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(DataError) as error:
        data.read_mnist(path)
    for part in (str(path), found, data.MNIST_SHA256, "make_mnist.py SOURCE_DIR"):
        assert part in str(error.value)


# Sizes of the held-out split.


def test_valid_sizes():
    # Of Omniglot as published 1,345, of anything else a sixth, however it is called.
    assert data._valid_size("omniglot_burda", 24_345) == 24_345 - 23_000
    assert data._valid_size("omniglot_archives", 19_280) == 1345
    assert data._valid_size("omniglot", 19_280) == 1345
    assert data._valid_size("omniglot_archives_small", 2720) == 453
    assert data._valid_size("omniglot_burda", 60) == 10
    assert data._valid_size("fashion_mnist", 60_000) == 10_000


# TFDS.


def test_tfds_labels_versions_and_hold_out(tmp_path):
    train, test = grey_images(13, 0), grey_images(3, 1)
    splits = {
        "train": [(png(x), i % 3) for i, x in enumerate(train)],
        "test": [(png(x), 2) for x in test],
    }
    old = {"train": splits["test"], "test": splits["test"]}
    prepare(tmp_path, "tiny", old, "1.9.0", **LABEL)
    prepare(tmp_path, "tiny", splits, "1.10.0", **LABEL)  # newer, though "1.1" < "1.9"
    dataset = data.load("tiny", str(tmp_path))
    # The writer may order examples by its own rule: compare as sets of (image, label).
    images = np.concatenate([dataset.train.images, dataset.valid.images])
    labels = np.concatenate([dataset.train.labels, dataset.valid.labels])
    rows = {(x.tobytes(), int(y)) for x, y in zip(images, labels, strict=True)}
    assert rows == {(x.tobytes(), i % 3) for i, x in enumerate(train)}
    assert (len(dataset.train.labels), len(dataset.valid.labels)) == (11, 2)
    assert dataset.test.images.shape == (3, 784)
    assert dataset.num_classes == 3
    assert dataset.checksum == data.load("tiny", str(tmp_path)).checksum


def test_tfds_checksum_sees_one_grey_level(tmp_path):
    images = grey_images(6, 0)
    sums = []
    for change in (0, 1):
        images[3, 5, 5] = 7 + change
        splits = {s: [(png(x), None) for x in images] for s in ("train", "test")}
        prepare(tmp_path / str(change), "tiny", splits)
        sums.append(data.load("tiny", str(tmp_path / str(change))).checksum)
    assert sums[0] != sums[1]


def test_tfds_without_labels_zero_one_and_validation(tmp_path):
    images = grey_images(6, 0) % 2
    names = ("train", "validation", "test")
    rows = {name: [(png(images[2 * i]), None)] for i, name in enumerate(names)}
    prepare(tmp_path, "binarized_mnist", rows)
    dataset = data.load("binarized_mnist", str(tmp_path))
    for i, split in enumerate((dataset.train, dataset.valid, dataset.test)):
        np.testing.assert_array_equal(split.images[0], 255 * images[2 * i].reshape(-1))
        assert split.labels.tolist() == [-1]
    assert dataset.num_classes == 0
    # Binary pixels stay what they are, however they are binarised.
    expected = images[2].reshape(1, -1)
    for kind in BINARIZATIONS:
        np.testing.assert_array_equal(binarized(dataset, kind).fixed["valid"], expected)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA"])
def test_omniglot_is_shrunk_inverted_and_split(tmp_path, monkeypatch, mode):
    monkeypatch.setitem(data._VALID_SIZES, ("omniglot", 5), 2)
    ink = np.zeros((105, 105), np.uint8)
    ink[15:30, 60:75] = 255  # pixels 15..30 are cells 4..8, as 105 / 28 = 3.75
    drawing = png(255 - ink, mode)
    rows = {s: [(drawing, None)] * 5 for s in ("train", "test", "small1")}
    prepare(tmp_path, "omniglot", rows)
    dataset = data.load("omniglot", str(tmp_path))
    assert (len(dataset.train.labels), len(dataset.valid.labels)) == (3, 2)
    expected = np.zeros((28, 28), np.uint8)
    expected[4:8, 16:20] = 255
    np.testing.assert_array_equal(dataset.valid.images[1].reshape(28, 28), expected)


def test_errors_say_what_to_do(tmp_path):
    def message(name, data_dir=tmp_path):
        with pytest.raises(DataError) as error:
            data.load(name, str(data_dir))
        assert "\n" not in str(error.value)
        return str(error.value)

    build = f"tfds build fashion_mnist --data_dir={tmp_path} --file_format=array_record"
    assert message("fashion_mnist").endswith(build)
    assert "nothing is downloaded" in message("mnist")
    assert "(no such folder)" in message("kmnist", tmp_path / "absent")
    assert message("fashion_mnst").startswith("unknown data set 'fashion_mnst'")
    assert "fashion_mnist" in message("fashion_mnst")
    assert message("").startswith("unknown data set ''")
    others = "mnist, omniglot_burda, omniglot_archives, omniglot_archives_small"
    assert message("omniglot_bruda").endswith(f"read without TFDS are {others}")

    rows = [(png(x), None) for x in grey_images(1, 0)]
    info = prepare(tmp_path, "fashion_mnist", {"train": rows, "test": rows})
    info = info / "dataset_info.json"
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    assert message("fashion_mnist").endswith(f"run {build} --overwrite")
    assert "prepared as tfrecord, not array_record" in message("fashion_mnist")

    prepare(tmp_path, "one_split", {"train": rows})
    assert "has the splits ['train']: train, test are needed" in message("one_split")
    audio = {"image": tfds.features.Tensor(shape=(), dtype=np.int32)}
    prepare(tmp_path, "no_image", {"train": [], "test": []}, **audio)
    assert "choose an image data set" in message("no_image")
    deep = [(png(np.zeros((28, 28), np.uint16)), None)]
    prepare(tmp_path, "deep", {"train": deep, "test": deep})
    assert "choose a data set of 8 bits" in message("deep")


@pytest.mark.parametrize(
    "module", ["tensorflow_datasets", "importlib_resources", "PIL.Image"]
)
def test_missing_package(monkeypatch, tmp_path, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match="cannot be read .*: pip install"):
        data.load("kmnist", str(tmp_path))


def test_never_imports_tensorflow(tmp_path):
    rows = [(png(x), 0) for x in grey_images(6, 0)]
    prepare(tmp_path, "tiny", {"train": rows, "test": rows}, **LABEL)
    # A TensorFlow that cannot be imported; reading, and every error, without it.
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('imported TensorFlow')")
    program = f"""
import sys
from experiments import DataError
from experiments.data import load as data
data.load("tiny", {str(tmp_path)!r})
for name in ("mnist", "cifar10", "nonsense"):
    try:
        data.load(name, {str(tmp_path)!r})
    except DataError:
        pass
assert "tensorflow" not in sys.modules
"""
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path), os.getcwd()])
    command = [sys.executable, "-c", program]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": path})
