"""The networks whose training steps are timed, and what PyTorch starts them from.

Legend: n images of the training set, D pixels, L labelled images, I inputs and O
outputs of a layer.
"""

import dataclasses
import importlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.data import datasets
from experiments.data import labels as labelled
from experiments.engine.fields import flatten
from experiments.engine.step import init_state
from experiments.engine.task import Task


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as it is trained, and how many steps of it make a turn.

    Attributes:
        experiment: module of experiments/ and of configs/.
        variant: of its config.
        num_samples: m.
        steps: in one turn, a second or so; the project compiles them into one call.
        is_extra: whether it is timed with --full alone.
    """

    experiment: str
    variant: str
    num_samples: int = 1
    steps: int = 500
    is_extra: bool = False

    def config(self):
        """The locked config."""
        module = importlib.import_module(f"configs.{self.experiment}")
        config = module.get_config(self.variant)
        config.num_samples = self.num_samples
        return config

    def task(self) -> Task:
        """The task of the config."""
        module = importlib.import_module(f"experiments.{self.experiment}")
        return module.make_task(self.config())


NETWORKS: Mapping[str, Network] = {
    "784-(20×10)-784": Network("vae", "categorical"),
    "784-512-256-(30×10)-256-512-784": Network("vae", "mlp", 1, 200, is_extra=True),
    "200H~784V, m = 1": Network("vae", "200H~784V"),
    "200H~784V, m = 5": Network("vae", "200H~784V", 5, 100),
    "200H~784V, m = 50": Network("vae", "200H~784V", 50, 20),
    "M2 mlp": Network("semi_supervised", "mlp", 1, 100, is_extra=True),
}

# The parts of our parameters in the order in which they are applied.
_PARTS = {
    "vae": ("encoder", "decoder"),
    "semi_supervised": (
        *("classifier", "features", "class_features", "style", "decoder"),
    ),
}


class Start(NamedTuple):
    """The data, the first parameters and the config of a network, in NumPy.

    Attributes:
        images: uint8 [n, D], grey where the pixels are drawn anew at every step.
        mean: float32 [D], of the pixels.
        layers: (weights [I, O], bias [O]) in the order in which they are applied.
        prior: its logits, [N] or [N, K]; None where there is none to be learned.
        labelled: uint8 [L, D]; empty unless some labels are seen.
        labels: int [L], of these.
        config: the flat config.
        steps: in a turn.
    """

    images: np.ndarray
    mean: np.ndarray
    layers: list[tuple[np.ndarray, np.ndarray]]
    prior: np.ndarray | None
    labelled: np.ndarray
    labels: np.ndarray
    config: dict[str, Any]
    steps: int

    def batches(self) -> Iterator[tuple[np.ndarray, ...]]:
        """Yields the images of a step, uint8 [B, D], for ever.

        Where some labels are seen, the images of a batch of these and the labels, too.
        """
        rng, size = np.random.default_rng(0), self.config["batch_size"]
        while True:
            order = rng.permutation(len(self.images))
            for first in range(0, len(order) - size + 1, size):
                images = self.images[order[first : first + size]]
                if not len(self.labels):
                    yield (images,)
                    continue
                rows = rng.permutation(len(self.labels))
                rows = rows[: self.config["labelled.batch_size"]]
                yield images, self.labelled[rows], self.labels[rows]


def start_of(network: Network, task: Task) -> Start:
    """The start of a network for PyTorch."""
    config = network.config()
    params = init_state(task, config).params["params"]
    pictures, labels = np.zeros((0, 0), np.uint8), np.zeros(0, np.int64)
    if network.experiment == "semi_supervised":
        pictures, labels = _labelled(config)
    images = np.asarray(task.data["images"])
    scale = 255 if config.dataset.binarization == "dynamic" else 1
    return Start(
        images=images,
        mean=np.float32(images.mean(axis=0) / scale),
        layers=layers_of(network, params),
        prior=np.asarray(params["prior"]) if "prior" in params else None,
        labelled=pictures,
        labels=labels,
        config=flatten(config.to_dict()),
        steps=network.steps,
    )


def _labelled(config) -> tuple[np.ndarray, np.ndarray]:
    """The images whose labels are seen, and these."""
    dataset = datasets.load(config.dataset.name)
    rows = labelled.choose(dataset, config.labelled.count, config.labelled.seed)
    return dataset.train.images[rows], np.int64(dataset.train.labels[rows])


def layers_of(network: Network, params) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """The dense layers of our parameters in the order in which they are applied."""
    layers = []
    for part in (params[name] for name in _PARTS[network.experiment]):
        for layer in [part] if "kernel" in part else [part[n] for n in sorted(part)]:
            bias = layer.get("bias")
            bias = None if bias is None else np.asarray(bias)
            layers.append((np.asarray(layer["kernel"]), bias))
    return layers
