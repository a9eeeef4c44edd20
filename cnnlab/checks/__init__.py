"""Checking answers: what a task is, and how an answer to it is judged."""

import ast
import inspect
import textwrap

from cnnlab.checks import wire
from cnnlab.checks.judge import Verdict, judge
from cnnlab.checks.runner import answer
from cnnlab.checks.source_rules import definitions
from cnnlab.checks.task import (
    Case,
    Finding,
    Misconception,
    Task,
    TasksError,
    seed_for,
)

__all__ = [
    "Case",
    "Finding",
    "Misconception",
    "Task",
    "TasksError",
    "Verdict",
    "examine",
    "judge",
    "seed_for",
]


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
