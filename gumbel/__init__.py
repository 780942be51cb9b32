"""Discrete reparameterisation in JAX: samplers, densities, programs, estimators.

Functions from (key, arrays) to arrays; they compose with jit, grad and vmap.

    estimate = gumbel.value_and_grad("gumbel_softmax", program)
    bound, grads, state = estimate(key, params, x, temperature=2 / 3)
"""

from gumbel import estimators, objectives, programs, schedules
from gumbel.conditionals import conditional_gumbel, conditional_logistic
from gumbel.densities import (
    binary_concrete_log_prob,
    concrete_log_prob,
    exp_concrete_log_prob,
    logit_binary_concrete_log_prob,
)
from gumbel.distributions import Bernoulli, Categorical, Normal
from gumbel.estimate import Estimate, evaluate, value_and_grad
from gumbel.estimators import Estimator
from gumbel.samplers import binary_concrete, gumbel_max, gumbel_softmax

__all__ = [
    "Bernoulli",
    "Categorical",
    "Estimate",
    "Estimator",
    "Normal",
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
    "logit_binary_concrete_log_prob",
    "objectives",
    "programs",
    "schedules",
    "value_and_grad",
]
