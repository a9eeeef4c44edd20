"""Checking answers: the ``check`` that notebooks call, and the tasks behind it."""

import ast
import inspect
import os
import sys
import textwrap

from cnnlab.checks import wire
from cnnlab.checks.course import TasksError, get_task, load_tasks, tasks_from
from cnnlab.checks.judge import Verdict, judge
from cnnlab.checks.runner import answer
from cnnlab.checks.source_rules import definitions
from cnnlab.checks.task import (
    Case,
    Finding,
    Misconception,
    Task,
    seed_for,
)

__all__ = [
    "Case",
    "Finding",
    "Misconception",
    "Task",
    "TasksError",
    "Verdict",
    "check",
    "examine",
    "get_task",
    "judge",
    "load_tasks",
    "seed_for",
    "tasks_from",
]


def check(task_id: str) -> float:
    """Try your answer to a task: prints what is right and what is not, returns the points.

    It looks for the task's function or variable among the notebook's names and asks it
    questions from a public seed. Grading asks other questions, so what counts is that the
    answer is right, not that these pass.

    Raises
    ------
    KeyError
        If there is no such task; the message names the nearest one.
    """
    task = get_task(task_id)
    verdict = examine(task, sys._getframe(1).f_globals)
    # nbgrader's Validate shows a cell's stderr, and nothing else, as what is wrong with it.
    validating = os.environ.get("NBGRADER_EXECUTION") == "validate"
    failed = verdict.points < verdict.max_points
    print(verdict.text(), file=sys.stderr if validating and failed else sys.stdout)
    return verdict.points


def examine(task: Task, namespace: dict) -> Verdict:
    """Judge in this process what ``namespace`` holds, with questions from the public seed.

    The answers take the same way through :mod:`cnnlab.checks.wire` as while grading, so
    that both modes judge alike.
    """
    cases = task.make_cases(seed_for(task.id))
    report = answer(task.kind, task.entry, task.questions(cases), namespace)
    try:
        report = wire.unpack(wire.pack(report))
    except wire.WireError as error:
        report = {"status": "unusable", "message": str(error)}

    def look_up(name: str) -> ast.AST | None:
        found = namespace.get(name)
        if not inspect.isfunction(found):
            return None
        if found.__module__ != namespace.get("__name__"):  # imported, perhaps under another name
            return ast.Name(found.__name__, ast.Load()) if found.__name__ != name else None
        try:
            source = textwrap.dedent(inspect.getsource(found))
        except (OSError, TypeError):
            return None
        written = definitions(source)
        return written.get(found.__name__) or written.get(name)

    return judge(task, cases, report, look_up, reveal=True)
