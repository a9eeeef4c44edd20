"""Collecting from an exchange and giving feedback back, by nbgrader's own commands and ours."""

import asyncio
import fcntl
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook

from cnnlab.grading import GradingError, exchange
from cnnlab.grading.exchange import Handled
from tests.conftest import Course
from tests.grading.test_submissions import FULL, NAME, make_course, solved

SECRET = "the instructor's own"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return make_course(tmp_path_factory.mktemp("made") / "course").folder


@pytest.fixture
def course(made, tmp_path) -> Course:
    """A course with an exchange, to which its assignment is released."""
    shutil.copytree(made, tmp_path / "course")
    root = tmp_path / "exchange"
    root.mkdir()
    root.chmod(0o1777)
    with open(tmp_path / "course/nbgrader_config.py", "a") as config:
        config.write(f"c.Exchange.root = {str(root)!r}\nc.ExchangeCollect.check_owner = False\n")
    (tmp_path / "course/secret.txt").write_text(SECRET)
    (root / "cnnlab/inbound").mkdir(parents=True)
    (root / "cnnlab/inbound").chmod(0o733)
    return Course(tmp_path / "course")


def hand_in(course, student: str, minute: int, notebook=None, finished: bool = True) -> Path:
    """A submission as nbgrader's students' commands leave it in the exchange."""
    when = f"2026-11-27 10:{minute:02}:00.000000 UTC"
    folder = course.folder.parent / "exchange/cnnlab/inbound" / f"{student}+{NAME}+{when}+abc"
    folder.mkdir()
    (folder / f"{NAME}.ipynb").write_text(nbformat.writes(notebook or solved(course)))
    if finished:
        (folder / "timestamp.txt").write_text(when)
        (folder / "submission_secret.txt").write_text(f"{student} {minute}")
    return folder


def collected(course, student: str) -> str:
    return (course.folder / "submitted" / student / NAME / "timestamp.txt").read_text()[11:16]


def collect(course, *args) -> list[str]:
    """Whose submissions are taken."""
    done = exchange.collect(["a1"], course.folder, *args)
    assert all(one.assignment == NAME and not one.problem for one in done), done
    return [one.student for one in done]


def pages(course) -> dict[str, str]:
    """The feedback pages in the exchange, by name."""
    folder = course.folder.parent / "exchange/cnnlab/feedback"
    return {page.name: page.read_text() for page in folder.glob("*.html")}


def test_the_last_submission_counts_and_a_later_one_replaces_it(course):
    hand_in(course, "ada", 10)
    hand_in(course, "ada", 5)
    hand_in(course, "bob", 1)
    assert collect(course) == ["ada", "bob"]
    assert collected(course, "ada") == "10:10"
    assert collect(course) == []
    hand_in(course, "ada", 20)
    assert course.run("cnnlab", "collect") == f"{NAME}: ada: collected\n"
    assert collected(course, "ada") == "10:20"


def test_what_is_being_handed_in_waits_and_what_was_broken_off_does_not_hide_the_last(course):
    half = hand_in(course, "ada", 10, finished=False)
    assert collect(course) == []
    hand_in(course, "ada", 5)
    assert collect(course) == ["ada"]
    assert collected(course, "ada") == "10:05"
    shutil.rmtree(course.folder / "submitted")
    shutil.rmtree(next(half.parent.glob("ada*:05:*")))
    os.utime(half, (time.time() - 3600,) * 2)
    assert collect(course) == ["ada"]
    assert collected(course, "ada") == "10:10"


