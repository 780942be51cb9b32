"""Images as 28x28 grey pixels, the same whatever the library versions.

Shapes: n images of a split, H x W pixels of an image and C channels as they are read,
S side and D = S² pixels as they are used.
"""

import contextlib
import functools
import hashlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments import DataError

SIDE = 28

# What each Pillow mode is read as; 16 bits and floats are refused. TFDS's own decoder
# is no use: it returns one-bit PNGs, which is what Omniglot holds, as 0/1 where it
# finds Pillow and as 0/255 where it finds OpenCV.
_PILLOW_MODES = {mode: "L" for mode in ("1", "L", "LA")} | {
    mode: "RGB" for mode in ("P", "RGB", "RGBA", "CMYK")
}


class Source(NamedTuple):
    """The arrays that a reader returns.

    Attributes:
        images: "train", "test" and, where the data set has one, "valid" -> an array as
            it is in the file, [n, D], [n, H, W] or [n, H, W, C].
        labels: split -> integers [n]; empty where there are none.
        num_classes: number of label values; unset: as the labels have.
        checksum: of the files, where it identifies images, labels and splits.
    """

    images: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]
    num_classes: int | None = None
    checksum: str | None = None


@contextlib.contextmanager
def damage_named(what: object, repair: str) -> Iterator[None]:
    """Turns whatever a library raises on a damaged file into a DataError."""
    try:
        yield
    except DataError:
        raise
    except ImportError as error:  # the shipped MNIST needs none of them
        packages = "tensorflow-datasets importlib_resources pillow scipy"
        raise DataError(
            f"{what} cannot be read ({error}): pip install {packages}"
        ) from error
    except Exception as error:
        raise DataError(f"{what} cannot be read ({error!r}): {repair}") from error


def check_sha256(what: str, content: bytes, expected: str, repair: str) -> None:
    """Raises a DataError unless the SHA-256 of the content is the expected one."""
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected:
        raise DataError(f"{what} has SHA-256 {actual}, expected {expected}: {repair}")


def decode(encoded: bytes, formats: Sequence[str]) -> np.ndarray:
    """Decodes an image file of one of Pillow's formats to uint8 [H, W, C].

    The formats are named because Pillow would otherwise try all that it knows: one of
    them starts Ghostscript.
    """
    import PIL.Image

    with PIL.Image.open(io.BytesIO(encoded), formats=formats) as image:
        mode = _PILLOW_MODES.get(image.mode)
        if mode is None:
            raise DataError(f"Pillow mode {image.mode!r}: choose a data set of 8 bits")
        pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels if pixels.ndim == 3 else pixels[..., None]


def shrink(images: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Averages channels and areas: uint8 [n, H, W, C] -> [n, S, S].

    Exact but for one rounding, halves up: all sums are integers that float64 holds, so
    that the result does not depend on their order.
    """
    size, height, width, channels = images.shape
    if (height, width, channels) == (side, side, 1):
        return images[..., 0]
    rows, columns, area = *(_overlaps(n, side) for n in (height, width)), images[0].size
    small = np.empty((size, side, side), np.uint8)
    for start in range(0, size, 1000):  # bounds the memory of what is not uint8
        block = images[start : start + 1000].sum(axis=-1, dtype=np.float64)
        small[start : start + 1000] = (2 * (rows @ block @ columns.T) + area) // (
            2 * area
        )
    return small


@functools.cache
def _overlaps(size: int, side: int) -> np.ndarray:
    """Lengths that S equal cells share with `size` equal pixels: [S, size].

    In a unit that makes them integers: a cell is `size` long, a pixel S.
    """
    cell, pixel = size * np.arange(side)[:, None], side * np.arange(size)[None]
    shared = np.minimum(cell + size, pixel + side) - np.maximum(cell, pixel)
    return np.maximum(shared, 0).astype(np.float64)


def to_grey(images: Mapping[str, np.ndarray], side: int) -> dict[str, np.ndarray]:
    """Brings the images of all splits to grey levels and to one size.

    Pixels are bool, 0/1 of any type, integers from 0 to 255 or floats from 0 to 1. The
    brightest in "train" must be at least half of that: darker ones have another scale.

    Args:
        images: split -> [n, D], [n, H, H], [n, H, H, 1] or [n, H, H, 3], n > 0.
        side: S.

    Returns:
        split -> uint8 [n, D].

    Raises:
        DataError: for anything else.
    """
    squares = {split: _as_squares(pixels) for split, pixels in images.items()}
    largest = max(square.max() for square in squares.values())
    scale = 255 if largest <= 1 else 1
    grey = {split: shrink(_levels(x, scale), side) for split, x in squares.items()}
    if grey["train"].max() < 128:
        raise DataError(
            f"pixels of training images are at most {squares['train'].max()}: "
            "must be from 0 to 1 or from 0 to 255"
        )
    return {split: x.reshape(len(x), side * side) for split, x in grey.items()}


def _as_squares(pixels: np.ndarray) -> np.ndarray:
    """Images as [n, H, H, C]."""
    if pixels.dtype.kind not in "buif":
        raise DataError(f"pixels are of type {pixels.dtype}: must be numbers")
    _, *image = pixels.shape
    if len(image) == 1:
        image = [math.isqrt(image[0])] * 2
    height, width, channels = image if len(image) == 3 else (*image, 1)[:3]
    if (
        height != width
        or channels not in (1, 3)
        or pixels[0].size != height**2 * channels
    ):
        raise DataError(
            f"images have the shape {list(pixels.shape)}: must be [n, H*H], [n, H, H] "
            "or [n, H, H, 3]"
        )
    return pixels.reshape(-1, height, width, channels)


def _levels(pixels: np.ndarray, scale: int) -> np.ndarray:
    """Grey levels 0 to 255 of pixels of any type; integers are scaled."""
    least, most = pixels.min(), pixels.max()
    is_float = pixels.dtype.kind == "f"
    if not (least >= 0 and most <= (1 if is_float else 255)):  # nor NaN
        allowed = "0 to 1, or integers from 0 to 255" if is_float else "0 to 255"
        raise DataError(
            f"pixels of type {pixels.dtype} are from {least} to {most}: must be from "
            f"{allowed}"
        )
    if not is_float:
        return pixels.astype(np.uint8, copy=False) * np.uint8(scale)
    levels = np.empty(pixels.shape, np.uint8)
    for start in range(0, len(pixels), 1000):  # bounds the memory
        block = np.float64(pixels[start : start + 1000])
        levels[start : start + 1000] = np.floor(255 * block + 0.5)
    return levels
