"""Perturbed logits given the sample that they make: Gumbels given their argmax.

Gumbel-Max draws z = logits + G and returns the argmax. Drawn the other way round, the
class first and z given the class, the pair has the same law: the largest entry is
Gumbel(logsumexp(logits)) whatever the class, and the others are Gumbels truncated at it
(Maddison, Tarlow & Minka, A* Sampling, 2014). What is to be averaged over the noise of
a sample needs this: Rao-Blackwellisation, and the control variate of REBAR.

Gradients flow from z to the logits, at fixed noise (the reparameterisation of REBAR);
none reaches the class. To differentiate at fixed G instead, as Gumbel-Softmax does, use
logits + stop_gradient(z − logits).

Forbidden classes have z = −inf, and what is given of probability 0 NaN. Computed in
float32 (float64 where the logits are), which is also the dtype of z.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gumbel.checks import check_classes, check_logits
from gumbel.logits import bit_logits, class_logits, finite
from gumbel.noise import gumbel_noise, logistic_noise


def _check_shape(name: str, value: ArrayLike, logits: ArrayLike) -> None:
    check_logits("logits", logits)
    if jnp.shape(value) != jnp.shape(logits):
        raise ValueError(
            f"{name} has shape {jnp.shape(value)}: must be {jnp.shape(logits)}, "
            "as the logits have"
        )


def conditional_gumbel(
    key: jax.Array, logits: ArrayLike, one_hot: ArrayLike
) -> jax.Array:
    """Draws logits + G given that its argmax is the class.

    z_D = logsumexp(logits) + G_D at the class D, and elsewhere
    z_k = −log(exp(−z_D) + exp(−logits_k − G_k)), by logaddexp and so finite whatever
    the logits. Maddison, Tarlow & Minka (2014); Tucker et al. (2017).

    Args:
        key: a typed PRNG key.
        logits: unnormalised log probabilities, [..., K].
        one_hot: the class, [..., K].

    Returns:
        z, [..., K], nowhere above its value at the class. Beside a class of logit +inf
        all others are −inf, and its own counts as 0.

    Raises:
        ValueError: if logits are not floating point or have no class axis, or the
            class has another shape.
    """
    _check_shape("one_hot", one_hot, logits)
    check_classes("logits", logits)
    logits = class_logits(logits, relative=False)
    noise = gumbel_noise(key, logits.shape).astype(logits.dtype)
    chosen = jnp.asarray(one_hot) == 1
    of_class = jnp.where(chosen, noise, 0.0).sum(axis=-1, keepdims=True)
    top = jax.nn.logsumexp(logits, axis=-1, keepdims=True) + of_class
    z = jnp.where(chosen, top, -jnp.logaddexp(-top, -finite(logits) - noise))
    forbidden = jnp.isneginf(logits)
    impossible = (chosen & forbidden).any(axis=-1, keepdims=True)
    return jnp.where(impossible, jnp.nan, jnp.where(forbidden, -jnp.inf, z))


def conditional_logistic(
    key: jax.Array, logits: ArrayLike, bit: ArrayLike
) -> jax.Array:
    """Draws logits + L given whether it is positive.

    The difference of the two Gumbels of `conditional_gumbel`, with s = +1 for a 1 and
    −1 for a 0: z = s·softplus(L + softplus(s·logits)). It is the z̃ of Tucker et
    al. (2017), section 3, without its logarithms of uniforms.

    Args:
        key: a typed PRNG key.
        logits: log-odds, [...].
        bit: 0 or 1, [...].

    Returns:
        z, [...], of the sign of the bit; ±inf where the log-odds are.

    Raises:
        ValueError: if logits are not floating point or the bit has another shape.
    """
    _check_shape("bit", bit, logits)
    logits = bit_logits(logits)
    noise = logistic_noise(key, logits.shape).astype(logits.dtype)
    sign = jnp.where(jnp.asarray(bit) == 1, 1.0, -1.0).astype(logits.dtype)
    z = sign * jax.nn.softplus(noise + jax.nn.softplus(sign * finite(logits)))
    certain = jnp.where(sign * logits > 0, jax.lax.stop_gradient(logits), jnp.nan)
    return jnp.where(jnp.isinf(logits), certain, z)
