"""Gradient estimators by name: each an interpreter of stochastic programs.

ESTIMATORS maps a name to an Estimator; `value_and_grad` takes a name or an Estimator
of the user's own.
"""

from gumbel.estimators.antithetic import arm, disarm
from gumbel.estimators.base import COMMON_HYPER, Estimator, stateless
from gumbel.estimators.conditional import rebar, relax, tuned_rebar
from gumbel.estimators.control_variates import darn, muprop
from gumbel.estimators.enumeration import exact
from gumbel.estimators.hard_forward import gapped_st, gumbel_rao, reinmax, zgr
from gumbel.estimators.reinforce import nvil, reinforce_loo, score_function, vimco
from gumbel.estimators.reparameterised import (
    gumbel_softmax,
    pathwise,
    slope_annealed_st,
    st_gumbel_softmax,
    straight_through,
)

ESTIMATORS: dict[str, Estimator] = {
    "gumbel_softmax": gumbel_softmax,
    "st_gumbel_softmax": st_gumbel_softmax,
    "straight_through": straight_through,
    "slope_annealed_st": slope_annealed_st,
    "gumbel_rao": gumbel_rao,
    "gapped_st": gapped_st,
    "reinmax": reinmax,
    "zgr": zgr,
    "score_function": score_function,
    "nvil": nvil,
    "vimco": vimco,
    "reinforce_loo": reinforce_loo,
    "arm": arm,
    "disarm": disarm,
    "darn": darn,
    "muprop": muprop,
    "rebar": rebar,
    "tuned_rebar": tuned_rebar,
    "relax": relax,
    "exact": exact,
}

__all__ = ["COMMON_HYPER", "ESTIMATORS", "Estimator", "pathwise", "stateless"]
