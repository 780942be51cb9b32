"""Sphinx extension of the site: a notebook, docstrings, equations.

The tutorial becomes an executed notebook. Equations become MathML, so that they
are there without a network.
"""

import re
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

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


def to_rst(app, what, name, obj, options, lines: list[str]) -> None:
    """Makes a plain docstring reStructuredText, before napoleon reads its sections.

    An asterisk is one, and an indented paragraph that starts after an empty line is
    code, or an equation that is laid out by hand.
    """
    result = []
    for number, line in enumerate(lines):
        indent, text = len(line) - len(line.lstrip()), line.strip()
        before = [x for x in lines[:number] if x.strip()]
        is_after_empty = number > 0 and not lines[number - 1].strip()
        if text and before and is_after_empty:
            outer = len(before[-1]) - len(before[-1].lstrip())
            if indent > outer:
                result += [" " * outer + "::", ""]
        result.append(line)
    in_code = False
    for number, line in enumerate(result):
        in_code = line.strip() == "::" or (in_code and (line[:1] in " " or not line))
        if not in_code:
            result[number] = line.replace("*", r"\*")
    lines[:] = result


def shorten_types(app, what, name, obj, options, signature, returns):
    """Names the union of types that jax.typing.ArrayLike stands for."""
    union = r"~[\w.]*Array \| ~numpy\.ndarray \|[^,=)]*complex"
    texts = (re.sub(union, "ArrayLike", text or "") for text in (signature, returns))
    return tuple(text or None for text in texts)


def visit_math(translator: Any, node: nodes.Element) -> None:
    """Writes an equation as MathML."""
    is_block = isinstance(node, nodes.math_block)
    markup = tex2mathml(node.astext(), as_block=is_block)
    # A thin space after the name of a function, but before a bracket.
    space = r'\1<mspace width="0.17em"/>'
    markup = re.sub(r"(<mo>&ApplyFunction;</mo>)(?!\s*<mo[^>]*>\()", space, markup)
    if is_block:
        translator.body.append(f'<div class="math-block">{markup}</div>\n')
    else:
        translator.body.append(markup)
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the hooks."""
    app.connect("autodoc-process-signature", shorten_types)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
    app.connect("autodoc-process-docstring", to_rst, priority=400)
    app.connect("builder-inited", write_sources)
    return {"parallel_read_safe": True}
