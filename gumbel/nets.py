"""Flax networks with layers of discrete latents; the only linen file."""

import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from gumbel.coding import plain_code

Initializer = Callable


class Mlp(nn.Module):
    """Dense layers with a ReLU between them; a linear map when `hidden` is empty.

    Glorot-uniform weights and zero biases, but for the last bias if one is given.

    Attributes:
        hidden: widths of the hidden layers.
        features: width of the output, which has no activation.
        bias_init: initialiser of the output's bias.
    """

    hidden: Sequence[int]
    features: int
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x):
        """Maps [..., D] to [..., features]."""
        for width in self.hidden:
            x = nn.relu(
                nn.Dense(width, kernel_init=nn.initializers.glorot_uniform())(x)
            )
        return nn.Dense(
            self.features,
            kernel_init=nn.initializers.glorot_uniform(),
            bias_init=self.bias_init,
        )(x)


class DiscreteVae(nn.Module):
    """Encoder, decoder and prior of a VAE with one layer of discrete latents.

    Attributes:
        latent_shape: (N,) for Bernoulli or (N, K) for categorical latents.
        hidden: encoder widths from the pixels to the latents; the decoder mirrors them.
        num_pixels: D.
        visible_bias_init: initialiser of the decoder's output bias.
        code: value of the latents, [B, N] or [B, N, K] -> the decoder's input, [B, U].
    """

    latent_shape: tuple[int, ...]
    hidden: Sequence[int]
    num_pixels: int
    visible_bias_init: Initializer
    code: Callable[[jax.Array], jax.Array] = plain_code

    def setup(self):
        self.encoder = Mlp(self.hidden, math.prod(self.latent_shape))
        self.decoder = Mlp(
            tuple(reversed(self.hidden)), self.num_pixels, self.visible_bias_init
        )
        self.prior = self.param("prior", nn.initializers.zeros, self.latent_shape)

    def encode(self, x):
        """Posterior logits, [B, D] -> [B, N] or [B, N, K]."""
        return self.encoder(x).reshape(x.shape[0], *self.latent_shape)

    def decode(self, z):
        """Pixel logits, [B, N] or [B, N, K] -> [B, D]."""
        return self.decoder(self.code(z))

    def prior_logits(self):
        """Learned prior logits, [N] or [N, K], uniform at the start."""
        return self.prior

    def __call__(self, x):
        """Touches every parameter, for `init`."""
        return self.decode(jnp.zeros_like(self.encode(x))), self.prior_logits()


class StochasticNet(nn.Module):
    """A feed-forward network whose hidden layers are draws, linear in between.

    x -> logits of z1 -> z1 -> logits of z2 -> … -> z_L -> pixel logits. Drawing is the
    only non-linearity.

    Attributes:
        latent_shape: of every layer, (N,) for Bernoulli or (N, K) for categorical.
        num_layers: L.
        code: value of a layer, [B, N] or [B, N, K] -> input of the next, [B, U].
        num_pixels: D of the output.
        visible_bias_init: initialiser of the output's bias.
    """

    latent_shape: tuple[int, ...]
    num_layers: int
    code: Callable[[jax.Array], jax.Array]
    num_pixels: int
    visible_bias_init: Initializer

    @nn.compact
    def __call__(self, x, value_of: Callable[[str, jax.Array], jax.Array]):
        """Pixel logits, [B, input] -> [B, D].

        Args:
            x: the input.
            value_of: (name of a layer, its logits) -> its value.
        """
        h = x
        for name in (f"z{layer}" for layer in range(1, self.num_layers + 1)):
            logits = Mlp((), math.prod(self.latent_shape), name=name)(h)
            logits = logits.reshape(x.shape[0], *self.latent_shape)
            h = self.code(value_of(name, logits))
        return Mlp((), self.num_pixels, self.visible_bias_init, name="pixels")(h)
