"""The whole way of an assignment through nbgrader, with nbgrader's own commands."""

import csv
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from conftest import Course
from nbgrader.api import Gradebook

from cnnlab.assignments import load_tasks

ROOT = Path(__file__).parents[2]
ASSIGNMENTS = sorted(path.name for path in (ROOT / "solutions").iterdir() if path.is_dir())
STRIDE_IGNORED = """
def conv2d(image, kernel, padding=0, stride=1):
    return torch.nn.functional.pad(image, [padding] * 4).unfold(0, kernel.shape[0], 1).unfold(
        1, kernel.shape[1], 1
    ).mul(kernel).sum((-2, -1))
"""


def answers(notebook) -> dict:
    """The solution cells of a notebook, by the task they answer."""
    return {
        cell.metadata.nbgrader.grade_id.removesuffix("-answer"): cell
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("solution")
    }


def half_right(name: str, solution: str, release: str) -> tuple[str, float]:
    """The release with its first half solved, and the points that are due for it.

    In assignment 1 the next part is half right: its stride is ignored.
    """
    tasks = list(load_tasks(ROOT / "solutions" / name).values())
    solved = tasks[: len(tasks) // 2]
    right = answers(nbformat.reads(solution, 4))
    notebook = nbformat.reads(release, 4)
    for task_id, cell in answers(notebook).items():
        if task_id in {task.id for task in solved}:
            cell.source = right[task_id].source
        if task_id == "a1-padding":
            cell.source = STRIDE_IGNORED
    points = sum(task.max_points for task in solved) + (6 if name.startswith("a1_") else 0)
    return nbformat.writes(notebook), points


def scores(course) -> dict:
    """Every automatic score in the gradebook, by assignment, student and task."""
    with Gradebook(f"sqlite:///{course.folder}/gradebook.db", "cnnlab") as gradebook:
        return {
            (submission.assignment.name, submission.student_id, grade.name): grade.auto_score
            for assignment in gradebook.assignments
            for submission in assignment.submissions
            for notebook in submission.notebooks
            for grade in notebook.grades
        }


@dataclass
class Graded:
    """A course in which ada solved everything, bob nothing, and eve the first half."""

    course: Course
    names: list  # of the assignments that were submitted
    due: dict  # points by assignment and student
    stock: dict  # scores after nbgrader's autograde, which runs the cells as a student would
    judged: dict  # scores after `cnnlab grade`
    printed: dict  # what `cnnlab grade` printed, by assignment


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(ASSIGNMENTS[:1], id="the first"),
        pytest.param(ASSIGNMENTS[1:], id="the others", marks=pytest.mark.slow),
    ],
)
def graded(request, generated_course, tmp_path_factory) -> Graded:
    """Assignments submitted and graded both ways; the first one through the exchange."""
    names = request.param
    course = Course(tmp_path_factory.mktemp("grading") / "course")
    shutil.copytree(generated_course, course.folder)
    exchange = tmp_path_factory.mktemp("exchange")
    exchange.chmod(0o777)
    common = [f"--Exchange.root={exchange}", "--course", "cnnlab"]
    if "a1_convolution" in names:
        course.run("nbgrader", "release_assignment", "a1_convolution", *common)
    due = {}
    for name in names:
        solution, release = (
            (course.folder / folder / name / f"{name}.ipynb").read_text()
            for folder in ("solutions", "assignments")
        )
        tasks = load_tasks(ROOT / "solutions" / name).values()
        half, half_due = half_right(name, solution, release)
        due[name] = {"ada": sum(t.max_points for t in tasks), "bob": 0.0, "eve": half_due}
        for student, text in {"ada": solution, "bob": release, "eve": half}.items():
            if name != "a1_convolution":
                course.submit(student, name, text)
                continue
            folder = tmp_path_factory.mktemp(student) / name
            folder.mkdir()
            (folder / f"{name}.ipynb").write_text(text)
            course.run("nbgrader", "submit", str(folder), "--student", student, *common)
    if "a1_convolution" in names:
        course.run("nbgrader", "collect", "a1_convolution", *common)
    config = course.folder / "nbgrader_config.py"
    ours = config.read_text()
    config.write_text(ours.partition("# Grading, whoever starts it")[0])
    for name in names:
        course.run("nbgrader", "autograde", name)
    stock = scores(course)
    config.write_text(ours)
    printed = {name: course.run("cnnlab", "grade", name) for name in names}
    return Graded(course, names, due, stock, scores(course), printed)


def test_solved_blank_and_half_solved_earn_what_is_due(graded):
    for name in graded.names:
        earn_what_is_due(graded, name)


def earn_what_is_due(graded, name):
    for found in (graded.stock, graded.judged):
        points = {
            student: sum(v or 0 for (a, s, _), v in found.items() if (a, s) == (name, student))
            for student in ("ada", "bob", "eve")
        }
        assert points == graded.due[name]
    written = {task: v for (a, s, task), v in graded.judged.items() if (a, s) == (name, "ada")}
    assert [v for v in written.values() if v is None], "the written answer is for a person to read"
    assert re.search(
        rf"ada +{graded.due[name]['ada']:.1f} of 100 .*written answers to read",
        graded.printed[name],
    )


