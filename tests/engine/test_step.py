import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gumbel
import runs
from experiments import ConfigError, vae
from experiments.data.binarization import dynamic_binarize
from experiments.engine import step
from experiments.engine.batches import batch_indices
from experiments.engine.traced import hyper_parameters

HAND_OPTIMIZERS = {
    "adam": optax.adam,
    "radam": optax.radam,
    "sgd": lambda learning_rate: optax.sgd(learning_rate, momentum=0.9),
    # An L2 penalty on the weights, not on what has one axis.
    "adam with weight decay": lambda learning_rate: optax.chain(
        optax.add_decayed_weights(0.3, mask=lambda p: jax.tree.map(_is_matrix, p)),
        optax.adam(learning_rate),
    ),
}


def _is_matrix(leaf) -> bool:
    return leaf.ndim > 1


@pytest.mark.parametrize("optimizer", HAND_OPTIMIZERS)
def test_chunk_equals_a_loop_written_by_hand(optimizer):
    task = runs.task()
    name, _, decay = optimizer.partition(" with ")
    fields = {"weight_decay": 0.3} if decay else {}
    config = runs.config(estimator="exact", optimizer=name, **fields)
    state, metrics = runs.run_chunk(task, config, 7)

    start = runs.init_state(task, config)
    key = jax.random.fold_in(jax.random.key(config.seed), step.ORDER)
    by_hand = HAND_OPTIMIZERS[optimizer](config.learning_rate)
    params, opt_state, losses = start.params, by_hand.init(start.params), []

    @jax.jit
    def loss_and_grads(params, x):
        return jax.value_and_grad(
            lambda params: -runs.enumerated_bound(params, x).mean()
        )(params)

    by_hand = by_hand._replace(update=jax.jit(by_hand.update))
    for index in batch_indices(key, 0, 7, task.num_examples, config.batch_size):
        x = task.data["images"][index].astype(jnp.float32)
        loss, grads = loss_and_grads(params, x)
        updates, opt_state = by_hand.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        losses.append(loss)
    for name, expected in params.items():
        np.testing.assert_allclose(state.params[name], expected, rtol=2e-4, atol=2e-5)
    assert np.abs(state.params["prior"] - start.params["prior"]).max() > 0.05
    assert metrics["objective"] == pytest.approx(-np.mean(losses), rel=1e-5)
    assert state.step == 7


def test_chunk_does_not_depend_on_where_chunks_begin():
    task, config = runs.task(), runs.config(estimator="exact")
    whole, _ = runs.run_chunk(task, config, 4)
    state, hyper = runs.init_state(task, config), hyper_parameters(config)
    chunk = step.make_train_chunk(task, config, 2)
    for _ in range(2):
        state, _ = chunk(state, hyper, dict(task.data))
    for name, expected in whole.params.items():
        assert np.array_equal(state.params[name], expected)


def test_step_estimates_at_the_temperature_of_its_step():
    task, config = runs.task(), runs.config()
    state = runs.init_state(task, config).replace(step=jnp.asarray(7, jnp.int32))
    index = jnp.arange(8)
    hyper = hyper_parameters(config)
    train_step = jax.jit(step.make_train_step(task, config))
    _, metrics = train_step(state, index, hyper, task.data)
    temperature = np.exp(-0.05 * 6)
    assert metrics["temperature"] == pytest.approx(temperature, rel=1e-6)

    estimate = gumbel.value_and_grad("gumbel_softmax", runs.program)

    @jax.jit
    def objective(temperature):
        _, key = jax.random.split(jax.random.fold_in(jax.random.key(0), 7))
        x = task.data["images"][:8].astype(jnp.float32)
        hyper = {"temperature": temperature, "kl": config.objective}
        return estimate(key, state.params, x, **hyper).bound.mean()

    bound, other = objective(temperature), objective(1.0)
    assert metrics["objective"] == pytest.approx(float(bound), rel=1e-6)
    assert abs(bound - other) > 1e-3


def test_what_is_traced_does_not_retrace():
    program, traces = runs.counting(runs.program)
    task = runs.task(program)
    config = runs.config(estimator="st_gumbel_softmax")
    chunk = step.make_train_chunk(task, config, 5)
    objectives = set()
    for field in (
        {},
        {"temperature": 0.7},
        {"learning_rate": 0.3},
        {"seed": 5},
        {"schedule__minimum": 0.9, "schedule__rate": 0.5, "schedule__every": 2},
    ):
        other = runs.config(estimator="st_gumbel_softmax", **field)
        state, hyper = runs.init_state(task, other), hyper_parameters(other)
        before = len(traces)
        _, metrics = chunk(state, hyper, dict(task.data))
        assert (len(traces) > before) == (not field)
        objectives.add(float(metrics["objective"]))
    assert len(objectives) == 5


