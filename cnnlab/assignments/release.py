"""What students get, made while nbgrader generates an assignment.

`Prepare` is the first of nbgrader's steps: it puts a variant's numbers into the text, sees that
notebook and tasks agree, and writes the student's edition beside the release.
"""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import is_grade, is_solution
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

import cnnlab
from cnnlab.assignments.course import exchanged, pieces, tasks_from
from cnnlab.assignments.edition import SUFFIX, write_edition
from cnnlab.checks.judge import judge
from cnnlab.answers import answer
from cnnlab.checks.task import Task, TasksError, seed_for

__all__ = ["Prepare", "meeting"]

VARIANT = "CNNLAB_VARIANT"  # names the variant that is generated; empty: the default
_CHECK = re.compile(r"""^\s*check\(["']([^"']*)["']\)\s*$""")


class Prepare(NbGraderPreprocessor):
    """Makes of an assignment's source what its release is made of, and writes ``x.checks``.

    nbgrader sets up its steps before it removes an earlier release: there is none without a
    gradebook that answers.
    """

    def __init__(self, **traits):
        super().__init__(**traits)
        if self.config.GenerateAssignment.get("no_database") is True:
            return
        course = CourseDirectory(config=self.config)
        try:
            Gradebook(course.db_url, course.course_id).close()
        except (SQLAlchemyError, ModuleNotFoundError) as error:
            where = make_url(course.db_url).render_as_string(hide_password=True)
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            said = f"The gradebook {where} cannot be used ({reason}): nothing was changed."
            self.log.error(said)
            raise NbGraderException(said) from None

    def preprocess(self, nb, resources):
        name = resources["nbgrader"]["assignment"]
        folder = Path(resources["metadata"]["path"])
        if not (folder / "tasks.py").is_file() or resources.get("prepared"):
            return nb, resources  # nbgrader's own kind; or a step that its configuration has twice
        resources["prepared"] = True
        try:
            return self._prepare(nb, name, folder), resources
        except TasksError as error:
            raise NbGraderException(str(error)) from error

    def _prepare(self, nb: NotebookNode, name: str, folder: Path) -> NotebookNode:
        variant = os.environ.get(VARIANT, "")
        path = folder / "tasks.py"
        text = path.read_text(encoding="utf-8")
        tasks = tasks_from(text, str(path), variant)
        _agree(nb, tasks, path)
        if variant:
            _put_in(nb, pieces(text, str(path), variant), path)
            for task in tasks.values():
                if two := meeting(task):
                    raise TasksError(
                        f"Variant {variant!r}: in {task.id} the mistakes {two[0]!r} and {two[1]!r} "
                        "come to the same numbers. Take another one."
                    )
            nb.metadata["cnnlab"] = {"variant": variant}
        course = CourseDirectory(config=self.config)
        release = Path(course.format_path(course.release_directory, ".", name))
        release.mkdir(parents=True, exist_ok=True)
        _write(release / (name + SUFFIX), tasks, name, variant, text)
        return nb


def _agree(nb: NotebookNode, tasks: Mapping[str, Task], path: Path) -> None:
    """Every locked, graded cell that checks names a task with its points."""
    for cell in nb.cells:
        if cell.cell_type != "code" or not is_grade(cell) or is_solution(cell):
            continue
        name, points = cell.metadata.nbgrader.grade_id, float(cell.metadata.nbgrader.points)
        said = _CHECK.match(cell.source)
        if not said:
            continue
        if name not in tasks or said[1] != name:
            known = ", ".join(tasks)
            raise TasksError(
                f"The graded cell {name!r} says {cell.source.strip()}, and {path} declares "
                f"{known}: its id, the name in its text and the task's id are to be the same."
            )
        if points != tasks[name].max_points:
            raise TasksError(
                f"Task {name} is worth {tasks[name].max_points:g} points in {path} and "
                f"{points:g} in the notebook: make the two agree."
            )


def _put_in(nb: NotebookNode, changes: Mapping[str, str], path: Path) -> None:
    everything = "\n".join(cell.source for cell in nb.cells)
    if missing := [old for old in changes if old not in everything]:
        raise TasksError(f"{path} says that the notebook states {missing[0]!r}, and it does not.")
    for cell in nb.cells:
        cell.source = exchanged(cell.source, changes)


def meeting(task: Task) -> tuple[str, str] | None:
    """Two misconceptions of a value task that come to the same numbers, or one that is right."""
    if task.kind != "value":
        return None
    cases = task.make_cases(seed_for(task.id))
    for misconception in task.misconceptions:
        report = answer("value", task.entry, [], {task.entry: misconception.answer()})
        found = judge(task, cases, report, reveal=False)
        if found.misconception == misconception.name and found.points < found.max_points:
            continue
        for other in task.misconceptions:
            same = other.answer() == misconception.answer()
            if other is not misconception and same:
                return misconception.name, other.name
        return misconception.name, found.misconception or "none at all"
    return None


def _write(path: Path, tasks: Mapping[str, Task], name: str, variant: str, text: str) -> None:
    """Write the student's edition, or copy it: kernels take half a second for each mistake."""
    package = Path(cnnlab.__file__).parent
    compiler = str(shutil.which(os.environ.get("CNNLAB_CXX") or "g++"))  # without it, no kernels
    told = [part.encode() for part in (name, variant, text, torch.__version__, compiler)]
    sources = (".py", ".cu", ".h", ".cpp")
    told += [p.read_bytes() for p in sorted(package.rglob("*.*")) if p.suffix in sources]
    digest = hashlib.sha256(b"\0".join(told)).hexdigest()[:32]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "cnnlab")
    known = cache / (digest + SUFFIX)
    if known.is_file():
        shutil.copyfile(known, path)
        return
    write_edition(path, tasks, name, variant)
    with contextlib.suppress(OSError):  # it is made again where it cannot be kept
        cache.mkdir(parents=True, exist_ok=True)
        for old in sorted(cache.glob("*" + SUFFIX), key=os.path.getmtime)[:-20]:
            old.unlink()
        part = known.with_suffix(f".{os.getpid()}")
        shutil.copyfile(path, part)
        os.replace(part, known)
