"""Flax networks of M2, Kingma et al. (2014): q(y|x), q(z|x, y) and p(x|y, z).

Those here are fully connected, those of conv_m2.py convolutional.

Shapes: B batch, N style variables, K classes, D pixels, H features.
"""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

import gumbel
from experiments.models.nets import Initializer, Mlp

# Initial weights at both ends of q(z|x, y) and p(x|y, z), as in Kingma et al. (2014).
# With Glorot weights the style is informative at once, the decoder never needs the
# class, and the unlabelled images make the classifier worse; with small ones the class
# is learned first. Deep networks with small weights in all layers do not learn: those
# between the ends are He's.
SMALL = nn.initializers.normal(1e-3)
HE = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")


class M2(nn.Module):
    """A classifier, a style encoder and a decoder.

    The part of q(z|x, y) that depends on the image alone, its features, is separate, so
    that a sum over the classes computes it once.

    Attributes:
        num_classes: K.
        num_styles: N.
        classifier: [B, D] -> [B, K].
        features: [B, D] -> [B, H].
        style: rectified sum of features and class, [B, H] -> [B, 2·N].
        decoder: class and style, concatenated, [B, K + N] -> [B, D].
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
        """Logits of q(y|x), a single variable: [B, D] -> [B, 1, K]."""
        return self.classifier(x)[:, None]

    def look(self, x):
        """Features of the image in q(z|x, y): [B, D] -> [B, H]."""
        return self.features(x)

    @nn.compact
    def encode(self, features, y):
        """q(z|x, y).

        Args:
            features: from `look`, [B, H].
            y: a point on the simplex, [B, 1, K].

        Returns:
            Location and positive scale, each [B, N]; the scale starts near 1.
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

    def style_kl(self, x):
        """KL(q(z|x, y) ‖ p(z)) per style at the most probable y, [B, D] -> [B, N]."""
        y = gumbel.Categorical(self.classify(x)).mode()
        loc, scale = self.encode(self.look(x), y)
        normal = gumbel.Normal(jnp.zeros_like(loc), jnp.ones_like(scale))
        return gumbel.Normal(loc, scale).kl(normal)

    def __call__(self, x):
        """Uses every parameter, for `init`."""
        logits = self.classify(x)
        z, _ = self.encode(self.look(x), logits)
        return self.decode(logits, z)


# Images that a method sees at once: it bounds the memory of convolutions.
CHUNK = 500


# One compilation for all that apply a model to a set.
@functools.lru_cache(maxsize=8)
def over_images(model: M2, method: str) -> Callable:
    """Makes the compiled (params, x [n, D]) -> a method of the model, [n, …]."""

    @jax.jit
    def apply(params, x):
        def one(image):
            return model.apply(params, image[None], method=method)[0]

        return jax.lax.map(one, x, batch_size=CHUNK)

    return apply


def generate(model: M2, params, classes, z) -> jax.Array:
    """The means of p(x|y, z) for classes [n] and styles [n, N], [n, D]."""
    y = jax.nn.one_hot(classes, model.num_classes)[:, None]
    return jax.nn.sigmoid(model.apply(params, y, z, method="decode"))


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


def class_log_prob(model: M2, params, x, labels) -> jax.Array:
    """log q(y|x) of observed labels [B], in nats: [B]."""
    logits = model.apply(params, x, method="classify")[:, 0]
    y = jax.nn.one_hot(labels, model.num_classes)
    return (y * jax.nn.log_softmax(logits)).sum(axis=1)
