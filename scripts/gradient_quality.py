"""How good is a gradient estimator? Bias, spread, direction and cost, in one table.

    python scripts/gradient_quality.py --config=configs/vae.py \\
        --config.model.num_variables=4 --config.model.num_classes=8 \\
        --estimators=gumbel_softmax,st_gumbel_softmax,straight_through,muprop \\
        --temperatures=0.1,0.25,0.5,1,2 --checkpoint=RUN_DIR

For one batch of training images, at the initial parameters or the newest checkpoint of
a run, every estimator's gradient g is drawn --repeats times and compared with the
gradient g* of the bound on hard samples, over the parameters that the draws depend on:

    relative bias     ‖E g − g*‖ / ‖g*‖, the Monte Carlo error taken out
    relative std      (E‖g − E g‖²)^½ / ‖g*‖
    cosine            of E g and g*
    zero rows         share of variables with exactly no gradient through their value
    evaluations, ms   the cost of a call: as documented, and the least of 20 measured

g* is by enumeration where the discrete draws are few enough, else the mean of
--reference_repeats calls of --reference, an unbiased estimator. Normal draws are
sampled even then, and g* is the mean of as many enumerations. An estimator that learns
a baseline or a control variate learns it for --warmup training batches, by which the
parameters do not move. --config.options.NAME is for every estimator that has it. The
columns are explained in gumbel/quality.py. Writes table.md, quality.json and
quality.png to --out.
"""

import functools
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

import gumbel
from experiments import REPOSITORY, ConfigError, plots
from experiments.engine import report
from experiments.engine.checkpoint import Checkpoints
from experiments.engine.run_directory import versions, write_json
from experiments.engine.step import init_state
from experiments.reproduction.probe import (
    Probe,
    check_estimators,
    estimator_config,
)
from gumbel import quality

_CONFIG = config_flags.DEFINE_config_file("config", str(REPOSITORY / "configs/vae.py"))
_EXPERIMENT = flags.DEFINE_string("experiment", "vae", "module of experiments/")
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "run directory to look at")
_ESTIMATORS = flags.DEFINE_list(
    "estimators", "gumbel_softmax,st_gumbel_softmax,straight_through", "names"
)
_TEMPERATURES = flags.DEFINE_list("temperatures", "0.1,0.25,0.5,1,2", "to sweep")
_WARMUP = flags.DEFINE_integer("warmup", 0, "batches that train its state", 0)
_REPEATS = flags.DEFINE_integer("repeats", 2000, "draws of each gradient", 2)
_REFERENCE = flags.DEFINE_string("reference", "muprop", "where g* is not enumerated")
_REFERENCE_REPEATS = flags.DEFINE_integer("reference_repeats", 50_000, "its draws", 2)
_EXAMPLES = flags.DEFINE_integer("examples", 100, "images in the batch", 1)
_OUT = flags.DEFINE_string("out", "runs/gradient_quality", "folder for the results")

HEADER = (
    "estimator | temperature | relative bias | relative std | cosine | zero rows | "
    "evaluations | ms"
).split(" | ")


def load_probe(config) -> tuple[Probe, int]:
    """The probe of a config, and the training step of its parameters.

    Raises:
        ConfigError: if the config, an estimator or the checkpoint cannot be used.
    """
    check_estimators(config, _ESTIMATORS.value)
    module = importlib.import_module(f"experiments.{_EXPERIMENT.value}")
    own = estimator_config(config, config.estimator)
    task = module.make_task(own)
    state, step = jax.jit(lambda: init_state(task, own))(), 0
    if _CHECKPOINT.value:
        found = Checkpoints(Path(_CHECKPOINT.value) / "checkpoints").restore(state)
        if found is None:
            raise ConfigError(f"--checkpoint={_CHECKPOINT.value}: has no checkpoint")
        state, step = found
    return Probe(task, config, state.params, _EXAMPLES.value), step


