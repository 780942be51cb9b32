"""Control variates from relaxed samples given the hard one: REBAR and RELAX.

A draw is b = H(z), z the logits with Gumbel or logistic noise. Any function c of z is a
control variate for the score-function term of its logits l, because

    E_b E_{z̃|b} c(z̃) ∇log q(b) = ∇ E_z c(z) − E_b ∇ E_{z̃|b} c(z̃)

and both gradients on the right pass through z(l) and z̃(l) at fixed noise. The estimate
of a draw's gradient in its logits is therefore, f being the bound,

    g = (f(b) − c(z̃)) ∇log q(b) + ∂c/∂z ∇z − ∂c/∂z̃ ∇z̃.

The noise of z̃ is chosen so that z̃ = z in value (the common random numbers of REBAR's
implementation), so a single relaxed pass gives c and its derivative for both.

With several draws there is a pass for each, in which earlier draws are hard and it and
later ones relaxed (Tucker et al., section 3.3): the z̃ of all draws at once, given
all of b, would be biased. A draw's copies in m samples count as one.

Shapes: B batch, S samples, K classes, F features. Everything in nats.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gumbel.distributions import Bernoulli, Distribution
from gumbel.estimators.base import (
    Estimator,
    Hyper,
    State,
    logits_of,
    squash,
    stateless,
)
from gumbel.estimators.learned import Learned, init_net, net, to_learn
from gumbel.estimators.reinforce import score_term
from gumbel.logits import sum_variables
from gumbel.objectives import log_mean_exp
from gumbel.programs import (
    Run,
    interpret,
    name_key,
    over_samples,
    valued,
)

# Changes of log τ and η from the hyper-parameters, before anything is learned.
_FRESH: Mapping[str, float] = {"log_temperature": 0.0, "scale": 0.0}
# The most of |z|, as of a forbidden class: no gradient in τ is 0 · ∞.
_LARGEST = 1e30


class Drawn(NamedTuple):
    """A draw of all samples: its distribution, and z without a gradient, [S, B, …]."""

    distribution: Distribution
    z: jax.Array


def _perturbed(key: jax.Array, distribution: Distribution) -> jax.Array:
    """Logits with noise, up to a constant: the relaxed point at a temperature of 1."""
    z = distribution.relax(1.0).sample(key).y
    return jnp.clip(z, -_LARGEST, _LARGEST)


def _hard(distribution: Distribution, z) -> jax.Array:
    value = type(distribution)(z).mode()
    return value.astype(distribution.logits.dtype)


def _hard_pass(run: Run, key: jax.Array, hyper: Hyper):
    """Log weights [S, B], and each discrete draw by name."""

    def one(key):
        drawn = {}

        def value_of(key, name: str, distribution: Distribution):
            z = jax.lax.stop_gradient(_perturbed(key, distribution))
            drawn[name] = Drawn(distribution, z)
            return _hard(distribution, z)

        log_w, _ = interpret(run, key, valued(value_of, hyper["kl"]))
        return log_w, drawn

    return over_samples(one, key, hyper["num_samples"])


def _relaxed_pass(run: Run, key, name: str, z, temperature, hyper: Hyper):
    """The bound [B], earlier draws hard, this one relaxed from z, later ones too."""

    def one(index, z):
        reached = False

        def value_of(key, drawn: str, distribution: Distribution):
            nonlocal reached
            if drawn == name:
                reached = True
                return squash(distribution, z, temperature)
            other = _perturbed(key, distribution)
            if reached:
                return squash(distribution, other, temperature)
            return _hard(distribution, other)

        sample_key = jax.random.fold_in(key, index)
        return interpret(run, sample_key, valued(value_of, hyper["kl"]))[0]

    return log_mean_exp(jax.vmap(one)(jnp.arange(hyper["num_samples"]), z))


def path_difference(
    distribution: Distribution, z: jax.Array, slope: jax.Array
) -> jax.Array:
    """slope · (∂z/∂logits − ∂z̃/∂logits), z̃ being z in value but moved given b.

    z̃_k = −log(e^{−top} + e^{−l_k − G_k}) moves with top = logsumexp(l) + G_b by the
    share e^{z_k − top} and with l_k by the rest, so the difference is
    e^{z_k − top} ∇log softmax_k(l). A bit is the difference of two such.

    Args:
        distribution: with logits [...] of bits or [..., K] of classes.
        z: logits with noise, shaped like them.
        slope: ∂c/∂z, shaped like them.

    Returns:
        Shaped like the logits.
    """
    logits = distribution.logits
    if isinstance(distribution, Bernoulli):
        sign = jnp.where(z > 0, 1.0, -1.0)
        held = -jnp.expm1(-jnp.abs(z)) * jax.nn.sigmoid(sign * logits)
        return slope * (1.0 - held)
    shared = jnp.exp(z - z.max(axis=-1, keepdims=True)) * slope
    return shared - jax.nn.softmax(logits) * shared.sum(axis=-1, keepdims=True)


def _logit_gradient(params, run, key, name, draw: Drawn, bound, hyper) -> jax.Array:
    """The estimate g of the bound's gradient in a draw's logits, shaped like them."""
    distribution, z = jax.lax.stop_gradient(draw)
    distribution = type(distribution)(logits_of(distribution))
    temperature = hyper["temperature"] * jnp.exp(params["log_temperature"])
    scale = hyper["scale"] + params["scale"]

    def control(z):
        relaxed = scale * _relaxed_pass(run, key, name, z, temperature, hyper)
        free = jnp.zeros((len(z), len(relaxed)), relaxed.dtype)
        if "net" in params:
            free = net(params["net"], _features(distribution, z, temperature))
        # The network of a sample is a control variate for that sample alone.
        return relaxed.sum() + free.sum(), relaxed[None] + free

    slope, value = jax.grad(control, has_aux=True)(z)
    score = _hard(distribution, z) - distribution.mean()
    signal = jax.lax.stop_gradient(bound)[None] - value
    signal = jnp.expand_dims(signal, range(2, score.ndim))
    return signal * score + path_difference(distribution, z, slope)


def _features(distribution: Distribution, z, temperature) -> jax.Array:
    """The input of RELAX's network: the relaxed sample and the logits, [S, B, F]."""
    pair = (squash(distribution, z, temperature), distribution.logits)
    return jnp.concatenate([x.reshape(*x.shape[:2], -1) for x in pair], axis=-1)


