"""Flax networks of M2, Kingma et al. (2014): q(y|x), q(z|x, y) and p(x|y, z).

Legend: B batch, N style variables, K classes, D pixels, H features.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from gumbel.nets import Initializer, Mlp


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
    """

    num_classes: int
    num_styles: int
    classifier: nn.Module
    features: nn.Module
    style: nn.Module
    decoder: nn.Module

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
            kernel_init=nn.initializers.glorot_uniform(),
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
    return M2(
        num_classes=num_classes,
        num_styles=num_styles,
        classifier=Mlp(tuple(hidden), num_classes),
        features=Mlp((), first),
        style=Mlp(tuple(rest), 2 * num_styles),
        decoder=Mlp(tuple(reversed(hidden)), num_pixels, visible_bias_init),
    )
