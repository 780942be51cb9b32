"""Reproduces the tables of the papers; --help says how."""

import sys

from experiments.cli.launch import run_script
from experiments.reproduction import reproduce

if __name__ == "__main__":
    run_script(reproduce.__doc__, reproduce.main, sys.argv)
