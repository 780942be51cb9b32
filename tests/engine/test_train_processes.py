"""The training loop in real processes: killed, stopped, and continued to the bit."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import runs
from experiments.engine.report import read_metrics

ROOT = pathlib.Path(__file__).resolve().parents[2]


def start(workdir, where, cache=None):
    """The command of a run that takes a few seconds, from another directory."""
    fields = {
        "model.num_variables": 2,
        "model.num_classes": 3,
        "num_steps": 300,
        "batch_size": 10,
        "log_every": 10,
        "eval_every": 100,
        "checkpoint_every": 20,
        "eval_samples": 2,
        "eval_batch_size": 5000,
        "schedule.rate": 0.01,
        "schedule.every": 7,
    }
    command = [
        *(sys.executable, "-m", "experiments.vae", "--config=configs/vae.py"),
        *(f"--config.{name}={value}" for name, value in fields.items()),
        f"--workdir={workdir}",
    ]
    return popen(command, where, cache)


def popen(command, where, cache=None, **kwargs):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    if cache:
        environment |= runs.sharing_programs(cache, "0")
    return subprocess.Popen(
        command,
        cwd=where,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


def finish(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def send_when(process, number, happened):
    """Sends a signal as soon as something has happened; what the process then says."""
    deadline = time.monotonic() + 300
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(number)
    return finish(process)


def test_real_processes_killed_and_stopped_end_bitwise_the_same(tmp_path):
    workdir, cache = tmp_path / "broken", tmp_path / "cache"

    def logged(lines):
        path = workdir / "metrics.jsonl"
        return lambda: path.exists() and path.read_text().count("\n") >= lines

    killed = send_when(start(workdir, tmp_path, cache), signal.SIGKILL, logged(7))
    assert killed[0] == -signal.SIGKILL
    process = start(workdir, tmp_path, cache)
    code, out, err = send_when(process, signal.SIGTERM, logged(15))
    assert (code, err) == (0, "")
    *_, stopped, line = out.splitlines()
    assert stopped.startswith("stopped at step ")
    assert stopped.endswith(" of 300; continue with:")
    process = popen(f"exec env {line}", tmp_path, cache, shell=True)
    code, out, err = finish(process)
    assert (code, err) == (0, "")
    assert out.startswith("continuing from step ") and "test: nll " in out

    whole = tmp_path / "whole"
    code, out, err = finish(start(whole, tmp_path))
    assert (code, err) == (0, "")
    assert "continuing" not in out
    steps = [line["step"] for line in read_metrics(workdir / "metrics.jsonl")]
    assert steps == list(range(0, 301, 10))
    assert runs.ends(workdir) == runs.ends(whole)
