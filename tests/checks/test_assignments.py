"""Every bank of misconceptions, proved: each wrong answer loses points and is named."""

from pathlib import Path

import pytest

from cnnlab import checks
from cnnlab.checks import assignment_tasks, judge, seed_for
from cnnlab.checks.runner import answer

ASSIGNMENTS = sorted(path.stem for path in Path(checks.__file__).parent.glob("a[0-9]*.py"))
TASKS = [task for prefix in ASSIGNMENTS for task in assignment_tasks(prefix).values()]
WRONG = [(task, m) for task in TASKS for m in task.misconceptions]
KEYS = [None, *(bytes([k]) * 8 for k in range(10))]


def judged(task, given, key):
    cases = task.make_cases(seed_for(task.id, key))
    namespace = {task.entry: given if task.kind == "function" else given()}
    report = answer(task.kind, task.entry, task.questions(cases), namespace)
    return judge(task, cases, report, lambda name: None, reveal=False)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_the_reference_earns_all_points_whatever_the_questions(task):
    for key in KEYS:
        found = judged(task, task.reference, key)
        assert found.points == task.max_points, found.text()


@pytest.mark.parametrize("task, misconception", WRONG, ids=[f"{t.id}: {m.name}" for t, m in WRONG])
def test_a_misconception_loses_points_and_is_named_whatever_the_questions(task, misconception):
    for key in KEYS:
        found = judged(task, misconception.answer, key)
        assert found.points < task.max_points
        assert found.misconception == misconception.name, f"{key}: {found.problem}"


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_each_task_knows_eight_misconceptions(task):
    assert len({m.name for m in task.misconceptions}) == len(task.misconceptions) >= 8


def test_ids_are_unique_and_belong_to_their_assignment():
    assert len({task.id for task in TASKS}) == len(TASKS)
    for task in TASKS:
        assert assignment_tasks(task.id.split("-")[0])[task.id] is task
