"""A Sphinx extension: what the course's notebooks need that myst-nb does not do.

A cell's tags (docs/lectures.md) become those of myst-nb: an answer's output is folded, and so is
what the house needs, its code or, where that shows nothing, all of it.
"""

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
        fold(cell)
        cell.source = re.sub(r"\]\((\.\./assignments/(\w+)/)\)", r"](\1\2.ipynb)", cell.source)
        for output in cell.get("outputs", []):
            for mime, about in output.get("metadata", {}).items():
                if "alt" in about:
                    ALTS[sha256(a2b_base64(output.data[mime])).hexdigest()] = about["alt"]
    return notebook


def fold(cell) -> None:
    """Fold what the cell's tags say, under a line that tells what is there."""
    tags = cell.metadata.get("tags", [])
    if "answer" in tags:
        hide, what = "hide-output", "answer"
    elif "house" in tags:
        hide, what = "hide-input" if cell.outputs else "hide-cell", "code"
    else:
        return
    cell.metadata["tags"] = [*tags, hide]
    prompts = {f"code_prompt_{verb}": f"{verb.title()} the {what}" for verb in ("show", "hide")}
    cell.metadata["mystnb"] = prompts


def describe(app, doctree):
    """Give each picture its words."""
    for image in doctree.findall(nodes.image):
        image.setdefault("alt", ALTS.get(Path(image["uri"]).stem, ""))


def setup(app):
    app.connect("doctree-read", describe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
