"""The meeting of a run's processes before JAX connects them.

JAX aborts with a stack trace where an address is wrong or a process is missing or ends.
Here each process first reports to process 0 at the coordinator's address, which is
thereby checked, and the connection stays: its end tells at once that a process has
ended. JAX's own connections go through a relay, which keeps their end from it.
"""

import atexit
import contextlib
import errno
import os
import re
import socket
import sys
import threading
import time
import traceback
from typing import NoReturn

from experiments import ConfigError

# Held by the thread that ends the process, so that one alone says why.
_ending = threading.Lock()
_peers: dict[int, socket.socket] = {}
_DONE, _FAILED = b".", b"!"


def meet(address: str, num_processes: int, process_id: int, seconds: float) -> None:
    """Waits for all processes, and from then on ends with any of them.

    Args:
        address: HOST:PORT where process 0 listens; free again afterwards.
        num_processes: their number.
        process_id: that of this one.
        seconds: how long to wait.

    Raises:
        ConfigError: if the address is wrong, or not all processes come in time.
    """
    flag, deadline = f"--coordinator={address}", time.monotonic() + seconds
    host, port = _split(address)
    if not (host and port.isdecimal() and port.isascii() and 0 < int(port) < 2**16):
        raise ConfigError(f"{flag}: must be HOST:PORT, the port from 1 to 65535")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{flag}: no such host ({error})") from error
    if process_id == 0:
        peers = _receive(flag, found, num_processes, deadline)
    else:
        peers = {0: _report(flag, (host, port), num_processes, process_id, deadline)}
    _peers.update(peers)
    atexit.register(_tell_peers, _DONE)
    for number, peer in peers.items():
        peer.settimeout(None)
        threading.Thread(target=_watch, args=(number, peer), daemon=True).start()


def _split(address: str) -> tuple[str, str]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), port


def _receive(
    flag: str, found: list, num_processes: int, deadline: float
) -> dict[int, socket.socket]:
    """The connections of process 0 to all others."""
    peers: dict[int, socket.socket] = {}
    with _listen(flag, found) as server, contextlib.ExitStack() as on_error:
        while missing := sorted(set(range(1, num_processes)) - {*peers}):
            server.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                peer = on_error.enter_context(server.accept()[0])
            except TimeoutError:
                reason = f"{flag}: the processes {missing} did not come"
                raise ConfigError(reason) from None
            match = re.fullmatch(r"process (\d+) of (\d+)\n", _read_line(peer, 5))
            if not match:
                peer.close()  # Something else has knocked.
                continue
            number, total = map(int, match.groups())
            if total != num_processes or number not in missing:
                reason = f"process {number} of {total} came, not one of {missing} of "
                reason += f"{num_processes}"
                peer.sendall(f"{reason}\n".encode())
                raise ConfigError(f"{flag}: {reason}")
            peers[number] = peer
        for peer in peers.values():
            peer.sendall(b"start\n")
        on_error.pop_all()
    return peers


def _listen(flag: str, found: list) -> socket.socket:
    errors = []
    for family, *_, where in found:
        try:
            return socket.create_server(where[:2], family=family)
        except OSError as error:
            errors.append(error)
            if error.errno == errno.EADDRINUSE:
                break
    raise ConfigError(f"{flag}: process 0 cannot listen there ({errors[-1].strerror})")


def _report(
    flag: str,
    where: tuple[str, str],
    num_processes: int,
    process_id: int,
    deadline: float,
) -> socket.socket:
    """The connection to process 0, once that has met all processes."""
    reason = ""
    while (left := deadline - time.monotonic()) > 0:
        try:
            with contextlib.ExitStack() as on_error:
                peer = socket.create_connection(where, timeout=min(left, 5))
                on_error.enter_context(peer)
                peer.sendall(f"process {process_id} of {num_processes}\n".encode())
                answer = _read_line(peer, left)
                if answer == "start\n":
                    on_error.pop_all()
                    return peer
            if answer:
                raise ConfigError(f"{flag}: process 0 says: {answer.strip()}")
            reason = "no line"
        except OSError as error:
            reason = str(error)
        time.sleep(0.1)
    raise ConfigError(f"{flag}: process 0 does not answer ({reason})")


def _read_line(peer: socket.socket, seconds: float) -> str:
    """The next line of a connection; empty where none comes in time."""
    peer.settimeout(seconds)
    try:
        with peer.makefile("rb") as file:
            return file.readline(999).decode(errors="replace")
    except OSError:
        return ""


def relay(address: str) -> str:
    """A local address whose connections go on to another one, and outlive theirs.

    Where the connection to process 0 ends, JAX aborts, before the process can say why.
    """
    server = socket.create_server(("localhost", 0))

    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                target.sendall(data)

    def accept() -> None:
        while True:
            near = server.accept()[0]
            try:
                far = socket.create_connection(_split(address))
            except OSError:  # It does not listen yet; JAX tries again.
                near.close()
                continue
            for pair in ((near, far), (far, near)):
                threading.Thread(target=copy, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return f"localhost:{server.getsockname()[1]}"


def _tell_peers(message: bytes) -> None:
    for peer in _peers.values():
        with contextlib.suppress(OSError):
            peer.sendall(message)


def _watch(number: int, peer: socket.socket) -> None:
    message = b""
    with contextlib.suppress(OSError):
        message = peer.recv(1)
    if message != _DONE:
        end(f"process {number} of the run has ended")


def end(reason: str | Exception) -> NoReturn:
    """Ends a process, and with it the others, of a run that cannot go on."""
    _ending.acquire()
    if isinstance(reason, Exception):
        traceback.print_exception(reason)
    else:
        reason = f"error: {reason}: start all of them again: they continue"
        print(reason, file=sys.stderr)
    sys.stderr.flush()
    _tell_peers(_FAILED)
    if 0 not in _peers:
        time.sleep(0.5)  # The others are through before JAX's server is gone.
    os._exit(1)
