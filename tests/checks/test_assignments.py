"""The graders, proved: wrong answers are caught and named, right ones earn all points."""

import pytest
from grader_quality import (
    KEYS,
    MUTATED,
    PAGE,
    TASKS,
    fixed_columns,
    judged,
    keys,
    mutate,
    page,
    right_answers,
)

from cnnlab.checks import assignment_tasks

WRONG = [(task, m) for task in TASKS for m in task.misconceptions]
RIGHT = [(task, answer) for task in TASKS for answer in right_answers(task)]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_the_reference_earns_all_points_whatever_the_questions(task):
    for key in keys(task):
        found = judged(task, task.reference, key)
        assert found.points == task.max_points, found.text()


@pytest.mark.parametrize("task, answer", RIGHT, ids=[f"{t.id}: {a.__name__}" for t, a in RIGHT])
def test_a_right_answer_of_another_kind_earns_all_points(task, answer):
    for key in keys(task):
        found = judged(task, answer, key)
        assert found.points == task.max_points, found.text()


@pytest.mark.parametrize("task, misconception", WRONG, ids=[f"{t.id}: {m.name}" for t, m in WRONG])
def test_a_misconception_loses_points_and_is_named_whatever_the_questions(task, misconception):
    for key in keys(task):
        found = judged(task, misconception.answer, key)
        assert found.points < task.max_points
        assert found.misconception == misconception.name, f"{key}: {found.problem}"


@pytest.mark.slow
@pytest.mark.parametrize("task", [t for t in TASKS if t.kind == "source"], ids=lambda task: task.id)
def test_kernels_are_told_apart_under_other_seeds_too(task):
    for key in KEYS[1:4]:
        for answer in (task.reference, *right_answers(task)):
            assert judged(task, answer, key).points == task.max_points
        for misconception in task.misconceptions:
            assert judged(task, misconception.answer, key).misconception == misconception.name


@pytest.mark.slow
@pytest.mark.parametrize("task", [t for t in TASKS if t.kind in MUTATED], ids=lambda task: task.id)
def test_no_mutant_of_a_right_answer_is_right_by_luck(task):
    found = mutate(task)
    assert not found.escaped
    assert found.killed > len(found.equal)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_each_task_knows_wrong_answers_and_right_ones(task):
    enough = 1 if task.kind == "predictions" else 8
    assert len({m.name for m in task.misconceptions}) == len(task.misconceptions) >= enough
    assert len(right_answers(task)) >= 2


def test_ids_are_unique_and_belong_to_their_assignment():
    assert len({task.id for task in TASKS}) == len(TASKS)
    for task in TASKS:
        assert assignment_tasks(task.id.split("-")[0])[task.id] is task


def test_the_page_on_the_graders_lists_the_tasks_as_they_are():
    rows = PAGE.read_text().splitlines()
    for task in TASKS:
        fitting = [row for row in rows if row.startswith(fixed_columns(task))]
        assert fitting, f"{task.id}: run `make grader-quality` and commit what it writes"


@pytest.mark.slow
def test_the_page_on_the_graders_says_what_is_found():
    assert PAGE.read_text() == page(), "run `make grader-quality` and commit what it writes"
