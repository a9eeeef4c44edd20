"""The whole way of an assignment through nbgrader, with nbgrader's own commands."""

import csv
import re
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook

ROOT = Path(__file__).parents[2]
ASSIGNMENTS = sorted(path.name for path in (ROOT / "solutions").iterdir() if path.is_dir())
HALF_RIGHT = {"a1-window", "a1-output-size", "a1-loops", "a1-flip", "a1-vectorized"}
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


def half_right(solution: str, release: str) -> str:
    """The release with five parts solved, the sixth half right, and the rest left blank."""
    notebook, solved = nbformat.reads(release, 4), answers(nbformat.reads(solution, 4))
    for name, cell in answers(notebook).items():
        if name in HALF_RIGHT:
            cell.source = solved[name].source
        if name == "a1-padding":
            cell.source = STRIDE_IGNORED
    return nbformat.writes(notebook)


def scores(course) -> dict:
    """Every automatic score in the gradebook, by student and task."""
    with Gradebook(f"sqlite:///{course.folder}/gradebook.db", "cnnlab") as gradebook:
        return {
            (submission.student_id, grade.name): grade.auto_score
            for submission in gradebook.assignment_submissions("a1_convolution")
            for notebook in submission.notebooks
            for grade in notebook.grades
        }


def test_submissions_from_release_to_export(course, tmp_path):
    solution = (course.folder / "solutions/a1_convolution/a1_convolution.ipynb").read_text()
    release = (course.folder / "assignments/a1_convolution/a1_convolution.ipynb").read_text()
    exchange = tmp_path / "exchange"
    exchange.mkdir()
    exchange.chmod(0o777)
    common = [f"--Exchange.root={exchange}", "--course", "cnnlab"]
    course.run("nbgrader", "release_assignment", "a1_convolution", *common)
    for student, text in {
        "ada": solution,
        "bob": release,
        "eve": half_right(solution, release),
    }.items():
        folder = tmp_path / student / "a1_convolution"
        folder.mkdir(parents=True)
        (folder / "a1_convolution.ipynb").write_text(text)
        course.run("nbgrader", "submit", str(folder), "--student", student, *common)
    course.run("nbgrader", "collect", "a1_convolution", *common)

    course.run("nbgrader", "autograde", "a1_convolution")
    stock = scores(course)
    printed = course.run("cnnlab", "grade", "a1")
    assert scores(course) == stock

    points = {
        student: sum(v or 0 for (name, _), v in stock.items() if name == student)
        for student in ("ada", "bob", "eve")
    }
    assert points == {"ada": 92, "bob": 0, "eve": 6 + 8 + 10 + 6 + 10 + (2 + 4)}
    assert stock["ada", "a1-explain"] is None and stock["bob", "a1-explain"] == 0
    assert re.search(r"ada +92\.0 of 100 .*written answers to read", printed)
    assert re.search(r"eve +46\.0 of 100", printed)

    course.run("nbgrader", "generate_feedback", "a1_convolution")
    page = (course.folder / "feedback/eve/a1_convolution/a1_convolution.html").read_text()
    assert "a1-padding: 6 of 12 points" in page
    assert "Hint: With stride s only every s-th row and column of windows is taken." in page
    assert "`best_match` is not written yet." in page

    course.run("nbgrader", "export", "--to", "grades.csv")
    rows = list(csv.DictReader((course.folder / "grades.csv").open()))
    assert {r["student_id"]: (float(r["score"]), float(r["max_score"])) for r in rows} == {
        "ada": (92, 100),
        "bob": (0, 100),
        "eve": (46, 100),
    }


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_what_is_committed_is_what_would_be_generated(generated_course, name):
    committed = {p.name: p.read_text() for p in (ROOT / "assignments" / name).glob("*.ipynb")}
    made = {p.name: p.read_text() for p in (generated_course / "assignments" / name).iterdir()}
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
    from cnnlab.checks import assignment_tasks

    tasks = assignment_tasks(name.split("_")[0])
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
        (["a9"], "There is no assignment 'a9'; there is: a1_convolution"),
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
