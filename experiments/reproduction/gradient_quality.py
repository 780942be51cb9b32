"""Bias, spread, direction and cost of gradient estimators, in one table.

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
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

import gumbel
from experiments import REPOSITORY, ConfigError
from experiments.cli.config import read_flags
from experiments.engine import report
from experiments.engine.checkpoint import Checkpoints
from experiments.engine.provenance import versions
from experiments.engine.run_directory import write_json
from experiments.engine.step import init_state
from experiments.reproduction.figures import plot_gradient_quality
from experiments.reproduction.probe import Probe, check_estimators, estimator_config
from gumbel import quality

HEADER = (
    "estimator | temperature | relative bias | relative std | cosine | zero rows | "
    "evaluations | ms"
).split(" | ")


def _define_flags(values: flags.FlagValues) -> None:
    estimators = "gumbel_softmax,st_gumbel_softmax,straight_through"
    settings = {"flag_values": values}
    flags.DEFINE_string("experiment", "vae", "module of experiments/", **settings)
    flags.DEFINE_string("checkpoint", None, "run directory to look at", **settings)
    flags.DEFINE_list("estimators", estimators, "names", **settings)
    flags.DEFINE_list("temperatures", "0.1,0.25,0.5,1,2", "to sweep", **settings)
    flags.DEFINE_integer("warmup", 0, "batches that train its state", 0, **settings)
    flags.DEFINE_integer("repeats", 2000, "draws of each gradient", 2, **settings)
    flags.DEFINE_string("reference", "muprop", "where g* is not exact", **settings)
    flags.DEFINE_integer("reference_repeats", 50_000, "its draws", 2, **settings)
    flags.DEFINE_integer("examples", 100, "images in the batch", 1, **settings)
    flags.DEFINE_string("out", "runs/gradient_quality", "for the results", **settings)


def load_probe(values: flags.FlagValues) -> tuple[Probe, int]:
    """The probe of a command line, and the training step of its parameters.

    Raises:
        ConfigError: if the config, an estimator or the checkpoint cannot be used.
    """
    check_estimators(values.config, values.estimators)
    module = importlib.import_module(f"experiments.{values.experiment}")
    config = estimator_config(values.config, values.config.estimator)
    task = module.make_task(config)
    state, step = init_state(task, config), 0
    if values.checkpoint:
        checkpoints = Checkpoints(Path(values.checkpoint) / "checkpoints")
        restored = checkpoints.restore(state)
        if restored is None:
            raise ConfigError(f"--checkpoint={values.checkpoint}: has no checkpoint")
        state, step = restored
    return Probe(task, values.config, state.params, values.examples), step


def _milliseconds(function: Callable, *args) -> float:
    times = []
    for _ in range(21):
        started = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(1e3 * (time.perf_counter() - started))
    return min(times[1:])


def measure(
    probe: Probe,
    name: str,
    temperatures: Sequence[float],
    exact: np.ndarray,
    noise: float,
    *,
    repeats: int,
    warmup: int,
) -> list[dict[str, Any]]:
    """The rows of one estimator; a single one where temperature has no effect.

    Args:
        probe: where its gradient is drawn.
        name: the estimator.
        temperatures: a row each.
        exact: the true gradient [P].
        noise: E‖error‖² of it.
        repeats: draws of the gradient.
        warmup: batches that train the estimator's state.
    """
    # Once a temperature: it may take longer than all the rest.
    train_state = functools.cache(
        functools.partial(probe.warm_up(name, warmup), jax.random.key(9))
    )
    gradient, moments = probe.gradient(name), probe.moments(name, repeats)
    state = train_state(temperatures[0])
    low, high = (gradient(jax.random.key(4), t, state) for t in (0.37, 1.7))
    annealed = bool((low != high).any())
    zero_rows = probe.zero_rows(name)
    rows = []
    for temperature in temperatures if annealed else temperatures[:1]:
        state = train_state(temperature)
        draws = moments(jax.random.key(6), temperature, state)
        rows.append(
            {"estimator": name, "temperature": temperature if annealed else None}
            | quality.quality(draws, exact, noise)._asdict()
            | {
                "zero_rows": float(zero_rows(jax.random.key(7), temperature)),
                "evaluations": gumbel.estimators.ESTIMATORS[name].evaluations,
            }
        )
    milliseconds = _milliseconds(gradient, jax.random.key(5), 1.0, state)
    return [row | {"milliseconds": milliseconds} for row in rows]


def _cells(row: Mapping[str, Any]) -> list[str]:
    seen = row["bias"] > row["bias_noise"]
    return [
        row["estimator"],
        "–" if row["temperature"] is None else f"{row['temperature']:g}",
        f"{row['bias']:.3f}" if seen else f"< {row['bias_noise']:.3f}",
        f"{row['std']:.2f}",
        f"{row['cosine']:.3f}",
        f"{100 * row['zero_rows']:.1f} %",
        row["evaluations"],
        f"{row['milliseconds']:.1f}",
    ]


def main(argv: list[str]) -> None:
    """Measures, prints the table and writes the files."""
    values, *_ = read_flags(argv, str(REPOSITORY / "configs/vae.py"), _define_flags)
    probe, step = load_probe(values)
    exact, noise, how = probe.reference(values.reference, values.reference_repeats)
    temperatures = [float(text) for text in values.temperatures]
    options = {"repeats": values.repeats, "warmup": values.warmup}
    rows = []
    with report.progress(len(values.estimators), 0, "estimators") as bar:
        for name in values.estimators:
            rows += measure(probe, name, temperatures, exact, noise, **options)
            bar.update(1)
    out = Path(values.out)
    out.mkdir(parents=True, exist_ok=True)
    settings = {
        "config": values.config.to_dict(),
        "step": step,
        "examples": values.examples,
        "num_parameters": len(exact),
        "reference": how,
        "reference_noise": float(np.sqrt(noise) / np.linalg.norm(exact)),
        **options,
    }
    record = {"settings": settings, "rows": rows}
    record["versions"] = versions(probe.task.checksum)
    write_json(out / "quality.json", record)
    table = report.markdown(HEADER, [_cells(row) for row in rows])
    (out / "table.md").write_text(f"{table}\n")
    plot_gradient_quality(rows, out / "quality.png")
    print(table)
    print(
        f"g* by: {how}, relative error {settings['reference_noise']:.3f}; step "
        f"{step}, {values.repeats} draws, {values.examples} images, "
        f"{len(exact):,} parameters; written to {out}"
    )
