"""The interface between an experiment and the training loop."""

import dataclasses
from collections.abc import Callable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import jax

from gumbel.programs import Program


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """The program, data and plots of an experiment. Hashed by identity.

    `params` are all variables of a model: learned ones, and those that `track` updates.

    Attributes:
        experiment: its name.
        program: the stochastic program.
        hard_program: the same function of discrete values, faster, where there is one.
        init: key -> parameters.
        data: training arrays with one row an example, on the device.
        batch: (key, rows of data) -> the program's arguments for one step.
        evaluation: the program's arguments for each of "train", "valid" and "test",
            all examples.
        plot: (params, key, directory, slope) -> None, writes the figures of the model,
            whose logits of hard draws have a slope, by `hyper.network_hyper` or 1.
        checksum: SHA-256 of the data set.
        track: (key, params, *args) -> params with updated running averages over
            batches, where a model has any: no gradient reaches these.
        supervised: (key, params) -> scalar, the term that labelled examples add to the
            bound, where there are any; without discrete draws, so that it is
            differentiated as it stands.
        measure: (params, split) -> further metrics of "valid" and "test", by name.
        choose_by: the metrics of a validation -> a number; the parameters with the
            lowest are kept.
    """

    experiment: str
    program: Program
    init: Callable[[jax.Array], Any]
    data: Mapping[str, jax.Array]
    batch: Callable[[jax.Array, Mapping[str, jax.Array]], tuple]
    evaluation: Mapping[str, tuple[jax.Array, ...]]
    plot: Callable[[Any, jax.Array, Path, jax.Array | float], None]
    checksum: str
    hard_program: Program | None = None
    track: Callable[..., Any] = lambda key, params, *args: params
    supervised: Callable[[jax.Array, Any], jax.Array] | None = None
    measure: Callable[[Any, str], Mapping[str, float]] = lambda params, split: {}
    choose_by: Callable[[Mapping[str, float]], float] = itemgetter("valid_nll")

    @property
    def num_examples(self) -> int:
        """The number of training examples."""
        return len(next(iter(self.data.values())))
