"""What could not be decided while grading is told to the person who grades, and costs nothing."""

import asyncio
from dataclasses import replace

import nbformat
import pytest

from cnnlab.answers import answer
from cnnlab.checks import Case, Task
from cnnlab.grading.doubts import definitions
from cnnlab.grading.outside import JudgeOutside

ADD = Task(
    "t-add", "function", "add", {"all": 2}, sum, lambda rng: [Case("all", ([1, 2],))],
    forbidden=("loop",),
)  # fmt: skip


def evidence(source, task=ADD):
    """What the record of a grading run says beside the verdict, and the points."""
    namespace: dict = {}
    exec(source, namespace)
    cell = nbformat.v4.new_code_cell(metadata={"nbgrader": {"points": task.max_points}})

    async def ask(task, cases, index):
        return answer(task.kind, task.entry, task.questions(cases), namespace)

    outside = JudgeOutside()
    outside.record, outside.written = {"evidence": [], "tasks": {}}, definitions(source)
    outside.key, outside.student, outside.digest, outside._ask = b"k" * 32, "ann", "1", ask
    verdict = asyncio.run(outside._judge(task, cell, 0))
    return outside.record["evidence"], verdict.points


@pytest.mark.parametrize(
    "body, words",
    [
        ("__import__('sys').settrace(None)\n    return x[0] + x[1]", "switched the observation"),
        ("for _ in range(1): pass\n    return x[0] + x[1]", "has a loop in its source"),
        ("exec('y = 1')\n    return x[0] + x[1]", "`exec`"),
    ],
)
def test_what_could_not_be_decided_is_left_to_the_person_who_grades(body, words):
    found, points = evidence(f"def add(x):\n    {body}")
    assert len(found) == 1 and words in found[0] and points == 2


def test_what_is_clear_or_earned_nothing_is_no_doubt():
    assert evidence("def add(x): return x[0] + x[1]") == ([], 2)
    assert evidence("def add(x):\n    exec('y = 1')\n    return 0") == ([], 0)
    assert evidence(
        "def add(x):\n    exec('y = 1')\n    return sum(x)", replace(ADD, forbidden=())
    ) == ([], 2)


def test_what_is_written_nowhere_is_told():
    assert evidence("add = lambda x: x[0] + x[1]")[0] == ["t-add: where is `add` written?"]


@pytest.mark.parametrize("code", ["def f(:", "\0", "(" * 10_000, "x = " + "-" * 100_000 + "1"])
def test_code_that_cannot_be_read_defines_nothing(code):
    assert definitions(code) == {}
