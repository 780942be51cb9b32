"""The command line that the examples share: --steps and --seed."""

import argparse
import inspect
import sys
from collections.abc import Callable
from typing import Any

from experiments import DataError


def _steps(text: str) -> int:
    """Ten lines of progress, each after as many steps."""
    if not text.isdecimal() or int(text) == 0 or int(text) % 10:
        raise argparse.ArgumentTypeError(f"{text}: must be a positive multiple of 10")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text}: must be an integer from 0 to 2³²−1")
    return int(text)


def run(main: Callable[..., Any]) -> None:
    """Calls an example's main(steps, seed), whose defaults are those of the command.

    Exits with one line, code 2, if a flag has an impossible value or there is no data.
    """
    parser = argparse.ArgumentParser(
        description=inspect.getdoc(inspect.getmodule(main)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = inspect.signature(main).parameters
    for name, parse in (("steps", _steps), ("seed", _seed)):
        default = defaults[name].default
        parser.add_argument(
            f"--{name}", type=parse, default=default, help=f"[{default}]"
        )
    try:
        main(**vars(parser.parse_args()))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
