"""Cells as runs: the choice on validation, what is left, and what a record says.

Most tests train nothing: `trained` writes what a run would leave.
"""

import dataclasses
import json
import shlex

import pytest

import runs
from configs.semi_supervised import get_config as semi_supervised
from experiments import REPOSITORY, ConfigError, Interrupted, vae
from experiments.cli import launch
from experiments.engine import run_directory as workdir
from experiments.engine.run_directory import write_json
from experiments.reproduction import grid
from experiments.reproduction import runs as reproduction
from experiments.reproduction.runs import Cell, Run

# How ml_collections loads a config file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
RATES = (0.01, 0.1, 1.0)


@pytest.fixture
def root(monkeypatch, tmp_path):
    """Where the runs are: a folder instead of the repository."""
    monkeypatch.setattr(workdir, "REPOSITORY", tmp_path)
    return tmp_path


def cell(root, config=None, **fields):
    config = config or runs.config(num_steps=40)
    given = {"table": "table", "row": "row", "experiment": "vae"}
    given |= {"grid": {"learning_rate": RATES}, "seeds": 2, "fraction": 0.25}
    given |= {"variant": "categorical", "folder": root / "results"}
    return Cell(config=config, **given | fields)


@pytest.fixture
def trained(monkeypatch, root):
    """Instead of training: the nlls of valid and test by learning rate, and a log.

    At the third rate the test set would choose otherwise than the validation set.
    """
    nlls = {0.01: (9.0, 5.0), 0.1: (7.0, 8.0), 1.0: (8.0, 1.0)}
    log = []

    def train(task, config, run, *, train_only=False, compiled, mesh):
        kind = "point" if train_only else "final"
        log.append((kind, config.learning_rate, config.num_steps, config.seed))
        valid, test = nlls[config.learning_rate]
        run.mkdir(parents=True, exist_ok=True)
        if valid is None:
            raise FloatingPointError("step 5: objective is nan; last good: none, in x")
        # The last validation of a run is not its best.
        lines = [{"step": 5 * i, "valid_nll": valid + i} for i in (0, 1)]
        (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
        if train_only:
            return None
        split = {"nll": test, "nll_1": test, "nll_stderr": 0.1, "eval_samples": 3}
        result = {"steps": config.num_steps, "seconds": 1.0}
        result |= {"valid": split, "test": split}
        write_json(run / "config.json", config.to_dict())
        write_json(run / "versions.json", {"jax": "1"})
        write_json(run / "result.json", result)
        return result

    monkeypatch.setattr(grid, "train", train)
    monkeypatch.setattr(reproduction, "train", train)
    monkeypatch.setattr(vae, "make_task", lambda config: runs.task())
    train.nlls, train.log = nlls, log
    return train


def reproduce(*cells):
    """Does what is left; the runs that it announced."""
    announced = []
    reproduction.reproduce(cells, announced.append)
    return announced


def read(cell, seed):
    return json.loads(cell.record(seed).read_text())


def test_the_validation_set_chooses_after_a_part_of_the_steps(root, trained):
    made = cell(root)
    planned = reproduction.left(made)
    announced = reproduce(made)
    assert trained.log == [("point", rate, 10, 0) for rate in RATES] + [
        ("final", 0.1, 40, seed) for seed in (0, 1)
    ]
    assert [str(run) for run in planned] == [str(run) for run in announced]
    assert str(announced[0]) == "table/row-gumbel_softmax, learning_rate=0.01"
    assert str(announced[-1]) == "table/row-gumbel_softmax, seed 1"
    assert reproduction.left(made) == []


def test_a_record_says_what_was_chosen_from_what(root, trained):
    made = cell(root)
    reproduce(made)
    for seed in (0, 1):
        found = read(made, seed)
        assert found["config"]["learning_rate"] == 0.1
        assert found["config"]["seed"] == seed
        assert found["result"]["test"]["nll"] == 8.0
        assert found["versions"] == {"jax": "1"}
        assert found["selection"] == [
            {"learning_rate": rate, "valid_nll": trained.nlls[rate][0], "steps": 10}
            for rate in RATES
        ]
    assert made.record(1).name == "row-gumbel_softmax-seed1.json"


def test_the_task_says_what_is_best(root, trained, monkeypatch):
    def make_task(config):
        return dataclasses.replace(
            runs.task(), choose_by=lambda metrics: -metrics["valid_nll"]
        )

    monkeypatch.setattr(vae, "make_task", make_task)
    made = cell(root)
    reproduce(made)
    assert read(made, 0)["config"]["learning_rate"] == 0.01
    # And which of a run's validations counts.
    assert read(made, 0)["selection"][0]["valid_nll"] == 10.0


def test_on_accelerators_points_train_as_one_and_then_seeds(root, trained, monkeypatch):
    together = []

    def train_together(task, configs, directories, mesh, compiled):
        together.append([(c.learning_rate, c.seed, c.num_steps) for c in configs])
        assert len(set(directories)) == len(configs)

    monkeypatch.setattr(grid, "trains_as_one", lambda config: True)
    monkeypatch.setattr(grid, "train_together", train_together)
    reproduce(cell(root, fraction=1.0))
    points = [(rate, 0, 40) for rate in RATES]
    assert together == [points, [(0.1, 0, 40), (0.1, 1, 40)]]
    assert len(trained.log) == 5


@pytest.mark.parametrize("after", range(5))
def test_stopped_anywhere_the_rest_is_done(root, trained, monkeypatch, after):
    def interrupted(*args, **kwargs):
        if len(trained.log) == after:
            raise Interrupted
        return trained(*args, **kwargs)

    made = cell(root)
    for module in (grid, reproduction):
        monkeypatch.setattr(module, "train", interrupted)
    with pytest.raises(Interrupted):
        reproduce(made)
    assert len(reproduction.left(made)) == 5 - after
    for module in (grid, reproduction):
        monkeypatch.setattr(module, "train", trained)
    reproduce(made)
    kinds = [kind for kind, *_ in trained.log]
    assert kinds == ["point"] * 3 + ["final"] * 2
    reproduce(made)
    assert len(trained.log) == 5


def test_what_is_recorded_is_not_done_again_and_more_seeds_are(root, trained):
    reproduce(cell(root))
    before = len(trained.log)
    reproduce(cell(root, seeds=3))
    assert trained.log[before:] == [("final", 0.1, 40, 2)]
    # A record of another budget is not this cell's.
    other = cell(root, config=runs.config(num_steps=40, batch_size=4))
    assert reproduction.missing(other) == [0, 1]
    # Nor does a grid that has grown make a record another one.
    grown = cell(root, grid={"learning_rate": (0.5, *RATES)})
    assert reproduction.missing(grown) == []


def test_divergence_is_recorded_and_not_chosen(root, trained, capsys):
    trained.nlls[0.1] = None, None
    made = cell(root)
    reproduce(made)
    found = read(made, 0)
    assert found["config"]["learning_rate"] == 1.0
    assert found["selection"][1] == {
        "learning_rate": 0.1,
        "diverged": "step 5: objective is nan",
        "steps": 10,
    }


def test_divergence_at_every_point_ends_the_cell(root, trained, capsys):
    trained.nlls |= dict.fromkeys(RATES, (None, None))
    other = cell(root, row="other", grid={"learning_rate": (2.0,)})
    trained.nlls[2.0] = 1.0, 1.0
    made = cell(root)
    reproduce(made, other)
    assert "row-gumbel_softmax: diverged at every value" in capsys.readouterr().out
    assert reproduction.left(made) == [] == reproduction.left(other)
    assert not made.record(0).exists() and other.record(0).exists()


def test_divergence_of_a_final_run_is_its_record(root, trained, monkeypatch):
    def late(*args, **kwargs):
        raise FloatingPointError("step 35: state_max is inf; last good: step 30, in x")

    monkeypatch.setattr(reproduction, "train", late)
    made = cell(root)
    reproduce(made)
    found = read(made, 1)
    assert found["diverged"] == "step 35: state_max is inf"
    assert "result" not in found and found["versions"]["dataset_checksum"] == "c0ffee"
    assert len(found["selection"]) == 3
    assert reproduction.left(made) == []


def test_without_a_grid_there_is_nothing_to_choose(root, trained):
    made = cell(root, grid={}, config=runs.config(learning_rate=1.0), seeds=1)
    reproduce(made)
    assert trained.log == [("final", 1.0, 20, 0)]
    assert "selection" not in read(made, 0)


def test_whole_runs_of_a_grid_are_the_final_runs(root, trained):
    """A paper that chose among whole runs: that of seed 0 is there, to be evaluated."""
    made = cell(root, fraction=1.0)
    reproduce(made)
    directories = {run.directory for run in reproduction.points(made)}
    assert Run(made, {"learning_rate": 0.1}, 0, True).directory in directories
    assert Run(made, {"learning_rate": 0.1}, 1, True).directory not in directories


def test_commands_are_those_of_the_runs(root, trained):
    made = cell(root)
    lines = [reproduction.command(run) for run in reproduction.left(made)]
    assert [line.endswith(" --train_only") for line in lines] == [True] * 3 + [
        False
    ] * 2
    assert all(line.endswith("--config.learning_rate=CHOSEN") for line in lines[3:])
    file = str(REPOSITORY / "configs/vae.py")
    for run in reproduction.points(made):
        arguments = shlex.split(reproduction.command(run))[3:]
        assert launch.parse(["", *arguments], "vae", file).workdir == run.directory


def test_a_seed_is_that_of_labels_and_of_the_run(root):
    made = cell(root, config=semi_supervised(), experiment="semi_supervised", grid={})
    config = Run(made, {}, 7, True).config
    assert (config.seed, config.labelled.seed) == (7, 7)
    assert semi_supervised().labelled.seed == 0


def test_what_cannot_run_is_said_before_any_training(root, noise, monkeypatch):
    good = runs.config(estimator="exact", model__num_variables=2, model__num_classes=3)
    reproduction.check([cell(root, config=good)])
    for fields, message in (
        ({"estimator": "vimco"}, "config.num_samples=1: must be an integer ≥ 2"),
        ({"estimator": "exact"}, "joint values for each"),
        ({"batch_size": 64}, "must be at most the 48"),
        ({"eval_every": 7}, "must be a multiple of"),
    ):
        with pytest.raises(ConfigError, match=message):
            reproduction.check([cell(root, config=runs.config(**fields))])
    with pytest.raises(ConfigError, match="config.learning_rate=-1"):
        reproduction.check([cell(root, config=good, grid={"learning_rate": (-1,)})])
