"""Control variates from the program's derivative: MuProp and DARN.

Both use that a program's log weight f can be differentiated in the values of its
draws, though only their corners are ever drawn: a first-order Taylor expansion of f
is subtracted from the learning signal. MuProp adds its expectation back and is
unbiased, DARN does not and is biased.

Shapes: B batch, K classes. Everything in nats.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from gumbel.checks import check_choice
from gumbel.distributions import Categorical, Distribution, Normal
from gumbel.estimators.base import Estimator, Hyper
from gumbel.estimators.baselines import (
    MOMENTS_HYPER,
    Moments,
    centre,
    init_joint_moments,
    init_moments,
    normalised,
)
from gumbel.estimators.reinforce import discrete, score_term
from gumbel.logits import sum_variables, wide
from gumbel.nodes import Node
from gumbel.programs import Run, Sampler, hard, interpret, valued

Shifts = Mapping[str, jax.Array]


def _mean_field(shifts: Shifts, kl: str) -> Sampler:
    """Draws return their mean given the means before them, plus a shift."""
    return valued(lambda key, name, law: law.mean() + shifts[name], kl)


def _muprop(key: jax.Array, run: Run, moments: Moments, hyper: Hyper):
    key, scale = jax.random.fold_in(key, 0), moments.scale
    scaled = normalised(run, lambda name: scale, hyper)
    share_scale = scale if hyper["normalise"] == "gradient" else 1.0
    log_w, nodes = interpret(scaled, key, hard(hyper["kl"]))
    nodes = discrete(nodes)

    # The mean-field pass has the same Gaussian noise. Its derivative in the shift of a
    # draw is total: it passes through the means of the draws downstream.
    def mean_field(shifts):
        log_w, _ = interpret(run, key, _mean_field(shifts, hyper["kl"]))
        return log_w.sum(), log_w

    zeros = {name: jnp.zeros_like(node.value) for name, node in nodes.items()}
    slopes, baseline = jax.grad(mean_field, has_aux=True)(zeros)

    # f̄ + Σ_d f̄'_d·(z_d − μ_d), μ_d the mean given the draws before d as sampled. The
    # linear term of d has mean 0 given those, so it changes no score but that of d
    # itself, whose share f̄'_d·∇μ_d is added back.
    surrogate = log_w
    for name, node in nodes.items():
        mean, slope = wide(node.distribution.mean()), wide(slopes[name])
        baseline = baseline + sum_variables(slope * (wide(node.value) - mean))
        surrogate = surrogate + sum_variables(score_term(slope / share_scale, mean))
    signal = jax.lax.stop_gradient(log_w - baseline)
    signal, moments = centre(signal, moments, hyper)
    joint_log_q = sum((n.log_q for n in nodes.values()), start=jnp.zeros_like(log_w))
    return surrogate + score_term(signal / scale, joint_log_q), moments


def _variables(run: Run, key: jax.Array) -> dict[str, jax.ShapeDtypeStruct]:
    """The shape [B, ...] and dtype of each draw's log mass, in the order drawn."""
    shapes = {}

    def record(key, name: str, distribution: Distribution) -> Node:
        node = hard()(key, name, distribution)
        if not isinstance(distribution, Normal):
            shapes[name] = jax.eval_shape(distribution.log_prob, node.value)
        return node

    jax.eval_shape(lambda k: interpret(run, k, record)[0], key)
    return shapes


def _init_darn(key: jax.Array, run: Run, hyper: Hyper) -> dict[str, Moments]:
    del hyper
    return {name: init_moments() for name in _variables(run, key)}


def _centre_of(distribution: Distribution, centre: str):
    """z̄ of a class variable: 1/2, 1/K for each of K possible classes, or the mean."""
    mean = distribution.mean()
    if centre == "p":
        return mean
    possible = (mean > 0).astype(mean.dtype)
    if centre == "1/2":
        return possible / 2.0
    return possible / possible.sum(axis=-1, keepdims=True)


def _away_from_centre(shifts: Shifts, hyper: Hyper) -> Sampler:
    """Draws return a sample z moved by shift · (z − z̄), with shifts [B, ...]."""
    check_choice("centre", hyper["centre"], ("1/K", "1/2", "p"))

    def value_of(key, name: str, distribution: Distribution):
        value, shift, centre = distribution.sample(key), shifts[name], 0.5
        if isinstance(distribution, Categorical):
            shift = shift[..., None]
            centre = jax.lax.stop_gradient(_centre_of(distribution, hyper["centre"]))
        step = shift * (value - centre).astype(shift.dtype)
        return value + step.astype(value.dtype)

    return valued(value_of, hyper["kl"])


def _darn(key: jax.Array, run: Run, state: Mapping[str, Moments], hyper: Hyper):
    key = jax.random.fold_in(key, 0)
    variables = _variables(run, key)
    zeros = {name: jnp.zeros(v.shape, v.dtype) for name, v in variables.items()}

    def sampled(run: Run, shifts: Shifts):
        log_w, nodes = interpret(run, key, _away_from_centre(shifts, hyper))
        nodes = discrete(nodes)
        log_q = {name: n.distribution.log_prob(n.value) for name, n in nodes.items()}
        return log_w, log_q

    (log_w, log_q), pull_back = jax.vjp(functools.partial(sampled, run), zeros)

    # f'(z)·(z − z̄) of each variable, the last draw first: what f depends on a draw by
    # way of later ones is the derivative of their scores, weighted by their signals.
    new_state, signals = {}, jax.tree.map(jnp.zeros_like, log_q)
    for name in reversed(variables):
        (derivative,) = pull_back((jnp.ones_like(log_w), signals))
        signal = jax.lax.stop_gradient(derivative[name])
        signal, new_state[name] = centre(signal, state[name], hyper)
        signals = {**signals, name: signal}

    # The same pass again, which a compiler merges: only its gradient differs.
    scaled = normalised(run, lambda name: state[name].scale, hyper)
    surrogate, log_q = sampled(scaled, zeros)
    for name, signal in signals.items():
        score = score_term(signal / state[name].scale, log_q[name])
        surrogate = surrogate + sum_variables(score)
    return surrogate, new_state


muprop = Estimator(
    init_joint_moments,
    _muprop,
    hyper=MOMENTS_HYPER,
    samples=(1, 1),
    unbiased=True,
    cost="2: a sample and the mean-field pass",
    reference="Gu, Levine, Sutskever & Mnih 2016. signal = f(z) − f̄ − Σ f̄'·(z − μ), "
    "f̄ and f̄' from the mean-field pass; Σ f̄'·∇μ added back, μ the mean of a draw "
    "given the sampled ones before it. baseline_decay, variance_decay and normalise as "
    "in score_function: 'signal' divides neither the KL's gradient nor Σ f̄'·∇μ.",
)

darn = Estimator(
    _init_darn,
    _darn,
    hyper={**MOMENTS_HYPER, "centre": "1/K"},
    samples=(1, 1),
    cost="1, and a backward pass for each draw",
    reference="Gregor, Danihelka, Mnih, Blundell & Wierstra 2014. For each variable "
    "signal = f(z) − b, b = f(z) + f'(z)·(z̄ − z) the expansion of f(z̄) about the "
    "sample, its correction term dropped. z̄ = 1/2 for bits: unbiased for quadratic f. "
    "For classes the papers do not say it: centre is '1/K', '1/2' or 'p', the mean; "
    "all are unbiased for linear f. baseline_decay, variance_decay and normalise as in "
    "score_function, for the signals of each draw.",
)
