"""Times the evaluation of the linear VAE: ours, PyTorch's, and the bare products."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from experiments.engine.recorder import make_evaluator
from experiments.engine.step import init_state
from experiments.engine.task import Task
from experiments.reproduction.other_tables import EAGER, OURS, PRODUCTS
from gumbel.estimate import CHUNK
from scripts.benchmarks.clock import time_in_turns

IMAGES, SAMPLES, REPEATS = 2000, 1000, 3
# Samples that PyTorch draws at once.
CHUNK_OF_PYTORCH = 50


def evaluation(network, has_pytorch: bool) -> dict[str, Any]:
    """Seconds of L_SAMPLES of so many test images, at the first parameters."""
    task, config = network.task(), network.config()
    functions = {OURS: ours(task, config)}
    if has_pytorch:
        from scripts.benchmarks import pytorch

        sizes = IMAGES, SAMPLES, CHUNK_OF_PYTORCH
        functions[EAGER] = pytorch.evaluation(task, config, *sizes)
    functions[PRODUCTS] = products(task, config)
    _, seconds = time_in_turns(functions, repeats=REPEATS)
    return {"images": IMAGES, "samples": SAMPLES, "seconds": seconds}


def ours(task, config) -> Callable[[], Any]:
    """Makes the evaluation as a run does it."""
    state = init_state(task, config)
    evaluate = make_evaluator(with_images(task, IMAGES), config, state)
    return lambda: evaluate(state.params, "test", SAMPLES)


def with_images(task: Task, count: int) -> Task:
    """The task with the first images of each split alone for evaluation."""
    sets = {
        split: tuple(array[:count] for array in arrays)
        for split, arrays in task.evaluation.items()
    }
    return dataclasses.replace(task, evaluation=sets)


def products(task, config) -> Callable[[], Any]:
    """Makes as many products of codes with the decoder's weights."""
    kernel = init_state(task, config).params["params"]["decoder"]["Dense_0"]["kernel"]
    codes = jax.random.normal(
        jax.random.key(0), (CHUNK * config.eval_batch_size, len(kernel))
    )
    count = math.ceil(IMAGES / config.eval_batch_size) * math.ceil(SAMPLES / CHUNK)

    @jax.jit
    def multiply(codes):
        def step(i, carry):
            codes, _ = carry
            # What is the same in every turn would be computed once.
            codes = codes.at[0, 0].set(i.astype(codes.dtype))
            return codes, codes @ kernel

        empty = jnp.zeros((len(codes), kernel.shape[1]))
        return jax.lax.fori_loop(0, count, step, (codes, empty))

    return lambda: multiply(codes)
