"""Reading configs from a command line: every mistake is one line."""

import re
import runpy
from collections.abc import Callable, Iterable
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_dict, config_flags

import gumbel
from experiments import REPOSITORY, ConfigError
from experiments.cli.rules import did_you_mean
from experiments.engine.fields import flatten

# Those that have a config file of their name.
EXPERIMENTS = sorted(
    path.stem
    for path in (REPOSITORY / "configs").glob("[a-z]*.py")
    if (REPOSITORY / "experiments" / path.name).exists()
)


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
