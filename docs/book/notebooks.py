"""A Sphinx extension: what the course's notebooks need that myst-nb does not do."""

import re
from binascii import a2b_base64
from hashlib import sha256
from pathlib import Path

import nbformat
from docutils import nodes

ALTS: dict[str, str] = {}  # words for pictures, by the hash that myst-nb makes their file's name of


def read(text: str) -> nbformat.NotebookNode:
    """A notebook: pictures keep their words, links to an assignment's folder lead to its page."""
    notebook = nbformat.reads(text, as_version=4)
    for cell in notebook.cells:
        cell.source = re.sub(r"\]\((\.\./assignments/(\w+)/)\)", r"](\1\2.ipynb)", cell.source)
        for output in cell.get("outputs", []):
            for mime, about in output.get("metadata", {}).items():
                if "alt" in about:
                    ALTS[sha256(a2b_base64(output.data[mime])).hexdigest()] = about["alt"]
    return notebook


def describe(app, doctree):
    """Give each picture its words."""
    for image in doctree.findall(nodes.image):
        image.setdefault("alt", ALTS.get(Path(image["uri"]).stem, ""))


def setup(app):
    app.connect("doctree-read", describe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
