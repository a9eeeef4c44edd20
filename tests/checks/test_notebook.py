"""``cnnlab check``: the same words as in the notebook, and how far it has come."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest

from cnnlab.assignments.notebook import NotebookProblem, find_notebook
from cnnlab.cli import main
from tests.grading.test_kernels import warm  # noqa: F401 (a fixture)

ROOT = Path(__file__).parents[2]
RELEASE = ROOT / "assignments/a1_convolution/a1_convolution.ipynb"


def run(capsys, *args, status=0):
    assert main(["check", *map(str, args)]) == status
    return "".join(capsys.readouterr())


@pytest.mark.usefixtures("warm")
def test_a_blank_assignment_is_told_what_is_missing(capsys):
    before = RELEASE.read_bytes()
    printed = run(capsys, "a1", "--course", ROOT, status=1)
    assert "`window_response` is not written yet." in printed
    assert printed.splitlines()[-1] == "░" * 20 + " 0 of 92 points"
    assert RELEASE.read_bytes() == before


@pytest.mark.usefixtures("warm")
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
    printed = run(capsys, folder / "n.ipynb", status=1)
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
    printed = run(capsys, name, "--course", tmp_path, status=2)
    assert words in printed and len(printed.splitlines()) == 1


@pytest.mark.parametrize("where", ["assignments/a1_convolution", "a1_convolution"])
def test_an_assignment_is_found_in_a_course_and_in_a_home_on_a_hub(tmp_path, where):
    notebook = tmp_path / where / "a1_convolution.ipynb"
    for path in (notebook, tmp_path / "a2_other/a2_other.ipynb", tmp_path / "a1_mine/notes.ipynb"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert find_notebook("a1", tmp_path) == find_notebook("a1_convolution", tmp_path) == notebook
    with pytest.raises(NotebookProblem, match="there is: a1_convolution, a2_other"):
        find_notebook("a3", tmp_path)


def solved(tmp_path, change) -> Path:
    """The solution in a course of its own, in some way damaged."""
    folder = tmp_path / "solutions" / "a1_convolution"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "solutions/a1_convolution/tasks.py", folder)
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path)
    notebook = nbformat.read(ROOT / "solutions/a1_convolution/a1_convolution.ipynb", 4)
    text = change(notebook) or json.dumps(notebook).encode()
    (folder / "a1_convolution.ipynb").write_bytes(text)
    return folder / "a1_convolution.ipynb"


def no_checks(notebook):
    notebook.cells = [c for c in notebook.cells if not c.source.startswith("check(")]


def merged(notebook):
    kept = []
    for cell in notebook.cells:
        if cell.source == 'check("a1-output-size")':
            kept[-1].source += "\n" + cell.source
        else:
            kept.append(cell)
    notebook.cells = kept


def no_metadata(notebook):
    for cell in notebook.cells:
        cell.metadata = {}


def another_kernel(notebook):
    notebook.metadata.kernelspec = {"name": "ir", "display_name": "R", "language": "R"}
    return b"\xef\xbb\xbf" + json.dumps(notebook).encode()


DAMAGES = {
    "no checks": no_checks,
    "merged": merged,
    "no metadata": no_metadata,
    "kernel": another_kernel,
    "null": lambda notebook: notebook.cells[0].update(metadata=None),
    "UTF-16": lambda notebook: json.dumps(notebook).encode("utf-16"),
}


@pytest.mark.parametrize(
    "damage",
    [d if d in ("merged", "kernel") else pytest.param(d, marks=pytest.mark.slow) for d in DAMAGES],
)
def test_points_are_out_of_all_that_there_are(capfd, tmp_path, damage):
    printed = run(capfd, solved(tmp_path, DAMAGES[damage]))
    assert printed.splitlines()[-1] == "█" * 20 + " 92 of 92 points", printed
    assert "WARNING" not in printed


@pytest.mark.usefixtures("warm")
def test_a_notebook_elsewhere_is_repaired_from_the_course_s_own(capsys, tmp_path):
    path = solved(tmp_path, lambda notebook: notebook.cells.pop(1) and None)
    release = tmp_path / "assignments/a1_convolution/a1_convolution.ipynb"
    release.parent.mkdir(parents=True)
    shutil.copy(RELEASE, release)
    (path.parent / "tasks.py").replace(tmp_path / "solutions/tasks.py")
    printed = run(capsys, path, "--course", tmp_path, status=1)
    assert printed.splitlines()[-1].endswith(" of 92 points")
