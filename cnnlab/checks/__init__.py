"""Checking answers: the ``check`` that notebooks call, and the tasks behind it."""

import os
import sys

from cnnlab.checks import wire
from cnnlab.checks.course import get_task, load_tasks, tasks_from
from cnnlab.checks.judge import Verdict, judge
from cnnlab.checks.runner import answer
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

    Where the tasks cannot be read it says so, and gives no points.

    Raises
    ------
    KeyError
        If there is no such task; the message names the nearest one.
    """
    try:
        verdict = examine(get_task(task_id), sys._getframe(1).f_globals)
        text, points, failed = verdict.text(), verdict.points, verdict.points < verdict.max_points
    except TasksError as error:
        text, points, failed = f"{task_id}: not checked. {error}", 0.0, True
    # nbgrader's Validate shows a cell's stderr, and nothing else, as what is wrong with it.
    validating = os.environ.get("NBGRADER_EXECUTION") == "validate"
    print(text, file=sys.stderr if validating and failed else sys.stdout)
    return points


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

    return judge(task, cases, report, lambda name: None, reveal=True)
