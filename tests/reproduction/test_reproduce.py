"""The command: what it selects, refuses and prints, and a whole tiny table."""

import functools
import json
import math
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

import gumbel
import runs
from experiments import Interrupted, vae
from experiments.engine import run_directory as workdir
from experiments.reproduction import records, reproduce
from experiments.reproduction import runs as engine
from experiments.reproduction.arguments import parse_flags
from made_records import bound, write

# How ml_collections loads a config file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
TINY = (
    "--table=jang_table1 --row=vae-categorical-* --estimators=exact --budget=smoke "
    "--seeds=1"
)


@pytest.fixture
def root(monkeypatch, tmp_path):
    """Where runs and records are: a folder instead of the repository."""
    monkeypatch.setattr(workdir, "REPOSITORY", tmp_path)
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    return tmp_path


call = functools.partial(runs.call_script, reproduce)


MISTAKES = {
    "": "--table: must be given, or --row; tables are jang_table1, jang_table2",
    "--table=jang": "--table=jang: must be one of jang_table1, jang_table2",
    "--row=vae": "--row=vae: must match a ROW or ROW-ESTIMATOR of --list, such as str",
    "--row=*-m1,*-m7": "--row=*-m7: must match",
    "--row=* --estimators=exact,foo": "--estimators=foo: must be one of gumbel_soft",
    "--row=* --budget=big": "flag --budget=big: value should be one of <smoke|cpu|",
    "--row=* --seeds=0": "flag --seeds=0",
    "--row=* --seeds=many": "flag --seeds=many",
    "--row=* --shard=2/2": "--shard=2/2: must be i/n with i from 0 to n − 1",
    "--row=* --shard=one": "--shard=one: must be i/n",
    "--row=* --processes=0": "flag --processes=0",
    "--row=vae-* --processes=2 --shard=0/2": "--shard: must not be given with",
    "--row=omniglot-200H-784V-m1-nvil": "--data_dir: must be the folder of chardata",
    "--row=200H-784V-m1-vimco --estimators=vimco": "config.num_samples=1: must be",
    "--tabel=jang_table1": "Unknown command line flag 'tabel'",
    "--row=* stray": "stray: unexpected argument",
    "--record=nowhere.json": "nowhere.json: must be a record",
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_mistakes_are_one_line_before_training(arguments, capsys, noise, root):
    outcome = call(capsys, *arguments.split())
    runs.assert_refused(outcome, MISTAKES[arguments])
    assert not any(root.iterdir())


def parse(argv):
    return parse_flags(argv, reproduce.define_flags)[0]


def selected(*arguments):
    return [one.name for one in reproduce.select(parse(["", *arguments]))]


def test_what_a_command_line_selects():
    everything = selected("--row=*")
    assert selected("--table=jang_table2") == [
        *("m2-exact", "m2-gumbel_softmax", "m2-st_gumbel_softmax"),
        "labels_only-exact",
    ]
    assert selected("--row=*-darn,m2") == [
        name for name in everything if name.endswith("-darn") or name[:3] == "m2-"
    ]
    # A row, whatever the estimator.
    assert selected("--row=vae-categorical", "--estimators=gumbel_softmax") == [
        "vae-categorical-gumbel_softmax"
    ]
    assert len(selected("--row=vae-categorical")) == 7
    shards = [selected("--table=jang_table1", f"--shard={i}/3") for i in range(3)]
    assert sorted(sum(shards, [])) == sorted(selected("--table=jang_table1"))
    assert [len(shard) for shard in shards] == [10, 9, 9]


def test_the_list_has_the_published_numbers(capsys, root):
    code, out, _ = call(capsys, "--list")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert ["vae-categorical-gumbel_softmax", "101.5"] in [line[:2] for line in lines]
    assert ["m2-exact", "92.6", "106.8"] in [line[:3] for line in lines]


def test_a_dry_run_prints_the_commands_and_trains_nothing(capsys, root):
    row = "--row=vae-bernoulli-gumbel_softmax"
    code, out, err = call(capsys, row, "--seeds=3", "--dry-run")
    assert (code, err) == (0, "")
    *lines, left, there = out.splitlines()
    assert sum(line.startswith("python -m experiments.vae ") for line in lines) == 7
    assert "--config.num_steps=10000 " in lines[0]
    assert lines[0].endswith(" --train_only")
    assert "--config.seed=2" in lines[6] and "learning_rate=CHOSEN" in lines[6]
    assert left == "7 runs left, 340,000 steps"
    assert there == "jang_table1: 0 of 3 records are there"
    assert not any(root.iterdir())


def test_a_dry_run_says_what_is_recorded_and_what_it_took(capsys, root):
    row = "vae-categorical"
    times = {"seconds": 3000.0, "evaluation_seconds": 600.0}
    results = [{"test": bound(1.0), **times}] * 2
    write("jang_table1", row, "gumbel_softmax", *results)
    arguments = [f"--row={row}", "--estimators=gumbel_softmax", "--dry-run"]
    code, out, _ = call(capsys, *arguments)
    assert (code, out) == (
        0,
        "0 runs left, 0 steps\njang_table1: 2 of 2 records are there; their final runs "
        "took 2.0 h, as a rerun would\n",
    )


def flip(params, x):
    """One draw, against every pixel: fast to compile, and better in a few steps."""

    def run(draw):
        side = draw("side", gumbel.Bernoulli(params[None] + 0 * x[:, :1])).value
        return -jnp.square(side - x).sum(axis=1) - 100.0 * jnp.square(params - 5.0)

    return run


@pytest.fixture
def tiny(monkeypatch, root):
    """A tiny model instead of the experiment's, and a log of what was trained."""
    task = runs.task(program=flip, init=lambda key: jax.random.normal(key, (1,)))
    trained, train = [], engine.train

    def logged(task, config, *args, train_only=False, **kwargs):
        if train_only:
            trained.append(config.learning_rate)
        return train(task, config, *args, train_only=train_only, **kwargs)

    monkeypatch.setattr(engine, "train", logged)
    monkeypatch.setattr(vae, "make_task", lambda config: task)
    return trained


def test_a_whole_table_interrupted_resumed_and_run_again(
    capsys, root, tiny, monkeypatch
):
    train = engine.train

    def stop(*args, train_only=False, **kwargs):
        if train_only:
            return train(*args, train_only=True, **kwargs)
        raise Interrupted("stopped at step 5 of 10")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "train", stop)
        code, out, err = call(capsys, *TINY.split())
    assert (code, err) == (0, "") and tiny == [1e-3, 3e-3]
    assert out.endswith("stopped at step 5 of 10; the same command goes on\n")
    code, out, err = call(capsys, *TINY.split())
    assert (code, err) == (0, "") and tiny == [1e-3, 3e-3]
    assert "jang_table1/vae-categorical-exact, seed 0: 1 of 1 runs left" in out
    assert "| vae-categorical | `exact` | [" in out and "| – | – |" in out
    folder = root / "results/jang_table1/smoke"
    (file,) = folder.iterdir()
    assert file.name == "vae-categorical-exact-seed0.json"
    record = json.loads(file.read_text())
    points = {point["learning_rate"]: point for point in record["selection"]}
    assert {point["steps"] for point in points.values()} == {10}
    best = min(points, key=lambda rate: points[rate]["valid_nll"])
    assert record["config"]["learning_rate"] == best
    assert record["result"]["steps"] == 20
    assert record["versions"]["dataset_checksum"] == "c0ffee"
    # Every number again, and a number that is not.
    code, out, _ = call(capsys, f"--record={file}")
    assert (code, out) == (0, "every number is the same to the last bit\n")
    nll = record["result"]["test"]["nll"]
    record["result"]["test"]["nll"] = math.nextafter(nll, math.inf)
    record["result"]["seconds"] += 1.0
    record["versions"]["jax"] = "0.0.1"
    file.write_text(json.dumps(record))
    code, out, _ = call(capsys, f"--record={file}")
    assert code == 1 and "these numbers differ:\n  test.nll is " in out
    assert "seconds" not in out
    assert 'jax is "0.0.1" there' in out


