"""The one reader of notebooks: encodings, damaged cells, bounds, and cells put back."""

import json
import tracemalloc

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from cnnlab.assignments.reading import SetAside, parse_notebook, plain_python, repair

TEXT = '{"cells": [{"cell_type": "code", "source": ["π = 3", "\\nx"]}], "nbformat": 4}'
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_notebook_may_be_in_any_encoding(encoding):
    (cell,) = parse_notebook(TEXT.encode(encoding), "n.ipynb").cells
    assert (cell.source, cell.cell_type, cell.outputs) == ("π = 3\nx", "code", [])


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf\xef\xbb\xbf" + TEXT.encode(),
        TEXT.encode() + b"\0" * 100,
        TEXT.encode() + b"\r\n\x1a",
        TEXT.replace("\\n", "\n").encode(),
        TEXT.replace('"nbformat"', '"tab": "\t", "nbformat"').encode(),
    ],
)
def test_what_editors_leave_behind_is_read_over(text):
    assert parse_notebook(text, "n.ipynb").cells[0].source == "π = 3\nx"


@pytest.mark.parametrize(
    "cell",
    [
        {"source": "x"},
        {"source": "x", "metadata": None},
        {"source": "x", "metadata": [], "cell_type": 7},
        {"source": ["x"], "metadata": {"tags": 5, "nbgrader": "no"}},
        {"source": "x", "metadata": {"tags": None}, "attachments": {"a": 3, "b": {"c": {}}}},
        {"source": "x", "outputs": "many", "execution_count": {}, "id": [1]},
    ],
)
@pytest.mark.parametrize("version", ["4", 4.0, 4.5, None])
def test_what_is_odd_about_a_cell_is_made_plain(cell, version):
    content = {"cells": [cell, "no cell", 3, None], "nbformat": version, "metadata": []}
    (read,) = parse_notebook(json.dumps(content).encode(), "n.ipynb").cells
    assert read.source == "x" and read.metadata == {} and "attachments" not in read


def test_a_source_of_nothing_is_empty():
    text = b'{"cells": [{"source": null, "cell_type": "code"}]}'
    assert parse_notebook(text, "n.ipynb").cells[0].source == ""


def test_half_a_character_can_be_written_again():
    text = b'{"cells": [{"source": "\\ud83d", "cell_type": "code"}], "nbformat": 4}'
    nbformat.writes(parse_notebook(text, "n.ipynb")).encode()


@pytest.mark.parametrize("version", [3, 4])
def test_older_formats_are_read(version):
    notebook = new_notebook(cells=[new_code_cell("x = 1")])
    text = nbformat.writes(notebook, version=version)
    for minor in (notebook.nbformat_minor, None, "five"):
        changed = json.dumps(json.loads(text) | {"nbformat_minor": minor})
        assert parse_notebook(changed.encode(), "n.ipynb").cells[0].source == "x = 1"


@pytest.mark.parametrize(
    "text, words",
    [
        (b"", "is empty"),
        (b"\0\0 \n", "is empty"),
        (b"{", "cannot be read as JSON"),
        (b"null", "has no cells"),
        (b"[1, 2]", "has no cells"),
        (b'{"nbformat": 4}', "has no cells"),
        (b'{"nbformat": 5, "cells": []}', "format 5"),
        (b'{"nbformat": 3, "worksheets": 7}', "not a notebook of format 3"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b'{"cells": [' + b"9" * 5000 + b"]}", "cannot be read as JSON"),
        (b'{"cells": [' + b"{}," * 3000 + b'{}], "nbformat": 4}', "more than 2,000 cells"),
        (b'{"cells": [' + b"[]," * 600_000 + b"0]}", "more than 500,000 lists"),
        (json.dumps({"cells": [{"source": "x" * (26 << 20)}]}).encode(), "more than 25 MiB"),
    ],
)
def test_what_is_no_notebook_is_refused_in_a_sentence(text, words):
    with pytest.raises(SetAside, match=f"^n.ipynb .*{words}"):
        parse_notebook(text, "n.ipynb")


def test_reading_takes_little_more_than_the_file(monkeypatch):
    content = {"cells": [], "metadata": {"x": [{} for _ in range(400_000)]}, "nbformat": 4}
    text = json.dumps(content).encode()
    tracemalloc.start()
    parse_notebook(text, "n.ipynb")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 60 << 20


