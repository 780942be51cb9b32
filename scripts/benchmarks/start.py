"""What every implementation of a network starts from, in NumPy and nothing else.

So a process that is to show what PyTorch takes need not load JAX, too.

Legend: n images of the training set, D pixels, L labelled images, I inputs and O
outputs of a layer.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Start(NamedTuple):
    """The data, the first parameters and the numbers of a network.

    Attributes:
        images: uint8 [n, D], grey where the pixels are drawn anew at every step.
        mean: float32 [D], of the pixels.
        layers: dense ones, in the order in which they are applied, (weights [I, O],
            bias [O]); no bias, None, where the layer has none.
        prior: its logits, [N] or [N, K]; None where there is none to be learned.
        labelled: uint8 [L, D]; empty unless some labels are seen.
        labels: int [L], of these.
        settings: numbers and words: `network`, a key of the implementations, and what
            a step depends on.
    """

    images: np.ndarray
    mean: np.ndarray
    layers: list[tuple[np.ndarray, np.ndarray | None]]
    prior: np.ndarray | None
    labelled: np.ndarray
    labels: np.ndarray
    settings: dict[str, Any]

    def batches(self) -> Iterator[tuple[np.ndarray, ...]]:
        """Yields the images of a step, uint8 [B, D], for ever.

        Where some labels are seen, the images of a batch of these and the labels, too.
        """
        rng, size = np.random.default_rng(0), self.settings["batch_size"]
        while True:
            order = rng.permutation(len(self.images))
            for first in range(0, len(order) - size + 1, size):
                images = self.images[order[first : first + size]]
                if not len(self.labels):
                    yield (images,)
                    continue
                few = rng.permutation(len(self.labels))
                few = few[: self.settings["labelled_batch_size"]]
                yield images, self.labelled[few], self.labels[few]

    def save(self, path: Path) -> None:
        """Writes all of it to an .npz file."""
        arrays = {
            f"{name}{i}": array
            for i, pair in enumerate(self.layers)
            for name, array in zip(("weights", "bias"), pair, strict=True)
            if array is not None
        }
        if self.prior is not None:
            arrays["prior"] = self.prior
        for name in ("images", "mean", "labelled", "labels"):
            arrays[name] = getattr(self, name)
        np.savez(path, settings=json.dumps(self.settings), **arrays)


def load(path: Path) -> Start:
    """Reads what `Start.save` wrote."""
    with np.load(path) as file:
        arrays = dict(file)
    count = sum(name.startswith("weights") for name in arrays)
    return Start(
        layers=[(arrays[f"weights{i}"], arrays.get(f"bias{i}")) for i in range(count)],
        prior=arrays.get("prior"),
        settings=json.loads(str(arrays["settings"])),
        **{name: arrays[name] for name in ("images", "mean", "labelled", "labels")},
    )
