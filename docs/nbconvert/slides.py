"""`make slides LECTURE=05`: a lecture as slides, in one file that needs no network.

A section begins a new column, and the answer to a question a new slide; what is still too tall the
page breaks itself, since it knows how tall its pictures are.
"""

import re
import sys
from importlib.resources import files
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor, Preprocessor

HERE = Path(__file__).parent
LARGER = 1.5  # pictures are stored with that many pixels for each one on a page
BREAKS = re.compile(r'\n(?=#{2,3} |<div class="alert alert-predict")')


class Slides(Preprocessor):
    """Says where a slide begins, and makes pictures as large as their pixels allow."""

    def preprocess(self, notebook, resources):
        cells = [part for cell in notebook.cells for part in divided(cell)]
        for cell, before in zip(cells, [None, *cells], strict=False):
            cell.metadata["slideshow"] = {"slide_type": slide_type(cell, before)}
            for output in cell.get("outputs", []):
                for about in output.get("metadata", {}).values():
                    if "width" in about:
                        about["width"] = round(LARGER * about["width"])
            if is_house(cell):
                cell.metadata["transient"] = {"remove_source": True}
            cell.outputs = [o for o in cell.get("outputs", []) if not is_spoken(o)]
        notebook.cells = cells
        resources["has_formulas"] = any("$" in cell.source for cell in cells)
        resources["title"] = cells[0].source.splitlines()[0].strip("# ")
        return notebook, resources


def divided(cell) -> list:
    """A cell of text as several, each with its heading or its question first."""
    if cell.cell_type != "markdown":
        return [cell]
    parts = [part for part in BREAKS.split(cell.source) if part.strip()]
    return [nbformat.v4.new_markdown_cell(part) for part in parts]


def slide_type(cell, before) -> str:
    """What nbconvert makes of a cell: a column, a slide in it, more of the slide, or nothing."""
    if cell.cell_type == "code" and not cell.outputs and (is_house(cell) or is_import(cell)):
        return "skip"
    if re.match("##? ", cell.source):
        return "slide"
    if cell.source.startswith("### ") or (before and is_question(before)):
        return "subslide"
    return "-"


def is_house(cell) -> bool:
    """Whether its code is the house's, not a student's (docs/lectures.md)."""
    return "house" in cell.metadata.get("tags", [])


def is_import(cell) -> bool:
    """Whether it begins with imports."""
    return bool(re.match("import |from ", cell.source))


def is_question(cell) -> bool:
    """Whether it asks to predict what the next cell shows."""
    return "**Predict first.**" in cell.source


def is_spoken(output) -> bool:
    """Whether it is a picture's words, folded: the slide has them as the picture's alt text."""
    html = output.get("data", {}).get("text/html", "")
    return html.startswith("<details><summary>In words</summary>")


def to_slides(lecture: Path) -> str:
    """The lecture as an HTML page."""
    exporter = SlidesExporter(
        template_name="cnnlab_slides",
        extra_template_basedirs=[str(HERE)],
        extra_template_paths=[
            str(HERE),
            str(files("sphinx_revealjs") / "_static/revealjs"),
            str(files("sphinx-mathjax-offline") / "static/mathjax"),
        ],
        preprocessors=[CoalesceStreamsPreprocessor, Slides],
    )
    return exporter.from_filename(str(lecture))[0]


if __name__ == "__main__":
    folder = HERE.parents[1] / "dist" / "slides"
    folder.mkdir(parents=True, exist_ok=True)
    for lecture in map(Path, sys.argv[1:]):
        if not lecture.is_file():
            sys.exit(f"There is no lecture {lecture}.")
        page = folder / f"{lecture.stem}.html"
        page.write_text(to_slides(lecture), encoding="utf-8")
        print(page)
