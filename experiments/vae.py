"""The discrete variational auto-encoder of both papers.

An encoder gives the logits of discrete latents z, a decoder those of binary pixels x,
and the bound log p(x|z) − KL(q(z|x) ‖ p(z)) is maximised. One stochastic layer:
784-(20×10)-784 categorical and 784-200-784 Bernoulli, linear, and an MLP. Training
goes through the gradient estimator of choice; evaluation always through hard samples.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import binarization, data, figures
from experiments.configuration import Rule, check_config, one_of
from experiments.latents import (
    FAMILIES,
    Family,
    check_latents,
    latent_rules,
    visible_bias_init,
)
from experiments.launch import launch
from experiments.step import Task
from gumbel.coding import CODES
from gumbel.nets import DiscreteVae
from gumbel.objectives import bernoulli_log_likelihood

PRIORS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "learned": lambda logits: logits,
    "uniform": jnp.zeros_like,
}


def rules() -> dict[str, Rule]:
    """What is allowed in the fields of configs/vae.py."""
    return latent_rules() | {
        "model.hidden": (
            lambda widths: all(isinstance(w, int) and w > 0 for w in widths),
            "a tuple of positive integers, () for a linear model",
        ),
        "model.prior": one_of(PRIORS),
    }


def make_model(config, pixel_mean: np.ndarray) -> DiscreteVae:
    """The network, its visible biases set to the logit of the pixel means."""
    return DiscreteVae(
        latent_shape=FAMILIES[config.family].latent_shape(
            config.num_variables, config.num_classes
        ),
        hidden=tuple(config.hidden),
        num_pixels=len(pixel_mean),
        visible_bias_init=visible_bias_init(pixel_mean),
        code=CODES[config.code],
    )


def make_program(model: DiscreteVae, family: Family, prior: Callable):
    """The discrete VAE as a stochastic program of (params, x [B, D])."""

    def program(params, x):
        posterior = family.distribution(model.apply(params, x, method="encode"))

        def run(draw):
            z = draw("z", posterior)
            logits = model.apply(params, z.value, method="decode")
            prior_logits = prior(model.apply(params, method="prior_logits"))
            kl = z.kl(family.distribution(prior_logits))
            return bernoulli_log_likelihood(logits, x) - kl

        return run

    return program


def make_draw(model: DiscreteVae, family: Family, prior: Callable, images) -> Callable:
    """Makes the function that draws samples, reconstructions and latent usage."""

    @jax.jit
    def look(params, key):
        sample_key, posterior_key = jax.random.split(key)
        logits = prior(model.apply(params, method="prior_logits"))
        prior_samples = family.distribution(
            jnp.broadcast_to(logits, (100, *logits.shape))
        ).sample(sample_key)
        posterior_logits = model.apply(params, images, method="encode")
        codes = family.distribution(posterior_logits).sample(posterior_key)
        decoded = (
            jax.nn.sigmoid(model.apply(params, z, method="decode"))
            for z in (prior_samples, codes[:30])
        )
        return *decoded, family.probabilities(posterior_logits)

    def draw(params: Any, key, directory: Path) -> None:
        samples, decoded, probabilities = look(params, key)
        figures.image_grid(
            samples, 10, directory / "samples.png", "decoded samples of the prior"
        )
        pairs = np.stack([images[:30], decoded], axis=1).reshape(3, 10, 2, -1)
        pairs = pairs.transpose(0, 2, 1, 3).reshape(60, -1)
        figures.image_grid(
            pairs,
            6,
            directory / "reconstructions.png",
            "validation images, each above its reconstruction from one hard sample",
        )
        figures.latent_usage(probabilities, directory / "latents.png")

    return draw


def make_task(config) -> Task:
    """Checks a config and makes its task.

    Raises:
        ConfigError: if a field has an impossible value.
        DataError: if the data set cannot be read.
    """
    check_config(config, rules())
    check_latents(config.model)
    dataset = data.load(config.dataset.name, config.dataset.data_dir)
    pixels = binarization.binarized(dataset, config.dataset.binarization)
    family, prior = FAMILIES[config.model.family], PRIORS[config.model.prior]
    model = make_model(config.model, pixels.mean)
    return Task(
        experiment="vae",
        program=make_program(model, family, prior),
        init=lambda key: model.init(key, jnp.zeros((1, model.num_pixels))),
        data={"images": jnp.asarray(pixels.train)},
        batch=lambda key, rows: (pixels.batch(key, rows["images"]),),
        # uint8, a quarter of the memory: they become floats where they meet a weight.
        evaluation={
            split: (jnp.asarray(images),) for split, images in pixels.fixed.items()
        },
        draw=make_draw(model, family, prior, np.float32(pixels.fixed["valid"][:2000])),
        checksum=dataset.checksum,
    )


if __name__ == "__main__":
    launch("vae", __doc__, make_task)
