"""The networks whose training steps are timed, and what each of them starts from."""

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.engine.step import init_state
from experiments.engine.task import Task
from scripts.benchmarks.start import Start


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as it is trained, and how many steps of it make a turn.

    Attributes:
        experiment: a name of experiments/.
        variant: of its config.
        num_samples: m.
        steps: in one turn, a second or so; the project compiles them into one call.
    """

    experiment: str
    variant: str
    num_samples: int = 1
    steps: int = 500

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
    "784-512-256-(30×10)-256-512-784": Network("vae", "mlp", steps=200),
    "200H~784V, m = 1": Network("vae", "200H~784V"),
    "200H~784V, m = 5": Network("vae", "200H~784V", 5, 100),
    "200H~784V, m = 50": Network("vae", "200H~784V", 50, 20),
    "392-(20×10)-(20×10)-392": Network("structured_prediction", "categorical"),
    "M2 mlp": Network("semi_supervised", "mlp", steps=100),
}

# The parts of our parameters in the order in which they are applied.
_PARTS = {
    "vae": ("encoder", "decoder"),
    "structured_prediction": ("z1", "z2", "pixels"),
    "semi_supervised": (
        *("classifier", "features", "class_features", "style", "decoder"),
    ),
}


def start_of(network: Network, task: Task) -> Start:
    """What the other implementations of a network start from."""
    config = network.config()
    params = init_state(task, config).params["params"]
    prior = params.get("prior")
    labelled, labels = np.zeros((0, 0), np.uint8), np.zeros(0, np.int64)
    if network.experiment == "semi_supervised":
        labelled, labels = _labelled(config)
    images = np.asarray(task.data["images"])
    scale = 255 if config.dataset.binarization == "dynamic" else 1
    return Start(
        images=images,
        mean=np.float32(images.mean(axis=0) / scale),
        layers=layers_of(network, params),
        prior=None if prior is None else np.asarray(prior),
        labelled=labelled,
        labels=labels,
        settings=_settings(network, config),
    )


def _labelled(config) -> tuple[np.ndarray, np.ndarray]:
    """The images whose labels are seen, and these."""
    from experiments.data import datasets
    from experiments.data import labels as labelled

    dataset = datasets.load(config.dataset.name)
    rows = labelled.choose(dataset, config.labelled.count, config.labelled.seed)
    return dataset.train.images[rows], np.int64(dataset.train.labels[rows])


def layers_of(network: Network, params) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """The dense layers of our parameters in the order in which they are applied."""
    layers = []
    for part in (params[name] for name in _PARTS[network.experiment]):
        each = [part] if "kernel" in part else [part[name] for name in sorted(part)]
        for layer in each:
            bias = layer.get("bias")
            bias = None if bias is None else np.asarray(bias)
            layers.append((np.asarray(layer["kernel"]), bias))
    return layers


def _settings(network: Network, config) -> dict[str, Any]:
    """What a step depends on; the temperature is that of the first one."""
    settings = {
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "num_samples": config.num_samples,
        "steps": network.steps,
        "temperature": config.temperature,
    }
    if network.experiment == "semi_supervised":
        return settings | {
            "network": "m2",
            "hidden": len(config.model.hidden),
            "labelled_batch_size": config.labelled.batch_size,
            "alpha": config.alpha,
        }
    settings["latents"] = [config.model.num_variables, config.model.num_classes]
    if network.experiment == "structured_prediction":
        return settings | {"network": "structured"}
    if config.model.family == "bernoulli":
        return settings | {
            "network": "binary",
            "prior_temperature": config.prior_temperature,
        }
    return settings | {"network": "categorical"}
