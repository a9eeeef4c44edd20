"""The coordinator: what has changed, what is kept, what stops it, what survives its death."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import psutil
import pytest
from nbgrader.api import Gradebook

from tests.conftest import ALONE, ROOT, Course
from tests.grading.test_submissions import FULL, NAME, make_course, solved


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return make_course(tmp_path_factory.mktemp("made") / "course").folder


@pytest.fixture
def course(made, tmp_path) -> Course:
    shutil.copytree(made, tmp_path / "course")
    return Course(tmp_path / "course")


def submit(course, **students):
    for name, answers in students.items():
        shutil.rmtree(course.folder / "submitted" / name, ignore_errors=True)
        course.submit(name, NAME, nbformat.writes(solved(course, **answers)))


def entered(course) -> dict:
    """Everything in the gradebook that concerns the grades."""
    with Gradebook(f"sqlite:///{course.folder}/gradebook.db", "cnnlab") as gradebook:
        return {
            (s.student_id, g.name): (g.auto_score, g.manual_score, g.needs_manual_grade)
            for s in gradebook.assignment_submissions(NAME)
            for n in s.notebooks
            for g in n.grades
        }


def report(course, student) -> dict:
    return json.loads((course.folder / "reports" / NAME / f"{student}.json").read_text())


WRONG = {
    "output_size": "def output_size(n, k, padding=0, stride=1):\n"
    "    return (n + 2 * padding - k) // stride"
}


def test_only_what_changed_is_judged_again_and_manual_marks_stay(course):
    submit(course, ada={}, bob=WRONG)
    course.run("cnnlab", "grade", "a1")
    with Gradebook(f"sqlite:///{course.folder}/gradebook.db", "cnnlab") as gradebook:
        gradebook.find_grade("a1-explain", NAME, NAME, "bob").manual_score = 7
        gradebook.find_grade("a1-window", NAME, NAME, "bob").extra_credit = 1
        gradebook.db.commit()
    first = report(course, "ada")["when"], report(course, "bob")["when"]
    time.sleep(1.1)
    submit(course, bob={}, eve={})
    printed = course.run("cnnlab", "grade", "a1")
    assert "unchanged" in printed.splitlines()[0] and "unchanged" not in printed.splitlines()[1]
    assert report(course, "ada")["when"] == first[0] and report(course, "bob")["when"] != first[1]
    scores = entered(course)
    assert all(scores["bob", task][0] == FULL[task] for task in FULL)
    assert scores["bob", "a1-explain"][1] == 7
    printed = course.run("cnnlab", "grade", "a1", "--student", "eve", "--again")
    assert len(printed.splitlines()) == 1 and "unchanged" not in printed


def test_the_commands_of_nbgrader_give_the_same_grades(course):
    submit(course, ada={}, bob=WRONG)
    course.run("cnnlab", "grade", "a1")
    ours = entered(course)
    course.run("nbgrader", "autograde", NAME, "--force")
    assert entered(course) == ours
    assert ours["bob", "a1-output-size"][0] < 8


def test_a_report_of_each_submission(course):
    submit(course, bob=WRONG)
    course.run("cnnlab", "grade", "a1")
    found = report(course, "bob")
    task = found["tasks"]["a1-output-size"]
    assert task["misconception"] and task["hint"] and task["points"] < task["max_points"]
    assert found["seconds"]["total"] > 0 and found["scores"]["a1-window"] == 6
    assert not list((course.folder / "reports" / NAME).glob("*.judged"))


def test_late_penalties_are_nbgrader_s(course):
    with (course.folder / "nbgrader_config.py").open("a") as file:
        file.write(
            "from nbgrader.plugins import BasePlugin\n"
            "class Half(BasePlugin):\n"
            "    def late_submission_penalty(self, student, score, late):\n"
            "        return score / 2\n"
            "c.AssignLatePenalties.plugin_class = Half\n"
        )
    with Gradebook(f"sqlite:///{course.folder}/gradebook.db", "cnnlab") as gradebook:
        gradebook.update_or_create_assignment(NAME, duedate="2020-01-01")
    submit(course, ada={})
    stamp = course.folder / "submitted/ada" / NAME / "timestamp.txt"
    stamp.write_text("2020-01-02 10:00:00.000000 UTC")
    printed = course.run("cnnlab", "grade", "a1")
    assert "12.0 of 32" in printed
    with Gradebook(f"sqlite:///{course.folder}/gradebook.db", "cnnlab") as gradebook:
        gradebook.grant_extension(NAME, "ada", days=7)
    assert "24.0 of 32" in course.run("cnnlab", "grade", "a1")


# --- what stops it ---


def change(path: str, how):
    def changed(course):
        how(course.folder / path)

    return changed


def other_course(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("UPDATE base_cell SET name = 'b7-other' WHERE name = 'a1-window'")


def old_version(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE grade RENAME COLUMN extra_credit TO old")
        database.execute("ALTER TABLE grade RENAME COLUMN auto_score TO older")


STOPS = {
    "another course": (other_course, "do not agree"),
    "another version": (old_version, "cannot be used"),
    "no database": (lambda p: p.write_bytes(b"text" * 1000), "cannot be used"),
}


@pytest.mark.parametrize("name", STOPS)
def test_a_gradebook_that_does_not_fit_is_refused_and_left_alone(course, name):
    spoil, sentence = STOPS[name]
    submit(course, ada={})
    spoil(course.folder / "gradebook.db")
    before = (course.folder / "gradebook.db").read_bytes()
    printed = course.run("cnnlab", "grade", "a1", status=1)
    assert sentence in printed and "Traceback" not in printed
    if name != "another version":
        assert (course.folder / "gradebook.db").read_bytes() == before


def test_a_busy_gradebook_is_said_in_a_sentence(course):
    submit(course, ada={})
    code = (
        "import functools, sys\nfrom sqlite3 import dbapi2\nfrom cnnlab.cli import main\n"
        "dbapi2.connect = functools.partial(dbapi2.connect, timeout=1)  # else 5 s\n"
        "sys.exit(main(['grade', 'a1']))"
    )
    with sqlite3.connect(course.folder / "gradebook.db") as database:
        database.execute("BEGIN EXCLUSIVE")
        printed = course.python("-c", code, status=1)
        database.rollback()
    assert "locked" in printed and "Traceback" not in printed
    course.run("cnnlab", "grade", "a1")


def test_a_full_disk_is_said_in_a_sentence(course):
    submit(course, ada={})
    code = (
        "import resource, sys\nfrom cnnlab.grading import coordinator, zygote\nzygote.start()\n"
        "def full(*a): raise OSError(28, 'No space left on device')\n"
        "coordinator.os.fsync = full\n"
        "from cnnlab.cli import main\nsys.exit(main(['grade', 'a1']))"
    )
    printed = course.python("-c", code, status=1)
    assert "No space left on device" in printed and "Traceback" not in printed
    course.run("cnnlab", "grade", "a1")
    assert entered(course)["ada", "a1-window"][0] == 6


def test_no_scheduler_is_said_in_a_sentence(course):
    pytest.importorskip("distributed")
    submit(course, ada={})
    code = (
        "import sys, distributed\nfrom cnnlab.cli import main\nwaits = distributed.Client\n"
        "distributed.Client = lambda *a, timeout, **k: waits(*a, timeout=timeout / 10, **k)\n"
        "sys.exit(main(['grade', 'a1', '--scheduler', 'tcp://127.0.0.1:9']))"
    )
    printed = course.python("-c", code, status=1)
    assert "scheduler" in printed.lower() and "Traceback" not in printed


@pytest.mark.parametrize(
    "wrong", [("--workers", "-1"), ("--workers", "0"), ("--workers", "10000"), ("--timeout", "-5")]
)
def test_numbers_that_make_no_sense_are_refused(course, wrong):
    submit(course, ada={})
    printed = course.run("cnnlab", "grade", "a1", *wrong, status=1)
    assert wrong[1] in printed and "Traceback" not in printed


def test_two_runs_at_once_wait_for_each_other(course):
    submit(course, ada={}, bob=WRONG, eve={})
    with ThreadPoolExecutor() as both:
        printed = list(both.map(lambda _: course.run("cnnlab", "grade", "a1"), range(2)))
    assert "Another run grades a1_convolution" in "".join(printed)
    assert "Traceback" not in "".join(printed)
    assert all("24.0 of 32" in text for text in printed)


@pytest.fixture
def places():
    """An empty folder for what is temporary; its path is short, as sockets lie in it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.slow
