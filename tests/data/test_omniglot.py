"""Omniglot: tiny files of the published layouts, made here."""

import hashlib
import io
import sys
import zipfile

import numpy as np
import PIL.Image
import pytest
import scipy.io

from experiments import DataError
from experiments.data import datasets, omniglot
from experiments.data.binarization import binarized, static_binarize

TRAIN_ZIP, TEST_ZIP = omniglot.FILES["omniglot_archives"]


def letter_l():
    """An upright L, white on black: [28, 28], unlike its transpose and its mirrors."""
    image = np.zeros((28, 28))
    image[4:24, 8:10] = image[22:24, 8:16] = 1
    return image


def by_columns(images):
    """[n, 28, 28] -> [784, n], the layout of chardata.mat, pixel by pixel."""
    columns = np.empty((784, len(images)))
    for i, image in enumerate(images):
        for row in range(28):
            for column in range(28):
                columns[28 * column + row, i] = image[row, column]
    return columns


def write_burda(monkeypatch, folder, **content):
    rng = np.random.default_rng(0)
    content = {
        "data": rng.random((784, 12)),
        "testdata": rng.random((784, 5)),
    } | content
    path = folder / "chardata.mat"
    scipy.io.savemat(path, content)
    whole = b"blob %d\0" % path.stat().st_size + path.read_bytes()
    monkeypatch.setattr(omniglot, "BURDA_BLOB", hashlib.sha1(whole).hexdigest())


def drawing(row, column):
    """A one-bit PNG of 105x105, dark ink in a square of 15 = 4 * 105 / 28 pixels."""
    paper = np.ones((105, 105), bool)
    paper[15 * row : 15 * row + 15, 15 * column : 15 * column + 15] = False
    buffer = io.BytesIO()
    PIL.Image.fromarray(paper).save(buffer, "png")
    return buffer.getvalue()


def square(row, column):
    """The expected reading of a drawing, [28, 28]."""
    image = np.zeros((28, 28), np.uint8)
    image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 255
    return image


