"""Pathwise estimators: differentiate through the sample itself.

All of them run the program once a sample and return its bound; they differ in the
node. Biased for discrete draws: what is differentiated is a relaxation (Gumbel-
Softmax) or a gradient that belongs to another value (straight-through).
"""

from collections.abc import Callable, Mapping

from gumbel import samplers
from gumbel.checks import check_positive
from gumbel.distributions import Bernoulli, Categorical, Distribution
from gumbel.estimators.base import Estimator, stateless
from gumbel.objectives import log_mean_exp
from gumbel.programs import (
    Node,
    Run,
    Sampler,
    discrete_node,
    relaxed,
    sample_log_weights,
)


def pathwise(make_sampler: Callable[[Mapping], Sampler], **entry) -> Estimator:
    """An estimator that differentiates the multi-sample bound of one sampler.

    Args:
        make_sampler: hyper-parameters -> the sampler that makes the nodes.
        **entry: the other fields of the Estimator.

    Returns:
        An Estimator without state.
    """

    def estimate(key, run: Run, state, hyper: Mapping):
        sampler = make_sampler(hyper)
        log_w = sample_log_weights(run, key, sampler, hyper["num_samples"])
        return log_mean_exp(log_w), state

    return Estimator(stateless, estimate, **entry)


def _relaxed(hyper: Mapping) -> Sampler:
    return relaxed(hyper["temperature"], hyper["prior_temperature"], hyper["kl"])


def hard_value(draw_value: Callable) -> Callable[[Mapping], Sampler]:
    """A sampler of discrete nodes whose value carries a gradient of its own."""

    def make_sampler(hyper: Mapping) -> Sampler:
        def sampler(key, name: str, distribution: Distribution) -> Node:
            del name
            value = draw_value(key, distribution, hyper)
            return discrete_node(value, distribution, hyper["kl"])

        return sampler

    return make_sampler


def _st_gumbel_softmax_value(key, distribution: Distribution, hyper: Mapping):
    temperature = hyper["temperature"]
    match distribution:
        case Bernoulli(logits):
            return samplers.binary_concrete(key, logits, temperature, hard=True)
        case Categorical(logits):
            return samplers.gumbel_softmax(key, logits, temperature, hard=True)
        case _:
            return distribution.sample(key)


def _straight_through_value(key, distribution: Distribution, hyper: Mapping):
    del hyper
    value = distribution.sample(key)
    if isinstance(distribution, Bernoulli | Categorical):
        return samplers.straight_through(value, distribution.mean())
    return value


def _slope_annealed_value(key, distribution: Distribution, hyper: Mapping):
    slope = hyper["slope"]
    check_positive("slope", slope)
    value = distribution.sample(key)
    match distribution:
        case Bernoulli(logits) | Categorical(logits):
            steep = type(distribution)(slope * logits)
            return samplers.straight_through(value, steep.mean())
        case _:
            return value


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
    hard_value(_slope_annealed_value),
    hyper={"slope": 1.0},
    reference="Chung, Ahn & Bengio 2017, the slope-annealing trick. A hard sample of "
    "the logits forward, the gradient of sigmoid(slope·logits) or of "
    "softmax(slope·logits) backward. The slope is traced; annealing it from 1 upwards "
    "is the caller's.",
)
