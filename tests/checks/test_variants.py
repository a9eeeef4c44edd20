"""Another term's numbers: text, solution and wrong answers follow, and last year's earn nothing."""

from functools import cache

import nbformat
import pytest
from grader_quality import ASSIGNMENTS, judged

from cnnlab.assignments import load_tasks
from cnnlab.assignments.course import exchanged, pieces
from cnnlab.assignments.release import meeting
from cnnlab.assignments.variant import Variant

NAMES = ["2027", "2028", "spring"]
TABLES = [
    (folder, task.id)
    for folder in ASSIGNMENTS
    for task in load_tasks(folder).values()
    if task.kind == "value"
]
tables = pytest.mark.parametrize("folder, task_id", TABLES, ids=[name for _, name in TABLES])


def changes(folder, name: str) -> dict[str, str]:
    return pieces((folder / "tasks.py").read_text(), str(folder / "tasks.py"), name)


@cache
def solved(folder, name: str) -> dict:
    """The names of the solution notebook with a variant's numbers, up to its last table."""
    cells = nbformat.read(folder / f"{folder.name}.ipynb", 4).cells
    ids = [cell.metadata.get("nbgrader", {}).get("grade_id", "") for cell in cells]
    last = max(ids.index(f"{task_id}-answer") for where, task_id in TABLES if where == folder)
    namespace = {"__name__": "notebook"}
    for cell in cells[: last + 1]:
        written = (
            cell.source.startswith(("import", "from", "def ", "class "))
            or "SOLUTION" in cell.source
        )
        if cell.cell_type == "code" and written and "check(" not in cell.source.splitlines()[-1]:
            exec(exchanged(cell.source, changes(folder, name)), namespace)
    return namespace


@tables
def test_the_solution_follows_in_every_variant(folder, task_id):
    for name in ("", *NAMES):
        task = load_tasks(folder, name)[task_id]
        found = judged(task, lambda task=task, name=name: solved(folder, name)[task.entry], None)
        assert found.points == task.max_points, f"{name}: {found.text()}"


@tables
def test_wrong_answers_follow_and_are_told_apart(folder, task_id):
    for name in ("", *NAMES):
        assert meeting(load_tasks(folder, name)[task_id]) is None


@tables
def test_last_years_table_earns_hardly_anything(folder, task_id):
    for name in NAMES:
        task = load_tasks(folder, name)[task_id]
        found = judged(task, load_tasks(folder)[task_id].reference, None)
        same = [part.name for part in found.parts if part.earned]
        # What a warp reads is the hardware's: no variant can change it.
        assert set(same) <= {"sectors, along a row", "sectors, down a column"}, name


@pytest.mark.parametrize("folder", ASSIGNMENTS, ids=lambda folder: folder.name)
def test_what_varies_stands_in_the_notebook(folder):
    cells = nbformat.read(folder / f"{folder.name}.ipynb", 4).cells
    text = "\n".join(cell.source for cell in cells)
    for old in changes(folder, "2027"):
        assert old in text


def test_a_variant_takes_other_values_and_always_the_same():
    from cnnlab.assignments.variant import chosen

    def made(name):
        with chosen(name):
            v = Variant(lambda v: [f"{v.side} pixels"], side=(5, 7, 9, 11), fixed=(3,))
        return v.side, v.fixed, v.changes()

    assert made("") == (5, 3, {"5 pixels": "5 pixels"})
    assert made("a") == made("a") and made("a")[0] in (7, 9, 11) and made("a")[1] == 3
    assert len({made(str(n))[0] for n in range(30)}) == 3
    with pytest.raises(AttributeError):
        Variant(lambda v: [], side=(5,)).other  # noqa: B018
