"""Estimates of time: which runs they come from, and what they say they do not know."""

import json

import pytest

import runs
from experiments.reproduction import timing


def config(variant="categorical", **fields):
    return runs.config(variant, **{"num_steps": 1000} | fields)


def write(folder, made, steps, seconds, device="cpu", **more):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(made.to_dict()))
    (folder / "versions.json").write_text(json.dumps({"device_kind": device}))
    lines = [{"step": 1, "seconds": 60.0}, {"step": steps, "seconds": seconds}]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    if more:
        result = {"steps": steps, "seconds": seconds, **more}
        (folder / "result.json").write_text(json.dumps(result))


@pytest.fixture
def measured(tmp_path):
    """Reads what a test has written."""
    return lambda: timing.measured(tmp_path / "results", tmp_path / "runs", "cpu")


def seconds(known, *planned):
    return timing.estimate(known, [("vae", made, final) for made, final in planned])


def test_seconds_a_step_are_those_of_the_longest_run(tmp_path, measured):
    folder = tmp_path / "runs/vae"
    write(folder / "a", config(), 1000, 10.0)
    write(folder / "b", config(temperature=2.0, num_steps=9), 2000, 40.0)
    write(folder / "short", config(), 999, 9000.0)  # compilation
    write(folder / "gpu", config(), 5000, 1.0, device="gpu")
    found = seconds(measured(), (config(num_steps=500), False))
    assert found == (500 * 40.0 / 2000, 1, 0, 0)


def test_another_estimator_counts_where_there_is_not_the_same(tmp_path, measured):
    slow, fast = config(estimator="exact"), config(estimator="muprop")
    write(tmp_path / "runs/vae/slow", slow, 4000, 400.0)
    write(tmp_path / "runs/vae/fast", fast, 1000, 1.0)
    assert seconds(measured(), (fast, False)).seconds == 1.0
    assert seconds(measured(), (config(), False)).seconds == 100.0


@pytest.mark.parametrize(
    "field", [{"num_samples": 5}, {"batch_size": 9}, {"model__num_variables": 3}]
)
def test_other_networks_do_not_count(tmp_path, measured, field):
    write(tmp_path / "runs/vae/a", config(**field), 1000, 10.0)
    assert seconds(measured(), (config(), True)) == (0.0, 0, 0, 1)
    known = [one._replace(config=one.config | {"experiment": ""}) for one in measured()]
    assert seconds(known, (config(**field), True)).untimed == 1


def test_evaluations_are_added_where_one_was_timed(tmp_path, measured):
    folder = tmp_path / "runs/vae/a"
    write(folder, config(), 1000, 10.0)
    assert seconds(measured(), (config(), True), (config(), False)) == (20.0, 2, 1, 0)
    write(folder, config(), 1000, 10.0, evaluation_seconds=5.0)
    assert seconds(measured(), (config(), True)) == (15.0, 1, 0, 0)
    assert seconds(measured(), (config(eval_samples=9), True)) == (10.0, 1, 1, 0)


def test_records_count_as_runs_do(tmp_path, measured):
    (tmp_path / "results/a").mkdir(parents=True)
    record = {
        "config": config().to_dict(),
        "versions": {"device_kind": "cpu"},
        "result": {"steps": 2000, "seconds": 4.0},
    }
    file = tmp_path / "results/a/b.json"
    file.write_text(json.dumps(record))
    (tmp_path / "results/a/no.json").write_text("[1]")
    assert seconds(measured(), (config(), False)).seconds == 2.0
    del record["config"]["model"]["centring"]  # made before there was that field
    file.write_text(json.dumps(record))
    assert seconds(measured(), (config(), False)).seconds == 2.0


def test_words():
    assert str(timing.Estimate(0.0, 0, 0, 0)) == "nothing left"
    assert str(timing.Estimate(59 * 60, 2, 0, 0)) == "about 59 min for 2 runs"
    assert str(timing.Estimate(3 * 3600 + 90, 4, 3, 2)) == (
        "about 3 h 2 min for 4 runs without 3 final evaluations, never timed; "
        "nothing to estimate 2 runs from, whose network never ran"
    )
    assert str(timing.Estimate(0.0, 0, 0, 2)).startswith("nothing to estimate 2 runs")
