"""Reading and checking configs: every mistake is one line, before anything compiles."""

import difflib
import importlib.util
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gumbel
from experiments import REPOSITORY, ConfigError
from experiments.engine.run_directory import flatten

# Those that have a config file of their name.
EXPERIMENTS = sorted(
    path.stem
    for path in (REPOSITORY / "configs").glob("[a-z]*.py")
    if (REPOSITORY / "experiments" / path.name).exists()
)


Rule = tuple[Callable[[Any], bool], str]


def at_least(least) -> Rule:
    """A number that is not below `least`."""
    return lambda value: value >= least, f"at least {least}"


def positive() -> Rule:
    """A finite number above zero."""
    return lambda value: 0 < value < float("inf"), "a positive finite number"


def non_negative() -> Rule:
    """A finite number not below zero."""
    return lambda value: 0 <= value < float("inf"), "finite, at least 0"


def fraction() -> Rule:
    """A number from 0 to 1."""
    return lambda value: 0 <= value <= 1, "from 0 to 1"


def positive_integers() -> Rule:
    """A tuple of positive integers; may be empty."""
    return (
        lambda values: all(isinstance(n, int) and n > 0 for n in values),
        "a tuple of positive integers",
    )


def one_of(choices) -> Rule:
    """One of some names."""
    return lambda value: value in tuple(choices), f"one of {', '.join(choices)}"


def optional(rule: Rule) -> Rule:
    """None, or what the rule allows."""
    allows, text = rule
    return lambda value: value is None or allows(value), f"{text}, or unset"


def common_rules() -> dict[str, Rule]:
    """What is allowed in the fields that every experiment has."""
    counts = (
        "num_steps batch_size num_samples eval_samples valid_samples eval_batch_size "
        "log_every eval_every checkpoint_every schedule.every"
    )
    return {
        "train_samples": at_least(0),
        "report_samples": positive_integers(),
        "weight_decay": at_least(0),
        "slope.rate": at_least(0),
        "slope.maximum": at_least(1),
        "options.baseline_decay": optional(fraction()),
        "options.variance_decay": optional(fraction()),
        "options.baseline_learning_rate": optional(positive()),
        "options.control_learning_rate": optional(positive()),
        "options.scale": optional(non_negative()),
        "options.gap": optional(non_negative()),
        "options.inner_samples": optional(at_least(1)),
        "options.replicates": optional(at_least(2)),
        "seed": (lambda seed: 0 <= seed < 2**32, "from 0 to 2**32 - 1"),
        **{field: at_least(1) for field in counts.split()},
        "learning_rate": positive(),
        "temperature": positive(),
        "prior_temperature": optional(positive()),
        "schedule.minimum": positive(),
        "schedule.rate": non_negative(),
        "estimator": one_of(gumbel.estimators.ESTIMATORS),
        "objective": one_of(gumbel.programs.KL_FORMS),
    }


def check_config(config, rules: Mapping[str, Rule]) -> None:
    """Checks every field that has a rule, and the fields that depend on others.

    Raises:
        ConfigError: for the first field whose value is not allowed.
    """
    flat = flatten(config.to_dict())
    for field, (allows, text) in rules.items():
        if field not in flat:
            raise ConfigError(f"config.{field}: missing from the config file")
        if not allows(flat[field]):
            raise ConfigError(f"config.{field}={flat[field]!r}: must be {text}")
    for field in ("eval_every", "checkpoint_every"):
        if flat[field] % flat["log_every"]:
            raise ConfigError(
                f"config.{field}={flat[field]}: must be a multiple of "
                f"config.log_every={flat['log_every']}"
            )
    if flat["temperature"] < flat["schedule.minimum"]:
        raise ConfigError(
            f"config.temperature={flat['temperature']}: must be at least "
            f"config.schedule.minimum={flat['schedule.minimum']}"
        )
    try:
        estimator = gumbel.estimators.ESTIMATORS[flat["estimator"]]
        for name, value in config.options.items():
            if value is not None and name not in estimator.hyper:
                raise ValueError(
                    f"options.{name}={value}: must be unset for "
                    f"config.estimator={flat['estimator']!r}, which has no such option"
                )
        estimator.check_samples(flat["estimator"], flat["num_samples"])
    except ValueError as error:
        raise ConfigError(f"config.{error}") from error


def unknown_field(name: str, config) -> str:
    """The error line for a field that is not in the config, with near misses."""
    fields = flatten(config.to_dict())
    near = difflib.get_close_matches(name, fields, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "--help lists the fields"
    return f"config.{name}: unknown field; {hint}"


def field_help(config_file: str) -> str:
    """The fields of a config file, their defaults and meaning, for --help.

    The meaning is the comment beside the assignment, so it cannot drift from it. The
    fields common to all experiments are in a file of their own.
    """
    files = REPOSITORY / "configs" / "common.py", Path(config_file)
    source = "".join(file.read_text() for file in files)
    pattern = re.compile(r"^    config\.([\w.]+) = (.+?)  # (.+)$", re.MULTILINE)
    rows = [
        (
            name,
            "unset" if "placeholder" in default or "_unset" in default else default,
            meaning,
        )
        for name, default, meaning in pattern.findall(source)
        if default != "ConfigDict()"  # a group, not a field
    ]
    return "\n".join(
        f"  --config.{name:<24} {meaning} [{default}]"
        for name, default, meaning in rows
    )


def variants(config_file: str) -> tuple[str, ...]:
    """The variants that a config file offers, the default one first."""
    spec = importlib.util.spec_from_file_location("config_for_help", config_file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return tuple(getattr(module, "VARIANTS", ()))