def test_a_run_that_is_killed_leaves_nothing_behind(course, places):
    submit(course, **{f"student{i}": {} for i in range(4)})
    process = subprocess.Popen(
        [sys.executable, "-m", "cnnlab", "grade", "a1"],
        cwd=course.folder, stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(places), **ALONE},
    )  # fmt: skip
    while not list(places.glob("*/n-*")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    for _ in range(300):
        if not list(places.iterdir()):
            break
        time.sleep(0.1)
    assert not list(places.iterdir())
    course.run("cnnlab", "grade", "a1")


def test_a_machine_without_a_compiler_blames_nobody(tmp_path):
    """A kernel that cannot be judged here is no wrong one: a person is told, and it comes again."""
    name, course = "a6_cuda_convolution", Course(tmp_path / "course")
    source = course.folder / "solutions" / name / f"{name}.ipynb"
    shutil.copytree(ROOT / "solutions" / name, source.parent)
    shutil.copy(ROOT / "nbgrader_config.py", course.folder)
    notebook = nbformat.read(source, 4)
    kept = ("a6-imports", "a6-mirror-answer", "a6-mirror")
    notebook.cells = [
        c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") in kept
    ]
    nbformat.write(notebook, source)
    course.run("nbgrader", "generate_assignment", name)
    course.submit("ada", name, source.read_text())
    bare = tmp_path / "bin"
    bare.mkdir()
    for program in ("python", "alembic"):
        (bare / program).symlink_to(Path(sys.executable).parent / program)
    printed = course.run("cnnlab", "grade", "a6", status=1, PATH=str(bare), CNNLAB_CXX="")
    assert "ada  not graded: This machine cannot judge it: no C++ compiler" in printed
    assert "signs of trouble" not in printed
    if shutil.which("g++"):
        assert "10.0 of 10" in course.run("cnnlab", "grade", "a6")


# --- Dask ---


@pytest.fixture
def cluster():
    """A scheduler and workers, as processes of their own: how many is the caller's choice."""
    pytest.importorskip("distributed")
    running: list = []

    def start(workers: int) -> str:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}

        def command(*words):
            process = subprocess.Popen(
                [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]],
                env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            running.append(process)

        import socket

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        address = f"tcp://127.0.0.1:{port}"
        command("dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        for _ in range(workers):
            command("dask_worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny")
        from distributed import Client

        with Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=120)
        return address

    start.running = running
    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_cluster_gives_the_same_grades(course, cluster):
    submit(course, ada={}, bob=WRONG, eve={}, joe=WRONG)
    printed = course.run("cnnlab", "grade", "a1", "--scheduler", cluster(2))
    ours = entered(course)
    assert "ada    24.0 of 32" in printed
    (course.folder / "gradebook.db").unlink()
    shutil.rmtree(course.folder / "reports")
    course.run("nbgrader", "generate_assignment", NAME, "--force")
    course.run("cnnlab", "grade", "a1")
    assert entered(course) == ours


