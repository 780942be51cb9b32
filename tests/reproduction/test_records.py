"""Records: whose they are, which config they are of, and what two of them differ in."""

import json
from pathlib import Path

import pytest

import runs
from configs import semi_supervised, structured_prediction, vae
from experiments import ConfigError
from experiments.reproduction import records


def make_record(config, experiment="vae"):
    """A record as a run of a config leaves it, read from its file."""
    record = {"experiment": experiment, "config": config.to_dict()}
    return json.loads(json.dumps(record | {"result": {}, "versions": {}}))


@pytest.mark.parametrize("module", [vae, structured_prediction, semi_supervised])
def test_a_record_has_the_experiment_and_config_it_was_made_of(module):
    for variant in module.VARIANTS:
        config = module.get_config(variant)
        experiment = module.__name__.removeprefix("configs.")
        result = records.config_of(make_record(config, experiment))
        assert result[0] == experiment
        assert result[1].to_dict() == config.to_dict()


def test_fields_newer_than_a_record_have_their_default():
    old = make_record(runs.config(model__prior="uniform"))
    del old["config"]["weight_decay"], old["config"]["model"]["centring"]
    experiment, config = records.config_of(old)
    assert (experiment, config.model.prior) == ("vae", "uniform")
    assert (config.weight_decay, config.model.centring) == (0.0, None)


def test_fields_of_another_experiment_are_refused():
    record = {"experiment": "vae", "config": {"seed": 0, "colour": "red"}}
    with pytest.raises(ConfigError, match="config.colour: must be a field of vae"):
        records.config_of(record)


def test_which_config_a_record_is_of():
    config = runs.config("6H-784V", learning_rate=0.1, report_samples=(2,))
    old = make_record(config)
    assert records.is_of(old, config, ())
    for field, value in (("seed", 1), ("report_samples", ()), ("model.code", "plain")):
        other = config.copy_and_resolve_references()
        other.update_from_flattened_dict({field: value})
        assert not records.is_of(old, other, ())
        assert records.is_of(old, other, [field])
    other = config.copy_and_resolve_references()
    other.dataset.data_dir = "elsewhere"
    assert records.is_of(old, other, ())
    del old["config"]["weight_decay"]
    assert records.is_of(old, config, ())
    # What is newer than the record was at its default then.
    other = config.copy_and_resolve_references()
    other.weight_decay = 0.1
    assert not records.is_of(old, other, ())


def test_the_curve_of_a_record_is_its_validations(tmp_path):
    for name in ("config", "result", "versions"):
        (tmp_path / f"{name}.json").write_text("{}")
    lines = [
        {"step": 0, "valid_nll": 3.0},
        {"step": 5, "objective": -2.5},
        {"step": 10, "objective": -2.0, "valid_nll": 2.0},
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text)
    record = records.make_record(tmp_path, "vae")
    assert record["curve"] == {"step": [0, 10], "valid_nll": [3.0, 2.0]}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"config": {}, "versions": {}}'])
def test_what_is_no_record_is_refused(tmp_path, text):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="record.json: must be a record"):
        records.read_record(path)
    with pytest.raises(ConfigError, match="nowhere: must be a record"):
        records.read_record(tmp_path / "nowhere")


def test_all_committed_records_can_be_run_again():
    count = 0
    for path in sorted(records.RESULTS.rglob("*.json")):
        record = json.loads(path.read_text())
        if "result" in record:
            records.config_of(records.read_record(path))
            count += 1
    assert count


def test_an_edge_is_the_smallest_or_largest_of_several_values():
    def edges(rate, alpha, alphas):
        points = [
            {"learning_rate": rate, "alpha": alpha, "steps": 5}
            for rate, alpha in zip((0.1, 0.2, 0.3), alphas, strict=True)
        ]
        config = {"learning_rate": rate, "alpha": alpha}
        return records.edges({"config": config, "selection": points})

    assert edges(0.2, 1.0, (1.0, 1.0, 1.0)) == []
    assert edges(0.3, 1.0, (1.0, 1.0, 1.0)) == ["learning_rate"]
    assert edges(0.1, 2.0, (2.0, 1.0, 3.0)) == ["learning_rate"]
    assert edges(0.2, 3.0, (1.0, 2.0, 3.0)) == ["alpha"]
    assert records.edges({"config": {"learning_rate": 0.1}}) == []


def test_no_choice_is_at_the_edge_of_its_grid_but_for_those_in_the_list():
    """A wider value was tried and is worse; edge.txt counts down the exceptions."""
    found = set()
    for path in records.RESULTS.glob("*/*/*-seed0.json"):
        table, budget, _ = path.relative_to(records.RESULTS).parts
        if budget == "smoke":
            continue
        cell = path.stem.removesuffix("-seed0")
        for field in records.edges(records.read_record(path)):
            found.add(f"{table}/{budget}/{cell} {field}")
    lines = Path(__file__).with_name("edge.txt").read_text().splitlines()
    assert sorted(found) == [line for line in lines if not line.startswith("#")]
