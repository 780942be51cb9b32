"""The one training loop: a task and a config in, a described run directory out.

A chunk of steps is one call of a compiled scan: the data set lies on the device,
batches are gathered, binarised and trained on inside it, and the host sees one set of
metrics a chunk. What a sweep may vary (learning rate, temperatures) is traced.
Everything that a step depends on is in the state, and the state is what checkpoints
hold, so a run that was killed continues to the bits it would have ended with.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

import gumbel
from experiments import figures, report
from experiments.checkpoint import Checkpoints
from experiments.configuration import ConfigError
from experiments.data import batch_indices
from experiments.evaluation import Evaluator, bound_summary
from experiments.interrupt import Interrupted, interruptions
from experiments.workdir import claim, versions, write_json

# Without the learning rate, which is traced and applied in the step.
OPTIMIZERS: Mapping[str, Callable[[], optax.GradientTransformation]] = {
    "adam": optax.scale_by_adam,
    "sgd": lambda: optax.trace(decay=0.9),
}


@dataclasses.dataclass(frozen=True)
class Task:
    """What an experiment hands to the loop.

    Attributes:
        experiment: its name.
        program: the stochastic program, trained and evaluated.
        init: key -> parameters.
        data: training arrays with one row an example, on the device.
        batch: (key, rows of data) -> the program's args for one step.
        evaluation: the args for each of "valid" and "test", all examples.
        draw: (params, key, directory) -> None, draws the figures of the model.
        checksum: SHA-256 of the data set.
    """

    experiment: str
    program: gumbel.programs.Program
    init: Callable[[jax.Array], Any]
    data: Mapping[str, jax.Array]
    batch: Callable[[jax.Array, Mapping[str, jax.Array]], tuple]
    evaluation: Mapping[str, tuple[jax.Array, ...]]
    draw: Callable[[Any, jax.Array, Path], None]
    checksum: str

    @property
    def num_examples(self) -> int:
        """The number of training examples."""
        return len(next(iter(self.data.values())))


@struct.dataclass
class TrainState:
    """All that the rest of a run depends on.

    `key` is the root of the noise and never advances: step t uses fold_in(key, t).
    """

    step: jax.Array
    params: Any
    opt_state: Any
    key: jax.Array
    estimator_state: Any
    best_params: Any
    best_nll: jax.Array
    best_step: jax.Array


def hyper_parameters(config) -> dict[str, Any]:
    """The traced fields of a config: changing them never recompiles."""
    hyper = {
        "learning_rate": config.learning_rate,
        "schedule": {"initial": config.temperature, **config.schedule.to_dict()},
    }
    if config.prior_temperature is not None:
        hyper["prior_temperature"] = config.prior_temperature
    return jax.tree.map(jnp.asarray, hyper)


def make_train_step(task: Task, config) -> Callable:
    """Makes (state, index [B], hyper, data) -> (state, metrics)."""
    optimizer = OPTIMIZERS[config.optimizer]()
    estimate = gumbel.value_and_grad(
        config.estimator, task.program, num_samples=config.num_samples
    )

    def train_step(state: TrainState, index, hyper, data):
        batch_key, noise_key = jax.random.split(
            jax.random.fold_in(state.key, state.step)
        )
        args = task.batch(batch_key, jax.tree.map(lambda rows: rows[index], data))
        temperature = gumbel.schedules.exponential(**hyper["schedule"])(state.step)
        bound, grads, estimator_state = estimate(
            noise_key,
            state.params,
            *args,
            state=state.estimator_state,
            temperature=temperature,
            prior_temperature=hyper.get("prior_temperature"),
            kl=config.objective,
        )
        # Optimisers descend; the bound is to rise.
        grads = jax.tree.map(jnp.negative, grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        updates = jax.tree.map(lambda u: -hyper["learning_rate"] * u, updates)
        new_state = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            opt_state=opt_state,
            estimator_state=estimator_state,
        )
        return new_state, {"objective": bound.mean(), "temperature": temperature}

    return train_step


def make_train_chunk(task: Task, config, num_steps: int) -> Callable:
    """Makes the compiled (state, hyper, data) -> (state, mean metrics of the chunk)."""
    train_step = make_train_step(task, config)

    def train_chunk(state: TrainState, hyper, data):
        order_key = jax.random.fold_in(state.key, _ORDER)
        indices = batch_indices(
            order_key, state.step, num_steps, task.num_examples, config.batch_size
        )
        state, metrics = jax.lax.scan(
            lambda state, index: train_step(state, index, hyper, data), state, indices
        )
        return state, jax.tree.map(jnp.mean, metrics)

    return jax.jit(train_chunk, donate_argnums=0)


# Purposes of the root key, far above any step.
_ORDER, _INIT, _EVALUATE, _DRAW = (2**32 - 1 - i for i in range(4))


def init_state(task: Task, config) -> TrainState:
    """The state before the first step."""
    key = jax.random.key(config.seed)
    init_key = jax.random.fold_in(key, _INIT)
    params = task.init(init_key)
    estimator = gumbel.estimators.ESTIMATORS[config.estimator]
    rows = jax.tree.map(lambda rows: rows[: config.batch_size], dict(task.data))
    run = task.program(params, *task.batch(init_key, rows))
    hyper = estimator.complete(config.num_samples, {"kl": config.objective})
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=OPTIMIZERS[config.optimizer]().init(params),
        key=key,
        estimator_state=estimator.init(init_key, run, hyper),
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


def _check_finite(
    step: int, metrics: Mapping[str, float], saved: int, checkpoints: Checkpoints
) -> None:
    for name, value in metrics.items():
        if not np.isfinite(value):
            last = f"step {saved}" if saved else "none"
            raise FloatingPointError(
                f"step {step}: {name} is {value}; last good checkpoint: {last}, "
                f"in {checkpoints.directory}"
            )


@jax.jit
def _keep_best(state: TrainState, nll) -> TrainState:
    """Keeps the parameters if their validation bound is the best so far."""
    better = nll < state.best_nll

    def choose(new, old):
        return jnp.where(better, new, old)

    return state.replace(
        best_params=jax.tree.map(choose, state.params, state.best_params),
        best_nll=choose(nll, state.best_nll),
        best_step=choose(state.step, state.best_step),
    )


def _compile(task: Task, config, num_steps: int, *args) -> Callable:
    return make_train_chunk(task, config, num_steps).lower(*args).compile()


def train(
    task: Task,
    config,
    workdir: Path,
    *,
    tensorboard: bool = False,
    announce: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Trains a task, or continues it, and evaluates its best parameters once.

    Args:
        task: what to train.
        config: the locked config, checked.
        workdir: the run directory; belongs to this config.
        tensorboard: whether to write TensorBoard events too.
        announce: gets a line at the few moments worth one.

    Returns:
        The contents of result.json.

    Raises:
        ConfigError: if the config cannot run.
        WorkdirError: if the directory is another run's.
        FloatingPointError: if a metric is not finite.
        Interrupted: on SIGTERM or Ctrl-C, with the state saved.
    """
    check_task(task, config)
    with (
        claim(workdir, config.to_dict()),
        Checkpoints(workdir / "checkpoints") as checkpoints,
        interruptions() as stopping,
    ):
        result_file = workdir / "result.json"
        if result_file.exists():
            announce(f"this run is complete: {workdir}")
            return json.loads(result_file.read_text())
        write_json(workdir / "versions.json", versions(task.checksum))
        state, step = init_state(task, config), 0
        if restored := checkpoints.restore(state, announce):
            state, step = restored
            announce(f"continuing from step {step} in {workdir}")
        log = report.MetricsLog(workdir, step, tensorboard)
        evaluator = Evaluator(
            task.program,
            task.evaluation,
            config.eval_batch_size,
            jax.random.fold_in(state.key, _EVALUATE),
        )
        try:
            state = _train_loop(
                task, config, state, step, log, evaluator, checkpoints, stopping
            )
            result = _conclude(task, config, state, log, evaluator, workdir, stopping)
        finally:
            log.close()
        write_json(result_file, result)
        return result


