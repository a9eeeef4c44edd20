"""The gradebook and `autograded/`: the same, row by row and file by file, as nbgrader's own."""

import json
import shutil
import sqlite3
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook, SubmittedAssignment
from nbgrader.plugins import BasePlugin

from cnnlab.grading import gradebook
from tests.conftest import Course
from tests.grading.test_coordinator import WRONG, made  # noqa: F401 (a fixture)
from tests.grading.test_submissions import NAME, cell, solved

HALF = """
from nbgrader.plugins import BasePlugin
class Half(BasePlugin):
    def late_submission_penalty(self, student, score, late):
        return {"ada": score / 2, "eve": -3, "max": 1000}.get(student)
c.AssignLatePenalties.plugin_class = Half
c.LimitOutput.max_lines = 3
"""
LATE, EARLY = "2020-01-02 10:00:00.000000 UTC", "2019-12-31 10:00:00.000000 UTC"


def rows(folder: Path) -> dict[str, list]:
    """All that the gradebook holds, by table, with names in the place of its random ids."""
    with sqlite3.connect(folder / "gradebook.db") as database:
        tables = {
            name: ([column[1] for column in database.execute(f"PRAGMA table_info({name})")],
                   database.execute(f"SELECT * FROM {name}").fetchall())
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }  # fmt: skip
    found = {
        name: [dict(zip(columns, row, strict=True)) for row in all_]
        for name, (columns, all_) in tables.items()
    }
    names = {}
    for table in ("assignment", "notebook", "base_cell", "source_cell"):
        names |= {row["id"]: f"{table} {row['name']}" for row in found[table]}
    for row in found["submitted_assignment"]:
        names[row["id"]] = f"submission of {row['student_id']}"
    for row in found["submitted_notebook"]:
        names[row["id"]] = f"{names[row['notebook_id']]}, {names[row['assignment_id']]}"
    for table in ("grade", "comment"):
        for row in found[table]:
            names[row["id"]] = f"{table} {names[row['cell_id']]}, {names[row['notebook_id']]}"
    return {
        table: sorted(str({k: names.get(v, v) for k, v in row.items()}) for row in all_)
        for table, all_ in found.items()
    }


