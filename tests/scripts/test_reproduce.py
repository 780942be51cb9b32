"""The command: what it selects, refuses and prints, and a whole tiny table."""

import functools
import json

import jax
import jax.numpy as jnp
import pytest

import gumbel
import runs
from experiments import Interrupted, vae
from experiments.engine import run_directory as workdir
from experiments.reproduction import grid, records
from scripts import benchmark, reproduce

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
    "--row=vae": "--row=vae: must match a ROW-ESTIMATOR of --list, such as struct",
    "--row=*-m1,*-m7": "--row=*-m1: must match",
    "--row=* --estimators=exact,foo": "--estimators=foo: must be one of gumbel_soft",
    "--row=* --budget=big": "flag --budget=big: value should be one of <smoke|cpu|",
    "--row=* --seeds=0": "flag --seeds=0",
    "--row=* --seeds=many": "flag --seeds=many",
    "--row=* --shard=2/2": "--shard=2/2: must be i/n with i from 0 to n − 1",
    "--row=* --shard=one": "--shard=one: must be i/n",
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


def selected(*arguments):
    return [one.name for one in reproduce.select(reproduce.parse(["", *arguments]))]


def test_what_a_command_line_selects():
    everything = selected("--row=*")
    assert len(everything) == 28 + 4 + 4 + 48 + 36 + 14 + 66 + 18 + 20 + 5 + 3
    assert selected("--table=jang_table2,jang_figure5") == [
        *("m2-exact", "m2-gumbel_softmax", "m2-st_gumbel_softmax"),
        *("labels_only-exact", "jang_figure5"),
    ]
    assert selected("--row=*-darn,maddison_figure4") == [
        *(name for name in everything if name.endswith("-darn")),
        "maddison_figure4",
    ]
    shards = [selected("--table=jang_table1", f"--shard={i}/3") for i in range(3)]
    assert sorted(sum(shards, [])) == sorted(selected("--table=jang_table1"))
    assert [len(shard) for shard in shards] == [10, 9, 9]


def test_the_list_has_the_published_numbers(capsys, root):
    code, out, _ = call(capsys, "--list")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert ["vae-categorical-gumbel_softmax", "101.5"] in [line[:2] for line in lines]
    assert ["m2-exact", "92.6", "106.8"] in [line[:3] for line in lines]
    assert sum(line[-1] == "recorded" and len(line) > 4 for line in lines) == 246


def test_a_dry_run_prints_the_commands_and_trains_nothing(capsys, root):
    row = "--row=vae-bernoulli-gumbel_softmax,jang_figure5"
    code, out, err = call(capsys, row, "--seeds=3", "--dry-run")
    assert (code, err) == (0, "")
    *lines, last = out.splitlines()
    assert sum(line.startswith("python -m experiments.vae ") for line in lines) == 6
    assert "--config.num_steps=10000 " in lines[0]
    assert "--config.seed=2" in lines[5] and "learning_rate=CHOSEN" in lines[5]
    assert lines[6].startswith("python scripts/benchmark.py marginalisation ")
    assert last.startswith("6 runs, 330,000 steps; on this device nothing to estimate")
    assert not any(root.iterdir())


def flip(params, x):
    """One draw, against every pixel: fast to compile."""

    def run(draw):
        side = draw("side", gumbel.Bernoulli(params[None] + 0 * x[:, :1])).value
        return -jnp.square(side - x).sum(axis=1)

    return run


@pytest.fixture
def tiny(monkeypatch, root):
    """A tiny model instead of the experiment's, and a log of what was trained."""
    task = runs.task(program=flip, init=lambda key: jax.random.normal(key, (1,)))
    trained, train = [], grid.train

    def logged(task, config, *args, **kwargs):
        trained.append(config.learning_rate)
        return train(task, config, *args, **kwargs)

    monkeypatch.setattr(grid, "train", logged)
    monkeypatch.setattr(vae, "make_task", lambda config: task)
    return trained


def test_a_whole_table_interrupted_resumed_and_run_again(
    capsys, root, tiny, monkeypatch
):
    def stop(*args, **kwargs):
        raise Interrupted("stopped at step 5 of 10")

    with monkeypatch.context() as patch:
        patch.setattr("experiments.reproduction.runs.train", stop)
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
    record["result"]["test"]["nll"] += 1e-6
    record["versions"]["jax"] = "0.0.1"
    file.write_text(json.dumps(record))
    code, out, _ = call(capsys, f"--record={file}")
    assert code == 1 and "these numbers differ:\n  test.nll is " in out
    assert 'jax is "0.0.1" there' in out


def test_figures_are_made_by_their_scripts_once(capsys, root, monkeypatch):
    made = []

    def main(argv):
        folder = root / "results/jang_figure5/smoke"
        assert argv[1:] == ["marginalisation", str(folder)]
        folder.mkdir(parents=True)
        record = {"classes": [2], "milliseconds": {"a": [2.0], "b": [1.0]}}
        record["versions"] = {"jax": "1", "device_kind": "abacus"}
        (folder / "marginalisation.json").write_text(json.dumps(record))
        made.append(argv)

    monkeypatch.setattr(benchmark, "main", main)
    for _ in range(2):
        code, out, err = call(capsys, "--table=jang_figure5", "--budget=smoke")
        assert (code, err) == (0, "") and "| 2 | 500.0 | 1000.0 | 2.0 | – |" in out
    assert len(made) == 1
