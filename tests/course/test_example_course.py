"""A course of somebody else's, on something else, goes the whole way through nbgrader."""

import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from conftest import Course

from cnnlab import sandbox
from cnnlab.assignments import load_tasks
from cnnlab.assignments.course import exchanged, pieces

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "example_course"
NAME = "sorting_and_fitting"
POINTS = {"s-ranks": 6, "s-counted": 6, "s-line": 4, "s-above": 5, "s-halve": 4}


def make_course(folder: Path, **env: str) -> Course:
    """The example with its releases generated, and a configuration of its own."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    ours = (ROOT / "nbgrader_config.py").read_text()
    (folder / "nbgrader_config.py").write_text(ours.replace('"cnnlab"', '"algorithms"', 1))
    course = Course(folder)
    course.run("nbgrader", "generate_assignment", NAME, **env)
    return course


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Course:
    return make_course(tmp_path_factory.mktemp("example") / "course")


@pytest.fixture(scope="module")
def next_year(tmp_path_factory) -> Course:
    return make_course(tmp_path_factory.mktemp("variant") / "course", CNNLAB_VARIANT="2027")


def notebook(course: Course, kind: str) -> nbformat.NotebookNode:
    return nbformat.read(course.folder / kind / NAME / f"{NAME}.ipynb", 4)


def solved(course: Course, changes=None, without=()) -> str:
    """The release with its answers filled in, all but some."""
    made = notebook(course, "assignments")
    right = {c.id: exchanged(c.source, changes or {}) for c in notebook(course, "solutions").cells}
    for cell in made.cells:
        if cell.metadata.get("nbgrader", {}).get("solution") and cell.id not in without:
            cell.source = right[cell.id]
    return nbformat.writes(made)


def grade(course: Course) -> str:
    """Grade it; what is submitted here is our own, and may run where there is no sandbox."""
    confined = [] if sandbox.unavailable() is None else ["--no-sandbox"]
    return course.run("cnnlab", "grade", NAME, *confined)


def earned(printed: str) -> dict[str, float]:
    return {name: float(p) for name, p in re.findall(r"^(s-\w+): ([\d.]+) of", printed, re.M)}


def test_what_is_released_holds_questions_and_no_tasks(example):
    released = {path.name for path in (example.folder / "assignments" / NAME).iterdir()}
    assert released == {f"{NAME}.ipynb", f"{NAME}.checks"}


def test_a_student_checks_with_the_release_alone(example, tmp_path, monkeypatch):
    shutil.copytree(example.folder / "assignments" / NAME, tmp_path / "mine")
    student = Course(tmp_path / "mine")
    blank = student.run("cnnlab", "check", f"{NAME}.ipynb", status=1)
    assert earned(blank) == dict.fromkeys(POINTS, 0)
    wrong = notebook(example, "assignments")
    for cell in wrong.cells:
        cell.source = {
            "s-ranks-answer": "def ranks(v):\n    return sorted(range(len(v)), key=lambda i: v[i])",
            "s-counted-answer": "counted = {'comparisons': 52 * 51, 'halvings': 10}",
        }.get(cell.id, cell.source)
    nbformat.write(wrong, tmp_path / "mine" / f"{NAME}.ipynb")
    printed = " ".join(student.run("cnnlab", "check", f"{NAME}.ipynb", status=1).split())
    assert "Hint: This says which value stands at each place" in printed
    assert "Hint: A pair is compared once, not from both sides." in printed
    assert "`counted['comparisons']`: 2652 is not right." in printed
    (tmp_path / "mine" / f"{NAME}.ipynb").write_text(solved(example))
    assert earned(student.run("cnnlab", "check", f"{NAME}.ipynb")) == POINTS


def test_a_class_is_graded(example):
    example.submit("ada", NAME, solved(example))
    example.submit("bob", NAME, solved(example, without={"s-line-answer", "s-above-answer"}))
    printed = grade(example)
    assert re.search(r"ada +25\.0 of 25", printed) and re.search(r"bob +16\.0 of 25", printed)
    example.run("nbgrader", "generate_feedback", NAME)
    kept = {
        p.name for kind in ("autograded", "feedback") for p in (example.folder / kind).rglob("*")
    }
    assert not kept & {"tasks.py", "right_answers.py"}


def test_nbgraders_own_autograde_gives_the_same(example, tmp_path):
    shutil.copytree(example.folder, tmp_path / "course")
    course = Course(tmp_path / "course")
    config = course.folder / "nbgrader_config.py"
    config.write_text(config.read_text().partition("# Grading, whoever starts it")[0])
    course.submit("eve", NAME, solved(course, without={"s-line-answer"}))
    course.run("nbgrader", "autograde", NAME, "--student", "eve")
    graded = nbformat.read(course.folder / "autograded/eve" / NAME / f"{NAME}.ipynb", 4)
    text = "\n".join(o.text for c in graded.cells for o in c.get("outputs", ()) if "text" in o)
    assert earned(text) == POINTS | {"s-line": 0}


def test_a_variant_has_other_numbers_and_last_years_table_earns_nothing(
    example, next_year, tmp_path
):
    source = EXAMPLE / "solutions" / NAME / "tasks.py"
    changes = pieces(source.read_text(), str(source), "2027")
    before, after = (notebook(c, "assignments") for c in (example, next_year))
    assert "**52 cards**" in before.cells[5].source
    assert (
        before.cells[5].source
        != after.cells[5].source
        == exchanged(before.cells[5].source, changes)
    )
    here = next_year.folder / "assignments" / NAME
    for path in here.iterdir():
        shutil.copy(path, tmp_path)
    student = Course(tmp_path)
    (tmp_path / f"{NAME}.ipynb").write_text(solved(next_year))  # the default's numbers
    assert earned(student.run("cnnlab", "check", f"{NAME}.ipynb", status=1)) == POINTS | {
        "s-counted": 0
    }
    (tmp_path / f"{NAME}.ipynb").write_text(solved(next_year, changes))
    assert earned(student.run("cnnlab", "check", f"{NAME}.ipynb")) == POINTS


def test_a_variant_is_graded_by_its_own_numbers(next_year):
    source = EXAMPLE / "solutions" / NAME / "tasks.py"
    changes = pieces(source.read_text(), str(source), "2027")
    next_year.submit("ada", NAME, solved(next_year, changes))
    next_year.submit("bob", NAME, solved(next_year))
    printed = grade(next_year)
    assert re.search(r"ada +25\.0 of 25", printed) and re.search(r"bob +19\.0 of 25", printed)


def test_a_file_of_another_variant_is_told(example, next_year, tmp_path):
    shutil.copy(example.folder / "assignments" / NAME / f"{NAME}.ipynb", tmp_path)
    shutil.copy(next_year.folder / "assignments" / NAME / f"{NAME}.checks", tmp_path)
    printed = " ".join(Course(tmp_path).run("cnnlab", "check", f"{NAME}.ipynb", status=1).split())
    assert (
        "is of another variant than the notebook beside it (2027, and the default one)" in printed
    )


def changed_tasks(folder: Path, old: str, new: str) -> Course:
    shutil.copytree(EXAMPLE, folder)
    shutil.copy(ROOT / "nbgrader_config.py", folder)
    path = folder / "solutions" / NAME / "tasks.py"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return Course(folder)


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "old, new, words",
    [
        (
            "RANKS = Task(",
            "RANKS = 1 / 0\nTask(",
            "tasks.py cannot be used: line 30 raises ZeroDiv",
        ),
        slow("TASKS = [RANKS,", "TASKS = [RANKS, RANKS,", "two tasks of the id 's-ranks'"),
        slow("TASKS = [RANKS,", "TASKS = [", "The graded cell 's-ranks' says check(\"s-ranks\")"),
        slow('"equal values": 2', '"equal values": 3', "is worth 7 points in"),
        slow("TASKS = [", "OTHERS = [", "has no list TASKS of `Task` objects"),
    ],
)
def test_tasks_that_cannot_be_used_stop_their_own_assignment_in_a_sentence(
    tmp_path, old, new, words
):
    course = changed_tasks(tmp_path / "course", old, new)
    printed = course.run("nbgrader", "generate_assignment", NAME, status=1)
    assert words in printed
    assert not (course.folder / "assignments" / NAME).exists()


@pytest.mark.slow
def test_a_variant_in_which_two_mistakes_meet_is_refused(tmp_path):
    course = changed_tasks(
        tmp_path / "course", "cards=(52, 40, 36", "cards=(52, 2, 2, 2) and (52, 2"
    )
    path = course.folder / "solutions" / NAME / "tasks.py"
    path.write_text(re.sub(r"cards=\(52.*?\),\n", "cards=(52, 3),\n", path.read_text()))
    printed = course.run("nbgrader", "generate_assignment", NAME, status=1, CNNLAB_VARIANT="x")
    assert re.search(r"Variant 'x': in s-counted the mistakes .* come to the same numbers", printed)


def test_the_skeleton_of_a_new_assignment_works(tmp_path):
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path)
    course = Course(tmp_path)
    course.run("cnnlab", "new-assignment", "week1")
    course.run("nbgrader", "generate_assignment", "week1")
    source = json.loads((tmp_path / "solutions/week1/week1.ipynb").read_text())
    (tmp_path / "assignments/week1/week1.ipynb").write_text(json.dumps(source))
    printed = course.run("cnnlab", "check", "week1")
    assert printed.strip().endswith("10 of 10 points"), printed
    assert load_tasks(tmp_path / "solutions" / "week1")
    again = course.run("cnnlab", "new-assignment", "week1", status=1)
    assert "is there already" in again and "Traceback" not in again
    assert "is no name" in course.run("cnnlab", "new-assignment", "../x", status=1)
