"""The list of `bash scripts/test.sh --fast` has a test of every module."""

from pathlib import Path

TESTS = Path(__file__).parent
# PyTorch may be missing.
WITHOUT = {"scripts/benchmarks/pytorch.py"}


def test_every_module_has_a_test_that_is_there():
    lines = (TESTS / "fast.txt").read_text().splitlines()
    listed = dict(line.split() for line in lines if not line.startswith("#"))
    modules = {
        path.relative_to(TESTS.parent).as_posix()
        for folder in ("configs", "experiments", "gumbel", "scripts")
        for path in (TESTS.parent / folder).rglob("*.py")
        if len(path.read_text().splitlines()) > 1
    }
    assert set(listed) == modules - WITHOUT
    for test in listed.values():
        file, name = test.partition("[")[0].split("::")
        assert f"\ndef {name}(" in (TESTS / file).read_text(), test
