"""The papers' three experiments, and the exceptions that they end with in one line."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


class ConfigError(ValueError):
    """A config that cannot run; the message names field, value and what is allowed."""


class DataError(ValueError):
    """Data that cannot be read; the message says what to do."""


class WorkdirError(ValueError):
    """The directory is in use, or belongs to another configuration."""


class CheckpointError(ValueError):
    """No checkpoint can be used, or the one there does not fit the program."""


class Interrupted(Exception):
    """Training was asked to stop, and its state is saved.

    Attributes:
        exit_code: 0, or 130 where Ctrl-C asked, so that a shell's loop stops.
    """

    exit_code = 0
