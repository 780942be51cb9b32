"""Distributions that a program draws from: Bernoulli, Categorical and Normal.

Each is a pytree over a batch of independent variables. A discrete family has a
relaxed law (`relax`) in the space where its density is stable: the Categorical the
ExpConcrete in log space, the Bernoulli the logit of a binary Concrete. A Normal
needs no relaxation and is its own. A law samples a point, gives the value that flows
on from it, and scores points. Samples and means have the dtype of the logits; all log
probabilities are per variable, in nats, and in float32 (float64 where the logits are).
A logit of −inf forbids, +inf is certain: see `gumbel.logits`.

Shapes: B batch, … any variables, K categories.
"""

import math

import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import ArrayLike

from gumbel import densities, inverse_cdf, samplers
from gumbel.checks import check_key
from gumbel.logits import (
    bit_log_masses,
    bit_logits,
    class_logits,
    compute_dtype,
    entropy_sum,
    finite,
    kl_sum,
    log_masses,
    log_ratio,
    log_ratio_sum,
    weighted_sum,
)
from gumbel.samplers import Relaxed

# Log-odds beyond which a difference of softplus cancels to less than 5 digits.
_LARGE = 100.0


@struct.dataclass
class Bernoulli:
    """Independent 0/1 variables with log-odds `logits` [B, ...]."""

    logits: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """Draws exact 0/1 values [B, ...]."""
        return samplers.bernoulli(key, self.logits)

    def mean(self) -> jax.Array:
        """The probabilities of a 1, [B, ...]."""
        mean = jax.nn.sigmoid(bit_logits(self.logits))
        return mean.astype(jnp.result_type(self.logits))

    def mode(self) -> jax.Array:
        """The likelier value, [B, ...]."""
        return samplers.threshold(self.logits)

    def value(self, point: jax.Array) -> jax.Array:
        """A discrete point is its own value."""
        return point

    def log_prob(self, value: ArrayLike) -> jax.Array:
        """Log mass b·logits − softplus(logits), linear in the value: [B, ...]."""
        logits = bit_logits(self.logits)
        value = jnp.asarray(value).astype(logits.dtype)
        log_mass = value * finite(logits) - jax.nn.softplus(finite(logits))
        certain = jnp.where(value == self.mode().astype(value.dtype), 0.0, -jnp.inf)
        return jnp.where(jnp.isinf(logits), certain, log_mass)

    def log_ratio(self, value: ArrayLike, other: "Bernoulli") -> jax.Array:
        """log q − log p of a value, [B, ...], for `other` p; 0 where q is 0."""
        return log_ratio(self.log_prob(value), other.log_prob(value))

    def kl(self, other: "Bernoulli") -> jax.Array:
        """KL(self ‖ other) per variable, [B, ...], in closed form from log-odds."""
        q, p = finite(bit_logits(self.logits)), finite(bit_logits(other.logits))
        gap = jax.nn.softplus(p) - jax.nn.softplus(q)
        closed_form = jax.nn.sigmoid(q) * (q - p) + gap
        by_masses = kl_sum(bit_log_masses(self.logits), bit_log_masses(other.logits))
        either = [jnp.abs(logits) > _LARGE for logits in (self.logits, other.logits)]
        return jnp.where(either[0] | either[1], by_masses, closed_form)

    def entropy(self) -> jax.Array:
        """Entropy per variable, [B, ...]."""
        return entropy_sum(bit_log_masses(self.logits))

    def relax(self, temperature: ArrayLike) -> "LogitBinaryConcrete":
        """The binary Concrete with the same log-odds, in logit space."""
        return LogitBinaryConcrete(self.logits, temperature)

    def broadcast_to(self, shape: tuple[int, ...]) -> "Bernoulli":
        """The same law for every example: logits broadcast to [B, ...]."""
        return Bernoulli(jnp.broadcast_to(self.logits, shape))

    def support(self) -> jax.Array:
        """The possible values of one variable, [2]."""
        return jnp.arange(2, dtype=jnp.result_type(self.logits))


