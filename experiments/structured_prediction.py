"""Structured output prediction of both papers: the lower half of a digit by the upper.

A network with layers of draws, upper half -> z1 -> … -> zL -> lower half, is trained
on the multi-sample bound of log p(lower | upper), log-mean-exp of log p(lower | zL).
The draws come from the model itself, so no log q and no KL appears. 392-200-200-392
Bernoulli, 392-(20×10)-(20×10)-392 categorical, and the networks of 240 units a layer
coded on the corners of a cube. Evaluation is always through hard samples.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import plots
from experiments.cli.config import MAX_LAYERS, Rule, at_least, check_config
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
from experiments.models.nets import StochasticNet
from gumbel.objectives import bernoulli_log_likelihood

# Of the figure of completions.
DIGITS, COMPLETIONS, MEAN_SAMPLES = 10, 8, 1000


def rules() -> dict[str, Rule]:
    """What is allowed in the fields of configs/structured_prediction.py."""
    return latent_rules() | {
        "model.num_layers": at_least(1, MAX_LAYERS),
        "dataset.side": Rule(lambda n: n in range(2, 1025, 2), "even, from 2 to 1024"),
    }


def halves(pixels):
    """Upper and lower half of images in row-major order, [B, 2·D] -> 2 × [B, D]."""
    half = pixels.shape[1] // 2
    return pixels[:, :half], pixels[:, half:]


def make_model(config, pixel_mean: np.ndarray) -> StochasticNet:
    """The network, its visible biases set to the logit of the lower pixels' means."""
    return StochasticNet(
        latent_shape=FAMILIES[config.family].latent_shape(
            config.num_variables, config.num_classes
        ),
        num_layers=config.num_layers,
        code=CODES[config.code],
        num_pixels=len(pixel_mean),
        visible_bias_init=visible_bias_init(pixel_mean),
    )


def make_program(model: StochasticNet, family: Family):
    """The network as a stochastic program of (params, upper and lower [B, D])."""

    def program(params, upper, lower):
        def run(draw):
            def value_of(name, logits):
                return draw(name, family.distribution(logits)).value

            logits = model.apply(params, upper, value_of)
            return bernoulli_log_likelihood(logits, lower)

        return run

    return program


def make_draw(model: StochasticNet, family: Family, images) -> Callable:
    """Makes the function that draws the completions of images [n, D]."""
    upper, _ = halves(images)

    @jax.jit
    def look(params, key):
        def complete(key):
            keys = iter(jax.random.split(key, model.num_layers))
            logits = model.apply(
                params,
                upper,
                lambda name, logits: family.distribution(logits).sample(next(keys)),
            )
            return jax.nn.sigmoid(logits)

        samples = jax.lax.map(complete, jax.random.split(key, MEAN_SAMPLES))
        return samples[:COMPLETIONS], samples.mean(axis=0)

    def draw(params: Any, key, directory: Path) -> None:
        samples, mean = look(params, key)
        completed = [np.concatenate([upper, lower], axis=1) for lower in samples]
        plots.plot_completions(
            images,
            np.stack(completed, axis=1),
            np.concatenate([upper, mean], axis=1),
            directory / "completions.png",
        )

    return draw


def make_task(config) -> Task:
    """Checks a config and makes its task.

    Raises:
        ConfigError: if a field has an impossible value.
        DataError: if the data set cannot be read.
    """
    check_config(config, rules())
    check_latents(config.model)
    pixels, checksum = load_pixels(config)
    family = FAMILIES[config.model.family]
    _, lower_mean = halves(pixels.mean[None])
    model = make_model(config.model, lower_mean[0])

    def init(key):
        nothing = jnp.zeros((1, model.num_pixels))
        return model.init(key, nothing, lambda name, logits: jnp.zeros_like(logits))

    return Task(
        experiment="structured_prediction",
        program=make_program(model, family),
        init=init,
        plot=make_draw(model, family, np.float32(pixels.fixed["valid"][:DIGITS])),
        checksum=checksum,
        **pixel_fields(pixels, halves),
    )


if __name__ == "__main__":
    launch("structured_prediction", __doc__, make_task)
