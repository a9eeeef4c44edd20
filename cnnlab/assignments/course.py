"""Where tasks stand: ``tasks.py`` in an assignment's folder of the course's source.

It declares ``TASKS``, the `Task` objects in the order of the notebook. Nothing else is needed for
an assignment to be found, and nothing of the package knows its name.
"""

import functools
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from cnnlab.assignments.edition import SUFFIX, read_edition
from cnnlab.assignments.variant import Variant, chosen
from cnnlab.checks.task import Task, TasksError

__all__ = ["course_of", "get_task", "load_module", "load_tasks", "tasks_from"]


def load_tasks(folder: str | os.PathLike, variant: str = "") -> dict[str, Task]:
    """The tasks of the assignment whose source is ``folder``, by id.

    Raises
    ------
    TasksError
        If ``tasks.py`` is missing, raises, or does not declare tasks of different ids.
    """
    path = Path(folder, "tasks.py")
    try:
        return tasks_from(path.read_text(encoding="utf-8"), str(path), variant)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise TasksError(f"{path} cannot be read ({reason}).") from None


@functools.cache
def tasks_from(text: str, path: str = "tasks.py", variant: str = "") -> dict[str, Task]:
    """The same from the text of ``tasks.py``, wherever it stands."""
    tasks = getattr(_run(text, path, variant), "TASKS", None)
    if not isinstance(tasks, (list, tuple)) or not all(isinstance(task, Task) for task in tasks):
        raise TasksError(f"{path} has no list TASKS of `Task` objects.")
    found: dict[str, Task] = {}
    for task in tasks:
        if task.id in found:
            raise TasksError(f"{path} has two tasks of the id {task.id!r}.")
        found[task.id] = task
    return found


def pieces(text: str, path: str = "tasks.py", variant: str = "") -> dict[str, str]:
    """The pieces of text that state a variant's constants, by those of the default."""
    declared = [v for v in vars(_run(text, path, variant)).values() if isinstance(v, Variant)]
    return {old: new for each in declared for old, new in each.changes().items()}


def exchanged(text: str, changes: Mapping[str, str]) -> str:
    """``text`` with every piece of it that is a key of ``changes`` exchanged, all at once."""
    if not changes:
        return text
    longest_first = sorted(changes, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), lambda m: changes[m[0]], text)


def load_module(path: str | os.PathLike) -> ModuleType:
    """A Python file beside an assignment as a module."""
    return _run(Path(path).read_text(encoding="utf-8"), str(path))


@functools.cache
def _run(text: str, path: str, variant: str = "") -> ModuleType:
    name = f"tasks_{hashlib.sha256(f'{path}/{variant}/{text}'.encode()).hexdigest()[:16]}"
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    try:
        with chosen(variant):
            exec(compile(text, path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        frames, trace = [], error.__traceback__
        while trace:
            frames += [trace.tb_lineno] * (trace.tb_frame.f_code.co_filename == path)
            trace = trace.tb_next
        line = error.lineno if isinstance(error, SyntaxError) else (frames or [None])[-1]
        said = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        where = f"line {line}" if line else "it"
        raise TasksError(f"{path} cannot be used: {where} raises {said}.") from error
    return module


def course_of(start: str | os.PathLike = ".") -> Path | None:
    """The course that a folder belongs to: the nearest above it with ``nbgrader_config.py``."""
    here = Path(start).resolve()
    return next((p for p in (here, *here.parents) if (p / "nbgrader_config.py").is_file()), None)


def get_task(task_id: str, start: str | os.PathLike = ".") -> Task:
    """The task of that id, as somebody who works in the folder ``start`` means it.

    The student's edition in the folder itself comes first. In a course follow the ``tasks.py`` of
    the folder, the student's edition of an assignment of its name, and all others.

    Raises
    ------
    KeyError
        If there is no such task; the message names the nearest one.
    TasksError
        If it cannot be read.
    """
    here = Path(start).resolve()
    beside, course, known = sorted(here.glob("*" + SUFFIX)), course_of(here), []
    paths = [*beside]
    if course:
        paths += here.glob("tasks.py")
        paths += sorted(course.glob(f"*/{here.name}/*{SUFFIX}"))
        paths += _likely_first(course.glob("*/*/tasks.py"), task_id)
        paths += sorted(course.glob("*/*/*" + SUFFIX))
    for path in dict.fromkeys(paths):
        tasks = load_tasks(path.parent) if path.name == "tasks.py" else _edition(path)
        if task_id in tasks:
            return tasks[task_id]
        known += tasks
    near = get_close_matches(task_id, known, n=1)
    if beside and not near:
        held = ", ".join(path.name for path in beside)
        raise TasksError(f"{held} is another assignment's: it holds no task {task_id!r}.")
    if not known:
        raise TasksError(
            f"There are no checks in {here}: the file of the assignment that ends in {SUFFIX} has "
            "to lie beside the notebook."
        )
    raise KeyError(f"There is no task {task_id!r}" + (f"; {near[0]!r}?" if near else "."))


def _edition(path: Path) -> dict[str, Task]:
    status = path.stat()
    return _edition_of(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=8)
def _edition_of(path: Path, when: int, size: int) -> dict[str, Task]:
    return read_edition(path)


def _likely_first(paths: Iterable[Path], task_id: str) -> list[Path]:
    """Those whose text holds the id come first: then the others need not be run."""
    return sorted(paths, key=lambda p: (f'"{task_id}"' not in p.read_text("utf-8", "replace"), p))
