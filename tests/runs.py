"""Tiny runs: configs, data and a model small enough to enumerate by hand.

B batch, D pixels, N variables, K classes.
"""

import contextlib
import ctypes
import gc
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
from configs import vae as vae_config
from experiments.cli import launch
from experiments.data.datasets import Dataset, Split
from experiments.engine import plots, step, train
from experiments.engine.checkpoint import Checkpoints
from experiments.engine.report import read_metrics
from experiments.engine.task import Task

PIXELS, VARIABLES, CLASSES = 5, 2, 3
TIMINGS = ("seconds", "steps_per_second")


def forget_programs() -> None:
    """Drops what was traced and compiled, and gives its memory back to the system."""
    jax.clear_caches()
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # of glibc
        trim(0)


def config(variant: str = "categorical", **fields):
    """configs/vae.py at a tiny budget; `fields` are named with __ for a dot."""
    tiny = {
        "num_steps": 20,
        "batch_size": 8,
        "learning_rate": 0.05,
        "log_every": 5,
        "eval_every": 10,
        "checkpoint_every": 10,
        "eval_samples": 3,
        "eval_batch_size": 16,
        "schedule.rate": 0.05,
        "schedule.every": 3,
    }
    fields = {name.replace("__", "."): value for name, value in fields.items()}
    made = vae_config.get_config(variant)
    made.update_from_flattened_dict(tiny | fields)
    return made


def flags(made, **fields) -> list[str]:
    """The overrides that turn the default config into another, and more fields."""
    from experiments.engine.fields import flatten

    default = flatten(vae_config.get_config().to_dict())
    flat = flatten(made.to_dict()) | fields
    return [f"--config.{k}={v}" for k, v in flat.items() if default[k] != v]


def call_script(script, capsys, *arguments: str) -> tuple[int, str, str]:
    """The exit code and output of a script that trains, in this process."""
    code = 0
    try:
        launch.run_script(script.__doc__, script.main, [script.__name__, *arguments])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def assert_refused(outcome: tuple[int, str, str], message: str) -> None:
    """Of an exit code and output: nothing was done, and one line says why."""
    code, out, err = outcome
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert message in err


def dataset(num_train: int = 48, num_eval: int = 40) -> Dataset:
    """Grey noise of the size of MNIST's images."""
    rng = np.random.default_rng(0)

    def split(size):
        images = rng.integers(0, 256, (size, 784), np.uint8)
        return Split(images, np.zeros(size, np.int32))

    splits = split(num_train), split(num_eval), split(num_eval)
    return Dataset("noise", *splits, "c0ffee", 0)


def init(key) -> dict[str, jax.Array]:
    """Parameters of `program`."""
    keys = jax.random.split(key, 3)
    return {
        "encoder": jax.random.normal(keys[0], (PIXELS, VARIABLES * CLASSES)),
        "decoder": jax.random.normal(keys[1], (VARIABLES * CLASSES, PIXELS)),
        "prior": jax.random.normal(keys[2], (VARIABLES, CLASSES)),
    }


def program(params, x):
    """A discrete VAE without biases."""

    def run(draw):
        logits = (x @ params["encoder"]).reshape(-1, VARIABLES, CLASSES)
        z = draw("z", gumbel.Categorical(logits))
        decoded = z.value.reshape(-1, VARIABLES * CLASSES) @ params["decoder"]
        kl = z.kl(gumbel.Categorical(params["prior"]))
        likelihood = gumbel.objectives.bernoulli_log_likelihood(decoded, x)
        return likelihood - kl

    return run


def enumerated_bound(params, x):
    """The bound of `program` per example [B], by a Python loop over all codes."""
    q = jax.nn.softmax((x @ params["encoder"]).reshape(-1, VARIABLES, CLASSES))
    p = jax.nn.softmax(params["prior"])
    bound = 0.0
    for code in itertools.product(range(CLASSES), repeat=VARIABLES):
        value = np.eye(CLASSES, dtype=np.float32)[list(code)].reshape(1, -1)
        pixels = jax.nn.sigmoid(value @ params["decoder"])
        log_x = jnp.log(x * pixels + (1 - x) * (1 - pixels)).sum(axis=1)
        chosen = [q[:, n, k] for n, k in enumerate(code)]
        log_p = sum(jnp.log(p[n, k]) for n, k in enumerate(code))
        joint = chosen[0] * chosen[1]
        bound += joint * (log_x + log_p - jnp.log(joint))
    return bound


def task(program=program, init=init, num_examples: int = 24, plot=None) -> Task:
    """A task for `program`; nothing is plotted unless asked for."""
    images = np.random.default_rng(1).integers(0, 2, (num_examples, PIXELS), np.uint8)
    floats = jnp.asarray(images, jnp.float32)
    return Task(
        experiment="tiny",
        program=program,
        init=init,
        data={"images": jnp.asarray(images)},
        batch=lambda key, rows: (rows["images"].astype(jnp.float32),),
        evaluation={"valid": (floats[:18],), "test": (floats[6:],)},
        plot=plot or (lambda params, key, directory, slope: None),
        checksum="c0ffee",
    )


def run_chunk(task, config, num_steps):
    """The state and metrics of the first steps."""
    chunk = jax.jit(step.make_train_chunk(task, config, num_steps), donate_argnums=0)
    return chunk(step.init_state(task, config), dict(task.data))


def train_quietly(workdir, a_task=None, made=None, said=None, **options):
    """Trains without drawing the curves, which takes longer than training."""
    announce = (lambda line: None) if said is None else said.append
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "plot_curves", lambda *args: None)
        return train.train(
            a_task or task(),
            made or config(estimator="exact"),
            workdir,
            announce=announce,
            **options,
        )


def counting(program):
    """The program, and a list that grows by one each time it is traced or run."""
    traces = []

    def counted(params, *args):
        traces.append(None)
        return program(params, *args)

    return counted, traces


def without_timings(lines: list[dict]) -> list[dict]:
    """Metrics lines without what differs between two equal runs."""
    return [{k: v for k, v in line.items() if k not in TIMINGS} for line in lines]


@contextlib.contextmanager
def counting_compilations():
    """Yields a list with an entry for every program compiled in the block."""
    compiled = []

    def note(event: str, seconds: float, **_):
        if event.endswith("backend_compile_duration"):
            compiled.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


def ends(workdir):
    """All that two equal runs agree on: the last checkpoint, metrics, result."""
    last = max(int(p.name) for p in (workdir / "checkpoints").iterdir())
    arrays = Checkpoints(workdir / "checkpoints").read(last)
    kinds = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    state = {name: array.tobytes() for name, array in arrays.items()}
    result = json.loads((workdir / "result.json").read_text())
    del result["seconds"], result["evaluation_seconds"]
    metrics = without_timings(read_metrics(workdir / "metrics.jsonl"))
    return last, kinds, state, metrics, result


def sharing_programs(folder, least_seconds: str) -> dict[str, str]:
    """The environment of processes that share what took that long to compile."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": least_seconds,
        # On some processors XLA's loader warns of features that only tune a program.
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
