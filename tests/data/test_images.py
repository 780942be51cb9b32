"""Images: areas against block means, Pillow's modes, and what pixels may be."""

import io

import numpy as np
import PIL.Image
import pytest

from experiments import DataError
from experiments.data.images import decode, shrink, to_grey


def grey_images(n, seed, shape=(28, 28)):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def test_shrink_averages_areas_and_channels():
    image = grey_images(1, 0, (56, 84, 3))[0]
    truth = image.reshape(28, 2, 28, 3, 3).mean(axis=(1, 3, 4))
    np.testing.assert_array_equal(shrink(image[None])[0], np.floor(truth + 0.5))
    # 42 / 28 = 1.5: a row of cells takes 1, 1/2 | 1/2, 1 of three pixels.
    ramp = np.tile(np.arange(42, dtype=np.uint8)[None, :, None] * 6, (28, 1, 1))
    # Pixels 0, 6, 12 give (0 + 6 / 2) / 1.5 = 2 and (6 / 2 + 12) / 1.5 = 10
    row = [18 * (i // 2) + (10 if i % 2 else 2) for i in range(28)]
    np.testing.assert_array_equal(shrink(ramp[None])[0], np.tile(row, (28, 1)))
    # Smaller images: every pixel becomes a block.
    small = grey_images(1, 1, (14, 7, 1))[0]
    blocks = small[..., 0].repeat(2, 0).repeat(4, 1)
    np.testing.assert_array_equal(shrink(small[None])[0], blocks)


def test_shrink_keeps_the_mean():
    image = grey_images(1, 0, (105, 61, 1))[0]
    # Rounding errors are uniform on half a grey level: 5 standard errors of their mean.
    assert abs(shrink(image[None]).mean() - image.mean()) < 5 / np.sqrt(12 * 784)


def encoded(image, kind="png"):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def test_decode_one_bit_and_16_bits():
    ink = grey_images(1, 0, (5, 3))[0] > 127
    pixels = decode(encoded(PIL.Image.fromarray(ink)), ("PNG",))
    np.testing.assert_array_equal(pixels, 255 * ink[..., None])
    with pytest.raises(DataError, match="choose a data set of 8 bits"):
        decode(encoded(PIL.Image.fromarray(np.zeros((5, 3), np.uint16))), ("PNG",))


def test_decode_only_opens_the_formats_it_is_given():
    image = PIL.Image.fromarray(grey_images(1, 0)[0])
    for kind in ("gif", "eps"):
        with pytest.raises(PIL.UnidentifiedImageError):
            decode(encoded(image, kind), ("PNG", "JPEG"))


GREY = grey_images(6, 0, (4, 4))
INK = GREY > 127


@pytest.mark.parametrize(
    "pixels, expected",
    [
        (GREY, GREY),
        (np.int64(GREY), GREY),
        (GREY[..., None], GREY),
        (GREY.reshape(6, 16), GREY),
        (np.repeat(GREY[..., None], 3, 3), GREY),
        (GREY / 255, GREY),
        (np.float32(GREY / 255), GREY),
        (INK, 255 * INK),
        (np.uint8(INK), 255 * INK),
        (np.int64(INK), 255 * INK),
        (np.float16(INK), 255 * INK),
    ],
)
def test_types_and_shapes_of_pixels_are_told_apart(pixels, expected):
    grey = to_grey({"train": pixels, "test": pixels[:2]}, 4)
    assert grey["train"].dtype == np.uint8
    np.testing.assert_array_equal(grey["train"], expected.reshape(6, 16))
    np.testing.assert_array_equal(grey["test"], expected[:2].reshape(2, 16))


def test_a_split_that_happens_to_be_dark_is_of_the_scale_of_the_others():
    dark = np.ones((2, 4, 4), np.uint8)
    assert to_grey({"train": GREY, "test": dark}, 4)["test"].max() == 1


@pytest.mark.parametrize(
    "pixels, message",
    [
        (np.float32(GREY), "of type float32 are from .* must be from 0 to 1, or"),
        (GREY / 255 - 0.5, "must be from 0 to 1, or"),
        (np.where(INK, np.nan, 0.5), "from nan to nan"),
        (np.where(INK, np.inf, 0.5), "to inf"),
        (np.int64(GREY) - 128, "must be from 0 to 255"),
        (np.uint16(GREY) * 250, "uint16 .* must be from 0 to 255"),
        (GREY // 16, "pixels of training images are at most 15: must be"),
        (GREY / 255 / 255, "pixels of training images are at most 0.003"),
        (GREY.astype(str), "pixels are of type <U3"),
        (GREY / 255 + 0j, "pixels are of type complex128"),
        (GREY[:, :3], r"the shape \[6, 3, 4\]: must be"),
        (GREY.reshape(6, 2, 8), r"the shape \[6, 2, 8\]"),
        (GREY.reshape(6, 16)[:, :15], r"the shape \[6, 15\]"),
        (np.repeat(GREY[..., None], 4, 3), r"the shape \[6, 4, 4, 4\]"),
        (np.repeat(GREY[:, None], 3, 1), r"the shape \[6, 3, 4, 4\]"),
    ],
)
def test_pixels_that_could_be_anything_are_refused(pixels, message):
    with pytest.raises(DataError, match=message):
        to_grey({"train": pixels, "test": pixels}, 4)
