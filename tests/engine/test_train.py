import gzip
import json
import signal

import jax
import numpy as np
import pytest

import runs
from experiments import Interrupted, WorkdirError, vae
from experiments.data import datasets
from experiments.engine import recorder, report, train
from experiments.engine.checkpoint import Checkpoints
from experiments.engine.report import read_metrics
from experiments.engine.run_directory import claim


class Killed(BaseException):
    """Stands in for SIGKILL: nothing in the loop catches it."""


def config(**fields):
    return runs.config(estimator="exact", **fields)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The end of a tiny run that nothing happens to."""
    workdir = tmp_path_factory.mktemp("unbroken")
    runs.train_quietly(workdir)
    return runs.ends(workdir)


def at_call(monkeypatch, owner, name, number, act, before=False):
    """Acts at the given call of a function, before or after what it does."""
    original, calls = getattr(owner, name), []

    def patched(*args, **kwargs):
        calls.append(None)
        if before and len(calls) == number:
            act()
        value = original(*args, **kwargs)
        if not before and len(calls) == number:
            act()
        return value

    monkeypatch.setattr(owner, name, patched)


def kill():
    raise Killed


# The shape of each variant at a size that compiles fast, and other choices on the way.
SMALL = {
    "categorical": {"eval_samples": 3, "model__num_variables": 3},
    "bernoulli": {
        "model__num_variables": 6,
        "dataset__binarization": "dynamic",
        "optimizer": "sgd",
        "learning_rate": 1e-4,
    },
    "mlp": {
        "model__num_variables": 2,
        "model__hidden": (8, 4),
        "model__prior": "uniform",
        "objective": "relaxed_density",
    },
}


@pytest.mark.parametrize("variant", SMALL)
def test_variants_end_to_end(variant, tmp_path, monkeypatch):
    noise = runs.dataset()
    monkeypatch.setattr(datasets, "load", lambda *args: noise)
    made = runs.config(
        variant,
        num_steps=6,
        log_every=2,
        eval_every=4,
        checkpoint_every=2,
        **{"learning_rate": 1e-3, "eval_samples": 1} | SMALL[variant],
    )
    result = train.train(vae.make_task(made), made, tmp_path, announce=lambda _: None)

    def read(name):
        return json.loads((tmp_path / name).read_text())

    assert read("config.json") == json.loads(json.dumps(made.to_dict()))
    assert read("versions.json")["dataset_checksum"] == noise.checksum
    assert read("versions.json")["jax"] == jax.__version__
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [0, 2, 4, 6]
    assert all("valid_nll" in line for line in lines)
    assert lines[0].keys() == {"step", "valid_nll", "seconds"}
    names = {"objective", "temperature", *runs.TIMINGS}
    assert all(line.keys() >= names for line in lines[1:])
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"4", "6"}
    names = {"curves.png", "samples.png", "reconstructions.png", "latents.png"}
    assert {p.name for p in (tmp_path / "figures").iterdir()} == names
    assert read("result.json") == result
    timings = {"seconds", "evaluation_seconds"}
    assert result.keys() == {"steps", "best_step", "valid", "test", *timings}
    assert result["evaluation_seconds"] > 0
    assert result["steps"] == 6 and result["seconds"] == lines[-1]["seconds"]
    for split in ("valid", "test"):
        values = result[split]
        assert values.keys() == {"nll", "nll_stderr", "nll_1", "eval_samples"}
        assert values["eval_samples"] == made.eval_samples
        assert (values["nll"] < values["nll_1"]) == (made.eval_samples > 1)
        # The best model of 784 fair coins needs 543 nats.
        assert 530 < values["nll"] <= values["nll_1"] < 700
        assert 0 < values["nll_stderr"] < 10
    best = min(lines, key=lambda line: line["valid_nll"])
    assert result["best_step"] == best["step"]
    assert result["valid"]["nll_1"] == pytest.approx(best["valid_nll"], rel=1e-6)


@pytest.mark.parametrize(
    "owner, name, number, before",
    [
        (report.MetricsLog, "write", 4, False),  # a line beyond the checkpoint
        (Checkpoints, "save", 2, True),  # training done, not saved
        (train, "bound_summary", 2, False),  # everything done but the result
    ],
)
def test_broken_off_anywhere_ends_where_unbroken_does(
    owner, name, number, before, tmp_path, monkeypatch, unbroken
):
    with monkeypatch.context() as patch:
        at_call(patch, owner, name, number, kill, before)
        with pytest.raises(Killed):
            runs.train_quietly(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 15, "obj')
    said = []
    runs.train_quietly(tmp_path, said=said)
    assert said == [said[0]] and said[0].startswith("continuing from step ")
    assert runs.ends(tmp_path) == unbroken


def test_damaged_newest_checkpoint_falls_back(tmp_path, monkeypatch, unbroken):
    with monkeypatch.context() as patch:
        at_call(patch, Checkpoints, "save", 2, kill)
        with pytest.raises(Killed):
            runs.train_quietly(tmp_path)
    for path in (tmp_path / "checkpoints" / "20").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:10])
    said = []
    runs.train_quietly(tmp_path, said=said)
    assert "step 20 is damaged" in said[0] and "using 10" in said[0]
    assert said[1].startswith("continuing from step 10 ")
    assert runs.ends(tmp_path) == unbroken


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_stop(number, tmp_path, monkeypatch, unbroken):
    with monkeypatch.context() as patch:
        # The log step at 5 is no checkpoint step, yet it is saved.
        act = lambda: signal.raise_signal(number)  # noqa: E731
        at_call(patch, report.MetricsLog, "write", 2, act)
        with pytest.raises(Interrupted, match="^stopped at step 5 of 20$"):
            runs.train_quietly(tmp_path)
    assert (tmp_path / "checkpoints" / "5").is_dir()
    with monkeypatch.context() as patch:
        at_call(patch, train, "bound_summary", 1, act)
        with pytest.raises(Interrupted, match="final evaluation, training is done"):
            runs.train_quietly(tmp_path)
    runs.train_quietly(tmp_path)
    assert runs.ends(tmp_path) == unbroken


def test_finished_run_is_not_evaluated_again(tmp_path, monkeypatch):
    made = config(num_steps=5)
    result = runs.train_quietly(tmp_path, made=made)
    monkeypatch.setattr(train, "open_run", None)
    said = []
    assert runs.train_quietly(tmp_path, made=made, said=said) == result
    assert said == [f"this run is complete: {tmp_path}"]


def test_train_only_leaves_the_test_set_unread(tmp_path, monkeypatch, unbroken):
    read = []
    with monkeypatch.context() as patch:
        call = recorder.Evaluator.__call__
        patch.setattr(
            recorder.Evaluator,
            "__call__",
            lambda self, params, split, *rest: (
                read.append(split) or call(self, params, split, *rest)
            ),
        )
        assert runs.train_quietly(tmp_path, train_only=True) is None
    assert set(read) == {"valid"} and not (tmp_path / "result.json").exists()
    runs.train_quietly(tmp_path)
    assert runs.ends(tmp_path) == unbroken


def test_directory_of_another_run_is_refused(tmp_path, monkeypatch):
    with claim(tmp_path, config().to_dict()):
        with pytest.raises(WorkdirError, match="in use by another process"):
            runs.train_quietly(tmp_path)
    message = "batch_size is 8 there, 7 now; schedule.rate is 0.05 there, 0.5 now"
    with pytest.raises(WorkdirError, match=message):
        runs.train_quietly(tmp_path, made=config(batch_size=7, schedule__rate=0.5))
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "lock"}


def test_best_parameters_are_tested(tmp_path, monkeypatch):
    """Validation bounds are scripted, and the parameters seen are recorded."""
    seen = []

    class Scripted:
        def __init__(self, *args):
            pass

        def __call__(self, params, split, num_samples, stop=None, hyper=None):
            seen.append((split, num_samples, np.asarray(params["prior"])))
            return np.asarray([-5.5, -5.0, -4.0, -4.5])[[len(seen) - 1] * 2]

    monkeypatch.setattr(recorder, "Evaluator", Scripted)
    monkeypatch.setattr(train, "bound_summary", lambda *args: {})
    with monkeypatch.context() as patch:
        at_call(patch, Checkpoints, "save", 3, kill)
        made = config(eval_every=5, checkpoint_every=5, valid_samples=2)
        with pytest.raises(Killed):
            runs.train_quietly(tmp_path, made=made)
    monkeypatch.setattr(
        Scripted,
        "__call__",
        lambda self, params, split, m, stop=None, hyper=None: (
            seen.append((split, m, np.asarray(params["prior"]))) or np.full(2, -6.0)
        ),
    )
    result = runs.train_quietly(tmp_path, made=made)
    assert result["best_step"] == 10
    assert [s[:2] for s in seen[:5]] == [("valid", 2)] * 5
    assert [s[:2] for s in seen[5:]] == [
        (s, m) for s in ("valid", "test") for m in (3, 1)
    ]
    assert not np.array_equal(seen[4][2], seen[2][2])
    for _, _, prior in seen[5:]:
        assert np.array_equal(prior, seen[2][2])


def test_annealing_follows_its_formula(unbroken):
    lines = unbroken[3][1:]
    for line, start in zip(lines, range(0, 20, 5), strict=True):
        steps = np.arange(start, start + 5)
        formula = np.maximum(0.5, 1.0 * np.exp(-0.05 * (steps // 3 * 3)))
        assert line["temperature"] == pytest.approx(formula.mean(), rel=1e-6)
    assert lines[-1]["temperature"] == 0.5 < lines[1]["temperature"]


def test_last_chunk_may_be_shorter(tmp_path):
    runs.train_quietly(tmp_path, made=config(num_steps=7))
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [0, 5, 7]
    assert (tmp_path / "checkpoints" / "7").is_dir()


def test_validations_are_early_and_at_the_same_steps_in_runs_of_any_length():
    def steps(num_steps):
        made = config(num_steps=num_steps, eval_every=30)
        run = recorder.Recorder(None, made, None, None, None, None, 0)
        return [step for step in range(0, num_steps + 1, 5) if run.validates(step)]

    assert steps(90) == [0, 5, 10, 20, 30, 60, 90]
    assert steps(35) == [0, 5, 10, 20, 30, 35]


def test_a_trace_of_one_chunk_for_perfetto_and_tensorboard(tmp_path):
    runs.train_quietly(tmp_path, profile=True, train_only=True)
    (folder,) = (tmp_path / "profile" / "plugins" / "profile").iterdir()
    assert len(list(folder.glob("*.xplane.pb"))) == 1  # for TensorBoard
    (path,) = folder.glob("perfetto_trace.json.gz")
    with gzip.open(path) as file:
        events = json.load(file)["traceEvents"]
    # Of the four chunks of five steps the first one.
    names = [event.get("name", "") for event in events]
    products = {names.count(name) for name in names if name.startswith("dot.")}
    assert products == {5}
