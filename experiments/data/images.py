"""Image files as 28x28 grey pixels, the same whatever the library versions."""

import functools
import io

import numpy as np

from experiments import DataError

SIDE = 28

# What each Pillow mode is read as; 16 bits and floats are refused. TFDS's own decoder
# is no use: it returns one-bit PNGs, which is what Omniglot holds, as 0/1 where it
# finds Pillow and as 0/255 where it finds OpenCV.
_PILLOW_MODES = {mode: "L" for mode in ("1", "L", "LA")} | {
    mode: "RGB" for mode in ("P", "RGB", "RGBA", "CMYK")
}


def decode(encoded: bytes) -> np.ndarray:
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
