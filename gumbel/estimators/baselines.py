"""Baselines and variance normalisation of learning signals.

A score-function estimate is E[signal · ∇ log q(z)]. A baseline that does not depend on
z can be subtracted from the signal: the expectation stays, the variance changes. All
baselines here are used before they are updated, so that they depend on earlier steps
only; none lets a gradient through.

Shapes: B batch, S samples, F features. Everything in nats.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from gumbel.checks import check_choice
from gumbel.distributions import Distribution, Normal
from gumbel.estimators.base import Hyper
from gumbel.estimators.learned import Learned, net
from gumbel.nodes import Node
from gumbel.objectives import log_mean_exp
from gumbel.programs import Run

# A decay of 1 keeps a moment where it starts: the mean at 0, nothing subtracted; the
# variance at 0, nothing divided. Traced, so switching them on never recompiles.
# `normalise` says what max(1, σ) divides: all of the "gradient" in a draw's logits, or
# the learning "signal" alone.
MOMENTS_HYPER: Hyper = {
    "baseline_decay": 1.0,
    "variance_decay": 1.0,
    "normalise": "gradient",
}


@struct.dataclass
class Moments:
    """Moving averages of a learning signal's batch mean and batch variance, scalars."""

    mean: jax.Array
    variance: jax.Array

    @property
    def scale(self) -> jax.Array:
        """max(1, σ), the divisor of variance normalisation."""
        return jnp.maximum(1.0, jnp.sqrt(self.variance))


def init_moments() -> Moments:
    """Moments without effect: mean 0, variance 0."""
    return Moments(jnp.zeros(()), jnp.zeros(()))


def init_joint_moments(key: jax.Array, run: Run, hyper: Hyper) -> Moments:
    """The `init` of estimators with a single learning signal for all draws."""
    del key, run, hyper
    return init_moments()


def centre(
    signal: jax.Array, moments: Moments, hyper: Hyper
) -> tuple[jax.Array, Moments]:
    """Centres a learning signal and updates its moments.

    signal − c, then c ← d·c + (1 − d)·mean(signal), and σ² likewise with the batch
    variance: Mnih & Gregor (2014), Algorithm 1, which has d = 0.8. Centring leaves the
    expected gradient as it is.

    Args:
        signal: any shape.
        moments: of the earlier steps.
        hyper: `baseline_decay` for the mean, `variance_decay` for the variance.

    Returns:
        The centred signal and the updated moments.

    Raises:
        ValueError: if a decay, where it is concrete, is not from 0 to 1.
    """
    updated = Moments(
        _average("baseline_decay", hyper, moments.mean, signal.mean()),
        _average("variance_decay", hyper, moments.variance, signal.var()),
    )
    # The state keeps its dtype and the signal its own.
    return signal - moments.mean.astype(signal.dtype), updated


def _average(name: str, hyper: Hyper, old, new) -> jax.Array:
    decay = hyper[name]
    if not isinstance(decay, jax.core.Tracer) and not np.all(
        (np.asarray(decay) >= 0) & (np.asarray(decay) <= 1)
    ):
        raise ValueError(f"{name}={decay}: must be from 0 to 1 (1: off)")
    return (decay * old + (1.0 - decay) * new.astype(old.dtype)).astype(old.dtype)


@jax.custom_jvp
def _divide_gradient(x, scale) -> jax.Array:
    del scale
    return x


@_divide_gradient.defjvp
def _divide_gradient_jvp(primals, tangents):
    (x, scale), (tangent, _) = primals, tangents
    return x, tangent / scale.astype(x.dtype)


def normalised(run: Run, scale_of: Callable[[str], jax.Array], hyper: Hyper) -> Run:
    """A program whose log weights' gradient in a draw's logits is divided by a scale.

    Variance normalisation divides the gradient that a draw's logits get through their
    score by max(1, σ) (Mnih & Gregor, 2014, Algorithm 1). The gradient that they get
    from the log weights directly, by a KL in closed form above all, must be divided
    with it: else the KL counts max(1, σ) times as much as the likelihood, and the
    posterior becomes the prior. The nodes that `interpret` returns, whose score it is,
    are not divided.

    Args:
        run: what `program(params, *args)` returned, for hard samples.
        scale_of: the scale of the discrete draw of a name, a scalar.
        hyper: `normalise`: "gradient", or "signal" for the program as it is, whose
            score alone is divided.

    Returns:
        The program; its values are the same.
    """
    check_choice("normalise", hyper["normalise"], ("gradient", "signal"))
    if hyper["normalise"] == "signal":
        return run

    def scaled(draw):
        def divided(name: str, distribution: Distribution | None = None) -> Node:
            node = draw(name, distribution)
            if isinstance(distribution, Normal):
                return node
            logits = _divide_gradient(node.distribution.logits, scale_of(name))
            law = node.distribution.replace(logits=logits)
            return dataclasses.replace(node, distribution=law, law=law)

        return run(divided)

    return scaled


def fit(
    baseline: Learned, features: jax.Array, target: jax.Array, learning_rate: Any
) -> Learned:
    """One step of Adam down the mean of ½(target − b(features))².

    Args:
        baseline: the parameters of a network b.
        features: [..., F].
        target: [...], what the baseline is to predict.
        learning_rate: a scalar, the baseline's own.

    Returns:
        The baseline after the step.
    """

    def loss(params):
        return 0.5 * jnp.mean((target - net(params, features)) ** 2)

    return baseline.descend(jax.grad(loss)(baseline.params), learning_rate)


def with_one_replaced(log_w: jax.Array, stand_in: jax.Array) -> jax.Array:
    """The bounds in which one sample's log weight is replaced, and the others stay.

    Args:
        log_w: log weights, [S, B].
        stand_in: the replacement of each, [S, B].

    Returns:
        [S, B]; row s does not depend on log_w of sample s.
    """
    same = jnp.eye(log_w.shape[0], dtype=bool)[:, :, None]
    replaced = jnp.where(same, stand_in[:, None], log_w[None])
    # [S, S, B] with the samples to average on the first axis.
    return log_mean_exp(replaced.swapaxes(0, 1))


def leave_one_out(log_w: jax.Array) -> jax.Array:
    """VIMCO's baseline of each sample: the bound with it replaced by the others.

    log (1/S) (Σ_{j≠s} w_j + ŵ_s), log ŵ_s = 1/(S−1) Σ_{j≠s} log w_j, the geometric
    mean of the other weights. Every sum leaves the sample out to begin with: the
    difference `sum − self` cancels where one weight dominates.

    Args:
        log_w: log weights, [S, B], S ≥ 2.

    Returns:
        [S, B]; row s does not depend on sample s.
    """
    num_samples = log_w.shape[0]
    same = jnp.eye(num_samples, dtype=bool)[:, :, None]
    others = jnp.where(same, 0.0, log_w[None])
    return with_one_replaced(log_w, others.sum(axis=1) / (num_samples - 1))
