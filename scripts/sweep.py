"""Trains a grid of configs and compares their bounds; --help says how."""

import sys

from experiments.cli.launch import run_script
from experiments.reproduction import sweep

if __name__ == "__main__":
    run_script(sweep.__doc__, sweep.main, sys.argv)
