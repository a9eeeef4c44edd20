"""The two ends of grading: work is collected, and what it got is handed back.

A folder in the exchange belongs to the student who made it, under a name that anybody may have
chosen. So it is read over descriptors, no link in it is followed, and it is bounded; whatever is
wrong with one becomes a sentence about it, and the others go on. What was collected takes the
place of an earlier submission when it is there as a whole.
"""

import hashlib
import json
import os
import pwd
import re
import shutil
import stat
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from nbgrader.api import Assignment, Gradebook, SubmittedAssignment, SubmittedNotebook
from nbgrader.apps.api import NbGraderAPI
from nbgrader.converters import GenerateFeedback
from nbgrader.utils import capture_log, parse_utc, temp_attrs
from sqlalchemy.orm import selectinload
from traitlets.config import Config

from cnnlab.grading import intake
from cnnlab.grading.folder import (
    GradingError,
    alone,
    configuration,
    full_name,
    inside,
    is_ours,
    read,
    sentence,
    write,
)

__all__ = ["Handled", "collect", "feedback"]

# nbgrader's name of a submission: student+assignment+time, and a part that others cannot guess.
NAME = re.compile(r"([^.\s].*?)\+([^+]+)\+([^+]+?)(\+[^+]+)?")
UNFINISHED = 600  # seconds after which a submission that was broken off is taken as it is
MOST = 2 * intake.MAX_FILE  # bytes of one submission
STATE = "feedback.state"  # beside the reports: what each student has been told


@dataclass(frozen=True)
class Handled:
    """A student for whom something was done, or, where it could not be, why (``problem``)."""

    assignment: str
    student: str
    problem: str = ""
    note: str = ""


@contextmanager
def _course(course: str | os.PathLike) -> Iterator[NbGraderAPI]:
    with inside(course) as folder:
        yield NbGraderAPI(config=configuration(folder))


@contextmanager
def _alone(api: NbGraderAPI, name: str) -> Iterator[Path]:
    """The folder of an assignment's reports, while nobody else grades or collects it."""
    folder = Path(api.coursedir.root, "reports", name)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        yield folder


def _wanted(names: Iterable[str], api: NbGraderAPI) -> list[str]:
    asked = [full_name(name, api) for name in names]
    return asked or sorted(api.get_source_assignments())


def _exchange(api: NbGraderAPI, needed: bool) -> Path | None:
    """The course's folder in the exchange; ``None`` where no exchange is configured."""
    exchange = api.exchange.Collect(coursedir=api.coursedir, parent=api)
    root = Path(exchange.root)
    if not root.is_dir():
        if not (needed or "root" in api.config.Exchange):
            return None
        raise GradingError(
            f"The exchange {root} is not there: make that folder, mode 1777, or name another one "
            "with c.Exchange.root in nbgrader_config.py. Nothing was lost."
        )
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        raise GradingError(
            f"The exchange {root} cannot be read and written by this account: its mode has to be "
            "1777. Nothing was lost."
        )
    return root / api.coursedir.course_id


# --- what comes in ---


def collect(
    names: Iterable[str] = (),
    course: str | os.PathLike = ".",
    source: str | os.PathLike | None = None,
) -> list[Handled]:
    """Put each student's last submission into ``submitted/<student>/<assignment>/``.

    Parameters
    ----------
    names : iterable of str
        Assignments, or the beginnings of their names; all, if empty.
    course : path
        The folder of the course.
    source : path, optional
        A folder or zip file of Canvas or Moodle; without it, nbgrader's exchange.

    Returns
    -------
    list of Handled
        Whose work was taken now, and whose could not be.

    Raises
    ------
    GradingError
        If there is no such course, assignment, exchange or archive, or the disk is full.
    """
    with _course(course) as api:
        names = list(names)
        wanted = _wanted(names, api)
        if source is not None and len(names) != 1:
            raise GradingError("An archive holds one assignment's submissions: say which.")
        inbound = None if source is not None else _exchange(api, needed=True) / "inbound"
        if inbound is not None and not inbound.is_dir():
            raise GradingError(
                f"Nothing has been released for {api.coursedir.course_id} in {inbound.parents[1]}: "
                "`nbgrader release_assignment` does it."
            )
        done = [] if source is not None else list(_closed(inbound, api))
        for name in wanted:
            with _alone(api, name):
                done += _from_archive(api, name, source) if source else _from(inbound, api, name)
        return done


