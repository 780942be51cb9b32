"""The benchmark: what it runs, at a tiny budget, and what it keeps."""

import importlib.util
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
import runs
from experiments.engine import run_directory
from experiments.engine.step import init_state
from experiments.reproduction import other_tables
from gumbel import samplers
from scripts import benchmark
from scripts.benchmarks import (
    clock,
    components,
    evaluation,
    gpu,
    marginalisation,
    training,
)

LINEAR = "784-(20×10)-784"


def test_the_products_of_a_linear_vae(digits):
    # Two forward; backward of the weights of both layers, and of the code.
    network = training.NETWORKS[LINEAR]
    shapes = training.products(network.task(), network.config())
    assert len(shapes) == 5
    for left, right, ((over, _), _) in shapes:
        contracted = math.prod(left[axis] for axis in over)
        # Pairs of numbers that are multiplied: 100 images, 784 pixels, 200 units.
        assert math.prod(left) * math.prod(right) / contracted == 100 * 784 * 200


def test_the_floor_moves_parameters_and_moments_and_multiplies(digits):
    network = training.NETWORKS[LINEAR]
    task, config = network.task(), network.config()
    operands, moved, results = training.floor(task, config, 3)()
    kernel = init_state(task, config).params["params"]["encoder"]["Dense_0"]["kernel"]
    for tree in moved:
        leaves = [x for x in jax.tree.leaves(tree) if x.shape == kernel.shape]
        np.testing.assert_allclose(leaves[0], kernel + 3e-9, atol=1e-9)
    # The last results are those of the operands as they are now.
    for (left, right), result, (*_, ((over_left, over_right), _)) in zip(
        operands, results, training.products(task, config), strict=True
    ):
        expected = jnp.tensordot(left, right, (over_left, over_right))
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-3)


@pytest.fixture
def tiny(digits, monkeypatch):
    """Two steps a turn, two samples, and no start-up."""
    tiny = training.Network("vae", "categorical", steps=2)
    monkeypatch.setattr(training, "NETWORKS", {LINEAR: tiny})
    monkeypatch.setattr(training, "REPEATS", 1)
    for name, value in {"IMAGES": 4, "SAMPLES": 50, "REPEATS": 1}.items():
        monkeypatch.setattr(evaluation, name, value)
    monkeypatch.setattr(training, "start_up", lambda: {"--help": 0.1})


def test_training_is_timed_and_written_in_a_file_of_the_processor(
    tiny, tmp_path, monkeypatch, capsys
):
    machine = {"cpu": "A (R) Processor", "cores": 2, "load": 0.5}
    monkeypatch.setattr(training, "machine", lambda: machine)
    code, out, err = runs.call_script(
        benchmark, capsys, "training", str(tmp_path), "--full"
    )
    assert (code, err) == (0, "")
    (path,) = tmp_path.iterdir()
    assert path.name == f"a-r-processor-2-cores-jax-{jax.__version__}.json"
    values = json.loads(path.read_text())
    (network,) = values["networks"]
    assert network["name"] == LINEAR
    seconds = values["evaluation"]["seconds"]
    assert {"this project", "products alone"} <= set(seconds)
    assert min(seconds.values()) > 0
    assert {training.OURS, training.FLOOR} <= set(network["milliseconds"])
    assert all(value > 0 for value in network["milliseconds"].values())
    assert network["compile_seconds"][training.OURS] > 0
    assert other_tables.training_table(values) in out


def test_a_gpu_owner_gets_one_file(digits, results, tmp_path, monkeypatch, capsys):
    tiny = training.Network("vae", "categorical", steps=2)
    few = ("gumbel_softmax", "vimco")
    for name, value in {
        "LINEAR": tiny,
        "NETWORKS": {LINEAR: tiny},
        "HAS_PYTORCH": False,
        **{"TOGETHER": 2, "REPEATS": 1, "SAMPLES": 3, "IMAGES": 4},
        **{"PRECISIONS": ("highest",), "PRECISION_STEPS": 2, "BUDGET": "smoke"},
    }.items():
        monkeypatch.setattr(gpu, name, value)
    every = gumbel.estimators.ESTIMATORS
    chosen = {name: every[name] for name in few}
    monkeypatch.setattr(gumbel.estimators, "ESTIMATORS", chosen)
    monkeypatch.setattr(run_directory, "REPOSITORY", tmp_path)
    folder = tmp_path / "out"
    code, out, err = runs.call_script(benchmark, capsys, "gpu", str(folder))
    assert (code, err) == (0, "")
    values = json.loads((folder / "cpu.json").read_text())
    rates = values["networks"][0]["steps_per_second"]
    assert set(rates) == {"alone", "together"} and min(rates.values()) > 0
    assert set(values["estimators"]) == set(few)
    assert [row["precision"] for row in values["precision"]] == ["highest"]
    assert len(list(results.glob("jang_table1/smoke/*.json"))) == 2  # the seeds
    assert other_tables.gpu_table(values) in out


