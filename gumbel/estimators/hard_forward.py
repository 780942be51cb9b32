"""A hard sample forward, a better gradient than straight-through's backward.

All are pathwise estimators with the exact sample D for a value; they differ in the
soft value whose gradient stands for D's. Biased, but for what is said of each.

Legend: B batch, N variables, K categories.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from gumbel.checks import check_count, check_non_negative
from gumbel.conditionals import conditional_gumbel, conditional_logistic
from gumbel.distributions import Bernoulli, Categorical, Distribution
from gumbel.estimators.pathwise import hard_value, pathwise
from gumbel.samplers import compute_dtype, straight_through


def _moved(logits, target, temperature):
    """target/τ, with the gradient of logits/τ."""
    return (logits + jax.lax.stop_gradient(target - logits)) / temperature


def _gumbel_rao_value(key, distribution: Distribution, hyper: Mapping):
    check_count("inner_samples", hyper["inner_samples"])
    match distribution:
        case Bernoulli(logits):
            conditional, squash = conditional_logistic, jax.nn.sigmoid
        case Categorical(logits):
            conditional, squash = conditional_gumbel, jax.nn.softmax
        case _:
            return distribution.sample(key)
    value_key, noise_key = jax.random.split(key)
    value = distribution.sample(value_key)
    shape = (hyper["inner_samples"], *logits.shape)
    wide = jnp.broadcast_to(logits.astype(compute_dtype(logits)), shape)
    z = conditional(noise_key, wide, jnp.broadcast_to(value, shape))
    # At fixed G, as in Gumbel-Softmax: the mean over D and z is ST-GS's only so.
    soft = squash(_moved(wide, z, hyper["temperature"])).mean(axis=0)
    return straight_through(value, soft.astype(logits.dtype))


def expected_gap(log_p, log_rest):
    """By how much the class drawn leads after Gumbel-Max, on average: −log(1 − p)/p.

    Args:
        log_p: log mass of the class drawn, [...].
        log_rest: log mass of all others together, [...].

    Returns:
        [...], at least 1: its limit at p → 0.
    """
    p = jnp.maximum(jnp.exp(log_p), jnp.finfo(log_p.dtype).tiny)
    # Each where it is precise: near 0 and near 1.
    log_not_p = jnp.where(p < 0.5, jnp.log1p(-jnp.minimum(p, 0.5)), log_rest)
    return -log_not_p / p


def _gapped_value(key, distribution: Distribution, hyper: Mapping):
    value, gap = distribution.sample(key), hyper["gap"]
    if gap is not None:
        check_non_negative("gap", gap)
    match distribution:
        case Bernoulli(logits):
            logits = logits.astype(compute_dtype(logits))
            sign = 2.0 * value - 1.0
            if gap is None:
                gap = expected_gap(
                    jax.nn.log_sigmoid(sign * logits),
                    jax.nn.log_sigmoid(-sign * logits),
                )
            target, squash = sign * jnp.maximum(sign * logits, gap), jax.nn.sigmoid
        case Categorical(logits):
            logits, chosen = logits.astype(compute_dtype(logits)), value == 1
            if gap is None:
                log_p = jax.nn.log_softmax(logits)
                log_rest = jnp.where(chosen, -jnp.inf, log_p)
                gap = expected_gap(
                    jnp.where(chosen, log_p, 0.0).sum(-1),
                    jax.nn.logsumexp(log_rest, axis=-1),
                )[..., None]
            top = logits.max(axis=-1, keepdims=True)
            target = jnp.where(chosen, top, jnp.minimum(logits, top - gap))
            squash = jax.nn.softmax
        case _:
            return value
    soft = squash(_moved(logits, target, hyper["temperature"]))
    return straight_through(value, soft.astype(value.dtype))


def _at_mean(distribution: Distribution, mean):
    """A term with the derivative that the mean of a distribution has at `mean`."""
    mean = jax.lax.stop_gradient(mean)
    match distribution:
        case Bernoulli(logits):
            return mean * (1.0 - mean) * logits
        case Categorical(logits):
            return mean * (logits - (mean * logits).sum(axis=-1, keepdims=True))


def _reinmax_value(key, distribution: Distribution, hyper: Mapping):
    value = distribution.sample(key)
    if not isinstance(distribution, Bernoulli | Categorical):
        return value
    flat = type(distribution)(distribution.logits / hyper["temperature"])
    midpoint = (value + flat.mean()) / 2.0
    soft = 2.0 * _at_mean(distribution, midpoint)
    soft = soft - 0.5 * _at_mean(distribution, distribution.mean())
    return straight_through(value, soft.astype(value.dtype))


gumbel_rao = pathwise(
    hard_value(_gumbel_rao_value),
    hyper={"inner_samples": 10},
    cost="m, with k = inner_samples softmaxes for each draw",
    reference="Paulus, Maddison & Krause 2021, GR-MC: a hard sample D forward, the "
    "gradient of the softmax averaged over k draws of the noise given D backward. Its "
    "mean is that of st_gumbel_softmax and its variance lower, because the derivative "
    "is at fixed noise: none goes through the conditioning on D.",
)

gapped_st = pathwise(
    hard_value(_gapped_value),
    hyper={"gap": 1.0},
    reference="Fan, Chi, Rudnicky & Ramadge 2022, GST: a hard sample forward, the "
    "gradient of the softmax backward at logits moved, without a gradient, so that the "
    "sample has the largest one, ahead of the others by the gap or more. gap=1.0 is "
    "GST-1.0; gap=None the expected gap of Gumbel-Max given a class of probability p, "
    "−log(1 − p)/p, which is GST-p. A bit is a class of two.",
)

reinmax = pathwise(
    hard_value(_reinmax_value),
    reference="Liu, Dong, Liu, Yu & Gao 2023, Algorithm 2: a hard sample D forward, "
    "backward 2J((D + softmax(logits/τ))/2) − J(softmax(logits))/2, with "
    "J(p) = diag(p) − ppᵀ. Second order, Heun's method: at τ = 1 without bias for a "
    "cost of one layer that is quadratic in each variable. A bit is a class of two.",
)
