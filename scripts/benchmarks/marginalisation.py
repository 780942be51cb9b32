"""Times a training step of M2, its class marginalised or sampled, by their number."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from configs.semi_supervised import get_config
from experiments import semi_supervised
from experiments.data import datasets
from experiments.engine import plots
from experiments.engine.provenance import versions
from experiments.engine.run_directory import write_json
from experiments.reproduction.other_tables import figure5
from scripts.benchmarks.clock import time_in_turns
from scripts.benchmarks.training import turns

NUM_CLASSES, STEPS = (2, 5, 10, 20, 50, 100), 5
# The names of Table 2 of Jang, Gu & Poole (2017), and their estimators.
INFERENCE = {"marginalisation": "exact", "one sample": "gumbel_softmax"}


def with_random_labels(dataset: datasets.Dataset, num_classes: int) -> datasets.Dataset:
    """The same images, with labels drawn from so many classes."""
    rng = np.random.default_rng(num_classes)

    def relabel(split: datasets.Split) -> datasets.Split:
        labels = rng.integers(num_classes, size=len(split.images))
        return datasets.Split(split.images, labels.astype(np.int32))

    names = "train", "valid", "test"
    splits = {name: relabel(getattr(dataset, name)) for name in names}
    return dataclasses.replace(dataset, num_classes=num_classes, **splits)


def marginalisation(out: Path) -> None:
    """Prints the table of training steps of M2, and writes and plots it."""
    mnist, costs = datasets.load("mnist"), {name: [] for name in INFERENCE}
    for num_classes in NUM_CLASSES:
        dataset, functions = with_random_labels(mnist, num_classes), {}
        for name, estimator in INFERENCE.items():
            config = get_config()
            config.estimator = estimator
            task = semi_supervised.task_of(config, dataset)
            functions[name] = turns(task, config, STEPS)
        for name, seconds in time_in_turns(functions)[1].items():
            costs[name].append(1e3 * seconds / STEPS)
    # Relative errors, so that the small numbers count as much as the large ones.
    fits = {
        name: np.polyfit(NUM_CLASSES, cost, 1, w=1 / np.asarray(cost))[::-1].tolist()
        for name, cost in costs.items()
    }
    out.mkdir(parents=True, exist_ok=True)
    plot_costs(costs, fits, out / "marginalisation.png")
    values = {"classes": NUM_CLASSES, "milliseconds": costs, "a_and_b": fits}
    values["versions"] = versions(mnist.checksum)
    write_json(out / "marginalisation.json", values)
    print(figure5(out))


def plot_costs(
    costs: Mapping[str, Sequence[float]],
    fits: Mapping[str, tuple[float, float]],
    path: Path,
) -> None:
    """Plots milliseconds a step [K], and their line a + b·K, by name."""
    figure = Figure(figsize=(7, 5))
    axes = figure.subplots()
    line = np.geomspace(min(NUM_CLASSES), max(NUM_CLASSES), 100)
    for number, (name, cost) in enumerate(costs.items()):
        a, b = fits[name]
        label = f"{name}: {a:.2f} + {b:.3f}·K"
        axes.plot(NUM_CLASSES, cost, "o", color=f"C{number}", label=label)
        axes.plot(line, a + b * line, color=f"C{number}", linewidth=1)
    axes.set(
        xscale="log", yscale="log", xlabel="classes K", ylabel="ms a training step"
    )
    axes.legend()
    plots.save(figure, path)
