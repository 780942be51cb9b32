"""The benchmark of training steps, at a tiny budget: what it runs and what it keeps."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from experiments.reproduction import other_tables
from scripts import benchmark
from scripts.benchmarks import fresh, networks, ours, training
from scripts.benchmarks.implementations import OURS, PLAIN, installed

NAMES = ("784-(20×10)-784", "200H~784V, m = 5")


@pytest.fixture
def tiny(digits, monkeypatch):
    """Two networks, two steps a turn and no process but this."""
    few = {n: dataclasses.replace(networks.NETWORKS[n], steps=2) for n in NAMES}
    for module in (networks, training):
        monkeypatch.setattr(module, "NETWORKS", few)
    monkeypatch.setattr(training, "REPEATS", 1)
    monkeypatch.setattr(training, "installed", lambda: [OURS, PLAIN])
    monkeypatch.setattr(ours, "SAMPLES", 2)
    called, really = [], subprocess.check_output

    def check_output(command, **options):
        if command[0] != sys.executable:  # what asks for the machine
            return really(command, **options)
        called.append(command[1:5])
        return 'a warning\n{"compile_seconds": 1.5, "peak_mib": 100.0}\n'

    monkeypatch.setattr(subprocess, "check_output", check_output)
    return called


def test_every_network_is_timed_and_written(tiny, tmp_path, capsys):
    training.training(tmp_path)
    values = json.loads((tmp_path / "training.json").read_text())
    assert [found["name"] for found in values["networks"]] == list(NAMES)
    for found in values["networks"]:
        assert set(found["milliseconds"]) == {OURS, PLAIN, other_tables.FLOOR}
        assert all(value > 0 for value in found["milliseconds"].values())
        assert found["processes"][PLAIN] == {"compile_seconds": 1.5, "peak_mib": 100.0}
    timed = ["evaluation_seconds" in found for found in values["networks"]]
    assert timed == [True, False]  # an evaluation knows nothing of the training's m
    assert values["machine"]["cores"] > 0
    assert tiny[0] == ["-m", fresh.__name__, NAMES[0], OURS]
    out = capsys.readouterr().out
    assert out.startswith(
        "PyTorch is not installed: no rows of PyTorch eager and torch"
    )
    assert other_tables.training_table(values).split("\n")[0] in out


def test_stopped_halfway_what_was_measured_is_kept(tiny, tmp_path, monkeypatch):
    few = {**training.NETWORKS}
    broken = dataclasses.replace(few[NAMES[1]], experiment="none")
    monkeypatch.setattr(training, "NETWORKS", few | {NAMES[1]: broken})
    with pytest.raises(ModuleNotFoundError):
        training.training(tmp_path)
    values = json.loads((tmp_path / "training.json").read_text())
    assert [found["name"] for found in values["networks"]] == [NAMES[0]]


@pytest.mark.parametrize("implementation", installed())
def test_two_turns_train(tiny, tmp_path, implementation):
    network = networks.NETWORKS[NAMES[0]]
    path = tmp_path / "start.npz"
    networks.start_of(network, network.task()).save(path)
    found = fresh.two_turns(NAMES[0], implementation, path)
    assert set(found) == {"compile_seconds", "peak_mib"}
    assert found["peak_mib"] > 50  # Python and its libraries alone
    assert np.isfinite(found["compile_seconds"])


def test_the_command_line(monkeypatch, tmp_path):
    called = []
    monkeypatch.setitem(benchmark.BENCHMARKS, "training", called.append)
    benchmark.main(["benchmark.py", "training", str(tmp_path)])
    assert called == [tmp_path]
    with pytest.raises(SystemExit, match="usage: "):
        benchmark.main(["benchmark.py", "samples", str(tmp_path)])
