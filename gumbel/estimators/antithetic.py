"""Antithetic pairs of bits: ARM and DisARM.

A bit is 1[φ + L > 0], φ its log-odds and L logistic noise; its antithesis b' has −L.
Both have the right law, so f(b) − f(b') tells how the cost depends on the bits, and

    ∇φ E f = E (f(b) − f(b')) w,    w = ½ tanh(L/2)               ARM: σ(L) − ½
                                    w = ½ (b − b') σ(|φ|)         DisARM: its mean
                                                                  given b and b'

With several draws there is a pass for each, in which it alone is negated: earlier
draws are as in the first pass and later ones follow from it, with the same noise. With
m samples f is the bound as a function of one of them, the others held.

A categorical variable is read off independent bits, k being the class if bit k is the
first that is 1 (stick breaking; the last class needs none). Bits after the first 1s of
both passes have no effect, and their w, whose mean is 0, is left out.

Shapes: B batch, S samples, K classes, J bits of a variable.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gumbel.distributions import Bernoulli, Categorical, Distribution
from gumbel.estimators.base import Estimator, Hyper, State, logits_of, stateless
from gumbel.estimators.baselines import with_one_replaced
from gumbel.estimators.reinforce import score_term
from gumbel.logits import sum_variables
from gumbel.objectives import log_mean_exp
from gumbel.programs import Run, interpret, over_samples, valued
from gumbel.samplers import logistic_noise

# Log-odds of certain bits, as of a mask: none of them has a gradient.
_CERTAIN = 1e38


class Bits(NamedTuple):
    """The bits that a draw was read off, each field [B, ..., J].

    Attributes:
        log_odds: φ, with their gradient.
        noise: L, before any negation.
        bits: 1[φ ± L > 0].
        seen: whether the value depends on the bit.
    """

    log_odds: jax.Array
    noise: jax.Array
    bits: jax.Array
    seen: jax.Array


def _log_odds(distribution: Distribution) -> jax.Array:
    """Of the bits of each variable, [B, ..., J]: J = 1, or K − 1 by stick breaking."""
    logits = jnp.clip(logits_of(distribution), -_CERTAIN, _CERTAIN)
    if isinstance(distribution, Bernoulli):
        return logits[..., None]
    # The class against all that come after it.
    after = jax.lax.cumlogsumexp(logits, axis=logits.ndim - 1, reverse=True)
    return logits[..., :-1] - after[..., 1:]


def _value(distribution: Distribution, bits) -> tuple[jax.Array, jax.Array]:
    """The value read off the bits, and the bits it depends on, [B, ..., J]."""
    if isinstance(distribution, Categorical):
        # Of a single class there are no bits.
        one = jnp.ones((*bits.shape[:-1], 1), bits.dtype)
        none_yet = jnp.cumprod(1.0 - bits, axis=-1)
        seen = jnp.concatenate([one, none_yet], axis=-1)
        # The last class is a stick that always breaks.
        breaks = jnp.concatenate([bits, one], axis=-1)
        value, seen = seen * breaks, seen[..., :-1]
    else:
        value, seen = bits[..., 0], jnp.ones_like(bits)
    return value.astype(distribution.logits.dtype), seen


def _run(run: Run, key: jax.Array, hyper: Hyper, negated: str | None = None):
    """One pass: log weights [S, B], and the Bits of each draw, [S, B, ..., J]."""

    def one(key):
        drawn = {}

        def value_of(key, name: str, distribution: Distribution):
            log_odds = _log_odds(distribution)
            noise = logistic_noise(key, log_odds.shape).astype(log_odds.dtype)
            sign = -1.0 if name == negated else 1.0
            bits = (log_odds + sign * noise > 0).astype(log_odds.dtype)
            value, seen = _value(distribution, bits)
            drawn[name] = Bits(log_odds, noise, bits, seen)
            return value

        log_w, _ = interpret(run, key, valued(value_of, hyper["kl"]))
        return log_w, drawn

    return over_samples(one, key, hyper["num_samples"])


def _gain(log_w, other) -> jax.Array:
    """The bound minus that in which a sample is replaced by its antithesis, [S, B]."""
    return log_mean_exp(log_w)[None] - with_one_replaced(log_w, other)


def _antithetic(weigh: Callable[[Bits, Bits], jax.Array], **fields: Any) -> Estimator:
    """The estimator with these weights w of (b, b')."""

    def estimate(key: jax.Array, run: Run, state: State, hyper: Hyper):
        log_w, drawn = _run(run, key, hyper)
        bounds, scores = [log_mean_exp(log_w)], jnp.zeros_like(log_w[0])
        for name, first in drawn.items():
            other_log_w, others = _run(run, key, hyper, negated=name)
            second = others[name]
            bounds.append(log_mean_exp(other_log_w))
            # The other samples may be held at either pass: the mean of both.
            gain = (_gain(log_w, other_log_w) - _gain(other_log_w, log_w)) / 2.0
            gain = jnp.expand_dims(gain, range(2, first.bits.ndim))
            weight = weigh(first, second) * jnp.maximum(first.seen, second.seen)
            term = score_term(gain * weight, first.log_odds)
            scores = scores + sum_variables(term.sum(axis=0))
        # Each pass is a fair sample, for the bound and for what is not in the draws.
        return sum(bounds) / len(bounds) + scores, state

    return Estimator(
        stateless,
        estimate,
        samples=(1, None),
        unbiased=True,
        cost="(1 + n)·m: a pass, and another for each of n discrete draws",
        **fields,
    )


def _arm_weight(first: Bits, second: Bits) -> jax.Array:
    del second
    return jnp.tanh(first.noise / 2.0) / 2.0


def _disarm_weight(first: Bits, second: Bits) -> jax.Array:
    return (first.bits - second.bits) * jax.nn.sigmoid(jnp.abs(first.log_odds)) / 2.0


arm = _antithetic(
    _arm_weight,
    families=("Bernoulli", "Normal"),
    reference="Yin & Zhou 2019, Theorem 1: (f(b) − f(b'))·(u − ½), b = 1[u > σ(−φ)] "
    "and its antithesis b' = 1[u < σ(φ)] of the same uniforms, φ the log-odds. "
    "Bernoulli draws only. Several draws one after another, as in their section on "
    "multiple stochastic layers, with common noise after the negated one.",
)

disarm = _antithetic(
    _disarm_weight,
    reference="Dong, Mnih & Tucker 2020, and U2G of Yin, Ho, Yan, Qian & Zhou 2020: "
    "½(f(b) − f(b'))·(b − b')·σ(abs φ), the mean of ARM given b and b'. For m samples "
    "f is the bound as a function of one of them, the others held: Dong et al. on "
    "multi-sample bounds. Categorical draws by stick breaking, DisARM-SB of Dong, Mnih "
    "& Tucker 2021, with the classes in the order of the logits.",
)
