"""Bounds over whole sets, on hard samples or relaxed, in batches of bounded memory.

The rows of a batch are split over all devices.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

import gumbel
from experiments.engine import report
from experiments.engine.devices import make_mesh, rows_sharding, whole

# Hard samples of an image drawn at once on an accelerator, which fewer do not fill.
_CHUNK = 256
# Of the relaxed bound, whose samples are all drawn at once: examples × samples.
_RELAXED_DRAWS = 1600
# What the key is folded with for relaxed samples; far above any row of a set.
_RELAXED = 2**32 - 1


# By program, so that evaluators of one program, as in a sweep, compile once.
@functools.lru_cache(maxsize=32)
def _hard_bound(
    program: gumbel.programs.Program,
    num_samples: int,
    mesh: Mesh,
    estimator: str | None,
) -> Callable:
    is_cpu = mesh.devices.flat[0].platform == "cpu"
    options = {} if is_cpu else {"chunk": _CHUNK}
    evaluate = gumbel.evaluate(
        program, num_samples=num_samples, estimator=estimator, **options
    )

    def bound(key, params, args, hyper):
        args = jax.lax.with_sharding_constraint(args, rows_sharding(mesh))
        return evaluate(key, params, *args, **hyper)

    return jax.jit(bound, out_shardings=whole(mesh))


@functools.lru_cache(maxsize=32)
def _relaxed_bound(
    program: gumbel.programs.Program, num_samples: int, kl: str, mesh: Mesh
) -> Callable:
    estimate = gumbel.value_and_grad("gumbel_softmax", program, num_samples=num_samples)

    def bound(temperatures, key, params, args):
        args = jax.lax.with_sharding_constraint(args, rows_sharding(mesh))
        # The gradient is not asked for, and hence not computed.
        return estimate(key, params, *args, kl=kl, **temperatures).bound

    return jax.jit(bound, out_shardings=whole(mesh))


class Evaluator:
    """Evaluates bounds over whole sets, in batches of bounded memory.

    Args:
        program: the program whose bound it is.
        sets: the program's args for each split, all examples.
        batch_size: examples evaluated together; batches are padded to this size, and
            to what the devices divide, which changes no noise of an example.
        key: root of the noise, the same for every evaluation.
        mesh: of the devices that share the rows, by default all.
        estimator: that of training, where it changes the network that is evaluated.
        hard_program: the same function of discrete values, faster, where there is one.
    """

    def __init__(
        self,
        program: gumbel.programs.Program,
        sets: Mapping[str, tuple[jax.Array, ...]],
        batch_size: int,
        key: jax.Array,
        mesh: Mesh | None = None,
        estimator: str | None = None,
        hard_program: gumbel.programs.Program | None = None,
    ):
        self._program, self._sets = program, sets
        self._hard_program = hard_program or program
        self._batch_size, self._key = batch_size, key
        self._mesh, self._estimator = mesh or make_mesh(), estimator

    def __call__(
        self,
        params,
        split: str,
        num_samples: int,
        stop: Callable[[], None] = lambda: None,
        hyper: Mapping[str, Any] | None = None,
    ) -> np.ndarray:
        """The bound L_m on hard samples of every example of a split, [n], in nats.

        Args:
            params: the parameters.
            split: "valid" or "test".
            num_samples: m.
            stop: called between batches; may raise to break off.
            hyper: hyper-parameters of the estimator, of `hyper.network_hyper`.
        """
        hyper = hyper or {}
        program = self._hard_program
        bound = _hard_bound(program, num_samples, self._mesh, self._estimator)
        title = f"{split} nll_{num_samples}"

        def evaluate(start, rows):
            stop()
            return bound(jax.random.fold_in(self._key, start), params, rows, hyper)

        return self._in_batches(split, self._batch_size, num_samples, title, evaluate)

    def relaxed(
        self,
        params,
        split: str,
        num_samples: int,
        kl: str,
        temperatures: Mapping[str, Any],
    ) -> np.ndarray:
        """L_m of the relaxed program for every example of a split, [n], in nats.

        It is the objective of training with gumbel_softmax: a bound on the marginal of
        the relaxed program where kl is "relaxed_density", form (20) of Maddison et al.
        (2017), appendix C.2, or where the program has no KL, but never on that of the
        discrete program.

        Args:
            params: the parameters.
            split: "valid" or "test".
            num_samples: m.
            kl: one of KL_FORMS, the objective.
            temperatures: `temperature`, and `prior_temperature` where it has its own.
        """
        bound = _relaxed_bound(self._program, num_samples, kl, self._mesh)
        key = jax.random.fold_in(self._key, _RELAXED)
        size = max(1, min(self._batch_size, _RELAXED_DRAWS // num_samples))
        title = f"{split} relaxed nll_{num_samples}"

        def evaluate(start, rows):
            return bound(temperatures, jax.random.fold_in(key, start), params, rows)

        return self._in_batches(split, size, num_samples, title, evaluate)

    def _in_batches(
        self, split: str, size: int, num_samples: int, title: str, evaluate: Callable
    ) -> np.ndarray:
        arrays = self._sets[split]
        total, bounds = len(arrays[0]), []
        padded_size = -(-size // self._mesh.size) * self._mesh.size
        with report.progress(total * num_samples, 0, title) as bar:
            bar.unit = "sample"
            for start in range(0, total, size):
                rows = [_pad(a[start : start + size], padded_size) for a in arrays]
                bound = np.asarray(evaluate(start, rows))
                bounds.append(bound[: min(size, total - start)])
                bar.update(len(bounds[-1]) * num_samples)
        return np.concatenate(bounds)


def _pad(rows: jax.Array, size: int) -> jax.Array:
    padding = [(0, size - len(rows))] + [(0, 0)] * (rows.ndim - 1)
    return jnp.pad(rows, padding)


def nll_summary(bounds: np.ndarray) -> dict[str, float]:
    """The mean of −bounds [n] over examples, in nats, and its standard error."""
    stderr = bounds.std(ddof=1) / np.sqrt(len(bounds))
    return {"nll": float(-bounds.mean()), "nll_stderr": float(stderr)}


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
    return nll_summary(bounds) | {
        "nll_1": float(-bounds_1.mean()),
        "eval_samples": m,
    }
