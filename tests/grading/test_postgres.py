"""The gradebook in PostgreSQL, in a cluster of the test's own."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook
from nbgrader.utils import get_username

from tests.conftest import Course
from tests.grading.test_submissions import FULL, NAME, make_course, solved

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAMS, reason="no PostgreSQL here: `apt install postgresql`"),
    pytest.mark.skipif(not find_spec("psycopg"), reason="no psycopg: `python3 set_up.py hub`"),
]


class Cluster:
    """A database server in a folder; root lets the account postgres run it."""

    def __init__(self, folder: Path):
        self.folder, self.bin = folder, PROGRAMS[-1].parent
        self.who = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            self.who = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(folder, account.pw_uid, account.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self("initdb", "--auth=trust", "--username=grader", "--no-sync", "-D", folder / "data")

    def __call__(self, program: str, *args) -> None:
        command = [self.bin / program, *args]
        with open(self.folder / "log", "a") as log:
            where = {"cwd": self.folder, "stdout": log, "stderr": log}
            subprocess.run(command, check=True, timeout=120, **where, **self.who)

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder}"
        self("pg_ctl", "start", "--wait", "-D", self.folder / "data", "-o", options)

    def stop(self) -> None:
        self("pg_ctl", "stop", "-m", "immediate", "-D", self.folder / "data")

    def new(self, name: str) -> str:
        self("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "grader", name)
        return f"postgresql://grader@127.0.0.1:{self.port}/{name}"


@pytest.fixture(scope="module")
def cluster():
    folder = Path(tempfile.mkdtemp(prefix="cnnlab-postgres-"))
    try:
        cluster = Cluster(folder)
        cluster.start()
        yield cluster
        cluster.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return make_course(tmp_path_factory.mktemp("made") / "course").folder


@pytest.fixture
def course(made, cluster, tmp_path, request) -> Course:
    """A course whose gradebook is a new database, and whose exchange is in use."""
    shutil.copytree(made, tmp_path / "course")
    course = Course(tmp_path / "course")
    (course.folder / "gradebook.db").unlink()
    course.db = cluster.new(f"gradebook_{abs(hash(request.node.name))}")
    exchange = tmp_path / "exchange"
    exchange.mkdir()
    exchange.chmod(0o1777)
    with open(course.folder / "nbgrader_config.py", "a") as config:
        config.write(f"c.CourseDirectory.db_url = {course.db!r}\n")
        config.write(f"c.Exchange.root = {str(exchange)!r}\n")
        config.write("c.ExchangeCollect.check_owner = False\n")
    course.run("nbgrader", "generate_assignment", "--force", NAME)
    assert not (course.folder / "gradebook.db").exists()
    return course


def marks(course) -> dict:
    with Gradebook(course.db, "cnnlab") as gradebook:
        return {
            (s.student_id, g.name): g.manual_score if g.name == "a1-explain" else g.auto_score
            for s in gradebook.assignment_submissions(NAME)
            for n in s.notebooks
            for g in n.grades
        }


def mark(db: str, student: str, points: float) -> None:
    """What formgrader does when a person has typed a number."""
    with Gradebook(db, "cnnlab") as gradebook:
        grade = gradebook.find_grade("a1-explain", NAME, NAME, student)
        grade.manual_score = points
        grade.needs_manual_grade = False
        gradebook.db.commit()


def test_from_release_to_feedback_and_points(course):
    course.run("nbgrader", "release_assignment", NAME)
    student = course.folder.parent / "student"
    student.mkdir()
    home = {"HOME": str(student)}
    options = ("--Exchange.root", str(course.folder.parent / "exchange"), "--course", "cnnlab")
    taker = Course(student)
    taker.run("nbgrader", "fetch_assignment", NAME, *options, **home)
    nbformat.write(solved(course), student / NAME / f"{NAME}.ipynb")
    taker.run("nbgrader", "submit", NAME, *options, **home)
    course.run("cnnlab", "collect")
    course.run("cnnlab", "grade", "a1")
    mark(course.db, get_username(), 7)
    course.run("cnnlab", "feedback")
    taker.run("nbgrader", "fetch_feedback", NAME, *options, **home)
    page = next((student / NAME / "feedback").rglob("*.html")).read_text()
    assert f"{sum(FULL.values()) + 7.0} / {sum(FULL.values()) + 8.0}" in page
    course.run("nbgrader", "export")
    assert f",{sum(FULL.values()) + 7.0}," in (course.folder / "grades.csv").read_text()


def test_two_people_mark_while_a_run_enters(course):
    students = [f"s{number:02}" for number in range(12)]
    for student in students:
        course.submit(student, NAME, nbformat.writes(solved(course)))
    course.run("cnnlab", "grade", "a1")
    problems, tries = [], 0
    run = subprocess.Popen(
        [sys.executable, "-m", "cnnlab", "grade", "a1", "--again"], cwd=course.folder,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip

    def person(first: int) -> None:
        nonlocal tries
        points = 0
        while run.poll() is None:
            points = points % 7 + 1
            for student in students[first::2]:
                try:
                    mark(course.db, student, points)
                    tries += 1
                except Exception as error:
                    problems.append(error)
        for student in students[first::2]:
            mark(course.db, student, 1 + first)

    people = [threading.Thread(target=person, args=(first,)) for first in (0, 1)]
    for someone in people:
        someone.start()
    printed = run.communicate(timeout=300)[0]
    for someone in people:
        someone.join()
    assert run.returncode == 0, printed
    assert problems == [] and tries > len(students)
    due = {(s, task): points for s in students for task, points in FULL.items()}
    due |= {(s, "a1-explain"): 1 + number % 2 for number, s in enumerate(students)}
    assert marks(course) == due


def test_a_database_that_goes_away_costs_nothing(course, cluster):
    students = [f"s{number:02}" for number in range(6)]
    for student in students:
        course.submit(student, NAME, nbformat.writes(solved(course)))
    run = subprocess.Popen(
        [sys.executable, "-m", "cnnlab", "grade", "a1"], cwd=course.folder,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    reports = course.folder / "reports" / NAME
    while run.poll() is None and not list(reports.glob("s*.json")):
        time.sleep(0.05)
    cluster.stop()
    try:
        printed = run.communicate(timeout=300)[0]
        if run.returncode:  # else it had entered the last one
            assert "cannot be used" in printed and "Traceback" not in printed, printed
        release = course.folder / "assignments" / NAME
        before = sorted(p.name for p in release.iterdir())
        printed = course.run("nbgrader", "generate_assignment", "--force", NAME, status=1)
        assert "cannot be used" in printed and "Traceback" not in printed, printed
        assert sorted(p.name for p in release.iterdir()) == before
    finally:
        cluster.start()
    course.run("cnnlab", "grade", "a1")
    due = FULL | {"a1-explain": None}
    assert marks(course) == {(s, task): due[task] for s in students for task in due}
