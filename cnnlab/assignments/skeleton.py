"""``cnnlab new-assignment NAME``: a first task with its notebook and answers, to be changed."""

import os
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from nbgrader.apps import NbGrader
from nbgrader.coursedir import CourseDirectory

__all__ = ["CannotBegin", "new_assignment"]

TASKS = '''"""Tasks of the assignment {name}."""

from cnnlab.assignments.authoring import between
from cnnlab.checks.task import Case, Misconception, Task


def _double(n):
    return 2 * n


def _double_cases(rng):
    yield Case("zero", (0,))
    for _ in range(3):
        yield Case("other numbers", (between(rng, 1, 99),))


DOUBLE = Task(
    id="{name}-double",
    kind="function",
    entry="double",
    points={{"zero": 2, "other numbers": 8}},
    reference=_double,
    cases=_double_cases,
    misconceptions=(
        Misconception("squared", lambda n: n**2, "Twice a number is not the number by itself."),
    ),
)

TASKS = [DOUBLE]
'''
RIGHT_ANSWERS = '''"""Right answers to the assignment {name}: each of them has to earn all points."""


def double_added(n):
    return n + n


ANSWERS = {{"{name}-double": (double_added,)}}
'''
QUESTION = "## 1 · Double (10 points)\n\nWrite a function that gives twice its argument."
SOLUTION = '''def double(n):
    """Twice `n`."""
    ### BEGIN SOLUTION
    return 2 * n
    ### END SOLUTION'''


class CannotBegin(ValueError):
    """No assignment of that name can be made here; the message says why."""


def new_assignment(name: str, course: str | os.PathLike = ".") -> Path:
    """Make the source folder of a new assignment and return it.

    Raises
    ------
    CannotBegin
        If ``course`` is no course, the name cannot be one, or there is such a folder.
    """
    course = Path(course).resolve()
    if not (course / "nbgrader_config.py").is_file():
        raise CannotBegin(f"{course} holds no nbgrader_config.py: run this in a course's folder.")
    if not re.fullmatch(r"[A-Za-z0-9]\w*", name):
        raise CannotBegin(f"{name!r} is no name for an assignment: letters, digits and _ are.")
    app = NbGrader()
    app.config_file_paths.append(str(course))
    app.load_config_file()
    directory = CourseDirectory(config=app.config, root=str(course))
    folder = Path(directory.format_path(directory.source_directory, ".", name)).resolve()
    if folder.exists():
        raise CannotBegin(f"{folder} is there already.")
    folder.mkdir(parents=True)
    (folder / "tasks.py").write_text(TASKS.format(name=name))
    (folder / "right_answers.py").write_text(RIGHT_ANSWERS.format(name=name))
    nbformat.write(_notebook(name), folder / f"{name}.ipynb")
    return folder


def _notebook(name: str) -> NotebookNode:
    task = f"{name}-double"
    answer, check = new_code_cell(SOLUTION), new_code_cell(f'check("{task}")')
    common = {"schema_version": 3, "task": False}
    answer.metadata["nbgrader"] = common | {
        "grade_id": f"{task}-answer", "grade": False, "solution": True, "locked": False,
    }  # fmt: skip
    check.metadata["nbgrader"] = common | {
        "grade_id": task, "grade": True, "solution": False, "locked": True, "points": 10,
    }  # fmt: skip
    cells = [
        new_markdown_cell(f"# {name}"),
        new_code_cell("from cnnlab import check"),
        new_markdown_cell(QUESTION),
        answer,
        check,
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})
