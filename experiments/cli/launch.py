"""The command line shared by all experiments: `python -m experiments.X`.

Everything that can be wrong with a command is found before anything compiles and
said in one line, with exit code 2.
"""

import shlex
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

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
from experiments.cli import config as configuration
from experiments.cli.command_line import read_flags
from experiments.engine import processes as hosts
from experiments.engine import report
from experiments.engine.run_directory import default_workdir
from experiments.engine.task import Task
from experiments.engine.train import train


class Command(NamedTuple):
    """A parsed command line; `line` is what continues the run."""

    config: ConfigDict
    workdir: Path
    flags: flags.FlagValues
    line: str


def _continue_line(experiment: str, argv: list[str]) -> str:
    """The command that continues a run when typed where it was started."""
    line = shlex.join([sys.executable, "-m", f"experiments.{experiment}", *argv[1:]])
    if Path.cwd() == REPOSITORY:
        return line
    return f"PYTHONPATH={shlex.quote(str(REPOSITORY))} {line}"


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("workdir", None, "run directory", flag_values=values)
    flags.DEFINE_boolean("tensorboard", False, "write events", flag_values=values)
    flags.DEFINE_boolean("train_only", False, "do not evaluate", flag_values=values)
    flags.DEFINE_boolean("profile", False, "write a trace", flag_values=values)
    flags.DEFINE_boolean("debug", False, "show tracebacks", flag_values=values)
    hosts.define_flags(values)


def parse(argv: list[str], experiment: str, default_config: str) -> Command:
    """Parses a command line.

    Args:
        argv: the program's name and its arguments.
        experiment: the experiment's name; part of the default run directory.
        default_config: path of the config file used when --config is not given.

    Returns:
        The locked config, the run directory and the command that continues the run.

    Raises:
        ConfigError: in one line, for anything that cannot be parsed.
    """
    values, _, variant = read_flags(argv, default_config, _define_flags)
    config = values.config
    if values.workdir:
        workdir = Path(values.workdir).resolve()
    else:
        workdir = default_workdir(experiment, variant, config.to_dict())
    line = _continue_line(experiment, argv)
    return Command(config, workdir, values, line)


def help_text(experiment: str, doc: str, config_file: str) -> str:
    """What --help prints: the idea, the flags, the variants and every field."""
    shown = Path(config_file).relative_to(REPOSITORY)
    names = f"variants: {', '.join(configuration.variants(config_file))}"
    return f"""{doc.strip()}

usage: python -m experiments.{experiment} [--config=FILE[:VARIANT]]
         [--config.FIELD=VALUE …] [--workdir=DIR] [--tensorboard]
         [--train_only] [--profile] [--multihost] [--debug]

  --config                           config file and variant [{shown}]
  --workdir                          run directory; the same command continues a run
                                     [runs/{experiment}/VARIANT-HASH OF THE CONFIG]
  --tensorboard                      also write TensorBoard events (needs tensorboardX)
  --train_only                       stop before the final evaluation, which reads the
                                     test set; the command without it goes on
  --profile                          also write a trace of the first log_every steps to
                                     profile/, for Perfetto or TensorBoard
{hosts.HELP}
  --debug                            show the traceback behind a one-line error

{textwrap.fill(names, 80, subsequent_indent="  ", break_on_hyphens=False)}

fields:
{configuration.field_help(config_file)}"""


def launch(experiment: str, doc: str, make_task: Callable[[ConfigDict], Task]) -> None:
    """Runs an experiment from the command line and exits.

    Exit codes: 0 done or interrupted and saved; 1 the run failed or was broken off; 2
    the command cannot run.

    Args:
        experiment: its name, as in configs/<experiment>.py.
        doc: the module docstring, printed by --help.
        make_task: checks a config and makes its task.
    """
    argv = sys.argv
    default_config = str(REPOSITORY / "configs" / f"{experiment}.py")
    if {"--help", "-help", "-h"} & set(argv[1:]):
        print(help_text(experiment, doc, default_config))
        return
    logging.set_verbosity(logging.WARNING)
    try:
        command = parse(argv, experiment, default_config)
        hosts.start(command.flags)
        check_compiler()
        _run(command, hosts.in_all(lambda: make_task(command.config)))
    except (ConfigError, DataError, WorkdirError, CheckpointError) as error:
        _fail(error, argv, 2)
    except FloatingPointError as error:
        _fail(error, argv, 1)
    except KeyboardInterrupt:  # before training, or the second one during it
        sys.exit("interrupted; the same command starts again")
    except Exception as error:
        hosts.abandon(error)


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


def _run(command: Command, task: Task) -> None:
    try:
        result = train(
            task,
            command.config,
            command.workdir,
            tensorboard=command.flags.tensorboard,
            profile=command.flags.profile,
            train_only=command.flags.train_only,
        )
    except Interrupted as stopped:
        print(f"{stopped}; continue with:\n  {command.line}")
        return
    if result is None:
        print(f"trained; without --train_only the command evaluates {command.workdir}")
        return
    print(report.summary(result, command.workdir))


def _fail(error: Exception, argv: list[str], code: int) -> None:
    if "--debug" in argv:
        raise error
    print(f"error: {error}", file=sys.stderr)
    sys.exit(code)


def run_script(doc: str, main: Callable[[list[str]], None], argv: list[str]) -> None:
    """Runs a script that trains, its expected failures in one line.

    Exit codes as those of `launch`; all such scripts do what is left when run again.

    Args:
        doc: what --help prints.
        main: of the script.
        argv: its command line.
    """
    if {"--help", "-help", "-h"} & set(argv[1:]):
        print(doc)
        return
    logging.set_verbosity(logging.WARNING)
    try:
        main(argv)
    except Interrupted as stopped:
        print(f"{stopped}; the same command goes on")
    except KeyboardInterrupt:  # not in training, which saves its state first
        sys.exit("interrupted; the same command goes on")
    except (ConfigError, DataError, WorkdirError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        hosts.abandon(error)
