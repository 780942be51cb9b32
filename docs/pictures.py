"""The picture of the README, of a trained VAE and of results/gradient_quality.

bash scripts/train.sh --workdir=runs/first
python docs/pictures.py runs/first
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

import experiments
import gumbel
from experiments import REPOSITORY, plots
from experiments.data import load as data
from experiments.reproduction.quality_plot import show_gradient_quality

TEMPERATURES = (5.0, 2.0, 1.0, 0.5, 0.25, 0.1)
DIGIT = 4  # of the test set, a 4


def relaxed_codes(logits: jax.Array, key: jax.Array) -> list[tuple[str, jax.Array]]:
    """Samples of one code by temperature and a hard one, all of the same noise.

    Args:
        logits: of the variables, [N, K].
        key: a typed PRNG key.
    """
    soft = [
        (f"τ = {temperature:g}", gumbel.gumbel_softmax(key, logits, temperature))
        for temperature in TEMPERATURES
    ]
    return [*soft, ("discrete", gumbel.gumbel_max(key, logits))]


def overview(run_directory: str) -> Figure:
    """The codes of a digit and what is decoded from them, above bias and spread."""
    vae = experiments.load(run_directory)
    image = data.load("mnist").test.images[DIGIT].reshape(1, 28, 28)
    codes = relaxed_codes(vae.posterior(image).logits[0], jax.random.key(0))
    figure = Figure(figsize=(9.5, 8), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 2.2))
    panels = above.subplots(2, len(codes) + 1, height_ratios=(1, 0.5))
    panels[0, 0].imshow(image[0], cmap="gray")
    panels[0, 0].set_title("image", fontsize=10)
    for axes, (title, code) in zip(panels[:, 1:].T, codes, strict=True):
        axes[0].imshow(vae.decode(code[None])[0], cmap="gray", vmin=0, vmax=1)
        axes[0].set_title(title, fontsize=10)
        axes[1].imshow(np.asarray(code).T, cmap="viridis", vmin=0, vmax=1)
    for axes in panels.flat:
        axes.axis("off")
    variables, classes = codes[0][1].shape
    panels[1, 0].text(
        1.0,
        0.5,
        f"its code:\n{variables} variables\nof {classes} classes",
        ha="right",
        va="center",
        transform=panels[1, 0].transAxes,
    )
    quality = REPOSITORY / "results" / "gradient_quality" / "quality.json"
    axes = below.subplots()
    axes.set_title(
        "bias and spread of the gradient estimators, relative to the gradient"
    )
    figure.draw_without_rendering()  # names are placed in final positions
    show_gradient_quality(axes, json.loads(quality.read_text())["rows"])
    return figure


def main(run_directory: str) -> None:
    """Writes the picture."""
    folder = Path(__file__).parent / "images"
    folder.mkdir(exist_ok=True)
    plots.save(overview(run_directory), folder / "overview.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
