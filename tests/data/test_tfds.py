"""Prepared TFDS data sets, made here without TensorFlow, whole and damaged."""

import io
import os
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from experiments import DataError
from experiments.data import datasets
from experiments.data.binarization import BINARIZATIONS, binarized


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


def test_labels_versions_and_hold_out(tmp_path):
    train, test = grey_images(13, 0), grey_images(3, 1)
    splits = {
        "train": [(png(x), i % 3) for i, x in enumerate(train)],
        "test": [(png(x), 2) for x in test],
    }
    old = {"train": splits["test"], "test": splits["test"]}
    prepare(tmp_path, "tiny", old, "1.9.0", **LABEL)
    prepare(tmp_path, "tiny", splits, "1.10.0", **LABEL)  # newer, though "1.1" < "1.9"
    dataset = datasets.load("tiny", str(tmp_path))
    # The writer may order examples by its own rule: compare as sets of (image, label).
    images = np.concatenate([dataset.train.images, dataset.valid.images])
    labels = np.concatenate([dataset.train.labels, dataset.valid.labels])
    rows = {(x.tobytes(), int(y)) for x, y in zip(images, labels, strict=True)}
    assert rows == {(x.tobytes(), i % 3) for i, x in enumerate(train)}
    assert (len(dataset.train.labels), len(dataset.valid.labels)) == (11, 2)
    assert dataset.test.images.shape == (3, 784)
    assert dataset.num_classes == 3
    assert dataset.checksum == datasets.load("tiny", str(tmp_path)).checksum


def test_without_labels_zero_one_and_validation(tmp_path):
    images = grey_images(6, 0) % 2
    names = ("train", "validation", "test")
    rows = {name: [(png(images[2 * i]), None)] for i, name in enumerate(names)}
    prepare(tmp_path, "binarized_mnist", rows)
    dataset = datasets.load("binarized_mnist", str(tmp_path))
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
    monkeypatch.setitem(datasets._VALID_SIZES, ("omniglot", 6), 2)
    ink = np.zeros((105, 105), np.uint8)
    ink[15:30, 60:75] = 255  # pixels 15..30 are cells 4..8, as 105 / 28 = 3.75
    drawing = png(255 - ink, mode)
    rows = {s: [(drawing, None)] * 6 for s in ("train", "test", "small1")}
    prepare(tmp_path, "omniglot", rows)
    dataset = datasets.load("omniglot", str(tmp_path))
    assert (len(dataset.train.labels), len(dataset.valid.labels)) == (4, 2)
    expected = np.zeros((28, 28), np.uint8)
    expected[4:8, 16:20] = 255
    np.testing.assert_array_equal(dataset.valid.images[1].reshape(28, 28), expected)


def test_errors_say_what_to_do(tmp_path):
    def message(name, data_dir=tmp_path):
        with pytest.raises(DataError) as error:
            datasets.load(name, str(data_dir))
        assert "\n" not in str(error.value)
        return str(error.value)

    build = f"tfds build fashion_mnist --data_dir={tmp_path} --file_format=array_record"
    assert message("fashion_mnist").endswith(build)
    assert "nothing is downloaded" in message("mnist")
    assert "(no such folder)" in message("kmnist", tmp_path / "absent")
    assert message("fashion_mnst").startswith("unknown data set 'fashion_mnst'")
    assert "fashion_mnist" in message("fashion_mnst")
    assert message("").startswith("unknown data set ''")
    assert "omniglot_burda, " in message("omniglot_bruda")
    assert message("mine").endswith(f"IDX files, and {tmp_path} holds none")
    assert message("mine", tmp_path / "absent").endswith("absent does not exist")

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
    rows = [(png(x), None) for x in grey_images(6, 0)]
    prepare(tmp_path, "kmnist", {"train": rows, "test": rows})
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match="cannot be read .*: pip install"):
        datasets.load("kmnist", str(tmp_path))


def test_damage_is_one_line_and_never_other_images(tmp_path, capsys):
    rows = [(png(x), i % 3) for i, x in enumerate(grey_images(12, 0))]
    folder = prepare(tmp_path, "tiny", {"train": rows, "test": rows}, **LABEL)
    checksum = datasets.load("tiny", str(tmp_path)).checksum
    rng, refused = np.random.default_rng(0), 0
    for file in sorted(folder.iterdir()):
        whole = file.read_bytes()
        used = max(len(whole.rstrip(b"\0")), 1)  # records are padded with zeros
        flipped = np.frombuffer(whole, np.uint8).copy()
        flipped[rng.integers(used, size=5)] ^= 255
        for content in (b"", b"{}", whole[: used // 2], whole[1:], flipped.tobytes()):
            file.write_bytes(content)
            try:
                assert datasets.load("tiny", str(tmp_path)).checksum == checksum
            except DataError as error:
                refused += 1
                assert "\n" not in str(error)
        file.unlink()
        with pytest.raises(DataError):
            datasets.load("tiny", str(tmp_path))
        file.write_bytes(whole)
    assert refused > 15


def test_images_of_other_formats_are_not_opened(tmp_path):
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\nshowpage\n"
    rows = [(postscript, None)] * 6
    prepare(tmp_path, "tiny", {"train": rows, "test": rows})
    with pytest.raises(DataError, match="cannot be read .UnidentifiedImageError"):
        datasets.load("tiny", str(tmp_path))


def test_never_imports_tensorflow(tmp_path):
    rows = [(png(x), 0) for x in grey_images(6, 0)]
    prepare(tmp_path, "tiny", {"train": rows, "test": rows}, **LABEL)
    # A TensorFlow that cannot be imported; reading, and every error, without it.
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('imported TensorFlow')")
    program = f"""
import sys
from experiments import DataError
from experiments.data import datasets
datasets.load("tiny", {str(tmp_path)!r})
for name in ("mnist", "cifar10", "nonsense"):
    try:
        datasets.load(name, {str(tmp_path)!r})
    except DataError:
        pass
assert "tensorflow" not in sys.modules
"""
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path), os.getcwd()])
    command = [sys.executable, "-c", program]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": path})
