"""Log densities of the relaxed variables, each in the space where it is stable.

A saturated sample is exactly 0 or 1 in float32 and its density on the simplex is
infinite there, so a program keeps y = log x (ExpConcrete) or y = logit x and scores
that; exp and sigmoid only feed the decoder. With s = logits − τ y both densities of
Maddison, Mnih & Teh (2017), cheat sheet, become sums of log_softmax(s) or of
log_sigmoid(±s): finite, with finite gradients, wherever s is.

A variable with forbidden classes has the density of the same variable over its n
allowed classes: y is −inf at the forbidden ones, and log density −inf elsewhere. A bit
that is certain has log density 0 where y is ±inf as its log-odds are.

Points and logits broadcast against each other, and a temperature against the
variables: all axes, but for classes the last. Computed in float32 (float64 where the
logits are); in nats.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from gumbel.checks import check_classes, check_logits, check_temperature
from gumbel.logits import bit_logits, class_logits, compute_dtype, finite, unless


def _prepare(
    name: str, point: ArrayLike, logits: ArrayLike, temperature: ArrayLike, axes: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Point and logits in one shape; the temperature a scalar, or as the variables.

    Args:
        name: what the point is called in an error.
        point: where the density is asked for.
        logits: of the law.
        temperature: of the law.
        axes: how many axes of the point a variable has, 1 or 0.
    """
    check_logits(name, point)
    check_logits("logits", logits)
    shapes = jnp.shape(point), jnp.shape(logits)
    if axes:
        check_classes(name, point)
        check_classes("logits", logits)
        if shapes[0][-1] != shapes[1][-1]:
            raise ValueError(
                f"logits has shape {shapes[1]}: "
                f"must have as many classes as {name}, of shape {shapes[0]}"
            )
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(
            f"logits has shape {shapes[1]}: "
            f"must broadcast with {name}, of shape {shapes[0]}"
        ) from None
    variables = shape[: len(shape) - axes]
    check_temperature(temperature, variables)
    dtype = compute_dtype(point, logits)
    point, logits, temperature = (
        jnp.asarray(array).astype(dtype) for array in (point, logits, temperature)
    )
    if temperature.ndim:
        temperature = jnp.broadcast_to(temperature, variables)
    logits = class_logits(logits) if axes else bit_logits(logits)
    return jnp.broadcast_to(point, shape), jnp.broadcast_to(logits, shape), temperature


def concrete_terms(scores: jax.Array, allowed: jax.Array) -> jax.Array:
    """log_softmax of s over the allowed classes, 0 at the others, [..., K].

    Args:
        scores: s = logits − τ y up to a constant, finite, [..., K].
        allowed: which classes are, [..., K].
    """
    masked = jnp.where(allowed, scores, -jnp.inf)
    return jnp.where(allowed, jax.nn.log_softmax(masked), 0.0)


def concrete_log_prob_of_terms(
    terms: jax.Array, allowed: jax.Array, log_temperature: jax.Array
) -> jax.Array:
    """log (n−1)! + (n−1) log τ + Σ_k terms_k for n allowed classes, [...]."""
    n = allowed.sum(axis=-1).astype(terms.dtype)
    return jax.lax.lgamma(n) + (n - 1.0) * log_temperature + terms.sum(axis=-1)


def binary_concrete_terms(scores: jax.Array) -> jax.Array:
    """log_sigmoid(s) + log_sigmoid(−s), s = logits − τ y."""
    return jax.nn.log_sigmoid(scores) + jax.nn.log_sigmoid(-scores)


def exp_concrete_log_prob(
    y: ArrayLike, logits: ArrayLike, temperature: ArrayLike
) -> jax.Array:
    """Log density of ExpConcrete, the log of a Concrete variable.

    log (n−1)! + (n−1) log τ + Σ_k log_softmax_k(logits − τ y) over the n allowed
    classes: the cheat sheet's form with its terms gathered; with respect to the log
    ratios of the classes to one of them.

    Args:
        y: log x, [..., K], with logsumexp_k(y) = 0.
        logits: unnormalised log probabilities, [..., K].
        temperature: τ > 0, [] or as the variables, [...].

    Returns:
        [...] log density in nats.

    Raises:
        ValueError: if y or logits are not floating point or their class axes differ,
            shapes do not broadcast, or a concrete temperature is not in range.
    """
    y, logits, temperature = _prepare("y", y, logits, temperature, 1)
    return _exp_concrete(y, logits, temperature)


