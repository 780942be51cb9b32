"""The grid engine: the choice on validation, what is left, and what a record says.

Most tests train nothing: `trained` writes what a run would leave.
"""

import dataclasses
import importlib
import json
import shlex

import jax
import numpy as np
import pytest

import runs
from configs.semi_supervised import get_config as semi_supervised
from experiments import REPOSITORY, ConfigError, Interrupted, vae
from experiments.cli import launch
from experiments.engine import run_directory as workdir
from experiments.engine.fields import flatten
from experiments.engine.run_directory import write_json
from experiments.reproduction import records
from experiments.reproduction import runs as engine
from experiments.reproduction.cells import Cell
from experiments.reproduction.published import Budget, Row

# How ml_collections loads a config file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
RATES = (0.01, 0.1, 1.0)


@pytest.fixture
def root(monkeypatch, tmp_path):
    """Where the runs are: a folder instead of the repository."""
    monkeypatch.setattr(workdir, "REPOSITORY", tmp_path)
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    return tmp_path


@dataclasses.dataclass(frozen=True)
class CellOfItsOwn(Cell):
    """A cell whose budget is of no table."""

    made: Budget | None = None

    @property
    def spent(self):
        return self.made


def make_cell(config=None, row="row", grid=None, seeds=2, fraction=0.25):
    """A cell of a config, by default with a grid of learning rates."""
    config = config or runs.config(num_steps=40)
    grids = {"*": {"learning_rate": RATES} if grid is None else grid}
    experiment = "semi_supervised" if "labelled" in config else "vae"
    variant = next(iter(importlib.import_module(f"configs.{experiment}").VARIANTS))
    budget = Budget(flatten(config.to_dict()), grids, seeds, fraction, options={})
    row = Row(row, experiment, variant, {}, {})
    return CellOfItsOwn("table", row, config.estimator, made=budget)


@pytest.fixture
def trained(monkeypatch, root):
    """Instead of training: the nlls of valid and test by learning rate, and a log.

    At the third rate the test set would choose otherwise than the validation set.
    """
    nlls = {0.01: (9.0, 5.0), 0.1: (7.0, 8.0), 1.0: (8.0, 1.0)}
    log = []

    def train(task, config, run, *, train_only=False, **_):
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

    monkeypatch.setattr(engine, "train", train)
    monkeypatch.setattr(vae, "make_task", lambda config: runs.task())
    train.nlls, train.log = nlls, log
    return train


def complete(*cells):
    """Does what is left; the runs that were announced."""
    announced = []
    for cell in cells:
        cell.complete(announced.append)
    return announced


def read(cell, seed):
    return json.loads(cell.finals()[seed].file.read_text())


def test_the_validation_set_chooses_after_a_part_of_the_steps(root, trained):
    cell = make_cell()
    planned = cell.left()
    announced = complete(cell)
    assert trained.log == [("point", rate, 10, 0) for rate in RATES] + [
        ("final", 0.1, 40, seed) for seed in (0, 1)
    ]
    assert [run.name for run in planned] == [run.name for run in announced]
    assert announced[0].name == "table/row-gumbel_softmax, learning_rate=0.01"
    assert announced[-1].name == "table/row-gumbel_softmax, seed 1"
    assert cell.is_done


def test_a_record_says_what_was_chosen_from_what(root, trained):
    cell = make_cell()
    complete(cell)
    for seed in (0, 1):
        record = read(cell, seed)
        assert record["experiment"] == "vae"
        assert record["config"]["learning_rate"] == 0.1
        assert record["config"]["seed"] == seed
        assert record["result"]["test"]["nll"] == 8.0
        assert record["versions"] == {"jax": "1"}
        assert record["selection"] == [
            {"learning_rate": rate, "valid_nll": trained.nlls[rate][0], "steps": 10}
            for rate in RATES
        ]
    assert cell.finals()[1].file.name == "row-gumbel_softmax-seed1.json"


