import json
import os
import pathlib
import re
import signal
import subprocess
import sys

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


@pytest.mark.parametrize("variant", ["../../..", "200H-" * 100])
def test_any_variant_names_a_directory_of_the_experiment(variant):
    path = workdir.default_workdir("vae", variant, CONFIG)
    assert path.resolve().parent == ROOT / "runs" / "vae"
    assert len(path.name) <= 255


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


def test_differing_fields_are_all_named_and_the_lock_is_released(tmp_path):
    theirs = {"a": {"b": 1, "c": "x"}, "only_there": True, "same": 3}
    ours = {"a": {"b": 1.5, "c": "x"}, "only_here": None, "same": 3}
    with workdir.claim(tmp_path, theirs):
        pass
    with pytest.raises(WorkdirError) as error, workdir.claim(tmp_path, ours):
        pass
    assert str(error.value).startswith(
        f"{tmp_path} holds a run with another configuration: a.b is 1 there, 1.5 now; "
        "only_here is absent there, null now; only_there is true there, absent now: "
    )
    with workdir.claim(tmp_path, theirs):
        pass


def test_second_process_is_refused_with_pid(tmp_path, holder):
    message = rf"^{re.escape(str(tmp_path / 'run'))} is in use .*pid {holder.pid}\)"
    with pytest.raises(WorkdirError, match=message):
        with workdir.claim(tmp_path / "run", {"seed": 0}):
            pass
    with pytest.raises(WorkdirError, match=message):
        workdir.set_aside(tmp_path / "run")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with workdir.claim(tmp_path / "run", {"seed": 0}):
        assert (tmp_path / "run" / "lock").read_text() == f"{os.getpid()}\n"


def test_write_json_keeps_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "result.json"
    workdir.write_json(path, {"b": 1, "a": [1.5]})
    with pytest.raises(TypeError):
        workdir.write_json(path, {"b": object()})
    assert path.read_text() == '{\n  "a": [\n    1.5\n  ],\n  "b": 1\n}\n'
