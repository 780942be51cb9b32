"""Two real processes as one run: stopped, killed, and continued to the bit."""

import concurrent.futures
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import jax
import pytest
from absl import flags

import runs
from experiments import ConfigError, Interrupted
from experiments.engine import plots, train
from experiments.engine import processes as hosts
from experiments.engine.devices import make_mesh
from experiments.engine.report import read_metrics

ROOT = pathlib.Path(__file__).resolve().parents[2]
# It takes its time after each log line, so that signals meet it on the way.
PROGRAM = """
import time
import runs
from experiments.engine import plots
from experiments.cli import launch
from experiments.engine import report
write = report.MetricsLog.write
report.MetricsLog.write = lambda *args: (write(*args), time.sleep(0.2))
plots.plot_curves = lambda *args: None
launch.launch("vae", "", lambda config: runs.task())
"""


def config():
    return runs.config(
        num_steps=200,
        log_every=20,
        eval_every=100,
        checkpoint_every=40,
        schedule__rate=0.001,
    )


class Pair:
    """Two processes on this machine that are one run."""

    def __init__(self, workdir: pathlib.Path, program: str = PROGRAM):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"localhost:{free.getsockname()[1]}"
        paths = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
        self.workdir = workdir
        self.processes = [
            subprocess.Popen(
                [
                    *(sys.executable, "-c", program, *runs.flags(config())),
                    *(f"--workdir={workdir}", "--multihost", "--num_processes=2"),
                    *(f"--coordinator={address}", f"--process_id={index}"),
                ],
                env=os.environ
                | {"PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"}
                | runs.sharing_programs(workdir.parent / "compiled", "0.1"),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in range(2)
        ]

    def wait_for_step(self, step: int) -> None:
        deadline = time.monotonic() + 120
        while not any(
            line["step"] >= step
            for line in read_metrics(self.workdir / "metrics.jsonl")
        ):
            assert all(p.poll() is None for p in self.processes), self.end()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end(self) -> list[tuple[int, str, str]]:
        """Exit code, output and errors of both."""
        said = [process.communicate(timeout=120) for process in self.processes]
        codes = [process.returncode for process in self.processes]
        return [(code, *texts) for code, texts in zip(codes, said, strict=True)]


def test_two_processes_are_stopped_killed_and_continued(tmp_path, monkeypatch):
    workdir = tmp_path / "pair"
    pair = Pair(workdir)
    pair.wait_for_step(20)
    # To one of them: both stop at the same step.
    pair.processes[1].send_signal(signal.SIGTERM)
    (code, out, err), other = pair.end()
    assert (code, err, other[0], other[2]) == (0, "", 0, "")
    assert "\nstopped at step " in out and "--process_id=0" in out
    assert "stopped" not in other[1]
    saved = max(int(path.name) for path in (workdir / "checkpoints").iterdir())
    pair = Pair(workdir)
    pair.wait_for_step(saved + 60)
    pair.processes[1].kill()
    (code, out, err), other = pair.end()
    assert f"\ncontinuing from step {saved} in " in out
    assert code == 1 and err.startswith("error: ") and err.count("\n") == 1
    assert "start all of them again" in err and other[0] == -signal.SIGKILL
    pair = Pair(workdir)
    (code, out, err), other = pair.end()
    assert (code, err, other[0], other[2]) == (0, "", 0, "")
    (step,) = re.findall(r"\ncontinuing from step (\d+) in ", out)
    assert saved < int(step) < 200 and "\ntest: nll " in out
    assert not list(workdir.rglob("*.tmp"))
    # Two devices of one process do the same.
    monkeypatch.setattr(plots, "plot_curves", lambda *args: None)
    train.train(
        runs.task(),
        config(),
        tmp_path / "one",
        mesh=make_mesh(devices=jax.devices()[:2]),
        announce=lambda line: None,
    )
    assert runs.ends(workdir) == runs.ends(tmp_path / "one")


def start(*arguments):
    values = flags.FlagValues()
    hosts.define_flags(values)
    values(["", *arguments])
    hosts.start(values)


ADDRESS = "--coordinator=localhost:1234"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((ADDRESS,), "--coordinator: needs --multihost and --coordinator and --num_p"),
        (("--multihost", "--process_id=1"), "--multihost: needs --multihost and --co"),
        (
            ("--multihost", ADDRESS, "--num_processes=2", "--process_id=2"),
            "--process_id=2: must be below --num_processes=2",
        ),
    ],
)
def test_processes_that_are_not_all_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        start(*arguments)


