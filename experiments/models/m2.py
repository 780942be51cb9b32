"""Flax networks of M2, Kingma et al. (2014): q(y|x), q(z|x, y) and p(x|y, z).

Legend: B batch, N style variables, K classes, D pixels, H features, S side of an image,
C and E channels in and out.
"""

import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.models import conv
from experiments.models.nets import Initializer, Mlp

# Of q(z|x, y) and p(x|y, z), as in Kingma et al. (2014). At Glorot weights the style is
# informative at once, the decoder never needs the class, and the unlabelled images make
# the classifier worse; from here what the class tells is learned first. So small all
# the way deeper networks do not learn: what is between the ends is He's. A pixel of a
# transposed convolution sees a quarter of its kernel; without the factor of 4 the style
# is lost on the way to the pixels, and stays unused. Through convolutions it stays
# unused from ends as small as those of the fully connected networks, too.
SMALL = nn.initializers.normal(1e-3)
SMALL_CONV = nn.initializers.normal(1e-2)
HE = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")
HE_UP = nn.initializers.variance_scaling(4 * 2.0, "fan_in", "truncated_normal")


class M2(nn.Module):
    """A classifier, a style encoder and a decoder.

    What q(z|x, y) computes of the image alone, its features, is a part of its own, so
    that summing over the classes does it once.

    Attributes:
        num_classes: K.
        num_styles: N.
        classifier: [B, D] -> [B, K].
        features: [B, D] -> [B, H].
        style: [B, H], the class added in and rectified -> [B, 2·N].
        decoder: class and style side by side, [B, K + N] -> [B, D].
        class_init: initialiser of the weights of the class in q(z|x, y).
    """

    num_classes: int
    num_styles: int
    classifier: nn.Module
    features: nn.Module
    style: nn.Module
    decoder: nn.Module
    class_init: Initializer

    def classify(self, x):
        """Logits of q(y|x), one variable: [B, D] -> [B, 1, K]."""
        return self.classifier(x)[:, None]

    def look(self, x):
        """What q(z|x, y) makes of the image alone: [B, D] -> [B, H]."""
        return self.features(x)

    @nn.compact
    def encode(self, features, y):
        """q(z|x, y).

        Args:
            features: from `look`, [B, H].
            y: on the simplex, [B, 1, K].

        Returns:
            Location and positive scale, each [B, N]; of scale near 1 at the start.
        """
        class_weights = nn.Dense(
            features.shape[1],
            use_bias=False,
            kernel_init=self.class_init,
            name="class_features",
        )
        h = self.style(nn.relu(features + class_weights(y[:, 0])))
        loc, log_scale = jnp.split(h, 2, axis=1)
        return loc, jnp.exp(log_scale)

    def decode(self, y, z):
        """Logits of p(x|y, z): [B, 1, K] and [B, N] -> [B, D]."""
        return self.decoder(jnp.concatenate([y[:, 0], z], axis=1))

    def __call__(self, x):
        """Touches every parameter, for `init`."""
        logits = self.classify(x)
        z, _ = self.encode(self.look(x), logits)
        return self.decode(logits, z)


def mlp(
    num_classes: int,
    num_styles: int,
    hidden: Sequence[int],
    num_pixels: int,
    visible_bias_init: Initializer,
) -> M2:
    """M2 of fully connected networks, each with the same hidden layers.

    Args:
        num_classes: K.
        num_styles: N.
        hidden: widths, at least one; the decoder has them in reverse.
        num_pixels: D.
        visible_bias_init: initialiser of the bias of the pixels' logits.
    """
    first, *rest = hidden
    inits = (SMALL, *[HE] * len(rest), SMALL)
    return M2(
        num_classes=num_classes,
        num_styles=num_styles,
        classifier=Mlp(tuple(hidden), num_classes),
        features=Mlp((), first, kernel_inits=inits[:1]),
        style=Mlp(tuple(rest), 2 * num_styles, kernel_inits=inits[1:]),
        decoder=Mlp(
            tuple(reversed(hidden)),
            num_pixels,
            visible_bias_init,
            kernel_inits=inits,
        ),
        class_init=SMALL,
    )


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
    """Rectified convolutions and a dense layer, [B, D] -> [B, features].

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
    """The mirror image: a dense layer and as many transposed convolutions, rectified.

    The dense one is a transposed convolution of a single pixel: three make four.

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
        h = Mlp((), lowest**2 * top, kernel_inits=(SMALL_CONV,))(code)
        h = nn.relu(h.reshape(-1, lowest, lowest, top))
        for channels, size in zip(reversed(below), reversed(sides), strict=True):
            h = nn.relu(Conv(channels, conv.up, HE_UP)(h)[:, :size, :size])
        h = Conv(1, conv.up, SMALL_CONV)(h)[:, :side, :side]
        bias = self.param("bias", self.visible_bias_init, (self.num_pixels,), h.dtype)
        return h.reshape(-1, self.num_pixels) + bias[None]


def _sides(num_pixels: int, convolutions: int) -> list[int]:
    """Sides of the image and of what each convolution makes of it."""
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
    """M2 of convolutional networks, of the kind of Jang et al. (2017).

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
    inits = (*[HE] * len(rest), SMALL_CONV)
    return M2(
        num_classes=num_classes,
        num_styles=num_styles,
        classifier=ConvEncoder(channels, num_classes),
        features=ConvEncoder(channels, first, top_init=SMALL_CONV),
        style=Mlp(tuple(rest), 2 * num_styles, kernel_inits=inits),
        decoder=ConvDecoder(channels, num_pixels, visible_bias_init),
        class_init=SMALL_CONV,
    )
