"""The discrete variational auto-encoder of both papers.

Encoders give the logits of layers of discrete latents z, decoders those of what is
below a layer, binary pixels x at the bottom, and a bound on log p(x) is maximised:
log p(x|z) − KL(q(z|x) ‖ p(z)), or with several samples the log-mean-exp of it. The
networks are those of Jang et al. (2017), one stochastic layer, and those of Maddison et
al. (2017), any number of layers on the corners of a cube. Training goes through the
gradient estimator of choice; evaluation always through hard samples. Besides the
variants named below, any <units>H…784V[-4ary|-8ary] is one, with - (linear) or ~ (two
tanh layers) after each H.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import ConfigError, plots
from experiments.cli.config import (
    Rule,
    check_config,
    fraction,
    one_of,
    optional,
    positive_integers,
)
from experiments.cli.launch import launch
from experiments.engine.task import Task
from experiments.models.coding import CODES
from experiments.models.latents import (
    FAMILIES,
    Family,
    check_latents,
    latent_rules,
    load_pixels,
    pixel_fields,
    visible_bias_init,
)
from experiments.models.nets import DiscreteVae
from gumbel.objectives import bernoulli_log_likelihood
from gumbel.programs import Program, hard, interpret

PRIORS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "learned": lambda logits: logits,
    "uniform": jnp.zeros_like,
}
# Tanh layers of a connection, by the character that stands for it in a name.
CONNECTIONS: Mapping[str, int] = {"-": 0, "~": 2}


def rules() -> dict[str, Rule]:
    """What is allowed in the fields of configs/vae.py."""
    return latent_rules() | {
        "model.higher": positive_integers(),
        "model.hidden": positive_integers(),
        "model.connections": Rule(
            lambda names: set(names) <= set(CONNECTIONS),
            f"made of {' and '.join(CONNECTIONS)}",
        ),
        "model.centring": optional(fraction()),
        "model.prior": one_of(PRIORS),
    }


def check_layers(model, objective: str) -> None:
    """Checks that config.model connects its layers, and that the objective suits them.

    Raises:
        ConfigError: if not.
    """
    layers = 1 + len(model.higher)
    if layers > 1 and objective == "analytic":
        # It would average over a layer apart from the layer above, which knows it.
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


def make_model(config, pixel_mean: np.ndarray) -> DiscreteVae:
    """The network, its visible biases set to the logit of the pixel means.

    The tanh layers of a connection have the size of the stochastic layer that it leads
    down from. The inference network mirrors it with the same sizes, though there the
    connection leads up to that layer: the pixels' size stands for no stochastic layer.
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
    )


def make_program(model: DiscreteVae, family: Family, prior: Callable) -> Program:
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
            top = prior(model.apply(params, method="prior_logits"))
            kl = sum(
                node.kl(family.distribution(logits))
                for node, logits in zip(nodes, [*conditionals, top], strict=True)
            )
            return bernoulli_log_likelihood(pixels, x) - kl

        return run

    return program


def make_track(model: DiscreteVae, program: Program, decay: float | None) -> Callable:
    """Makes (key, params, x [B, D]) -> params, the centres, if any, moved by a batch.

    A centre is a running mean of a layer's activity, the coded samples of its posterior
    (Maddison et al., 2017, appendix D.4), here always hard ones, so that it is the same
    thing for every estimator and in evaluation. That of the pixels stays: it is their
    mean over the training set.
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


def make_draw(model: DiscreteVae, family: Family, prior: Callable, images) -> Callable:
    """Makes the function that draws samples, reconstructions and latent usage."""
    program = make_program(model, family, prior)
    columns = min(10, len(images))
    rows = min(3, len(images) // columns)
    shown = rows * columns

    @jax.jit
    def look(params, key):
        posterior_key, *sample_keys = jax.random.split(key, 1 + len(model.layer_names))
        logits = prior(model.apply(params, method="prior_logits"))
        logits = jnp.broadcast_to(logits, (100, *logits.shape))
        # Ancestral: from the top layer down to the pixels.
        for layer, sample_key in reversed(list(enumerate(sample_keys))):
            z = family.distribution(logits).sample(sample_key)
            logits = model.apply(params, z, layer, method="decode")
        _, nodes = interpret(program(params, images), posterior_key, hard())
        codes = nodes[model.layer_names[0]].value[:shown]
        decoded = model.apply(params, codes, method="decode")
        probabilities = {
            name: family.probabilities(node.distribution.logits)
            for name, node in nodes.items()
        }
        return jax.nn.sigmoid(logits), jax.nn.sigmoid(decoded), probabilities

    def draw(params: Any, key, directory: Path) -> None:
        samples, decoded, probabilities = look(params, key)
        plots.plot_image_grid(
            samples, 10, directory / "samples.png", "decoded samples of the prior"
        )
        pairs = np.stack([images[:shown], decoded], axis=1)
        pairs = pairs.reshape(rows, columns, 2, -1).transpose(0, 2, 1, 3)
        plots.plot_image_grid(
            pairs.reshape(2 * shown, -1),
            2 * rows,
            directory / "reconstructions.png",
            "validation images, each above its reconstruction from one hard sample",
        )
        below = "the image"
        for name in model.layer_names:
            path = directory / f"latents{name.removeprefix('z')}.png"
            plots.plot_latent_usage(probabilities[name], path, below)
            below = f"a sample of {name}"

    return draw


def make_task(config) -> Task:
    """Checks a config and makes its task.

    Raises:
        ConfigError: if a field has an impossible value.
        DataError: if the data set cannot be read.
    """
    check_config(config, rules())
    check_latents(config.model)
    check_layers(config.model, config.objective)
    pixels, checksum = load_pixels(config)
    family, prior = FAMILIES[config.model.family], PRIORS[config.model.prior]
    model = make_model(config.model, pixels.mean)
    program = make_program(model, family, prior)
    return Task(
        experiment="vae",
        program=program,
        init=lambda key: model.init(key, jnp.zeros((1, model.num_pixels))),
        plot=make_draw(model, family, prior, np.float32(pixels.fixed["valid"][:2000])),
        checksum=checksum,
        track=make_track(model, program, config.model.centring),
        **pixel_fields(pixels, lambda images: (images,)),
    )


if __name__ == "__main__":
    launch("vae", __doc__, make_task)
