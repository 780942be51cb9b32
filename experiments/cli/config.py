"""Reading and checking configs: every mistake is one line, before anything compiles."""

import difflib
import re
import runpy
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_dict, config_flags

import gumbel
from experiments import REPOSITORY, ConfigError
from experiments.data.binarization import BINARIZATIONS
from experiments.engine.fields import flatten
from experiments.engine.optimizer import LEARNING_RATE_SCHEDULES, OPTIMIZERS
from experiments.models.coding import CODES, is_power_of_two
from experiments.models.latents import FAMILIES

# Those that have a config file of their name.
EXPERIMENTS = sorted(
    path.stem
    for path in (REPOSITORY / "configs").glob("[a-z]*.py")
    if (REPOSITORY / "experiments" / path.name).exists()
)

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


def unknown_field(name: str, config: ConfigDict) -> str:
    """The error line for a field that is not in the config."""
    fields = {field: field for field in flatten(config.to_dict())}
    return f"config.{name}: unknown field{did_you_mean(name, fields) or ', see --help'}"


def read_flags(
    argv: list[str], default_config: str, define: Callable[[flags.FlagValues], None]
) -> tuple[flags.FlagValues, str, str]:
    """Parses a command line with --config, its fields and a command's own flags.

    Args:
        argv: the program's name and its arguments.
        default_config: path of the config file used when --config is not given.
        define: defines the other flags.

    Returns:
        The values, the locked config among them, the config file and its variant.

    Raises:
        ConfigError: in one line, for anything that cannot be parsed.
    """
    chosen, values = flags.FlagValues(), flags.FlagValues()
    chosen.set_gnu_getopt(True)  # --config may stand anywhere
    flags.DEFINE_string("config", default_config, "FILE:VARIANT", flag_values=chosen)
    try:
        arguments = chosen(argv, known_only=True)
        path, _, variant = chosen.config.partition(":")
        if not Path(path).exists() and (REPOSITORY / path).is_file():
            path = str(REPOSITORY / path)
        file = runpy.run_path(path)
        config = file["get_config"](*filter(None, [variant]))
        if not isinstance(config, ConfigDict):
            raise ConfigError(f"--config={path}: get_config() must return a ConfigDict")
        _add_options(config, arguments)
        # With a flag for every field it is absl that says what is wrong with a value.
        names = [f"--config.{name}" for name in flatten(config.to_dict())]
        config_flags.DEFINE_config_dict(
            "config", config, flag_values=values, sys_argv=["", *names]
        )
        define(values)
        rest = values(arguments)[1:]
    except flags.UnrecognizedFlagError as error:
        name = error.flagname
        known = {flag.removeprefix("config."): f"--{flag}" for flag in values}
        hint = did_you_mean(name.removeprefix("config."), known)
        raise ConfigError(f"--{name}: unknown{hint or ', see --help'}") from error
    except Exception as error:  # A config file is code: it may raise anything.
        message = " ".join(str(error).split())
        if not isinstance(error, (flags.Error, OSError, ValueError)):
            message = f"{type(error).__name__}: {message}"
        raise ConfigError(message) from error
    if rest:
        raise ConfigError(f"{rest[0]}: unexpected; fields are --config.x=value")
    return values, path, variant or (*file.get("VARIANTS", ()), Path(path).stem)[0]


def _add_options(config: ConfigDict, arguments: Iterable[str]) -> None:
    """Adds the options of a user's own estimator that the command line sets.

    Their types are those of their defaults. Unset ones are not added: a config, and
    hence the name of a run, does not depend on what other estimators there are.
    """
    named = set(re.findall(r"^--?config\.options\.(\w+)", "\n".join(arguments), re.M))
    for estimator in gumbel.estimators.ESTIMATORS.values():
        for name in named.intersection(estimator.hyper) - {"slope", *config.options}:
            default = estimator.hyper[name]
            kind = object if default is None else type(default)
            with config.unlocked():
                config.options[name] = config_dict.placeholder(kind)


def flag_help(values: flags.FlagValues, config_file: str) -> str:
    """The flags and fields of a command, their meaning and defaults, for --help.

    The meaning of a field is the comment beside its assignment, in the config file or
    in that of the common fields, so that it cannot drift from it.
    """
    files = REPOSITORY / "configs" / "common.py", Path(config_file)
    source = "".join(file.read_text("utf-8") for file in files)
    comments = dict(re.findall(r"^    (config\.[\w.]+) = .+?  # (.+)$", source, re.M))
    defaults = {f"config.{k}": v for k, v in flatten(values.config.to_dict()).items()}
    rows = []
    for name in dict.fromkeys([*comments, *values]):
        if name == "config" or name not in values:
            continue
        meaning = comments.get(name, values[name].help)
        default = defaults.get(name, values[name].default)
        default = "unset" if default is None or default == "" else default
        rows.append(f"  --{name:<31} {meaning} [{default}]")
    return "\n".join(rows)
