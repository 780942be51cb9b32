"""Perturbed logits given the sample that they make: Gumbels given their argmax.

Gumbel-Max draws z = logits + G and returns the argmax. Drawn the other way round, the
class first and z given the class, the pair has the same law: the largest entry is
Gumbel(logsumexp(logits)) whatever the class, and the others are Gumbels truncated at it
(Maddison, Tarlow & Minka, A* Sampling, 2014). What is to be averaged over the noise of
a sample needs this: Rao-Blackwellisation, and the control variate of REBAR.

Gradients flow from z to the logits, at fixed noise (the reparameterisation of REBAR);
none reaches the class. To differentiate at fixed G instead, as Gumbel-Softmax does, use
logits + stop_gradient(z − logits).

Computed in float32 (float64 where the logits are), which is also the dtype of z.
"""

import jax
import jax.numpy as jnp

from gumbel.checks import check_classes, check_logits
from gumbel.samplers import compute_dtype, gumbel_noise, logistic_noise


def _check_given(name: str, value, logits) -> None:
    check_logits("logits", logits)
    if jnp.shape(value) != jnp.shape(logits):
        raise ValueError(
            f"{name} has shape {jnp.shape(value)}: must be {jnp.shape(logits)}, "
            "as the logits have"
        )


def conditional_gumbel(key, logits, one_hot):
    """Draws logits + G given that its argmax is the class.

    z_D = logsumexp(logits) + G_D at the class D, and elsewhere
    z_k = −log(exp(−z_D) + exp(−logits_k − G_k)), by logaddexp and so finite whatever
    the logits. Maddison, Tarlow & Minka (2014); Tucker et al. (2017).

    Args:
        key: a typed PRNG key.
        logits: unnormalised log probabilities, [..., K].
        one_hot: the class, [..., K].

    Returns:
        z, [..., K], nowhere above its value at the class.

    Raises:
        ValueError: if logits are not floating point or have no class axis, or the
            class has another shape.
    """
    _check_given("one_hot", one_hot, logits)
    check_classes("logits", logits)
    logits = jnp.asarray(logits).astype(compute_dtype(logits))
    noise = gumbel_noise(key, logits.shape).astype(logits.dtype)
    chosen = jnp.asarray(one_hot) == 1
    of_class = jnp.where(chosen, noise, 0.0).sum(axis=-1, keepdims=True)
    top = jax.nn.logsumexp(logits, axis=-1, keepdims=True) + of_class
    return jnp.where(chosen, top, -jnp.logaddexp(-top, -logits - noise))


def conditional_logistic(key, logits, bit):
    """Draws logits + L given whether it is positive.

    The difference of the two Gumbels of `conditional_gumbel`, with s = +1 for a 1 and
    −1 for a 0: z = s·softplus(L + softplus(s·logits)). It is the z̃ of Tucker et
    al. (2017), section 3, without its logarithms of uniforms.

    Args:
        key: a typed PRNG key.
        logits: log-odds, [...].
        bit: 0 or 1, [...].

    Returns:
        z, [...], of the sign of the bit.

    Raises:
        ValueError: if logits are not floating point or the bit has another shape.
    """
    _check_given("bit", bit, logits)
    logits = jnp.asarray(logits).astype(compute_dtype(logits))
    noise = logistic_noise(key, logits.shape).astype(logits.dtype)
    sign = jnp.where(jnp.asarray(bit) == 1, 1.0, -1.0).astype(logits.dtype)
    return sign * jax.nn.softplus(noise + jax.nn.softplus(sign * logits))