def _exp_concrete(y, logits, temperature) -> jax.Array:
    allowed = ~jnp.isneginf(logits)
    of_class = temperature[..., None] if temperature.ndim else temperature
    scores = finite(logits) - of_class * finite(y)
    terms = concrete_terms(scores, allowed)
    density = concrete_log_prob_of_terms(terms, allowed, jnp.log(temperature))
    outside = (jnp.isneginf(y) == allowed).any(axis=-1)
    return unless(outside, density, -jnp.inf)


def concrete_log_prob(
    x: ArrayLike, logits: ArrayLike, temperature: ArrayLike
) -> jax.Array:
    """Log density of a Concrete (Gumbel-Softmax) variable on the open simplex.

    Definition 1: log (n−1)! + (n−1) log τ + Σ_k [logits_k − (τ+1) log x_k]
    − n logsumexp_k(logits_k − τ log x_k) over the n allowed classes. NaN where x_k is
    exactly 0 at an allowed class: use `exp_concrete_log_prob` for samples.

    Args:
        x: [..., K], in the interior of the simplex of the allowed classes.
        logits: unnormalised log probabilities, [..., K].
        temperature: τ > 0, [] or as the variables, [...].

    Returns:
        [...] log density in nats, with respect to Lebesgue measure on all x but one.

    Raises:
        ValueError: as `exp_concrete_log_prob`.
    """
    x, logits, temperature = _prepare("x", x, logits, temperature, 1)
    zero = x == 0
    y = jnp.where(zero, -jnp.inf, jnp.log(jnp.where(zero, 1.0, x)))
    density = _exp_concrete(y, logits, temperature) - finite(y).sum(axis=-1)
    unsure = (zero & ~jnp.isneginf(logits)).any(axis=-1)
    return jnp.where(unsure, jnp.nan, density)


def logit_binary_concrete_log_prob(
    y: ArrayLike, logits: ArrayLike, temperature: ArrayLike
) -> jax.Array:
    """Log density of the logit of a binary Concrete variable.

    log τ + log_sigmoid(s) + log_sigmoid(−s), s = logits − τ y: the cheat sheet's
    log τ − τ y + logits − 2 softplus(logits − τ y), in symmetric form.

    Args:
        y: logit x, [...].
        logits: log-odds, [...].
        temperature: τ > 0, broadcasts against the variables [...].

    Returns:
        [...] log density in nats.

    Raises:
        ValueError: if y or logits are not floating point, shapes do not broadcast, or
            a concrete temperature is not in range.
    """
    y, logits, temperature = _prepare("y", y, logits, temperature, 0)
    return _logit_binary_concrete(y, logits, temperature)


def _logit_binary_concrete(y, logits, temperature) -> jax.Array:
    scores = finite(logits) - temperature * finite(y)
    density = jnp.log(temperature) + binary_concrete_terms(scores)
    return at_certain_bits(density, y, logits)


def at_certain_bits(density: jax.Array, y: jax.Array, logits: jax.Array) -> jax.Array:
    """A log density, but where y or the log-odds are ±inf: 0 if both are the same."""
    certain = jnp.isinf(y) | jnp.isinf(logits)
    return unless(certain, density, jnp.where(y == logits, 0.0, -jnp.inf))


def binary_concrete_log_prob(
    x: ArrayLike, logits: ArrayLike, temperature: ArrayLike
) -> jax.Array:
    """Log density of a binary Concrete variable on (0, 1).

    The density of y = logit x, times dy/dx = 1 / (x (1 − x)). NaN where x is exactly
    0 or 1 and not certain: use `logit_binary_concrete_log_prob` for samples.

    Args:
        x: [...], in (0, 1).
        logits: log-odds, [...].
        temperature: τ > 0, broadcasts against the variables [...].

    Returns:
        [...] log density in nats.

    Raises:
        ValueError: as `logit_binary_concrete_log_prob`.
    """
    x, logits, temperature = _prepare("x", x, logits, temperature, 0)
    corner = (x == 0) | (x == 1)
    inner = jnp.where(corner, 0.5, x)
    log_x, log_not_x = jnp.log(inner), jnp.log1p(-inner)
    infinite = jnp.where(x == 0, -jnp.inf, jnp.inf).astype(x.dtype)
    y = jnp.where(corner, infinite, log_x - log_not_x)
    jacobian = jnp.where(corner, 0.0, log_x + log_not_x)
    density = _logit_binary_concrete(y, logits, temperature) - jacobian
    return jnp.where(corner & ~jnp.isinf(logits), jnp.nan, density)
