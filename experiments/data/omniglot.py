"""Omniglot from its published files: handwritten characters of 50 alphabets.

Different data sets, whose bounds cannot be compared; sizes are train / test:
* omniglot_burda: the 28x28 images of Burda et al. (2016), "Importance weighted
  autoencoders", 24,345 / 8,070. The papers' bounds are on these.
* omniglot_archives: the 105x105 drawings of Lake et al. (2015), "Human-level concept
  learning through probabilistic program induction", 19,280 / 13,180. Training images
  are of 30 alphabets, test images of the other 20. The TFDS data set "omniglot" has the
  same drawings in another order.
* omniglot_archives_small: two parts of five of those 30 alphabets each, 2,720 / 2,120,
  for trials. Both parts hold Greek and Latin, which here are training images only.

Shapes: n images of a split, S side of an image.
"""

import hashlib
import io
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from experiments import DataError
from experiments.data.images import SIDE, Source, damage_named, decode, shrink

BURDA_URL = "https://github.com/yburda/iwae/tree/master/datasets/OMNIGLOT"
# The name that git gives the content: the only checksum under which it is published.
BURDA_BLOB = "016a3536ffe5e1d38e42563a18d7a78bfaf643ec"
ARCHIVES_URL = "https://github.com/brendenlake/omniglot/tree/master/python"
BURDA, ARCHIVES = "omniglot_burda", "omniglot_archives"
SMALL_ARCHIVES = "omniglot_archives_small"
# The files of each data set; of two archives, the training images come first.
FILES = {
    BURDA: ("chardata.mat",),
    ARCHIVES: ("images_background.zip", "images_evaluation.zip"),
    SMALL_ARCHIVES: ("images_background_small1.zip", "images_background_small2.zip"),
}


def read(name: str, data_dir: str | None, side: int) -> Source:
    """Reads the training and the test images, bright ink on black, without labels.

    Args:
        name: a key of `FILES`.
        data_dir: folder that holds the files of that data set, as published.
        side: that drawings are shrunk to.

    Raises:
        DataError: a file, or a package that reads it, is missing or not usable.
    """
    files = FILES[name]
    needs = f"{name!r} reads {' and '.join(files)} of {_url(name)}"
    if data_dir is None:
        raise DataError(f"dataset.data_dir=None: {needs}; name the folder they are in")
    folder = Path(data_dir).expanduser()
    for file in files:
        if not (folder / file).is_file():
            raise DataError(f"{folder / file} is missing: {needs}{_others(folder)}")
    paths = [folder / file for file in files]
    with damage_named(folder, f"get its files again from {_url(name)}"):
        if name == BURDA:
            train, test = _read_burda(*paths)
        else:
            train, test = _read_archives(*paths, side)
    return Source({"train": train, "test": test}, {})


def _url(name: str) -> str:
    return BURDA_URL if name == BURDA else ARCHIVES_URL


def _others(folder: Path) -> str:
    """Names the data sets whose files the folder does hold."""
    held = [n for n, fs in FILES.items() if all((folder / f).is_file() for f in fs)]
    return f"; the files there are those of {' and '.join(held)}" if held else ""


def _read_burda(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads a MATLAB file with "data" and "testdata", each [784, n], in its order.

    A column is an image, itself column by column. Its real pixels in [0, 1] become grey
    levels, round(255 x) with halves up, that is to within 1 / 510. A damaged file may
    end the process in scipy's parser, hence the checksum.
    """
    import scipy.io

    content = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    if blob != BURDA_BLOB:
        raise DataError(
            f"{path} has the git blob id {blob}, expected {BURDA_BLOB}: get it again "
            f"from {BURDA_URL}"
        )
    arrays = scipy.io.loadmat(io.BytesIO(content), variable_names=("data", "testdata"))

    def upright(columns: np.ndarray) -> np.ndarray:
        return columns.T.reshape(-1, SIDE, SIDE).swapaxes(1, 2)

    return upright(arrays["data"]), upright(arrays["testdata"])


def _read_archives(
    train_path: Path, test_path: Path, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Reads two archives, the second without the alphabets of the first."""
    train = _read_archive(train_path, side)
    alphabets = {name.split("/")[0] for name in train}
    test = _read_archive(test_path, side, skipped=alphabets)
    return _shuffled(train), _shuffled(test)


def _read_archive(
    path: Path, side: int, skipped: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Reads ALPHABET/CHARACTER/DRAWING.png -> [S, S], except skipped alphabets."""
    images, repair = {}, f"get it again from {ARCHIVES_URL}"
    with damage_named(path, repair), zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            parts = member.split("/")
            if not member.endswith(".png") or parts[0] == "__MACOSX" or len(parts) < 3:
                continue
            if parts[-3] not in skipped:
                drawing = decode(archive.read(member), ("PNG",))  # dark ink
                images["/".join(parts[-3:])] = 255 - shrink(drawing[None], side)[0]
    if not images:
        other = ", without the alphabets of the other archive" if skipped else ""
        raise DataError(f"{path} holds no ALPHABET/CHARACTER/*.png{other}: {repair}")
    return images


def _shuffled(images: dict[str, np.ndarray]) -> np.ndarray:
    """Stacks images in the order of the SHA-256 of their names.

    Whatever the archive's order, it mixes the alphabets, so that the last images, which
    are held out for validation, are like the others.
    """
    names = sorted(images, key=lambda name: hashlib.sha256(name.encode()).digest())
    return np.stack([images[name] for name in names])
