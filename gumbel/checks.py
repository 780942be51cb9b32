"""Argument checks: one line that names the argument, its value and what is allowed.

Values are checked only where they are known. Inside `jit` a temperature is a
tracer and only its type and shape can be read, so those checks are free at run time.
"""

import numbers
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

# Below, quotients of logits overflow in float32; of a subnormal one they are NaN.
_LEAST_TEMPERATURE = 1e-30


def check_key(key: jax.Array) -> None:
    """Checks that a key is typed and one.

    Raises:
        ValueError: if it is an array of integers, or a batch of keys.
    """
    dtype = getattr(key, "dtype", type(key))
    if not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise ValueError(f"key has dtype {dtype}: must be a key of jax.random.key")
    if key.shape != ():
        raise ValueError(
            f"key has shape {key.shape}: must be one key, "
            "jax.vmap is the way to pass a batch of keys"
        )


def check_array(name: str, value: Any) -> None:
    """Checks that a value is not a list or tuple, which JAX takes for no array.

    Raises:
        ValueError: if it is.
    """
    if isinstance(value, list | tuple):
        raise ValueError(f"{name}={value}: must be an array, jnp.array(…)")


def check_logits(
    name: str, logits: ArrayLike, rank: int | None = None, legend: str = ""
) -> None:
    """Checks that logits are floating point and, where asked, of one rank.

    Raises:
        ValueError: if they are a list, the dtype is not floating point or the rank
            differs.
    """
    check_array(name, logits)
    dtype, shape = jnp.result_type(logits), jnp.shape(logits)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"{name} has dtype {dtype}: must be floating point (float32, bfloat16, …)"
        )
    if rank is not None and len(shape) != rank:
        raise ValueError(f"{name} has shape {shape}: must be {legend} (rank {rank})")


def check_classes(name: str, logits: ArrayLike, axis: int = -1) -> None:
    """Checks that logits have a class axis, of at least one class.

    Raises:
        ValueError: if there is no such axis or it is empty.
    """
    check_array(name, logits)
    shape = jnp.shape(logits)
    if not -len(shape) <= axis < len(shape) or shape[axis] == 0:
        raise ValueError(
            f"{name} has shape {shape}: must have at least one class on axis {axis}"
        )


def check_positive(name: str, value: ArrayLike) -> None:
    """Checks that a number or array, where it is concrete, is positive and finite.

    Raises:
        ValueError: if any element is zero, negative or not finite.
    """
    if isinstance(value, jax.core.Tracer):
        return
    array = np.asarray(value, dtype=np.float64)
    if not np.all((array > 0) & np.isfinite(array)):
        raise ValueError(f"{name}={value}: must be a positive finite number")


def check_broadcasts(
    name: str, array: ArrayLike, shape: tuple[int, ...], whose: str
) -> None:
    """Checks that an array broadcasts to a shape, and does not enlarge it.

    Raises:
        ValueError: if it does not; the message says whose shape it is.
    """
    try:
        fits = np.broadcast_shapes(jnp.shape(array), shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name} has shape {jnp.shape(array)}: "
            f"must broadcast to {whose} shape {shape}"
        )


def check_temperature(temperature: ArrayLike, variables: tuple[int, ...]) -> None:
    """Checks that a temperature is positive and broadcasts against the variables.

    Args:
        temperature: a scalar, or an array of one temperature a variable.
        variables: the shape of the logits, without the class axis.

    Raises:
        ValueError: if its shape does not broadcast to that of the variables, or,
            where it is concrete, it is not positive and finite, or below 1e-30.
    """
    check_broadcasts("temperature", temperature, variables, "the variables'")
    check_positive("temperature", temperature)
    if isinstance(temperature, jax.core.Tracer):
        return
    if np.any(np.asarray(temperature, dtype=np.float64) < _LEAST_TEMPERATURE):
        raise ValueError(
            f"temperature={temperature}: must be at least {_LEAST_TEMPERATURE}; "
            "at 0 the sample is that of gumbel_max"
        )


def check_non_negative(name: str, value: ArrayLike) -> None:
    """Checks that a number, where it is concrete, is finite and not below zero.

    Raises:
        ValueError: if it is negative or not finite.
    """
    if isinstance(value, jax.core.Tracer):
        return
    if not 0 <= float(value) < float("inf"):
        raise ValueError(f"{name}={value}: must be a non-negative finite number")


def is_integer(value: Any) -> bool:
    """Whether a value is an integer, of Python or NumPy, and no bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Checks that a number that sets shapes is an integer, and not traced.

    Raises:
        ValueError: if it is traced, no integer, or too small.
    """
    if not is_integer(value) or value < least:
        raise ValueError(f"{name}={value!r}: must be an integer ≥ {least}, not traced")


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Checks that a value is one of the named choices.

    Raises:
        ValueError: if it is not; the message lists the choices.
    """
    if value not in tuple(choices):
        raise ValueError(f"{name}={value!r}: must be one of {', '.join(choices)}")
