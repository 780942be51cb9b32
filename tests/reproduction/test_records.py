"""Records: whose they are, which config they are of, and what two of them differ in."""

import json
import math

import pytest

import runs
from configs import semi_supervised, structured_prediction, vae
from experiments import ConfigError
from experiments.reproduction import records


def record(config, **fields):
    """What a run of a config would leave, read from its file."""
    made = {"config": config.to_dict(), "result": {}, "versions": {}}
    return json.loads(json.dumps(made | fields))


@pytest.mark.parametrize("module", [vae, structured_prediction, semi_supervised])
def test_a_record_has_the_experiment_and_config_it_was_made_of(module):
    for variant in module.VARIANTS:
        config = module.get_config(variant)
        found = records.config_of(record(config))
        assert found[0] == module.__name__.removeprefix("configs.")
        assert found[1].to_dict() == config.to_dict()


def test_fields_newer_than_a_record_have_their_default():
    old = record(runs.config(model__prior="uniform"))
    del old["config"]["weight_decay"], old["config"]["model"]["centring"]
    experiment, config = records.config_of(old)
    assert (experiment, config.model.prior) == ("vae", "uniform")
    assert (config.weight_decay, config.model.centring) == (0.0, None)


def test_fields_of_no_experiment_are_refused():
    with pytest.raises(ConfigError, match="must be those of one of semi_supervised, "):
        records.config_of({"config": {"seed": 0, "colour": "red"}})


def test_which_config_a_record_is_of():
    config = runs.config("6H-784V", learning_rate=0.1, report_samples=(2,))
    old = record(config)
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


def test_the_last_bit_of_a_number_counts_and_timings_do_not():
    old = {"seconds": 1.0, "evaluation_seconds": 2.0, "test": {"nll": 0.1, "m": 3}}
    new = {"seconds": 9.0, "test": {"nll": 0.1, "m": 3}}
    assert records.other_numbers(old, new) == []
    new["test"]["nll"] = math.nextafter(0.1, 1)
    assert len(records.other_numbers(old, new)) == 1
    (text,) = records.other_numbers(old, {"test": {"nll": 0.1}})
    assert text == "test.m is 3 there, absent now"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"config": {}}'])
def test_what_is_no_record_is_refused(tmp_path, text):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="record.json: must be a record"):
        records.read_record(path)
    with pytest.raises(ConfigError, match="nowhere: must be a record"):
        records.read_record(tmp_path / "nowhere")


def test_all_committed_records_can_be_run_again():
    found = 0
    for path in sorted(records.RESULTS.rglob("*.json")):
        content = json.loads(path.read_text())
        if "result" in content:
            records.config_of(content)
            found += 1
    assert found
