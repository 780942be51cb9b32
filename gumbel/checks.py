"""Argument checks: one line that names the argument, its value and what is allowed.

Values are checked only where they are known. Inside `jit` a temperature is a
tracer and only its type and shape can be read, so those checks are free at run time.
"""

import jax
import jax.numpy as jnp
import numpy as np


def check_logits(name: str, logits, rank: int | None = None, legend: str = "") -> None:
    """Checks that logits are floating point and, where asked, of one rank.

    Raises:
        ValueError: if the dtype is not floating point or the rank differs.
    """
    dtype, shape = jnp.result_type(logits), jnp.shape(logits)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"{name} has dtype {dtype}: must be floating point (float32, bfloat16, …)"
        )
    if rank is not None and len(shape) != rank:
        raise ValueError(f"{name} has shape {shape}: must be {legend} (rank {rank})")


def check_classes(name: str, logits, axis: int = -1) -> None:
    """Checks that logits have a class axis, of at least one class.

    Raises:
        ValueError: if there is no such axis or it is empty.
    """
    shape = jnp.shape(logits)
    if not -len(shape) <= axis < len(shape) or shape[axis] == 0:
        raise ValueError(
            f"{name} has shape {shape}: must have at least one class on axis {axis}"
        )


def check_positive(name: str, value) -> None:
    """Checks that a number or array, where it is concrete, is positive and finite.

    Raises:
        ValueError: if any element is zero, negative or not finite.
    """
    if isinstance(value, jax.core.Tracer):
        return
    array = np.asarray(value, dtype=np.float64)
    if not np.all((array > 0) & np.isfinite(array)):
        raise ValueError(f"{name}={value}: must be a positive finite number")


def check_non_negative(name: str, value) -> None:
    """Checks that a number, where it is concrete, is finite and not below zero.

    Raises:
        ValueError: if it is negative or not finite.
    """
    if isinstance(value, jax.core.Tracer):
        return
    if not 0 <= float(value) < float("inf"):
        raise ValueError(f"{name}={value}: must be a non-negative finite number")


def check_count(name: str, value, least: int = 1) -> None:
    """Checks that a number that sets shapes is an integer, and not traced.

    Raises:
        ValueError: if it is traced, no integer, or too small.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r}: must be an integer ≥ {least}, not traced")


def check_choice(name: str, value, choices) -> None:
    """Checks that a value is one of the named choices.

    Raises:
        ValueError: if it is not; the message lists the choices.
    """
    if value not in tuple(choices):
        raise ValueError(f"{name}={value!r}: must be one of {', '.join(choices)}")
