"""The quality of a gradient estimator: bias, spread, direction, and dead variables.

Everything is measured against the gradient of the bound on hard samples, in the norm
over all parameters given. Shapes: B batch, K classes, P parameters.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gumbel.distributions import Categorical, Distribution, Normal
from gumbel.estimate import value_and_grad
from gumbel.estimators import Estimator
from gumbel.logits import sum_variables, wide
from gumbel.programs import Program, hard, interpret, relaxed


class Moments(NamedTuple):
    """Moments of a gradient estimate over `count` independent draws of its noise.

    Attributes:
        mean: the mean gradient, [P].
        variance: the variance of each entry, [P].
        count: the number of estimates.
    """

    mean: jax.Array
    variance: jax.Array
    count: int


class Quality(NamedTuple):
    """An estimator's error relative to the exact gradient's norm.

    Attributes:
        bias: ‖E g − g*‖ / ‖g*‖ with the Monte Carlo error of E g taken out; 0 where
            there is nothing else.
        bias_noise: that Monte Carlo error, which a bias must exceed to be seen.
        std: (E‖g − E g‖²)^½ / ‖g*‖.
        cosine: the cosine of E g and g*.
    """

    bias: float
    bias_noise: float
    std: float
    cosine: float


def gradient_moments(
    gradient: Callable[[jax.Array], jax.Array], key: jax.Array, count: int
) -> Moments:
    """Mean and variance of a random gradient, one draw at a time.

    Welford's update, in a scan: memory does not grow with the count.

    Args:
        gradient: key -> gradient [P].
        key: a typed PRNG key; draw i has fold_in(key, i).
        count: number of draws, ≥ 2.

    Returns:
        The moments.
    """

    def update(carry, index):
        mean, squares = carry
        sample = gradient(jax.random.fold_in(key, index))
        new_mean = mean + (sample - mean) / (index + 1)
        return (new_mean, squares + (sample - mean) * (sample - new_mean)), None

    shape = jax.eval_shape(gradient, key)
    zeros = jnp.zeros(shape.shape, shape.dtype)
    (mean, squares), _ = jax.lax.scan(update, (zeros, zeros), jnp.arange(count))
    return Moments(mean, squares / (count - 1), count)


def quality(moments: Moments, exact: jax.Array, exact_noise: float = 0.0) -> Quality:
    """Compares an estimator's moments with the exact gradient.

    Args:
        moments: of the estimator.
        exact: the exact gradient, [P].
        exact_noise: E‖error‖² of `exact` itself, 0 where it was enumerated.

    Returns:
        The quality.
    """
    mean, exact = np.asarray(moments.mean, float), np.asarray(exact, float)
    total_variance = float(np.asarray(moments.variance, float).sum())
    noise = total_variance / moments.count + exact_noise
    norm = np.linalg.norm(exact)
    squared_bias = float(((mean - exact) ** 2).sum()) - noise
    return Quality(
        bias=float(np.sqrt(max(squared_bias, 0.0)) / norm),
        bias_noise=float(np.sqrt(noise) / norm),
        std=float(np.sqrt(total_variance) / norm),
        cosine=float(mean @ exact / (np.linalg.norm(mean) * norm)),
    )


def _logits(run, key, sampler) -> list[jax.Array]:
    _, nodes = interpret(run, key, sampler)
    laws = [node.distribution for node in nodes.values()]
    return [law.logits for law in laws if not isinstance(law, Normal)]


def draw_parameters(program: Program, key: jax.Array, params, *args) -> list[bool]:
    """A flag for each leaf of the parameters: whether the discrete draws depend on it.

    The others (a decoder, a prior) have the same gradient under all estimators that
    draw the same samples, and would hide the differences.

    Args:
        program: the program.
        key: a typed PRNG key.
        params: its parameters.
        *args: its other arguments.

    Returns:
        A flag for each leaf, in the order of `jax.tree.leaves`.
    """

    def total(params):
        # Relaxed nodes, so that a layer's dependence on the one before is seen.
        sampler = relaxed(1.0, None, "relaxed_density")
        logits = _logits(program(params, *args), key, sampler)
        return sum(
            (jnp.sin(jnp.arange(x.size).reshape(x.shape)) * wide(x)).sum()
            for x in logits
        )

    grads = jax.tree.leaves(jax.jit(jax.grad(total))(params))
    return [bool(jnp.any(g != 0)) for g in grads]


def zero_rows(
    estimator: str | Estimator,
    program: Program,
    key: jax.Array,
    params: Any,
    *args: Any,
    num_samples: int = 1,
    **hyper: Any,
) -> jax.Array:
    """Share of variables that get exactly no gradient through their own value.

    At a low temperature a softmax saturates in float32 and passes nothing on; such a
    variable learns nothing from this sample. Measured on a random linear function of
    the values, which every estimator can differentiate.

    Args:
        estimator: a name or an Estimator.
        program: the program whose draws are looked at.
        key: a typed PRNG key.
        params: its parameters.
        *args: its other arguments.
        num_samples: m.
        **hyper: hyper-parameters of the estimator.

    Returns:
        The share, a scalar in [0, 1], over examples and variables.
    """
    draws: dict[str, tuple[bool, tuple[int, ...]]] = {}

    def record(key, name: str, distribution: Distribution):
        if not isinstance(distribution, Normal):
            is_class = isinstance(distribution, Categorical)
            draws[name] = is_class, distribution.logits.shape
        return hard()(key, name, distribution)

    weight_key, shape_key, estimate_key = jax.random.split(key, 3)
    jax.eval_shape(lambda k: interpret(program(params, *args), k, record)[0], shape_key)
    weights = {
        name: jax.random.normal(jax.random.fold_in(weight_key, i), shape)
        for i, (name, (_, shape)) in enumerate(draws.items())
    }

    def linear(shifts, *args):
        def run(draw):
            values = []

            def shifted(name: str, distribution: Distribution):
                if name not in shifts:
                    return draw(name, distribution)
                logits = jax.lax.stop_gradient(distribution.logits) + shifts[name]
                node = draw(name, distribution.replace(logits=logits))
                values.append(sum_variables(weights[name] * node.value))
                return node

            program(params, *args)(shifted)
            return sum(values)

        return run

    shifts = {name: jnp.zeros(shape) for name, (_, shape) in draws.items()}
    estimate = value_and_grad(estimator, linear, num_samples=num_samples)
    state = estimate.init(key, shifts, *args, **hyper)
    grads = estimate(estimate_key, shifts, *args, state=state, **hyper).grads
    dead = [
        (grads[name] == 0).all(axis=-1) if is_class else grads[name] == 0
        for name, (is_class, _) in draws.items()
    ]
    return jnp.concatenate([d.ravel() for d in dead]).mean()