# Writes its arguments and where it may run, and exits with the index of its shard.
SHARD = """
import os, pathlib, sys, time
time.sleep(0.5)  # by then it is pinned
words = [*sys.argv[1:], os.environ["NPROC"], *os.sched_getaffinity(0)]
file = pathlib.Path(__file__).with_name(sys.argv[-1].replace("/", "of"))
file.write_text(" ".join(map(str, words)))
sys.exit(int(sys.argv[-1][-3]))
"""


def test_processes_share_a_table_a_core_and_a_shard_each(monkeypatch, tmp_path):
    """Each process says what it was called with, and where it may run."""
    script = tmp_path / "scripts/reproduce.py"
    script.parent.mkdir()
    script.write_text(SHARD)
    monkeypatch.setattr(reproduce, "REPOSITORY", tmp_path)
    cores = sorted(os.sched_getaffinity(0))
    assert reproduce.share(["", "--row=x", "--processes=2"], 2) == 1
    for index in (0, 1):
        words = (script.parent / f"--shard={index}of2").read_text().split()
        assert words == [
            *("--row=x", "--processes=2", "--processes=1", f"--shard={index}/2"),
            *("1", str(cores[index % len(cores)])),
        ]
    # Of a flag that is given twice the last value counts.
    values = parse(["", *words[:-2]])
    assert (values.processes, values.shard) == (1, "1/2")


def test_the_commands_run_from_any_folder(tmp_path):
    for name in ("reproduce", "sweep", "gradient_quality", "make_tables", "runs"):
        script = records.REPOSITORY / "scripts" / f"{name}.py"
        environment = os.environ | {"PYTHONPATH": str(records.REPOSITORY)}
        command = [sys.executable, str(script), "--help"]
        out = subprocess.check_output(command, cwd=tmp_path, env=environment, text=True)
        assert f"python scripts/{name}.py" in out
