"""The papers' tables as data, and the cells that they become at each budget."""

import importlib
import json

import numpy as np
import pytest

import gumbel
from experiments.cli.rules import check_config
from experiments.engine.fields import flatten
from experiments.reproduction import records
from experiments.reproduction import runs as engine
from experiments.reproduction.cells import table_cells
from experiments.reproduction.published import BUDGETS, TABLES

# How ml_collections loads a config file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.mark.parametrize("table", TABLES)
def test_every_published_cell_has_a_number_for_every_published_column(table):
    rows = TABLES[table].rows
    assert len({row.name for row in rows}) == len(rows)
    columns = [column for column in TABLES[table].columns if column.is_published]
    numbers = [numbers for row in rows for numbers in row.published.values()]
    assert {len(each) for each in numbers if each} == {len(columns)}
    # One network on one data set is one row of a paper.
    fields = [(row.experiment, row.variant, str(row.fields)) for row in rows]
    assert len(set(fields)) == len(rows)


def published(table):
    return {row.name: row.published for row in TABLES[table].rows}


def test_numbers_from_the_corners_of_the_printed_tables():
    jang = published("jang_table1")
    assert jang["structured_prediction-bernoulli"]["score_function"] == (72.0,)
    assert jang["structured_prediction-categorical"]["darn"] == (67.9,)
    assert jang["vae-bernoulli"]["straight_through"] == (116.0,)
    assert jang["vae-categorical"]["st_gumbel_softmax"] == (107.8,)
    one = published("maddison_table1")
    assert one["200H-784V-m1"] == {
        "gumbel_softmax": (107.3, 107.5),
        "nvil": (104.4, 104.2),
    }
    assert one["omniglot-200H~200H~784V-m50"] == {
        "gumbel_softmax": (106.8, 97.5),
        "vimco": (113.2, 95.2),
    }
    two = published("maddison_table2")
    assert two["omniglot-240H~784V-8ary-m1"] == {"gumbel_softmax": (119.61, 105.3)}
    assert two["240H~240H~784V-8ary-m50"] == {"gumbel_softmax": (87.2, 84.0)}
    four = published("maddison_structured")
    assert four["392V-240H-240H-392V-m5"] == {
        "gumbel_softmax": (54.3, 49.2),
        "vimco": (54.5, 52.7),
    }
    assert four["392V-240H-240H-240H-392V-8ary-m1"]["gumbel_softmax"] == (54.7, 44.8)
    relax = published("relax")
    assert relax["relax-200H-784V"]["relax"] == (111.20,)
    assert relax["relax-200H-200H-784V"]["tuned_rebar"] == (98.22,)
    assert relax["relax-omniglot-200H-784V"]["gumbel_softmax"] == (117.23,)
    gr_mc = published("gr_mc")
    assert gr_mc["gr_mc-240H~784V"]["gumbel_rao"] == (97.0,)
    assert gr_mc["gr_mc-240H~784V-16ary"]["score_function"] == (129.5,)


def test_published_orderings():
    """The papers' claims on their tables: a transposed number would break them."""
    for numbers in published("jang_table1").values():
        assert min(numbers, key=numbers.get) == "gumbel_softmax"
    for name, numbers in published("maddison_table1").items():
        concrete = numbers["gumbel_softmax"][0]
        (other,) = (n[0] for e, n in numbers.items() if e != "gumbel_softmax")
        exceptions = "200H~200H~784V-m50"  # 85.7 against 85.5
        if name != exceptions:
            assert (concrete < other) == ("~" in name), name


def test_later_estimators_are_compared_with_those_of_the_papers():
    jang, later = published("jang_table1"), published("later_table1")
    for row, numbers in jang.items():
        ours = later[f"later-{row}"]
        assert numbers.items() <= ours.items()
        assert set(ours) - set(numbers) >= {"disarm", "rebar", "reinmax", "gumbel_rao"}
        assert ("arm" in ours) == ("bernoulli" in row)
        assert not {"exact", "vimco"} & set(ours)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("table", TABLES)
def test_every_cell_has_a_config_that_can_run(table, budget):
    cells = table_cells(table, budget)
    assert len({cell.finals()[0].file for cell in cells}) == len(cells)
    for cell in cells:
        rules = importlib.import_module(f"experiments.{cell.row.experiment}").rules()
        for run in [*cell.points(), cell.finals()[-1]]:
            check_config(run.config, rules)
        for point in cell.points():
            steps = cell.spent.fraction * cell.config.num_steps
            assert point.config.num_steps == pytest.approx(steps)
        assert cell.folder.parts[-3:] == ("results", table, budget)


