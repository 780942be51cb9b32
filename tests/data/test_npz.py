"""Images in .npz files, whole, incomplete and hostile."""

import io

import numpy as np
import pytest

from experiments import DataError
from experiments.data import datasets

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 28, 28), np.uint8)
LABELS = np.arange(12) % 4


def error_of(path) -> str:
    with pytest.raises(DataError) as error:
        datasets.load(str(path))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("names", ["{0}_images {0}_labels", "x_{0} y_{0}"])
@pytest.mark.parametrize("validation", [None, "valid", "validation"])
def test_names_of_arrays(names, validation, tmp_path):
    words = ["train", "test", *filter(None, [validation])]
    arrays = {}
    for word in words:
        images, labels = names.format(word).split()
        arrays |= {images: IMAGES, labels: LABELS[:, None]}
    np.savez_compressed(tmp_path / "mine.npz", **arrays, other=np.zeros(3))
    dataset = datasets.load(str(tmp_path / "mine.npz"))
    assert len(dataset.train.labels) == (12 if validation else 10)
    np.testing.assert_array_equal(dataset.test.images, IMAGES.reshape(12, 784))
    np.testing.assert_array_equal(dataset.test.labels, LABELS)
    assert dataset.num_classes == 4


def test_arrays_that_are_missing(tmp_path):
    path = tmp_path / "mine.npz"
    assert "is missing: must be an .npz file" in error_of(path)
    np.savez(path, train_images=IMAGES, testing=IMAGES)
    ending = "must hold test_images, or x_test; holds testing, train_images"
    assert error_of(path).endswith(ending)
    np.savez(path, x_train=IMAGES, x_test=IMAGES, y_train=LABELS)
    assert "must hold test_labels" in error_of(path)


class Hostile:
    """Ends the process where it is unpickled."""

    def __reduce__(self):
        return exit, (3,)


def test_hostile_and_damaged_files(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, train_images=np.array([Hostile()], object), test_images=IMAGES)
    assert "cannot be read (ValueError('Object arrays cannot be loaded" in error_of(
        path
    )
    np.savez(path, train_images=IMAGES, test_images=IMAGES)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 1
    huge = io.BytesIO()
    np.lib.format.write_array(huge, IMAGES)
    header = huge.getvalue().replace(b"(12, 28, 28)", b"(9" + 9 * b"9" + b",)")
    plain = io.BytesIO()
    np.save(plain, IMAGES)
    for content in (b"", b"text", whole[:-9], bytes(flipped), header, plain.getvalue()):
        path.write_bytes(content)
        assert error_of(path).startswith(f"{path} cannot be read (")
