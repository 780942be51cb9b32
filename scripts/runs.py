"""Lists runs and plots their curves; --help says how."""

import sys

from experiments.cli.launch import run_script
from experiments.reproduction import list_runs

if __name__ == "__main__":
    run_script(list_runs.__doc__, list_runs.main, sys.argv)
