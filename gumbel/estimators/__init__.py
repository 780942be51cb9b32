"""Gradient estimators by name: each an interpreter of stochastic programs.

ESTIMATORS maps a name to an Estimator; `value_and_grad` takes a name or an Estimator
of the user's own.
"""

from gumbel.estimators.base import COMMON_HYPER, Estimator, stateless
from gumbel.estimators.exact import exact
from gumbel.estimators.pathwise import (
    gumbel_softmax,
    pathwise,
    st_gumbel_softmax,
    straight_through,
)

ESTIMATORS: dict[str, Estimator] = {
    "gumbel_softmax": gumbel_softmax,
    "st_gumbel_softmax": st_gumbel_softmax,
    "straight_through": straight_through,
    "exact": exact,
}

__all__ = ["COMMON_HYPER", "ESTIMATORS", "Estimator", "pathwise", "stateless"]
