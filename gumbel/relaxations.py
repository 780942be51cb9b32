"""Concrete laws: the relaxations of discrete distributions, in log or logit space.

They live where their density is stable: the relaxed Categorical in log space
(ExpConcrete), the relaxed Bernoulli as the logit of a binary Concrete. A law samples a
point, gives the value that flows on from it, and scores points.

Shapes: B batch, … any variables, K categories.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import ArrayLike

from gumbel import densities, samplers
from gumbel.logits import bit_logits, class_logits, finite, log_ratio, unless
from gumbel.samplers import Relaxed


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
        outside = (jnp.isneginf(point.y) == allowed).any(axis=-1)
        return unless(outside, density, -jnp.inf)

    def log_ratio(self, point: Relaxed, other: "ExpConcrete") -> jax.Array:
        """log q(y) − log p(y) per variable, [B, ...], for `other` p; class by class."""
        log_q, allowed, log_temperature = self._terms(point)
        log_p, other_allowed, other_log_temperature = other._terms(point)
        degrees = allowed.sum(axis=-1).astype(log_q.dtype) - 1.0
        scale = degrees * (log_temperature - other_log_temperature)
        ratio = (log_q - log_p).sum(axis=-1) + scale
        return unless((allowed != other_allowed).any(axis=-1), ratio, jnp.inf)


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