@struct.dataclass
class Categorical:
    """Independent one-hot variables with unnormalised `logits` [B, ..., K]."""

    logits: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """Draws exact one-hot values [B, ..., K]."""
        return inverse_cdf.categorical(key, self.logits)

    def mean(self) -> jax.Array:
        """The class probabilities, [B, ..., K]."""
        mean = jax.nn.softmax(class_logits(self.logits))
        return mean.astype(jnp.result_type(self.logits))

    def mode(self) -> jax.Array:
        """The likeliest class, [B, ..., K]."""
        return samplers.one_hot_argmax(self.logits)

    def value(self, point: jax.Array) -> jax.Array:
        """A discrete point is its own value."""
        return point

    def log_prob(self, value: ArrayLike) -> jax.Array:
        """Log mass Σ_k value_k log_softmax_k(logits), linear in the value: [B, ...]."""
        masses = log_masses(self.logits)
        return weighted_sum(jnp.asarray(value).astype(masses.logs.dtype), masses)

    def log_ratio(self, value: ArrayLike, other: "Categorical") -> jax.Array:
        """log q − log p of a value, [B, ...], for `other` p: linear in the value."""
        q, p = log_masses(self.logits), log_masses(other.logits)
        return log_ratio_sum(jnp.asarray(value).astype(q.logs.dtype), q, p)

    def kl(self, other: "Categorical") -> jax.Array:
        """KL(self ‖ other) per variable, [B, ...]: Σ_k q_k (log q_k − log p_k)."""
        return kl_sum(log_masses(self.logits), log_masses(other.logits))

    def entropy(self) -> jax.Array:
        """Entropy per variable, [B, ...]."""
        return entropy_sum(log_masses(self.logits))

    def relax(self, temperature: ArrayLike) -> "ExpConcrete":
        """The Concrete with the same logits, in log space."""
        return ExpConcrete(self.logits, temperature)

    def broadcast_to(self, shape: tuple[int, ...]) -> "Categorical":
        """The same law for every example: logits broadcast to [B, ..., K]."""
        return Categorical(jnp.broadcast_to(self.logits, shape))

    def support(self) -> jax.Array:
        """The possible values of one variable, [K, K]."""
        return jnp.eye(self.logits.shape[-1], dtype=jnp.result_type(self.logits))


@struct.dataclass
class Normal:
    """Independent Gaussians of mean `loc` and standard deviation `scale`, [B, ...]."""

    loc: jax.Array
    scale: jax.Array

    def _parameters(self) -> tuple[jax.Array, jax.Array]:
        dtype = compute_dtype(self.loc, self.scale)
        return jnp.asarray(self.loc, dtype), jnp.asarray(self.scale, dtype)

    def sample(self, key: jax.Array) -> jax.Array:
        """Draws loc + scale·ε, reparameterised, [B, ...]."""
        check_key(key)
        loc, scale = self._parameters()
        noise = jax.random.normal(key, loc.shape, loc.dtype)
        return (loc + scale * noise).astype(jnp.result_type(self.loc))

    def mean(self) -> jax.Array:
        """The location, [B, ...]."""
        return self.loc

    def mode(self) -> jax.Array:
        """The location, [B, ...]."""
        return self.loc

    def value(self, point: jax.Array) -> jax.Array:
        """A sample is its own value."""
        return point

    def log_prob(self, value: ArrayLike) -> jax.Array:
        """Log density, [B, ...]."""
        loc, scale = self._parameters()
        return jax.scipy.stats.norm.logpdf(jnp.asarray(value, loc.dtype), loc, scale)

    def log_ratio(self, value: ArrayLike, other: "Normal") -> jax.Array:
        """log q − log p of a value, [B, ...], for `other` p."""
        return self.log_prob(value) - other.log_prob(value)

    def kl(self, other: "Normal") -> jax.Array:
        """KL(self ‖ other) per variable, [B, ...], in closed form."""
        (loc, scale), (other_loc, other_scale) = self._parameters(), other._parameters()
        ratio = scale / other_scale
        shift = (loc - other_loc) / other_scale
        return 0.5 * (ratio**2 + shift**2 - 1.0) - jnp.log(ratio)

    def entropy(self) -> jax.Array:
        """Differential entropy ½ log(2πe) + log scale per variable, [B, ...]."""
        return 0.5 * math.log(2.0 * math.pi * math.e) + jnp.log(self._parameters()[1])

    def relax(self, temperature: ArrayLike) -> "Normal":
        """Itself: a Gaussian is reparameterised already."""
        del temperature
        return self

    def broadcast_to(self, shape: tuple[int, ...]) -> "Normal":
        """The same law for every example: both parameters broadcast to [B, ...]."""
        loc = jnp.broadcast_to(self.loc, shape)
        return Normal(loc, jnp.broadcast_to(self.scale, shape))