def _closed(inbound: Path, api: NbGraderAPI) -> Iterator[Handled]:
    """What keeps students from handing in, who have accounts of their own."""
    if api.config.ExchangeCollect.get("check_owner", True) and not api.coursedir.groupshared:
        for folder, mode in ((inbound.parents[1], 0o1777), (inbound, 0o733)):
            if mode & 7 & ~folder.stat().st_mode:
                said = f"students cannot hand in: the mode of {folder} has to be {mode:o}"
                yield Handled("", "", note=said)


def _from_archive(api: NbGraderAPI, name: str, source) -> list[Handled]:
    course = api.coursedir
    release = Path(course.format_path(course.release_directory, ".", name))
    releases = {p.stem: intake.parse_notebook(p.read_bytes(), p.name)
                for p in release.glob("*.ipynb")}  # fmt: skip
    left_out: dict[str, str] = {}
    taken: list[str] = []
    said = intake.collect(source, name, course.submitted_directory, releases, left_out, taken)
    notes = [Handled(name, "", note=sentence) for sentence in said]
    refused = [Handled(name, student, why) for student, why in left_out.items()]
    return [Handled(name, student) for student in taken] + refused + notes


@dataclass
class _Submission:
    folder: str
    when: datetime
    finished: bool
    age: float


def _from(inbound: Path, api: NbGraderAPI, name: str) -> list[Handled]:
    done: list[Handled] = []
    handed_in = _handed_in(inbound, api, name, done)
    for student, theirs in sorted(handed_in.items()):
        ready = [s for s in theirs if s.finished] or [s for s in theirs if s.age > UNFINISHED]
        if not ready:
            continue  # it is being handed in at this moment
        last = max(ready, key=lambda submission: submission.when)
        course = api.coursedir
        target = Path(course.format_path(course.submitted_directory, student, name))
        stamp = intake.timestamp(target)
        if target.is_dir() and stamp and parse_utc(stamp) >= last.when:
            continue
        try:
            _take(inbound / last.folder, last.when, target)
        except Exception as error:
            if is_ours(error):
                raise
            done.append(Handled(name, student, sentence(error)))
        else:
            done.append(Handled(name, student))
    return done


def _handed_in(inbound: Path, api: NbGraderAPI, name: str, done: list) -> dict:
    """The submissions of an assignment, by student."""
    collecting = api.exchange.Collect(coursedir=api.coursedir, parent=api)
    due = None
    if collecting.before_duedate:
        with Gradebook(api.coursedir.db_url, api.coursedir.course_id) as gradebook:
            due = gradebook.find_assignment(name).duedate
    found = defaultdict(list)
    for entry in os.scandir(inbound):
        told = NAME.fullmatch(entry.name)
        if not told or told[2] != name or not entry.is_dir(follow_symlinks=False):
            continue
        student = told[1]
        try:
            when = parse_utc(told[3])
            status = entry.stat(follow_symlinks=False)
        except (ValueError, OverflowError, OSError):
            continue  # no name that nbgrader gives
        if intake.printable(student) != student or student.startswith("."):
            continue
        if collecting.check_owner and student != (owner := _account(status.st_uid)):
            why = f"a submission in this name belongs to {owner}: it was left where it is"
            done.append(Handled(name, student, why))
            continue
        finished = os.path.exists(os.path.join(entry.path, "submission_secret.txt"))
        found[student].append(
            _Submission(entry.name, when, finished, time.time() - status.st_mtime)
        )
    if due is not None:
        for student, theirs in found.items():
            found[student] = [s for s in theirs if s.when <= due] or theirs
    return found


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"account {uid}"


