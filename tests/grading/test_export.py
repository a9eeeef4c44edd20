"""Points as tables: every student's in their own line, or an error that lists who has none."""

import csv
import os
import shutil
import sys
from pathlib import Path

import pytest
from nbgrader.api import Gradebook

from cnnlab.grading import export

NAME = "a1_convolution"
CANVAS = (
    "Student,ID,SIS User ID,SIS Login ID,Section,A1 Convolution (77123)\n"
    '"Lovelace, Ada",1815,u1,ada,one,\n"Boole, George",1864,u2,boole,one,\n'
    '"Points Possible",,,,,100\n'
)
MOODLE = (
    "Identifier,Full name,Email address,Grade,Maximum Grade,Feedback comments\n"
    "Participant 1815,Ada Lovelace,ada@uni,,100,\nParticipant 1864,George Boole,b@uni,,100,\n"
)
NUMBERS = {"Ada_Lovelace_1815": {}, "boole_1864": {}}
LOGINS = {"ada": {}, "boole": {}}
MAILS = {"x1": {"email": "ADA@uni"}, "x2": {"email": "b@uni"}}
PEOPLE = {
    "x1": {"first_name": "Ada", "last_name": "Lovelace"},
    "x2": {"first_name": "George", "last_name": "Boole"},
}
LMS = {"x1": {"lms_user_id": "1815"}, "x2": {"lms_user_id": "1864"}}


@pytest.fixture(scope="module")
def new_gradebook(tmp_path_factory):
    """A gradebook with one task, to be copied: making one takes a second."""
    path = tmp_path_factory.mktemp("new") / "gradebook.db"
    with pytest.MonkeyPatch.context() as patch:
        # nbgrader calls alembic by name when it makes a gradebook
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        with Gradebook(f"sqlite:///{path}") as gradebook:
            gradebook.add_assignment(NAME)
            gradebook.add_notebook(NAME, NAME)
            gradebook.add_grade_cell("a1", NAME, NAME, max_score=10, cell_type="code")
    return path


@pytest.fixture
def exported(tmp_path, new_gradebook):
    shutil.copy(new_gradebook, tmp_path)

    def run(kind: str, students: dict, template: str = "", to_read=False, **options) -> list:
        (tmp_path / "in.csv").write_text(template, encoding="utf-8")
        with Gradebook(f"sqlite:///{tmp_path}/gradebook.db") as gradebook:
            for (student, told), score in zip(students.items(), (9.5, 7, 1), strict=False):
                gradebook.add_student(student, **told)
                grade = gradebook.add_submission(NAME, student).notebooks[0].grades[0]
                grade.auto_score, grade.needs_manual_grade = score, to_read
            gradebook.db.commit()
            told = {"template": str(tmp_path / "in.csv")} if kind != "CsvExport" else {}
            plugin = getattr(export, kind)(
                to=str(tmp_path / "out.csv"), assignment=[NAME], **told, **options
            )
            plugin.export(gradebook)
        delimiter = ";" if ";" in template else ","
        return list(csv.reader((tmp_path / "out.csv").open(), delimiter=delimiter))

    return run


def given(rows: list, column: str) -> list:
    return [row[rows[0].index(column)] for row in rows[1:]]


@pytest.mark.parametrize("students", [NUMBERS, LOGINS, PEOPLE, LMS])
def test_canvas_gets_its_file_back_with_points(exported, students):
    rows = exported("CanvasExport", students, CANVAS)
    assert given(rows, "A1 Convolution (77123)") == ["9.5", "7", "100"]
    before = list(csv.reader(CANVAS.splitlines()))
    assert [row[:-1] for row in rows] == [row[:-1] for row in before]


@pytest.mark.parametrize("students", [NUMBERS, MAILS, PEOPLE, LMS])
def test_moodle_gets_its_worksheet_back_with_points(exported, students):
    rows = exported("MoodleExport", students, MOODLE)
    assert given(rows, "Grade") == ["9.5", "7"] and len(rows[0]) == 6


def test_a_file_of_semicolons_stays_one(exported, tmp_path):
    rows = exported("MoodleExport", MAILS, "\ufeff" + MOODLE.replace(",", ";"))
    assert given(rows, "Grade") == ["9.5", "7"]
    assert (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbf")


@pytest.mark.parametrize("column", ["Week 3: filters", "77123", "Week 3: filters (77123)"])
def test_a_column_of_another_name_can_be_told(exported, column):
    template = CANVAS.replace("A1 Convolution", "Week 3: filters")
    rows = exported("CanvasExport", LOGINS, template, column=column)
    assert given(rows, "Week 3: filters (77123)")[:2] == ["9.5", "7"]


@pytest.mark.parametrize(
    "students, change, words",
    [
        ({**LOGINS, "nobody": {}}, {}, "no line of .* is known to be nobody's"),
        ({"jane": {"first_name": "Ada", "last_name": "Lovelace"}, **PEOPLE}, {}, "jane, x1's"),
        (LOGINS, {"old": "A1 Convolution", "new": "Other"}, "no single column .* Section, Other"),
        (LOGINS, {"old": "Section", "new": NAME}, "no single column"),
        (LOGINS, {"old": "boole", "new": "ada"}, "two lines of the file are ada's"),
    ],
)
def test_what_does_not_fit_is_listed_and_nothing_is_written(
    exported, tmp_path, students, change, words
):
    template = CANVAS.replace(change["old"], change["new"]) if change else CANVAS
    with pytest.raises(export.CannotExport, match=words):
        exported("CanvasExport", students, template)
    assert not (tmp_path / "out.csv").exists()


def test_points_are_not_final_while_answers_wait_to_be_read(exported):
    with pytest.raises(export.CannotExport, match="wait to be read for ada, boole"):
        exported("CanvasExport", LOGINS, CANVAS, to_read=True)


def test_unread_points_are_exported_when_told_to(exported):
    rows = exported("CanvasExport", LOGINS, CANVAS, to_read=True, unread=True)
    assert given(rows, "A1 Convolution (77123)")[:2] == ["9.5", "7"]


def test_no_cell_is_a_formula(exported):
    students = {"=cmd|' /C calc'!A0": {"first_name": "@SUM(1)", "last_name": "O'Neil, -2+3"}}
    (row,) = exported("CsvExport", students)[1:]
    assert row[3:6] == ["'=cmd|' /C calc'!A0", "O'Neil, -2+3", "'@SUM(1)"]
    assert row[7:] == ["9.5", "0.0", "9.5", "10.0"]


@pytest.mark.parametrize("cell", ["=1+1", "+A1", "-A1", "@x", " =1", "\t=1", "-1+2"])
def test_a_formula_is_written_as_text(cell):
    assert export.inert(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["", "-3", "+1.5", "-2,5", "Ada", "a=1", "3-4"])
def test_what_is_no_formula_stays(cell):
    assert export.inert(cell) == cell
