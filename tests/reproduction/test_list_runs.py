"""The list of runs: states, what differs, filters and order."""

import csv
import functools
import json

import pytest

import runs
from experiments.reproduction import list_runs

call = functools.partial(runs.call_script, list_runs)


def make_run(folder, config, nlls, **files):
    """A run directory with validations every 10 steps, and further JSON files."""
    folder.mkdir(parents=True)
    files["config"] = config
    lines = [
        {"step": 10 * (i + 1), "seconds": 2.0 * i, "valid_nll": nll}
        for i, nll in enumerate(nlls)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))


@pytest.fixture
def folder(tmp_path):
    base = {"num_steps": 20, "model": {"hidden": []}, "learning_rate": 0.1}
    result = {"test": {"nll": 4.5, "accuracy": 0.75}}
    make_run(tmp_path / "a/done", base, [9.0, 5.0, 6.0], result=result)
    make_run(tmp_path / "a/stopped", base | {"learning_rate": 0.2}, [7.0])
    bad = base | {"learning_rate": 9.0}
    make_run(tmp_path / "a/bad", bad, [8.0, float("nan")])
    point = {"name": "table/row, learning_rate=0.3"}
    validation = {"diverged": "step 5: objective is nan"}
    other = base | {"learning_rate": 0.3}
    make_run(tmp_path / "b/point", other, [], grid=point, validation=validation)
    make_run(tmp_path / "b/trained", {"num_steps": 10, "alpha": 1.0}, [3.0])
    return tmp_path


def listed(capsys, *arguments):
    code, out, err = call(capsys, *map(str, arguments), "--csv")
    assert (code, err) == (0, "")
    return {
        line["run"].split("/")[-1]: line for line in csv.DictReader(out.splitlines())
    }


def test_states_numbers_and_what_differs(folder):
    every = list_runs.read_runs([folder], [])
    by_name = {run["run"].split("/")[-1]: run for run in every}
    assert {name: run["state"] for name, run in by_name.items()} == {
        "done": "done",
        "stopped": "stopped",
        "bad": "diverged",
        "point": "diverged",
        "trained": "trained",
    }
    done = by_name["done"]
    numbers = [done[name] for name in ("step", "valid_nll", "test_nll", "accuracy")]
    assert numbers == [30, 5.0, 4.5, 0.75] and done["seconds"] == 4.0
    assert done["config"] == "learning_rate=0.1"
    assert by_name["trained"]["config"] == ""  # the only one of its experiment
    parts = {name for name, run in by_name.items() if run["part_of"]}
    assert parts == {"point"}


def test_a_field_that_one_run_lacks_is_unset_in_it(tmp_path):
    base = {"num_steps": 20, "model": {"connections": ""}, "options": {"gap": None}}
    own = base | {"options": {"gap": None, "strength": 2.0}}
    make_run(tmp_path / "a", base, [9.0])
    make_run(tmp_path / "b", own, [8.0])
    runs = list_runs.read_runs([tmp_path], [])
    expected = ["options.strength=None", "options.strength=2.0"]
    assert [run["config"] for run in runs] == expected


def test_runs_are_filtered_and_sorted(folder, capsys):
    code, out, _ = call(capsys, str(folder / "a"), "--where=state=*e*", "--sort=run")
    lines = [line.split(" | ") for line in out.splitlines()]
    assert code == 0 and [line[0].split("/")[-1] for line in lines[2:]] == [
        *("bad", "done", "stopped"),
    ]
    code, out, _ = call(capsys, str(folder), "--where=learning_rate=0.[12]")
    assert [line.split(" | ")[0][-7:] for line in out.splitlines()[2:]] == [
        *("/a/done", "stopped"),
    ]
    names = [*listed(capsys, folder, "--where=part_of=")]
    assert set(names) == {"trained", "done", "stopped", "bad"}
    assert names[0] == "trained"  # the best validation first


def test_curves_lie_over_each_other(folder, capsys, saved):
    assert call(capsys, str(folder / "a"), f"--curves={folder / 'curves.png'}")[0] == 0
    (axes,) = saved["curves.png"].axes
    curves = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert curves["learning_rate=0.1"] == [[10, 9.0], [20, 5.0], [30, 6.0]]
    assert curves["learning_rate=0.2"] == [[10, 7.0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: must be a folder"),
        (["--sort=colour"], "flag --sort=colour"),
        (["--where=state"], "--where=state: must be NAME=VALUE"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, message, tmp_path):
    folders = [] if arguments == ["nowhere"] else [str(tmp_path)]
    runs.assert_refused(call(capsys, *folders, *arguments), message)
