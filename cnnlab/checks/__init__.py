"""Checking answers: what a task is, and how an answer to it is judged."""

from cnnlab.answers import answer, wire
from cnnlab.checks.judge import Verdict, judge
from cnnlab.checks.task import (
    CannotJudge,
    Case,
    Finding,
    Misconception,
    Task,
    TasksError,
    seed_for,
)

__all__ = [
    "CannotJudge",
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

    The answers take the same way through :mod:`cnnlab.answers.wire` as while grading, so
    that both modes judge alike.
    """
    cases = task.make_cases(seed_for(task.id))
    report = answer(task.kind, task.entry, task.questions(cases), namespace)
    try:
        report = wire.unpack(*wire.pack(report))
    except wire.WireError as error:
        report = {"status": "unusable", "message": str(error)}

    return judge(task, cases, report, reveal=True)
