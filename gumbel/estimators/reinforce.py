"""Score-function estimators: REINFORCE, NVIL, VIMCO and leave-one-out.

∇ E[L] = E[∇L + Σ_s signal_s · ∇ log q(z_s)], L the bound on hard samples and z_s all
discrete draws of sample s (Normal draws are reparameterised, so ∇L passes through
them). `signal_s` is L minus a baseline that does not depend on z_s; the estimators
differ in the baseline. With L = log-mean-exp over the samples and every sample's score
this is the gradient of the multi-sample bound itself, for any number of samples.

Shapes: B batch, S samples, F features. Everything in nats.
"""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import struct

from gumbel.checks import check_count
from gumbel.distributions import Normal
from gumbel.estimators.base import Estimator, Hyper, State, stateless
from gumbel.estimators.baselines import (
    MOMENTS_HYPER,
    Moments,
    centre,
    fit,
    init_joint_moments,
    init_moments,
    leave_one_out,
    normalised,
)
from gumbel.estimators.learned import Learned, init_net, net, to_learn
from gumbel.logits import wide
from gumbel.nodes import Node
from gumbel.objectives import log_mean_exp
from gumbel.programs import Run, hard, interpret, name_key, over_samples


def discrete(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """The nodes that need a score: all but the Normal ones."""
    return {
        name: node
        for name, node in nodes.items()
        if not isinstance(node.distribution, Normal)
    }


def hard_samples(run: Run, key: jax.Array, hyper: Hyper):
    """Runs a program `num_samples` times with exact samples.

    Args:
        run: what `program(params, *args)` returned.
        key: a typed PRNG key.
        hyper: `num_samples` and `kl`.

    Returns:
        The log weights [S, B], and by name of the discrete draws their log mass
        log_q [S, B] and their logits [S, B, F], the variables side by side.
    """

    def one(key):
        log_w, nodes = interpret(run, key, hard(hyper["kl"]))
        nodes = discrete(nodes)
        log_q = {name: node.log_q for name, node in nodes.items()}
        return log_w, log_q, {name: _flat_logits(node) for name, node in nodes.items()}

    return over_samples(one, key, hyper["num_samples"])


def _flat_logits(node: Node) -> jax.Array:
    logits = node.distribution.logits
    return jax.lax.stop_gradient(logits.reshape(logits.shape[0], -1))


def _joint(log_q: Mapping[str, jax.Array], log_w: jax.Array) -> jax.Array:
    """The log mass of all discrete draws together, [S, B]."""
    return sum(log_q.values(), start=jnp.zeros_like(log_w))


def score_term(signal: jax.Array, log_q: jax.Array) -> jax.Array:
    """A term that is 0 and has the gradient signal · ∇ log q, none where q is 0."""
    log_q = wide(log_q)
    log_q = jnp.where(jnp.isinf(log_q), 0.0, log_q)
    signal = jax.lax.stop_gradient(signal).astype(log_q.dtype)
    return signal * (log_q - jax.lax.stop_gradient(log_q))


def _score_function(key: jax.Array, run: Run, moments: Moments, hyper: Hyper):
    scale = moments.scale
    run = normalised(run, lambda name: scale, hyper)
    log_w, log_q, _ = hard_samples(run, key, hyper)
    bound = log_mean_exp(log_w)
    signal, moments = centre(jax.lax.stop_gradient(bound), moments, hyper)
    joint_log_q = _joint(log_q, log_w).sum(axis=0)
    return bound + score_term(signal / scale, joint_log_q), moments


@struct.dataclass
class _Nvil:
    """The learned baseline of a draw, and the moments of the residual signal."""

    learned: Learned
    moments: Moments


def _init_nvil(key: jax.Array, run: Run, hyper: Hyper) -> dict[str, _Nvil]:
    _, _, logits = jax.eval_shape(lambda k: hard_samples(run, k, hyper), key)

    def init(name: str, num_features: int) -> _Nvil:
        # Without an output bias: the moments' mean is one.
        baseline = to_learn(init_net(name_key(key, name), num_features))
        return _Nvil(baseline, init_moments())

    return {name: init(name, shape.shape[-1]) for name, shape in logits.items()}


def _nvil(key: jax.Array, run: Run, state: Mapping[str, _Nvil], hyper: Hyper):
    run = normalised(run, lambda name: state[name].moments.scale, hyper)
    log_w, log_q, logits = hard_samples(run, key, hyper)
    bound = surrogate = log_mean_exp(log_w)
    bound = jnp.broadcast_to(jax.lax.stop_gradient(bound), log_w.shape)
    new_state = {}
    for name, draw in state.items():
        residual = bound - net(draw.learned.params, logits[name])
        signal, moments = centre(residual, draw.moments, hyper)
        signal = signal / draw.moments.scale
        surrogate = surrogate + score_term(signal, log_q[name]).sum(axis=0)
        target = bound - draw.moments.mean
        rate = hyper["baseline_learning_rate"]
        learned = fit(draw.learned, logits[name], target, rate)
        new_state[name] = _Nvil(learned, moments)
    return surrogate, new_state


def _vimco(key: jax.Array, run: Run, state: State, hyper: Hyper):
    log_w, log_q, _ = hard_samples(run, key, hyper)
    bound = log_mean_exp(log_w)
    signal = bound[None] - leave_one_out(log_w)
    return bound + score_term(signal, _joint(log_q, log_w)).sum(axis=0), state


def _reinforce_loo(key: jax.Array, run: Run, state: State, hyper: Hyper):
    check_count("replicates", hyper["replicates"], 2)
    shape = hyper["replicates"], hyper["num_samples"]
    hyper = {**hyper, "num_samples": math.prod(shape)}
    log_w, log_q, _ = hard_samples(run, key, hyper)
    bounds = log_mean_exp(log_w.reshape(*shape, -1).swapaxes(0, 1))
    joint_log_q = _joint(log_q, log_w).reshape(*shape, -1).sum(axis=1)
    # A bound minus the mean of the others.
    signal = (bounds - bounds.mean(axis=0)[None]) * shape[0] / (shape[0] - 1)
    return (bounds + score_term(signal, joint_log_q)).mean(axis=0), state


score_function = Estimator(
    init_joint_moments,
    _score_function,
    hyper=MOMENTS_HYPER,
    samples=(1, None),
    unbiased=True,
    reference="Williams 1992 (REINFORCE). signal = L for every draw. A running-mean "
    "baseline with baseline_decay < 1 (still unbiased); with variance_decay < 1 "
    "variance normalisation: then unbiased up to the factor 1 / max(1, σ) of the "
    "gradient in the logits of the draws. normalise='signal' divides the learning "
    "signal alone, as printed in Jang, Gu & Poole 2017: biased where a KL in closed "
    "form gives the logits a gradient of its own.",
)

nvil = Estimator(
    _init_nvil,
    _nvil,
    hyper={**MOMENTS_HYPER, "baseline_decay": 0.8, "baseline_learning_rate": 1e-3},
    samples=(1, None),
    unbiased=True,
    reference="Mnih & Gregor 2014, Algorithm 1. For each draw signal = L − c − "
    "b(logits of the draw): c a running mean, b a network, learned by Adam at "
    "baseline_learning_rate. The logits are a function of the inputs and of earlier "
    "draws only, so b is a valid baseline in every layer. variance_decay = 0.8 is the "
    "paper's variance normalisation: then unbiased up to a factor 1 / max(1, σ) of the "
    "gradient in each draw's logits, which is why it is off by default.",
)

vimco = Estimator(
    stateless,
    _vimco,
    samples=(2, None),
    unbiased=True,
    reference="Mnih & Rezende 2016. signal_s = L minus the L in which w_s is replaced "
    "by the geometric mean of the other weights.",
)

reinforce_loo = Estimator(
    stateless,
    _reinforce_loo,
    hyper={"replicates": 2},
    samples=(1, None),
    unbiased=True,
    cost="k·m, with k = replicates",
    reference="Kool, van Hoof & Welling 2019, REINFORCE with leave-one-out baselines "
    "(RLOO). The mean of k ≥ 2 independent estimates, signal = L minus the mean L of "
    "the others: at m = 1 the paper's k samples. Every replicate is of the m-sample "
    "bound, which k does not change.",
)
