"""The directories of whole runs: damaged, moved, extended, on a full disk."""

import contextlib
import dataclasses
import errno
import json
import os
import re
import shutil
import sys

import pytest

import runs
from experiments import WorkdirError
from experiments.engine import plots, provenance, train
from experiments.engine import run_directory as workdir


def config(**fields):
    return runs.config(estimator="exact", **fields)


def run(directory, made=None, task=None, **options):
    """Trains without its curves, and returns the lines that are announced."""
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "plot_curves", lambda *args: None)
        made, task = made or config(), task or runs.task()
        train.train(task, made, directory, announce=lines.append, **options)
    return lines


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of 20 steps, validated and saved every 10."""
    directory = tmp_path_factory.mktemp("trained") / "run"
    assert run(directory) == []
    return directory


@pytest.fixture
def finished(trained, tmp_path):
    """A copy of the finished run."""
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def contents(directory):
    """All there is in a directory but the lock."""
    found = {}
    for path in directory.rglob("*"):
        name = path.relative_to(directory).as_posix()
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file() and name != "lock":
            found[name] = path.read_bytes()
    return found


def assert_refused(directory, message, made=None, task=None):
    """One line that says why, and nothing is changed."""
    before = contents(directory)
    with pytest.raises(WorkdirError, match=message) as error:
        run(directory, made, task)
    assert "\n" not in str(error.value)
    assert contents(directory) == before


def as_directory(path):
    path.unlink()
    path.mkdir()


def as_loop(path):
    path.unlink()
    path.symlink_to(path)


def writes(data):
    return lambda path: path.write_bytes(data)


DAMAGES = {
    "empty": writes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:40]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "not UTF-8": writes(b'{"a": "\xff"}'),
    "UTF-16": lambda path: path.write_text(path.read_text(), encoding="utf-16"),
    "a list": writes(b"[1]"),
    "a number": writes(b"3"),
    "null": writes(b"null"),
    "other names": writes(b'{"a": 1}'),
    "deep": writes(100_000 * b"["),
    "a directory": as_directory,
    "a symlink loop": as_loop,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_files_are_refused_and_kept(damage, finished, trained):
    for name in ("config.json", "versions.json", "result.json"):
        damage(finished / name)
        assert_refused(finished, re.escape(str(finished)))
        if (finished / name).is_dir():
            (finished / name).rmdir()
        (finished / name).unlink(missing_ok=True)
        shutil.copy(trained / name, finished / name)
    assert run(finished) == [f"this run is complete: {finished}"]


def test_numbers_of_another_kind_are_no_result(finished):
    result = json.loads((finished / "result.json").read_text())
    for wrong in (
        {"steps": 19},
        {"seconds": "1"},
        {"valid": 3},
        {"test": {"nll": 3.0}},
        {"test": result["test"] | {"nll": None}},
        {"test": result["test"] | {"accuracy": [1]}},
    ):
        workdir.write_json(finished / "result.json", result | wrong)
        assert_refused(finished, "result.json is damaged .* evaluates again")


def test_a_run_without_its_config_is_refused(finished):
    (finished / "config.json").unlink()
    assert_refused(finished, "holds a run without its config.json")


@pytest.mark.parametrize(
    "place", ["config.json", "config.json/below", 256 * "x", "loop", "loop/below"]
)
def test_no_directory_can_be_there(place, finished):
    (finished / "loop").symlink_to(finished / "loop")
    with pytest.raises(WorkdirError, match=f"{place}: give another --workdir$"):
        run(finished / place)


def test_data_that_differ_are_refused(finished):
    other = dataclasses.replace(runs.task(), checksum="another")
    assert_refused(finished, "was made from other data", task=other)
    (finished / "result.json").unlink()
    assert_refused(finished, "was made from other data", task=other)


def test_code_and_machines_that_differ_are_said(finished, monkeypatch):
    versions = (finished / "versions.json").read_bytes()
    monkeypatch.setattr(provenance, "code_checksum", lambda: "edited")
    line, complete = run(finished)
    assert line == (
        f"{finished} was made with other code; the same command with --restart "
        "starts afresh"
    )
    assert complete == f"this run is complete: {finished}"
    (finished / "result.json").unlink()
    monkeypatch.setattr(provenance, "processor", lambda: {"cpu": "another", "cores": 9})
    line, continues = run(finished)
    assert 'with other code; cores is 1 there, 9 now; cpu is "' in re.sub(
        r"cores is \d+", "cores is 1", line
    )
    assert continues.startswith("continuing from step 20 in ")
    assert (finished / "versions.json").read_bytes() == versions
    (finished / "versions.json").unlink()
    assert "does not say what it was made with" in run(finished)[0]
    assert not (finished / "versions.json").exists()


def test_restart_moves_the_old_run_aside(finished):
    before, lines = contents(finished), []
    for number in (1, 2):
        workdir.set_aside(finished, lines.append)
        assert lines[-1] == f"moved the old run to {finished}.old-{number}"
        assert not finished.exists()
        assert run(finished) == []
    assert contents(finished.with_name("run.old-1")) == before
    workdir.set_aside(finished.parent, lines.append)  # It holds no run.
    assert len(lines) == 2 and finished.exists()


@pytest.fixture(scope="module")
def longer(tmp_path_factory):
    """A finished run of 30 steps."""
    directory = tmp_path_factory.mktemp("longer")
    run(directory, config(num_steps=30))
    return directory


@pytest.mark.parametrize(
    "first, train_only, resumed",
    [
        (20, False, ["continuing from step 20 in "]),
        (13, True, ["continuing from step 10 in "]),  # The last chunk was a short one.
        (5, False, []),  # A longer run is not validated there.
    ],
)
def test_an_extended_run_ends_where_a_longer_one_does(
    first, train_only, resumed, tmp_path, longer
):
    run(tmp_path, config(num_steps=first), train_only=train_only)
    lines = run(tmp_path, config(num_steps=30))
    expected = [f"extending the run of {first} steps in ", *resumed]
    assert [line.partition(str(tmp_path))[0] for line in lines] == expected
    assert runs.ends(tmp_path) == runs.ends(longer)
    assert (tmp_path / f"result-{first}.json").exists() != train_only
    assert run(tmp_path, config(num_steps=30)) == [f"this run is complete: {tmp_path}"]


def test_what_cannot_be_extended(finished):
    assert_refused(finished, "num_steps is 20 there, 19 now", config(num_steps=19))
    other = config(num_steps=30, seed=1)
    assert_refused(finished, "num_steps is 20 .*seed is 0 there, 1 now", other)
    scheduled = {"num_steps": 20, "learning_rate_schedule": "cosine", "eval_every": 10}
    directory = finished.with_name("scheduled")
    with workdir.claim(directory, scheduled):
        pass
    with (
        pytest.raises(WorkdirError, match="schedule='cosine', depend on num_steps"),
        workdir.claim(directory, scheduled | {"num_steps": 30}),
    ):
        pass


class FullDisk:
    """Lets Python write so many files in a directory; then none, nor a byte."""

    def __init__(self):
        self.directory, self.left = None, 0
        sys.addaudithook(self._note)  # for the rest of the process

    def _note(self, event, arguments):
        if self.directory is None or event not in ("open", "os.mkdir", "os.rename"):
            return
        if event == "open" and not set("wax+") & set(str(arguments[1])):
            return
        if str(arguments[0]).startswith(self.directory):
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), arguments[0])

    @contextlib.contextmanager
    def after(self, files, directory):
        self.directory, self.left = str(directory), files
        try:
            yield
        finally:
            self.directory = None


@pytest.fixture(scope="module")
def full_disk():
    return FullDisk()


def test_a_full_disk_is_one_line_and_the_run_continues(tmp_path, trained, full_disk):
    directory = tmp_path / "run"
    for files in (1, 5, 8, 21):  # the lock, the metrics, the first checkpoint
        with full_disk.after(files, directory):
            with pytest.raises(
                WorkdirError, match="^no space left on device: "
            ) as full:
                run(directory)
        assert "\n" not in str(full.value)
    run(directory)
    assert runs.ends(directory) == runs.ends(trained)
