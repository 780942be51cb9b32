"""Times what the library claims about speed: ratios, all from one run.

    python scripts/benchmark.py NAME [DIR]

noise: Gumbel noise of a training step, [100, 20, 10], against jax.random.gumbel in
its two modes: microseconds a draw, the ratio to ours, and how far the tail reaches.
categorical: exact draws of that shape, by one number a variable against Gumbel-Max.
likelihood: log p(x) of 1600 images of 784 pixels, alone and with its gradient,
against optax's sigmoid cross-entropy.
samples: a training step of 200H~200H~784V at m = 1, 5 and 50, on MNIST.
marginalisation: a training step of M2 with the class marginalised against one with the
class sampled once, by the number of classes K, with random labels; a line a + b·K
through each. Written to DIR [runs/benchmark] as a figure and as JSON, too.
"""

import dataclasses
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from configs import semi_supervised as semi_supervised_config  # noqa: E402
from configs import vae as vae_config  # noqa: E402
from experiments import class_figures, data, report, semi_supervised, vae  # noqa: E402
from experiments.step import (  # noqa: E402
    hyper_parameters,
    init_state,
    make_train_chunk,
    make_train_step,
)
from experiments.workdir import versions, write_json  # noqa: E402
from gumbel import samplers  # noqa: E402
from gumbel.objectives import bernoulli_log_likelihood  # noqa: E402

REPEATS, DRAWS = 15, 200


