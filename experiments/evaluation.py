"""Bounds on hard samples over whole sets, in batches of bounded memory."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gumbel
from experiments import report


class Evaluator:
    """Evaluates bounds on hard samples over whole sets, in batches of bounded memory.

    Args:
        program: the program whose bound it is.
        sets: the program's args for each split, all examples.
        batch_size: examples evaluated together; the last batch is padded.
        key: root of the noise, the same for every evaluation.
    """

    def __init__(
        self,
        program: gumbel.programs.Program,
        sets: Mapping[str, tuple[jax.Array, ...]],
        batch_size: int,
        key,
    ):
        self._program, self._sets = program, sets
        self._batch_size, self._key = batch_size, key
        self._compiled: dict[int, Callable] = {}

    def __call__(
        self, params, split: str, num_samples: int, stop=lambda: None
    ) -> np.ndarray:
        """The bound L_m of every example of a split, [n], in nats.

        Args:
            params: the parameters.
            split: "valid" or "test".
            num_samples: m.
            stop: called between batches; may raise to break off.
        """
        if num_samples not in self._compiled:
            evaluate = gumbel.evaluate(self._program, num_samples=num_samples)
            self._compiled[num_samples] = jax.jit(evaluate)
        arrays = self._sets[split]
        total, size = len(arrays[0]), self._batch_size
        bounds = []
        with report.progress(total * num_samples, 0, f"{split} L_{num_samples}") as bar:
            bar.unit = "sample"
            for start in range(0, total, size):
                stop()
                rows = [_padded(a[start : start + size], size) for a in arrays]
                key = jax.random.fold_in(self._key, start)
                bound = self._compiled[num_samples](key, params, *rows)
                bounds.append(np.asarray(bound)[: total - start])
                bar.update(len(bounds[-1]) * num_samples)
        return np.concatenate(bounds)


def _padded(rows, size: int):
    padding = [(0, size - len(rows))] + [(0, 0)] * (rows.ndim - 1)
    return jnp.pad(rows, padding)


def bound_summary(bounds: np.ndarray, bounds_1: np.ndarray, m: int) -> dict[str, Any]:
    """The numbers of a split that result.json holds.

    Args:
        bounds: L_m of every example, [n].
        bounds_1: L_1 of every example, [n].
        m: the number of samples.

    Returns:
        `nll` = −mean L_m with its standard error over examples, `nll_1` = −mean L_1,
        all in nats, and m.
    """
    return {
        "nll": float(-bounds.mean()),
        "nll_stderr": float(bounds.std(ddof=1) / np.sqrt(len(bounds))),
        "nll_1": float(-bounds_1.mean()),
        "eval_samples": m,
    }
