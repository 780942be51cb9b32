import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import jax
import pytest

from experiments import WorkdirError
from experiments.engine import run_directory as workdir

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = {"seed": 0, "learning_rate": 1e-3, "dataset": {"name": "mnist"}}

HOLDER = """
import sys, time
from experiments.engine import run_directory as workdir
with workdir.claim(sys.argv[1], {"seed": 0}):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds `tmp_path / "run"`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def run_python(code: str, **env: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | env, text=True, capture_output=True
    ).stdout


def test_default_workdir_is_the_same_in_every_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = workdir.default_workdir("vae", "st~m=5/x:y", CONFIG)
    code = (
        "from experiments.engine import run_directory as workdir; "
        f"print(workdir.default_workdir('vae', 'st~m=5/x:y', {CONFIG}))"
    )
    there = {run_python(code, PYTHONHASHSEED=seed) for seed in ("1", "2")}
    assert there == {f"{here}\n"}
    assert here.parent == ROOT / "runs" / "vae"
    assert re.fullmatch(r"st-m=5-x-y-[0-9a-f]{8}", here.name)


def test_default_workdir_depends_on_values_not_on_order():
    path = workdir.default_workdir("vae", "a", CONFIG)
    reordered = dict(reversed(CONFIG.items()))
    other = CONFIG | {"dataset": {"name": "omniglot"}}
    assert workdir.default_workdir("vae", "a", reordered) == path
    assert workdir.default_workdir("vae", "a", other) != path


def test_variant_cannot_leave_the_directory_of_the_experiment():
    path = workdir.default_workdir("vae", "../../..", CONFIG)
    assert path.resolve().parent == ROOT / "runs" / "vae"


def test_claim_writes_config_and_takes_it_again(tmp_path):
    config = CONFIG | {"sizes": (1, 2)}
    for _ in range(2):
        with workdir.claim(tmp_path / "a" / "run", config) as directory:
            assert directory == tmp_path / "a" / "run"
    assert json.loads((directory / "config.json").read_text()) == {
        "seed": 0,
        "learning_rate": 1e-3,
        "dataset": {"name": "mnist"},
        "sizes": [1, 2],
    }


def test_differing_fields_are_all_named_with_both_values(tmp_path):
    theirs = {"a": {"b": 1, "c": "x"}, "only_there": True, "same": 3}
    ours = {"a": {"b": 1.5, "c": "x"}, "only_here": None, "same": 3}
    with workdir.claim(tmp_path, theirs):
        pass
    with pytest.raises(WorkdirError) as error, workdir.claim(tmp_path, ours):
        pass
    assert str(error.value) == (
        f"{tmp_path} holds a run with another configuration: a.b is 1 there, 1.5 now; "
        "only_here is absent there, null now; only_there is true there, absent now: "
        "give another --workdir, or delete this one"
    )
    assert json.loads((tmp_path / "config.json").read_text()) == theirs


def test_refused_claim_releases_the_lock(tmp_path):
    with workdir.claim(tmp_path, {"seed": 0}):
        pass
    with pytest.raises(WorkdirError, match="seed"), workdir.claim(tmp_path, {}):
        pass
    with workdir.claim(tmp_path, {"seed": 0}):
        pass


def test_second_process_is_refused_with_pid(tmp_path, holder):
    message = rf"^{re.escape(str(tmp_path / 'run'))} is in use .*pid {holder.pid}\)"
    with pytest.raises(WorkdirError, match=message) as error:
        with workdir.claim(tmp_path / "run", {"seed": 0}):
            pass
    assert "\n" not in str(error.value)


def test_killed_process_frees_the_lock(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with workdir.claim(tmp_path / "run", {"seed": 0}):
        assert (tmp_path / "run" / "lock").read_text() == f"{os.getpid()}\n"


def test_files_in_the_way_are_clear_errors(tmp_path):
    (tmp_path / "config.json").write_text('{"seed":')
    with pytest.raises(WorkdirError, match="not JSON"), workdir.claim(tmp_path, {}):
        pass
    path = tmp_path / "config.json"
    for place in (path, path / "below"):
        with pytest.raises(WorkdirError, match="directory"), workdir.claim(place, {}):
            pass


def test_write_json_keeps_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "result.json"
    workdir.write_json(path, {"b": 1, "a": [1.5]})
    with pytest.raises(TypeError):
        workdir.write_json(path, {"b": object()})
    assert path.read_text() == '{\n  "a": [\n    1.5\n  ],\n  "b": 1\n}\n'


def test_flatten():
    config = {"a": {"b": {"c": 1}, "d": {}}, "e": [1, {"f": 2}]}
    assert workdir.flatten(config) == {"a.b.c": 1, "a.d": {}, "e": [1, {"f": 2}]}


def test_versions_name_packages_devices_and_data():
    found = workdir.versions("abc")
    assert found["jax"] == jax.__version__
    assert found["device_count"] == jax.device_count()
    assert found["dataset_checksum"] == "abc"
    assert json.loads(json.dumps(found)) == found


def test_the_cores_that_a_process_may_use_are_counted(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3}, raising=False)
    assert workdir.versions("abc")["cores"] == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    assert workdir.processor()["cores"] == os.cpu_count()
    assert workdir.processor()["cpu"]


def test_git_state(tmp_path, monkeypatch):
    def git(*args):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ["git", "-C", str(tmp_path), *identity, *args]
        return subprocess.run(
            command, check=True, text=True, capture_output=True
        ).stdout

    def state(root):
        monkeypatch.setattr(workdir, "REPOSITORY", root)
        found = workdir.versions("abc")
        return found["git_revision"], found["git_dirty"]

    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert state(tmp_path) == (None, None)
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "x")
    assert state(tmp_path) == (git("rev-parse", "HEAD").strip(), False)
    for folder, dirty in (("results", False), ("new", True)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").touch()
        assert state(tmp_path)[1] is dirty
    assert state(tmp_path / "new") == (None, None)
