"""A trace of a chunk: in the formats that Perfetto and TensorBoard open."""

import gzip
import json

import pytest

import runs
from experiments import plots
from experiments.engine import profiling, train


def test_a_run_traces_one_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "plot_curves", lambda *args: None)
    made = runs.config(estimator="exact")
    options = {"announce": lambda line: None, "train_only": True}
    train.train(runs.task(), made, tmp_path, profile=True, **options)
    (folder,) = (tmp_path / "profile" / "plugins" / "profile").iterdir()
    assert len(list(folder.glob("*.xplane.pb"))) == 1  # for TensorBoard
    (path,) = folder.glob("perfetto_trace.json.gz")
    with gzip.open(path) as file:
        events = json.load(file)["traceEvents"]
    # Of the four chunks of five steps the first one.
    names = [event.get("name", "") for event in events]
    products = {names.count(name) for name in names if name.startswith("dot.")}
    assert products == {5}


def test_contexts_after_the_first_trace_nothing(tmp_path):
    tracing = profiling.once(tmp_path / "first")
    with pytest.raises(KeyError), tracing():
        raise KeyError
    before = sorted(tmp_path.rglob("*"))
    with tracing():
        pass
    assert sorted(tmp_path.rglob("*")) == before != []
