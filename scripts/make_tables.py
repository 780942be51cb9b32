"""Turns runs into records and records into tables; --help says how."""

import sys

from experiments.cli.launch import run_script
from experiments.reproduction import make_tables

if __name__ == "__main__":
    run_script(make_tables.__doc__, make_tables.main, sys.argv)
