"""Binary pixels: drawn once, at every step, or cut at 1/2.

Encoder and likelihood read the same binary array, and evaluation is on fixed pixels
whatever training does, so that bounds can be compared.

Shapes: B batch, D pixels (784), n images of a split.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data.datasets import Dataset
from experiments.data.images import check_sha256
from experiments.data.mnist import MNIST_SHA256
from gumbel.threefry import random_bits

BINARIZATIONS = ("static", "dynamic", "threshold")
# Of np.packbits of the statically binarised splits of the shipped MNIST.
STATIC_MNIST_SHA256 = {
    "train": "7c5e4ac85484376e291522c6fefbb99c6fd5b496bde21798130d471304d2b206",
    "valid": "cb24fc8a4cb342bcef655bc1b5c1f3c911d91a5581fbb250952fbb2605c794e1",
    "test": "9bc61efd68c7817ed695a9113df918e7a1673b4b10fd2aa7eac41dfd7e0c16fe",
}


@dataclasses.dataclass(frozen=True)
class Pixels:
    """The pixels that training and evaluation read.

    Attributes:
      train: uint8 [n, D], 0/1, or grey where `batch` draws the pixels.
      fixed: uint8 [n, D], always 0/1, for "train", "valid" and "test": what is
        evaluated.
      expected: split -> float32 [n, D], the mean of what `batch` would draw of its
        images, the images themselves where it draws nothing.
      mean: float32 [D], probability that a training pixel is 1.
      batch: (key, rows of train [B, D]) -> float32 [B, D] in {0, 1}, jit-able: the one
        array that encoder and likelihood both read.
    """

    train: np.ndarray
    fixed: Mapping[str, np.ndarray]
    expected: Callable[[str], np.ndarray]
    mean: np.ndarray
    batch: Callable[[jax.Array, jax.Array], jax.Array]


def binarized(dataset: Dataset, kind: str) -> Pixels:
    """Binarises a data set.

    Args:
      dataset: from `load`.
      kind: "static" draws every pixel once, "dynamic" draws those of the training batch
        at every step and the others once, "threshold" cuts at 1/2.

    Raises:
      ValueError: unknown kind.
      DataError: the shipped MNIST comes out other than it should.
    """
    if kind not in BINARIZATIONS:
        allowed = ", ".join(BINARIZATIONS)
        raise ValueError(f"dataset.binarization={kind!r}: must be one of {allowed}")

    def fixed(split: str) -> np.ndarray:
        images = getattr(dataset, split).images
        if kind == "threshold":
            return threshold_binarize(images)
        pixels = static_binarize(images, f"{dataset.name}/{split}")
        if dataset.checksum == MNIST_SHA256:
            repair = "the rule of static_binarize has changed; restore it"
            expected, packed = STATIC_MNIST_SHA256[split], np.packbits(pixels).tobytes()
            check_sha256(
                f"statically binarised mnist/{split}", packed, expected, repair
            )
        return pixels

    pixels = {split: fixed(split) for split in ("train", "valid", "test")}
    if kind == "dynamic":
        read = {split: getattr(dataset, split).images for split in pixels}
        scale, batch = 255, dynamic_binarize
    else:
        read, scale, batch = pixels, 1, _as_float
    return Pixels(
        train=read["train"],
        fixed=pixels,
        expected=lambda split: read[split] / np.float32(scale),
        mean=np.float32(read["train"].mean(axis=0) / scale),
        batch=batch,
    )


def static_binarize(images: np.ndarray, name: str) -> np.ndarray:
    """Draws every pixel once, P(1) = grey / 255, whatever the library versions.

    Args:
      images: uint8 [n, D].
      name: names the draw, for example "mnist/train".

    Returns:
      uint8 [n, D] in {0, 1}: u < grey, where u runs through the bytes of SHAKE-128 of
      "static binarisation of NAME" that are not 255.
    """
    shake = hashlib.shake_128(f"static binarisation of {name}".encode())
    length = images.size + images.size // 200 + 64  # one byte in 256 is dropped
    while len(uniform := shake.digest(length).replace(b"\xff", b"")) < images.size:
        length *= 2  # a longer digest begins with the shorter one
    draws = np.frombuffer(uniform, np.uint8, images.size).reshape(images.shape)
    return (draws < images).view(np.uint8)


def threshold_binarize(images: np.ndarray) -> np.ndarray:
    """Returns uint8 [n, D]: 1 where grey / 255 > 1/2."""
    return (images >= 128).view(np.uint8)


def dynamic_binarize(key: jax.Array, images: jax.Array) -> jax.Array:
    """Draws every pixel anew, P(1) = grey / 255.

    Two pixels share a draw of 32 bits: P is rounded to a multiple of 2^-16, hence off
    by less than 8e-6, and exact for black and white.

    Args:
      key: typed PRNG key.
      images: uint8 [B, D].

    Returns:
      float32 [B, D] in {0, 1}.
    """
    rows, columns = images.shape
    words = random_bits(key, (rows, (columns + 1) // 2))
    draws = jnp.concatenate([words >> 16, words & 0xFFFF], axis=1)[:, :columns]
    # 2^16 * grey / 255 = 257 * grey + grey / 255, rounded.
    limits = 257 * images.astype(jnp.uint32) + (images >= 128)
    return (draws < limits).astype(jnp.float32)


def _as_float(key: jax.Array, images: jax.Array) -> jax.Array:
    """The batch function of pixels that are binary already."""
    del key
    return images.astype(jnp.float32)