def files(folder: Path) -> dict[str, tuple]:
    """What `autograded/` holds: rights, and content."""
    root = folder / "autograded"
    return {
        str(path.relative_to(root)): (oct(path.stat().st_mode), path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def hand_in(course: Course, student: str, stamp: str, written: str | None, **answers: str) -> None:
    shutil.rmtree(course.folder / "submitted" / student, ignore_errors=True)
    notebook = solved(course, **answers)
    if written is None:
        release = nbformat.read(course.folder / "assignments" / NAME / f"{NAME}.ipynb", 4)
        written = cell(release, "a1-explain").source
    cell(notebook, "a1-explain").source = written
    cell(notebook, "a1-window-answer").source += "\nfor i in range(9): print(i)"
    course.submit(student, NAME, nbformat.writes(notebook))
    folder = course.folder / "submitted" / student / NAME
    (folder / "data.csv").write_text("1,2\n")
    if stamp:
        (folder / "timestamp.txt").write_text(stamp)


def by_hand(course: Course) -> None:
    """What a person does in formgrader, and with nbgrader's commands."""
    with Gradebook(f"sqlite:///{course.folder}/gradebook.db", "cnnlab") as book:
        book.find_grade("a1-explain", NAME, NAME, "bob").manual_score = 7
        book.find_grade("a1-explain", NAME, NAME, "bob").needs_manual_grade = False
        book.find_grade("a1-window", NAME, NAME, "bob").extra_credit = 1.5
        book.find_grade("a1-loops", NAME, NAME, "ada").manual_score = 2
        book.find_comment("a1-explain", NAME, NAME, "bob").manual_comment = "Well said."
        book.grant_extension(NAME, "max", days=30)
        book.update_or_create_student("zoe", first_name="Zoe", email="zoe@example.org")
        book.db.commit()


@pytest.fixture
def two(made, tmp_path) -> list[Course]:  # noqa: F811
    courses = []
    for name in ("ours", "theirs"):
        shutil.copytree(made, tmp_path / name)
        courses.append(course := Course(tmp_path / name))
        with (course.folder / "nbgrader_config.py").open("a") as file:
            file.write(HALF)
        with Gradebook(f"sqlite:///{course.folder}/gradebook.db", "cnnlab") as book:
            book.update_or_create_assignment(NAME, duedate="2020-01-01")
        (course.folder / ".cnnlab_key").write_text("0" * 64)  # the same questions
        for where in ("solutions", "assignments"):
            (course.folder / where / NAME / "notes.txt").write_text("for everybody")
    shutil.copy(courses[0].folder / "gradebook.db", courses[1].folder)
    return courses


def test_gradebook_and_files_are_nbgrader_s_own(two):
    ours, theirs = two
    for course in two:
        hand_in(course, "ada", LATE, "Because.")
        hand_in(course, "bob", "", "Because.", **WRONG)
        hand_in(course, "eve", LATE, None)
        hand_in(course, "max", LATE, None, output_size="1 / 0")
    for again in (False, True):
        # Both take all again: what has not changed is kept by us, and would be by nbgrader.
        ours.run("cnnlab", "grade", "a1", "--again")
        theirs.run("nbgrader", "autograde", NAME, "--force")
        assert rows(ours.folder) == rows(theirs.folder), again
        told = rows(ours.folder)
        blank = sum("No response" in row for row in told["comment"])
        assert (len(told["grade"]), blank) == ((20, 3) if again else (16, 2))
        a, b = files(ours.folder), files(theirs.folder)
        assert a.keys() == b.keys() and len(a) == (19 if again else 15)
        for name in a:
            if name.endswith(".ipynb"):
                assert json.loads(a[name][1]) == json.loads(b[name][1]), name
            else:
                assert a[name] == b[name], name
            assert a[name][0] == b[name][0]
        for course in two:
            by_hand(course)
            hand_in(course, "ada", EARLY, "Because.", **WRONG)
            hand_in(course, "bob", LATE, "Therefore.")
            hand_in(course, "zoe", "", None)


class Late(BasePlugin):
    def late_submission_penalty(self, student, score, late):
        return score


def result(**scores) -> dict:
    return {"scores": {NAME: scores}, "comments": {NAME: {}}, "timestamp": ""}


def test_one_that_cannot_be_entered_stops_no_batch(two):
    """The transaction fails as a whole; then each is entered alone, and one is set aside."""
    ours = two[0]
    for name in ("ada", "bob", "eve"):
        hand_in(ours, name, "", "Because.")
    code = (
        "import sys\nfrom cnnlab.grading import gradebook\n"
        "enter, calls = gradebook.enter, []\n"
        "def failing(db, name, results, *more):\n"
        "    calls.append(sorted(results))\n"
        "    found = enter(db, name, results, *more)\n"
        "    if 'bob' in results: raise ValueError('bob is not entered')\n"
        "    return found\n"
        "gradebook.enter = failing\n"
        "from cnnlab.cli import main\nstatus = main(['grade', 'a1'])\nprint(calls)\n"
        "sys.exit(status)"
    )
    printed = ours.python("-c", code, status=1)
    assert "bob  not graded: It cannot be handled (ValueError: bob is not entered)" in printed
    assert "ada    24.0 of 32" in printed and "eve    24.0 of 32" in printed
    with Gradebook(f"sqlite:///{ours.folder}/gradebook.db", "cnnlab") as book:
        assert {s.student_id for s in book.assignment_submissions(NAME)} == {"ada", "eve"}


def test_a_mark_made_meanwhile_is_kept(two):
    """A person marks between the reading and the writing: what is written does not depend on it."""
    ours = two[0]
    path = f"sqlite:///{ours.folder}/gradebook.db"
    with Gradebook(path, "cnnlab") as book:
        given = {"a1-window": 6.0, "a1-output-size": 8.0, "a1-loops": 1.0, "a1-explain": None}
        gradebook.enter(book.db, NAME, {"ada": result(**given)})
        book.db.commit()
        with Gradebook(path, "cnnlab") as other:
            grade = other.find_grade("a1-loops", NAME, NAME, "ada")
            grade.manual_score, grade.needs_manual_grade = 9.0, False
            other.db.commit()
        again = result(**given | {"a1-explain": 0.0})
        standing = gradebook.enter(book.db, NAME, {"ada": again}, Late(), True)["ada"]
        book.db.commit()
        assert standing.score == 6 + 8 + 9 and standing.waiting == ["a1-loops"]
        found = book.find_grade("a1-loops", NAME, NAME, "ada")
        assert (found.auto_score, found.manual_score) == (1.0, 9.0)


def test_a_student_whom_nobody_enrolled_is_refused_where_the_course_says_so(two):
    with Gradebook(f"sqlite:///{two[0].folder}/gradebook.db", "cnnlab") as book:
        with pytest.raises(ValueError, match="no student ada"):
            gradebook.enter(book.db, NAME, {"ada": result()}, None, create_students=False)
        assert not book.db.query(SubmittedAssignment).all()
