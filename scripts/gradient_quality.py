"""Compares gradient estimators at fixed parameters; --help says how."""

import sys

from experiments.cli.launch import run_script
from experiments.reproduction import gradient_quality

if __name__ == "__main__":
    run_script(gradient_quality.__doc__, gradient_quality.main, sys.argv)
