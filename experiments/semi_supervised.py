"""Semi-supervised classification with the M2 of Kingma et al. (2014), few labels.

Every image x has a class y and a style z: p(x|y, z) is a decoder, q(y|x) a classifier
and q(z|x, y) an encoder. For labelled images y is observed, for the others it is a
draw: config.estimator=exact is the marginalisation of Kingma et al., and any other
estimator is the single-sample inference of Jang et al. (2017). Maximised is

    J = E_L[−L(x, y)] + E_U[−U(x)] + α E_L[log q(y|x)],

each E a mean over its images in the batch: config.alpha weighs nats of classification
of a labelled image against nats of the bound of an image, whatever the numbers of both.
The labels-only variants train q(y|x) alone.

Accuracy is that of the most probable class of q(y|x), at the mean of the pixels that
training draws, as Kingma et al. classify the mean of the features they draw. The best
parameters are those of the highest accuracy on the validation set.

Shapes: B batch, L labelled images, N styles, K classes, D pixels; n images of a split.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import gumbel
from experiments import ConfigError
from experiments.cli.launch import launch
from experiments.cli.rules import (
    MAX_UNITS,
    Rule,
    at_least,
    check_config,
    check_objective,
    common_rules,
    non_negative,
    one_of,
    positive_integers,
)
from experiments.data import datasets
from experiments.data import labels as labelled
from experiments.data.binarization import Pixels, binarized
from experiments.engine import trained
from experiments.engine.task import Task
from experiments.models import conv_m2, m2, m2_report
from experiments.models.latents import visible_bias_init
from gumbel.objectives import bernoulli_log_likelihood
from gumbel.programs import Program, hard, interpret


def make_program(model: m2.M2) -> Program:
    """M2 as a stochastic program of (params, x [B, D]) and, if observed, labels [B].

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


class Images(NamedTuple):
    """The images of a run, and the labels that it may use.

    Attributes:
        pixels: of every split.
        rows: the training images whose labels may be seen, [L].
        labels: their classes, int [L].
        true: the classes of "valid" and "test", int [n].
    """

    pixels: Pixels
    rows: np.ndarray
    labels: np.ndarray
    true: Mapping[str, np.ndarray]


def make_supervised(model: m2.M2, program: Program, images: Images, config) -> Callable:
    """Makes (key, params) -> E_L[−L(x, y) + α log q(y|x)], a mean over a batch.

    The batch has all labelled images if they are fewer than its size.
    """
    labels = jnp.asarray(images.labels)
    pixels = jnp.asarray(images.pixels.train[images.rows])
    size = min(config.labelled.batch_size, len(labels))

    def supervised(key, params):
        row_key, pixel_key, draw_key = jax.random.split(key, 3)
        rows = jax.random.choice(row_key, len(labels), (size,), replace=False)
        x, y = images.pixels.batch(pixel_key, pixels[rows]), labels[rows]
        bound, _ = interpret(program(params, x, y), draw_key, hard(config.objective))
        return (bound + config.alpha * m2.class_log_prob(model, params, x, y)).mean()

    return supervised


NETWORKS: Mapping[str, Callable[..., m2.M2]] = {
    "mlp": m2.mlp,
    "conv": conv_m2.convolutional,
}
METHODS = ("m2", "classifier")


def make_model(config: ConfigDict, num_classes: int, pixel_mean: np.ndarray) -> m2.M2:
    """The networks of config.model; pixel biases start at the means' logit, [D]."""
    channels = {"channels": config.channels} if config.channels else {}
    return NETWORKS[config.networks](
        num_classes=num_classes,
        num_styles=config.num_styles,
        hidden=config.hidden,
        num_pixels=len(pixel_mean),
        visible_bias_init=visible_bias_init(pixel_mean),
        **channels,
    )


def make_task(config: ConfigDict) -> Task:
    """Checks a config and makes its task.

    Raises:
        ConfigError: if a field has an impossible value.
        DataError: if the data set cannot be read.
    """
    check(config)
    source = config.dataset
    dataset = datasets.load(source.name, source.data_dir, source.side)
    return task_of(config, dataset)


def task_of(config: ConfigDict, dataset: datasets.Dataset) -> Task:
    """The task of a checked config on a data set.

    Raises:
        ConfigError: if there are fewer labels than the config asks for.
    """
    rows = labelled.choose(dataset, config.labelled.count, config.labelled.seed)
    images = Images(
        pixels=binarized(dataset, config.dataset.binarization),
        rows=rows,
        labels=dataset.train.labels[rows],
        true={"valid": dataset.valid.labels, "test": dataset.test.labels},
    )
    model = make_model(config.model, dataset.num_classes, images.pixels.mean)
    make = m2_task if config.method == "m2" else classifier_task
    return make(config, model, images, dataset.checksum)


