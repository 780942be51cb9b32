"""Runs that train as one, split over fake devices: as if one after the other."""

import json
import signal

import numpy as np
import pytest

import runs
from experiments import Interrupted, vae
from experiments.engine import devices, report, together
from experiments.engine import run_directory as workdir
from experiments.engine.checkpoint import Checkpoints
from experiments.engine.report import read_metrics
from experiments.reproduction import runs as grids
from experiments.reproduction import sweep

RATES = (0.05, 0.02, 1e38, 0.1, 0.01)  # the third diverges


@pytest.fixture
def accelerators(eight, monkeypatch):
    """All eight devices, taken for accelerators."""
    monkeypatch.setattr(grids, "trains_as_one", lambda: True)


def task(config=None):
    """The tiny task without its test set: what reads it fails."""
    tiny = runs.task()
    del tiny.evaluation["test"]
    return tiny


def points(root, monkeypatch):
    """Points in a folder, each with a learning rate and a seed of its own."""
    monkeypatch.setattr(workdir, "REPOSITORY", root)
    monkeypatch.setattr(vae, "make_task", task)
    base = runs.config(estimator="exact")
    return [
        sweep.make_point("vae", "x", base, {"learning_rate": rate, "seed": seed}, 1)
        for seed, rate in enumerate(RATES)
    ]


def complete(points):
    """Trains and evaluates points; the contents of their files."""
    grids.complete(points, lambda run: None)
    return [json.loads(point.file.read_text()) for point in points]


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """The results of the points one after the other, and the points."""
    with pytest.MonkeyPatch.context() as patch:
        made = points(tmp_path_factory.mktemp("apart"), patch)
        return complete(made), made


def assert_same(found, made, apart):
    """The same findings, files and steps; numbers up to rounding."""
    for ours, theirs, *pair in zip(found, apart[0], made, apart[1], strict=True):
        assert ours.keys() == theirs.keys()
        files = [{p.name for p in point.directory.iterdir()} for point in pair]
        assert files[0] == files[1]
        configs = [(point.directory / "config.json").read_text() for point in pair]
        assert configs[0] == configs[1]
        assert ours["diverged"] == theirs["diverged"]
        if ours["diverged"]:
            continue
        for bound in ("discrete", "relaxed"):
            values = [list(f[bound].values()) for f in (ours, theirs)]
            np.testing.assert_allclose(*values, rtol=1e-4)
        saved = [sorted((p.directory / "checkpoints").iterdir()) for p in pair]
        assert [[path.name for path in paths] for paths in saved] == [["10", "20"]] * 2
        lines = [read_metrics(point.directory / "metrics.jsonl") for point in pair]
        for one, other in zip(*map(runs.without_timings, lines), strict=True):
            assert [*one] == [*other]
            values = [list(line.values()) for line in (one, other)]
            np.testing.assert_allclose(*values, rtol=2e-4, atol=1e-5)


def test_points_as_one_are_the_points_one_by_one(
    accelerators, apart, tmp_path, monkeypatch, capsys
):
    made = points(tmp_path, monkeypatch)
    found = complete(made)
    assert "training 5 runs as one on 8 devices" in capsys.readouterr().out
    assert [f["diverged"] for f in found] == [False, False, True, False, False]
    assert len({f["discrete"]["nll"] for f in found if not f["diverged"]}) == 4
    assert_same(found, made, apart)


def test_as_many_as_the_memory_holds_train_as_one(eight, monkeypatch):
    config = runs.config(estimator="exact")
    mesh = devices.make_mesh(8)
    assert together.most_together(task(), config, mesh) is None  # a CPU does not say
    monkeypatch.setattr(together, "memory", lambda: 1)
    assert together.most_together(task(), config, mesh) == 8
    monkeypatch.setattr(together, "memory", lambda: 2**30)
    assert together.most_together(task(), config, mesh) > 1000


def test_broken_off_they_continue_from_where_each_is(
    accelerators, apart, tmp_path, monkeypatch
):
    made = points(tmp_path, monkeypatch)

    class Killed(BaseException):
        pass

    def saved():
        return [
            max(
                (int(p.name) for p in (point.directory / "checkpoints").glob("*")),
                default=0,
            )
            for point in made
        ]

    with monkeypatch.context() as patch:
        save, calls = Checkpoints.save, []

        def killing(self, *args):
            calls.append(None)
            if len(calls) == 3:
                raise Killed
            save(self, *args)

        patch.setattr(Checkpoints, "save", killing)
        with pytest.raises(Killed):
            complete(made)
    assert saved() == [10, 10, 0, 0, 0]
    with monkeypatch.context() as patch:
        write, sent = report.MetricsLog.write, []

        def stopping(self, metrics):
            write(self, metrics)
            if metrics["step"] == 5 and not sent:  # a second one would kill
                sent.append(None)
                signal.raise_signal(signal.SIGTERM)

        patch.setattr(report.MetricsLog, "write", stopping)
        with pytest.raises(Interrupted, match="^stopped at step 5 of 20$"):
            complete(made)
    assert saved() == [20, 20, 0, 5, 5]
    assert_same(complete(made), made, apart)