def test_a_student_s_folder_brings_nothing_of_the_instructor_s_along(course):
    folder = hand_in(course, "eve", 10)
    (folder / "notes.txt").symlink_to(course.folder / "secret.txt")
    (folder / "all").symlink_to(course.folder)
    os.mkfifo(folder / "pipe.txt")
    inbound = folder.parent
    (inbound / f"mallory+{NAME}+2026-11-27 10:00:00.000000 UTC+x").symlink_to(course.folder)
    (inbound / f"..+{NAME}+2026-11-27 10:00:00.000000 UTC+x").mkdir()
    (inbound / f"ada+{NAME}+yesterday+x").mkdir()
    (inbound / f"big+{NAME}+2026-11-27 10:00:00.000000 UTC+x").mkdir()
    big = inbound / f"big+{NAME}+2026-11-27 10:00:00.000000 UTC+x"
    (big / "submission_secret.txt").touch()
    with open(big / "huge.bin", "wb") as file:
        file.truncate(1 << 40)
    assert exchange.collect(["a1"], course.folder) == [
        Handled(NAME, "big", "It has more than 200 files or 200 MiB."),
        Handled(NAME, "eve"),
    ]
    assert sorted(os.listdir(course.folder / "submitted")) == ["big", "eve"]
    found = {p for p in (course.folder / "submitted").rglob("*") if not p.is_dir()}
    assert {p.name for p in found} == {f"{NAME}.ipynb", "timestamp.txt", "submission_secret.txt"}
    assert not any(SECRET in p.read_text() for p in found)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_nobody_submits_in_another_s_name(course):
    config = course.folder / "nbgrader_config.py"
    config.write_text(config.read_text().replace("check_owner = False", "check_owner = True"))
    hand_in(course, "nobody", 10)
    os.chown(hand_in(course, "nobody", 5), 65534, 65534)
    why = "a submission in this name belongs to root: it was left where it is"
    assert exchange.collect(["a1"], course.folder) == [
        Handled(NAME, "nobody", why), Handled(NAME, "nobody"),
    ]  # fmt: skip
    assert collected(course, "nobody") == "10:05"


def test_a_time_that_was_set_back_is_a_sign_of_trouble(course):
    hand_in(course, "ada", 10)  # in the past, and written now
    collect(course)
    assert "signs of trouble: 1" in course.run("cnnlab", "grade", "a1")


def test_feedback_is_given_once_and_again_when_a_person_has_marked(course):
    hand_in(course, "ada", 10)
    course.submit("lms", NAME, nbformat.writes(solved(course)))
    collect(course)
    course.run("cnnlab", "grade", "a1")
    told = exchange.feedback(["a1"], course.folder)
    assert told == [Handled(NAME, "ada"), Handled(NAME, "lms")]
    first = pages(course)
    points = float(sum(FULL.values()))
    most = points + 8
    assert len(first) == 1 and f"{points} / {most}" in next(iter(first.values()))
    assert (course.folder / "feedback/lms" / NAME / f"{NAME}.html").is_file()
    assert exchange.feedback([], course.folder) == []
    with Gradebook(f"sqlite:///{course.folder}/gradebook.db", "cnnlab") as gradebook:
        gradebook.find_grade("a1-explain", NAME, NAME, "ada").manual_score = 7
        gradebook.db.commit()
    assert course.run("cnnlab", "feedback") == f"{NAME}: ada: feedback written\n"
    second = pages(course)
    assert second.keys() == first.keys() and f"{points + 7} / {most}" in second.popitem()[1]


