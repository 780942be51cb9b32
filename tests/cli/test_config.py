import pathlib

import pytest

import gumbel
import runs
from configs import vae as vae_config
from experiments import ConfigError, vae
from experiments.cli.config import check_config, unknown_field
from experiments.engine.run_directory import flatten

CONFIG_FILE = str(pathlib.Path(vae_config.__file__))

IMPOSSIBLE = {
    "seed": (-1, 2**32),
    "num_steps": (0,),
    "batch_size": (0, -3),
    "num_samples": (0,),
    "eval_samples": (0,),
    "valid_samples": (0,),
    "eval_batch_size": (0,),
    "log_every": (0,),
    "eval_every": (0, 7),
    "checkpoint_every": (0, 12),
    "learning_rate": (0.0, -1e-3, float("nan"), float("inf")),
    "temperature": (0.0, -1.0, float("nan"), float("inf")),
    "prior_temperature": (0.0, -0.5, float("nan")),
    "schedule.minimum": (0.0, float("nan")),
    "schedule.rate": (-1e-3, float("inf"), float("nan")),
    "schedule.every": (0,),
    "optimizer": ("foo",),
    "estimator": ("foo", ""),
    "objective": ("foo",),
    "model.family": ("foo",),
    "model.prior": ("foo",),
    "model.num_variables": (0,),
    "model.num_classes": (1,),
    "model.hidden": ((0,), (8, -1), ("a",), (1.5,)),
    "model.higher": ((0,), (8, -1), ("a",)),
    "model.connections": ("–", "~ ~", "x"),
    "model.centring": (-0.1, 1.5, float("nan")),
    "dataset.binarization": ("foo",),
}


@pytest.mark.parametrize(
    "field, value", [(f, v) for f, values in IMPOSSIBLE.items() for v in values]
)
def test_impossible_values_name_field_value_and_what_is_allowed(field, value):
    config = vae_config.get_config()
    config.update_from_flattened_dict({"log_every": 5, "eval_every": 5, field: value})
    with pytest.raises(ConfigError) as error:
        check_config(config, vae.rules())
    message = str(error.value)
    assert message.startswith(f"config.{field}={value!r}: must be ")
    assert "\n" not in message


@pytest.mark.parametrize("variant", vae_config.VARIANTS)
def test_variants_are_possible_and_locked(variant):
    config = vae_config.get_config(variant)
    check_config(config, vae.rules())
    check_config(runs.config(variant), vae.rules())
    assert config.is_locked
    for nested in (config.model, config.schedule, config.dataset):
        assert nested.is_locked


def test_every_rule_is_of_a_field():
    assert set(vae.rules()) <= set(flatten(vae_config.get_config().to_dict()))


def test_missing_fields_are_named():
    config = vae_config.get_config().to_dict()
    del config["schedule"]["every"]
    config = type(vae_config.get_config())(config)
    with pytest.raises(ConfigError, match="config.schedule.every: missing"):
        check_config(config, vae.rules())


def test_samples_must_suit_the_estimator(monkeypatch):
    import dataclasses

    estimators = gumbel.estimators.ESTIMATORS
    pair = dataclasses.replace(estimators["gumbel_softmax"], samples=(2, None))
    monkeypatch.setitem(estimators, "pair", pair)
    check_config(runs.config(estimator="pair", num_samples=2), vae.rules())
    with pytest.raises(ConfigError, match="^config.num_samples=1: .* for .* pair$"):
        check_config(runs.config(estimator="pair"), vae.rules())


# A value that is allowed, and some that are not.
OPTIONS = {
    "options.baseline_decay": (0.5, -0.1, 1.5, float("nan")),
    "options.variance_decay": (0.5, 1.01),
    "options.baseline_learning_rate": (0.5, 0.0, float("inf")),
    "options.control_learning_rate": (0.5, 0.0, float("nan")),
    "options.scale": (0.0, -1.0, float("inf")),
    "options.gap": (0.0, -1.0, float("nan")),
    "options.inner_samples": (1, 0, -3),
    "options.replicates": (2, 1),
}


@pytest.mark.parametrize("field, values", OPTIONS.items())
def test_options_are_checked_and_are_those_of_the_estimator(field, values):
    option, (allowed, *others) = field.removeprefix("options."), values
    for value in others:
        with pytest.raises(ConfigError) as error:
            check_config(runs.config(**{field: value}), vae.rules())
        assert str(error.value).startswith(f"config.{field}={value!r}: must be ")
    for name, estimator in gumbel.estimators.ESTIMATORS.items():
        made = runs.config(estimator=name, num_samples=estimator.samples[0])
        made.update_from_flattened_dict({field: allowed})
        if option in estimator.hyper:
            check_config(made, vae.rules())
        else:
            with pytest.raises(ConfigError, match=f"config.{field}=.* be unset for "):
                check_config(made, vae.rules())


def test_every_hyper_parameter_of_an_estimator_is_an_option():
    entries = gumbel.estimators.ESTIMATORS.values()
    # The slope has a schedule of its own.
    names = set().union(*(entry.hyper for entry in entries)) - {"slope"}
    assert {f"options.{name}" for name in names} == set(OPTIONS)
    flat = flatten(vae_config.get_config().to_dict())
    assert {name for name in flat if name.startswith("options.")} == set(OPTIONS)


def test_unknown_field_suggests():
    config = vae_config.get_config()
    assert "did you mean batch_size" in unknown_field("batchsize", config)
    assert "model.num_classes" in unknown_field("model.num_class", config)
    assert "see --help" in unknown_field("zzzzzzzz", config)
