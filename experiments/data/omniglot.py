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

Shapes: D pixels (784), n images of a split.
"""

import contextlib
import hashlib
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from experiments import DataError
from experiments.data.images import SIDE, decode, shrink

BURDA_URL = "https://github.com/yburda/iwae/tree/master/datasets/OMNIGLOT"
ARCHIVES_URL = "https://github.com/brendenlake/omniglot/tree/master/python"
BURDA, ARCHIVES = "omniglot_burda", "omniglot_archives"
SMALL_ARCHIVES = "omniglot_archives_small"
# The files of each data set; of two archives, the training images come first.
FILES = {
    BURDA: ("chardata.mat",),
    ARCHIVES: ("images_background.zip", "images_evaluation.zip"),
    SMALL_ARCHIVES: ("images_background_small1.zip", "images_background_small2.zip"),
}


def read(name: str, data_dir: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Reads the training and the test images, bright ink on black.

    Args:
      name: a key of `FILES`.
      data_dir: folder that holds the files of that data set, as published.

    Returns:
      Two uint8 [n, D].

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
    try:  # here, because the shipped MNIST needs neither
        import PIL.Image  # noqa: F401
        import scipy.io  # noqa: F401
    except ImportError as error:
        raise DataError(
            f"{name!r} cannot be read ({error}): pip install pillow scipy"
        ) from error
    paths = [folder / file for file in files]
    return _read_burda(*paths) if name == BURDA else _read_archives(*paths)


def _url(name: str) -> str:
    return BURDA_URL if name == BURDA else ARCHIVES_URL


def _others(folder: Path) -> str:
    """Names the data sets whose files the folder does hold."""
    held = [n for n, fs in FILES.items() if all((folder / f).is_file() for f in fs)]
    return f"; the files there are those of {' and '.join(held)}" if held else ""


@contextlib.contextmanager
def _damage_named(path: Path, url: str) -> Iterator[None]:
    """Turns what zipfile, Pillow or scipy raise on a damaged file into a DataError."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"{path} cannot be read ({error!r}): get it again from {url}"
        ) from error


def _read_burda(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads a MATLAB file with "data" and "testdata", each [D, n], in its order.

    A column is an image, itself column by column. Its real pixels in [0, 1] become grey
    levels, round(255 x) with halves up, that is to within 1 / 510.
    """
    import scipy.io

    with _damage_named(path, BURDA_URL):
        content = scipy.io.loadmat(path, variable_names=("data", "testdata"))

    def upright(key: str) -> np.ndarray:
        values, wrong = content.get(key), f"{path} is not that of {BURDA_URL}: {key!r}"
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
            raise DataError(f"{wrong} must be an array of real numbers")
        if values.ndim != 2 or values.shape[0] != SIDE * SIDE or not values.size:
            shape = list(values.shape)
            raise DataError(f"{wrong} has shape {shape}, must be [{SIDE * SIDE}, n]")
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= 1):  # nor NaN
            raise DataError(f"{wrong} is in [{low}, {high}], must be in [0, 1]")
        grey = np.floor(255 * values.T.astype(np.float64) + 0.5).astype(np.uint8)
        return grey.reshape(-1, SIDE, SIDE).swapaxes(1, 2).reshape(-1, SIDE * SIDE)

    return upright("data"), upright("testdata")


def _read_archives(train_path: Path, test_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads two archives, the second without the alphabets of the first."""
    train = _read_archive(train_path)
    test = _read_archive(test_path, skipped={name.split("/")[0] for name in train})
    return _shuffled(train), _shuffled(test)


def _read_archive(path: Path, skipped: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Reads ALPHABET/CHARACTER/DRAWING.png -> uint8 [D], except skipped alphabets."""
    images = {}
    with _damage_named(path, ARCHIVES_URL), zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            parts = member.split("/")
            if not member.endswith(".png") or parts[0] == "__MACOSX" or len(parts) < 3:
                continue
            if parts[-3] not in skipped:
                drawing = shrink(decode(archive.read(member)))  # dark ink
                images["/".join(parts[-3:])] = 255 - drawing.reshape(-1)
    if not images:
        other = ", without the alphabets of the other archive" if skipped else ""
        raise DataError(
            f"{path} holds no ALPHABET/CHARACTER/*.png{other}: "
            f"get it again from {ARCHIVES_URL}"
        )
    return images


def _shuffled(images: dict[str, np.ndarray]) -> np.ndarray:
    """Stacks images in the order of the SHA-256 of their names.

    Whatever the archive's order, it mixes the alphabets, so that the last images, which
    are held out for validation, are like the others.
    """
    names = sorted(images, key=lambda name: hashlib.sha256(name.encode()).digest())
    return np.stack([images[name] for name in names])
