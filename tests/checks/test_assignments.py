"""The graders, proved: wrong answers are caught and named, right ones earn all points."""

from dataclasses import replace
from itertools import combinations

import nbformat
import pytest
from grader_quality import BY_ID, KEYS, PAGE, ROOT, TASKS, fixed_columns, judged, right_answers
from stranger_answers import judged_in, notebook

from cnnlab.assignments.course import load_module


def under_seeds(tried):
    """A test for each (name, task, ...) under a few seeds, and a slow one under more.

    A kernel has to be compiled and run for each answer: it is tried under fewer. A network has to
    be trained: that is slow.
    """
    tests = []
    for name, task, *rest in tried:
        few, all_ = (1, 4) if task.kind == "source" else (3, len(KEYS))
        few = 0 if task.kind == "weights" else few
        more = pytest.param(task, *rest, KEYS[few:all_], id=f"{name}, more", marks=pytest.mark.slow)
        tests += [pytest.param(task, *rest, KEYS[:few], id=name), more] if few else [more]
    return tests


def by_output(task):
    """The task without its rules: references and misconceptions are written with the library."""
    return replace(task, forbidden=())


REFERENCES = [(task.id, task) for task in TASKS]
RIGHT = [(f"{t.id}: {answer.__name__}", t, answer) for t in TASKS for answer in right_answers(t)]
WRONG = [(f"{t.id}: {m.name}", t, m) for t in TASKS for m in t.misconceptions]


@pytest.mark.parametrize("task, keys", under_seeds(REFERENCES))
def test_the_reference_earns_all_points_whatever_the_questions(task, keys):
    for key in keys:
        found = judged(by_output(task), task.reference, key)
        assert found.points == task.max_points, found.text()


@pytest.mark.parametrize("task, answer, keys", under_seeds(RIGHT))
def test_a_right_answer_of_another_kind_earns_all_points(task, answer, keys):
    for key in keys:
        found = judged(task, answer, key)
        assert found.points == task.max_points, found.text()


@pytest.mark.parametrize("task, misconception, keys", under_seeds(WRONG))
def test_a_misconception_loses_points_and_is_named_whatever_the_questions(
    task, misconception, keys
):
    for key in keys:
        found = judged(by_output(task), misconception.answer, key)
        assert found.points < task.max_points
        assert found.misconception == misconception.name, f"{key}: {found.problem}"


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_each_task_knows_wrong_answers_and_right_ones(task):
    enough = {"weights": 0, "predictions": 1}.get(task.kind, 8)
    assert len({m.name for m in task.misconceptions}) == len(task.misconceptions) >= enough
    assert len(right_answers(task)) >= 2


def test_ids_are_unique_in_the_whole_course():
    assert len(BY_ID) == len(TASKS)


def test_the_page_on_the_graders_lists_the_tasks_as_they_are():
    rows = PAGE.read_text().splitlines()
    for task in TASKS:
        fitting = [row for row in rows if row.startswith(fixed_columns(task))]
        assert fitting, f"{task.id}: run `make grader-quality` and commit what it writes"


@pytest.mark.parametrize(
    "task",
    [task for task in TASKS if task.kind in ("function", "module", "value")],
    ids=lambda task: task.id,
)
def test_the_solution_notebook_agrees_with_the_reference_in_all_that_is_compared(task):
    namespace = notebook(task.id.split("-")[0])
    for key in KEYS[:2]:
        found = judged_in(task, namespace, key)
        assert found.points == task.max_points, found.text()


@pytest.mark.parametrize("key", KEYS[:3])
def test_each_fault_that_is_mended_earns_its_part_whichever_others_are_left(key):
    module = load_module(ROOT / "solutions" / "a3_classic_networks" / "tasks.py")
    task = replace(module.MEND, misconceptions=())
    parts = list(module.FAULTS)
    assert len(parts) == 5
    for left in (c for count in range(6) for c in combinations(parts, count)):
        found = judged(task, module.mended_but(*left), key)
        earned = [part.name for part in found.parts if part.earned]
        assert earned == [part for part in parts if part not in left], left


def test_the_loop_in_the_notebook_has_all_the_faults():
    cells = nbformat.read(ROOT / "solutions/a3_classic_networks/a3_classic_networks.ipynb", 4).cells
    namespace = dict(notebook("a3"))
    for beginning in ("def faulty_fit", "def trial"):
        (source,) = (cell.source for cell in cells if cell.source.startswith(beginning))
        exec(source.replace("def faulty_fit", "def fit"), namespace)
    found = judged_in(BY_ID["a3-mend"], namespace, None)
    assert found.points == 0 and found.misconception == "nothing mended"
