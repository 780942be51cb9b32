"""What the site needs of its own: the tutorial as a notebook, facts of estimators.

{estimator} NAME    a directive: the facts of an estimator's entry, and its bias and
                    spread as results/gradient_quality measured them
"""

import json
import re
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

from gumbel.estimators import ESTIMATORS

DOCS = Path(__file__).parent
ROOT = DOCS.parent


def to_notebook(script: str) -> nbformat.NotebookNode:
    """A notebook of a script whose cells start with `# %%` or `# %% [markdown]`."""
    parts = re.split(r"^# %%(.*)\n", script, flags=re.MULTILINE)[1:]
    cells = []
    for kind, text in zip(parts[::2], parts[1::2], strict=True):
        if "[markdown]" in kind:
            source = re.sub("^# ?", "", text, flags=re.MULTILINE)
            cells.append(nbformat.v4.new_markdown_cell(source.strip()))
        else:
            cells.append(nbformat.v4.new_code_cell(text.strip()))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def write_sources(app: Sphinx) -> None:
    """Writes the pages that are made of other files of the repository."""
    script = ROOT / "experiments" / "examples" / "tutorial.py"
    notebook = to_notebook(script.read_text())
    (DOCS / "tutorial.ipynb").write_text(nbformat.writes(notebook))


class EstimatorFacts(SphinxDirective):
    """A table of what the library says of an estimator, and of what was measured."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The nodes of the table."""
        lines = [f"| {label} | {text} |" for label, text in facts(self.arguments[0])]
        return self.parse_text_to_nodes("\n".join(["| | |", "| --- | --- |", *lines]))


def facts(name: str) -> list[tuple[str, str]]:
    """Labels and texts of an estimator's facts, in Markdown.

    Raises:
        KeyError: if there is no estimator of that name.
    """
    entry = ESTIMATORS[name]
    least, most = entry.samples
    hyper = ", ".join(f"`{h}={v}`" for h, v in entry.hyper.items())
    return [
        ("paper", entry.reference),
        ("unbiased", "yes" if entry.unbiased else "no"),
        ("draws", ", ".join(entry.families)),
        ("samples m", f"{least}" if most == least else f"{least} or more"),
        ("evaluations a step", entry.cost),
        ("hyper-parameters", hyper or "none but the temperature, if it uses that"),
        ("bias / spread", measured(name)),
    ]


def measured(name: str) -> str:
    """The relative bias and standard deviation of an estimator, by temperature."""
    path = ROOT / "results" / "gradient_quality" / "quality.json"
    rows = [r for r in json.loads(path.read_text())["rows"] if r["estimator"] == name]
    texts = []
    for row in rows:
        bias, noise = row["bias"], row["bias_noise"]
        text = f"{bias:.2f}" if bias > noise else f"< {noise:.2f}"
        tau = "" if row["temperature"] is None else f"τ = {row['temperature']:g}: "
        texts.append(f"{tau}{text} / {row['std']:.2f}")
    return "; ".join(texts) or "not measured"


def check_estimators(app: Sphinx, docname: str, source: list[str]) -> None:
    """Checks that the page of the estimators describes all of them.

    Raises:
        ExtensionError: if one is missing.
    """
    if docname == "estimators":
        described = set(re.findall(r"\{estimator\} (\w+)", source[0]))
        if missing := set(ESTIMATORS) ^ described:
            raise ExtensionError(f"docs/estimators.md: {', '.join(sorted(missing))}")


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directive and the hooks."""
    app.add_directive("estimator", EstimatorFacts)
    app.connect("builder-inited", write_sources)
    app.connect("source-read", check_estimators)
    return {"parallel_read_safe": True}
