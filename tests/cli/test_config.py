"""Configs: rules, overrides from a command line, options of estimators, help."""

import dataclasses

import pytest

import gumbel
import runs
from configs import semi_supervised as m2_config
from configs import structured_prediction as structured_config
from configs import vae as vae_config
from experiments import ConfigError, semi_supervised, structured_prediction, vae
from experiments.cli import launch
from experiments.cli.rules import check_config
from experiments.engine.fields import flatten

MODULES = {
    "vae": (vae, vae_config),
    "structured_prediction": (structured_prediction, structured_config),
    "semi_supervised": (semi_supervised, m2_config),
}


def override(experiment: str, *arguments: str):
    """The checked config of a command line; nothing is read or traced."""
    module, config = MODULES[experiment]
    values = launch.parse([experiment, *arguments], experiment, config.__file__)
    check_config(values.config, module.rules())
    return values.config


def refused(experiment: str, argument: str) -> str:
    with pytest.raises(ConfigError) as error:
        override(experiment, argument)
    assert "\n" not in str(error.value)
    return str(error.value)


# For every field of a type, texts that none of them allows.
WRONG = {
    float: ("nan", "inf", "-1", "1e39", "abc"),
    int: ("-1", "1.5", "1" + 23 * "0", "abc"),
    tuple: ("(0,)", "(1.5,)", "(1000000000000,)", "(1,", "abc"),
    str: ("foo",),
}
# Further ones, by field.
WRONG_TOO = {
    **dict.fromkeys(
        "learning_rate temperature prior_temperature schedule.minimum "
        "options.baseline_learning_rate options.control_learning_rate".split(),
        ("0", "1e-320"),
    ),
    **dict.fromkeys(
        "num_steps batch_size num_samples eval_samples valid_samples log_every "
        "eval_every checkpoint_every schedule.every eval_batch_size "
        "labelled.count model.num_variables".split(),
        ("0",),
    ),
    "model.num_variables": ("2147483648",),
    "model.num_classes": ("1", "2147483648"),
    "model.num_layers": ("1000",),
    "model.num_styles": ("2147483648",),
    "model.hidden": (str((1,) * 1000),),
    "options.baseline_decay": ("1.5",),
    "options.variance_decay": ("1.01",),
    "options.replicates": ("1",),
    "options.inner_samples": ("0",),
    "seed": ("4294967296",),
    "dataset.side": ("0", "10000"),
}
FREE_TEXT = {"dataset.name", "dataset.data_dir"}


def fields(experiment: str) -> dict[str, type]:
    _, module = MODULES[experiment]
    config = module.get_config()
    return {
        field: config.get_type(field)
        if "." not in field
        else config[field.split(".")[0]].get_type(field.split(".")[1])
        for field in flatten(config.to_dict())
    }


@pytest.mark.parametrize("experiment", MODULES)
def test_wrong_overrides_of_every_field_are_one_line_that_names_it(experiment):
    common = set() if experiment == "vae" else set(fields("vae"))
    for field, kind in fields(experiment).items():
        if field in common | FREE_TEXT:
            continue
        for text in (*WRONG[kind], *WRONG_TOO.get(field, ())):
            message = refused(experiment, f"--config.{field}={text}")
            assert f"config.{field}=" in message, message


def test_right_overrides():
    for argument, value in {
        "num_steps=2147483647": 2147483647,
        "learning_rate=1": 1.0,
        "weight_decay=0": 0.0,
        "seed=4294967295": 4294967295,
        "model.hidden=(8, 4)": (8, 4),
        "model.hidden=()": (),
        "prior_temperature=0.5": 0.5,
    }.items():
        field = argument.split("=")[0]
        config = override("vae", f"--config.{argument}")
        assert flatten(config.to_dict())[field] == value


def test_halves_need_an_even_side():
    message = refused("structured_prediction", "--config.dataset.side=27")
    assert message == "config.dataset.side=27: must be even, from 2 to 1024"
    assert override("vae", "--config.dataset.side=27").dataset.side == 27


def test_layers_of_many_units_are_refused_before_tracing():
    config = vae_config.get_config()
    config.model.num_variables, config.model.num_classes = 100_000, 1000
    with pytest.raises(ConfigError, match="model.num_variables=100000: .* most 100$"):
        vae.make_task(config)


def test_a_config_file_may_assign_anything():
    for field, value in (("num_steps", 2e4), ("learning_rate", "big"), ("seed", None)):
        config = vae_config.get_config().to_dict() | {field: value}
        with pytest.raises(ConfigError, match=f"^config.{field}={value!r}: must be "):
            check_config(type(vae_config.get_config())(config), vae.rules())


