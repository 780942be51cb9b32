"""What is trained with few labels: M2 of Kingma et al. (2014), or its classifier alone.

Of the labelled images y is observed, of the others it is a draw. To be maximised is

    J = E_L[−L(x, y)] + E_U[−U(x)] + α E_L[log q(y|x)],

each E a mean over its images in the batch: config.alpha weighs nats of classification
of a labelled image against nats of the bound of an image, whatever the numbers of
both. A method is (config, model, images) -> the fields that it adds to a Task.

Shapes: B batch, L labelled images, n images of a split, K classes, D pixels.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gumbel
from experiments import plots
from experiments.data import binarization
from experiments.models import m2
from gumbel.objectives import bernoulli_log_likelihood
from gumbel.programs import Program, hard, interpret

# Columns of the figure of samples.
STYLES = 10


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
        title = "a class in each row, one style from the prior in each column"
        plots.plot_image_grid(
            samples(params, key), model.num_classes, directory / "samples.png", title
        )

    return {
        "program": program,
        "init": lambda key: model.init(key, jnp.zeros((1, pixels.mean.size))),
        "data": {"images": jnp.asarray(unlabelled)},
        "batch": lambda key, rows: (pixels.batch(key, rows["images"]),),
        "evaluation": {s: (jnp.asarray(x),) for s, x in pixels.fixed.items()},
        "plot": draw,
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
        "plot": lambda params, key, directory: None,
    }


METHODS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "m2": m2_fields,
    "classifier": classifier_fields,
}