def test_two_that_collect_wait_for_each_other(course):
    hand_in(course, "ada", 10)
    folder = course.folder / "reports" / NAME
    folder.mkdir(parents=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [sys.executable, "-m", "cnnlab", "collect", "a1"]
        second = subprocess.Popen(
            command, cwd=course.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        said = second.stderr.readline()
        assert "waiting" in said and not (course.folder / "submitted/ada").exists()
    assert second.communicate(timeout=60)[0] == f"{NAME}: ada: collected\n"


@pytest.mark.parametrize("folder, mode", [("", 0o1777), ("cnnlab/inbound", 0o733)])
def test_an_exchange_that_is_closed_to_students_is_told_to_the_instructor(course, folder, mode):
    config = course.folder / "nbgrader_config.py"
    config.write_text(config.read_text().replace("check_owner = False", "check_owner = True"))
    assert course.run("cnnlab", "collect") == "Nothing new.\n"
    closed = course.folder.parent / "exchange" / folder
    closed.chmod(0o755)
    said = f"students cannot hand in: the mode of {closed} has to be {mode:o}\n"
    assert course.run("cnnlab", "collect") == said


def no_folder(root: Path) -> str:
    shutil.rmtree(root)
    return f"The exchange {root} is not there"


def nothing_released(root: Path) -> str:
    shutil.rmtree(root / "cnnlab")
    return "Nothing has been released"


@pytest.mark.parametrize("harm", [no_folder, nothing_released])
def test_an_exchange_that_cannot_be_used_is_told_in_a_sentence(course, harm):
    said = harm(course.folder.parent / "exchange")
    with pytest.raises(GradingError, match=said):
        exchange.collect(["a1"], course.folder)


def test_a_full_disk_loses_nothing(course, monkeypatch):
    hand_in(course, "ada", 10)
    collect(course)
    hand_in(course, "ada", 20)

    def full(self, *args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(GradingError, match="No space left on device"):
        exchange.collect(["a1"], course.folder)
    monkeypatch.undo()
    assert collected(course, "ada") == "10:10"
    assert collect(course) == ["ada"]
    assert collected(course, "ada") == "10:20"


@contextmanager
def small_disk(folder: Path, mib: int):
    """A disk of its own at this folder."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", folder]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root can mount a disk, where the machine lets it")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def tried(course, *command: str) -> tuple[int, str]:
    words = [sys.executable, "-m", "cnnlab", *command]
    done = subprocess.run(words, cwd=course.folder, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_step_costs_a_sentence_and_nothing_else(course, tmp_path):
    students = ["ada", "bob", "eve"]
    for student in students:
        hand_in(course, student, 10)
    steps, stopped = (("collect",), ("grade", "a1"), ("feedback",)), 0
    with small_disk(tmp_path / "disk", 24):
        small = Course(shutil.copytree(course.folder, tmp_path / "disk/course"))
        filler = tmp_path / "disk/filler"
        for step in steps:
            for left in (0, 24, 96, 384):  # KiB
                free = os.statvfs(filler.parent)
                filler.write_bytes(bytes(max(0, free.f_bavail * free.f_bsize - 1024 * left)))
                status, said = tried(small, *step)
                filler.unlink()
                assert "Traceback" not in said, said
                if status:
                    stopped += 1
                    assert "No space left" in said or "disk is full" in said, said
            status, said = tried(small, *step)
            assert status == 0, said
        assert stopped > len(steps)
        with Gradebook(f"sqlite:///{small.folder}/gradebook.db", "cnnlab") as gradebook:
            points = {s.student_id: s.score for s in gradebook.assignment_submissions(NAME)}
        assert points == dict.fromkeys(students, sum(FULL.values()))
        assert len(pages(course)) == len(students)
        assert tried(small, "collect") == tried(small, "feedback") == (0, "Nothing new.\n")


def test_a_submission_that_fills_the_disk_is_a_sentence_and_leaves_no_half(course, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(course.folder / "assignments" / NAME, home / NAME)

    def submit(root: Path) -> tuple[int, str]:
        options = [f"--Exchange.root={root}", f"--Exchange.cache={home}/cache", "--course=cnnlab"]
        command = [sys.executable, "-m", "nbgrader", "submit", NAME, *options]
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    with small_disk(tmp_path / "disk", 1):
        root = tmp_path / "disk"
        shutil.copytree(course.folder / "assignments" / NAME, root / "cnnlab/outbound" / NAME)
        inbound = root / "cnnlab/inbound"
        inbound.mkdir()
        free = os.statvfs(root)
        (root / "filler").write_bytes(bytes(free.f_bavail * free.f_bsize - 20 * 1024))
        status, said = submit(root)
        assert status == 1 and "Nothing was handed in: a disk is full" in said, said
        assert "Traceback" not in said and not list(inbound.iterdir())
        assert not list((home / "cache").glob("*/*"))
        (root / "filler").unlink()
        status, said = submit(root)
        assert status == 0 and len(list(inbound.iterdir())) == 1, said


@pytest.mark.slow
def test_two_services_do_everything_once(course):
    service = pytest.importorskip("cnnlab.grading.service", reason="no jupyterhub")
    students = ["ada", "bob", "eve"]
    for student in students:
        hand_in(course, student, 10)
    two = [service.Rounds(course.folder, 0) for _ in range(2)]

    async def rounds():
        await asyncio.gather(*(one.round() for one in two))

    asyncio.run(rounds())
    said = [(command, status, text) for one in two for _, command, status, text in one.said]
    assert not any(status for _, status, _ in said), said
    for word in ("collected", "feedback written"):
        done = sorted(line for _, _, text in said for line in text.splitlines() if word in line)
        assert done == [f"{NAME}: {student}: {word}" for student in students], said
    assert len(pages(course)) == len(students)


def test_an_archive_is_collected_too(course, tmp_path):
    folder = tmp_path / "download/Ada Lovelace_4711_assignsubmission_file_"
    folder.mkdir(parents=True)
    (folder / f"{NAME}.ipynb").write_text(nbformat.writes(solved(course)))
    assert collect(course, folder.parent) == ["Ada_Lovelace_4711"]
    with pytest.raises(GradingError, match="say which"):
        exchange.collect([], course.folder, folder)
