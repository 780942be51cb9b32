"""The processes of a run: many, on one host or several, as one; and their signals.

All processes run the same program on their part of one mesh. Process 0 alone reads and
writes files and prints; what it reads it broadcasts, as JSON or arrays, and whether to
stop is agreed. The processes trust each other and their network.
"""

import contextlib
import ctypes
import json
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from absl import flags
from jax.experimental import multihost_utils

import experiments
from experiments import ConfigError, Interrupted
from experiments.engine import rendezvous

Value = TypeVar("Value")

START_SECONDS = 60
# The exceptions that a process may raise for what has happened on process 0.
_ERRORS = vars(experiments) | {
    error.__name__: error for error in (FloatingPointError, OSError)
}


def open_streams() -> None:
    """Makes the standard streams usable, be they closed or ASCII."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Otherwise the next file to be opened would get its number and its output.
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # ASCII has no ±.


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags that say which processes a run has."""
    meaning = "many processes as one run, on a trusted network"
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
        ConfigError: if it is not clear which processes these are, or not all of them
            join within START_SECONDS.
    """
    names = ["multihost", "coordinator", "num_processes", "process_id"]
    present = [name for name in names if values[name].present]
    if not present or (present == names[:1] and not values.multihost):
        return
    if present not in (names[:1], names):
        raise ConfigError(f"--{present[0]}: needs --{' and --'.join(names)}")
    address, count, index = (values[name].value for name in names[1:])
    if address and index >= count:
        raise ConfigError(
            f"--process_id={index}: must be below --num_processes={count}"
        )
    print(
        f"joining the processes of the run, for at most {START_SECONDS} s", flush=True
    )
    place = {}  # the cluster tells, as a slice of TPUs does
    if address:
        rendezvous.meet(address, count, index, START_SECONDS)
        place = {
            "coordinator_address": address if index == 0 else rendezvous.relay(address),
            "num_processes": count,
            "process_id": index,
            # By default it listens on every interface of the machine.
            "coordinator_bind_address": address,
        }
    # It would swallow SIGTERM, which is ours.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(**place, initialization_timeout=START_SECONDS)
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"--multihost: not all processes were found ({reason}): without a cluster "
            f"that tells of them it needs --{' and --'.join(names[1:])}"
        ) from error
    if not is_first():
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def is_first() -> bool:
    """Whether this is process 0, which reads, writes and prints."""
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


def in_all(function: Callable[[], Value]) -> Value:
    """Runs on every process; an exception on one is an exception on all.

    Raises:
        ConfigError: if it failed on another process.
    """
    value, error = None, None
    try:
        value = function()
    except Exception as caught:
        error = caught
    if anywhere(error is not None):
        raise error or ConfigError("--multihost: another process cannot run")
    return value


def anywhere(flag: bool) -> bool:
    """Whether a flag is set on any of the processes, which all have to ask."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())


def abandon(error: Exception) -> NoReturn:
    """Ends a process that has failed, or whose run has lost another process.

    To leave a run of many processes in good order would be to wait for the others,
    which wait for this one.
    """
    if not jax.distributed.is_initialized():
        raise error
    text = str(error).partition("\n")[0]
    if re.match("[A-Z_]+: ", text):  # the status of an error of XLA's
        rendezvous.end(f"{text}; if another process of the run has ended")
    rendezvous.end(error)


@contextlib.contextmanager
def interruptions() -> Iterator[Callable[[], bool]]:
    """Notes SIGTERM and Ctrl-C; a second one ends the process at once.

    Yields:
        () -> whether a process of the run was asked to stop; all of them have to ask.
        An Interrupted that leaves the block knows whether it was Ctrl-C.
    """
    received: list[int] = []
    # Python calls handlers between two instructions of the main thread, that is after
    # the compiled steps under way. What it writes to a pipe arrives at once.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    threading.Thread(target=_watch, args=(reader,), daemon=True).start()
    previous = {
        number: signal.signal(number, lambda number, frame: received.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    previous_pipe = signal.set_wakeup_fd(writer)
    try:
        yield lambda: anywhere(bool(received))
    except Interrupted as interrupted:
        if signal.SIGINT in received:
            interrupted.exit_code = 128 + signal.SIGINT
        raise
    finally:
        signal.set_wakeup_fd(previous_pipe)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(writer)


def _watch(pipe: int) -> None:
    """Announces that the first signal from a pipe is heeded, and dies of the second."""
    with open(pipe, "rb", buffering=0) as signals:
        if signals.read(1) == bytes([signal.SIGINT]):
            with contextlib.suppress(OSError):  # Nobody may be reading.
                line = b"\nstopping after these steps; Ctrl-C again ends at once\n"
                os.write(2, line)
        if number := signals.read(1):
            _end_by(number[0])


def _end_by(number: int) -> None:
    """Ends the process by a signal, as one that handles none, from any thread."""
    ctypes.CDLL(None).signal(number, None)  # Python's is for the main thread alone.
    os.kill(os.getpid(), number)


def exit_interrupted(code: int) -> NoReturn:
    """Exits with a code; 130, of Ctrl-C, by the signal itself.

    To a shell both are $? = 130, but bash ends a loop only for a command that the
    signal has ended.
    """
    # Programs are run with the system's handler, see experiments/__init__.py.
    program = signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    if code == 130 and program and not jax.distributed.is_initialized():
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        _end_by(signal.SIGINT)
    sys.exit(code)
