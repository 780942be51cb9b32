"""The papers' three experiments, and the exceptions that they end with in one line."""

import importlib
import signal
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]


def _is_program() -> bool:
    """Whether a command of the repository is about to run, and no other program's."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    if main is None:  # `python -m`, while it looks for the module
        return sys.argv[:1] == ["-m"]
    return Path(main).resolve().parent == REPOSITORY / "scripts"


# Ctrl-C ends a command without a traceback, also while it imports; training notes it.
if _is_program() and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class ConfigError(ValueError):
    """A config that cannot run; the message names field, value and what is allowed."""


class DataError(ValueError):
    """Data that cannot be read; the message says what to do."""


class WorkdirError(ValueError):
    """The directory is in use, or belongs to another configuration."""


class CheckpointError(ValueError):
    """No checkpoint can be used, or the one there does not fit the program."""


class DivergedError(FloatingPointError):
    """A metric is not finite, or no validation is better than before training."""


class Interrupted(Exception):
    """Training was asked to stop, and its state is saved.

    Attributes:
        exit_code: 0, or 130 where Ctrl-C asked, so that a shell's loop stops.
    """

    exit_code = 0


def load(run_directory: str | Path) -> Any:
    """Loads a trained run with its best parameters; no data set is read.

    Args:
        run_directory: the `--workdir` of the run, or its folder in `runs/`.

    Returns:
        The `Trained` of the run's experiment, with `config`, `params`, `result` and
        what its model can do: `encode`, `decode`, `sample` and `reconstruct` of a VAE,
        `predict` of structured prediction, `classify` and `generate` of M2.

    Raises:
        WorkdirError: if it is not the directory of a run of these experiments.
        CheckpointError: if it has no checkpoint yet, or none is intact.
    """
    # Not above: what only needs the exceptions does not wait for jax.
    from experiments.engine import trained

    experiment, *fields = trained.read(Path(run_directory))
    return importlib.import_module(f"experiments.{experiment}").Trained(*fields)
