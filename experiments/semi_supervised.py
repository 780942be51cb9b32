"""Semi-supervised classification with the M2 of Kingma et al. (2014), few labels.

Every image has a class y and a style z: p(x|y, z) is a decoder, q(y|x) a classifier and
q(z|x, y) an encoder. Of the labelled images y is observed, of the others it is a draw,
so that config.estimator=exact is the marginalisation of Kingma et al. and any other
estimator the single-sample inference of Jang et al. (2017); `experiments.m2_methods`
has the objective. Accuracy is that of the most probable class of q(y|x) at the mean of
the pixels that training draws, as Kingma et al. classify the mean of the features they
draw, and the parameters of the best one on the validation set are kept. The labels-only
variants train q(y|x) alone.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp

from experiments import ConfigError, plots
from experiments.cli.config import (
    MAX_UNITS,
    Rule,
    at_least,
    check_config,
    common_rules,
    non_negative,
    one_of,
    positive_integers,
)
from experiments.cli.launch import launch
from experiments.data import binarization, datasets
from experiments.data import labels as labelled
from experiments.engine.step import OPTIMIZERS
from experiments.engine.task import Task
from experiments.models import m2
from experiments.models.latents import visible_bias_init
from experiments.models.m2_methods import METHODS, Images


def rules() -> dict[str, Rule]:
    """What is allowed in the fields of configs/semi_supervised.py."""
    widths = positive_integers()
    return common_rules() | {
        "optimizer": one_of(OPTIMIZERS),
        "alpha": non_negative(),
        "labelled.count": at_least(1),
        "labelled.batch_size": at_least(1),
        "labelled.seed": at_least(0, 2**32 - 1),
        "method": one_of(METHODS),
        "model.networks": one_of(NETWORKS),
        "model.num_styles": at_least(1, MAX_UNITS),
        "model.hidden": Rule(
            lambda value: len(value) > 0 and widths.allows(value),
            f"{widths.text}, at least one",
        ),
        "model.channels": widths,
        "dataset.binarization": one_of(binarization.BINARIZATIONS),
    }


NETWORKS: Mapping[str, Callable[..., m2.M2]] = {"mlp": m2.mlp, "conv": m2.convolutional}


def check_channels(model) -> None:
    """Checks that config.model has channels where its networks convolve.

    Raises:
        ConfigError: if not.
    """
    if (model.networks == "conv") != bool(model.channels):
        must = "at least one" if model.networks == "conv" else "()"
        raise ConfigError(
            f"config.model.channels={tuple(model.channels)}: must be {must} for "
            f"config.model.networks={model.networks!r}"
        )


def make_task(config) -> Task:
    """Checks a config and makes its task.

    Raises:
        ConfigError: if a field has an impossible value.
        DataError: if the data set cannot be read.
    """
    check_config(config, rules())
    check_channels(config.model)
    fields = config.dataset
    dataset = datasets.load(fields.name, fields.data_dir, fields.side)
    return task_of(config, dataset)


def task_of(config, dataset: datasets.Dataset) -> Task:
    """The task of a checked config on a data set.

    Raises:
        ConfigError: if the labels are not as many as the config asks for.
    """
    rows = labelled.choose(dataset, config.labelled.count, config.labelled.seed)
    images = Images(
        pixels=binarization.binarized(dataset, config.dataset.binarization),
        rows=rows,
        labels=dataset.train.labels[rows],
        true={"valid": dataset.valid.labels, "test": dataset.test.labels},
    )
    channels = {"channels": config.model.channels} if config.model.channels else {}
    model = NETWORKS[config.model.networks](
        num_classes=dataset.num_classes,
        num_styles=config.model.num_styles,
        hidden=config.model.hidden,
        num_pixels=images.pixels.mean.size,
        visible_bias_init=visible_bias_init(images.pixels.mean),
        **channels,
    )
    fields = METHODS[config.method](config, model, images)
    predict = labelled.make_predict(
        lambda params, x: model.apply(params, x, method="classify")
    )

    expected = {s: jnp.asarray(images.pixels.expected(s)) for s in images.true}

    def predicted(params, split: str) -> jax.Array:
        return predict(params, expected[split])

    def measure(params, split: str) -> dict[str, float]:
        right = predicted(params, split) == images.true[split]
        return {"accuracy": float(right.mean())}

    def plot(params, key, directory: Path) -> None:
        plots.plot_confusion(
            images.true["valid"],
            predicted(params, "valid"),
            dataset.num_classes,
            directory / "confusion.png",
        )
        fields["plot"](params, key, directory)

    return Task(
        experiment="semi_supervised",
        checksum=dataset.checksum,
        measure=measure,
        choose_by=lambda metrics: -metrics["valid_accuracy"],
        **fields | {"plot": plot},
    )


if __name__ == "__main__":
    launch("semi_supervised", __doc__, make_task)