def test_the_task_says_what_is_best(root, trained, monkeypatch):
    def make_task(config):
        return dataclasses.replace(
            runs.task(), choose_by=lambda metrics: -metrics["valid_nll"]
        )

    monkeypatch.setattr(vae, "make_task", make_task)
    cell = make_cell()
    complete(cell)
    assert read(cell, 0)["config"]["learning_rate"] == 0.01
    # And which of a run's validations counts.
    assert read(cell, 0)["selection"][0]["valid_nll"] == 10.0


def test_a_chosen_temperature_below_its_floor_moves_the_floor(root, trained):
    config = runs.config(num_steps=40, learning_rate=0.1)
    cell = make_cell(config, grid={"temperature": (0.25, 2.0)}, seeds=1)
    floors = [run.config.schedule.minimum for run in cell.points()]
    assert floors == [0.25, 0.5]
    complete(cell)  # both are as good: the first is chosen
    assert read(cell, 0)["config"]["schedule"]["minimum"] == 0.25
    assert cell.is_done


def test_only_threefry_draws_the_same_in_a_vmap_and_only_accelerators_gain(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    for impl in ("threefry2x32", "rbg", "unsafe_rbg"):
        keys = jax.random.split(jax.random.key(0, impl=impl), 3)
        alone = np.stack([jax.random.bits(key, (4,)) for key in keys])
        same = np.array_equal(jax.vmap(lambda k: jax.random.bits(k, (4,)))(keys), alone)
        with jax.default_prng_impl(impl):
            assert engine.trains_as_one() == same
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert not engine.trains_as_one()


def test_on_accelerators_points_train_as_one_and_then_seeds(root, trained, monkeypatch):
    together = []

    def train_together(task, configs, directories, *_):
        together.append([(c.learning_rate, c.seed, c.num_steps) for c in configs])
        assert len(set(directories)) == len(configs)

    monkeypatch.setattr(engine, "trains_as_one", lambda: True)
    monkeypatch.setattr(engine, "train_together", train_together)
    complete(make_cell(fraction=1.0))
    points = [(rate, 0, 40) for rate in RATES]
    assert together == [points, [(0.1, 0, 40), (0.1, 1, 40)]]
    assert len(trained.log) == 5


def test_on_accelerators_as_many_train_as_one_as_fit(root, trained, monkeypatch):
    sizes = []
    monkeypatch.setattr(engine, "trains_as_one", lambda: True)
    monkeypatch.setattr(engine, "most_together", lambda *_: 2)
    monkeypatch.setattr(
        engine, "train_together", lambda task, configs, *_: sizes.append(len(configs))
    )
    complete(make_cell(fraction=1.0))
    assert sizes == [2, 1, 2]


@pytest.mark.parametrize("after", range(5))
def test_stopped_anywhere_the_rest_is_done(root, trained, monkeypatch, after):
    def interrupted(*args, **kwargs):
        if len(trained.log) == after:
            raise Interrupted
        return trained(*args, **kwargs)

    cell = make_cell()
    with monkeypatch.context() as patch:
        patch.setattr(engine, "train", interrupted)
        with pytest.raises(Interrupted):
            complete(cell)
    assert len(cell.left()) == 5 - after
    complete(cell)
    kinds = [kind for kind, *_ in trained.log]
    assert kinds == ["point"] * 3 + ["final"] * 2
    complete(cell)
    assert len(trained.log) == 5


def test_what_is_recorded_is_not_done_again_and_more_seeds_are(root, trained):
    complete(make_cell())
    before = len(trained.log)
    complete(make_cell(seeds=3))
    assert trained.log[before:] == [("final", 0.1, 40, 2)]
    # A record of another budget is not this cell's.
    other = make_cell(config=runs.config(num_steps=40, batch_size=4))
    assert not any(run.is_done for run in other.finals())
    # Nor does a grid that has grown make a record another one.
    assert make_cell(grid={"learning_rate": (0.5, *RATES)}).is_done


def test_divergence_is_recorded_and_not_chosen(root, trained, capsys):
    trained.nlls[0.1] = None, None
    cell = make_cell()
    complete(cell)
    record = read(cell, 0)
    assert record["config"]["learning_rate"] == 1.0
    assert record["selection"][1] == {
        "learning_rate": 0.1,
        "diverged": "step 5: objective is nan",
        "steps": 10,
    }


def test_divergence_at_every_point_ends_the_cell(root, trained, capsys):
    trained.nlls |= dict.fromkeys(RATES, (None, None))
    other = make_cell(row="other", grid={"learning_rate": (2.0,)})
    trained.nlls[2.0] = 1.0, 1.0
    cell = make_cell()
    complete(cell, other)
    assert "row-gumbel_softmax: diverged at every point" in capsys.readouterr().out
    assert cell.is_done and other.is_done
    files = [each.finals()[0].file.exists() for each in (cell, other)]
    assert files == [False, True]


def test_divergence_of_a_final_run_is_its_record(root, trained, monkeypatch):
    def late(*args, train_only=False, **kwargs):
        if train_only:
            return trained(*args, train_only=True, **kwargs)
        raise FloatingPointError("step 35: state_max is inf; last good: step 30, in x")

    monkeypatch.setattr(engine, "train", late)
    cell = make_cell()
    complete(cell)
    record = read(cell, 1)
    assert record["diverged"] == "step 35: state_max is inf"
    assert "result" not in record and record["versions"]["dataset_checksum"] == "c0ffee"
    assert len(record["selection"]) == 3 and record["experiment"] == "vae"
    assert cell.is_done


def test_without_a_grid_there_is_nothing_to_choose(root, trained):
    cell = make_cell(grid={}, config=runs.config(learning_rate=1.0), seeds=1)
    complete(cell)
    assert trained.log == [("final", 1.0, 20, 0)]
    assert "selection" not in read(cell, 0)


def test_a_whole_run_of_a_grid_is_the_final_run_of_seed_0(root, trained):
    cell = make_cell(fraction=1.0)
    complete(cell)
    directories = {run.directory for run in cell.points()}
    finals = [run.directory in directories for run in cell.finals(cell.selection())]
    assert finals == [True, False]


def test_a_command_is_that_of_the_run(root):
    for run in make_cell().points():
        python, _, module, *arguments = shlex.split(run.command())
        assert (python, module) == ("python", "experiments.vae")
        file = str(REPOSITORY / "configs/vae.py")
        assert launch.parse(["", *arguments], "vae", file).workdir == run.directory


def test_a_seed_is_that_of_labels_and_of_the_run(root):
    config = make_cell(semi_supervised(), grid={}, seeds=8).finals()[7].config
    assert (config.seed, config.labelled.seed) == (7, 7)
    assert semi_supervised().labelled.seed == 0


def test_what_cannot_run_is_refused_before_any_training(root, noise):
    good = runs.config(estimator="exact", model__num_variables=2, model__num_classes=3)
    engine.check(make_cell(config=good).points())
    for fields, message in (
        ({"estimator": "vimco"}, "config.num_samples=1: must be an integer ≥ 2"),
        ({"estimator": "exact"}, "joint values for each"),
        ({"batch_size": 64}, "must be at most the 48"),
        ({"eval_every": 7}, "must be a multiple of"),
    ):
        with pytest.raises(ConfigError, match=message):
            engine.check(make_cell(config=runs.config(**fields)).finals())
    with pytest.raises(ConfigError, match="config.learning_rate=-1"):
        grid = {"learning_rate": (-1,)}
        engine.check(make_cell(config=good, grid=grid).points())


def test_the_last_field_of_a_product_changes_fastest():
    points = list(engine.product({"b": (1, 2), "a": ("x", "y")}))
    assert [list(fields.items()) for fields in points] == [
        [("b", b), ("a", a)] for b in (1, 2) for a in ("x", "y")
    ]
