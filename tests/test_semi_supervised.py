"""Semi-supervised learning: bounds by hand, what labels reach, whole runs in use."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
import runs
from configs.semi_supervised import VARIANTS, get_config
from experiments import ConfigError
from experiments import semi_supervised as ss
from experiments.data import datasets
from experiments.data import labels as labelled
from experiments.engine import plots, train
from experiments.engine.report import read_metrics
from experiments.models import m2, m2_report
from gumbel.programs import hard, interpret
from m2_by_hand import BATCH, CLASSES, STYLES, ByHand, make_tiny, noise_of


@functools.cache
def labelled_dataset(size=48):
    """Four classes; an image of class k is white in its k-th quarter, else grey."""

    def split(size, seed):
        labels = np.random.default_rng(seed).permutation(np.arange(size) % 4)
        images = np.full((size, 4, 196), 20, np.uint8)
        images[np.arange(size), labels] = 255
        return datasets.Split(images.reshape(size, 784), labels.astype(np.int32))

    return datasets.Dataset(
        "quarters", split(size, 0), split(40, 1), split(44, 2), "0", 4
    )


def config(variant="mlp", **fields):
    """A config of a tiny budget; `fields` are named with __ for a dot."""
    made = get_config(variant)
    tiny = {
        "num_steps": 60,
        "batch_size": 8,
        "learning_rate": 0.01,
        "log_every": 20,
        "eval_every": 20,
        "checkpoint_every": 20,
        "eval_samples": 2,
        "eval_batch_size": 44,
        "labelled.count": 8,
        "model.num_styles": 2,
        "model.hidden": (8,),
    }
    fields = {name.replace("__", "."): value for name, value in fields.items()}
    made.update_from_flattened_dict(tiny | fields)
    return made


@pytest.fixture
def quarters(monkeypatch):
    """Labelled images instead of a data set."""
    monkeypatch.setattr(datasets, "load", lambda *args: labelled_dataset())
    return labelled_dataset()


@pytest.mark.parametrize("kl", ["analytic", "relaxed_density", "soft_mass"])
def test_marginal_bound_is_the_sum_over_classes(kl):
    _, program, params, x, _ = make_tiny()
    estimate = jax.jit(
        lambda *args: gumbel.value_and_grad("exact", program)(*args, kl=kl)
    )
    bound = estimate(jax.random.key(3), params, x).bound
    _, estimate_key = jax.random.split(jax.random.key(3))
    noise = noise_of(jax.random.fold_in(estimate_key, 0))
    by_hand, x = ByHand(params), np.float64(x)
    log_q = by_hand.log_q(x)
    # Equation (7) of Kingma et al. (2014): Σ_y q(y|x) (−L(x, y)) + H(q(y|x)).
    expected = np.zeros(BATCH)
    for k in range(CLASSES):
        one = by_hand.bound(x, np.full(BATCH, k), noise)
        expected += np.exp(log_q[:, k]) * (one - log_q[:, k])
    if kl == "analytic":
        np.testing.assert_allclose(bound, expected, rtol=1e-5)
    else:  # the KL of z by its sample: of the same expectation, another value
        assert np.isfinite(bound).all()
        assert np.abs(np.asarray(bound) - expected).max() > 1e-3


def test_labelled_bound_is_that_of_the_observed_class():
    _, program, params, x, labels = make_tiny()

    @jax.jit
    def bound(key, labels):
        return interpret(program(params, x, labels), key, hard("analytic"))[0]

    noise = noise_of(jax.random.key(5))
    expected = ByHand(params).bound(np.float64(x), np.asarray(labels), noise)
    found = bound(jax.random.key(5), labels)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# Those of the papers' table, and one of each family of the others.
@pytest.mark.parametrize(
    "estimator",
    ["exact", "gumbel_softmax", "nvil", "disarm", "relax"],
)
def test_the_estimators_run_the_program(estimator):
    _, program, params, x, _ = make_tiny()
    estimate = gumbel.value_and_grad(estimator, program)

    @jax.jit
    def call(params, x):
        state = estimate.init(jax.random.key(1), params, x)
        return estimate(jax.random.key(0), params, x, state=state)

    bound, grads, _ = call(params, x)
    assert np.isfinite(bound).all()
    for leaf in jax.tree.leaves(grads):
        assert np.isfinite(leaf).all() and (leaf != 0).any()


def test_generated_means_and_style_kl_by_hand():
    model, _, params, x, _ = make_tiny()
    by_hand, x = ByHand(params), np.float64(x)
    z = np.random.default_rng(0).normal(size=(CLASSES, STYLES))
    h = by_hand.dense("decoder", 0, np.concatenate([np.eye(CLASSES), z], axis=1))
    logits = by_hand.dense("decoder", 1, np.maximum(h, 0))
    means = m2.generate(model, params, np.arange(CLASSES), jnp.asarray(z, jnp.float32))
    np.testing.assert_allclose(means, 1 / (1 + np.exp(-logits)), rtol=1e-4)
    y = np.eye(CLASSES)[by_hand.log_q(x).argmax(axis=1)]
    h = by_hand.dense("features", 0, x) + y @ by_hand.params["class_features"]["kernel"]
    out = by_hand.dense("style", 0, np.maximum(h, 0))
    loc, log_scale = out[:, :STYLES], out[:, STYLES:]
    expected = 0.5 * (loc**2 + np.exp(2 * log_scale) - 1 - 2 * log_scale)
    kl = m2.over_images(model, "style_kl")(params, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(kl, expected, rtol=1e-4, atol=1e-5)


def test_supervised_term_by_hand(quarters):
    """At α = 0 and with all its labels: E_L[−L(x, y)]; its slope: E_L[log q(y|x)]."""
    made = config(dataset__binarization="threshold", labelled__count=4)
    rows = labelled.choose(quarters, 4, 0)
    x = np.float64(quarters.train.images[rows] >= 128)
    labels = quarters.train.labels[rows]
    rng = np.random.default_rng(1)
    values, grads = {}, {}
    for alpha in (0.0, 2.0):
        made.alpha = alpha
        task = ss.make_task(made)
        shapes = jax.eval_shape(task.init, jax.random.key(0))
        if alpha == 0.0:
            params = jax.tree.map(
                lambda p: jnp.asarray(0.1 * rng.normal(size=p.shape), p.dtype), shapes
            )
        step = jax.jit(jax.value_and_grad(task.supervised, argnums=1))
        values[alpha], grads[alpha] = step(jax.random.key(2), params)
    log_q = ByHand(params).log_q(x)[np.arange(4), labels]
    slope = (values[2.0] - values[0.0]) / 2
    np.testing.assert_allclose(slope, log_q.mean(), rtol=1e-3)
    classifier = [jax.tree.leaves(g["params"]["classifier"]) for g in grads.values()]
    assert all((leaf == 0).all() for leaf in classifier[0])
    assert all((leaf != 0).any() for leaf in classifier[1])


def test_labels_of_unlabelled_images_change_nothing(quarters, monkeypatch, tmp_path):
    rows = labelled.choose(quarters, 8, 0)
    others = np.delete(np.arange(48), rows)
    monkeypatch.setattr(labelled, "choose", lambda *args: rows)
    monkeypatch.setattr(plots, "plot_curves", lambda *args: None)
    made = config(num_steps=20)  # compiled once with the runs below

    def task(permuted):
        labels = quarters.train.labels.copy()
        labels[permuted] = labels[permuted[::-1]]
        changed = dataclasses.replace(
            quarters, train=datasets.Split(quarters.train.images, labels)
        )
        monkeypatch.setattr(datasets, "load", lambda *args: changed)
        moved = (labels != quarters.train.labels).sum()
        made_task = ss.make_task(made)
        return dataclasses.replace(made_task, plot=lambda *args: None), moved

    ends = []
    for name, permuted in (("as it was", rows[:0]), ("permuted", others)):
        permuted_task, moved = task(permuted)
        assert (moved > 20) == (name == "permuted")
        train.train(permuted_task, made, tmp_path / name, announce=lambda _: None)
        ends.append(runs.ends(tmp_path / name))
    assert ends[0] == ends[1]
    # Those of the labelled images do change what is learned.
    params = jax.tree.map(
        lambda p: jnp.linspace(-0.1, 0.1, p.size).reshape(p.shape),
        jax.eval_shape(permuted_task.init, jax.random.key(0)),
    )
    terms = {
        float(jax.jit(task(permuted)[0].supervised)(jax.random.key(1), params))
        for permuted in (others, rows)
    }
    assert len(terms) == 2


def test_training_data_hold_no_unseen_label(quarters):
    task = ss.make_task(config())
    assert task.data.keys() == {"images"} and task.num_examples == 40
    rows = labelled.choose(quarters, 8, 0)
    unseen = np.delete(quarters.train.images, rows, axis=0)
    np.testing.assert_array_equal(task.data["images"], unseen)
    alone = ss.make_task(config("mlp_labels_only"))
    np.testing.assert_array_equal(alone.data["images"], quarters.train.images[rows])
    np.testing.assert_array_equal(alone.data["labels"], quarters.train.labels[rows])


def test_unlabelled_images_are_binarised_anew_at_every_step(quarters):
    task = ss.make_task(config())
    rows = {"images": task.data["images"][:7]}
    (one,), (two,) = (task.batch(jax.random.key(i), rows) for i in (0, 1))
    assert set(np.unique(one)) == {0, 1} and not np.array_equal(one, two)


@pytest.mark.parametrize("variant", ["mlp", "mlp_labels_only"])
def test_a_whole_run_classifies(variant, quarters, tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "plot_curves", lambda *args: None)
    confusion, usage, is_m2 = [], [], variant == "mlp"
    monkeypatch.setattr(
        plots, "plot_confusion", lambda true, predicted, *_: confusion.append(predicted)
    )
    monkeypatch.setattr(plots, "plot_style_usage", lambda kl, *_: usage.append(kl))
    tiny = config(variant)
    result = train.train(ss.make_task(tiny), tiny, tmp_path, announce=lambda _: None)
    assert json.loads((tmp_path / "result.json").read_text()) == result
    for split in ("valid", "test"):
        assert result[split]["accuracy"] > 0.95
        assert np.isfinite(result[split]["nll"])
        assert ("styles_used" in result[split]) == is_m2
    right = (np.asarray(confusion[0]) == quarters.valid.labels).mean()
    assert right == pytest.approx(result["valid"]["accuracy"])
    if is_m2:
        assert result["valid"]["styles_used"] == (usage[0] > m2_report.USED).sum()
    lines = read_metrics(tmp_path / "metrics.jsonl")
    best = max(lines, key=lambda line: line.get("valid_accuracy", 0))
    assert result["best_step"] == best["step"]
    assert ("supervised" in lines[-1]) == is_m2
    names = {p.name for p in (tmp_path / "figures").iterdir()}
    assert names == ({"samples.png"} if is_m2 else set())
    if not is_m2:
        # What a classifier that knows nothing has: log 4 nats.
        assert result["test"]["nll"] < 0.5 * np.log(4)
        assert result["test"]["nll"] == pytest.approx(result["test"]["nll_1"])


def test_accuracy_is_of_grey_images_where_pixels_are_drawn(quarters):
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, quarters.valid.images.shape, np.uint8)
    right = {}
    for kind in ("dynamic", "threshold"):
        dataset = dataclasses.replace(
            quarters, valid=datasets.Split(images, quarters.valid.labels)
        )
        task = ss.task_of(config(dataset__binarization=kind), dataset)
        params = jax.tree.map(
            lambda p: jnp.asarray(np.random.default_rng(4).normal(size=p.shape)),
            jax.eval_shape(task.init, jax.random.key(0)),
        )
        right[kind] = task.measure(params, "valid")["accuracy"]
    by_hand = ByHand(params)
    for kind, x in (("dynamic", images / 255), ("threshold", images >= 128)):
        classes = by_hand.log_q(np.float64(x)).argmax(axis=1)
        assert right[kind] == pytest.approx((classes == dataset.valid.labels).mean())
    assert right["dynamic"] != right["threshold"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_traces_a_step(variant, quarters):
    made = get_config(variant)
    made.update_from_flattened_dict({"labelled.count": 8, "batch_size": 8})
    train.check_task(ss.make_task(made), made)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("labelled.count", 49, "config.labelled.count=49: must be less, for class"),
        ("alpha", -1.0, "config.alpha=-1.0: must be at least 0"),
        ("model.hidden", (), r"config.model.hidden=\(\): must be"),
        (
            "model.channels",
            (8,),
            r"channels=\(8,\): must be \(\) for config.model.netw",
        ),
    ],
)
def test_impossible_fields(field, value, message, quarters):
    made = config()
    made.update_from_flattened_dict({field: value})
    with pytest.raises(ConfigError, match=message):
        ss.make_task(made)


def test_convolutions_need_channels(quarters):
    made = config("conv", model__channels=())
    with pytest.raises(ConfigError, match=r"channels=\(\): must be at least one for"):
        ss.make_task(made)


def test_unknown_variant():
    with pytest.raises(ValueError, match="'cnn': must be one of mlp, conv, mlp_labels"):
        get_config("cnn")
