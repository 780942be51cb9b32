"""A training step as a pure function, and the state it maps to the next.

Everything that a step depends on is in the state or is traced, so a checkpoint of the
state is enough to continue to the bit, and a sweep over what is traced compiles once.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

import gumbel
from experiments import ConfigError
from experiments.engine.batches import batch_indices
from experiments.engine.task import Task
from experiments.engine.traced import estimator_hyper, hyper_parameters, static_options

# Without the learning rate, which is traced and applied in the step.
OPTIMIZERS: Mapping[str, Callable[[], optax.GradientTransformation]] = {
    "adam": optax.scale_by_adam,
    "radam": optax.scale_by_radam,
    "sgd": lambda: optax.trace(decay=0.9),
}


# What the root key is folded with for anything but a step, and for TRACK and SUPERVISE
# the key of a step's noise; far above any step or sample.
ORDER, INIT, EVALUATE, DRAW, TRACK, SUPERVISE = (2**32 - 1 - i for i in range(6))


@struct.dataclass
class TrainState:
    """All that the rest of a run depends on.

    `key` is the root of the noise and never advances: step t uses fold_in(key, t).
    `best_nll` is what the task chooses by, for most the validation nll.
    """

    step: jax.Array
    params: Any
    opt_state: Any
    key: jax.Array
    estimator_state: Any
    best_params: Any
    best_nll: jax.Array
    best_step: jax.Array


def make_train_step(task: Task, config) -> Callable:
    """Makes (state, index [B], hyper, data) -> (state, metrics)."""
    optimizer = OPTIMIZERS[config.optimizer]()
    estimate = gumbel.value_and_grad(
        config.estimator, task.program, num_samples=config.num_samples
    )
    steps_per_epoch = task.num_examples // config.batch_size

    def train_step(state: TrainState, index, hyper, data):
        batch_key, noise_key = jax.random.split(
            jax.random.fold_in(state.key, state.step)
        )
        args = task.batch(batch_key, jax.tree.map(lambda rows: rows[index], data))
        given = estimator_hyper(config.estimator, hyper, state.step, steps_per_epoch)
        bound, grads, estimator_state = estimate(
            noise_key,
            state.params,
            *args,
            state=state.estimator_state,
            kl=config.objective,
            **static_options(config),
            **given,
        )
        metrics = {"objective": bound.mean()}
        if task.supervised is not None:
            supervise_key = jax.random.fold_in(noise_key, SUPERVISE)
            metrics["supervised"], more = jax.value_and_grad(
                task.supervised, argnums=1
            )(supervise_key, state.params)
            grads = jax.tree.map(jnp.add, grads, more)
        # Optimisers descend; the bound is to rise, and an L2 penalty to fall. It spares
        # the biases: those of the pixels start at the logit of their means.
        decay = hyper["weight_decay"]
        grads = jax.tree.map(
            lambda g, p: decay * p - g if p.ndim > 1 else -g, grads, state.params
        )
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        updates = jax.tree.map(lambda u: -hyper["learning_rate"] * u, updates)
        # What is tracked has a gradient of 0 and hence no update, nor weight decay.
        track_key = jax.random.fold_in(noise_key, TRACK)
        tracked = task.track(track_key, state.params, *args)
        new_state = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(tracked, updates),
            opt_state=opt_state,
            estimator_state=estimator_state,
        )
        shown = {k: v for k, v in given.items() if k in ("temperature", "slope")}
        return new_state, metrics | shown

    return train_step


def make_train_chunk(task: Task, config, num_steps: int) -> Callable:
    """Makes the compiled (state, hyper, data) -> (state, metrics of the chunk).

    The metrics are means over the steps, and `state_max`, the largest magnitude in the
    new state: the last step's metrics say nothing of the parameters it leaves behind.
    """
    train_step = make_train_step(task, config)

    def train_chunk(state: TrainState, hyper, data):
        order_key = jax.random.fold_in(state.key, ORDER)
        indices = batch_indices(
            order_key, state.step, num_steps, task.num_examples, config.batch_size
        )
        state, metrics = jax.lax.scan(
            lambda state, index: train_step(state, index, hyper, data), state, indices
        )
        trained = (state.params, state.opt_state, state.estimator_state)
        metrics = jax.tree.map(jnp.mean, metrics)
        return state, metrics | {"state_max": largest_magnitude(trained)}

    return jax.jit(train_chunk, donate_argnums=0)


def largest_magnitude(tree) -> jax.Array:
    """The largest |x| of the floats in a pytree; not finite if any of them is not."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.stack([jnp.abs(leaf).max() for leaf in leaves]).max()


def init_state(task: Task, config) -> TrainState:
    """The state before the first step."""
    return seeded_state(jax.random.key(config.seed), task, config)


def seeded_state(key, task: Task, config) -> TrainState:
    """The state before the first step from its root key, which a seed stands for."""
    params_key, batch_key, estimator_key = jax.random.split(
        jax.random.fold_in(key, INIT), 3
    )
    params = task.init(params_key)
    rows = jax.tree.map(lambda rows: rows[: config.batch_size], dict(task.data))
    args = task.batch(batch_key, rows)
    estimate = gumbel.value_and_grad(
        config.estimator, task.program, num_samples=config.num_samples
    )
    hyper = {"kl": config.objective, **static_options(config)}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=OPTIMIZERS[config.optimizer]().init(params),
        key=key,
        estimator_state=estimate.init(estimator_key, params, *args, **hyper),
        # A copy: the state is donated, and no buffer can be given away twice.
        best_params=jax.tree.map(jnp.copy, params),
        best_nll=jnp.asarray(jnp.inf, jnp.float32),
        best_step=jnp.zeros((), jnp.int32),
    )


def check_task(task: Task, config) -> None:
    """Traces a step without compiling it, so that what cannot run is said at once.

    Raises:
        ConfigError: if the batch is larger than the data, or the estimator cannot
            run the program.
    """
    if config.batch_size > task.num_examples:
        raise ConfigError(
            f"config.batch_size={config.batch_size}: must be at most the "
            f"{task.num_examples} training examples"
        )

    def step(hyper, data):
        index = jnp.zeros(config.batch_size, jnp.int32)
        return make_train_step(task, config)(
            init_state(task, config), index, hyper, data
        )

    try:
        jax.eval_shape(step, hyper_parameters(config), dict(task.data))
    except ValueError as error:
        raise ConfigError(str(error)) from error


@jax.jit
def keep_best(state: TrainState, nll) -> TrainState:
    """Keeps the parameters if their number, of Task.choose_by, is the least so far."""
    better = nll < state.best_nll

    def choose(new, old):
        return jnp.where(better, new, old)

    return state.replace(
        best_params=jax.tree.map(choose, state.params, state.best_params),
        best_nll=choose(nll, state.best_nll),
        best_step=choose(state.step, state.best_step),
    )
