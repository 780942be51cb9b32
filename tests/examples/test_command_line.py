"""The command line of the examples: defaults, flags, and mistakes in one line."""

import sys

import pytest

from experiments import DataError
from experiments.examples import command_line


def example(steps: int = 20, seed: int = 3):
    """An example's main."""
    print(steps, seed)


def call(monkeypatch, main, *arguments):
    monkeypatch.setattr(sys, "argv", ["example", *arguments])
    command_line.run(main)


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [((), "20 3"), (("--steps=50", "--seed=0"), "50 0"), (("--seed", "7"), "20 7")],
)
def test_defaults_and_flags(monkeypatch, capsys, arguments, printed):
    call(monkeypatch, example, *arguments)
    assert capsys.readouterr().out == printed + "\n"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--steps=15", "--steps=15: must be a positive multiple of 10"),
        ("--seed=4294967296", "--seed=4294967296: must be an integer from"),
        ("--rate=1", "unrecognized arguments: --rate=1"),
    ],
)
def test_mistakes(monkeypatch, capsys, argument, message):
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, example, argument)
    assert stopped.value.code == 2
    output = capsys.readouterr()
    assert message in output.err and not output.out


def test_data_that_is_not_there(monkeypatch, capsys):
    def main(steps: int = 10, seed: int = 0):
        raise DataError("no data: get some")

    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, main)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: no data: get some\n"
