"""Times a training step of 200H~200H~784V by the number of samples m."""

from collections.abc import Callable

import jax

from configs.vae import get_config
from experiments import report, vae
from experiments.step import hyper_parameters, init_state, make_train_chunk
from scripts.benchmarks.clock import conditions, medians


def samples() -> None:
    """Prints the table of training steps at several m."""
    config = get_config("200H~200H~784V").unlock()
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
