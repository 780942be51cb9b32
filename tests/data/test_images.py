"""Image files: areas against block means and sums by hand, and Pillow's modes."""

import io

import numpy as np
import PIL.Image
import pytest

from experiments import DataError
from experiments.data.images import decode, shrink


def grey_images(n, seed, shape=(28, 28)):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def test_shrink_averages_areas_and_channels():
    image = grey_images(1, 0, (56, 84, 3))[0]
    truth = image.reshape(28, 2, 28, 3, 3).mean(axis=(1, 3, 4))
    np.testing.assert_array_equal(shrink(image), np.floor(truth + 0.5))
    # 42 / 28 = 1.5: a row of cells takes 1, 1/2 | 1/2, 1 of three pixels.
    ramp = np.tile(np.arange(42, dtype=np.uint8)[None, :, None] * 6, (28, 1, 1))
    # Pixels 0, 6, 12 give (0 + 6 / 2) / 1.5 = 2 and (6 / 2 + 12) / 1.5 = 10
    row = [18 * (i // 2) + (10 if i % 2 else 2) for i in range(28)]
    np.testing.assert_array_equal(shrink(ramp), np.tile(row, (28, 1)))
    # Smaller images: every pixel becomes a block.
    small = grey_images(1, 1, (14, 7, 1))[0]
    blocks = small[..., 0].repeat(2, 0).repeat(4, 1)
    np.testing.assert_array_equal(shrink(small), blocks)


def test_shrink_keeps_the_mean():
    image = grey_images(1, 0, (105, 61, 1))[0]
    # Rounding errors are uniform on half a grey level: 5 standard errors of their mean.
    assert abs(shrink(image).mean() - image.mean()) < 5 / np.sqrt(12 * 784)


def test_decode_one_bit_and_16_bits():
    def encoded(image):
        buffer = io.BytesIO()
        image.save(buffer, "png")
        return buffer.getvalue()

    ink = grey_images(1, 0, (5, 3))[0] > 127
    pixels = decode(encoded(PIL.Image.fromarray(ink)))
    np.testing.assert_array_equal(pixels, 255 * ink[..., None])
    with pytest.raises(DataError, match="choose a data set of 8 bits"):
        decode(encoded(PIL.Image.fromarray(np.zeros((5, 3), np.uint16))))