def _with_gradient(logits, gradient) -> jax.Array:
    """A term [B] that is 0 and has a given gradient in the logits, [S, B, …]."""
    return sum_variables(score_term(gradient, logits).sum(axis=0))


def _rebar(key: jax.Array, run: Run, state: State, hyper: Hyper):
    log_w, drawn = _hard_pass(run, key, hyper)
    surrogate = bound = log_mean_exp(log_w)
    for name, draw in drawn.items():
        gradient = _logit_gradient(_FRESH, run, key, name, draw, bound, hyper)
        surrogate = surrogate + _with_gradient(draw.distribution.logits, gradient)
    return surrogate, state


def _learned(key: jax.Array, run: Run, state: Mapping[str, Learned], hyper: Hyper):
    log_w, drawn = _hard_pass(run, key, hyper)
    surrogate = bound = log_mean_exp(log_w)
    new_state = {}
    for name, draw in drawn.items():

        def second_moment(params, name=name, draw=draw):
            gradient = _logit_gradient(params, run, key, name, draw, bound, hyper)
            return (gradient**2).sum() / len(bound), gradient

        # E g does not depend on the control variate: this estimates its variance's
        # gradient. The estimate is made with the parameters of the steps before.
        grads, gradient = jax.grad(second_moment, has_aux=True)(state[name].params)
        new_state[name] = state[name].descend(grads, hyper["control_learning_rate"])
        surrogate = surrogate + _with_gradient(draw.distribution.logits, gradient)
    return surrogate, new_state


def _init_with(net_params: Callable[[Any, int], dict]):
    """An `init` of each draw's changes of log τ and η, and (key, F) -> more params."""

    def init(key: jax.Array, run: Run, hyper: Hyper) -> dict[str, Learned]:
        _, drawn = jax.eval_shape(lambda k: _hard_pass(run, k, hyper), key)
        state = {}
        for name, draw in drawn.items():
            size = 2 * math.prod(draw.z.shape[2:])
            params = {k: jnp.asarray(v, jnp.float32) for k, v in _FRESH.items()}
            params |= net_params(name_key(key, name), size)
            state[name] = to_learn(params)
        return state

    return init


_FIELDS: dict[str, Any] = {
    "samples": (1, None),
    "unbiased": True,
    "cost": "(1 + n)·m: a pass, and a relaxed one for each draw",
}
_LEARNED = {"scale": 1.0, "control_learning_rate": 1e-2}

rebar = Estimator(
    stateless,
    _rebar,
    hyper={"scale": 1.0},
    reference="Tucker, Mnih, Maddison, Lawson & Sohl-Dickstein 2017, section 3: "
    "g = (f(b) − c(z̃)) ∇log q(b) + ∇c(z) − ∇c(z̃), c = η f(σ(z/τ)), η = scale and "
    "τ = temperature, z̃ = z in value. Each of several layers has the pass of their "
    "section 3.3. Classes by conditional Gumbels.",
    **_FIELDS,
)

tuned_rebar = Estimator(
    _init_with(lambda key, size: {}),
    _learned,
    hyper=_LEARNED,
    reference="Tucker et al. 2017, section 3.2: REBAR whose τ and η, of each draw, are "
    "learned by Adam down the variance of the estimate, here of the gradient in the "
    "draw's logits, from one sample of it. temperature and scale are where they start; "
    "the state holds the changes of log τ and of η.",
    **_FIELDS,
)

relax = Estimator(
    _init_with(lambda key, size: {"net": init_net(key, size)}),
    _learned,
    hyper=_LEARNED,
    reference="Grathwohl, Choi, Wu, Roeder & Duvenaud 2018, RELAX: REBAR's control "
    "variate and a free-form one, c = η f(σ(z/τ)) + r, r a network of one tanh layer "
    "that sees σ(z/τ) and the draw's logits. Net, τ and η are learned as in "
    "tuned_rebar.",
    **_FIELDS,
)
