"""Where tasks stand: ``tasks.py`` in an assignment's folder of the course's source.

It declares ``TASKS``, the `Task` objects in the order of the notebook. Nothing else is needed for
an assignment to be found, and nothing of the package knows its name.
"""

import functools
import hashlib
import os
import sys
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from cnnlab.checks.task import Task

__all__ = ["TasksError", "course_of", "get_task", "load_module", "load_tasks", "tasks_from"]


class TasksError(Exception):
    """An assignment's ``tasks.py`` cannot be used; the message says why, in one sentence."""


def load_tasks(folder: str | os.PathLike) -> dict[str, Task]:
    """The tasks of the assignment whose source is ``folder``, by id.

    Raises
    ------
    TasksError
        If ``tasks.py`` is missing, raises, or does not declare tasks of different ids.
    """
    path = Path(folder, "tasks.py")
    try:
        return tasks_from(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise TasksError(f"{path} cannot be read ({reason}).") from None


@functools.cache
def tasks_from(text: str, path: str = "tasks.py") -> dict[str, Task]:
    """The same from the text of ``tasks.py``, wherever it stands."""
    tasks = getattr(_run(text, path), "TASKS", None)
    if not isinstance(tasks, (list, tuple)) or not all(isinstance(task, Task) for task in tasks):
        raise TasksError(f"{path} has no list TASKS of `Task` objects.")
    found: dict[str, Task] = {}
    for task in tasks:
        if task.id in found:
            raise TasksError(f"{path} has two tasks of the id {task.id!r}.")
        found[task.id] = task
    return found


def load_module(path: str | os.PathLike) -> ModuleType:
    """A Python file beside an assignment as a module."""
    return _run(Path(path).read_text(encoding="utf-8"), str(path))


@functools.cache
def _run(text: str, path: str) -> ModuleType:
    name = "tasks_" + hashlib.sha256(f"{path}\n{text}".encode()).hexdigest()[:16]
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    try:
        exec(compile(text, path, "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[name]
        frames, trace = [], error.__traceback__
        while trace:
            frames += [trace.tb_lineno] * (trace.tb_frame.f_code.co_filename == path)
            trace = trace.tb_next
        line = error.lineno if isinstance(error, SyntaxError) else (frames or [None])[-1]
        said = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise TasksError(f"{path} cannot be used: line {line} raises {said}.") from error
    return module


def course_of(start: str | os.PathLike = ".") -> Path | None:
    """The course that a folder belongs to: the nearest above it with ``nbgrader_config.py``."""
    here = Path(start).resolve()
    return next((p for p in (here, *here.parents) if (p / "nbgrader_config.py").is_file()), None)


def get_task(task_id: str, start: str | os.PathLike = ".") -> Task:
    """The task of that id in the course around the folder ``start``; a KeyError names the nearest.

    Raises
    ------
    KeyError
        If there is no such task.
    TasksError
        If the ``tasks.py`` that may hold it cannot be used.
    """
    course = course_of(start)
    paths = sorted(course.glob("*/*/tasks.py")) if course and task_id else []
    quoted = {path: f'"{task_id}"' in path.read_text(encoding="utf-8") for path in paths}
    known: list[str] = []
    for path in sorted(paths, key=quoted.get, reverse=True):
        tasks = load_tasks(path.parent)
        if task_id in tasks:
            return tasks[task_id]
        known += tasks
    near = get_close_matches(task_id, known, n=1)
    raise KeyError(f"There is no task {task_id!r}" + (f"; {near[0]!r}?" if near else "."))
