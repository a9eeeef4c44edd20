"""Work that never ends: each costs its own part, its own time, and nobody else's."""

import time

import nbformat
import pytest

from tests.conftest import ALONE
from tests.grading.test_submissions import FULL, LOOPS, NAME, look, make_course, points, solved

pytestmark = pytest.mark.slow
HEAD = "def output_size(n, k, padding=0, stride=1):\n"
ENDLESS = {
    "34 an endless loop": HEAD + "    while True: pass",
    "35 a loop that ignores interrupts": HEAD + "    import signal\n"
    "    while True:\n"
    "        try:\n"
    "            signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    "            while True: pass\n"
    "        except BaseException: pass",
    "39 an endless print": "import sys\n"
    + HEAD
    + "    while True: sys.__stdout__.write('x' * 10000); print('y' * 10000)",
    "36 all the memory": HEAD + "    hoard = []\n    while True: hoard.append(bytearray(64 << 20))",
}
CELLS = {
    "39 a cell that prints for ever": "while True: print('z' * 1000)",
    "39 a picture of 60 MB": "from IPython.display import display\n"
    "display({'text/plain': 'x' * (60 << 20)}, raw=True)",
    "41 many slow cells": None,
}


@pytest.fixture(scope="module")
def class_(tmp_path_factory):
    course = make_course(tmp_path_factory.mktemp("denial") / "course")
    course.submit("victim", NAME, nbformat.writes(solved(course)))
    for name, answer in ENDLESS.items():
        notebook = solved(course, output_size=answer, loops=LOOPS)
        course.submit(name, NAME, nbformat.writes(notebook))
    for name, source in CELLS.items():
        notebook = solved(course)
        if source is None:
            slow = [nbformat.v4.new_code_cell("import time; time.sleep(15)") for _ in range(30)]
            notebook.cells[1:1] = slow
        else:
            notebook.cells.append(nbformat.v4.new_code_cell(source))
        course.submit(name, NAME, nbformat.writes(notebook))
    began = time.monotonic()
    course.run("cnnlab", "grade", "a1", "--timeout", "20", "--notebook-seconds", "120", **ALONE)
    course.took = time.monotonic() - began
    return look(course)


@pytest.mark.parametrize("name", ENDLESS)
def test_an_endless_answer_costs_that_part_only(class_, name):
    assert points(class_, name) == {**FULL, "a1-output-size": 0}


@pytest.mark.parametrize("name", [name for name in CELLS if name.startswith("39")])
def test_endless_output_costs_no_points_and_is_cut(class_, name):
    assert points(class_, name) == FULL
    (written,) = (class_.folder / "autograded" / name).rglob("*.ipynb")
    assert written.stat().st_size < 5 << 20


def test_a_notebook_has_an_end(class_):
    report = class_.reports["41 many slow cells"]
    assert report["seconds"]["total"] < 150
    assert sum(report["scores"][task] for task in FULL) == 0
    assert "longer than 120 s" in report["tasks"]["a1-loops"]["problem"]


def test_the_victim_is_graded(class_):
    assert points(class_, "victim") == FULL
