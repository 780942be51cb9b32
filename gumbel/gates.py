"""Gates that are exactly 0 or 1 with positive probability: the hard Concrete.

Louizos, Welling & Kingma, Learning Sparse Neural Networks through L0 Regularization,
2018: a binary Concrete variable x stretched to (γ, ζ) and clipped to [0, 1].
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gumbel.checks import check_logits
from gumbel.logits import bit_logits
from gumbel.samplers import logit_binary_concrete, of_variables


def hard_concrete(
    key: jax.Array,
    logits: ArrayLike,
    temperature: ArrayLike,
    *,
    stretch: tuple[float, float] = (-0.1, 1.1),
) -> jax.Array:
    """Draws a gate in [0, 1] that is exactly 0 or 1 with positive probability.

    min(1, max(0, γ + (ζ − γ) x)), x binary Concrete and (γ, ζ) the stretch.

    Args:
        key: a typed PRNG key.
        logits: log-odds, [...].
        temperature: τ > 0, broadcasts against the logits.
        stretch: γ < 0 and ζ > 1.

    Returns:
        Array of the shape and dtype of `logits`, in [0, 1].

    Raises:
        ValueError: as `binary_concrete`, or if the stretch does not contain [0, 1].
    """
    low, high = _check_stretch(stretch)
    sample = logit_binary_concrete(key, logits, temperature)
    stretched = low + (high - low) * jax.nn.sigmoid(sample.y)
    return jnp.clip(stretched, 0.0, 1.0).astype(jnp.result_type(logits))


def hard_concrete_nonzero_prob(
    logits: ArrayLike,
    temperature: ArrayLike,
    *,
    stretch: tuple[float, float] = (-0.1, 1.1),
) -> jax.Array:
    """Probability that a `hard_concrete` gate is not 0, the L0 penalty of a weight.

    sigmoid(logits − τ log(−γ/ζ)), eq. (12) of the paper.

    Args:
        logits: log-odds, [...].
        temperature: τ > 0, broadcasts against the logits.
        stretch: γ < 0 and ζ > 1.

    Returns:
        [...], in float32 (float64 where the logits are).

    Raises:
        ValueError: as `hard_concrete`.
    """
    check_logits("logits", logits)
    low, high = _check_stretch(stretch)
    logits = bit_logits(logits)
    temperature = of_variables(temperature, logits)
    return jax.nn.sigmoid(logits - temperature * math.log(-low / high))


def _check_stretch(stretch: tuple[float, float]) -> tuple[float, float]:
    low, high = stretch
    if not (low < 0 and high > 1):
        raise ValueError(f"stretch={stretch}: must begin below 0 and end above 1")
    return low, high