@pytest.mark.slow
def test_a_lost_scheduler_loses_nothing(course, cluster):
    submit(course, **{f"student{i}": {} for i in range(12)})
    address = cluster(1)
    command = [sys.executable, "-m", "cnnlab", "grade", "a1", "--scheduler", address]
    process = subprocess.Popen(
        command, cwd=course.folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while not list((course.folder / "reports" / NAME).glob("student*.json")):
        assert process.poll() is None
        time.sleep(0.1)
    cluster.running[0].kill()
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 1 and "Traceback (most recent" not in printed, printed
    course.run("cnnlab", "grade", "a1")
    assert {v[0] for (_, task), v in entered(course).items() if task == "a1-window"} == {6}


# --- kill -9 ---


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost(course):
    """20 times: the coordinator or one of its workers, at a random moment."""
    rng = random.Random(0)
    submit(course, **{f"student{i:02}": (WRONG if i % 3 else {}) for i in range(16)})
    env = {**os.environ, "PYTHONPATH": str(ROOT), **ALONE}
    command = [sys.executable, "-m", "cnnlab", "grade", "a1"]
    began = time.monotonic()
    undisturbed = Course(course.folder.with_name("undisturbed"))
    shutil.copytree(course.folder, undisturbed.folder)
    subprocess.run(command, cwd=undisturbed.folder, env=env, stdout=subprocess.DEVNULL, check=True)
    usual = time.monotonic() - began
    reports = course.folder / "reports" / NAME
    for kill in range(20):
        shutil.rmtree(reports, ignore_errors=True) if kill == 10 else None
        process = subprocess.Popen(command, cwd=course.folder, env=env, stdout=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.1, 0.9) * usual)
        if process.poll() is None:
            children = psutil.Process(process.pid).children(recursive=True)
            victim = rng.choice([process.pid, *(child.pid for child in children)])
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
            if victim == process.pid:
                process.wait()
                continue
        process.wait(timeout=600)
    course.run("cnnlab", "grade", "a1")
    assert entered(course) == entered(undisturbed)
    times = [report(course, f"student{i:02}")["when"] for i in range(16)]
    course.run("cnnlab", "grade", "a1")
    assert [report(course, f"student{i:02}")["when"] for i in range(16)] == times