@struct.dataclass
class ExpConcrete:
    """The log of a Concrete variable: points y [B, ..., K] with logsumexp(y) = 0.

    `temperature` is a scalar or broadcasts against the variables [B, ...]. A point
    keeps its noise G, and s = logits' − τ' y of a law with logits' and τ' is computed,
    up to a constant, as (logits' − τ'/τ logits) − τ'/τ G: −G under the point's own
    law, and no large logits are left where two laws agree.
    """

    logits: jax.Array
    temperature: ArrayLike

    def sample(self, key: jax.Array) -> Relaxed:
        """Draws log_softmax((logits + G) / τ), [B, ..., K]."""
        return samplers.exp_concrete(key, self.logits, self.temperature)

    def value(self, point: Relaxed) -> jax.Array:
        """The point on the simplex, exp(y)."""
        return jnp.exp(point.y).astype(jnp.result_type(self.logits))

    def _terms(self, point: Relaxed) -> tuple[jax.Array, jax.Array, jax.Array]:
        """log_softmax(s) [B, ..., K], the allowed classes, and log τ."""
        logits = class_logits(self.logits)
        temperature = samplers.of_variables(self.temperature, logits, axis=-1)
        ratio = temperature / point.temperature
        scores = finite(logits) - ratio * finite(point.logits) - ratio * point.noise
        allowed = ~jnp.isneginf(logits)
        log_temperature = jnp.log(temperature)
        if temperature.ndim:
            log_temperature = log_temperature[..., 0]
        return densities.concrete_terms(scores, allowed), allowed, log_temperature

    def log_prob(self, point: Relaxed) -> jax.Array:
        """Log density of y per variable, [B, ...]."""
        terms, allowed, log_temperature = self._terms(point)
        density = densities.concrete_log_prob_of_terms(terms, allowed, log_temperature)
        in_support = (jnp.isneginf(point.y) == ~allowed).all(axis=-1)
        return jnp.where(in_support, density, -jnp.inf)

    def log_ratio(self, point: Relaxed, other: "ExpConcrete") -> jax.Array:
        """log q(y) − log p(y) per variable, [B, ...], for `other` p; class by class."""
        log_q, allowed, log_temperature = self._terms(point)
        log_p, other_allowed, other_log_temperature = other._terms(point)
        degrees = allowed.sum(axis=-1).astype(log_q.dtype) - 1.0
        scale = degrees * (log_temperature - other_log_temperature)
        same_support = (allowed == other_allowed).all(axis=-1)
        return jnp.where(same_support, (log_q - log_p).sum(axis=-1) + scale, jnp.inf)


@struct.dataclass
class LogitBinaryConcrete:
    """The logit of a binary Concrete variable: points y [B, ...] on the real line.

    `temperature` broadcasts against the logits. Points are scored by their noise, as
    those of ExpConcrete are.
    """

    logits: jax.Array
    temperature: ArrayLike

    def sample(self, key: jax.Array) -> Relaxed:
        """Draws (logits + L) / τ, [B, ...]."""
        return samplers.logit_binary_concrete(key, self.logits, self.temperature)

    def value(self, point: Relaxed) -> jax.Array:
        """The point in (0, 1), sigmoid(y)."""
        return jax.nn.sigmoid(point.y).astype(jnp.result_type(self.logits))

    def log_prob(self, point: Relaxed) -> jax.Array:
        """Log density of y per variable, [B, ...]."""
        logits = bit_logits(self.logits)
        temperature = samplers.of_variables(self.temperature, logits)
        ratio = temperature / point.temperature
        scores = finite(logits) - ratio * finite(point.logits) - ratio * point.noise
        density = jnp.log(temperature) + densities.binary_concrete_terms(scores)
        return densities.at_certain_bits(density, point.y, logits)

    def log_ratio(self, point: Relaxed, other: "LogitBinaryConcrete") -> jax.Array:
        """log q(y) − log p(y) per variable, [B, ...], for `other` p."""
        return log_ratio(self.log_prob(point), other.log_prob(point))


Distribution = Bernoulli | Categorical | Normal
Law = Distribution | ExpConcrete | LogitBinaryConcrete
