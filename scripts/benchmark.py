"""Times what the library claims about speed: ratios, all from one run.

    python scripts/benchmark.py NAME [DIR] [--full]

noise: Gumbel noise of a training step, [100, 20, 10], against jax.random.gumbel in
its two modes.
categorical: exact draws of that shape, by one number a variable against Gumbel-Max.
likelihood: log p(x) of 1600 images of 784 pixels, alone and with its gradient,
against optax's sigmoid cross-entropy.
one_hot: the product of 1600 hard codes with a decoder's weights, as a sum of rows,
against a product.
convolutions: those of M2, three layers and their mirror image, with the gradient,
against XLA's own.
marginalisation: a training step of M2 with the class marginalised against one with the
class sampled once, by the number of classes K, with random labels; a line a + b·K
through each. Written to DIR [runs/benchmark] as a figure and as JSON, too.
training: steps of the networks, against PyTorch, eager and compiled, where it is
installed, and against their floor, the bare matrix products and Adam's memory traffic;
with compile time, start-up and an evaluation. Ten minutes; with --full all networks.
Written to DIR [runs/benchmark] as JSON, a file a processor;
those in results/benchmark are a table of the README.
gpu: for an accelerator, ten minutes: steps of every network, alone, 30 runs as one and
in PyTorch with CUDA graphs; the estimators' cost; L_50,000; the effect of the products'
precision on speed and bound; a row of Table 1 at the paper's budget, recorded. Written
to DIR [runs/benchmark] as JSON, a file a device; those in results/gpu are a table.
"""

import sys
from pathlib import Path

from experiments import REPOSITORY, ConfigError
from experiments.cli.launch import run_script
from scripts.benchmarks import components, gpu, marginalisation, training

WRITERS = {"marginalisation": marginalisation.marginalisation, "gpu": gpu.gpu}
COMPONENTS = {
    "noise": components.noise,
    "categorical": components.categorical,
    "likelihood": components.likelihood,
    "one_hot": components.one_hot_product,
    "convolutions": components.convolutions,
}


def main(argv: list[str]) -> None:
    """Runs one benchmark, with the folder that it writes where it writes one."""
    name, *folder = [word for word in argv[1:] if word != "--full"] or [""]
    is_full = "--full" in argv
    out = Path(*folder) if folder else REPOSITORY / "runs" / "benchmark"
    if name in COMPONENTS and not folder and not is_full:
        COMPONENTS[name]()
    elif name in WRITERS and len(folder) < 2 and not is_full:
        WRITERS[name](out)
    elif name == "training" and len(folder) < 2:
        training.training(out, is_full=is_full)
    else:
        names = ", ".join([*COMPONENTS, *(f"{name} [DIR]" for name in WRITERS)])
        raise ConfigError(f"arguments: must be {names} or training [DIR] [--full]")


if __name__ == "__main__":
    run_script(__doc__, main, sys.argv)
