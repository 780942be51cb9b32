"""Times what the owner of a GPU wants to know before a long run, in ten minutes."""

import importlib.metadata
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

import gumbel
from experiments.engine.devices import sweep_mesh, whole
from experiments.engine.evaluation import bound_summary
from experiments.engine.hyper import static_fields
from experiments.engine.provenance import versions
from experiments.engine.recorder import make_evaluator
from experiments.engine.run_directory import write_json
from experiments.engine.step import init_state, make_train_chunk
from experiments.engine.together import jitted_chunk, stack_states
from experiments.reproduction import reproduce
from experiments.reproduction.cells import table_cells
from experiments.reproduction.other_tables import gpu_table
from experiments.reproduction.published import TABLES
from scripts.benchmarks.clock import machine, time_in_turns
from scripts.benchmarks.evaluation import with_images
from scripts.benchmarks.training import HAS_PYTORCH, Network, turns

LINEAR = Network("vae", "categorical", steps=1000)
NETWORKS = {
    "784-(20×10)-784": LINEAR,
    "392-(20×10)-(20×10)-392": Network("structured_prediction", "categorical", 1, 1000),
    "200H~784V, m = 1": Network("vae", "200H~784V", 1, 1000),
    "200H~784V, m = 50": Network("vae", "200H~784V", 50, 200),
    "M2 mlp": Network("semi_supervised", "mlp", 1, 500),
    "M2 conv": Network("semi_supervised", "conv", 1, 100),
}
TOGETHER, REPEATS = 30, 3
# Of the bound that evaluation is timed with: samples m of so many images.
SAMPLES, IMAGES = 50_000, 100
PRECISIONS, PRECISION_STEPS = ("highest", "tensorfloat32", "bfloat16"), 5000
# The row of a table, trained as its paper did: ROW-ESTIMATOR and budget.
ROW, BUDGET = "vae-categorical-gumbel_softmax", "paper"


def gpu(out: Path) -> None:
    """Writes a file for this device, part by part, and prints its table."""
    values: dict[str, Any] = {"machine": machine()}
    kind = jax.devices()[0].device_kind.lower()
    path = out / f"{re.sub('[^a-z0-9.]+', '-', kind)}.json"
    out.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Callable[[], Any]] = {
        "networks": networks,
        "estimators": estimators,
        "evaluation": evaluation,
        "precision": precision,
        "row": row,
    }
    for name, measure in parts.items():
        print(f"{name} …", flush=True)
        values[name] = measure()
        values["versions"] = versions(LINEAR.task().checksum)
        if HAS_PYTORCH:
            values["versions"]["torch"] = importlib.metadata.version("torch")
        write_json(path, values)
    print(gpu_table(values))


def networks() -> list[dict[str, Any]]:
    """Steps a second of each network: alone, many runs as one, and in PyTorch."""
    rows = []
    for name, network in NETWORKS.items():
        arguments = network.task(), network.config(), network.steps
        functions = {"alone": turns(*arguments)}
        functions["together"] = together(*arguments)
        if HAS_PYTORCH:
            functions["PyTorch"] = _pytorch(*arguments)
        _, seconds = time_in_turns(functions, repeats=REPEATS)
        count = {"together": TOGETHER}
        rates = {
            key: count.get(key, 1) * network.steps / value
            for key, value in seconds.items()
        }
        rows.append({"name": name, "steps_per_second": rates})
    return rows


def together(task, config, steps: int) -> Callable[[], Any]:
    """Makes what continues TOGETHER runs that differ in their seeds, as one."""
    mesh = sweep_mesh(TOGETHER, config.batch_size)
    states = []
    for seed in range(TOGETHER):
        config.seed = seed
        states.append(init_state(task, config, mesh))
    state = stack_states(states, mesh)
    data = jax.device_put(dict(task.data), whole(mesh))
    chunk = jitted_chunk(task, static_fields(config), steps, mesh)

    def go_on():
        nonlocal state  # donated: each call gives its state to the next
        state, metrics = chunk(state, data)
        return jax.block_until_ready(metrics)

    return go_on


def _pytorch(task, config, steps: int) -> Callable[[], Any]:
    """Makes what continues training in PyTorch, compiled to CUDA graphs."""
    import torch

    from scripts.benchmarks import pytorch

    if torch.cuda.is_available():
        torch.set_default_device("cuda")
    mode = "reduce-overhead"
    return pytorch.training(task, config, steps, is_compiled=True, mode=mode)


def estimators() -> dict[str, float]:
    """Milliseconds a step of the linear categorical VAE with every estimator."""
    task, functions = LINEAR.task(), {}
    for name, entry in gumbel.estimators.ESTIMATORS.items():
        config = LINEAR.config()
        config.estimator = name
        # Too many joint values for `exact`; some need two samples.
        if name != "exact" and "Categorical" in entry.families:
            config.num_samples = entry.samples[0]
            functions[name] = turns(task, config, LINEAR.steps)
    _, seconds = time_in_turns(functions, repeats=REPEATS)
    return {name: 1e3 * value / LINEAR.steps for name, value in seconds.items()}


def _evaluator(config, task, state, count: int) -> Callable[[str, int], Any]:
    evaluate = make_evaluator(with_images(task, count), config, state)
    return lambda split, m: evaluate(state.params, split, m)


def evaluation() -> dict[str, Any]:
    """Seconds that L_SAMPLES of test images takes, at the first parameters."""
    task, config = LINEAR.task(), LINEAR.config()
    evaluate = _evaluator(config, task, init_state(task, config), IMAGES)
    evaluate("test", SAMPLES)  # compiles
    started = time.perf_counter()
    evaluate("test", SAMPLES)
    seconds = time.perf_counter() - started
    return {"samples": SAMPLES, "images": IMAGES, "seconds": seconds}


def precision() -> list[dict[str, Any]]:
    """Speed and validation bound of the linear VAE, by the precision of products."""
    task, config, rows = LINEAR.task(), LINEAR.config(), []
    for name in PRECISIONS:
        with jax.default_matmul_precision(name):
            chunk = jax.jit(make_train_chunk(task, config, PRECISION_STEPS))
            state = init_state(task, config)
            jax.block_until_ready(chunk(state, dict(task.data)))  # compiles
            started = time.perf_counter()
            state, _ = jax.block_until_ready(chunk(state, dict(task.data)))
            rate = PRECISION_STEPS / (time.perf_counter() - started)
        # All of them by the same evaluation, then with their own precision.
        bounds = {}
        for key, switch in (("nll", "highest"), ("nll_own", name)):
            with jax.default_matmul_precision(switch):
                evaluate = _evaluator(config, task, state, 10_000)
                bound = evaluate("valid", config.eval_samples)
                bounds[key] = bound_summary(bound, bound, config.eval_samples)["nll"]
        rows.append({"precision": name, "steps_per_second": rate, **bounds})
    return rows


def row() -> dict[str, Any]:
    """Trains a row of Table 1 of [1] at the paper's budget: seconds and its number."""
    (cell,) = (c for c in table_cells("jang_table1", BUDGET) if c.name == ROW)
    started = time.perf_counter()
    reproduce.complete([cell])
    column, *_ = TABLES["jang_table1"].columns
    return {
        "name": ROW,
        "budget": BUDGET,
        "seconds": time.perf_counter() - started,
        "nll": cell.mean(column),
        "published": cell.published(column),
    }
