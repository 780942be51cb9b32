"""The command line shared by all experiments: `python -m experiments.X`.

Everything that can be wrong with a command is found before anything compiles and
said in one line, with exit code 2.
"""

import os
import runpy
import shlex
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import jax
import jaxlib
from absl import flags, logging
from ml_collections import ConfigDict

from experiments import (
    REPOSITORY,
    CheckpointError,
    ConfigError,
    DataError,
    Interrupted,
    WorkdirError,
)
from experiments.cli.config import flag_help, read_flags
from experiments.engine import processes as hosts
from experiments.engine import report
from experiments.engine.run_directory import default_workdir, set_aside
from experiments.engine.task import Task
from experiments.engine.train import train


def _define_flags(values: flags.FlagValues) -> None:
    def boolean(name: str, meaning: str) -> None:
        flags.DEFINE_boolean(name, False, meaning, flag_values=values)

    meaning = "run directory; unset: in runs/, named by the config"
    flags.DEFINE_string("workdir", None, meaning, flag_values=values)
    boolean("tensorboard", "also write TensorBoard events (needs tensorboardX)")
    boolean("restart", "move an old run to DIR.old-1, and start afresh")
    boolean("train_only", "stop before the final evaluation, on the test set")
    boolean("profile", "also write a trace of the first steps to profile/")
    boolean("debug", "show the traceback behind a one-line error")
    hosts.define_flags(values)


def parse(argv: list[str], experiment: str, default_config: str) -> flags.FlagValues:
    """Parses a command line of an experiment, and names its run directory.

    Raises:
        ConfigError: in one line, for anything that cannot be parsed.
    """
    values, _, variant = read_flags(argv, default_config, _define_flags)
    default = default_workdir(experiment, variant, values.config.to_dict())
    values.workdir = Path(values.workdir or default).resolve()
    return values


def help_text(experiment: str, doc: str, default_config: str) -> str:
    """The text of --help: the idea, the variants, the flags and every field."""
    values, path, _ = read_flags([experiment], default_config, _define_flags)
    names = f"variants: {', '.join(runpy.run_path(path)['VARIANTS'])}"
    return f"""{(doc or "").strip()}

usage: python -m experiments.{experiment} [--config=FILE[:VARIANT]] [--FLAG=VALUE …]
where FILE is {Path(path).relative_to(REPOSITORY)}, or one that is written like it

{textwrap.fill(names, 80, subsequent_indent="  ", break_on_hyphens=False)}

{flag_help(values, path)}"""


def launch(experiment: str, doc: str, make_task: Callable[[ConfigDict], Task]) -> None:
    """Runs an experiment from the command line; exit codes as those of `run_script`.

    Args:
        experiment: its name, as in configs/<experiment>.py.
        doc: the module docstring, printed by --help.
        make_task: checks a config and makes its task.
    """
    default_config = str(REPOSITORY / "configs" / f"{experiment}.py")

    def main(argv: list[str]) -> None:
        values = parse(argv, experiment, default_config)
        hosts.start(values)
        check_compiler()
        task = hosts.in_all(lambda: make_task(values.config))
        if values.restart:
            hosts.on_first(lambda: set_aside(values.workdir))
        result = train(
            task,
            values.config,
            values.workdir,
            tensorboard=values.tensorboard,
            profile=values.profile,
            train_only=values.train_only,
        )
        if result is None:
            print(f"trained; without --train_only it evaluates {values.workdir}")
        else:
            print(report.summary(result, values.workdir))

    arguments = (a for a in sys.argv[1:] if not a.lstrip("-").startswith("restart"))
    command = [sys.executable, "-m", f"experiments.{experiment}", *arguments]
    run_script(
        lambda: help_text(experiment, doc, default_config),
        main,
        sys.argv,
        goes_on=f"continue with:\n  {shlex.join(command)}",
    )


def check_compiler() -> None:
    """Refuses a jaxlib that silently computes wrong numbers.

    Raises:
        ConfigError: if it is that one.
    """
    if jaxlib.__version__ == "0.10.2" and jax.default_backend() == "cpu":
        raise ConfigError(
            "jaxlib 0.10.2 sums wrongly on CPU (github.com/jax-ml/jax/issues/39103): "
            "pip install -r requirements.txt"
        )


def run_script(
    doc: str | Callable[[], str],
    main: Callable[[list[str]], None],
    argv: list[str],
    goes_on: str = "the same command goes on",
) -> None:
    """Runs a command that trains, its expected failures in one line.

    Exit codes: 0 done, or stopped by SIGTERM and saved; 1 the run failed; 2 the command
    cannot run; 130 stopped by Ctrl-C; 141 nobody reads the output any more. All such
    commands do what is left when run again. --debug shows tracebacks.

    Args:
        doc: what --help prints.
        main: of the command.
        argv: its command line.
        goes_on: what an interruption says of continuing.
    """
    hosts.open_streams()
    logging.set_verbosity(logging.WARNING)
    try:
        if {"--help", "-help", "-h"} & set(argv[1:]):
            print(doc if isinstance(doc, str) else doc())
        else:
            main(argv)
        sys.stdout.flush()
    except Interrupted as stopped:
        print(f"{stopped}; {goes_on}")
        hosts.exit_interrupted(stopped.exit_code)
    except KeyboardInterrupt:  # before training, or the second one during it
        print(f"interrupted; {goes_on}", file=sys.stderr)
        sys.exit(130)
    except OSError as error:  # of the output; that of a run's file is a WorkdirError
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            sys.exit(141)
        _fail(error, argv, 1)
    except (ConfigError, DataError, WorkdirError, CheckpointError) as error:
        _fail(error, argv, 2)
    except FloatingPointError as error:
        _fail(error, argv, 1)
    except Exception as error:
        hosts.abandon(error)


def _fail(error: Exception, argv: list[str], code: int) -> None:
    if "--debug" in argv:
        raise error
    print(f"error: {error}", file=sys.stderr)
    sys.exit(code)
