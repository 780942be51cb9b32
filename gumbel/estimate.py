"""The two ways to use a program: estimate its gradient, or evaluate its bound."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gumbel.checks import check_choice, check_count, check_key
from gumbel.estimators import ESTIMATORS, Estimator, stateless
from gumbel.programs import Program, Run, hard, sample_log_weights

# Hard samples that `evaluate` draws at once: on a CPU enough to share what the program
# computes before its first draw.
CHUNK = 16


class Estimate(NamedTuple):
    """The result of one call of an estimator.

    Attributes:
        bound: the multi-sample bound per example, [B], in nats.
        grads: the estimated gradient of its mean over B, shaped like the parameters.
        state: the estimator's state for the next call.
    """

    bound: jax.Array
    grads: Any
    state: Any


@dataclasses.dataclass(frozen=True, eq=False)
class ValueAndGrad:
    """The function that estimates a program's bound and its gradient.

    Pure; jit it with the temperature as a traced argument. Made by `value_and_grad`.

    Attributes:
        name: the estimator's name in error messages.
        estimator: the estimator.
        program: the program.
        num_samples: m of the bound.
    """

    name: str
    estimator: Estimator
    program: Program
    num_samples: int

    def init(self, key: jax.Array, params: Any, *args: Any, **hyper: Any) -> Any:
        """Makes the estimator's state for the first call.

        Args:
            key: a typed PRNG key.
            params: the program's parameters.
            *args: the program's other arguments.
            **hyper: hyper-parameters, as in the calls that follow.

        Returns:
            The state; `()` for estimators that learn nothing.
        """
        check_key(key)
        hyper = self.estimator.complete(self.num_samples, hyper)
        return self.estimator.init(key, self._run(params, args, hyper), hyper)

    def __call__(
        self, key: jax.Array, params: Any, *args: Any, state: Any = None, **hyper: Any
    ) -> Estimate:
        """Estimates the bound and its gradient.

        Args:
            key: a typed PRNG key.
            params: the program's parameters.
            *args: the program's other arguments.
            state: made by `init`, or what the call before returned. Estimators that
                learn nothing need none.
            **hyper: hyper-parameters; those left out have the estimator's defaults.

        Returns:
            The Estimate.

        Raises:
            ValueError: for the state of another estimator or program, or none where
                there must be one; for unknown or impossible hyper-parameters, and
                draws that the program or the estimator does not support.
        """
        check_key(key)
        full = self.estimator.complete(self.num_samples, hyper)
        state = self._checked(state, lambda: self.init(key, params, *args, **hyper))
        # Not the key itself: `init` may have been called with the same one.
        _, estimate_key = jax.random.split(key)

        def mean_surrogate(params):
            run = self._run(params, args, full)
            bound, new_state = self.estimator.estimate(estimate_key, run, state, full)
            return bound.mean(), (bound, new_state)

        grads, (bound, new_state) = jax.grad(mean_surrogate, has_aux=True)(params)
        return Estimate(bound, grads, new_state)

    def _run(self, params: Any, args: tuple, hyper: Any) -> Run:
        run = _run_of(self.program, params, args)
        return self.estimator.apply_to(self.name, run, hyper)

    def _checked(self, state: Any, init: Callable[[], Any]) -> Any:
        if self.estimator.init is stateless and state is None:
            return ()
        expected = jax.eval_shape(init)
        if state is None and jax.tree.leaves(expected):
            raise ValueError(
                f"state=None: the estimator {self.name} learns from call to call: make "
                "its state with f.init(key, params, *args), f = value_and_grad(…), and "
                "pass each call the state that the one before returned"
            )
        state = expected if state is None else state
        if jax.tree.map(jnp.shape, state) != jax.tree.map(jnp.shape, expected):
            raise ValueError(
                f"state: is not one of the estimator {self.name} for this program: "
                "must have been made by f.init(key, params, *args)"
            )
        return state


def value_and_grad(
    estimator: str | Estimator, program: Program, *, num_samples: int = 1
) -> ValueAndGrad:
    """Makes the function that estimates a program's bound and its gradient.

        f = gumbel.value_and_grad("nvil", program)
        state = f.init(key, params, x)
        bound, grads, state = f(key, params, x, state=state)

    Args:
        estimator: a name in ESTIMATORS, or an Estimator.
        program: `program(params, *args)(draw) -> log_w [B]`.
        num_samples: m of the bound L_m = E[log-mean-exp of m log weights].

    Returns:
        f(key, params, *args, state=None, **hyper) -> Estimate, whose gradients are of
        the bound's mean, to be ascended; and f.init(key, params, *args, **hyper) ->
        state, `()` for estimators that learn nothing.

    Raises:
        ValueError: for an unknown estimator or a number of samples it does not
            support.
    """
    name = estimator if isinstance(estimator, str) else "given"
    if isinstance(estimator, str):
        check_choice("estimator", estimator, ESTIMATORS)
        estimator = ESTIMATORS[estimator]
    if not isinstance(estimator, Estimator):
        raise ValueError(f"estimator={estimator!r}: must be a name or an Estimator")
    estimator.check_samples(name, num_samples)
    return ValueAndGrad(name, estimator, program, num_samples)


def _run_of(program: Program, params: Any, args: tuple) -> Run:
    run = program(params, *args)
    if not callable(run):
        raise ValueError(
            f"program(params, *args) has type {type(run).__name__}: must be a function "
            "run(draw) -> log_w [B]"
        )
    return run


def evaluate(
    program: Program,
    *,
    num_samples: int,
    estimator: str | None = None,
    chunk: int = CHUNK,
) -> Callable[..., jax.Array]:
    """Makes the function that evaluates a program's bound on hard samples.

    L_m = log (1/m) Σ_s w_s, Burda et al. (2016): a lower bound on log p(x) that
    tightens with m. Accumulated in chunks, so memory does not grow with m, and
    sample s has the same noise whatever m is.

    Args:
        program: `program(params, *args)(draw) -> log_w [B]`.
        num_samples: m ≥ 1.
        estimator: the name of the estimator that the program was trained with, where
            that changes the network that is evaluated (`slope_annealed_st`).
        chunk: samples drawn at once, on which memory depends, and no noise.

    Returns:
        f(key, params, *args, **hyper) -> L_m per example, [B], in nats; hyper are the
        estimator's hyper-parameters, for those that use them here.

    Raises:
        ValueError: if num_samples or chunk is not a positive integer or there is no
            such estimator.
    """
    check_count("num_samples", num_samples)
    check_count("chunk", chunk)
    if estimator is not None:
        check_choice("estimator", estimator, ESTIMATORS)
    chunk = min(num_samples, chunk)
    starts = jnp.arange(math.ceil(num_samples / chunk)) * chunk

    def bound(key: jax.Array, params: Any, *args: Any, **hyper: Any) -> jax.Array:
        check_key(key)

        def network() -> Run:
            run = _run_of(program, params, args)
            if estimator is None:
                return run
            entry = ESTIMATORS[estimator]
            return entry.apply_to(estimator, run, entry.complete(num_samples, hyper))

        def add_chunk(total, start):
            log_w = sample_log_weights(network(), key, hard(), chunk, start)
            # The last chunk may be longer than what is left.
            beyond = start + jnp.arange(chunk) >= num_samples
            log_w = jnp.where(beyond[:, None], -jnp.inf, log_w)
            return jnp.logaddexp(total, jax.nn.logsumexp(log_w, axis=0)), None

        if estimator is None and hyper:
            raise ValueError(f"{', '.join(hyper)}: of no use without an estimator")
        shape = jax.eval_shape(lambda: sample_log_weights(network(), key, hard(), 1)[0])
        empty = jnp.full(shape.shape, -jnp.inf, shape.dtype)
        total, _ = jax.lax.scan(add_chunk, empty, starts)
        return total - math.log(num_samples)

    return bound
