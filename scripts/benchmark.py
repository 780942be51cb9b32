"""Times what the library claims about speed: ratios, all from one run.

    python scripts/benchmark.py NAME [DIR]

noise: Gumbel noise of a training step, [100, 20, 10], against jax.random.gumbel in
its two modes: microseconds a draw, the ratio to ours, and how far the tail reaches.
categorical: exact draws of that shape, by one number a variable against Gumbel-Max.
likelihood: log p(x) of 1600 images of 784 pixels, alone and with its gradient,
against optax's sigmoid cross-entropy.
samples: a training step of 200H~200H~784V at m = 1, 5 and 50, on MNIST.
convolutions: those of M2, three layers and their mirror image, with the gradient,
against XLA's own and, where it is installed, PyTorch's.
marginalisation: a training step of M2 with the class marginalised against one with the
class sampled once, by the number of classes K, with random labels; a line a + b·K
through each. Written to DIR [runs/benchmark] as a figure and as JSON, too.
training: steps of all networks, against a plain Flax loop and, where it is installed,
PyTorch, eager and compiled; and against their floor, the bare matrix products and
Adam's memory traffic. With compile time, peak memory and the time of an evaluation.
Written to DIR [runs/benchmark] as JSON, too; recorded in results/benchmark, it is a
table of the README.
"""

import sys
from pathlib import Path

from scripts.benchmarks.convolutions import convolutions
from scripts.benchmarks.draws import categorical, noise
from scripts.benchmarks.likelihood import likelihood
from scripts.benchmarks.marginalisation import marginalisation
from scripts.benchmarks.samples import samples
from scripts.benchmarks.training import training

BENCHMARKS = {
    "noise": noise,
    "categorical": categorical,
    "likelihood": likelihood,
    "samples": samples,
    "convolutions": convolutions,
    "marginalisation": marginalisation,
    "training": training,
}
# Those that write what they find.
WRITING = ("marginalisation", "training")


def main(argv: list[str]) -> None:
    """Runs one benchmark, with the folder that it writes where it writes one."""
    name, *folder = argv[1:] or [""]
    if name not in BENCHMARKS or len(folder) > (name in WRITING):
        sys.exit(f"usage: scripts/benchmark.py {{{','.join(BENCHMARKS)}}} [DIR]")
    BENCHMARKS[name](*map(Path, folder))


if __name__ == "__main__":
    main(sys.argv)
