"""``cnnlab check``: the same words as in the notebook, and how far it has come."""

import shutil
from pathlib import Path

import nbformat
import pytest

from cnnlab.cli import main

ROOT = Path(__file__).parents[2]
RELEASE = ROOT / "assignments/a1_convolution/a1_convolution.ipynb"


def run(capsys, *args, status=0):
    assert main(["check", *map(str, args)]) == status
    return "".join(capsys.readouterr())


def test_a_blank_assignment_is_told_what_is_missing(capsys):
    before = RELEASE.read_bytes()
    printed = run(capsys, "a1", "--course", ROOT)
    assert "`window_response` is not written yet." in printed
    assert printed.splitlines()[-1] == "░" * 20 + " 0 of 92 points"
    assert RELEASE.read_bytes() == before


def test_a_solved_assignment_has_all_points(capsys):
    printed = run(capsys, ROOT / "solutions/a1_convolution/a1_convolution.ipynb")
    assert "a1-counts: 8 of 8 points" in printed
    assert printed.splitlines()[-1] == "█" * 20 + " 92 of 92 points"


def test_a_kernel_that_dies_leaves_what_came_before(capsys, tmp_path):
    folder = tmp_path / "solutions" / "a1_convolution"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "solutions/a1_convolution/tasks.py", folder)
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path)
    notebook = nbformat.read(ROOT / "solutions/a1_convolution/a1_convolution.ipynb", 4)
    for cell in notebook.cells:
        if cell.source.startswith("def output_size"):
            cell.source = "import os; os._exit(1)"
    nbformat.write(notebook, folder / "n.ipynb")
    printed = run(capsys, folder / "n.ipynb")
    assert "A cell ended its kernel" in printed
    assert "a1-window: 6 of 6 points" in printed and 'check("a1-loops"): not reached' in printed
    assert printed.splitlines()[-1].endswith(" 6 of 92 points")


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("a9", None, "No assignment 'a9' in"),
        ("missing.ipynb", None, "No assignment 'missing.ipynb' in"),
        ("broken.ipynb", "{", "broken.ipynb cannot be read (it is not a notebook)"),
        ("empty.ipynb", "", "cannot be read"),
    ],
)
def test_what_cannot_be_checked_is_refused_in_a_sentence(capsys, tmp_path, name, text, words):
    if text is not None:
        (tmp_path / name).write_text(text)
        name = tmp_path / name
    printed = run(capsys, name, "--course", tmp_path, status=1)
    assert words in printed and len(printed.splitlines()) == 1


def test_a_missing_kernel_is_named(capsys, tmp_path):
    shutil.copy(RELEASE, tmp_path / "n.ipynb")
    notebook = nbformat.read(tmp_path / "n.ipynb", 4)
    notebook.metadata.kernelspec.name = "julia-1.0"
    nbformat.write(notebook, tmp_path / "n.ipynb")
    assert "no kernel 'julia-1.0'" in run(capsys, tmp_path / "n.ipynb", status=1)
