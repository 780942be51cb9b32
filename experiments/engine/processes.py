"""Many processes, on one host or several, as one run.

All processes run the same program on their part of one mesh. Only the first of them
reads and writes files and speaks; what it alone knows it tells the others, and whether
to stop is agreed.
"""

import json
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from absl import flags
from jax.experimental import multihost_utils

import experiments
from experiments import ConfigError

Value = TypeVar("Value")

# The exceptions that a process may raise for what has happened on process 0.
_ERRORS = vars(experiments) | {
    error.__name__: error for error in (FloatingPointError, OSError)
}


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags that say which processes a run has."""
    meaning = "one run of many processes, the same command on each host"
    flags.DEFINE_boolean("multihost", False, meaning, flag_values=values)
    meaning = "HOST:PORT of process 0, unless the cluster tells"
    flags.DEFINE_string("coordinator", None, meaning, flag_values=values)
    meaning = "number of all processes"
    flags.DEFINE_integer("num_processes", None, meaning, 1, flag_values=values)
    meaning = "number of this process, from 0"
    flags.DEFINE_integer("process_id", None, meaning, 0, flag_values=values)


def start(values: flags.FlagValues) -> None:
    """Joins the processes of a run, before anything else asks for a device.

    Args:
        values: with the flags of `define_flags`.

    Raises:
        ConfigError: if it is not clear which processes these are.
    """
    names = ("coordinator", "num_processes", "process_id")
    given = {name: values[name].value for name in names if values[name].present}
    if given and not (values.multihost and len(given) == len(names)):
        raise ConfigError(
            f"--{next(iter(given))}: must be given with --multihost, and "
            "--coordinator, --num_processes and --process_id together"
        )
    if given and values.process_id >= values.num_processes:
        raise ConfigError(
            f"--process_id={values.process_id}: must be below "
            f"--num_processes={values.num_processes}"
        )
    if not values.multihost:
        return
    # It would swallow SIGTERM, which is ours: engine/interrupt.py.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            values.coordinator, values.num_processes, values.process_id
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"--multihost: no other processes were found ({reason}): give "
            "--coordinator=HOST:PORT, --num_processes and --process_id"
        ) from error
    if not is_first():
        sys.stdout = open(os.devnull, "w")


def is_first() -> bool:
    """Whether this process is the one that reads, writes and speaks."""
    return jax.process_index() == 0


def on_first(function: Callable[[], Value]) -> Value:
    """Runs on process 0 and broadcasts the result or exception.

    Args:
        function: returns what JSON can hold.
    """
    if jax.process_count() == 1:
        return function()
    message, error = None, None
    if is_first():
        try:
            message = {"value": function()}
        except Exception as caught:
            error = caught
            message = {"error": type(caught).__name__, "text": str(caught)}
    message = json.loads(_broadcast(json.dumps(message).encode()))
    if "error" not in message:
        return message["value"]
    if error is None:
        name, text = message["error"], message["text"]
        kind = _ERRORS.get(name)
        error = RuntimeError(f"{name}: {text}") if kind is None else kind(text)
    raise error


def _broadcast(data: bytes) -> bytes:
    """The bytes of process 0; those of the others count for nothing."""
    size = int(multihost_utils.broadcast_one_to_all(np.asarray(len(data))))
    # In sizes of powers of two: every size is a compilation.
    buffer = np.zeros(1 << size.bit_length(), np.uint8)
    if is_first():
        buffer[:size] = np.frombuffer(data, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(buffer))[:size].tobytes()


def broadcast_arrays(
    arrays: Mapping[Any, np.ndarray], templates: Mapping[Any, Any]
) -> Mapping[Any, np.ndarray]:
    """The arrays of process 0, bit for bit, on all processes.

    Args:
        arrays: on process 0 the arrays by name; on the others anything.
        templates: arrays of the same names, shapes and dtypes.
    """
    if jax.process_count() == 1:
        return arrays
    data = b"".join(arrays[n].tobytes() for n in templates) if is_first() else b""
    data, start, values = _broadcast(data), 0, {}
    for name, template in templates.items():
        shape, dtype = template.shape, np.dtype(template.dtype)
        # A copy: the array is aligned then, and does not keep all the others alive.
        flat = np.frombuffer(data, dtype, math.prod(shape), start).copy()
        values[name] = flat.reshape(shape)
        start += flat.nbytes
    return values


def in_all(act: Callable[[], Value]) -> Value:
    """Acts in every process; where it fails in one, it fails in all.

    Raises:
        ConfigError: if it failed in another one.
    """
    value, error = None, None
    try:
        value = act()
    except Exception as caught:
        error = caught
    if anywhere(error is not None):
        raise error or ConfigError("--multihost: another process cannot run")
    return value


def anywhere(flag: bool) -> bool:
    """Whether a flag is set in any of the processes, which all have to ask."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())


def abandon(error: Exception) -> NoReturn:
    """Ends a process that has failed, or whose run has lost another one.

    To leave a run of many processes in good order would be to wait for the others,
    which wait for this one.
    """
    if not jax.distributed.is_initialized():
        raise error
    if re.match("[A-Z_]+: ", str(error)):  # the status of an error of XLA's
        reason = str(error).partition("\n")[0]
        print(
            f"error: {reason}; if another process of the run is gone, start all of "
            "them again: they continue",
            file=sys.stderr,
        )
    else:
        traceback.print_exception(error)
    sys.stderr.flush()
    os._exit(1)
