"""The discrete variational auto-encoder of both papers.

Encoders give the logits of layers of discrete latents z, decoders those of the layer
below, binary pixels x at the bottom. Maximised is a bound on log p(x): the mean of
log p(x|z) − KL(q(z|x) ‖ p(z)), or the log-mean-exp of it over several samples. The
networks are those of Jang et al. (2017), with one stochastic layer, and those of
Maddison et al. (2017), with any number of layers on the corners of a cube. Training
uses the gradient estimator of config.estimator; evaluation always uses hard samples.
Besides the variants named below, any <units>H…784V[-4ary|-8ary] is one, with - (linear)
or ~ (two tanh layers) after each H.

Shapes: B batch, D pixels, N variables, K classes; n images of S × S = D pixels.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments import ConfigError
from experiments.cli.launch import launch
from experiments.cli.rules import (
    Rule,
    check_config,
    check_latents,
    check_objective,
    common_rules,
    fraction,
    latent_rules,
    one_of,
    optional,
    positive_integers,
)
from experiments.data import datasets
from experiments.data.binarization import binarized
from experiments.engine import trained
from experiments.engine.task import Task
from experiments.models import vae_report
from experiments.models.coding import CODES
from experiments.models.latents import (
    FAMILIES,
    Family,
    for_hard_values,
    visible_bias_init,
)
from experiments.models.nets import DiscreteVae
from gumbel.objectives import bernoulli_log_likelihood
from gumbel.programs import Program, hard, interpret


def make_program(model: DiscreteVae, family: Family) -> Program:
    """The discrete VAE as a stochastic program of (params, x [B, D])."""

    def program(params, x):
        def run(draw):
            below, nodes = x, []
            for layer, name in enumerate(model.layer_names):
                logits = model.apply(params, below, layer, method="encode")
                nodes.append(draw(name, family.distribution(logits)))
                below = nodes[-1].value
            pixels, *conditionals = (
                model.apply(params, node.value, layer, method="decode")
                for layer, node in enumerate(nodes)
            )
            top = model.apply(params, method="prior_logits")
            kl = sum(
                node.kl(family.distribution(logits))
                for node, logits in zip(nodes, [*conditionals, top], strict=True)
            )
            return bernoulli_log_likelihood(pixels, x) - kl

        return run

    return program


# Tanh layers of a connection, by the character that stands for it in a name.
CONNECTIONS: Mapping[str, int] = {"-": 0, "~": 2}
PRIORS = ("learned", "uniform")


def make_model(config: ConfigDict, pixel_mean: np.ndarray) -> DiscreteVae:
    """The network of config.model; pixel biases start at the logit of the means [D].

    The tanh layers of a connection have the size of the stochastic layer above it, in
    the decoder and in the encoder alike: the number of pixels is the size of none.
    """
    family, code = FAMILIES[config.family], CODES[config.code]
    shapes = tuple(
        family.latent_shape(n, config.num_classes)
        for n in (config.num_variables, *config.higher)
    )
    values = (jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in shapes)
    units = [jax.eval_shape(code, value).shape[1] for value in values]
    if config.connections:
        activation = jnp.tanh
        connections = zip(units, reversed(config.connections), strict=True)
        hidden = tuple((size,) * CONNECTIONS[name] for size, name in connections)
    else:
        activation, hidden = jax.nn.relu, (tuple(config.hidden),)
    centres = [jnp.asarray(pixel_mean), *(jnp.zeros(size) for size in units[:-1])]
    return DiscreteVae(
        latent_shapes=shapes,
        hidden=hidden,
        num_pixels=len(pixel_mean),
        visible_bias_init=visible_bias_init(pixel_mean),
        code=code,
        activation=activation,
        centre_inits=()
        if config.centring is None
        else tuple(functools.partial(jnp.copy, centre) for centre in centres),
        uniform_prior=config.prior == "uniform",
    )


def make_track(model: DiscreteVae, program: Program, decay: float | None) -> Callable:
    """Makes (key, params, x [B, D]) -> params with the centres updated by a batch.

    A centre is a running mean of a layer's code under the posterior (Maddison et al.,
    2017, appendix D.4), always on hard samples, so that it is the same for every
    estimator and in evaluation. That of the pixels is fixed, their training mean.
    """

    def track(key, params, x):
        if decay is None:
            return params
        _, nodes = interpret(program(params, x), key, hard())
        centres = dict(params["centres"])
        for name in model.layer_names[:-1]:
            activity = model.code(nodes[name].value).mean(axis=0)
            centres[name] = decay * centres[name] + (1 - decay) * activity
        return {**params, "centres": centres}

    return track


def make_task(config: ConfigDict) -> Task:
    """Checks a config and makes its task.

    Raises:
        ConfigError: if a field has an impossible value.
        DataError: if the data set cannot be read.
    """
    check(config)
    source = config.dataset
    dataset = datasets.load(source.name, source.data_dir, source.side)
    pixels = binarized(dataset, config.dataset.binarization)
    family, model = FAMILIES[config.model.family], make_model(config.model, pixels.mean)
    program = make_program(model, family)
    hard_model = for_hard_values(model, config.model)
    shown = np.float32(pixels.fixed["valid"][:2000])
    return Task(
        experiment="vae",
        program=program,
        hard_program=make_program(hard_model, family),
        init=lambda key: model.init(key, jnp.zeros((1, model.num_pixels))),
        data={"images": jnp.asarray(pixels.train)},
        batch=lambda key, rows: (pixels.batch(key, rows["images"]),),
        # uint8, a quarter of the memory: they become floats where they meet a weight.
        evaluation={split: (jnp.asarray(x),) for split, x in pixels.fixed.items()},
        plot=vae_report.make_plot(model, family, shown),
        checksum=dataset.checksum,
        track=make_track(model, program, config.model.centring),
    )


def rules() -> dict[str, Rule]:
    """The rules of the fields of configs/vae.py."""
    return {
        **common_rules(),
        **latent_rules(),
        "model.higher": positive_integers(),
        "model.hidden": positive_integers(),
        "model.connections": Rule(
            lambda names: set(names) <= set(CONNECTIONS),
            f"made of {' and '.join(CONNECTIONS)}",
        ),
        "model.centring": optional(fraction()),
        "model.prior": one_of(PRIORS),
    }


def check(config: ConfigDict) -> None:
    """Checks the fields of a config, and that they fit each other.

    Raises:
        ConfigError: if not.
    """
    check_config(config, rules())
    model = config.model
    check_latents(model)
    check_objective(config)
    layers = 1 + len(model.higher)
    if layers > 1 and config.objective == "analytic":
        # It would average over a layer independently of its parent, the layer above.
        raise ConfigError(
            "config.objective='analytic': must be relaxed_density or soft_mass for "
            f"{layers} stochastic layers: the prior of one depends on a draw given it"
        )
    if model.connections and model.hidden:
        raise ConfigError(
            f"config.model.hidden={tuple(model.hidden)}: must be () for "
            f"config.model.connections={model.connections!r}"
        )
    if len(model.connections) != layers and (model.connections or layers > 1):
        raise ConfigError(
            f"config.model.connections={model.connections!r}: must have one of "
            f"{' and '.join(CONNECTIONS)} for each of {layers} stochastic layers"
        )


class Trained(trained.Trained):
    """A trained VAE, see `experiments.load`.

    A code is a value of the layer next to the pixels, one-hot [n, N, K] for categorical
    and 0 or 1 [n, N] for Bernoulli variables.
    """

    @functools.cached_property
    def model(self) -> DiscreteVae:
        """The network."""
        num_pixels = trained.output_size(self.params["params"]["decoder"])
        return make_model(self.config.model, np.full(num_pixels, 0.5))

    @property
    def family(self) -> Family:
        """The family of the latents."""
        return FAMILIES[self.config.model.family]

    def posterior(self, images: Any) -> Any:
        """The distribution q(z|x) of the code of images [n, S, S] or [n, D]."""
        x = trained.to_pixels(images, self.side, self.side)
        logits = self.model.apply(self.params, x, method="encode")
        return self.family.distribution(self.slope * logits)

    def encode(self, images: Any) -> jax.Array:
        """The most probable codes of images [n, S, S] or [n, D]."""
        return self.posterior(images).mode()

    def decode(self, codes: jax.Array) -> jax.Array:
        """The pixel means in [0, 1] given codes, [n, S, S]."""
        logits = self.model.apply(self.params, codes, method="decode")
        return trained.to_images(jax.nn.sigmoid(logits))

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """The pixel means of n samples of the prior, [n, S, S]."""
        pixels = vae_report.sample_pixels(self.model, self.family, self.params, key, n)
        return trained.to_images(pixels)

    def reconstruct(self, key: jax.Array, images: Any) -> jax.Array:
        """The pixel means given a sampled code of each image, [n, S, S]."""
        return self.decode(self.posterior(images).sample(key))


if __name__ == "__main__":
    launch("vae", __doc__, make_task)
