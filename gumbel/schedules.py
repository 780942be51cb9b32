"""Temperature schedules: pure functions of the step, in the style of optax.

A schedule takes the step, concrete or traced, and returns the temperature, so an
annealed run compiles once and a resumed run is where the unbroken one would be.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gumbel.checks import check_non_negative, check_positive

Schedule = Callable[[ArrayLike], jax.Array]


def _floats(*values: ArrayLike) -> tuple[jax.Array, ...]:
    return tuple(jnp.asarray(value).astype(jnp.float32) for value in values)


def _interval(step: ArrayLike, every: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """⌊step / every⌋ and `every`, as integers where both are."""
    step, every = jnp.asarray(step), jnp.asarray(every)
    fractional = jnp.issubdtype(every.dtype, jnp.floating)
    dtype = every.dtype if fractional else step.dtype
    every = every.astype(dtype)
    return step.astype(dtype) // every, every


def constant(value: ArrayLike) -> Schedule:
    """The same temperature at every step.

    Args:
        value: τ > 0.

    Returns:
        step -> temperature.

    Raises:
        ValueError: if a concrete value is not positive and finite.
    """
    check_positive("value", value)
    return lambda step: jnp.full(jnp.shape(step), value, jnp.float32)


def exponential(
    initial: ArrayLike, minimum: ArrayLike, rate: ArrayLike, every: ArrayLike
) -> Schedule:
    """Exponential annealing with a floor, updated at intervals.

    τ(t) = max(minimum, initial · exp(−rate · every · ⌊t / every⌋)): Jang, Gu & Poole
    (2017), section 4.2, with initial = 1, minimum = 0.5, rate 1e-5 or 1e-4 and every
    500 or 1000 steps. Every argument may be traced, so a sweep compiles once.

    Args:
        initial: τ at step 0, > 0.
        minimum: the floor, > 0.
        rate: decay per step, ≥ 0.
        every: steps between updates, ≥ 1.

    Returns:
        step -> temperature.

    Raises:
        ValueError: if a concrete argument is out of range.
    """
    check_positive("initial", initial)
    check_positive("minimum", minimum)
    check_non_negative("rate", rate)
    check_positive("every", every)

    def schedule(step: ArrayLike) -> jax.Array:
        start, floor, slope = _floats(initial, minimum, rate)
        interval, length = _interval(step, every)
        updated = (interval * length).astype(jnp.float32)
        return jnp.maximum(floor, start * jnp.exp(-slope * updated))

    return schedule


def linear(
    initial: ArrayLike, maximum: ArrayLike, rate: ArrayLike, every: ArrayLike
) -> Schedule:
    """A ramp with a ceiling: s(t) = min(maximum, initial + rate · ⌊t / every⌋).

    The slope of slope-annealed straight-through: Chung, Ahn & Bengio (2017) raise it
    from 1 by 0.04 an epoch, up to 5.

    Args:
        initial: the value at step 0, > 0.
        maximum: the ceiling, > 0.
        rate: the increase per interval, ≥ 0.
        every: steps between updates, ≥ 1.

    Returns:
        step -> value.

    Raises:
        ValueError: if a concrete argument is out of range.
    """
    check_positive("initial", initial)
    check_positive("maximum", maximum)
    check_non_negative("rate", rate)
    check_positive("every", every)

    def schedule(step: ArrayLike) -> jax.Array:
        start, ceiling, slope = _floats(initial, maximum, rate)
        interval = _interval(step, every)[0].astype(jnp.float32)
        return jnp.minimum(ceiling, start + slope * interval)

    return schedule
