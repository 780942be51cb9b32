"""Times a training step of 200H~200H~784V by the number of samples m."""

from experiments.engine import report
from scripts.benchmarks import ours
from scripts.benchmarks.clock import conditions, medians
from scripts.benchmarks.networks import Network

STEPS = 10


def samples() -> None:
    """Prints the table of training steps at several m."""
    networks = {m: Network("vae", "200H~200H~784V", m, STEPS) for m in (1, 5, 50)}
    seconds = medians({str(m): ours.training(n) for m, n in networks.items()})
    rows = [
        [m, f"{1e3 * value / STEPS:.2f}", f"{value / seconds['1']:.1f}"]
        for m, value in seconds.items()
    ]
    print(report.markdown(["m", "ms a step", "time / m = 1"], rows))
    conditions(
        f"200H~200H~784V, batch {networks[1].config().batch_size}, {STEPS} steps"
    )
