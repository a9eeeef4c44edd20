"""Points as tables: every student's in their own line, or an error that lists who has none."""

import csv
import os
import shutil
import sys
from pathlib import Path

import pytest
from nbgrader.api import Gradebook

from cnnlab.cli import main
from cnnlab.grading import GradingError, export

NAME = "a1_convolution"
POINTS = (9.5, 7, 1)
LOGINS = {"ada": {}, "boole": {}}
NUMBERS = {"Ada_Lovelace_1815": {}, "boole_1864": {}}
LMS = {"x1": {"lms_user_id": "1815"}, "x2": {"lms_user_id": "1864"}}
ZEROS = {"001815": {}, "1864": {}}
MAILS = {"x1": {"email": "ADA@uni"}, "x2": {"email": "b@uni"}}
PEOPLE = {
    "x1": {"first_name": "Ada", "last_name": "Lovelace"},
    "x2": {"first_name": "George", "last_name": "Boole"},
}

# As the platforms write them: the file, its encoding, the column of the points, how the gradebook
# may know the students, and the points that the column then holds.
CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,A1 Convolution (77123),Current Score (read only)
,,,,,Manual Posting,
    Points Possible,,,,,100,(read only)
"Boole, George",1864,u2,boole,one,,50
"Lovelace, Ada",1815,u1,ada,"one, two",,
"Student, Test",9,,5f3a,one,,
"""
CANVAS_GERMAN = """\
"Student";"ID";"SIS User ID";"SIS Login ID";"A1, Convolution (77123)";"Essay (77124)"
"    Points Possible";"";"";"";"100,0";"10,0"
"Lovelace, Ada";"1815";"u1";"ada";"";"8,5"
"Boole, George";"1864";"u2";"boole";"";""
"""
WORKSHEET = """\
Identifier,"Full name","Email address",Status,Grade,"Maximum Grade","Feedback comments"
"Participant 1815","Ada Lovelace",ada@uni,"Submitted for grading",,100.00,"<p>Well
done</p>"
"Participant 1864","George Boole",b@uni,"No submission",,100.00,
"""
MOODLE = """\
"First name",Surname,"ID number","Email address","Assignment: A1 Convolution (Real)",\
"Assignment: A1 Convolution (Percentage)","Course total (Real)"
Ada,Lovelace,1815,ada@uni,-,-,-
George,Boole,1864,b@uni,-,-,-
"""
MOODLE_GERMAN = """\
ID,Vollständiger Name,E-Mail-Adresse,Bewertung,Bestwertung
Teilnehmer/in 1815,Ada Lovelace,ada@uni,,100
Teilnehmer/in 1864,George Boole,b@uni,,100
"""
BLACKBOARD = """\
"Last Name"\t"First Name"\t"Username"\t"Student ID"\t"Availability"\t\
"A1 Convolution [Total Pts: 100 Score] |77123"
"Lovelace"\t"Ada"\t"ada"\t"001815"\t"Yes"\t""
"Boole"\t"George"\t"boole"\t"001864"\t"Yes"\t""
"""
BRIGHTSPACE = """\
OrgDefinedId,Username,Last Name,First Name,Email,\
A1 Convolution Points Grade <Numeric MaxPoints:100 Weight:10>,End-of-Line Indicator
#001815,#ada,Lovelace,Ada,ada@uni,,#
#001864,#boole,Boole,George,b@uni,,#
"""
CLASSROOM = """\
Last Name,First Name,Email Address,A1 Convolution
Date,,,2026-11-27
Points,,,100
Lovelace,Ada,ada@uni,
Boole,George,b@uni,
"""
SAKAI = """\
"Student ID","Student Name","A1 Convolution [100]","* A1 Convolution"
"ada","Lovelace, Ada","",""
"boole","Boole, George","",""
"""
PLAIN = """\
Login;Matrikel;A1 Convolution
ada;="001815";
boole;="001864";
"""
ALL = [
    (CANVAS, "utf-8", {}, [LOGINS, NUMBERS, LMS, PEOPLE],
     ["Manual Posting", "100", "7", "9.5", ""]),
    (CANVAS_GERMAN, "utf-8-sig", {}, [LOGINS, LMS, PEOPLE], ["100,0", "9,5", "7"]),
    (WORKSHEET, "utf-8", {}, [NUMBERS, LMS, MAILS, PEOPLE], ["9.5", "7"]),
    (MOODLE, "utf-8-sig", {}, [NUMBERS, LMS, MAILS, PEOPLE], ["9.5", "7"]),
    (MOODLE_GERMAN, "cp1252", {"column": "Bewertung"}, [LMS, MAILS], ["9.5", "7"]),
    (BLACKBOARD, "utf-16", {}, [LOGINS, ZEROS, LMS, PEOPLE], ["9.5", "7"]),
    (BRIGHTSPACE, "utf-8", {}, [LOGINS, ZEROS, MAILS, PEOPLE], ["9.5", "7"]),
    (CLASSROOM, "utf-8", {}, [MAILS, PEOPLE], ["2026-11-27", "100", "9.5", "7"]),
    (SAKAI, "utf-8", {}, [LOGINS, PEOPLE], ["9.5", "7"]),
    (PLAIN, "utf-8", {"by": "matrikel"}, [ZEROS, LMS], ["9.5", "7"]),
]  # fmt: skip
CASES = [
    pytest.param(text, encoding, told, students, due, id=f"{number}-{next(iter(students))}")
    for number, (text, encoding, told, kinds, due) in enumerate(ALL)
    for students in kinds
]


@pytest.fixture(scope="module")
def new_gradebook(tmp_path_factory):
    """A gradebook with one task, to be copied: making one takes a second."""
    path = tmp_path_factory.mktemp("new") / "gradebook.db"
    with pytest.MonkeyPatch.context() as patch:
        # nbgrader calls alembic by name when it makes a gradebook
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        with Gradebook(f"sqlite:///{path}", "cnnlab") as gradebook:
            gradebook.add_assignment(NAME)
            gradebook.add_notebook(NAME, NAME)
            gradebook.add_grade_cell("a1", NAME, NAME, max_score=10, cell_type="code")
    return path


@pytest.fixture
def course(tmp_path, new_gradebook):
    """A function that fills a gradebook with students, and their points with them."""
    folder = tmp_path / "course"
    (folder / "source" / NAME).mkdir(parents=True)
    (folder / "nbgrader_config.py").write_text(
        "c = get_config()\nc.CourseDirectory.course_id = 'cnnlab'\n"
    )
    shutil.copy(new_gradebook, folder)

    def fill(students: dict, to_read: bool = False) -> Path:
        with Gradebook(f"sqlite:///{folder}/gradebook.db", "cnnlab") as gradebook:
            for (student, told), score in zip(students.items(), POINTS, strict=False):
                gradebook.add_student(student, **{k: v for k, v in told.items() if k != "absent"})
                if not told.get("absent"):
                    grade = gradebook.add_submission(NAME, student).notebooks[0].grades[0]
                    grade.auto_score, grade.needs_manual_grade = score, to_read
            gradebook.db.commit()
        return folder

    return fill


@pytest.fixture
def filled(course, tmp_path):
    def run(students, template, encoding="utf-8", to_read=False, **told) -> list[list[str]]:
        path = tmp_path / "in.csv"
        path.write_bytes(template.encode(encoding))
        target = tmp_path / "out.csv"
        export.fill_in("a1", path, target, course(students, to_read), **told)
        return table(target.read_bytes().decode(encoding), template)

    return run


def table(text: str, template: str) -> list[list[str]]:
    delimiter = next(d for d in "\t;," if d in template)
    return list(csv.reader(text.splitlines(keepends=True), delimiter=delimiter))


@pytest.mark.parametrize("text, encoding, told, students, due", CASES)
def test_a_platform_gets_its_file_back_with_points(filled, text, encoding, told, students, due):
    rows, before = filled(students, text, encoding, **told), table(text, text)
    changed = {j for a, b in zip(rows, before, strict=True) for j, c in enumerate(a) if c != b[j]}
    assert len(changed) == 1
    (at,) = changed
    assert [row[at] for row in rows[1:]] == due


def test_the_file_s_own_marks_stay(filled, tmp_path):
    filled(LOGINS, CANVAS_GERMAN, "utf-8-sig")
    assert (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    filled({}, BLACKBOARD, "utf-16")
    assert (tmp_path / "out.csv").read_bytes()[:2] in (b"\xff\xfe", b"\xfe\xff")


@pytest.mark.parametrize("column", ["Week 3: filters", "77123", "Week 3: filters (77123)"])
def test_a_column_of_another_name_can_be_told(filled, column):
    rows = filled(LOGINS, CANVAS.replace("A1 Convolution", "Week 3: filters"), column=column)
    assert [row[5] for row in rows[3:5]] == ["7", "9.5"]


WEI = '"Wei, Wang",1,u8,wang1,one,,\n"Wei, Wang",2,u9,wang2,one,,\n'
WANG = {"first_name": "Wang", "last_name": "Wei"}


def test_two_of_one_name_are_told_apart_by_what_is_their_own(filled):
    rows = filled({"wang2": WANG}, CANVAS + WEI)
    assert [row[5] for row in rows[-2:]] == ["", "9.5"]


def test_who_did_not_hand_in_does_not_get_another_s_points(filled):
    only = "".join(CANVAS.splitlines(keepends=True)[:3]) + WEI.splitlines(keepends=True)[0]
    with pytest.raises(GradingError, match="no row of .* is known to be x1's"):
        filled({"x1": WANG, "x2": WANG | {"absent": True}}, only)


@pytest.mark.parametrize(
    "students, change, words",
    [
        ({**LOGINS, "nobody": {}}, {}, "no row of in.csv is known to be nobody's"),
        ({"jane": PEOPLE["x1"], **PEOPLE}, {}, "jane, x1's"),
        (LOGINS, {"A1 Convolution": "Other"}, "no single column .* Other"),
        (LOGINS, {"Section": NAME}, "no single column"),
        (LOGINS, {"boole": "ada"}, "Rows 4 and 5 of in.csv are both ada's"),
        (LOGINS, {"u1": "boole"}, "Row 5 of in.csv could be ada or boole's"),
        (LOGINS, {"Student": "\0"}, "no table in text"),
        ({"w": WANG}, {"ada": "ada\n" + WEI * 2}, "are both w's"),
    ],
)
def test_what_does_not_fit_is_listed_and_nothing_is_written(
    filled, tmp_path, students, change, words
):
    template = CANVAS
    for old, new in change.items():
        template = template.replace(old, new)
    with pytest.raises(GradingError, match=words):
        filled(students, template)
    assert not (tmp_path / "out.csv").exists()


def test_who_has_left_needs_no_row(filled):
    rows = filled({**LOGINS, "gone": {}}, CANVAS, without=["gone"])
    assert [row[5] for row in rows[3:5]] == ["7", "9.5"]


def test_points_are_not_final_while_answers_wait_to_be_read(filled):
    with pytest.raises(GradingError, match="wait to be read for ada, boole"):
        filled(LOGINS, CANVAS, to_read=True)


def test_unread_points_are_exported_when_told_to(filled):
    rows = filled(LOGINS, CANVAS, to_read=True, unread=True)
    assert [row[5] for row in rows[3:5]] == ["7", "9.5"]


def test_the_command_says_what_it_did_and_what_it_could_not(course, tmp_path, capsys):
    folder, path = str(course(LOGINS)), tmp_path / "grades.csv"
    path.write_text(CANVAS)
    command = ["export", "a1", str(path), str(tmp_path / "up.csv"), "--course", folder]
    assert main(command) == 0
    assert capsys.readouterr().out == f"{tmp_path}/up.csv: points of 2; none in row 2, 3, 6\n"
    assert main([*command, "--column", "Essay"]) == 1
    assert "no single column" in capsys.readouterr().err
    command[3] = str(tmp_path / "none/up.csv")
    assert main(command) == 1
    assert "up.csv cannot be written (No such file" in capsys.readouterr().err
    command[2] = str(tmp_path / "none.csv")
    assert main(command) == 1
    assert "none.csv cannot be read (No such file" in capsys.readouterr().err


def test_no_cell_is_a_formula(course, tmp_path):
    students = {"=cmd|' /C calc'!A0": {"first_name": "@SUM(1)", "last_name": "O'Neil, -2+3"}}
    with Gradebook(f"sqlite:///{course(students)}/gradebook.db", "cnnlab") as gradebook:
        plugin = export.CsvExport(to=str(tmp_path / "out.csv"), assignment=[NAME])
        plugin.export(gradebook)
    row = list(csv.reader((tmp_path / "out.csv").open()))[1]
    assert row[3:6] == ["'=cmd|' /C calc'!A0", "O'Neil, -2+3", "'@SUM(1)"]
    assert row[7:] == ["9.5", "0.0", "9.5", "10.0"]


@pytest.mark.parametrize(
    "cell", ["=1+1", "+A1", "-A1", "@x", " =1", "\t=1", "-1+2", '="A"&B1', "=A1", "--1"]
)
def test_a_formula_is_written_as_text(cell):
    assert export.inert(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["", "-", "-3", "+1.5", "-2,5", "Ada", "a=1", "3-4", '="007"'])
def test_what_is_no_formula_stays(cell):
    assert export.inert(cell) == cell
