"""The description of the package in an index: the README without links to files."""

import re
from pathlib import Path


def description() -> str:
    """The README, its links into the repository as plain text and without pictures."""
    text = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    text = re.sub(r"!\[[^\]]*\]\((?!https?:)[^)]*\)\n*", "", text)
    return re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", text)


if __name__ == "__main__":
    from setuptools import setup  # a new environment may have none

    setup(
        long_description=description(),
        long_description_content_type="text/markdown",
    )