def test_the_cluster_is_asked_where_no_process_is_named(monkeypatch):
    def initialize(**arguments):
        assert arguments == {"initialization_timeout": hosts.START_SECONDS}
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    start("--nomultihost")
    with pytest.raises(ConfigError, match="coordinator_address .*it needs --coordin"):
        start("--multihost")


@pytest.fixture
def port(monkeypatch):
    """A port of this machine; whether JAX is content does not matter."""
    monkeypatch.setattr(jax.distributed, "initialize", None)
    monkeypatch.setattr(hosts, "START_SECONDS", 0.5)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def refused(port, index, message, count=2):
    arguments = f"--num_processes={count}", f"--process_id={index}"
    with pytest.raises(ConfigError, match=message):
        start("--multihost", f"--coordinator=localhost:{port}", *arguments)


@pytest.mark.parametrize(
    "address, message",
    [
        ("localhost", "must be HOST:PORT, the port from 1 to 65535"),
        (":80", "must be HOST:PORT"),
        ("localhost:http", "must be HOST:PORT"),
        ("localhost:0", "must be HOST:PORT"),
        ("localhost:65536", "must be HOST:PORT"),
        ("no-such-host.invalid:1234", "no such host"),
        ("no..host:1234", "no such host"),
        ("192.0.2.1:1234", "process 0 cannot listen there .Cannot assign requ"),
    ],
)
def test_addresses_that_are_wrong(address, message, port):
    arguments = f"--coordinator={address}", "--process_id=0"
    with pytest.raises(ConfigError, match=f"^--coordinator={address}: {message}"):
        start("--multihost", "--num_processes=2", *arguments)


def test_another_program_at_the_address(port):
    with socket.create_server(("localhost", port)):
        refused(port, 0, r"process 0 cannot listen there \(Address already in use")
        refused(port, 1, r"process 0 does not answer \(no line")
    refused(port, 1, r"process 0 does not answer \(.*refused")


def test_processes_that_do_not_come_or_are_others(port, monkeypatch):
    refused(port, 0, r"the processes \[1, 2\] did not come", count=3)
    monkeypatch.setattr(hosts, "START_SECONDS", 20)
    for index, count in ((1, 3), (2, 4)):
        with concurrent.futures.ThreadPoolExecutor() as pool:
            message = rf"process {index} of {count} came, not one of \[1\] of 2$"
            first = pool.submit(refused, port, 0, message)
            refused(port, index, f"process 0 says: {message}", count)
            first.result()


@pytest.mark.parametrize("index", [0, 1])
def test_a_process_killed_at_the_start_ends_the_other_with_one_line(index, tmp_path):
    waits = '(print("joined", flush=True), time.sleep(300))'
    pair = Pair(tmp_path / "pair", PROGRAM.replace("runs.task()", waits))
    while pair.processes[0].stdout.readline() != "joined\n":
        assert pair.processes[0].poll() is None
    pair.processes[index].kill()
    code, _, err = pair.end()[1 - index]
    line = f"error: process {index} of the run has ended: start all of them again: "
    assert (code, err) == (1, f"{line}they continue\n")


def test_a_single_process_needs_no_flag(monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", None)
    start()
    assert hosts.on_first(lambda: 3) == hosts.in_all(lambda: 3) == 3
    assert [hosts.anywhere(flag) for flag in (False, True)] == [False, True]
    for everywhere in (hosts.on_first, hosts.in_all):
        with pytest.raises(ZeroDivisionError):
            everywhere(lambda: 1 / 0)
    with pytest.raises(KeyError):
        hosts.abandon(KeyError())


WATCHED = (signal.SIGTERM, signal.SIGINT)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_is_noted_and_handlers_are_restored(number, code):
    before = [signal.getsignal(n) for n in WATCHED]
    with pytest.raises(Interrupted) as error, hosts.interruptions() as stopping:
        assert not stopping()
        signal.raise_signal(number)
        assert stopping()
        raise Interrupted
    assert error.value.exit_code == code
    assert [signal.getsignal(n) for n in WATCHED] == before
    assert signal.set_wakeup_fd(-1) == -1


# Computes for ever, in a call that returns to Python for no signal.
BUSY = """
import jax
from experiments.engine import processes
with processes.interruptions():
    print("started", flush=True)
    endless = lambda x: jax.lax.while_loop(lambda x: x >= 0, lambda x: x * 2, x)
    jax.jit(endless)(0.5).block_until_ready()
"""


@pytest.mark.parametrize("second", WATCHED)
def test_ctrl_c_is_answered_at_once_and_the_second_signal_ends(second):
    with subprocess.Popen(
        [sys.executable, "-c", BUSY],
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"started\n"
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == b"\n"
        assert process.stderr.readline().startswith(b"stopping after these steps; ")
        process.send_signal(second)
        assert process.wait(10) == -second
