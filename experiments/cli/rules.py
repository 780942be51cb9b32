"""The values that fields of configs may have, checked before anything compiles."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

import gumbel
from experiments import ConfigError
from experiments.data.binarization import BINARIZATIONS
from experiments.engine.fields import flatten
from experiments.engine.optimizer import LEARNING_RATE_SCHEDULES, OPTIMIZERS
from experiments.models.coding import CODES, is_power_of_two
from experiments.models.latents import FAMILIES

# Larger sizes are mistakes, which would take all memory or a day of tracing.
MAX_UNITS, MAX_LAYERS = 100_000, 100
_MAX_INT = 2**31 - 1
_TINY, _MAX_FLOAT = (float(x) for x in (np.finfo("f4").tiny, np.finfo("f4").max))


class Rule(NamedTuple):
    """The values that a field may have; `text` follows the words "must be"."""

    allows: Callable[[Any], bool]
    text: str
    choices: tuple[str, ...] = ()


def at_least(least: int, most: int = _MAX_INT) -> Rule:
    """An integer in a range, by default all that int32 holds."""
    return Rule(
        lambda value: isinstance(value, int) and least <= value <= most,
        f"an integer from {least} to {most}",
    )


def number(least: float, text: str) -> Rule:
    """A number that is not below `least`, and finite in float32."""
    return Rule(lambda value: least <= value <= _MAX_FLOAT, f"{text} in float32")


def positive() -> Rule:
    """A finite number above zero that is not rounded to zero."""
    return number(_TINY, "a positive finite number")


def non_negative() -> Rule:
    """A finite number not below zero."""
    return number(0, "at least 0 and finite")


def fraction() -> Rule:
    """A number from 0 to 1."""
    return Rule(lambda value: 0 <= value <= 1, "from 0 to 1")


def positive_integers(most: int = MAX_UNITS) -> Rule:
    """A tuple of positive integers; may be empty."""
    each = at_least(1, most)
    return Rule(
        lambda values: len(values) <= MAX_LAYERS and all(map(each.allows, values)),
        f"a tuple of at most {MAX_LAYERS} integers from 1 to {most}",
    )


def one_of(choices: Iterable[str]) -> Rule:
    """One of some names."""
    names = tuple(choices)
    return Rule(lambda value: value in names, f"one of {', '.join(names)}", names)


def optional(rule: Rule) -> Rule:
    """None, or what the rule allows."""
    return Rule(lambda v: v is None or rule.allows(v), f"{rule.text}, or unset")


def common_rules() -> dict[str, Rule]:
    """The rules of the fields that every experiment has."""
    counts = (
        "num_steps batch_size eval_samples valid_samples eval_batch_size "
        "log_every eval_every checkpoint_every schedule.every"
    )
    return {
        **{field: at_least(1) for field in counts.split()},
        "num_samples": at_least(1, MAX_UNITS),
        "train_samples": at_least(0),
        "report_samples": positive_integers(_MAX_INT),
        "seed": at_least(0, 2**32 - 1),
        "optimizer": one_of(OPTIMIZERS),
        "dataset.binarization": one_of(BINARIZATIONS),
        "dataset.side": at_least(1, 1024),
        "learning_rate": positive(),
        "learning_rate_schedule": one_of(LEARNING_RATE_SCHEDULES),
        "warmup_steps": at_least(0),
        "clip_norm": optional(positive()),
        "weight_decay": non_negative(),
        "temperature": positive(),
        "prior_temperature": optional(positive()),
        "schedule.minimum": positive(),
        "schedule.rate": non_negative(),
        "slope.rate": non_negative(),
        "slope.maximum": number(1, "at least 1 and finite"),
        "estimator": one_of(gumbel.estimators.ESTIMATORS),
        "objective": one_of(gumbel.programs.KL_FORMS),
        "options.baseline_decay": optional(fraction()),
        "options.variance_decay": optional(fraction()),
        "options.normalise": optional(one_of(["gradient", "signal"])),
        "options.centre": optional(one_of(["1/K", "1/2", "p"])),
        "options.baseline_learning_rate": optional(positive()),
        "options.control_learning_rate": optional(positive()),
        "options.scale": optional(non_negative()),
        "options.gap": optional(non_negative()),
        "options.inner_samples": optional(at_least(1, MAX_UNITS)),
        "options.replicates": optional(at_least(2, MAX_UNITS)),
    }


def latent_rules() -> dict[str, Rule]:
    """The rules of the fields of layers of discrete latents."""
    return {
        "model.family": one_of(FAMILIES),
        "model.num_variables": at_least(1, MAX_UNITS),
        "model.num_classes": at_least(2, MAX_UNITS),
        "model.code": one_of(CODES),
    }


def check_latents(model: ConfigDict) -> None:
    """Checks that the classes of config.model suit its size, family and code.

    Raises:
        ConfigError: if they do not.
    """
    if model.num_variables * model.num_classes > MAX_UNITS:
        raise ConfigError(
            f"config.model.num_variables={model.num_variables}: with "
            f"{model.num_classes} classes each must be at most "
            f"{MAX_UNITS // model.num_classes}"
        )
    if model.family == "bernoulli" and model.num_classes != 2:
        raise ConfigError(
            f"config.model.num_classes={model.num_classes}: "
            "must be 2 for model.family='bernoulli'"
        )
    if model.code == "corners" and not is_power_of_two(model.num_classes):
        raise ConfigError(
            f"config.model.num_classes={model.num_classes}: "
            "must be a power of two for model.code='corners'"
        )


def check_config(config: ConfigDict, rules: Mapping[str, Rule]) -> None:
    """Checks every field that has a rule, and the fields that depend on others.

    Raises:
        ConfigError: for the first field whose value is not allowed.
    """
    flat = flatten(config.to_dict())

    def check(field: str, allowed: bool, text: str) -> None:
        if not allowed:
            raise ConfigError(f"config.{field}={flat[field]!r}: must be {text}")

    for field, rule in rules.items():
        if field not in flat:
            raise ConfigError(f"config.{field}: missing from the config file")
        try:
            allowed = rule.allows(flat[field])
        except TypeError:  # a config file may assign anything
            allowed = False
        near = {choice: choice for choice in rule.choices}
        check(field, allowed, rule.text + did_you_mean(flat[field], near))
    for field in ("eval_every", "checkpoint_every"):
        every = flat["log_every"]
        text = f"a multiple of config.log_every={every}"
        check(field, flat[field] % every == 0, text)
    steps = flat["num_steps"]
    text = f"below config.num_steps={steps}"
    check("warmup_steps", flat["warmup_steps"] < steps, text)
    floor = flat["schedule.minimum"]
    text = f"at least config.schedule.minimum={floor}"
    check("temperature", flat["temperature"] >= floor, text)
    estimator = gumbel.estimators.ESTIMATORS[flat["estimator"]]
    for name, value in config.options.items():
        text = (
            f"unset for config.estimator={flat['estimator']!r}, which has no such one"
        )
        check(f"options.{name}", value is None or name in estimator.hyper, text)
    try:
        estimator.check_samples(flat["estimator"], flat["num_samples"])
    except ValueError as error:
        raise ConfigError(f"config.{error}") from error


def did_you_mean(name: Any, choices: Mapping[str, str]) -> str:
    """The end of an error line: the choices close to a name, as they are shown."""
    near = [name] if name in choices else difflib.get_close_matches(str(name), choices)
    names = " or ".join(choices[n] for n in near)
    return f"; did you mean {names}?" if near else ""


def check_objective(config: ConfigDict) -> None:
    """Checks that an objective with a KL is a bound on discrete samples.

    Raises:
        ConfigError: for the closed form inside the logarithm of a mean.
    """
    if config.objective == "analytic" and config.num_samples > 1:
        raise ConfigError(
            "config.objective='analytic': must be relaxed_density or soft_mass for "
            f"num_samples={config.num_samples}: in a log-mean-exp the closed form of "
            "the KL is no bound"
        )