def _train_loop(
    task: Task,
    config,
    state: TrainState,
    step: int,
    log: report.MetricsLog,
    evaluator: Evaluator,
    checkpoints: Checkpoints,
    stopping: Callable[[], bool],
) -> TrainState:
    hyper, data = hyper_parameters(config), dict(task.data)
    compiled: dict[int, Callable] = {}
    before, started, saved = log.seconds, time.perf_counter(), step
    with report.progress(config.num_steps, step, task.experiment) as bar:
        while step < config.num_steps:
            length = min(config.log_every, config.num_steps - step)
            if length not in compiled:
                compiled[length] = _compile(task, config, length, state, hyper, data)
            chunk_started = time.perf_counter()
            state, metrics = compiled[length](state, hyper, data)
            metrics = {name: float(value) for name, value in metrics.items()}
            rate = length / (time.perf_counter() - chunk_started)
            step += length
            done = step == config.num_steps
            if done or step % config.eval_every == 0:
                bounds = evaluator(state.params, "valid", config.valid_samples)
                metrics["valid_nll"] = float(-bounds.mean())
                state = _keep_best(state, metrics["valid_nll"])
            _check_finite(step, metrics, saved, checkpoints)
            seconds = before + time.perf_counter() - started
            log.write(
                {"step": step, **metrics, "steps_per_second": rate, "seconds": seconds}
            )
            bar.update(length)
            bar.set_postfix(report.postfix(log.lines))
            if done or stopping() or step % config.checkpoint_every == 0:
                checkpoints.save(state, step)
                saved = step
            if stopping() and not done:
                raise Interrupted(f"stopped at step {step} of {config.num_steps}")
    return state


def _conclude(
    task: Task,
    config,
    state: TrainState,
    log: report.MetricsLog,
    evaluator: Evaluator,
    workdir: Path,
    stopping: Callable[[], bool],
) -> dict[str, Any]:
    """Evaluates the best parameters on validation and, this once, on test."""

    def stop() -> None:
        if stopping():
            raise Interrupted("stopped in the final evaluation, training is complete")

    result = {
        "steps": config.num_steps,
        "seconds": log.seconds,
        "best_step": int(state.best_step),
    }
    for split in ("valid", "test"):
        bounds, bounds_1 = (
            evaluator(state.best_params, split, m, stop)
            for m in (config.eval_samples, 1)
        )
        result[split] = bound_summary(bounds, bounds_1, config.eval_samples)
    directory = workdir / "figures"
    directory.mkdir(exist_ok=True)
    figures.curves(log.lines, directory / "curves.png")
    task.draw(state.best_params, jax.random.fold_in(state.key, _DRAW), directory)
    return result
