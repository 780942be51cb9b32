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
    evaluations, ms   the cost of a call: as documented, and the median measured

g* is by enumeration where the discrete draws are few enough, else the mean of
--reference_repeats calls of --reference, an unbiased estimator. Normal draws are
sampled even then, and g* is the mean of as many enumerations. The columns are
explained in gumbel/quality.py. Writes table.md, quality.json and quality.png to --out.
"""

import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import gumbel  # noqa: E402
from experiments import figures, report  # noqa: E402
from experiments.checkpoint import Checkpoints  # noqa: E402
from experiments.configuration import ConfigError  # noqa: E402
from experiments.step import init_state  # noqa: E402
from experiments.workdir import versions, write_json  # noqa: E402
from gumbel import quality  # noqa: E402

_CONFIG = config_flags.DEFINE_config_file("config", str(ROOT / "configs/vae.py"))
_EXPERIMENT = flags.DEFINE_string("experiment", "vae", "module of experiments/")
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "run directory to look at")
_ESTIMATORS = flags.DEFINE_list(
    "estimators", "gumbel_softmax,st_gumbel_softmax,straight_through", "names"
)
_TEMPERATURES = flags.DEFINE_list("temperatures", "0.1,0.25,0.5,1,2", "to sweep")
_REPEATS = flags.DEFINE_integer("repeats", 2000, "draws of each gradient", 2)
_REFERENCE = flags.DEFINE_string("reference", "muprop", "where g* is not enumerated")
_REFERENCE_REPEATS = flags.DEFINE_integer("reference_repeats", 50_000, "its draws", 2)
_EXAMPLES = flags.DEFINE_integer("examples", 100, "images in the batch", 1)
_OUT = flags.DEFINE_string("out", "runs/gradient_quality", "folder for the results")

HEADER = (
    "estimator | temperature | relative bias | relative std | cosine | zero rows | "
    "evaluations | ms"
).split(" | ")


class Probe:
    """One program at one point: its parameters and a batch."""

    def __init__(self, config):
        task = importlib.import_module(f"experiments.{_EXPERIMENT.value}").make_task(
            config
        )
        state = init_state(task, config)
        if _CHECKPOINT.value:
            restored = Checkpoints(Path(_CHECKPOINT.value) / "checkpoints").restore(
                state
            )
            if restored is None:
                raise ConfigError(
                    f"--checkpoint={_CHECKPOINT.value}: has no checkpoint"
                )
            state, self.step = restored
        else:
            self.step = 0
        rows = {name: rows[: _EXAMPLES.value] for name, rows in task.data.items()}
        self.program, self.params = task.program, state.params
        self.checksum, self.num_samples = task.checksum, config.num_samples
        self.kl = config.objective
        self.args = task.batch(jax.random.key(0), rows)
        self.relevant = quality.draw_parameters(
            self.program, jax.random.key(1), self.params, *self.args
        )

    def gradient(self, estimator: str) -> Callable:
        """(key, temperature) -> gradient [P] of the relevant parameters."""
        estimate = gumbel.value_and_grad(
            estimator, self.program, num_samples=self.num_samples
        )

        def gradient(key, temperature):
            grads = estimate(
                key, self.params, *self.args, temperature=temperature, kl=self.kl
            ).grads
            pairs = zip(jax.tree.leaves(grads), self.relevant, strict=True)
            return jnp.concatenate([g.ravel() for g, keep in pairs if keep])

        return gradient

    def exact(self) -> tuple[np.ndarray, float, str]:
        """The gradient g*, E‖error‖² of it, and how it was found."""
        name, count = "exact", _REFERENCE_REPEATS.value
        try:
            gradient = jax.jit(self.gradient(name))
            one, other = (np.asarray(gradient(_key(seed), 1.0)) for seed in (2, 8))
            if (one == other).all():
                return one, 0.0, name
            # A Normal is drawn even where everything discrete is enumerated.
        except ValueError:  # too many joint values to enumerate
            name = _REFERENCE.value
            if not gumbel.estimators.ESTIMATORS[name].unbiased:
                raise ConfigError(f"--reference={name}: must be unbiased") from None
        moments = self.moments(name, 1.0, count, seed=3)
        noise = float(moments.variance.sum()) / count
        return np.asarray(moments.mean), noise, f"mean of {count:,} {name}"

    def moments(self, estimator: str, temperature, count: int, seed: int):
        """Mean and variance of an estimator's gradient."""
        gradient = self.gradient(estimator)
        return jax.jit(
            lambda key, t: quality.gradient_moments(
                lambda k: gradient(k, t), key, count
            )
        )(_key(seed), temperature)._replace(count=count)


def _key(seed: int):
    return jax.random.key(seed)


def _milliseconds(function: Callable, *args) -> float:
    times = []
    for _ in range(21):
        started = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(1e3 * (time.perf_counter() - started))
    return float(np.median(times[1:]))


def measure(probe: Probe, name: str, temperatures, exact, noise: float) -> list[dict]:
    """The rows of one estimator; a single one where temperature has no effect."""
    gradient = jax.jit(probe.gradient(name))
    low, high = (gradient(_key(4), t) for t in (0.37, 1.7))
    annealed = bool((low != high).any())
    dead = jax.jit(
        lambda key, t: quality.zero_rows(
            name,
            probe.program,
            key,
            probe.params,
            *probe.args,
            num_samples=probe.num_samples,
            temperature=t,
        )
    )
    milliseconds = _milliseconds(gradient, _key(5), 1.0)
    rows = []
    for temperature in temperatures if annealed else [1.0]:
        moments = probe.moments(name, temperature, _REPEATS.value, seed=6)
        rows.append(
            {"estimator": name, "temperature": temperature if annealed else None}
            | quality.quality(moments, exact, noise)._asdict()
            | {
                "zero_rows": float(dead(_key(7), temperature)),
                "evaluations": gumbel.estimators.ESTIMATORS[name].cost,
                "milliseconds": milliseconds,
            }
        )
    return rows


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
        row["evaluations"].split(":")[0].split(",")[0],
        f"{row['milliseconds']:.1f}",
    ]


def main(argv: list[str]) -> None:
    """Measures, prints the table and writes the files."""
    del argv
    logging.set_verbosity(logging.WARNING)
    temperatures = [float(t) for t in _TEMPERATURES.value]
    probe = Probe(_CONFIG.value)
    exact, noise, how = probe.exact()
    rows = []
    with report.progress(len(_ESTIMATORS.value), 0, "estimators") as bar:
        for name in _ESTIMATORS.value:
            rows += measure(probe, name, temperatures, exact, noise)
            bar.update(1)
    out = Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    settings = {
        "config": _CONFIG.value.to_dict(),
        "step": probe.step,
        "examples": _EXAMPLES.value,
        "repeats": _REPEATS.value,
        "num_parameters": len(exact),
        "reference": how,
        "reference_noise": float(np.sqrt(noise) / np.linalg.norm(exact)),
    }
    write_json(
        out / "quality.json",
        {"settings": settings, "versions": versions(probe.checksum), "rows": rows},
    )
    table = report.markdown(HEADER, [_cells(row) for row in rows])
    (out / "table.md").write_text(table + "\n")
    figures.gradient_quality(rows, out / "quality.png")
    print(table)
    print(
        f"g* by: {how}, relative error {settings['reference_noise']:.3f}; step "
        f"{probe.step}, {_REPEATS.value} draws, {_EXAMPLES.value} images, "
        f"{len(exact):,} parameters; written to {out}"
    )


if __name__ == "__main__":
    app.run(main)
