"""Configuration of the site: bash scripts/docs.sh builds it, without a network."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # the extension beside this file

project = "gumbel"
author = "the gumbel authors"
copyright = "the gumbel authors"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "extension",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_timeout = 300  # seconds a cell
nb_execution_in_temp = True
nb_execution_raise_on_error = True

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_custom_sections = [("Shapes", "notes_style")]
python_use_unqualified_type_names = True

html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme = "sphinx_book_theme"
html_title = "gumbel"
html_theme_options = {
    "navbar_persistent": [],  # the search field is in the side bar
    "show_navbar_depth": 1,
    "show_toc_level": 2,
}
