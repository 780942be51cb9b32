"""The networks of the benchmark: Flax, PyTorch and the project compute the same."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
from experiments import semi_supervised
from experiments.data import datasets
from experiments.engine.step import init_state
from gumbel import samplers
from scripts.benchmarks import networks, plain

# Of 200H~784V one with several samples.
NAMES = [n for n in networks.NETWORKS if not n.endswith(("m = 1", "m = 50"))]
BATCH = 4


def inputs(start, seed=0):
    """Binary images and the noise of a step, the same for every sample."""
    rng, model = np.random.default_rng(seed), plain.make(start)[0]
    x = np.float32(rng.integers(0, 2, (BATCH, start.images.shape[1])))
    shapes = jax.eval_shape(lambda: model.noise(jax.random.key(0), BATCH))
    drawn = {}  # by shape: two draws of the same shape have the same noise
    for shape in (array.shape for array in shapes):
        own = shape[1:] if len(shape) > 2 else shape  # without the samples
        drawn.setdefault(shape, np.float32(rng.normal(size=own)))
    return x, drawn, [np.broadcast_to(drawn[a.shape], a.shape) for a in shapes]


@pytest.fixture(scope="module")
def loaded(few_digits):
    """Few digits instead of the data set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load", lambda *args: few_digits)
        yield


@pytest.fixture(scope="module", params=NAMES)
def case(request, loaded):
    """A network, its task, its state and what the others start from."""
    network = networks.NETWORKS[request.param]
    task = network.task()
    start = networks.start_of(network, task)
    state = init_state(task, network.config())
    # Away from the start, where priors are uniform.
    leaves, tree = jax.tree.flatten(state.params["params"])
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [
        p + 0.05 * jax.random.normal(k, p.shape)
        for k, p in zip(keys, leaves, strict=True)
    ]
    params = {**state.params, "params": jax.tree.unflatten(tree, moved)}
    prior = params["params"].get("prior")
    start = start._replace(
        layers=networks.layers_of(network, params["params"]),
        prior=None if prior is None else np.asarray(prior),
    )
    return network, task, params, start


def fixed(drawn):
    """A sampler of noise that gives what was drawn, by its shape."""
    return lambda key, shape, *_: jnp.asarray(
        next(a for a in drawn.values() if a.size == math.prod(shape)).reshape(shape)
    )


def test_flax_has_the_bound_and_the_gradient_of_the_project(case, monkeypatch):
    network, task, params, start = case
    x, drawn, noise = inputs(start)
    model, plain_params = plain.make(start)

    def objective(params):
        log_w = model.apply(params, x, *noise)
        return (jax.nn.logsumexp(log_w, axis=0) - np.log(len(log_w))).mean()

    value, grads = jax.jit(jax.value_and_grad(objective))(plain_params)

    for name in ("gumbel_noise", "logistic_noise"):
        monkeypatch.setattr(samplers, name, fixed(drawn))
    monkeypatch.setattr(jax.random, "normal", fixed(drawn))
    config = network.config()
    given = {"temperature": config.temperature, "kl": config.objective}
    given["prior_temperature"] = config.prior_temperature
    estimate = gumbel.value_and_grad(
        config.estimator, task.program, num_samples=config.num_samples
    )
    args = (x,) if task.experiment != "structured_prediction" else np.split(x, 2, 1)
    ours = jax.jit(lambda p: estimate(jax.random.key(0), p, *args, **given))(params)

    np.testing.assert_allclose(value, ours.bound.mean(), rtol=1e-5)
    found = networks.layers_of(network, ours.grads["params"])
    for i, (weights, bias) in enumerate(found):
        other = grads["params"][f"layers_{i}"]
        np.testing.assert_allclose(other["kernel"], weights, rtol=1e-3, atol=1e-5)
        if bias is not None:
            np.testing.assert_allclose(other["bias"], bias, rtol=1e-3, atol=1e-5)
    if start.prior is not None:
        np.testing.assert_allclose(
            grads["params"]["prior"],
            ours.grads["params"]["prior"],
            rtol=1e-3,
            atol=1e-5,
        )


def test_flax_has_the_bound_of_labelled_images(loaded, monkeypatch):
    network = networks.NETWORKS["M2 mlp"]
    task, config = network.task(), network.config()
    start = networks.start_of(network, task)
    params = init_state(task, config).params
    x, drawn, (_, normals) = inputs(start)
    labels = np.arange(BATCH)
    model, plain_params = plain.make(start)
    ours_model = semi_supervised.NETWORKS["mlp"](
        10, config.model.num_styles, config.model.hidden, x.shape[1], None
    )
    monkeypatch.setattr(jax.random, "normal", fixed(drawn))
    run = task.program(params, x, labels)
    bound, _ = gumbel.programs.interpret(
        run, jax.random.key(0), gumbel.programs.hard(config.objective)
    )
    log_q = semi_supervised.class_log_prob(ours_model, params, x, labels)
    found = model.apply(plain_params, x, labels, normals, method="labelled")
    np.testing.assert_allclose(found, bound + config.alpha * log_q, rtol=1e-5)


def test_pytorch_has_the_bound_and_the_gradient_of_flax(case):
    torch = pytest.importorskip("torch")
    from scripts.benchmarks import pytorch_networks

    *_, start = case
    x, _, noise = inputs(start)
    model, params = plain.make(start)
    loss = jax.jit(jax.value_and_grad(lambda p: model.apply(p, x, *noise).mean()))
    value, grads = loss(params)
    network = pytorch_networks.NETWORKS[start.settings["network"]](start)
    found = network(*(torch.tensor(np.array(a)) for a in (x, *noise))).mean()
    found.backward()
    np.testing.assert_allclose(found.item(), value, rtol=1e-5)
    for i, layer in enumerate(network.layers):
        other = grads["params"][f"layers_{i}"]["kernel"]
        np.testing.assert_allclose(layer.weight.grad.T, other, rtol=1e-3, atol=1e-5)


def test_a_start_is_read_as_it_was_written(case, tmp_path):
    from scripts.benchmarks.start import load

    *_, start = case
    start.save(tmp_path / "start.npz")
    again = load(tmp_path / "start.npz")
    assert again.settings == start.settings
    for ours, theirs in zip(
        jax.tree.leaves(start), jax.tree.leaves(again), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_batches_are_those_of_the_config(case):
    network, *_, start = case
    images, *labelled = next(start.batches())
    config = network.config()
    assert images.shape == (config.batch_size, 784)
    assert (images.dtype, bool(labelled)) == (np.uint8, "labelled" in config)
    if labelled:
        pictures, labels = labelled
        assert pictures.shape == (config.labelled.batch_size, 784)
        assert labels.shape == (config.labelled.batch_size,)
