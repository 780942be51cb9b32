"""A hard sample forward, a better gradient than straight-through's backward.

All are pathwise estimators with the exact sample D for a value; they differ in the
soft value whose gradient replaces that of D. Biased, but for what is said of each.
"""

import jax
import jax.numpy as jnp

from gumbel.checks import check_count, check_non_negative
from gumbel.conditionals import conditional_gumbel, conditional_logistic
from gumbel.distributions import Bernoulli, Distribution
from gumbel.estimators.base import Hyper, logits_of, squash
from gumbel.estimators.reparameterised import hard_value, pathwise
from gumbel.logits import finite
from gumbel.samplers import straight_through


def _moved(logits, target):
    """The target, with the gradient of the logits."""
    logits = finite(logits)
    return logits + jax.lax.stop_gradient(target - logits)


def _hard(value, soft):
    return straight_through(value, soft.astype(value.dtype))


def _gumbel_rao_value(key, distribution: Distribution, hyper: Hyper):
    check_count("inner_samples", hyper["inner_samples"])
    logits, is_bit = logits_of(distribution), isinstance(distribution, Bernoulli)
    conditional = conditional_logistic if is_bit else conditional_gumbel
    value_key, noise_key = jax.random.split(key)
    value = distribution.sample(value_key)
    shape = (hyper["inner_samples"], *logits.shape)
    logits = jnp.broadcast_to(logits, shape)
    z = conditional(noise_key, logits, jnp.broadcast_to(value, shape))
    # At fixed G, as in Gumbel-Softmax: the mean over D and z is ST-GS's only so.
    soft = squash(distribution, _moved(logits, z), hyper["temperature"])
    return _hard(value, soft.mean(axis=0))


def expected_gap(log_p, log_rest):
    """The mean lead of the class drawn after Gumbel-Max: −log(1 − p)/p.

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


def _gapped_value(key, distribution: Distribution, hyper: Hyper):
    value, gap = distribution.sample(key), hyper["gap"]
    if gap is not None:
        check_non_negative("gap", gap)
    logits = logits_of(distribution)
    if isinstance(distribution, Bernoulli):
        sign = 2.0 * value.astype(logits.dtype) - 1.0
        if gap is None:
            log_p, log_rest = (jax.nn.log_sigmoid(s * logits) for s in (sign, -sign))
            gap = expected_gap(log_p, log_rest)
        target = sign * jnp.maximum(sign * logits, gap)
    else:
        chosen = value == 1
        if gap is None:
            log_p = jax.nn.log_softmax(logits)
            log_rest = jnp.where(chosen, -jnp.inf, log_p)
            gap = expected_gap(
                jnp.where(chosen, log_p, 0.0).sum(-1),
                jax.nn.logsumexp(log_rest, axis=-1),
            )[..., None]
        top = logits.max(axis=-1, keepdims=True)
        target = jnp.where(chosen, top, jnp.minimum(logits, top - gap))
    soft = squash(distribution, _moved(logits, target), hyper["temperature"])
    return _hard(value, soft)


def _at_mean(distribution: Distribution, mean):
    """A term with the derivative that the mean of a distribution has at `mean`."""
    mean, logits = jax.lax.stop_gradient(mean), finite(logits_of(distribution))
    if isinstance(distribution, Bernoulli):
        return mean * (1.0 - mean) * logits
    return mean * (logits - (mean * logits).sum(axis=-1, keepdims=True))


def _reinmax_value(key, distribution: Distribution, hyper: Hyper):
    value = distribution.sample(key)
    logits = logits_of(distribution)
    flat = squash(distribution, logits, hyper["temperature"])
    midpoint = (value.astype(logits.dtype) + flat) / 2.0
    soft = 2.0 * _at_mean(distribution, midpoint)
    soft = soft - 0.5 * _at_mean(distribution, squash(distribution, logits))
    return _hard(value, soft)


def _zgr_value(key, distribution: Distribution, hyper: Hyper):
    del hyper
    value, mean = distribution.sample(key), distribution.mean()
    log_q = distribution.log_prob(value)
    if not isinstance(distribution, Bernoulli):
        log_q = log_q[..., None]
    mean = mean.astype(log_q.dtype)
    score = jax.lax.stop_gradient(value.astype(log_q.dtype) - mean) * log_q
    return _hard(value, (mean + score) / 2.0)


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

zgr = pathwise(
    hard_value(_zgr_value),
    reference="Shekhovtsov 2023, ZGR: a hard sample D forward, the gradient of "
    "½ (p + (D − p) log q(D)) backward, p the mean: the mean of straight-through and "
    "of darn at z̄ = p, and the limit τ → 0 of gumbel_rao; for bits it is darn. Also "
    "reinmax at τ = 1: without bias for costs that are quadratic in each variable.",
)
