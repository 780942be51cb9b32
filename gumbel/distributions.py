"""What a program asks a draw of: Bernoulli, Categorical and Normal variables.

Each is a pytree over a batch of independent variables. A discrete family has a
relaxed law (`relax`) in the space where its density is stable: the Categorical the
ExpConcrete in log space, the Bernoulli the logit of a binary Concrete. A Normal
needs no relaxation and is its own. A law samples a point, gives the value that flows
on from it, and scores points; all log probabilities are per variable, in nats.

Legend: B batch, N variables, K categories.
"""

import jax
import jax.numpy as jnp
from flax import struct

from gumbel import densities, samplers


@struct.dataclass
class Bernoulli:
    """Independent 0/1 variables with log-odds `logits` [B, N]."""

    logits: jax.Array

    def sample(self, key):
        """Draws exact 0/1 values [B, N]: 1[logits + logistic noise > 0]."""
        logits = jax.lax.stop_gradient(self.logits)
        return samplers.binary_concrete(key, logits, 1.0, hard=True)

    def mean(self):
        """The probabilities of a 1, [B, N]."""
        return jax.nn.sigmoid(self.logits)

    def mode(self):
        """The likelier value, [B, N]."""
        return (self.logits > 0).astype(self.logits.dtype)

    def value(self, point):
        """A discrete point is its own value."""
        return point

    def log_prob(self, value):
        """Log mass b·logits − softplus(logits), linear in the value: [B, N]."""
        return value * self.logits - jax.nn.softplus(self.logits)

    def kl(self, other: "Bernoulli"):
        """KL(self ‖ other) per variable, [B, N], in closed form from log-odds."""
        gap = jax.nn.softplus(other.logits) - jax.nn.softplus(self.logits)
        return self.mean() * (self.logits - other.logits) + gap

    def relax(self, temperature):
        """The binary Concrete with the same log-odds, in logit space."""
        return LogitBinaryConcrete(self.logits, temperature)

    def broadcast_to(self, shape):
        """The same law for every example: logits broadcast to [B, N]."""
        return Bernoulli(jnp.broadcast_to(self.logits, shape))

    def support(self):
        """The possible values of one variable, [2]."""
        return jnp.arange(2, dtype=self.logits.dtype)


@struct.dataclass
class Categorical:
    """Independent one-hot variables with unnormalised `logits` [B, N, K]."""

    logits: jax.Array

    def sample(self, key):
        """Draws exact one-hot values [B, N, K]."""
        return samplers.categorical(key, self.logits)

    def mean(self):
        """The class probabilities, [B, N, K]."""
        return jax.nn.softmax(self.logits)

    def mode(self):
        """The likeliest class, [B, N, K]."""
        likeliest = jnp.argmax(self.logits, axis=-1)
        return jax.nn.one_hot(likeliest, self.logits.shape[-1], dtype=self.logits.dtype)

    def value(self, point):
        """A discrete point is its own value."""
        return point

    def log_prob(self, value):
        """Log mass Σ_k value_k log_softmax_k(logits), linear in the value: [B, N]."""
        return (value * jax.nn.log_softmax(self.logits)).sum(-1)

    def kl(self, other: "Categorical"):
        """KL(self ‖ other) per variable, [B, N]: Σ_k q_k (log q_k − log p_k)."""
        log_q = jax.nn.log_softmax(self.logits)
        log_p = jax.nn.log_softmax(other.logits)
        return (jnp.exp(log_q) * (log_q - log_p)).sum(-1)

    def relax(self, temperature):
        """The Concrete with the same logits, in log space."""
        return ExpConcrete(self.logits, temperature)

    def broadcast_to(self, shape):
        """The same law for every example: logits broadcast to [B, N, K]."""
        return Categorical(jnp.broadcast_to(self.logits, shape))

    def support(self):
        """The possible values of one variable, [K, K]."""
        return jnp.eye(self.logits.shape[-1], dtype=self.logits.dtype)


@struct.dataclass
class Normal:
    """Independent Gaussians with mean `loc` and standard deviation `scale`, [B, N]."""

    loc: jax.Array
    scale: jax.Array

    def sample(self, key):
        """Draws loc + scale·ε, reparameterised, [B, N]."""
        noise = jax.random.normal(key, self.loc.shape, self.loc.dtype)
        return self.loc + self.scale * noise

    def mean(self):
        """The location, [B, N]."""
        return self.loc

    def value(self, point):
        """A sample is its own value."""
        return point

    def log_prob(self, value):
        """Log density, [B, N]."""
        return jax.scipy.stats.norm.logpdf(value, self.loc, self.scale)

    def kl(self, other: "Normal"):
        """KL(self ‖ other) per variable, [B, N], in closed form."""
        ratio = self.scale / other.scale
        shift = (self.loc - other.loc) / other.scale
        return 0.5 * (ratio**2 + shift**2 - 1.0) - jnp.log(ratio)

    def relax(self, temperature):
        """Itself: a Gaussian is reparameterised already."""
        del temperature
        return self

    def broadcast_to(self, shape):
        """The same law for every example: both parameters broadcast to [B, N]."""
        loc = jnp.broadcast_to(self.loc, shape)
        return Normal(loc, jnp.broadcast_to(self.scale, shape))


@struct.dataclass
class ExpConcrete:
    """The log of a Concrete variable: points y [B, N, K] with logsumexp(y) = 0."""

    logits: jax.Array
    temperature: jax.Array

    def sample(self, key):
        """Draws log_softmax((logits + G) / τ), [B, N, K]."""
        noise = samplers.gumbel_noise(key, self.logits.shape)
        return jax.nn.log_softmax((self.logits + noise) / self.temperature)

    def value(self, point):
        """The point on the simplex, exp(y)."""
        return jnp.exp(point)

    def log_prob(self, point):
        """Log density of y per variable, [B, N]."""
        return densities.exp_concrete_log_prob(point, self.logits, self.temperature)


@struct.dataclass
class LogitBinaryConcrete:
    """The logit of a binary Concrete variable: points y [B, N] on the real line."""

    logits: jax.Array
    temperature: jax.Array

    def sample(self, key):
        """Draws (logits + L) / τ, [B, N]."""
        noise = samplers.logistic_noise(key, self.logits.shape)
        return (self.logits + noise) / self.temperature

    def value(self, point):
        """The point in (0, 1), sigmoid(y)."""
        return jax.nn.sigmoid(point)

    def log_prob(self, point):
        """Log density of y per variable, [B, N]."""
        return densities.logit_binary_concrete_log_prob(
            point, self.logits, self.temperature
        )


Distribution = Bernoulli | Categorical | Normal
Law = Distribution | ExpConcrete | LogitBinaryConcrete
