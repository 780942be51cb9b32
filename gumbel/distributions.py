"""Distributions that a program draws from: Bernoulli, Categorical and Normal.

Each is a pytree over a batch of independent variables. A discrete family has a
relaxed law (`relax`, in relaxations.py); a Normal needs no relaxation and is its own.
A law samples a point, gives the value that flows on from it, and scores points.
Samples and means have the dtype of the logits; all log probabilities are per variable,
in nats, and in float32 (float64 where the logits are).
A logit of −inf forbids, +inf is certain: see `gumbel.logits`.

Shapes: B batch, … any variables, K categories.
"""

import math

import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import ArrayLike

from gumbel import inverse_cdf, samplers
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
from gumbel.relaxations import ExpConcrete, LogitBinaryConcrete

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

    def relax(self, temperature: ArrayLike) -> LogitBinaryConcrete:
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

    def _check_classes(self, name: str, array: ArrayLike) -> None:
        """Checks that an array has a class axis like the logits: else it broadcasts."""
        classes = jnp.shape(self.logits)[-1:]
        if jnp.shape(array)[-1:] != classes:
            raise ValueError(
                f"{name} has shape {jnp.shape(array)}: must have the classes last, "
                f"{classes[0]} as the logits have"
            )

    def log_prob(self, value: ArrayLike) -> jax.Array:
        """Log mass Σ_k value_k log_softmax_k(logits), linear in the value: [B, ...]."""
        self._check_classes("value", value)
        masses = log_masses(self.logits)
        return weighted_sum(jnp.asarray(value).astype(masses.logs.dtype), masses)

    def log_ratio(self, value: ArrayLike, other: "Categorical") -> jax.Array:
        """log q − log p of a value, [B, ...], for `other` p: linear in the value."""
        self._check_classes("value", value)
        self._check_classes("other", other.logits)
        q, p = log_masses(self.logits), log_masses(other.logits)
        return log_ratio_sum(jnp.asarray(value).astype(q.logs.dtype), q, p)

    def kl(self, other: "Categorical") -> jax.Array:
        """KL(self ‖ other) per variable, [B, ...]: Σ_k q_k (log q_k − log p_k)."""
        self._check_classes("other", other.logits)
        return kl_sum(log_masses(self.logits), log_masses(other.logits))

    def entropy(self) -> jax.Array:
        """Entropy per variable, [B, ...]."""
        return entropy_sum(log_masses(self.logits))

    def relax(self, temperature: ArrayLike) -> ExpConcrete:
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
        """Both in one shape, that of the variables: each has noise of its own."""
        dtype = compute_dtype(self.loc, self.scale)
        loc, scale = jnp.asarray(self.loc, dtype), jnp.asarray(self.scale, dtype)
        shape = jnp.broadcast_shapes(loc.shape, scale.shape)
        return jnp.broadcast_to(loc, shape), jnp.broadcast_to(scale, shape)

    def sample(self, key: jax.Array) -> jax.Array:
        """Draws loc + scale·ε, reparameterised, [B, ...]."""
        check_key(key)
        loc, scale = self._parameters()
        noise = jax.random.normal(key, loc.shape, loc.dtype)
        return (loc + scale * noise).astype(jnp.result_type(self.loc))

    def mean(self) -> jax.Array:
        """The location, [B, ...]."""
        return self._parameters()[0].astype(jnp.result_type(self.loc))

    def mode(self) -> jax.Array:
        """The location, [B, ...]."""
        return self._parameters()[0].astype(jnp.result_type(self.loc))

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


Distribution = Bernoulli | Categorical | Normal
Law = Distribution | ExpConcrete | LogitBinaryConcrete
