"""What a learning signal is less, and over: running moments, learned nets, the rest.

A score-function estimate is E[signal · ∇ log q(z)]. Anything that does not depend on
z may be subtracted from the signal without a change of the expectation, the estimate's
variance is what changes. All baselines here are used before they are updated, so that
they depend on earlier steps only; none lets a gradient through.

Legend: B batch, S samples, F features. Everything in nats.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from gumbel.distributions import Distribution, Normal
from gumbel.estimators.learned import descend, init_net, init_optimizer, net
from gumbel.objectives import log_mean_exp
from gumbel.programs import Node, Run

# A decay of 1 keeps a moment where it starts: the mean at 0, nothing subtracted; the
# variance at 0, nothing divided. Traced, so switching them on never recompiles.
MOMENTS_HYPER: Mapping[str, Any] = {"baseline_decay": 1.0, "variance_decay": 1.0}


@struct.dataclass
class Moments:
    """Moving averages of a learning signal's batch mean and batch variance, scalars."""

    mean: jax.Array
    variance: jax.Array

    @property
    def scale(self) -> jax.Array:
        """max(1, σ), what a normalised gradient is divided by."""
        return jnp.maximum(1.0, jnp.sqrt(self.variance))


def init_moments() -> Moments:
    """Moments that do nothing yet: mean 0, variance 0."""
    return Moments(jnp.zeros(()), jnp.zeros(()))


def init_joint_moments(key, run: Run, hyper: Mapping) -> Moments:
    """The `init` of estimators with a single learning signal for all draws."""
    del key, run, hyper
    return init_moments()


def centre(signal, moments: Moments, hyper: Mapping) -> tuple[jax.Array, Moments]:
    """Centres a learning signal and follows its moments.

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
    # State and signal keep their dtypes, whatever the program computes in.
    return (signal - moments.mean).astype(signal.dtype), updated


@jax.custom_jvp
def _divide_gradient(x, scale) -> jax.Array:
    del scale
    return x


@_divide_gradient.defjvp
def _divide_gradient_jvp(primals, tangents):
    (x, scale), (tangent, _) = primals, tangents
    return x, tangent / scale.astype(x.dtype)


def normalised(run: Run, scale_of: Callable[[str], jax.Array]) -> Run:
    """A program whose log weights' gradient in a draw's logits is over its scale.

    Variance normalisation divides what a draw's logits get through their score by
    max(1, σ) (Mnih & Gregor, 2014, Algorithm 1). What they get from the log weights
    directly, by a KL in closed form above all, must be divided with it: else the KL
    counts max(1, σ) times as much as the likelihood, and the posterior becomes the
    prior. The nodes that `interpret` returns, whose score it is, are not divided.

    Args:
        run: what `program(params, *args)` returned, for hard samples.
        scale_of: the scale of the discrete draw of a name, a scalar.

    Returns:
        The program; its values are the same.
    """

    def scaled(draw):
        def seen(name: str, distribution: Distribution) -> Node:
            node = draw(name, distribution)
            if isinstance(distribution, Normal):
                return node
            logits = _divide_gradient(distribution.logits, scale_of(name))
            law = distribution.replace(logits=logits)
            return dataclasses.replace(node, distribution=law, law=law)

        return run(seen)

    return scaled


def _average(name: str, hyper: Mapping, old, new) -> jax.Array:
    decay = hyper[name]
    if not isinstance(decay, jax.core.Tracer) and not np.all(
        (np.asarray(decay) >= 0) & (np.asarray(decay) <= 1)
    ):
        raise ValueError(f"{name}={decay}: must be from 0 to 1 (1: off)")
    return (decay * old + (1.0 - decay) * new).astype(old.dtype)


@struct.dataclass
class LearnedBaseline:
    """A net b(features) with one tanh layer, and its optimiser's state."""

    params: Any
    opt_state: Any

    def __call__(self, features) -> jax.Array:
        """The baseline [...] of features [..., F]."""
        return net(self.params, features)

    def fit(self, features, target, learning_rate) -> "LearnedBaseline":
        """One step of Adam down the mean of ½(target − b(features))².

        Args:
            features: [..., F].
            target: [...], what the baseline is to predict.
            learning_rate: a scalar, the baseline's own.

        Returns:
            The baseline after the step.
        """

        def loss(params):
            return 0.5 * jnp.mean((target - net(params, features)) ** 2)

        grads = jax.grad(loss)(self.params)
        return LearnedBaseline(
            *descend(self.params, self.opt_state, grads, learning_rate)
        )


def init_baseline(key, num_features: int) -> LearnedBaseline:
    """A baseline that is 0 everywhere, ready to learn.

    Args:
        key: a typed PRNG key.
        num_features: F.
    """
    # Without an output bias: the moments' mean is one.
    params = init_net(key, num_features)
    return LearnedBaseline(params, init_optimizer(params))


def with_one_replaced(log_w, stand_in) -> jax.Array:
    """The bounds in which one sample's log weight is replaced, and the others stay.

    Args:
        log_w: log weights, [S, B].
        stand_in: what takes the place of each, [S, B].

    Returns:
        [S, B]; row s does not depend on log_w of sample s.
    """
    own = jnp.eye(log_w.shape[0], dtype=bool)[:, :, None]
    replaced = jnp.where(own, stand_in[:, None], log_w[None])
    # [S, S, B] with the samples to average on the first axis.
    return log_mean_exp(replaced.swapaxes(0, 1))


def leave_one_out(log_w) -> jax.Array:
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
    own = jnp.eye(num_samples, dtype=bool)[:, :, None]
    others = jnp.where(own, 0.0, log_w[None])
    return with_one_replaced(log_w, others.sum(axis=1) / (num_samples - 1))