def write_archive(path, members):
    """Writes members, ALPHABET/CHARACTER/DRAWING.png -> content, and other entries."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{path.stem}/", b"")
        archive.writestr(f"__MACOSX/{path.stem}/A/character01/._0001_01.png", b"junk")
        for name, content in members.items():
            archive.writestr(f"{path.stem}/{name}", content)


def names(alphabet, count=7):
    return [f"{alphabet}/character01/0001_{i:02}.png" for i in range(1, count + 1)]


def alphabet_members(*alphabets):
    """Seven drawings of each alphabet, all different: the alphabet is the row."""
    return {
        name: drawing("ABCD".index(alphabet), column)
        for alphabet in alphabets
        for column, name in enumerate(names(alphabet))
    }


def write_archives(folder):
    write_archive(folder / TRAIN_ZIP, alphabet_members("A", "B"))
    write_archive(folder / TEST_ZIP, alphabet_members("C"))


def error_of(name, folder):
    with pytest.raises(DataError) as error:
        datasets.load(name, None if folder is None else str(folder))
    assert "\n" not in str(error.value)
    return str(error.value)


# chardata.mat.


def test_burda_is_upright_and_in_its_order(tmp_path, monkeypatch):
    images = np.stack([letter_l() * (i + 1) / 13 for i in range(13)])
    write_burda(
        monkeypatch, tmp_path, data=by_columns(images), testdata=by_columns(images[-1:])
    )
    dataset = datasets.load("omniglot_burda", str(tmp_path))
    sizes = [len(s.labels) for s in (dataset.train, dataset.valid, dataset.test)]
    assert sizes == [11, 2, 1]
    read = np.concatenate([dataset.train.images, dataset.valid.images])
    read = read.reshape(13, 28, 28)
    np.testing.assert_array_equal(read[-1], 255 * letter_l())
    assert (read[-1] != 255 * letter_l().T).any()
    assert (read[:, 10, 8] == np.floor(255 * np.arange(1, 14) / 13 + 0.5)).all()
    np.testing.assert_array_equal(dataset.test.images[0].reshape(28, 28), read[-1])
    assert dataset.name == "omniglot_burda"
    assert dataset.num_classes == 0
    assert dataset.valid.labels.tolist() == [-1, -1]


def test_burda_rounds_to_the_nearest_grey_level(tmp_path, monkeypatch):
    grey = np.zeros((784, 6))
    grey[:5, 0] = [0.4 / 255, 0.6 / 255, 0.5, 127.4 / 255, 1]  # 0.5 is level 127.5
    write_burda(monkeypatch, tmp_path, data=grey)
    first = datasets.load("omniglot_burda", str(tmp_path)).train.images[0]
    assert first.reshape(28, 28)[:5, 0].tolist() == [0, 1, 128, 127, 255]
    # 0 / 1 of any type are black and white.
    write_burda(monkeypatch, tmp_path, data=np.eye(784, 6, dtype=np.uint8))
    first = datasets.load("omniglot_burda", str(tmp_path)).train.images[0]
    assert (first[0], first.sum()) == (255, 255)


def test_checksum_sees_one_grey_level(tmp_path, monkeypatch):
    sums = []
    for level in (207, 207, 208):
        write_burda(monkeypatch, tmp_path, data=np.full((784, 6), level / 255))
        sums.append(datasets.load("omniglot_burda", str(tmp_path)).checksum)
    assert sums[0] == sums[1] != sums[2]


def test_burda_errors(tmp_path, monkeypatch):
    name, path = "omniglot_burda", str(tmp_path / "chardata.mat")
    message = error_of(name, None)
    assert message.startswith(
        "dataset.data_dir=None: 'omniglot_burda' reads chardata.m"
    )
    assert omniglot.BURDA_URL in message
    message = error_of(name, tmp_path)
    assert message.startswith(f"{path} is missing")
    assert omniglot.BURDA_URL in message

    # Any other file is refused unread: scipy's parser may end the process.
    write_burda(monkeypatch, tmp_path)
    whole = (tmp_path / "chardata.mat").read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (b"", b"<html>", whole[:5000], bytes(flipped)):
        (tmp_path / "chardata.mat").write_bytes(damaged)
        message = error_of(name, tmp_path)
        assert message.startswith(f"{path} has the git blob id ")
        assert message.endswith(f"get it again from {omniglot.BURDA_URL}")


# Archives.


def test_archives_are_inverted_shrunk_and_shuffled(tmp_path):
    write_archives(tmp_path)
    dataset = datasets.load("omniglot_archives", str(tmp_path))
    sizes = [len(s.labels) for s in (dataset.train, dataset.valid, dataset.test)]
    assert sizes == [12, 2, 7]
    images = np.concatenate([dataset.train.images, dataset.valid.images])
    order = sorted(
        names("A") + names("B"), key=lambda name: hashlib.sha256(name.encode()).digest()
    )
    expected = [square("AB".index(n[0]), int(n[-6:-4]) - 1).reshape(-1) for n in order]
    np.testing.assert_array_equal(images, expected)
    assert [n[0] for n in order] != sorted(n[0] for n in order)  # alphabets are mixed
    test = {image.tobytes() for image in dataset.test.images}
    assert test == {square(2, column).tobytes() for column in range(7)}


def test_order_is_not_that_of_the_archive(tmp_path):
    write_archives(tmp_path)
    first = datasets.load("omniglot_archives", str(tmp_path))
    members = dict(reversed(alphabet_members("A", "B").items()))
    write_archive(tmp_path / TRAIN_ZIP, members)
    assert datasets.load("omniglot_archives", str(tmp_path)).checksum == first.checksum
    members[names("A")[0]] = drawing(5, 5)
    write_archive(tmp_path / TRAIN_ZIP, members)
    assert datasets.load("omniglot_archives", str(tmp_path)).checksum != first.checksum


def test_no_alphabet_is_in_train_and_test(tmp_path):
    first, second = omniglot.FILES["omniglot_archives_small"]
    write_archive(tmp_path / first, alphabet_members("A", "B"))
    write_archive(tmp_path / second, alphabet_members("B", "C"))
    dataset = datasets.load("omniglot_archives_small", str(tmp_path))
    assert dataset.name == "omniglot_archives_small"
    assert len(dataset.train.labels) + len(dataset.valid.labels) == 14
    test = {image.tobytes() for image in dataset.test.images}
    assert test == {square(2, column).tobytes() for column in range(7)}
    write_archive(tmp_path / second, alphabet_members("A", "B"))
    message = error_of("omniglot_archives_small", tmp_path)
    assert "*.png, without the alphabets of the other archive: get it again" in message


def test_archive_errors(tmp_path):
    name, url = "omniglot_archives", omniglot.ARCHIVES_URL
    assert error_of(name, None).startswith("dataset.data_dir=None: 'omniglot_archives'")
    message = error_of(name, tmp_path)
    assert message.startswith(f"{tmp_path / TRAIN_ZIP} is missing")
    assert message.endswith(f"reads {TRAIN_ZIP} and {TEST_ZIP} of {url}")
    for file in omniglot.FILES["omniglot_archives_small"]:
        write_archive(tmp_path / file, alphabet_members("A"))
    there = "; the files there are those of omniglot_archives_small"
    assert error_of(name, tmp_path).endswith(there)

    write_archives(tmp_path)
    (tmp_path / TEST_ZIP).unlink()
    assert error_of(name, tmp_path).startswith(f"{tmp_path / TEST_ZIP} is missing")
    write_archives(tmp_path)
    whole, path = (tmp_path / TRAIN_ZIP).read_bytes(), tmp_path / TRAIN_ZIP
    flipped = bytearray(whole)
    flipped[whole.index(b"0001_05.png") + 40] ^= 1  # in the content of that member
    for damaged in (b"", whole[: len(whole) // 2], bytes(flipped)):
        path.write_bytes(damaged)
        message = error_of(name, tmp_path)
        assert message.startswith(f"{path} cannot be read (")
        assert message.endswith(f"get it again from {url}")
    write_archive(path, {names("A")[0]: b"no PNG"})
    assert error_of(name, tmp_path).startswith(f"{path} cannot be read (Unidentified")
    write_archive(path, {"README.txt": b"", "lonely.png": b""})
    assert "holds no ALPHABET/CHARACTER/*.png: get it again" in error_of(name, tmp_path)


# Both.


@pytest.mark.parametrize(
    "name, module", [("omniglot_burda", "scipy.io"), ("omniglot_archives", "PIL.Image")]
)
def test_missing_package(name, module, monkeypatch, tmp_path):
    write_burda(monkeypatch, tmp_path)
    write_archives(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    assert f"import of {module} halted" in error_of(name, tmp_path)
    assert "pip install" in error_of(name, tmp_path)


def test_static_pixels_are_drawn_once_by_the_name_of_the_split(tmp_path, monkeypatch):
    write_burda(monkeypatch, tmp_path, data=np.full((784, 12), 0.5))
    dataset = datasets.load("omniglot_burda", str(tmp_path))
    first, again = binarized(dataset, "static"), binarized(dataset, "static")
    for split in ("train", "valid", "test"):
        images = getattr(dataset, split).images
        expected = static_binarize(images, f"omniglot_burda/{split}")
        np.testing.assert_array_equal(first.fixed[split], expected)
        np.testing.assert_array_equal(again.fixed[split], expected)
    # Splits of equal grey levels have different draws.
    size = len(first.fixed["valid"])
    assert (first.fixed["train"][:size] != first.fixed["valid"]).any()
