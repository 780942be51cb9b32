"""The command line that the examples share: --steps and --seed."""

import argparse
import inspect
from collections.abc import Callable
from typing import Any

from experiments import DataError


def run(main: Callable[..., Any]) -> None:
    """Calls an example's main(steps, seed), whose defaults are those of the command.

    Exits with one line, code 2, if a flag has an impossible value or there is no data.
    """
    parser = argparse.ArgumentParser(
        description=inspect.getdoc(inspect.getmodule(main)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, parameter in inspect.signature(main).parameters.items():
        default = parameter.default
        parser.add_argument(f"--{name}", type=int, default=default, help=f"[{default}]")
    values = parser.parse_args()
    if values.steps <= 0 or values.steps % 10:  # ten lines of progress
        parser.error(f"--steps={values.steps}: must be a positive multiple of 10")
    if not 0 <= values.seed < 2**32:
        parser.error(f"--seed={values.seed}: must be an integer from 0 to 2³²−1")
    try:
        main(**vars(values))
    except DataError as error:
        parser.exit(2, f"error: {error}\n")
