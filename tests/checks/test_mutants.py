"""The graders, proved against answers with one thing changed, whatever the questions."""

import pytest
from grader_quality import MUTATED, PAGE, TASKS, mutate, page

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("task", [t for t in TASKS if t.kind in MUTATED], ids=lambda task: task.id)
def test_no_mutant_of_a_right_answer_is_right_by_luck(task):
    found = mutate(task.id)
    assert not found.escaped
    assert found.killed > len(found.equal)


def test_the_page_on_the_graders_says_what_is_found():
    assert PAGE.read_text() == page(), "run `make grader-quality` and commit what it writes"