def test_a_few_steps_of_each_experiment_can_be_traced(noise):
    chosen = {
        "structured_prediction-categorical-darn",
        "vae-bernoulli-muprop",
        "200H~200H~784V-m5-vimco",
        "240H~784V-8ary-m1-gumbel_softmax",
        "392V-240H-240H-240H-392V-4ary-m1-gumbel_softmax",
        "later-vae-bernoulli-arm",
        "relax-200H-200H-784V-relax",
        "gr_mc-240H~784V-16ary-gumbel_rao",
        "reinmax-mlp-reinmax",
    }
    cells = [cell for table in TABLES for cell in table_cells(table, "smoke")]
    selected = [cell.finals()[0] for cell in cells if cell.name in chosen]
    assert len(selected) == len(chosen)
    engine.check(selected)


def test_all_estimators_of_a_row_have_the_same_budget():
    for table in TABLES:
        options = TABLES[table].budgets["cpu"].options.values()
        free = {"estimator", *(name for fields in options for name in fields)}
        every = table_cells(table, "cpu")
        for row in TABLES[table].rows:
            cells = [cell for cell in every if cell.row == row]
            configs = [flatten(cell.config.to_dict()) for cell in cells]
            kept = [{k: v for k, v in c.items() if k not in free} for c in configs]
            assert all(config == kept[0] for config in kept)
            # Where a grid has no effect there is none.
            assert all(not cell.grid or cell.grid == cells[0].grid for cell in cells)


def test_budgets_like_others_patterns_and_options():
    """Fields that follow from others or from a row, and no budget names."""
    cells = {c.name: c for table in TABLES for c in table_cells(table, "paper")}
    vae = cells["later-vae-categorical-st_gumbel_softmax"]
    assert (vae.config.optimizer, vae.config.eval_samples) == ("sgd", 1000)
    assert vae.grid["schedule.every"] == (500, 1000)
    # What has no temperature has no annealing to choose.
    assert set(cells["vae-categorical-muprop"].grid) == {"learning_rate"}
    sbn = cells["structured_prediction-bernoulli-gumbel_softmax"]
    assert (sbn.config.temperature, sbn.config.schedule.rate) == (1.0, 0.0)
    density = cells["omniglot-240H~784V-8ary-m50-gumbel_softmax"].config
    assert (density.num_steps, density.batch_size) == (10**7, 64)
    assert density.eval_samples == density.train_samples == 50_000
    assert (density.num_samples, density.dataset.name) == (50, "omniglot_burda")
    structured = cells["392V-240H-240H-392V-m5-vimco"]
    assert structured.config.train_samples == 100
    assert 1e-3 in structured.grid["weight_decay"]
    wide = cells["gr_mc-240H~784V-16ary-gumbel_rao"].config
    assert (wide.batch_size, wide.eval_samples) == (200, 5000)
    assert wide.options.inner_samples == 1000 and wide.model.num_classes == 16
    score = cells["gr_mc-240H~784V-16ary-score_function"].config
    assert score.options.baseline_decay == 0.9
    reinmax = cells["reinmax-mlp-reinmax"].config
    assert (reinmax.optimizer, reinmax.learning_rate) == ("radam", 5e-4)


def test_grids_of_the_cpu_budget_reach_past_what_is_chosen():
    for table in TABLES:
        for cell in table_cells(table, "cpu"):
            values = cell.grid.get("alpha") or cell.grid.get("learning_rate")
            assert values is None or max(values) in (300.0, 1e-2, 3e-2)


def test_a_users_estimator_is_a_cell_of_every_row():
    cells = table_cells("jang_table1", "cpu", ["nvil", "exact"], seeds=7)
    assert [cell.name for cell in cells][:2] == [
        "structured_prediction-bernoulli-nvil",
        "structured_prediction-bernoulli-exact",
    ]
    assert len(cells) == 8 and {cell.num_seeds for cell in cells} == {7}


def test_omniglot_is_where_the_flag_says():
    for cell in table_cells("maddison_table1", "cpu", data_dir="here"):
        is_omniglot = cell.row.name.startswith("omniglot")
        assert cell.config.dataset.data_dir == ("here" if is_omniglot else None)


@pytest.mark.parametrize("budget", ["cpu", "paper"])
@pytest.mark.parametrize("table", TABLES)
def test_committed_records_are_of_the_budget_of_their_folder(table, budget):
    every = table_cells(table, budget, [*gumbel.estimators.ESTIMATORS])
    cells = {cell.name: cell for cell in every}
    for path in (records.RESULTS / table / budget).glob("*.json"):
        name, _, seed = path.stem.rpartition("-seed")
        record, run = json.loads(path.read_text()), cells[name].finals()[0]
        config = record["config"]
        assert config["seed"] == int(seed)
        config["seed"] = 0
        if "labelled" in config:
            config["labelled"]["seed"] = 0
        assert records.is_of(record, run.config, run.free), path.name
        # Nothing was chosen by the test set.
        best = min(
            (p for p in record.get("selection", []) if "diverged" not in p),
            key=lambda p: -p["valid_accuracy"] if "alpha" in p else p["valid_nll"],
            default=None,
        )
        flat = flatten(config)
        assert best is None or all(
            v == flat[f] for f, v in best.items() if f in flat and f != "num_steps"
        )
        if "result" in record:
            assert np.isfinite(record["result"]["test"]["nll"])
