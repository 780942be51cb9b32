"""Training steps and evaluations of this project, as its own loop compiles them."""

import functools
import time
from collections.abc import Callable

import jax

from experiments.engine.evaluation import Evaluator
from experiments.engine.step import EVALUATE, init_state, make_train_chunk
from scripts.benchmarks.networks import Network

SAMPLES = 1000


def training(network: Network) -> Callable[[], dict[str, jax.Array]]:
    """Makes the function that goes on training for a turn of steps, one call."""
    task, config = network.task(), network.config()
    # Each call gives its state to the next: it is donated.
    state, data = init_state(task, config), dict(task.data)
    chunk = jax.jit(make_train_chunk(task, config, network.steps), donate_argnums=0)

    def go_on():
        nonlocal state
        state, metrics = chunk(state, data)
        return jax.block_until_ready(metrics)

    return go_on


def evaluation_seconds(network: Network) -> float:
    """Seconds that L_1000 over the test set takes, at the first parameters."""
    task, config = network.task(), network.config()
    state = init_state(task, config)
    key = jax.random.fold_in(state.key, EVALUATE)
    size = config.eval_batch_size
    few = {"test": tuple(array[:size] for array in task.evaluation["test"])}
    make = functools.partial(Evaluator, task.program, batch_size=size, key=key)
    make(few)(state.params, "test", SAMPLES)  # compiles
    started = time.perf_counter()
    make(task.evaluation)(state.params, "test", SAMPLES)
    return time.perf_counter() - started