@pytest.mark.parametrize("variant", vae_config.VARIANTS)
def test_variants_are_possible_and_locked(variant):
    config = vae_config.get_config(variant)
    check_config(config, vae.rules())
    check_config(runs.config(variant), vae.rules())
    for group in (config, config.model, config.schedule, config.dataset):
        assert group.is_locked


@pytest.mark.parametrize("experiment", MODULES)
def test_every_rule_is_of_a_field(experiment):
    module, config = MODULES[experiment]
    assert set(module.rules()) <= set(flatten(config.get_config().to_dict()))


def test_missing_fields_are_named():
    config = vae_config.get_config().to_dict()
    del config["schedule"]["every"]
    config = type(vae_config.get_config())(config)
    with pytest.raises(ConfigError, match="config.schedule.every: missing"):
        check_config(config, vae.rules())


def test_samples_must_suit_the_estimator(monkeypatch):
    estimators = gumbel.estimators.ESTIMATORS
    pair = dataclasses.replace(estimators["gumbel_softmax"], samples=(2, None))
    monkeypatch.setitem(estimators, "pair", pair)
    check_config(runs.config(estimator="pair", num_samples=2), vae.rules())
    with pytest.raises(ConfigError, match="^config.num_samples=1: .* for .* pair$"):
        check_config(runs.config(estimator="pair"), vae.rules())


# Options of the estimators.

OPTIONS = {
    "baseline_decay": 0.5,
    "variance_decay": 0.5,
    "normalise": "signal",
    "centre": "1/2",
    "baseline_learning_rate": 0.5,
    "control_learning_rate": 0.5,
    "scale": 0.0,
    "gap": 0.0,
    "inner_samples": 1,
    "replicates": 2,
}


@pytest.mark.parametrize("option, value", OPTIONS.items())
def test_options_are_those_of_the_estimator(option, value):
    for name, estimator in gumbel.estimators.ESTIMATORS.items():
        config = runs.config(estimator=name, num_samples=estimator.samples[0])
        config.options[option] = value
        if option in estimator.hyper:
            check_config(config, vae.rules())
        else:
            with pytest.raises(ConfigError, match=f"config.options.{option}=.* unset"):
                check_config(config, vae.rules())


def test_every_hyper_parameter_of_an_estimator_is_an_option():
    entries = gumbel.estimators.ESTIMATORS.values()
    # The slope has a schedule of its own.
    names = set().union(*(entry.hyper for entry in entries)) - {"slope"}
    assert names == set(OPTIONS) == set(vae_config.get_config().options)


def test_options_of_a_users_own_estimator(monkeypatch):
    estimators = gumbel.estimators.ESTIMATORS
    hyper = {"sharpness": 2.0, "turns": 3, "mode": "fast", "anything": None}
    mine = dataclasses.replace(estimators["gumbel_softmax"], hyper=hyper)
    monkeypatch.setitem(estimators, "mine", mine)
    # What is not set is not there: the config of other runs stays what it was.
    assert override("vae").to_dict() == vae_config.get_config().to_dict()
    own = ("sharpness=1", "turns=2", "mode=slow", "anything=0.5")
    arguments = [f"--config.options.{text}" for text in own]
    options = override("vae", "--config.estimator=mine", *arguments).options
    assert {name: options[name] for name in hyper} == {
        "sharpness": 1.0,
        "turns": 2,
        "mode": "slow",
        "anything": 0.5,
    }
    assert options.is_locked
    assert "invalid literal" in refused("vae", "--config.options.turns=1.5")
    message = refused("vae", "--config.options.turns=2")
    assert message.startswith("config.options.turns=2: must be unset for config.estim")
    message = refused("vae", "--config.options.turn=2")
    assert message.startswith("--config.options.turn: unknown")


# Suggestions.


@pytest.mark.parametrize(
    "argument, ending",
    [
        ("--config.num_step=3", "unknown; did you mean --config.num_steps or "),
        ("--config.model.num_class=3", "did you mean --config.model.num_classes"),
        ("--num_steps=100", "--num_steps: unknown; did you mean --config.num_steps?"),
        ("--seed=1", "--seed: unknown; did you mean --config.seed?"),
        ("--workdri=x", "--workdri: unknown; did you mean --workdir?"),
        ("--config.zzzzzz=1", "--config.zzzzzz: unknown, see --help"),
        ("--config.estimator=gumbel_sofmax", "; did you mean gumbel_softmax or "),
        ("--config.optimizer=adm", "must be one of adam, radam, sgd; did you mean ad"),
    ],
)
def test_what_is_mistyped_suggests_what_was_meant(argument, ending):
    assert ending in refused("vae", argument)
