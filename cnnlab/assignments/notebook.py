"""``cnnlab check a1``: run an assignment's notebook and show how far it has come."""

import contextlib
import os
import re
import sys
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from cnnlab.assignments.course import course_of, get_task, load_tasks
from cnnlab.assignments.reading import SetAside, parse_notebook, repair
from cnnlab.checks.task import Task, TasksError

__all__ = ["NotebookProblem", "check_notebook", "find_notebook"]

BAR = 20
CHECK = re.compile(r"""^check\(["']([\w-]+)["']\)""", re.MULTILINE)


class NotebookProblem(RuntimeError):
    """A notebook that cannot be checked; the message says what to do."""


def find_notebook(assignment: str, course: str | os.PathLike = ".") -> Path:
    """The notebook that ``assignment`` means: a path, or the beginning of a name (``"a1"``).

    Raises
    ------
    NotebookProblem
        If there is none, or more than one.
    """
    if Path(assignment).suffix == ".ipynb" and Path(assignment).is_file():
        return Path(assignment)
    here = Path(course)  # on a hub, nbgrader fetches an assignment into the home itself
    folders = [p for part in (here / "assignments", here) for p in sorted(part.glob("*"))]
    known = [p for p in folders if (p / f"{p.name}.ipynb").is_file()]
    found = [p for p in known if p.name == assignment or p.name.startswith(f"{assignment}_")]
    if len({p.name for p in found}) != 1:
        there = ", ".join(sorted({p.name for p in known})) or "none"
        raise NotebookProblem(f"No assignment {assignment!r} in {here}; there is: {there}.")
    return found[0] / f"{found[0].name}.ipynb"


class _AtHand(AsyncKernelManager):
    """Starts this very Python, whatever kernel the notebook names."""

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python", language="python")


def check_notebook(path: str | os.PathLike, timeout: int = 120) -> tuple[float, float]:
    """Run a notebook's cells and print what its checks say, with a line of progress.

    It is read and repaired as grading does, so that the points are out of all that there are;
    nothing is written into the file.

    Returns
    -------
    tuple of float
        The points that its checks gave, and those that they can give.

    Raises
    ------
    NotebookProblem
        If it cannot be read.
    """
    path = Path(path)
    try:
        notebook = parse_notebook(path.read_bytes(), path.name)
    except OSError as error:
        raise NotebookProblem(f"{path} cannot be read ({error.strerror}).") from None
    except SetAside as reason:
        raise NotebookProblem(
            f"{path} cannot be read (it is not a notebook). {reason} Take a fresh copy."
        ) from None
    for sentence in repair(notebook, _released(path, notebook)):
        print(f"Repaired: {sentence}.")
    client = NotebookClient(
        notebook,
        timeout=timeout,
        allow_errors=True,
        kernel_manager_class=_AtHand,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.resolve().parent)}},
    )
    try:
        client.execute()
    except (CellTimeoutError, DeadKernelError) as error:
        why = "took too long" if isinstance(error, CellTimeoutError) else "ended its kernel"
        print(f"A cell {why}; what follows is as far as the notebook came.\n")
    earned = possible = 0.0
    for cell in notebook.cells:
        if not (cell.metadata.get("nbgrader", {}).get("grade") and cell.cell_type == "code"):
            continue
        possible += float(cell.metadata.nbgrader.points)
        earned += _shown(cell)
    filled = round(BAR * earned / possible) if possible else 0
    print(f"\n{'█' * filled}{'░' * (BAR - filled)} {earned:g} of {possible:g} points")
    return earned, possible


def _released(path: Path, notebook: NotebookNode) -> NotebookNode:
    """What was released: another copy in the course, or else the checks that there have to be."""
    course = course_of(path.resolve().parent)
    for copy in course.glob(f"assignments/*/{path.name}") if course else ():
        if not copy.samefile(path):
            return nbformat.read(copy, as_version=4)
    tasks: dict[str, Task] = {}
    for folder in {path.resolve().parent, *(course.glob(f"*/{path.stem}") if course else ())}:
        with contextlib.suppress(TasksError):
            tasks |= load_tasks(folder)
    for name in CHECK.findall("\n".join(cell.source for cell in notebook.cells)):
        with contextlib.suppress(KeyError, TasksError):
            tasks.setdefault(name, get_task(name, path.resolve().parent))
    if not tasks:  # its checks will say why
        return notebook
    told = {"grade": True, "locked": True, "solution": False, "task": False, "schema_version": 3}
    cells = [
        new_code_cell(
            f'check("{task.id}")',
            metadata={"nbgrader": told | {"grade_id": task.id, "points": task.max_points}},
        )
        for task in tasks.values()
    ]
    return new_notebook(cells=cells)


def _shown(cell) -> float:
    """Print what a check printed; returns the points that it gave."""
    points = 0.0
    for output in cell.get("outputs", ()):
        if output.output_type == "stream":
            print(output.text.rstrip())
        elif output.output_type == "error":
            print(f"{cell.source}: {output.ename}: {output.evalue}")
        elif output.output_type == "execute_result":
            with contextlib.suppress(KeyError, ValueError):
                points = float(output.data["text/plain"])
    if not cell.get("outputs"):
        print(f"{cell.source}: not reached")
    return points
