"""Flax networks with layers of discrete latents.

Shapes: B batch, D pixels, N variables, K classes, U units of a layer's code.
"""

import functools
import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.models.coding import plain_code

Initializer = Callable


class Mlp(nn.Module):
    """Dense layers with a non-linearity between them; linear when `hidden` is empty.

    Biases start at zero, except for that of the output, which has its initialiser.

    Attributes:
        hidden: widths of the hidden layers.
        features: width of the output, which has no activation.
        bias_init: initialiser of the output's bias.
        activation: the non-linearity.
        kernel_inits: initialisers of the weights of each layer; if empty, Glorot's.
        product: of the input with the weights of the first layer.
    """

    hidden: Sequence[int]
    features: int
    bias_init: Initializer = nn.initializers.zeros
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    kernel_inits: Sequence[Initializer] = ()
    product: Callable[..., jax.Array] = jax.lax.dot_general

    @nn.compact
    def __call__(self, x):
        """Maps [..., D] to [..., features]."""
        layers = len(self.hidden) + 1
        inits = self.kernel_inits or [nn.initializers.glorot_uniform()] * layers
        products = [self.product] + [jax.lax.dot_general] * len(self.hidden)
        *hidden, (last, product) = zip(inits, products, strict=True)
        for width, (init, dot_general) in zip(self.hidden, hidden, strict=True):
            layer = nn.Dense(width, kernel_init=init, dot_general=dot_general)
            x = self.activation(layer(x))
        return nn.Dense(
            self.features,
            kernel_init=last,
            bias_init=self.bias_init,
            dot_general=product,
        )(x)


class DiscreteVae(nn.Module):
    """Encoders, decoders and prior of a VAE with layers of discrete latents.

    q(z1|x) q(z2|z1) … q(zL|zL−1) and p(zL) p(zL−1|zL) … p(x|z1): the networks of Burda
    et al. (2016) with discrete latents instead of Gaussian ones. Layers are counted
    from 0 at the pixels upwards; the encoder of a layer maps the layer below to its
    logits, and its decoder maps it to the logits of the layer below.

    Encoders may subtract a centre from their input: Maddison, Mnih & Teh (2017),
    appendix D.4. Centres are variables in the collection "centres", one for each input
    and of its size. No gradient reaches them; the caller updates them.

    Attributes:
        latent_shapes: (N,) of each Bernoulli or (N, K) of each categorical layer.
        hidden: widths of the encoder of each layer, upwards; the decoder mirrors them.
        num_pixels: D.
        visible_bias_init: initialiser of the bias of the pixels' logits.
        code: value of a layer, [B, N] or [B, N, K] -> input of its neighbours, [B, U].
        activation: the non-linearity of the hidden layers.
        centre_inits: () -> the initial centre of each encoder; if empty, no centres.
        uniform_prior: whether the prior of the top layer is uniform and not learned.
        product: of a code with the weights of the decoder.
    """

    latent_shapes: Sequence[tuple[int, ...]]
    hidden: Sequence[Sequence[int]]
    num_pixels: int
    visible_bias_init: Initializer
    code: Callable[[jax.Array], jax.Array] = plain_code
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    centre_inits: Sequence[Callable[[], jax.Array]] = ()
    uniform_prior: bool = False
    product: Callable[..., jax.Array] = jax.lax.dot_general

    def setup(self):
        sizes = [math.prod(shape) for shape in self.latent_shapes]
        mlp = functools.partial(Mlp, activation=self.activation)
        self.encoder, *self.higher_encoders = (
            mlp(widths, size) for widths, size in zip(self.hidden, sizes, strict=True)
        )
        below = [(self.num_pixels, self.visible_bias_init)]
        below += [(size, nn.initializers.zeros) for size in sizes[:-1]]
        self.decoder, *self.higher_decoders = (
            mlp(tuple(reversed(widths)), size, bias_init, product=self.product)
            for widths, (size, bias_init) in zip(self.hidden, below, strict=True)
        )
        self.prior = self.param("prior", nn.initializers.zeros, self.latent_shapes[-1])
        self.centres = [
            self.variable("centres", name, init)
            for name, init in zip(
                ("x", *self.layer_names), self.centre_inits, strict=False
            )
        ]

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The names of the layers, from the pixels up: z, z2, z3, …"""
        return ("z", *(f"z{i}" for i in range(2, len(self.latent_shapes) + 1)))

    def encode(self, below, layer: int = 0):
        """Posterior logits of a layer, [B, N] or [B, N, K].

        Args:
            below: the pixels [B, D], or the value of the layer below.
            layer: counted from 0, the one next to the pixels.
        """
        h = self.code(below) if layer else below
        if self.centre_inits:
            h = h - jax.lax.stop_gradient(self.centres[layer].value)[None]
        logits = (self.encoder, *self.higher_encoders)[layer](h)
        return logits.reshape(h.shape[0], *self.latent_shapes[layer])

    def decode(self, z, layer: int = 0):
        """Logits of what is below a layer: pixels [B, D], or [B, N] or [B, N, K].

        Args:
            z: the value of the layer, [B, N] or [B, N, K].
            layer: counted from 0, the one next to the pixels.
        """
        logits = (self.decoder, *self.higher_decoders)[layer](self.code(z))
        if layer == 0:
            return logits
        return logits.reshape(z.shape[0], *self.latent_shapes[layer - 1])

    def prior_logits(self):
        """Prior logits of the top layer, [N] or [N, K]; learned ones start at 0."""
        return jnp.zeros_like(self.prior) if self.uniform_prior else self.prior

    def __call__(self, x):
        """Uses every parameter, for `init`."""
        below, decoded = x, []
        for layer, _ in enumerate(self.latent_shapes):
            below = jnp.zeros_like(self.encode(below, layer))
            decoded.append(self.decode(below, layer))
        return decoded, self.prior_logits()


class StochasticNet(nn.Module):
    """A feed-forward network with stochastic hidden layers and linear maps between.

    x -> logits of z1 -> z1 -> logits of z2 -> … -> z_L -> pixel logits. Drawing is the
    only non-linearity.

    Attributes:
        latent_shape: (N,) of every Bernoulli or (N, K) of every categorical layer.
        num_layers: L.
        code: value of a layer, [B, N] or [B, N, K] -> input of the next, [B, U].
        num_pixels: D, the size of the output.
        visible_bias_init: initialiser of the output's bias.
        product: of a code with the weights of the next layer.
    """

    latent_shape: tuple[int, ...]
    num_layers: int
    code: Callable[[jax.Array], jax.Array]
    num_pixels: int
    visible_bias_init: Initializer
    product: Callable[..., jax.Array] = jax.lax.dot_general

    @nn.compact
    def __call__(self, x, value_of: Callable[[str, jax.Array], jax.Array]):
        """Pixel logits, [B, input] -> [B, D].

        Args:
            x: the input.
            value_of: (name of a layer, its logits) -> its value.
        """
        h, size = x, math.prod(self.latent_shape)
        for layer in range(1, self.num_layers + 1):
            options = {"product": self.product} if layer > 1 else {}
            logits = Mlp((), size, name=f"z{layer}", **options)(h)
            logits = logits.reshape(x.shape[0], *self.latent_shape)
            h = self.code(value_of(f"z{layer}", logits))
        bias = self.visible_bias_init
        pixels = Mlp((), self.num_pixels, bias, name="pixels", product=self.product)
        return pixels(h)
