"""A training step as a pure function of the state.

Everything that a step depends on is a static field of the config or in the state. So a
checkpoint of the state is enough to continue to the bit, and runs that differ in traced
fields only share one compilation.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh
from ml_collections import FrozenConfigDict

import gumbel
from experiments import ConfigError
from experiments.engine.batches import batch_indices
from experiments.engine.devices import whole
from experiments.engine.hyper import (
    hyper_parameters,
    network_hyper,
    static_fields,
    static_options,
    temperature_schedule,
)
from experiments.engine.optimizer import make_optimizer, optimizer_hyper
from experiments.engine.task import Task

# What the root key is folded with for anything but a step, and for TRACK and SUPERVISE
# the key of a step's noise; far above any step or sample.
ORDER, INIT, EVALUATE, PLOT, TRACK, SUPERVISE = (2**32 - 1 - i for i in range(6))


@struct.dataclass
class TrainState:
    """Everything that the rest of a run depends on.

    Attributes:
        step: the number of steps taken.
        params: all variables of the model.
        opt_state: of the optimiser, its traced hyper-parameters included.
        key: the root of the noise, which never changes: step t uses fold_in(key, t).
        estimator_state: of the gradient estimator.
        hyper: the traced fields of the config that the estimator depends on.
        best_params: the parameters with the lowest score of all validations.
        best_score: the number that the task chooses by, for most the validation nll.
        best_step: the step of the best parameters.
    """

    step: jax.Array
    params: Any
    opt_state: Any
    key: jax.Array
    estimator_state: Any
    hyper: Mapping[str, Any]
    best_params: Any
    best_score: jax.Array
    best_step: jax.Array


def make_train_step(task: Task, config) -> Callable:
    """Makes (state, rows) -> (state, metrics), rows a batch of the task's data.

    Args:
        task: what to train.
        config: of the run; its static fields are read.
    """
    estimate = gumbel.value_and_grad(
        config.estimator, task.program, num_samples=config.num_samples
    )

    def train_step(state: TrainState, rows):
        batch_key, noise_key = jax.random.split(
            jax.random.fold_in(state.key, state.step)
        )
        args = task.batch(batch_key, rows)
        annealed = {
            "temperature": temperature_schedule(state.hyper)(state.step),
            **network_hyper(config, task.num_examples, state.step, state.hyper),
        }
        bound, grads, estimator_state = estimate(
            noise_key,
            state.params,
            *args,
            state=state.estimator_state,
            kl=config.objective,
            **static_options(config),
            **state.hyper["options"],
            **annealed,
        )
        metrics = {"objective": bound.mean()}
        if task.supervised is not None:
            supervise_key = jax.random.fold_in(noise_key, SUPERVISE)
            metrics["supervised"], supervised_grads = jax.value_and_grad(
                task.supervised, argnums=1
            )(supervise_key, state.params)
            grads = jax.tree.map(jnp.add, grads, supervised_grads)
        optimizer = make_optimizer(config, state.opt_state.hyperparams)
        # Optimisers descend, and the bound is to rise.
        grads = jax.tree.map(jnp.negative, grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        # What is tracked has a gradient of 0 and hence no update.
        track_key = jax.random.fold_in(noise_key, TRACK)
        tracked = task.track(track_key, state.params, *args)
        new_state = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(tracked, updates),
            opt_state=opt_state,
            estimator_state=estimator_state,
        )
        return new_state, metrics | annealed

    return train_step


def make_train_chunk(task: Task, config, num_steps: int) -> Callable:
    """Makes (state, data) -> (state, metrics), a scan over several steps.

    The metrics are means over the steps, and `state_max`, the largest magnitude in the
    new state: the last step's metrics say nothing of the parameters it leaves behind.
    """
    train_step = make_train_step(task, config)

    def train_chunk(state: TrainState, data):
        order_key = jax.random.fold_in(state.key, ORDER)
        indices = batch_indices(
            order_key, state.step, num_steps, task.num_examples, config.batch_size
        )

        def step(state, index):
            return train_step(state, jax.tree.map(lambda rows: rows[index], data))

        state, metrics = jax.lax.scan(step, state, indices)
        metrics = jax.tree.map(jnp.mean, metrics)
        learned = state.params, state.opt_state.inner_state, state.estimator_state
        return state, metrics | {"state_max": largest_magnitude(learned)}

    return train_chunk


def init_state(task: Task, config, mesh: Mesh | None = None) -> TrainState:
    """The state before the first step.

    Args:
        task: what to train.
        config: of the run.
        mesh: of the devices that hold the whole state each; by default the first one.
    """
    init = _jitted_init(task, static_fields(config), mesh)
    key = jax.random.key(config.seed)
    return init(key, optimizer_hyper(config), hyper_parameters(config))


# One compilation for all runs that differ in traced fields only, as in a sweep.
@functools.lru_cache(maxsize=4)
def _jitted_init(task: Task, config: FrozenConfigDict, mesh: Mesh | None) -> Callable:
    def init(key, optimizer_hyper, hyper) -> TrainState:
        params_key, batch_key, estimator_key = jax.random.split(
            jax.random.fold_in(key, INIT), 3
        )
        params = task.init(params_key)
        rows = jax.tree.map(lambda rows: rows[: config.batch_size], dict(task.data))
        args = task.batch(batch_key, rows)
        estimate = gumbel.value_and_grad(
            config.estimator, task.program, num_samples=config.num_samples
        )
        options = {"kl": config.objective, **static_options(config)}
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt_state=make_optimizer(config, optimizer_hyper).init(params),
            key=key,
            estimator_state=estimate.init(estimator_key, params, *args, **options),
            hyper=hyper,
            # A copy: the state is donated, and no buffer can be given away twice.
            best_params=jax.tree.map(jnp.copy, params),
            best_score=jnp.asarray(jnp.inf, jnp.float32),
            best_step=jnp.zeros((), jnp.int32),
        )

    return jax.jit(init, out_shardings=None if mesh is None else whole(mesh))


def check_task(task: Task, config) -> None:
    """Traces a step without compiling it, to report at once what cannot run.

    Raises:
        ConfigError: if the batch is larger than the data, or the estimator cannot
            run the program.
    """
    if config.batch_size > task.num_examples:
        raise ConfigError(
            f"config.batch_size={config.batch_size}: must be at most the "
            f"{task.num_examples} training examples"
        )

    def step(data):
        rows = jax.tree.map(lambda rows: rows[: config.batch_size], data)
        return make_train_step(task, config)(init_state(task, config), rows)

    try:
        jax.eval_shape(step, dict(task.data))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def keep_best(state: TrainState, score) -> TrainState:
    """Keeps the parameters if their score, of Task.choose_by, is the lowest so far."""
    better = score < state.best_score

    def choose(new, old):
        return jnp.where(better, new, old)

    return state.replace(
        best_params=jax.tree.map(choose, state.params, state.best_params),
        best_score=choose(score, state.best_score),
        best_step=choose(state.step, state.best_step),
    )


def largest_magnitude(tree) -> jax.Array:
    """The largest |x| of the floats in a pytree; not finite if any of them is not."""

    def largest(leaf):
        # XLA's max passes over NaN in large arrays on CPU.
        return jnp.where(jnp.isnan(leaf).any(), jnp.nan, jnp.abs(leaf).max())

    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.stack([largest(leaf) for leaf in leaves]).max()
