"""Convolutional networks of M2, of the kind of Jang et al. (2017).

Shapes: B batch, N style variables, K classes, D pixels, S side of an image, C and E
channels in and out.
"""

import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.models import conv
from experiments.models.m2 import HE, M2
from experiments.models.nets import Initializer, Mlp

# Initial weights at both ends, small as in m2.py; with 1e-3 the style stays unused.
SMALL = nn.initializers.normal(1e-2)
# A pixel of a transposed convolution sees a quarter of its kernel: without the factor
# of 4 the style is lost on the way to the pixels.
HE_UP = nn.initializers.variance_scaling(4 * 2.0, "fan_in", "truncated_normal")


class Conv(nn.Module):
    """A 5×5 convolution of stride 2, or its transpose, with a bias.

    Attributes:
        features: E.
        convolve: conv.down or conv.up.
        kernel_init: initialiser of the weights.
    """

    features: int
    convolve: Callable[[jax.Array, jax.Array], jax.Array]
    kernel_init: Initializer

    @nn.compact
    def __call__(self, x):
        """Maps [B, S, S, C] to half or twice the side, and E channels."""
        shape = (5, 5, x.shape[3], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (1, 1, 1, self.features))
        return self.convolve(x, kernel) + bias


class ConvEncoder(nn.Module):
    """Convolutions with ReLU and a dense layer, [B, D] -> [B, features].

    Attributes:
        channels: of each convolution.
        features: width of the output.
        top_init: initialiser of the weights of the dense layer.
    """

    channels: Sequence[int]
    features: int
    top_init: Initializer = nn.initializers.glorot_uniform()

    @nn.compact
    def __call__(self, x):
        """Maps square images, [B, D], D = S², to [B, features]."""
        side = math.isqrt(x.shape[1])
        h = x.reshape(-1, side, side, 1).astype(jnp.float32)
        for channels in self.channels:
            odd = h.shape[1] % 2
            h = jnp.pad(h, ((0, 0), (0, odd), (0, odd), (0, 0)))
            h = nn.relu(Conv(channels, conv.down, HE)(h))
        top = Mlp((), self.features, kernel_inits=(self.top_init,))
        return top(h.reshape(h.shape[0], -1))


class ConvDecoder(nn.Module):
    """The mirror image: a dense layer and transposed convolutions with ReLU.

    The dense layer takes the place of the transposed convolution of a single pixel.

    Attributes:
        channels: of each convolution of the encoder.
        num_pixels: D = S².
        visible_bias_init: initialiser of the bias of the pixels' logits.
    """

    channels: Sequence[int]
    num_pixels: int
    visible_bias_init: Initializer

    @nn.compact
    def __call__(self, code):
        """Maps [B, K + N] to logits, [B, D]."""
        *below, top = self.channels
        side, *sides, lowest = _sides(self.num_pixels, len(self.channels))
        h = Mlp((), lowest**2 * top, kernel_inits=(SMALL,))(code)
        h = nn.relu(h.reshape(-1, lowest, lowest, top))
        for channels, size in zip(reversed(below), reversed(sides), strict=True):
            h = nn.relu(Conv(channels, conv.up, HE_UP)(h)[:, :size, :size])
        h = Conv(1, conv.up, SMALL)(h)[:, :side, :side]
        bias = self.param("bias", self.visible_bias_init, (self.num_pixels,), h.dtype)
        return h.reshape(-1, self.num_pixels) + bias[None]


def _sides(num_pixels: int, convolutions: int) -> list[int]:
    """Sides of the image and of the output of each convolution."""
    sides = [math.isqrt(num_pixels)]
    for _ in range(convolutions):
        sides.append((sides[-1] + 1) // 2)
    return sides


def convolutional(
    num_classes: int,
    num_styles: int,
    hidden: Sequence[int],
    num_pixels: int,
    visible_bias_init: Initializer,
    channels: Sequence[int],
) -> M2:
    """M2 of convolutional networks.

    Args:
        num_classes: K.
        num_styles: N.
        hidden: widths of the layers above the convolutions of q(z|x, y), at least one:
            the class enters the first.
        num_pixels: D, a square.
        visible_bias_init: initialiser of the bias of the pixels' logits.
        channels: of the convolutions, from the pixels up, at least one; those of the
            decoder are their mirror image.
    """
    first, *rest = hidden
    channels = tuple(channels)
    inits = (*[HE] * len(rest), SMALL)
    return M2(
        num_classes=num_classes,
        num_styles=num_styles,
        classifier=ConvEncoder(channels, num_classes),
        features=ConvEncoder(channels, first, top_init=SMALL),
        style=Mlp(tuple(rest), 2 * num_styles, kernel_inits=inits),
        decoder=ConvDecoder(channels, num_pixels, visible_bias_init),
        class_init=SMALL,
    )