@pytest.mark.parametrize(
    "source, plain",
    [
        ("!ls\nx = !ls -l\ny = %pwd\nf()", "None\nx = None\ny = None\nf()"),
        ("%%time\ndef f(): pass", "def f(): pass"),
        ("%%bash\nls", ""),
        ("x?\n?x\nhelp??", "None\nNone\nNone"),
        ("z = (a\n  % b)\n", "z = (a\n  % b)\n"),
        ("    %timeit f(x)", "    None"),
        ("!pip install \\\n  a \\\n  b\nx = !ls \\\n  -l\ny = 1", "None\nx = None\ny = 1"),
        (">>> def f():\n...     return 1", "def f():\n    return 1"),
        ("In [3]: def f():\n   ...:     return 1", "def f():\n    return 1"),
        ("x" * 300_000, ""),
    ],
)  # fmt: skip
def test_magics_are_taken_out(source, plain):
    assert plain_python(source) == plain


@pytest.mark.parametrize(
    "source", ["!x\n" * 60_000, "!x\\\n" * 45_000, " " * 190_000 + "=x !", "a[" * 90_000 + "!"]
)
def test_taking_them_out_takes_no_longer_for_strange_texts(source):
    plain_python(source)  # a regular expression that goes back would not end


# --- cells put back ---


def told(name: str, **more) -> dict:
    plain = {"grade_id": name, "grade": False, "solution": False, "locked": True, "points": 1}
    return {"nbgrader": plain | {"checksum": "c", "schema_version": 3, "task": False} | more}


def released():
    return new_notebook(
        cells=[
            new_markdown_cell("# Title"),
            new_code_cell("import torch", metadata=told("imports")),
            new_code_cell("stub", metadata=told("a", solution=True, locked=False)),
            new_code_cell('check("a")', metadata=told("check-a", grade=True)),
            new_markdown_cell("*?*", metadata=told("e", grade=True, solution=True, locked=False)),
        ]
    )


def names(notebook) -> list[str]:
    return [cell.metadata.get("nbgrader", {}).get("grade_id", "") for cell in notebook.cells]


def essay(notebook):
    return notebook.cells[names(notebook).index("e")]


@pytest.mark.parametrize("where", ["deleted", "moved", "edited"])
def test_the_imports_stand_before_what_needs_them(where):
    notebook = released()
    imports = notebook.cells.pop(1)
    if where == "moved":
        notebook.cells.append(imports)
    elif where == "edited":
        notebook.cells.insert(1, imports)
        imports.source = "import os"
    said = repair(notebook, released())
    order = names(notebook)
    assert order.index("imports") < order.index("a") < order.index("check-a")
    assert notebook.cells[order.index("imports")].source == "import torch" and said
    if where == "edited":  # what was added to them still counts
        assert notebook.cells[order.index("imports") + 1].source == "import os"


def test_a_check_stands_after_what_it_asks_about():
    notebook = released()
    notebook.cells.insert(0, notebook.cells.pop(3))
    repair(notebook, released())
    assert names(notebook).index("a") < names(notebook).index("check-a")


def test_an_untouched_answer_keeps_its_checksum():
    notebook = released()
    assert repair(notebook, released()) == []
    assert essay(notebook).metadata.nbgrader.checksum == "c"


def no_metadata(notebook):
    for cell in notebook.cells:
        cell.metadata = nbformat.NotebookNode()


DAMAGES = {
    "deleted": lambda notebook: notebook.cells.pop(),
    "no metadata": no_metadata,
    "made code": lambda notebook: notebook.cells[-1].update(cell_type="code"),
    "other points": lambda notebook: notebook.cells[-1].metadata.nbgrader.update(points=9),
    "text beside it": lambda notebook: notebook.cells.append(new_markdown_cell("My answer.")),
    "raw text beside it": lambda notebook: notebook.cells.insert(
        0, nbformat.v4.new_raw_cell("My answer.")
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_answer_about_whose_cell_anything_changed_goes_to_a_person(damage):
    notebook = released()
    DAMAGES[damage](notebook)
    repair(notebook, released())
    assert "checksum" not in essay(notebook).metadata.nbgrader
    assert essay(notebook).cell_type == "markdown"


def test_a_text_that_lost_its_name_is_taken_for_the_answer_and_told():
    notebook, to_read = released(), []
    notebook.cells[-1] = new_markdown_cell("My answer.")
    notebook.cells.insert(1, new_markdown_cell("A note of mine."))
    repair(notebook, released(), to_read)
    assert essay(notebook).source == "My answer." and "is it the answer?" in to_read[0]
