"""Pathwise estimators: differentiate through the sample itself.

All of them run the program once a sample and return its bound; they differ in the
node. Biased for discrete draws: what is differentiated is a relaxation (Gumbel-
Softmax) or a gradient that belongs to another value (straight-through).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gumbel import samplers
from gumbel.checks import check_positive
from gumbel.distributions import Bernoulli, Categorical, Distribution
from gumbel.estimators.base import Estimator, Hyper, State, stateless
from gumbel.logits import wide
from gumbel.nodes import Node
from gumbel.objectives import log_mean_exp
from gumbel.programs import Run, Sampler, discrete_node, relaxed, sample_log_weights


def pathwise(make_sampler: Callable[[Hyper], Sampler], **fields: Any) -> Estimator:
    """An estimator that differentiates the multi-sample bound of one sampler.

    The shortest way to an estimator of one's own, for any number of samples:

        def mean_field(key, name, distribution):
            return gumbel.programs.discrete_node(distribution.mean(), distribution)

        own = gumbel.estimators.pathwise(lambda hyper: mean_field)

    Args:
        make_sampler: hyper-parameters -> the sampler that makes the nodes.
        **fields: the other fields of the Estimator.

    Returns:
        An Estimator without state.
    """

    def estimate(key: jax.Array, run: Run, state: State, hyper: Hyper):
        sampler = make_sampler(hyper)
        log_w = sample_log_weights(run, key, sampler, hyper["num_samples"])
        return log_mean_exp(log_w), state

    return Estimator(stateless, estimate, **{"samples": (1, None), **fields})


def hard_value(sample: Callable[..., jax.Array]) -> Callable[[Hyper], Sampler]:
    """A sampler of nodes whose discrete values have a gradient of their own.

    Args:
        sample: (key, distribution, hyper) -> the value of a discrete draw.
    """

    def make_sampler(hyper: Hyper) -> Sampler:
        def sampler(key, name: str, distribution: Distribution) -> Node:
            del name
            if isinstance(distribution, Bernoulli | Categorical):
                value = sample(key, distribution, hyper)
            else:
                value = distribution.sample(key)
            return discrete_node(value, distribution, hyper["kl"])

        return sampler

    return make_sampler


def _relaxed(hyper: Hyper) -> Sampler:
    return relaxed(hyper["temperature"], hyper["prior_temperature"], hyper["kl"])


def _st_gumbel_softmax_value(key, distribution: Distribution, hyper: Hyper):
    logits, temperature = distribution.logits, hyper["temperature"]
    if isinstance(distribution, Bernoulli):
        return samplers.binary_concrete(key, logits, temperature, hard=True)
    return samplers.gumbel_softmax(key, logits, temperature, hard=True)


def _straight_through_value(key, distribution: Distribution, hyper: Hyper):
    del hyper
    return samplers.straight_through(distribution.sample(key), distribution.mean())


def _sharpened(distribution: Distribution, hyper: Hyper) -> Distribution:
    check_positive("slope", hyper["slope"])
    if not isinstance(distribution, Bernoulli | Categorical):
        return distribution
    logits = wide(distribution.logits)
    sharpened = jnp.asarray(hyper["slope"]).astype(logits.dtype) * logits
    dtype = jnp.result_type(distribution.logits)
    return distribution.replace(logits=sharpened.astype(dtype))


gumbel_softmax = pathwise(
    _relaxed,
    reference="Jang, Gu & Poole 2017, eq. (2); Maddison, Mnih & Teh 2017, Def. 1. "
    "Relaxed values flow on: unbiased for the relaxed program, biased for the hard.",
)

st_gumbel_softmax = pathwise(
    hard_value(_st_gumbel_softmax_value),
    reference="Jang, Gu & Poole 2017, section 2.2: the Gumbel-Max sample forward, "
    "the gradient of the softmax of the same noise backward.",
)

straight_through = pathwise(
    hard_value(_straight_through_value),
    reference="Bengio, Léonard & Courville 2013: a hard sample forward, the gradient "
    "of its mean backward.",
)

slope_annealed_st = pathwise(
    hard_value(_straight_through_value),
    hyper={"slope": 1.0},
    law=_sharpened,
    reference="Chung, Ahn & Bengio 2017, the slope-annealing trick: straight-through "
    "for draws of sigmoid(slope·logits) or softmax(slope·logits). Sample, KL and log "
    "mass are of this sharpened law, and so is the network that is evaluated: "
    "evaluate(…, estimator='slope_annealed_st') with the slope. The slope is traced; "
    "annealing it from 1 upwards is the caller's.",
)
