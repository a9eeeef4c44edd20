"""Assignments: where their tasks stand, how they reach students, and the ``check`` of notebooks."""

import os
import sys

from cnnlab.assignments.course import get_task, load_tasks, tasks_from
from cnnlab.checks import TasksError, examine

__all__ = ["check", "get_task", "load_tasks", "tasks_from"]


def check(task_id: str) -> float:
    """Try your answer to a task: prints what is right and what is not, returns the points.

    It looks for the task's function or variable among the notebook's names and asks it
    questions from a public seed. Grading asks other questions, so what counts is that the
    answer is right, not that these pass. Where the tasks cannot be read it says so, and gives
    no points.

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