def test_encoder_and_likelihood_see_the_same_binary_pixels(monkeypatch):
    seen = {}

    class Spy:
        layer_names = ("z",)

        def apply(self, params, *args, method):
            if method == "encode":
                seen["encoder"] = args[0]
                return args[0] @ params["encoder"]
            if method == "decode":
                return args[0] @ params["decoder"]
            return params["prior"]

    def likelihood(logits, pixels):
        seen["likelihood"] = pixels
        return (logits * pixels).sum(axis=1)

    monkeypatch.setattr(vae, "bernoulli_log_likelihood", likelihood)
    program = vae.make_program(Spy(), vae.FAMILIES["bernoulli"])

    def batch(key, rows):
        seen["batch"] = dynamic_binarize(key, rows["images"])
        return (seen["batch"],)

    shapes = {"encoder": (5, 3), "decoder": (3, 5), "prior": (3,)}
    task = dataclasses.replace(
        runs.task(program),
        init=lambda key: {name: jnp.ones(shape) for name, shape in shapes.items()},
        batch=batch,
    )
    step.check_task(task, runs.config())  # traces a step
    assert seen["encoder"] is seen["likelihood"] is seen["batch"]


def test_dynamic_pixels_are_binary_and_drawn_anew_at_every_step():
    def program(params, x):
        return lambda draw: (x * params["ones"]).sum(axis=1)

    grey = np.random.default_rng(2).integers(0, 256, (8, 40), np.uint8)
    task = dataclasses.replace(
        runs.task(program),
        init=lambda key: {"ones": jnp.ones((1, 40))},
        data={"images": jnp.asarray(grey)},
        batch=lambda key, rows: (dynamic_binarize(key, rows["images"]),),
    )
    config = runs.config()
    state, hyper = runs.init_state(task, config), hyper_parameters(config)
    train_step = jax.jit(step.make_train_step(task, config))
    ones = []
    for t in (0, 1):
        state = state.replace(step=jnp.asarray(t, jnp.int32))
        _, metrics = train_step(state, jnp.arange(8), hyper, task.data)
        ones.append(8 * float(metrics["objective"]))
    assert ones[0] != ones[1]
    assert all(count == int(count) for count in ones)


def test_check_task_says_what_cannot_run_without_compiling():
    task = runs.task()
    config = runs.config(batch_size=25)
    hyper = hyper_parameters(config)
    jax.block_until_ready(hyper)
    with runs.counting_compilations() as compiled:
        with pytest.raises(ConfigError, match=r"batch_size=25: .* at most the 24 "):
            step.check_task(task, config)
        with pytest.raises(ConfigError, match="9 joint .* 6 samples: must be at"):
            step.check_task(task, runs.config(estimator="exact", num_samples=6))
        step.check_task(task, runs.config(estimator="exact", num_samples=2))
    assert not compiled


def test_best_parameters_are_kept_until_a_better_bound():
    state = runs.init_state(runs.task(), runs.config())
    bests = []
    for t, nll in enumerate([5.0, 3.0, 4.0, 3.0, float("nan")], start=1):
        params = jax.tree.map(lambda x, t=t: jnp.full_like(x, t), state.params)
        state = state.replace(params=params, step=jnp.asarray(t, jnp.int32))
        state = step.keep_best(state, nll)
        assert state.best_step == state.best_params["prior"][0, 0]
        assert state.params["prior"][0, 0] == t
        bests.append((float(state.best_nll), int(state.best_step)))
    assert bests == [(5.0, 1), (3.0, 2), (3.0, 2), (3.0, 2), (3.0, 2)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_largest_magnitude_is_finite_only_if_all_is(bad):
    tree = {"a": jnp.asarray([1.0, -7.5]), "b": (jnp.asarray(9), jnp.zeros((2, 2)))}
    assert step.largest_magnitude(tree) == 7.5
    tree["b"] = (tree["b"][0], tree["b"][1].at[1, 0].set(bad))
    assert not np.isfinite(step.largest_magnitude(tree))


def test_slope_rises_with_the_epoch_and_reaches_the_estimator():
    task = runs.task()  # three batches of eight an epoch
    config = runs.config(estimator="slope_annealed_st", slope__rate=0.5)
    hyper = hyper_parameters(config)
    train_step = jax.jit(step.make_train_step(task, config))
    state, index = runs.init_state(task, config), jnp.arange(8)
    for at, slope in ((0, 1.0), (2, 1.0), (3, 1.5), (7, 2.0), (300, 5.0)):
        moved = state.replace(step=jnp.asarray(at, jnp.int32))
        new, metrics = train_step(moved, index, hyper, task.data)
        assert metrics["slope"] == pytest.approx(slope)
    flat = hyper | {"slope": {"rate": jnp.zeros(()), "maximum": jnp.ones(())}}
    unsloped, _ = train_step(moved, index, flat, task.data)
    assert (new.params["encoder"] != unsloped.params["encoder"]).any()


def test_options_reach_the_estimator_and_its_state_is_carried():
    task = runs.task()
    config = runs.config(estimator="nvil", options__baseline_decay=0.5)
    state, _ = runs.run_chunk(task, config, 3)
    frozen = runs.config(estimator="nvil", options__baseline_decay=1.0)
    still, _ = runs.run_chunk(task, frozen, 3)
    assert state.estimator_state["z"].moments.mean < -0.1
    assert still.estimator_state["z"].moments.mean == 0.0
