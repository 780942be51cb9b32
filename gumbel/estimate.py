"""The two ways to use a program: estimate its gradient, or evaluate its bound."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gumbel.checks import check_choice
from gumbel.estimators import ESTIMATORS, Estimator
from gumbel.programs import Program, hard, sample_log_weights

# Hard samples drawn in one vectorised pass of `evaluate`. Enough to share what the
# program computes before its first draw; memory does not grow with num_samples.
CHUNK = 16


class Estimate(NamedTuple):
    """What one call of an estimator gives.

    Attributes:
        bound: the multi-sample bound per example, [B], in nats.
        grads: the estimated gradient of its mean over B, shaped like the parameters.
        state: the estimator's state for the next call.
    """

    bound: jax.Array
    grads: Any
    state: Any


def value_and_grad(
    estimator: str | Estimator, program: Program, *, num_samples: int = 1
) -> Callable[..., Estimate]:
    """Makes the function that estimates a program's bound and its gradient.

    Args:
        estimator: a name in ESTIMATORS, or an Estimator.
        program: `program(params, *args)(draw) -> log_w [B]`.
        num_samples: m of the bound L_m = E[log-mean-exp of m log weights].

    Returns:
        f(key, params, *args, state=None, **hyper) -> Estimate. Pure; jit it with the
        temperature as a traced argument. `state=None` starts the estimator's state
        afresh; hyper-parameters not given have the estimator's defaults.

    Raises:
        ValueError: for an unknown estimator or a number of samples it does not
            support; from f, for unknown or impossible hyper-parameters and draws of a
            family that the estimator does not support.
    """
    name = estimator if isinstance(estimator, str) else "given"
    if isinstance(estimator, str):
        check_choice("estimator", estimator, ESTIMATORS)
        estimator = ESTIMATORS[estimator]
    if not isinstance(estimator, Estimator):
        raise ValueError(f"estimator={estimator!r}: must be a name or an Estimator")
    estimator.check_samples(name, num_samples)

    def estimate(key, params, *args, state=None, **given) -> Estimate:
        hyper = estimator.complete(num_samples, given)
        init_key, estimate_key = jax.random.split(key)
        if state is None:
            run = estimator.restrict(name, program(params, *args))
            state = estimator.init(init_key, run, hyper)

        def mean_surrogate(params):
            run = estimator.restrict(name, program(params, *args))
            bound, new_state = estimator.estimate(estimate_key, run, state, hyper)
            return bound.mean(), (bound, new_state)

        grads, (bound, new_state) = jax.grad(mean_surrogate, has_aux=True)(params)
        return Estimate(bound, grads, new_state)

    return estimate


def evaluate(program: Program, *, num_samples: int) -> Callable[..., jax.Array]:
    """Makes the function that evaluates a program's bound on hard samples.

    L_m = log (1/m) Σ_s w_s, Burda et al. (2016): a lower bound on log p(x) that
    tightens with m. Accumulated in chunks, so memory does not grow with m, and
    sample s has the same noise whatever m is.

    Args:
        program: `program(params, *args)(draw) -> log_w [B]`.
        num_samples: m ≥ 1.

    Returns:
        f(key, params, *args) -> L_m per example, [B], in nats.

    Raises:
        ValueError: if num_samples is not a positive integer.
    """
    if not isinstance(num_samples, int) or num_samples < 1:
        raise ValueError(f"num_samples={num_samples!r}: must be an integer ≥ 1")
    chunk = min(num_samples, CHUNK)
    starts = jnp.arange(math.ceil(num_samples / chunk)) * chunk

    def bound(key, params, *args) -> jax.Array:
        def add_chunk(total, start):
            run = program(params, *args)
            log_w = sample_log_weights(run, key, hard(), chunk, start)
            # The last chunk may be longer than what is left.
            beyond = start + jnp.arange(chunk) >= num_samples
            log_w = jnp.where(beyond[:, None], -jnp.inf, log_w)
            return jnp.logaddexp(total, jax.nn.logsumexp(log_w, axis=0)), None

        run = program(params, *args)
        shape = jax.eval_shape(lambda: sample_log_weights(run, key, hard(), 1)[0])
        empty = jnp.full(shape.shape, -jnp.inf, shape.dtype)
        total, _ = jax.lax.scan(add_chunk, empty, starts)
        return total - math.log(num_samples)

    return bound
