"""Sphinx's settings for `make book`: lectures, assignments and texts without a network."""

import sys
from importlib.resources import files
from pathlib import Path

MATHJAX = files("sphinx-mathjax-offline") / "static/mathjax/tex-svg.js"  # no other file is needed
sys.path.insert(0, str(Path(__file__).parent))

project = "CNN Lab"
author = "the authors of CNN Lab"
extensions = ["myst_nb", "sphinx.ext.mathjax", "notebooks"]
include_patterns = ["README.md", "CONTRIBUTING.md", "docs/*.md", "docs/book/index.md"]
include_patterns += ["lectures/*.ipynb", "assignments/*/*.ipynb"]
exclude_patterns = [
    ".*",
    "**/.*",
    "cnnlab",
    "tests",
    "solutions",
    "dist",
    "build",
    "submitted",
]
root_doc = "docs/book/index"

nb_execution_mode = "off"
nb_custom_formats = {".ipynb": ["notebooks.read", {}, False]}
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

html_theme = "sphinx_book_theme"
html_title = "CNN Lab"
html_theme_options = {"navbar_persistent": [], "navigation_with_keys": False}
html_context = {"default_mode": "auto"}
html_static_path = ["static", str(MATHJAX)]
mathjax_path = MATHJAX.name
html_css_files = ["book.css"]
html_extra_path = ["index.html"]  # the first page, wherever it stands
html_show_copyright = False
