"""Times training steps of this project, of PyTorch and of what they cannot do without.

The implementations of a network take turns in one process, and the floor with them.
"""

import importlib
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments import REPOSITORY
from experiments.engine.provenance import versions
from experiments.engine.run_directory import write_json
from experiments.engine.step import init_state, make_train_chunk, make_train_step
from experiments.reproduction.other_tables import (
    COMPILED,
    EAGER,
    FLOOR,
    OURS,
    training_table,
)
from experiments.reproduction.runs import module_of
from scripts.benchmarks.clock import machine, time_in_turns
from scripts.benchmarks.evaluation import evaluation

REPEATS = 7
HAS_PYTORCH = importlib.util.find_spec("torch") is not None


class Network(NamedTuple):
    """A network as it is trained, and how many steps of it make a turn.

    Attributes:
        experiment: module of experiments/ and of configs/.
        variant: of its config.
        num_samples: m.
        steps: in one turn, a second or so; the project compiles them into one call.
        is_extra: whether it is timed with --full alone.
    """

    experiment: str
    variant: str
    num_samples: int = 1
    steps: int = 500
    is_extra: bool = False

    def config(self):
        """The config."""
        module = importlib.import_module(f"configs.{self.experiment}")
        config = module.get_config(self.variant)
        config.num_samples = self.num_samples
        return config

    def task(self):
        """The task of the config."""
        return module_of(self.experiment).make_task(self.config())


LINEAR = "784-(20×10)-784"
NETWORKS: Mapping[str, Network] = {
    LINEAR: Network("vae", "categorical"),
    "784-512-256-(30×10)-256-512-784": Network("vae", "mlp", 1, 200, is_extra=True),
    "200H~784V, m = 1": Network("vae", "200H~784V"),
    "200H~784V, m = 5": Network("vae", "200H~784V", 5, 100),
    "200H~784V, m = 50": Network("vae", "200H~784V", 50, 20),
    "M2 mlp": Network("semi_supervised", "mlp", 1, 100, is_extra=True),
}


def turns(task, config, steps: int) -> Callable[[], Any]:
    """Makes what continues training for so many steps, in one compiled call."""
    state, data = init_state(task, config), dict(task.data)
    chunk = jax.jit(make_train_chunk(task, config, steps), donate_argnums=0)

    def go_on():
        nonlocal state  # donated: each call gives its state to the next
        state, metrics = chunk(state, data)
        return jax.block_until_ready(metrics)

    return go_on


def products(task, config) -> list[tuple[Any, ...]]:
    """Shapes and contracted axes of the matrix products of a training step."""
    state = jax.eval_shape(lambda: init_state(task, config))
    batch = jax.tree.map(lambda rows: rows[: config.batch_size], dict(task.data))
    traced = jax.make_jaxpr(make_train_step(task, config))(state, batch)
    return [
        (*(x.aval.shape for x in equation.invars), equation.params["dimension_numbers"])
        for equation in _equations(traced.jaxpr)
        if equation.primitive.name == "dot_general"
    ]


def _equations(jaxpr) -> Iterator:
    """The equations of a jaxpr and of those inside it, in their order."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for each in value if isinstance(value, tuple) else (value,):
                inner = getattr(each, "jaxpr", each)  # of a closed one
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)


def floor(task, config, steps: int) -> Callable[[], Any]:
    """Makes what computes the bare products of a turn, and Adam's memory traffic.

    Of Adam the parameters and both moments are read and written, the gradient is read.
    """
    shapes = products(task, config)
    keys = iter(jax.random.split(jax.random.key(0), 2 * len(shapes)))
    operands = [
        tuple(jax.random.normal(next(keys), shape) for shape in pair)
        for *pair, _ in shapes
    ]
    params = init_state(task, config).params
    gradient = jax.tree.map(lambda p: jnp.full_like(p, 1e-9), params)

    def multiply(operands):
        return [
            jax.lax.dot_general(*pair, axes)
            for pair, (*_, axes) in zip(operands, shapes, strict=True)
        ]

    def step(i, carry):
        operands, moved, _ = carry
        # What is the same in every step is computed once, so one number changes; what
        # nobody reads is not computed at all, so the results are handed on.
        operands = [
            tuple(x.at[(0,) * x.ndim].set(i.astype(x.dtype)) for x in pair)
            for pair in operands
        ]
        moved = [jax.tree.map(jnp.add, each, gradient) for each in moved]
        return operands, moved, multiply(operands)

    @jax.jit(donate_argnums=0)
    def turn(state):
        return jax.lax.fori_loop(0, steps, step, state)

    moved = [jax.tree.map(jnp.copy, params) for _ in range(3)]
    state = operands, moved, multiply(operands)

    def go_on():
        nonlocal state
        state = turn(state)
        return jax.block_until_ready(state)

    return go_on


def training(out: Path, *, is_full: bool = False) -> None:
    """Writes a file for this processor, and prints its table; about ten minutes.

    Args:
        out: the folder of the file.
        is_full: whether to time all networks.
    """
    if not HAS_PYTORCH:
        print("PyTorch is not installed: it has no columns")
    values: dict[str, Any] = {"machine": machine(), "repeats": REPEATS, "networks": []}
    values["start_up"] = start_up()
    values["evaluation"] = evaluation(NETWORKS[LINEAR], HAS_PYTORCH)
    for name, network in NETWORKS.items():
        if network.is_extra and not is_full:
            continue
        task = network.task()
        values["versions"] = versions(task.checksum)
        if HAS_PYTORCH:
            values["versions"]["torch"] = importlib.metadata.version("torch")
        measured = {"name": name, "steps": network.steps, **_time(network, task)}
        values["networks"].append(measured)
        cpu, cores = values["machine"]["cpu"], values["machine"]["cores"]
        text = f"{cpu} {cores} cores jax {values['versions']['jax']}".lower()
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / f"{re.sub('[^a-z0-9.]+', '-', text)}.json", values)
    print(training_table(values))


def _time(network: Network, task) -> dict[str, dict[str, float]]:
    """Milliseconds a step and seconds of compilation, by implementation."""
    arguments = task, network.config(), network.steps
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        # Nothing that was compiled before shortens the compilation that is timed.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        functions = {OURS: turns(*arguments)}
        if HAS_PYTORCH:
            from scripts.benchmarks import pytorch

            functions[EAGER] = pytorch.training(*arguments, is_compiled=False)
            functions[COMPILED] = pytorch.training(*arguments, is_compiled=True)
        functions[FLOOR] = floor(*arguments)
        first, median = time_in_turns(functions, repeats=REPEATS)
    return {
        "milliseconds": {n: 1e3 * median[n] / network.steps for n in functions},
        "compile_seconds": {n: first[n] - median[n] for n in functions if n != FLOOR},
    }


def start_up() -> dict[str, float]:
    """Seconds of the default command to its help, to its first step and to its end."""
    first_step = "--config.num_steps=1 --train_only --config.eval_every=500"
    commands = {"--help": "--help", "a first step": first_step, "its end": ""}
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, arguments) in enumerate(commands.items()):
            command = [sys.executable, "-m", "experiments.vae", *arguments.split()]
            command += [f"--workdir={folder}/{number}"]
            started = time.perf_counter()
            options = {"cwd": REPOSITORY, "stdout": subprocess.DEVNULL}
            subprocess.run(command, check=True, **options)
            seconds[name] = time.perf_counter() - started
    return seconds
