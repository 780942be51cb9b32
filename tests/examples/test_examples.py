"""All examples: short, with an expected result, and in the README."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

from experiments import examples

ROOT = Path(__file__).resolve().parents[2]
HELPERS = {"__init__", "command_line"}
FILES = {path.stem: path for path in Path(examples.__file__).parent.glob("*.py")}
NAMES = sorted(set(FILES) - HELPERS - {"tutorial"})


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short_and_says_what_to_expect(name):
    assert len(FILES[name].read_text().splitlines()) <= 100
    module = importlib.import_module(f"experiments.examples.{name}")
    expected = re.search(
        r"^Expected, ([\d,]+) steps, seed (\d+): \D*\d", module.__doc__, re.MULTILINE
    )
    parameters = inspect.signature(module.main).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    steps, seed = (int(number.replace(",", "")) for number in expected.groups())
    assert {"steps": steps, "seed": seed} == defaults


def test_every_example_has_a_test():
    for name in set(FILES) - {"__init__", "command_line"}:
        assert (ROOT / "tests" / "examples" / f"test_{name}.py").is_file(), name