def _take(source: Path, when: datetime, target: Path) -> None:
    """Copy a submission; an earlier one is there until this one is."""
    part, old = (target.with_name(f".{target.name}.{end}") for end in ("part", "old"))
    for rest in (part, old):
        shutil.rmtree(rest, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        handle = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            _copy(handle, part)
        finally:
            os.close(handle)
        (part / "timestamp.txt").write_text(when.strftime("%Y-%m-%d %H:%M:%S.%f UTC"))
        if target.exists():
            target.rename(old)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _copy(handle: int, target: Path) -> None:
    left, files = MOST, 0
    for where, _, names, at in os.fwalk(".", dir_fd=handle, follow_symlinks=False):
        for name in names:
            try:
                source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
            except OSError:
                continue  # a link, or closed to us
            with os.fdopen(source, "rb") as reading:
                status = os.fstat(source)
                if not stat.S_ISREG(status.st_mode):
                    continue
                files, left = files + 1, left - status.st_size
                if files > intake.MAX_FILES or left < 0:
                    raise intake.SetAside(
                        f"It has more than {intake.MAX_FILES} files or {MOST // intake.MIB} MiB."
                    )
                path = target / where / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(reading.read(status.st_size))
            # Its owner can set the time of a change, but not that of the last one to the inode.
            changed = max(status.st_mtime, status.st_ctime)
            os.utime(path, (changed, changed))


# --- what goes back ---


class _Write(GenerateFeedback):
    """nbgrader's pages of one submission, whatever characters its folder's name has."""

    def init_notebooks(self) -> None:
        course = self.coursedir
        folder = self._format_source(course.assignment_id, course.student_id)
        self.assignments = {folder: [str(path) for path in sorted(Path(folder).glob("*.ipynb"))]}


def feedback(names: Iterable[str] = (), course: str | os.PathLike = ".") -> list[Handled]:
    """Write the feedback of all whose marks or comments have changed since they were told.

    It lies in ``feedback/<student>/<assignment>/``, and is released to those who submitted over
    an exchange.

    Returns
    -------
    list of Handled
        Who was told something new, and who could not be.

    Raises
    ------
    GradingError
        If there is no such course, assignment or exchange, or the gradebook or the disk cannot be
        used.
    """
    with _course(course) as api:
        exchange = _exchange(api, needed=False)
        done = []
        for name in _wanted(names, api):
            with _alone(api, name) as folder:
                done += _tell(api, name, exchange, folder / STATE)
        return done


def _tell(api: NbGraderAPI, name: str, exchange: Path | None, state: Path) -> list[Handled]:
    told, done = read(state) or {}, []
    course = api.coursedir
    for student, marks in sorted(_marks(api, name).items()):
        folder = Path(course.format_path(course.autograded_directory, student, name))
        page = Path(course.format_path(course.feedback_directory, student, name))
        if not folder.is_dir() or (told.get(student) == marks and page.is_dir()):
            continue
        problem = _written(api, name, student)
        if not problem and exchange and (page / "submission_secret.txt").is_file():
            outcome = api.release_feedback(name, student)
            problem = "" if outcome["success"] else _reason(outcome)
        if not problem:
            told[student] = marks
            write(state, told)
        done.append(Handled(name, student, intake.printable(problem)))
    return done


def _marks(api: NbGraderAPI, name: str) -> dict[str, str]:
    """A number of all that a student is told, by which a change is known."""
    course = api.coursedir
    notebooks = selectinload(SubmittedAssignment.notebooks)
    with Gradebook(course.db_url, course.course_id) as gradebook:
        submissions = (
            gradebook.db.query(SubmittedAssignment)
            .join(Assignment, SubmittedAssignment.assignment)
            .filter(Assignment.name == name)
            .options(
                notebooks.selectinload(SubmittedNotebook.grades),
                notebooks.selectinload(SubmittedNotebook.comments),
            )
        )
        return {s.student_id: _digest(s, course, name) for s in submissions}


def _digest(submission: SubmittedAssignment, course, name: str) -> str:
    told = [submission.late_submission_penalty, str(submission.timestamp)]
    for notebook in sorted(submission.notebooks, key=lambda n: n.name):
        told += sorted(
            (g.cell_id, g.auto_score, g.manual_score, g.extra_credit, g.needs_manual_grade)
            for g in notebook.grades
        )
        told += sorted((c.cell_id, c.auto_comment, c.manual_comment) for c in notebook.comments)
    graded = Path(course.format_path(course.autograded_directory, submission.student_id, name))
    with suppress(OSError):
        told += sorted((p.name, p.stat().st_mtime_ns) for p in graded.glob("*.ipynb"))
    return hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest()[:32]


def _written(api: NbGraderAPI, name: str, student: str) -> str:
    with temp_attrs(api.coursedir, assignment_id=name, student_id=student):
        app = _Write(coursedir=api.coursedir, parent=api)
        app.update_config(Config({"HTMLExporter": {"template_name": "feedback"}}))
        app.force = True
        outcome = capture_log(app)
    return "" if outcome["success"] else _reason(outcome)


def _reason(outcome: dict) -> str:
    """The sentence in nbgrader's log that says what went wrong."""
    said = outcome.get("log") or outcome.get("error") or ""
    lines = [line.strip() for line in said.splitlines()]
    raised = [line for line in lines if line.split(":")[0].endswith(("Error", "Exception"))]
    errors = [line.split("ERROR]")[-1].strip() for line in lines if "ERROR]" in line]
    return (raised or errors or ["nbgrader gave no reason"])[-1]