def _key(seed: int):
    return jax.random.key(seed)


def _milliseconds(function: Callable, *args) -> float:
    times = []
    for _ in range(21):
        started = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(1e3 * (time.perf_counter() - started))
    return min(times[1:])


def measure(probe: Probe, name: str, temperatures, exact, noise: float) -> list[dict]:
    """The rows of one estimator; a single one where temperature has no effect."""
    # Once a temperature: it may take longer than all the rest.
    warm_up = functools.cache(
        functools.partial(probe.warm_up(name, _WARMUP.value), _key(9))
    )
    gradient = probe.gradient(name)
    moments = probe.moments(name, _REPEATS.value)
    state = warm_up(temperatures[0])
    low, high = (gradient(_key(4), t, state) for t in (0.37, 1.7))
    annealed = bool((low != high).any())
    dead = jax.jit(
        lambda point, key, t: quality.zero_rows(
            name,
            probe.task.program,
            key,
            *point,
            num_samples=probe.config.num_samples,
            temperature=t,
            **probe.hyper(name),
        )
    )
    rows = []
    for temperature in temperatures if annealed else temperatures[:1]:
        state = warm_up(temperature)
        found = moments(_key(6), temperature, state)
        rows.append(
            {"estimator": name, "temperature": temperature if annealed else None}
            | quality.quality(found, exact, noise)._asdict()
            | {
                "zero_rows": float(dead(probe.point, _key(7), temperature)),
                "evaluations": gumbel.estimators.ESTIMATORS[name].evaluations,
            }
        )
    milliseconds = _milliseconds(gradient, _key(5), 1.0, state)
    return [row | {"milliseconds": milliseconds} for row in rows]


def _cells(row: dict) -> list[str]:
    seen = row["bias"] > row["bias_noise"]
    bias = f"{row['bias']:.3f}" if seen else f"< {row['bias_noise']:.3f}"
    temperature = "–" if row["temperature"] is None else f"{row['temperature']:g}"
    return [
        row["estimator"],
        temperature,
        bias,
        f"{row['std']:.2f}",
        f"{row['cosine']:.3f}",
        f"{100 * row['zero_rows']:.1f} %",
        row["evaluations"],
        f"{row['milliseconds']:.1f}",
    ]


def main(argv: list[str]) -> None:
    """Measures, prints the table and writes the files."""
    del argv
    logging.set_verbosity(logging.WARNING)
    config = _CONFIG.value
    try:
        probe, step = load_probe(config)
        exact, noise, how = probe.reference(_REFERENCE.value, _REFERENCE_REPEATS.value)
    except ConfigError as error:
        sys.exit(f"error: {error}")
    described = versions(probe.task.checksum)
    temperatures, rows = [float(t) for t in _TEMPERATURES.value], []
    with report.progress(len(_ESTIMATORS.value), 0, "estimators") as bar:
        for name in _ESTIMATORS.value:
            rows += measure(probe, name, temperatures, exact, noise)
            bar.update(1)
    out = Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    settings = {
        "config": config.to_dict(),
        "step": step,
        "warmup": _WARMUP.value,
        "examples": _EXAMPLES.value,
        "repeats": _REPEATS.value,
        "num_parameters": len(exact),
        "reference": how,
        "reference_noise": float(np.sqrt(noise) / np.linalg.norm(exact)),
    }
    record = {"settings": settings, "versions": described, "rows": rows}
    write_json(out / "quality.json", record)
    table = report.markdown(HEADER, [_cells(row) for row in rows])
    (out / "table.md").write_text(table + "\n")
    plots.plot_gradient_quality(rows, out / "quality.png")
    print(table)
    print(
        f"g* by: {how}, relative error {settings['reference_noise']:.3f}; step "
        f"{step}, {_REPEATS.value} draws, {_EXAMPLES.value} images, "
        f"{len(exact):,} parameters; written to {out}"
    )


if __name__ == "__main__":
    app.run(main)