def medians(functions: dict[str, Callable], *args) -> dict[str, float]:
    """Median seconds a call, the functions taking turns so that drift hits all."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(REPEATS + 1):
        for name, function in functions.items():
            started = time.perf_counter()
            jax.block_until_ready(function(*args))
            if repeat:  # the first call compiles
                times[name].append(time.perf_counter() - started)
    return {name: float(np.median(values)) for name, values in times.items()}


SHAPE = (100, 20, 10)


def many(draw: Callable) -> Callable:
    """Sums DRAWS draws of SHAPE in one compiled call."""

    def add(total, index):
        return total + draw(jax.random.fold_in(key, index)).sum(), None

    key = jax.random.key(0)
    return jax.jit(lambda: jax.lax.scan(add, 0.0, jnp.arange(DRAWS))[0])


def conditions(what: str) -> None:
    """Prints what was measured, on what."""
    print(
        f"{what}, median of {REPEATS}, jax {jax.__version__}, "
        f"{jax.devices()[0].device_kind}, {platform.processor() or platform.machine()}"
    )


def noise() -> None:
    """Prints the table of Gumbel noise."""
    draws = {
        "gumbel.samplers": samplers.gumbel_noise,
        'jax.random, mode="low"': lambda k, s: jax.random.gumbel(k, s, mode="low"),
        'jax.random, mode="high"': lambda k, s: jax.random.gumbel(k, s, mode="high"),
    }
    seconds = medians(
        {
            name: many(lambda key, draw=draw: draw(key, SHAPE))
            for name, draw in draws.items()
        }
    )
    # The tail from the inverse of the largest uniform each one can draw.
    largest = {"gumbel.samplers": 32 * np.log(2), 'jax.random, mode="low"': 15.9}
    ours = seconds["gumbel.samplers"]
    rows = [
        [
            name,
            f"{1e6 * value / DRAWS:.0f}",
            f"{value / ours:.2f}",
            f"{largest[name]:.1f}" if name in largest else "further",
        ]
        for name, value in seconds.items()
    ]
    print(report.markdown(["noise", "µs a draw", "time / ours", "largest"], rows))
    conditions(f"{SHAPE}, {DRAWS} draws")


def categorical() -> None:
    """Prints the table of exact categorical draws."""
    logits = jax.random.normal(jax.random.key(1), SHAPE)
    draws = {"categorical": samplers.categorical, "gumbel_max": samplers.gumbel_max}
    seconds = medians(
        {
            name: many(lambda key, draw=draw: draw(key, logits))
            for name, draw in draws.items()
        }
    )
    ours = seconds["categorical"]
    rows = [
        [name, f"{1e6 * value / DRAWS:.0f}", f"{value / ours:.2f}"]
        for name, value in seconds.items()
    ]
    print(report.markdown(["sampler", "µs a draw", "time / ours"], rows))
    conditions(f"{SHAPE}, {DRAWS} draws")


def likelihood() -> None:
    """Prints the table of Bernoulli log-likelihoods."""
    shape = (1600, 784)
    logits = jax.random.normal(jax.random.key(1), shape)
    pixels = jnp.round(jax.random.uniform(jax.random.key(2), shape))
    functions = {
        "gumbel.objectives": bernoulli_log_likelihood,
        "optax": lambda y, x: -optax.sigmoid_binary_cross_entropy(y, x).sum(axis=1),
    }
    value = {name: jax.jit(f) for name, f in functions.items()}
    gradient = {
        name: jax.jit(jax.value_and_grad(lambda y, x, f=f: f(y, x).mean()))
        for name, f in functions.items()
    }
    values, gradients = (medians(f, logits, pixels) for f in (value, gradient))
    rows = [
        [
            name,
            f"{1e6 * values[name]:.0f}",
            f"{values[name] / values['gumbel.objectives']:.2f}",
            f"{1e6 * gradients[name]:.0f}",
            f"{gradients[name] / gradients['gumbel.objectives']:.2f}",
        ]
        for name in functions
    ]
    columns = ["likelihood", "µs", "time / ours", "gradient, µs", "time / ours"]
    print(report.markdown(columns, rows))
    conditions(f"{shape}")


def samples() -> None:
    """Prints the table of training steps at several m."""
    config = vae_config.get_config("200H~200H~784V").unlock()
    task, steps = vae.make_task(config), 10

    def stepping(m: int) -> Callable:
        config.num_samples = m
        # Each call gives its state to the next: it is donated.
        state = [jax.jit(lambda: init_state(task, config))()]
        chunk, hyper = make_train_chunk(task, config, steps), hyper_parameters(config)

        def step():
            state[0], metrics = chunk(state[0], hyper, dict(task.data))
            return metrics

        return step

    seconds = medians({str(m): stepping(m) for m in (1, 5, 50)})
    rows = [
        [m, f"{1e3 * value / steps:.2f}", f"{value / seconds['1']:.1f}"]
        for m, value in seconds.items()
    ]
    print(report.markdown(["m", "ms a step", "time / m = 1"], rows))
    conditions(f"200H~200H~784V, batch {config.batch_size}, {steps} steps")


NUM_CLASSES, STEPS = (2, 5, 10, 20, 50, 100), 5
# The names of Table 2 of Jang, Gu & Poole (2017), and their estimators.
INFERENCE = {"marginalisation": "exact", "one sample": "gumbel_softmax"}


def with_random_labels(dataset: data.Dataset, num_classes: int) -> data.Dataset:
    """The same images, with labels drawn from so many classes."""
    rng = np.random.default_rng(num_classes)

    def split(images) -> data.Split:
        labels = rng.integers(num_classes, size=len(images)).astype(np.int32)
        return data.Split(images, labels)

    splits = {
        name: split(getattr(dataset, name).images)
        for name in ("train", "valid", "test")
    }
    return dataclasses.replace(dataset, num_classes=num_classes, **splits)


def training(dataset: data.Dataset, estimator: str) -> Callable:
    """Makes the function that goes on training M2 for STEPS steps in one call."""
    config = semi_supervised_config.get_config()
    config.estimator = estimator
    task = semi_supervised.task_of(config, dataset)
    step, hyper = make_train_step(task, config), hyper_parameters(config)
    indices = jnp.arange(STEPS * config.batch_size).reshape(STEPS, -1)
    state = jax.jit(lambda: init_state(task, config))()

    def steps(state, arrays):
        return jax.lax.scan(lambda s, i: step(s, i, hyper, arrays), state, indices)[0]

    compiled = jax.jit(steps, donate_argnums=0)

    def go_on():
        nonlocal state
        state = compiled(state, dict(task.data))
        return state.step

    return go_on


def marginalisation(out: Path = ROOT / "runs" / "benchmark") -> None:
    """Prints the table of training steps of M2, and writes and draws it."""
    mnist, costs = data.read_mnist(), {name: [] for name in INFERENCE}
    for num_classes in NUM_CLASSES:
        dataset = with_random_labels(mnist, num_classes)
        seconds = medians(
            {name: training(dataset, INFERENCE[name]) for name in INFERENCE}
        )
        for name, value in seconds.items():
            costs[name].append(1e3 * value / STEPS)
    # Relative errors, so that the few classes count as much as the many.
    fits = {
        name: np.polyfit(NUM_CLASSES, cost, 1, w=1 / np.asarray(cost))[::-1].tolist()
        for name, cost in costs.items()
    }
    rows = [
        [f"{k}", *(f"{1e3 / ms:.1f}" for ms in pair), f"{pair[0] / pair[1]:.2f}"]
        for k, *pair in zip(NUM_CLASSES, *costs.values(), strict=True)
    ]
    columns = ["classes", *(f"{name}, steps/s" for name in INFERENCE), "speed-up"]
    print(report.markdown(columns, rows))
    for name, (a, b) in fits.items():
        print(f"{name}: {a:.2f} + {b:.3f}·K ms a step")
    out.mkdir(parents=True, exist_ok=True)
    class_figures.marginalisation(NUM_CLASSES, costs, fits, out / "marginalisation.png")
    values = {"classes": NUM_CLASSES, "milliseconds": costs, "a_and_b": fits}
    values["versions"] = versions(mnist.checksum)
    write_json(out / "marginalisation.json", values)
    conditions(f"M2, {STEPS} steps a call, mlp, batch 100")


BENCHMARKS = {
    "noise": noise,
    "categorical": categorical,
    "likelihood": likelihood,
    "samples": samples,
    "marginalisation": marginalisation,
}


def main(argv: list[str]) -> None:
    """Runs one benchmark, with the folder that it writes where it writes one."""
    name, *folder = argv[1:] or [""]
    if name not in BENCHMARKS or len(folder) > (name == "marginalisation"):
        sys.exit(f"usage: scripts/benchmark.py {{{','.join(BENCHMARKS)}}} [DIR]")
    BENCHMARKS[name](*map(Path, folder))


if __name__ == "__main__":
    main(sys.argv)
