"""Reading a command line with --config and flags; every mistake is one line."""

from collections.abc import Callable
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from experiments import REPOSITORY, ConfigError
from experiments.cli import config as configuration
from experiments.engine.run_directory import flatten


def _last_line(error: Exception) -> str:
    """A config file's own error comes wrapped in a traceback; its last line says it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[-1].removeprefix("ValueError: ") if lines else ""
    if isinstance(error, (flags.Error, OSError, ValueError)) and line:
        return line
    return f"{type(error).__name__}: {line}"


def _config_first(argv: list[str]) -> list[str]:
    """The same command, as config_flags wants it.

    That is with --config in front of its fields, each with its value in one argument,
    and a config file of the repository found from any working directory.
    """
    front, rest, arguments = [], [], list(argv[1:])
    while arguments:
        argument = arguments.pop(0)
        name, equals, value = argument.partition("=")
        is_config = name in ("--config", "-config")
        if is_config or name.startswith(("--config.", "-config.")):
            if not equals and arguments and not arguments[0].startswith("--"):
                value = arguments.pop(0)
                argument = f"{name}={value}"
        if is_config and value:
            argument = f"--config={_from_anywhere(value)}"
        (front if is_config else rest).append(argument)
    return [argv[0], *front, *rest]


def _from_anywhere(config: str) -> str:
    path, colon, variant = config.partition(":")
    if not Path(path).exists() and (REPOSITORY / path).is_file():
        path = str(REPOSITORY / path)
    return f"{path}{colon}{variant}"


def _parse_flags(
    argv: list[str], default_config: str, define: Callable[[flags.FlagValues], None]
) -> flags.FlagValues:
    values = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config", default_config, flag_values=values, sys_argv=argv
    )
    define(values)
    rest = values(argv)[1:]
    if rest:
        raise ConfigError(
            f"{rest[0]}: unexpected argument; fields are --config.x=value"
        )
    # If the file could not be read, this attribute, like any other, raises why.
    if not hasattr(values.config, "to_dict"):
        raise ConfigError("--config: get_config() must return a ConfigDict")
    return values


def _check_field_names(argv: list[str], default_config: str, define: Callable) -> None:
    """Refuses overrides of fields that are not in the config."""
    plain = [a for a in argv if not a.startswith(("--config.", "-config."))]
    config = _parse_flags(plain, default_config, define).config
    known = flatten(config.to_dict())
    for argument in argv[1:]:
        if argument.startswith(("--config.", "-config.")):
            name = argument.lstrip("-").removeprefix("config.").split("=")[0]
            if name not in known:
                raise ConfigError(configuration.unknown_field(name, config))


def read_flags(
    argv: list[str], default_config: str, define: Callable[[flags.FlagValues], None]
) -> tuple[flags.FlagValues, str, str]:
    """Parses a command line with --config and a command's own flags.

    Args:
        argv: the program's name and its arguments.
        default_config: path of the config file used when --config is not given.
        define: defines the other flags.

    Returns:
        The values, the locked config among them, the config file and its variant.

    Raises:
        ConfigError: in one line, for anything that cannot be parsed.
    """
    arguments = _config_first(argv)
    try:
        _check_field_names(arguments, default_config, define)
        values = _parse_flags(arguments, default_config, define)
    except ConfigError:
        raise
    except Exception as error:  # A config file is code: it may raise anything.
        raise ConfigError(_last_line(error)) from error
    return values, *file_and_variant(values)


def file_and_variant(values: flags.FlagValues) -> tuple[str, str]:
    """The config file of --config, and its variant: the first where none is named."""
    path, _, variant = config_flags.get_config_filename(values["config"]).partition(":")
    return path, variant or (*configuration.variants(path), Path(path).stem)[0]