def test_both_ways_of_grading_agree(graded):
    assert graded.stock == graded.judged


def test_feedback_and_export(graded):
    course = graded.course
    if "a1_convolution" in graded.names:
        course.run("nbgrader", "generate_feedback", "a1_convolution")
        page = (course.folder / "feedback/eve/a1_convolution/a1_convolution.html").read_text()
        assert "a1-padding: 6 of 12 points" in page
        assert "Hint: With stride s only every s-th row and column of windows is taken." in page
        assert "`best_match` is not written yet." in page

    course.run("nbgrader", "export", "--to", "grades.csv")
    rows = list(csv.DictReader((course.folder / "grades.csv").open()))
    rows = [row for row in rows if row["assignment"] in graded.names]
    exported = {(r["assignment"], r["student_id"]): float(r["score"]) for r in rows}
    assert exported == {
        (name, student): points
        for name, by_student in graded.due.items()
        for student, points in by_student.items()
    }
    assert {float(r["max_score"]) for r in rows} == {100}


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_what_is_committed_is_what_would_be_generated(generated_course, name):
    committed = {p.name: p.read_text() for p in (ROOT / "assignments" / name).glob("*.ipynb")}
    release = generated_course / "assignments" / name
    made = {p.name: p.read_text() for p in release.glob("*.ipynb")}
    assert {p.name for p in release.iterdir()} == {*made, f"{name}.checks"}
    assert committed == made, "run `make assignments` and commit what it writes"


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_no_release_holds_a_solution_or_an_output(name):
    for path in (ROOT / "assignments" / name).glob("*.ipynb"):
        text = path.read_text()
        assert not re.search("BEGIN SOLUTION|END SOLUTION|HIDDEN TESTS|[Rr]ubric\\.", text)
        notebook = nbformat.reads(text, 4)
        source = nbformat.read(ROOT / "solutions" / name / path.name, 4)
        given = answers(notebook)
        for task, cell in answers(source).items():
            kept = [line for line in given[task].source.splitlines() if line.strip()]
            lost = [line for line in cell.source.splitlines() if line.strip() and line not in kept]
            assert lost, f"{task} is released as it was solved"
        for cell in notebook.cells:
            assert not cell.get("outputs") and not cell.get("execution_count")
            assert set(cell.metadata) <= {"nbgrader", "tags", "deletable", "editable"}


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_an_assignment_is_worth_100_points_and_agrees_with_its_tasks(name):
    tasks = load_tasks(ROOT / "solutions" / name)
    graded = [
        cell
        for path in sorted((ROOT / "solutions" / name).glob("*.ipynb"))
        for cell in nbformat.read(path, 4).cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    ]
    assert sum(cell.metadata.nbgrader.points for cell in graded) == 100
    checked = {c.metadata.nbgrader.grade_id: c for c in graded if c.cell_type == "code"}
    assert list(checked) == list(tasks)
    for task_id, cell in checked.items():
        assert cell.source == f'check("{task_id}")'
        assert cell.metadata.nbgrader.points == tasks[task_id].max_points
        assert cell.metadata.nbgrader.locked


def test_validate_says_in_words_what_is_missing(course):
    printed = course.run("nbgrader", "validate", "assignments/a1_convolution/a1_convolution.ipynb")
    assert "a1-window: 0 of 6 points" in printed
    assert "`conv2d` is not written yet." in printed
    assert "VALIDATION FAILED ON 11 CELL(S)" in printed
    solved = course.run("nbgrader", "validate", "solutions/a1_convolution/a1_convolution.ipynb")
    assert "Success! Your notebook passes all the tests." in solved


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["b1"], "There is no assignment 'b1'; there is: a1_convolution"),
        (["a1"], "There is no submission of a1_convolution in"),
        (["a1", "--student", "nobody"], "nobody: no submission of a1_convolution"),
        (["a1", "--course", "solutions"], "holds no nbgrader_config.py"),
    ],
)
def test_grading_what_is_not_there_is_refused_in_a_sentence(course, arguments, sentence):
    printed = course.run("cnnlab", "grade", *arguments, status=1)
    assert sentence in printed and "Traceback" not in printed


def test_a_gradebook_that_does_not_know_the_assignment_is_refused(course):
    (course.folder / "gradebook.db").unlink()
    printed = course.run("cnnlab", "grade", "a1", status=1)
    assert "run `make assignments` first" in printed


def test_a_course_that_cannot_be_written_is_refused_and_left_alone(course):
    (course.folder / ".cnnlab_key").mkdir()
    printed = course.run("cnnlab", "grade", "a1", status=1)
    assert "key cannot be used" in printed and "Traceback" not in printed


def test_an_unreadable_notebook_is_set_aside_and_the_others_are_graded(course):
    release = (course.folder / "assignments/a1_convolution/a1_convolution.ipynb").read_text()
    course.submit("ada", "a1_convolution", release)
    course.submit("bob", "a1_convolution", release[:1000])
    printed = course.run("cnnlab", "grade", "a1", status=1)
    assert re.search(r"ada +0\.0 of 100", printed)
    assert re.search(r"bob +not graded: .*", printed)
    assert "Traceback" not in printed
