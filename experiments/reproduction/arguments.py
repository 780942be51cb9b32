"""Reading of the flags of commands that have no config."""

from collections.abc import Callable

from absl import flags

from experiments import ConfigError


def parse_flags(
    argv: list[str],
    define: Callable[[flags.FlagValues], None],
    known_only: bool = False,
) -> tuple[flags.FlagValues, list[str]]:
    """Parses a command line.

    Args:
        argv: the program's name and its arguments.
        define: defines the flags.
        known_only: whether unknown flags are left among the other arguments.

    Returns:
        The values of the flags, and the other arguments.

    Raises:
        ConfigError: in one line, for anything that cannot be parsed.
    """
    values = flags.FlagValues()
    values.set_gnu_getopt(True)  # flags may follow other arguments
    define(values)
    try:
        return values, values(argv, known_only=known_only)[1:]
    except flags.Error as error:
        raise ConfigError(str(error)) from error
