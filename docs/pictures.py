"""Pictures of trained models, in docs/images.

    python docs/pictures.py RUN_DIRECTORY …
    python docs/pictures.py --overview RUN_DIRECTORY

The first writes samples of the model of each run, vae-samples.png or m2-samples.png,
and their captions to captions.json, from which scripts/make_tables.py takes them. The
second writes the picture of the README, of a VAE and of results/gradient_quality.
"""

import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import experiments
import gumbel
from experiments import ConfigError
from experiments.cli.launch import run_script
from experiments.data import datasets
from experiments.engine import plots
from experiments.reproduction import records
from experiments.reproduction.figures import show_gradient_quality

IMAGES = Path(__file__).parent / "images"
SAMPLES = 10  # of a row, and rows of samples of a VAE
TEMPERATURES = (5.0, 2.0, 1.0, 0.5, 0.25, 0.1)
DIGIT = 4  # of the test set, a 4


def overview(run_directory: str) -> Figure:
    """The codes of a digit and what is decoded from them, above bias and spread."""
    model = experiments.load(run_directory)
    image = datasets.load("mnist").test.images[DIGIT].reshape(1, 28, 28)
    logits, key = model.posterior(image).logits[0], jax.random.key(0)
    # All of the same noise.
    codes = {f"τ = {t:g}": gumbel.gumbel_softmax(key, logits, t) for t in TEMPERATURES}
    codes["discrete"] = gumbel.gumbel_max(key, logits)
    figure = Figure(figsize=(9.5, 8), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 2.2))
    panels = above.subplots(2, len(codes) + 1, height_ratios=(1, 0.5))
    panels[0, 0].imshow(image[0], cmap="gray")
    panels[0, 0].set_title("image", fontsize=10)
    for axes, (title, code) in zip(panels[:, 1:].T, codes.items(), strict=True):
        axes[0].imshow(model.decode(code[None])[0], cmap="gray", vmin=0, vmax=1)
        axes[0].set_title(title, fontsize=10)
        axes[1].imshow(np.asarray(code).T, cmap="viridis", vmin=0, vmax=1)
    for axes in panels.flat:
        axes.axis("off")
    variables, classes = logits.shape
    text = f"its code:\n{variables} variables\nof {classes} classes"
    place = {"ha": "right", "va": "center", "transform": panels[1, 0].transAxes}
    panels[1, 0].text(1.0, 0.5, text, **place)
    axes = below.subplots()
    axes.set_title(
        "bias and spread of the gradient estimators, relative to the gradient"
    )
    figure.draw_without_rendering()  # names are placed in final positions
    quality = records.RESULTS / "gradient_quality" / "quality.json"
    show_gradient_quality(axes, json.loads(quality.read_text())["rows"])
    return figure


def samples(model: Any) -> tuple[str, str, jax.Array]:
    """Pixel means of samples of a model.

    Args:
        model: a VAE or an M2 of `experiments.load`.

    Returns:
        The name of the picture, what it shows, and its images in rows of SAMPLES.

    Raises:
        ConfigError: if the model generates no images.
    """
    key = jax.random.key(0)
    if hasattr(model, "sample"):
        text = "Samples of the VAE: pixel means given codes from the prior"
        return "vae-samples", text, model.sample(key, SAMPLES**2)
    if "decoder" in model.params["params"] and hasattr(model, "generate"):
        text = "Samples of M2 given the class, one in each row; a style in each column"
        # The same key: the same styles.
        labels = (np.full(SAMPLES, label) for label in range(model.model.num_classes))
        rows = [model.generate(key, label) for label in labels]
        return "m2-samples", text, jnp.concatenate(rows)
    raise ConfigError("RUN_DIRECTORY: must be of a VAE or an M2 with a decoder")


def numbers(run: Path) -> str:
    """The training and the result of a run in words, with a link to its record.

    Raises:
        ConfigError: if the run has no record.
    """
    names = "config", "result"
    files = {name: json.loads((run / f"{name}.json").read_text()) for name in names}
    config, test = files["config"], files["result"]["test"]
    number = f"test nll {test['nll']:.2f} (L_{test['eval_samples']})"
    if "accuracy" in test:
        number = f"test accuracy {100 * test['accuracy']:.2f} %"
    text = f"`{config['estimator']}`, {config['num_steps']:,} steps: {number}"
    for path in sorted(records.RESULTS.rglob("*.json")):
        if files.items() <= json.loads(path.read_text()).items():
            return f"[{text}]({records.link(path)})"
    raise ConfigError(f"{run}: has no record in results/")


def main(argv: list[str]) -> None:
    """Writes the pictures of the runs."""
    words = [word for word in argv[1:] if word != "--overview"]
    if not words:
        raise ConfigError("RUN_DIRECTORY: must be given")
    IMAGES.mkdir(exist_ok=True)
    if "--overview" in argv:
        return plots.save(overview(*words), IMAGES / "overview.png")
    path = IMAGES / "captions.json"
    captions = json.loads(path.read_text()) if path.exists() else {}
    for run in map(Path, words):
        name, text, images = samples(experiments.load(run))
        pixels, file = images.reshape(len(images), -1), f"{name}.png"
        captions[file] = text, numbers(run)
        plots.plot_image_grid(pixels, len(images) // SAMPLES, IMAGES / file, text)
    path.write_text(json.dumps(captions, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    run_script(__doc__, main, sys.argv)
