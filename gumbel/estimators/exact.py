"""Exact enumeration: the gradient itself, where the discrete draws are few.

Runs the program at every joint value c of its discrete draws and sums
Σ_c q(c) log w(c), which ordinary differentiation turns into the exact gradient.
With one class variable this is the marginalisation of Kingma et al. (2014), M2.
"""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from gumbel.distributions import Distribution, Normal
from gumbel.estimators.base import Estimator, stateless
from gumbel.programs import Node, Run, discrete_node, hard, interpret

# Joint values of all samples together: beyond this the table of log weights alone
# passes a gigabyte at batch size 4096.
MAX_CONFIGURATIONS = 2**16

# Corners evaluated in one vectorised pass; more are mapped over, recomputing on the
# way back, so that memory does not grow with their number.
CHUNK = 256


def enumerate_draws(run: Run, key) -> dict[str, np.ndarray]:
    """All joint values of a program's discrete draws.

    Args:
        run: what `program(params, *args)` returned.
        key: a typed PRNG key, for the draws that are not discrete.

    Returns:
        For each discrete draw an integer array [C, N], the support index of its
        variables in each of the C joint values, shared by all examples of the batch.

    Raises:
        ValueError: if there are more than MAX_CONFIGURATIONS.
    """
    sizes: dict[str, tuple[int, int]] = {}

    def record(key, name: str, distribution: Distribution) -> Node:
        if not isinstance(distribution, Normal):
            num_values = distribution.support().shape[0]
            sizes[name] = (distribution.logits.shape[1], num_values)
        return hard()(key, name, distribution)

    jax.eval_shape(lambda k: interpret(run, k, record)[0], key)
    total = math.prod(k**n for n, k in sizes.values())
    _check_total(total)
    radices = [k for n, k in sizes.values() for _ in range(n)]
    digits = np.stack(np.unravel_index(np.arange(total), radices or [1]), axis=1)
    ends = np.cumsum([n for n, _ in sizes.values()], dtype=int)
    # Nothing is left after the last end.
    return dict(zip(sizes, np.split(digits, ends, axis=1)[:-1], strict=True))


def _check_total(total: int, num_samples: int = 1) -> None:
    if total**num_samples > MAX_CONFIGURATIONS:
        raise ValueError(
            f"estimator='exact': the discrete draws have {total} joint values for each "
            f"of {num_samples} samples: must be at most {MAX_CONFIGURATIONS} together"
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
        return log_w, sum(log_q, start=jnp.zeros_like(log_w))

    if len(next(iter(corners.values()))) > CHUNK:
        at_corner = jax.checkpoint(at_corner)
    return jax.lax.map(at_corner, corners, batch_size=CHUNK)


def _estimate(key, run: Run, state, hyper: Mapping):
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
    unbiased=True,
    cost="Π Kᴺ, over all discrete draws (its m-th power for the bound alone)",
    reference="The definition of the expectation. Normal draws are sampled, the same "
    "noise at every corner.",
)
