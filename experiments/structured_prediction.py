"""Structured output prediction of both papers: the lower half of a digit by the upper.

A network of stochastic layers, upper half -> z1 -> … -> zL -> lower half, is trained on
the multi-sample bound of log p(lower | upper), a log-mean-exp of log p(lower | zL). The
draws come from the model itself, so that there is no log q and no KL. The networks
are 392-200-200-392 Bernoulli, 392-(20×10)-(20×10)-392 categorical, and those of 240
units a layer on the corners of a cube. Evaluation always uses hard samples.

Shapes: B batch, D pixels of a half; n images of S × S = 2·D pixels.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.cli.launch import launch
from experiments.cli.rules import (
    MAX_LAYERS,
    Rule,
    at_least,
    check_config,
    check_latents,
    common_rules,
    latent_rules,
)
from experiments.data import datasets
from experiments.data.binarization import binarized
from experiments.engine import plots, trained
from experiments.engine.task import Task
from experiments.models.coding import CODES
from experiments.models.latents import (
    FAMILIES,
    Family,
    for_hard_values,
    visible_bias_init,
)
from experiments.models.nets import StochasticNet
from gumbel.objectives import bernoulli_log_likelihood
from gumbel.programs import Program

# Of the figure of completions.
DIGITS, COMPLETIONS, MEAN_SAMPLES = 10, 8, 1000


def make_program(model: StochasticNet, family: Family) -> Program:
    """The network as a stochastic program of (params, upper and lower [B, D])."""

    def program(params, upper, lower):
        def run(draw):
            def value_of(name, logits):
                return draw(name, family.distribution(logits)).value

            logits = model.apply(params, upper, value_of)
            return bernoulli_log_likelihood(logits, lower)

        return run

    return program


def make_model(config: ConfigDict, pixel_mean: np.ndarray) -> StochasticNet:
    """The network; its pixel biases start at the logit of the lower means [D]."""
    return StochasticNet(
        latent_shape=FAMILIES[config.family].latent_shape(
            config.num_variables, config.num_classes
        ),
        num_layers=config.num_layers,
        code=CODES[config.code],
        num_pixels=len(pixel_mean),
        visible_bias_init=visible_bias_init(pixel_mean),
    )


def halves(pixels):
    """Upper and lower half of images in row-major order, [B, 2·D] -> 2 × [B, D]."""
    half = pixels.shape[1] // 2
    return pixels[:, :half], pixels[:, half:]


def make_task(config: ConfigDict) -> Task:
    """Checks a config and makes its task.

    Raises:
        ConfigError: if a field has an impossible value.
        DataError: if the data set cannot be read.
    """
    check_config(config, rules())
    check_latents(config.model)
    source = config.dataset
    dataset = datasets.load(source.name, source.data_dir, source.side)
    pixels = binarized(dataset, config.dataset.binarization)
    _, lower_mean = halves(pixels.mean[None])
    family, model = FAMILIES[config.model.family], make_model(config.model, *lower_mean)
    hard_model = for_hard_values(model, config.model)

    def init(key):
        upper = jnp.zeros((1, model.num_pixels))
        return model.init(key, upper, lambda name, logits: jnp.zeros_like(logits))

    return Task(
        experiment="structured_prediction",
        program=make_program(model, family),
        hard_program=make_program(hard_model, family),
        init=init,
        data={"images": jnp.asarray(pixels.train)},
        batch=lambda key, rows: halves(pixels.batch(key, rows["images"])),
        # uint8, a quarter of the memory: they become floats where they meet a weight.
        evaluation={split: halves(jnp.asarray(x)) for split, x in pixels.fixed.items()},
        plot=make_plot(model, family, np.float32(pixels.fixed["valid"][:DIGITS])),
        checksum=dataset.checksum,
    )


def rules() -> dict[str, Rule]:
    """The rules of the fields of configs/structured_prediction.py."""
    return {
        **common_rules(),
        **latent_rules(),
        "model.num_layers": at_least(1, MAX_LAYERS),
        "dataset.side": Rule(lambda n: n in range(2, 1025, 2), "even, from 2 to 1024"),
    }


# One compilation for all predictions of a network.
@functools.lru_cache(maxsize=4)
def make_predict(model: StochasticNet, family: Family, num_samples: int) -> Callable:
    """Makes (params, key, upper [B, D], slope) -> lower means, [samples, B, D]."""

    def predict(params, key, upper, slope=1.0):
        def sample(key):
            keys = iter(jax.random.split(key, model.num_layers))
            logits = model.apply(
                params,
                upper,
                lambda _, logits: family.distribution(slope * logits).sample(
                    next(keys)
                ),
            )
            return jax.nn.sigmoid(logits)

        return jax.lax.map(sample, jax.random.split(key, num_samples))

    return jax.jit(predict)


def make_plot(model: StochasticNet, family: Family, images: np.ndarray) -> Callable:
    """Makes the plot of completions of images [n, 2·D]."""
    predict = make_predict(model, family, MEAN_SAMPLES)
    upper, _ = halves(images)

    def plot(params: Any, key: jax.Array, directory: Path, slope=1.0) -> None:
        samples = predict(params, key, upper, slope)
        completed = [
            np.concatenate([upper, lower], axis=1) for lower in samples[:COMPLETIONS]
        ]
        plots.plot_completions(
            images,
            np.stack(completed, axis=1),
            np.concatenate([upper, samples.mean(axis=0)], axis=1),
            directory / "completions.png",
        )

    return plot


class Trained(trained.Trained):
    """A trained network of structured prediction, see `experiments.load`."""

    @functools.cached_property
    def model(self) -> StochasticNet:
        """The network."""
        num_pixels = trained.output_size(self.params["params"]["pixels"])
        return make_model(self.config.model, np.full(num_pixels, 0.5))

    def predict(self, key: jax.Array, upper: Any, n: int) -> jax.Array:
        """The pixel means of n sampled lower halves of each image.

        Args:
            key: PRNG key.
            upper: upper halves, [b, S/2, S] or [b, D].
            n: number of samples.

        Returns:
            [b, n, S/2, S].
        """
        rows = self.side // 2
        x = trained.to_pixels(upper, rows, self.side)
        family = FAMILIES[self.config.model.family]
        predict = make_predict(self.model, family, n)
        lower = predict(self.params, key, x, self.slope)
        return lower.swapaxes(0, 1).reshape(len(x), n, rows, self.side)


if __name__ == "__main__":
    launch("structured_prediction", __doc__, make_task)