def m2_task(config: ConfigDict, model: m2.M2, images: Images, checksum: str) -> Task:
    """The task of M2; labels other than the observed ones are not in it."""
    program, pixels = make_program(model), images.pixels
    unlabelled = np.delete(pixels.train, images.rows, axis=0)
    return Task(
        experiment="semi_supervised",
        program=program,
        init=lambda key: model.init(key, jnp.zeros((1, pixels.mean.size))),
        data={"images": jnp.asarray(unlabelled)},
        batch=lambda key, rows: (pixels.batch(key, rows["images"]),),
        evaluation={split: (jnp.asarray(x),) for split, x in pixels.fixed.items()},
        plot=m2_report.make_plot(model, pixels, images.true, has_style=True),
        checksum=checksum,
        supervised=make_supervised(model, program, images, config),
        measure=m2_report.make_measure(model, pixels, images.true, has_style=True),
        choose_by=m2_report.choose_by,
    )


def classifier_task(
    config: ConfigDict, model: m2.M2, images: Images, checksum: str
) -> Task:
    """The task of q(y|x) alone, on labelled images; its nll is the cross-entropy."""
    del config
    pixels, rows = images.pixels, images.rows
    x = {**pixels.fixed, "train": pixels.fixed["train"][rows]}
    y = {**images.true, "train": images.labels}

    def program(params, x, labels):
        return lambda draw: m2.class_log_prob(model, params, x, labels)

    def init(key):
        return model.init(key, jnp.zeros((1, pixels.mean.size)), method="classify")

    return Task(
        experiment="semi_supervised",
        program=program,
        init=init,
        data={
            "images": jnp.asarray(pixels.train[rows]),
            "labels": jnp.asarray(y["train"]),
        },
        batch=lambda key, rows: (pixels.batch(key, rows["images"]), rows["labels"]),
        evaluation={
            split: (jnp.asarray(x[split]), jnp.asarray(y[split])) for split in x
        },
        plot=m2_report.make_plot(model, pixels, images.true, has_style=False),
        checksum=checksum,
        measure=m2_report.make_measure(model, pixels, images.true, has_style=False),
        choose_by=m2_report.choose_by,
    )


def rules() -> dict[str, Rule]:
    """The rules of the fields of configs/semi_supervised.py."""
    widths = positive_integers()
    return common_rules() | {
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
    }


def check(config: ConfigDict) -> None:
    """Checks the fields of a config, and that only convolutions have channels.

    Raises:
        ConfigError: if not.
    """
    check_config(config, rules())
    check_objective(config)
    model = config.model
    if (model.networks == "conv") != bool(model.channels):
        must = "at least one" if model.networks == "conv" else "()"
        raise ConfigError(
            f"config.model.channels={tuple(model.channels)}: must be {must} for "
            f"config.model.networks={model.networks!r}"
        )


class Trained(trained.Trained):
    """A trained M2 or classifier, see `experiments.load`."""

    @functools.cached_property
    def model(self) -> m2.M2:
        """The networks."""
        params = self.params["params"]
        decoder = params.get("decoder")
        num_pixels = trained.output_size(decoder) if decoder else 0
        num_classes = trained.output_size(params["classifier"])
        return make_model(self.config.model, num_classes, np.full(num_pixels, 0.5))

    def class_probabilities(self, images: Any) -> jax.Array:
        """q(y|x) of images [n, S, S] or [n, D], [n, K], trained to classify.

        Of `slope_annealed_st` it is not the distribution that draws are from, which
        has the same most probable class.
        """
        x = trained.to_pixels(images, self.side, self.side)
        logits = m2.over_images(self.model, "classify")(self.params, x)[:, 0]
        return jax.nn.softmax(logits)

    def classify(self, images: Any) -> jax.Array:
        """The most probable classes of images [n, S, S] or [n, D], int [n]."""
        return self.class_probabilities(images).argmax(axis=1)

    def generate(self, key: jax.Array, classes: Any) -> jax.Array:
        """Pixel means of an image of each class [n], its style drawn, [n, S, S].

        Raises:
            ValueError: if only the classifier was trained.
        """
        if "decoder" not in self.params["params"]:
            raise ValueError("a run with config.method='classifier' generates nothing")
        classes = jnp.asarray(classes)
        z = jax.random.normal(key, (len(classes), self.model.num_styles))
        return trained.to_images(m2.generate(self.model, self.params, classes, z))


if __name__ == "__main__":
    launch("semi_supervised", __doc__, make_task)
