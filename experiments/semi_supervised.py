"""Semi-supervised classification with the M2 of Kingma et al. (2014), few labels.

Every image has a class y and a style z: p(x|y, z) is a decoder, q(y|x) a classifier and
q(z|x, y) an encoder. Of the labelled images y is observed, of the others it is a draw,
so that config.estimator=exact is the marginalisation of Kingma et al. and any other
estimator the single-sample inference of Jang et al. (2017). To be maximised is

    J = E_L[−L(x, y)] + E_U[−U(x)] + α E_L[log q(y|x)],

each E a mean over its images in the batch: config.alpha weighs nats of classification
of a labelled image against nats of the bound of an image, whatever the numbers of
both. Accuracy is that of the most probable class of q(y|x) at the mean of the pixels
that training draws, as Kingma et al. classify the mean of the features they draw, and
the parameters of the best one on the validation set are kept. The labels-only variants
train q(y|x) alone.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gumbel
from experiments import binarization, class_figures, data, labelled
from experiments.configuration import (
    ConfigError,
    Rule,
    at_least,
    check_config,
    common_rules,
    one_of,
    positive_integers,
)
from experiments.latents import visible_bias_init
from experiments.launch import launch
from experiments.precision import COMPUTE_DTYPES
from experiments.step import OPTIMIZERS, Task
from gumbel import m2
from gumbel.objectives import bernoulli_log_likelihood
from gumbel.programs import Program, hard, interpret

# Columns of the figure of samples.
STYLES = 10


def rules() -> dict[str, Rule]:
    """What is allowed in the fields of configs/semi_supervised.py."""
    allows_widths, text = positive_integers()
    return common_rules() | {
        "optimizer": one_of(OPTIMIZERS),
        "alpha": at_least(0),
        "labelled.count": at_least(1),
        "labelled.batch_size": at_least(1),
        "labelled.seed": at_least(0),
        "method": one_of(METHODS),
        "model.networks": one_of(NETWORKS),
        "model.num_styles": at_least(1),
        "model.hidden": (
            lambda widths: len(widths) > 0 and allows_widths(widths),
            f"{text}, at least one",
        ),
        "model.channels": (allows_widths, text),
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


class Images(NamedTuple):
    """What a method gets to see.

    Attributes:
        pixels: of every split.
        rows: of the training images whose labels may be seen, [L].
        labels: their classes, int [L].
        true: the classes of the other splits, int [n], by "valid" and "test".
    """

    pixels: binarization.Pixels
    rows: np.ndarray
    labels: np.ndarray
    true: Mapping[str, np.ndarray]


def make_program(model: m2.M2) -> Program:
    """M2 as a stochastic program of (params, x [B, D]) and, where observed, labels [B].

    Its bound is −U(x), equation (7) of Kingma et al. (2014), and with labels −L(x, y),
    their equation (6). The prior of y is uniform, that of z standard normal.
    """
    uniform = gumbel.Categorical(jnp.zeros((1, model.num_classes)))
    normal = gumbel.Normal(jnp.zeros(model.num_styles), jnp.ones(model.num_styles))

    def program(params, x, labels=None):
        # Ahead of the draws, hence computed once for all their values.
        features = model.apply(params, x, method="look")
        logits = model.apply(params, x, method="classify")

        def run(draw):
            if labels is None:
                node = draw("y", gumbel.Categorical(logits))
                y, kl = node.value, node.kl(uniform)
            else:
                y = jax.nn.one_hot(labels, model.num_classes)[:, None]
                kl = jnp.log(model.num_classes)  # −log p(y)
            loc, scale = model.apply(params, features, y, method="encode")
            z = draw("z", gumbel.Normal(loc, scale))
            pixels = model.apply(params, y, z.value, method="decode")
            return bernoulli_log_likelihood(pixels, x) - kl - z.kl(normal)

        return run

    return program


def class_log_prob(model: m2.M2, params, x, labels) -> jax.Array:
    """log q(y|x) of observed labels [B], in nats: [B]."""
    logits = model.apply(params, x, method="classify")[:, 0]
    y = jax.nn.one_hot(labels, model.num_classes)
    return (y * jax.nn.log_softmax(logits)).sum(axis=1)


def make_supervised(model: m2.M2, program: Program, images: Images, config) -> Callable:
    """Makes (key, params) -> E_L[−L(x, y) + α log q(y|x)], a mean over a batch.

    The batch is of all labelled images where they are fewer than its size.
    """
    labels = jnp.asarray(images.labels)
    pixels = jnp.asarray(images.pixels.train[images.rows])
    size = min(config.labelled.batch_size, len(labels))

    def supervised(key, params):
        row_key, pixel_key, draw_key = jax.random.split(key, 3)
        rows = jax.random.choice(row_key, len(labels), (size,), replace=False)
        x, y = images.pixels.batch(pixel_key, pixels[rows]), labels[rows]
        bound, _ = interpret(program(params, x, y), draw_key, hard(config.objective))
        return (bound + config.alpha * class_log_prob(model, params, x, y)).mean()

    return supervised


def make_samples(model: m2.M2) -> Callable:
    """Makes (params, key) -> the means of p(x|y, z), [K · STYLES, D], class by class.

    The styles are drawn from their prior, the same ones for every class.
    """

    @jax.jit
    def samples(params, key):
        z = jax.random.normal(key, (STYLES, model.num_styles))
        z = jnp.tile(z, (model.num_classes, 1))
        y = jnp.repeat(jnp.eye(model.num_classes), STYLES, axis=0)
        return jax.nn.sigmoid(model.apply(params, y[:, None], z, method="decode"))

    return samples


def m2_fields(config, model: m2.M2, images: Images) -> dict[str, Any]:
    """What training M2 adds to a Task. Labels but the observed ones are not in it."""
    program, samples = make_program(model), make_samples(model)
    pixels = images.pixels
    unlabelled = np.delete(pixels.train, images.rows, axis=0)

    def draw(params, key, directory: Path) -> None:
        class_figures.class_samples(
            samples(params, key), model.num_classes, directory / "samples.png"
        )

    return {
        "program": program,
        "init": lambda key: model.init(key, jnp.zeros((1, pixels.mean.size))),
        "data": {"images": jnp.asarray(unlabelled)},
        "batch": lambda key, rows: (pixels.batch(key, rows["images"]),),
        "evaluation": {s: (jnp.asarray(x),) for s, x in pixels.fixed.items()},
        "draw": draw,
        "supervised": make_supervised(model, program, images, config),
    }


def classifier_fields(config, model: m2.M2, images: Images) -> dict[str, Any]:
    """What training q(y|x) alone adds to a Task: its nll is the cross-entropy."""
    del config
    pixels, rows = images.pixels, images.rows
    visible = {**pixels.fixed, "train": pixels.fixed["train"][rows]}

    def program(params, x, labels):
        return lambda draw: class_log_prob(model, params, x, labels)

    def init(key):
        return model.init(key, jnp.zeros((1, pixels.mean.size)), method="classify")

    known = {"train": images.labels, **images.true}
    return {
        "program": program,
        "init": init,
        "data": {
            "images": jnp.asarray(pixels.train[rows]),
            "labels": jnp.asarray(images.labels),
        },
        "batch": lambda key, rows: (pixels.batch(key, rows["images"]), rows["labels"]),
        "evaluation": {
            split: (jnp.asarray(visible[split]), jnp.asarray(labels))
            for split, labels in known.items()
        },
        "draw": lambda params, key, directory: None,
    }


METHODS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "m2": m2_fields,
    "classifier": classifier_fields,
}


def make_task(config) -> Task:
    """Checks a config and makes its task.

    Raises:
        ConfigError: if a field has an impossible value.
        DataError: if the data set cannot be read.
    """
    check_config(config, rules())
    check_channels(config.model)
    return task_of(config, data.load(config.dataset.name, config.dataset.data_dir))


def task_of(config, dataset: data.Dataset) -> Task:
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
        compute_dtype=COMPUTE_DTYPES[config.compute_dtype],
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

    def draw(params, key, directory: Path) -> None:
        class_figures.confusion(
            images.true["valid"],
            predicted(params, "valid"),
            dataset.num_classes,
            directory / "confusion.png",
        )
        fields["draw"](params, key, directory)

    return Task(
        experiment="semi_supervised",
        checksum=dataset.checksum,
        measure=measure,
        choose_by=lambda metrics: -metrics["valid_accuracy"],
        **fields | {"draw": draw},
    )


if __name__ == "__main__":
    launch("semi_supervised", __doc__, make_task)
