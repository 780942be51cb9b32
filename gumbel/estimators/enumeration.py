"""Exact enumeration: the true gradient, where the discrete draws are few.

Runs the program at every joint value c of its discrete draws and sums
Σ_c q(c) log w(c), which ordinary differentiation turns into the exact gradient.
With one class variable this is the marginalisation of Kingma et al. (2014), M2.
"""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from gumbel.distributions import Bernoulli, Distribution, Normal
from gumbel.estimators.base import Estimator, Hyper, State, stateless
from gumbel.nodes import Node
from gumbel.programs import Run, discrete_node, hard, interpret

# Joint values of all samples together: beyond this the table of log weights alone
# passes a gigabyte at batch size 4096.
MAX_CONFIGURATIONS = 2**16

# Corners evaluated in one vectorised pass; more are mapped over, recomputing on the
# way back, so that memory does not grow with their number.
CHUNK = 256


def enumerate_draws(run: Run, key: jax.Array) -> dict[str, np.ndarray]:
    """All joint values of a program's discrete draws.

    Args:
        run: what `program(params, *args)` returned.
        key: a typed PRNG key, for the draws that are not discrete.

    Returns:
        For each discrete draw an integer array [C, ...], the support index of its
        variables in each of the C joint values, shared by all examples of the batch.

    Raises:
        ValueError: if there are more than MAX_CONFIGURATIONS.
    """
    # Of each draw, the number of values of a variable and the axes of the variables.
    draws: dict[str, tuple[int, tuple[int, ...]]] = {}

    def record(key, name: str, distribution: Distribution) -> Node:
        if not isinstance(distribution, Normal):
            shape = distribution.logits.shape
            axes = shape[1:] if isinstance(distribution, Bernoulli) else shape[1:-1]
            draws[name] = len(distribution.support()), axes
        return hard()(key, name, distribution)

    jax.eval_shape(lambda k: interpret(run, k, record)[0], key)
    radices = [k for k, axes in draws.values() for _ in range(math.prod(axes))]
    total = math.prod(radices)
    _check_total(total)
    digits = np.stack(np.unravel_index(np.arange(total), radices or [1]), axis=1)
    corners = {}
    for name, (_, axes) in draws.items():
        index, digits = np.split(digits, [math.prod(axes)], axis=1)
        corners[name] = index.reshape(total, *axes)
    return corners


def _check_total(total: int, num_samples: int = 1) -> None:
    if total**num_samples > MAX_CONFIGURATIONS:
        raise ValueError(
            f"estimator='exact': the discrete draws have {total:.6g} joint values for "
            f"each of {num_samples} samples: must be at most {MAX_CONFIGURATIONS} "
            "together, as of a few variables and one sample"
        )


def _log_weights(run: Run, key, corners: Mapping[str, np.ndarray], kl: str):
    """Log weights and log masses of every corner, each [C, B]."""

    def at_corner(corner: Mapping[str, jax.Array]):
        def pinned(key, name: str, distribution: Distribution) -> Node:
            if name not in corner:
                return hard(kl)(key, name, distribution)
            value = distribution.support()[corner[name]]
            value = jnp.broadcast_to(value, distribution.logits.shape)
            return discrete_node(value, distribution, kl)

        log_w, nodes = interpret(run, key, pinned)
        log_q = [node.log_q for name, node in nodes.items() if name in corner]
        log_q = sum(log_q, start=jnp.zeros_like(log_w))
        # The weight of an impossible value may be infinite, and has no part in the sum.
        return jnp.where(jnp.exp(log_q) == 0, 0.0, log_w), log_q

    if len(next(iter(corners.values()))) > CHUNK:
        at_corner = jax.checkpoint(at_corner)
    return jax.lax.map(at_corner, corners, batch_size=CHUNK)


def _estimate(key: jax.Array, run: Run, state: State, hyper: Hyper):
    num_samples = hyper["num_samples"]
    corners = enumerate_draws(run, key)
    total = max([len(index) for index in corners.values()], default=1)
    _check_total(total, num_samples)
    corners = corners or {"": np.zeros((1, 0), int)}

    # The table over S-tuples of corners, a sample at a time: the joint log mass adds,
    # the sum of the weights accumulates in log space.
    log_sum, log_q = _log_weights(run, jax.random.fold_in(key, 0), corners, hyper["kl"])
    for sample in range(1, num_samples):
        sample_key = jax.random.fold_in(key, sample)
        log_w_s, log_q_s = _log_weights(run, sample_key, corners, hyper["kl"])
        log_sum = jnp.logaddexp(log_sum[:, None], log_w_s[None])
        log_q = log_q[:, None] + log_q_s[None]
        batch = log_sum.shape[-1]
        log_sum, log_q = log_sum.reshape(-1, batch), log_q.reshape(-1, batch)
    log_mean = log_sum - jnp.log(num_samples)
    return (jnp.exp(log_q) * log_mean).sum(axis=0), state


exact = Estimator(
    stateless,
    _estimate,
    samples=(1, None),
    unbiased=True,
    cost="Π Kᴺ, over all discrete draws (its m-th power for the bound alone)",
    reference="The definition of the expectation. Normal draws are sampled, the same "
    "noise at every corner.",
)