@pytest.mark.parametrize("name", ["noise", "categorical", "likelihood", "one_hot"])
def test_components_are_timed_beside_what_they_replace(name, monkeypatch, capsys):
    def time_in_turns(functions, *args):
        ours, *others = (jax.tree.leaves(f(*args)) for f in functions.values())
        for value, *rest in zip(ours, *others, strict=True):
            assert np.isfinite(value).all()
            for other in rest if name in ("likelihood", "one_hot") else ():
                np.testing.assert_allclose(value, other, rtol=1e-4, atol=1e-6)
        return {}, dict(zip(functions, (2e-4, 1e-4, 1e-4), strict=False))

    monkeypatch.setattr(clock, "time_in_turns", time_in_turns)
    monkeypatch.setattr(components, "DRAWS", 2)
    monkeypatch.setattr(components, "IMAGES", (4, 784))
    monkeypatch.setattr(components, "ROWS", 4)
    code, out, _ = runs.call_script(benchmark, capsys, name)
    assert code == 0 and " | 1.00 |" in out and " | 0.50 |" in out


def test_random_labels_are_of_every_class_and_leave_the_images(digits):
    made = marginalisation.with_random_labels(digits, 5)
    assert made.num_classes == 5
    for split in ("train", "valid", "test"):
        ours, theirs = getattr(made, split), getattr(digits, split)
        assert ours.images is theirs.images
        assert np.bincount(ours.labels, minlength=5).min() > 0.15 * len(theirs.labels)


def test_mistakes_are_one_line(capsys, tmp_path):
    for arguments in ([], ["noise", str(tmp_path)], ["training", "a", "b"], ["speed"]):
        outcome = runs.call_script(benchmark, capsys, *arguments)
        runs.assert_refused(outcome, "arguments: must be noise, categorical, ")


def fixed(noise):
    """A sampler that gives the noise, by its size."""
    return lambda key, shape, *_: jnp.asarray(
        next(a for a in noise if a.size == math.prod(shape)).reshape(shape)
    )


def compare_pytorch(name, monkeypatch):
    """Bound and gradient in PyTorch are those of the project, for the same noise."""
    import torch

    from scripts.benchmarks import pytorch

    network = training.NETWORKS[name]
    task, config = network.task(), network.config()
    params = init_state(task, config).params
    model, rng = pytorch.make_model(task, config), np.random.default_rng(0)
    x = np.float32(rng.integers(0, 2, (4, 784)))
    # The same for every sample, so that ours may draw them in any order.
    shapes = [tensor.shape for tensor in model.noise(4)]
    noise = [np.float32(rng.normal(size=s[1:] if len(s) > 2 else s)) for s in shapes]
    tensors = [
        torch.tensor(np.broadcast_to(a, s).copy())
        for a, s in zip(noise, shapes, strict=True)
    ]
    log_w = model(torch.tensor(x), *tensors)
    value = (log_w.logsumexp(0) - np.log(len(log_w))).mean()
    value.backward()
    for sampler in ("gumbel_noise", "logistic_noise"):
        monkeypatch.setattr(samplers, sampler, fixed(noise))
    monkeypatch.setattr(jax.random, "normal", fixed(noise))
    estimate = gumbel.value_and_grad(
        config.estimator, task.program, num_samples=config.num_samples
    )
    options = {"temperature": config.temperature, "kl": config.objective}
    options["prior_temperature"] = config.prior_temperature
    ours = jax.jit(lambda p: estimate(jax.random.key(0), p, x, **options))(params)
    np.testing.assert_allclose(value.item(), ours.bound.mean(), rtol=1e-5)
    for name, part in model.named_children():
        gradients = pytorch.dense_layers(ours.grads["params"][name])
        for layer, gradient in zip(part, gradients, strict=True):
            if hasattr(layer, "weight"):
                expected = gradient.weight.detach()
                torch.testing.assert_close(
                    layer.weight.grad, expected, rtol=1e-3, atol=1e-5
                )


if importlib.util.find_spec("torch"):

    @pytest.mark.parametrize("name", [LINEAR, "200H~784V, m = 5", "M2 mlp"])
    def test_pytorch_has_the_bound_and_the_gradient(digits, name, monkeypatch):
        compare_pytorch(name, monkeypatch)

    def test_pytorch_evaluates_the_same_bound(digits):
        from scripts.benchmarks import pytorch

        network = training.NETWORKS[LINEAR]
        task, config = network.task(), network.config()
        theirs = np.asarray(pytorch.evaluation(task, config, 50, 50, 50)())
        bounds = [
            gumbel.evaluate(task.program, num_samples=50)(
                jax.random.key(seed),
                init_state(task, config).params,
                task.evaluation["test"][0][:50],
            )
            for seed in range(4)
        ]
        error = np.std(bounds, axis=0).mean() / np.sqrt(50) * 1.2
        assert abs(theirs.mean() - np.mean(bounds)) < 5 * error
        assert abs(theirs.mean() + 1 - np.mean(bounds)) > 5 * error

    @pytest.mark.parametrize("name", [LINEAR, "M2 mlp"])
    def test_pytorch_gets_better(digits, name):
        from scripts.benchmarks import pytorch

        network = training.NETWORKS[name]
        one_step = pytorch.training(
            network.task(), network.config(), 1, is_compiled=False
        )
        losses = np.array([float(one_step()) for _ in range(300)])
        first, last = losses[:20], losses[-20:]
        error = np.sqrt((first.var() + last.var()) / 20)
        assert first.mean() - last.mean() > 5 * error
