"""Two real processes as one run: stopped, killed, and continued to the bit."""

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
from experiments import ConfigError, plots
from experiments.engine import processes as hosts
from experiments.engine import train
from experiments.engine.devices import make_mesh
from experiments.engine.report import read_metrics

ROOT = pathlib.Path(__file__).resolve().parents[2]
# It takes its time after each log line, so that signals meet it on the way.
PROGRAM = """
import time
import runs
from experiments import plots
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

    def __init__(self, workdir: pathlib.Path):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"localhost:{free.getsockname()[1]}"
        paths = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
        self.workdir = workdir
        self.processes = [
            subprocess.Popen(
                [
                    *(sys.executable, "-c", PROGRAM, *runs.flags(config())),
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
        ((ADDRESS,), "--coordinator: must be given with --multihost, and "),
        (("--multihost", "--process_id=1"), "--process_id: must be given with --mul"),
        (
            ("--multihost", ADDRESS, "--num_processes=2", "--process_id=2"),
            "--process_id=2: must be below --num_processes=2",
        ),
        (("--multihost",), r"found \(nobody\): give --coordinator=HOST:PORT, "),
    ],
)
def test_processes_that_are_not_all_named(arguments, message, monkeypatch):
    def initialize(*args):
        raise ValueError("nobody\nat all")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    with pytest.raises(ConfigError, match=message):
        start(*arguments)


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
