"""Discrete reparameterisation in JAX: samplers, densities, programs, estimators.

Functions from (key, arrays) to arrays; they compose with jit, grad and vmap.

    f = gumbel.value_and_grad("nvil", program)
    state = f.init(key, params, x)                      # () where nothing is learned
    bound, grads, state = f(key, params, x, state=state)
"""

from importlib.metadata import PackageNotFoundError, version

from gumbel import estimators, objectives, programs, quality, schedules
from gumbel.conditionals import conditional_gumbel, conditional_logistic
from gumbel.densities import (
    binary_concrete_log_prob,
    concrete_log_prob,
    exp_concrete_log_prob,
    logit_binary_concrete_log_prob,
)
from gumbel.distributions import Bernoulli, Categorical, Normal
from gumbel.estimate import Estimate, ValueAndGrad, evaluate, value_and_grad
from gumbel.estimators import Estimator
from gumbel.gates import hard_concrete, hard_concrete_nonzero_prob
from gumbel.samplers import (
    binary_concrete,
    gumbel_max,
    gumbel_softmax,
    straight_through,
)
from gumbel.subsets import gumbel_top_k, relaxed_top_k

try:
    __version__ = version("gumbel-jax")
except PackageNotFoundError:  # a source tree that was not installed
    __version__ = "0+unknown"

__all__ = [
    "Bernoulli",
    "Categorical",
    "Estimate",
    "Estimator",
    "Normal",
    "ValueAndGrad",
    "__version__",
    "binary_concrete",
    "binary_concrete_log_prob",
    "concrete_log_prob",
    "conditional_gumbel",
    "conditional_logistic",
    "estimators",
    "evaluate",
    "exp_concrete_log_prob",
    "gumbel_max",
    "gumbel_softmax",
    "gumbel_top_k",
    "hard_concrete",
    "hard_concrete_nonzero_prob",
    "logit_binary_concrete_log_prob",
    "objectives",
    "programs",
    "quality",
    "relaxed_top_k",
    "schedules",
    "straight_through",
    "value_and_grad",
]
