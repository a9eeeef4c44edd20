"""Grade the submissions of an assignment: many at once, resumable, into nbgrader's gradebook.

The coordinator alone opens the gradebook. Workers get a submission, judge it, and hand back all
that is to be entered, as nbgrader would have written it. It lies in ``reports/`` before it is
entered: a run that is killed loses nothing and judges nothing twice. Some submissions are entered
at a time, in one transaction; their files follow it.

Whatever is wrong with one submission becomes one sentence about it, and the others go on.
"""

import gc
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import nbgrader.api
from nbgrader.api import Gradebook, MissingEntry, Student
from nbgrader.apps.api import NbGraderAPI
from nbgrader.converters import Autograde
from nbgrader.preprocessors import AssignLatePenalties
from nbgrader.utils import find_all_files
from tqdm import tqdm
from traitlets.config import Config

from cnnlab import assignments, checks
from cnnlab.assignments.variant import variant_of
from cnnlab.grading import gradebook, intake, zygote
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
from cnnlab.grading.gradebook import Standing
from cnnlab.grading.key import course_key
from cnnlab.grading.outside import prepare, task_of
from cnnlab.grading.report import write_class_report, write_student_page
from cnnlab.grading.similarity import alike
from cnnlab.grading.worker import in_processes, on_cluster

__all__ = ["Grade", "GradingError", "grade"]

MOST = 16  # workers a core: beyond that they only take each other's memory
SLACK = 120  # seconds that a worker has beyond its notebook's own
BATCH, BYTES, WAIT = 32, 16 << 20, 1.0  # submissions, size and seconds of what is entered at once


@dataclass(frozen=True)
class Grade:
    """What a submission got; ``problem`` says why where it could not be graded.

    ``evidence`` counts what a human should look at; ``kept`` says that nothing had changed
    since an earlier run.
    """

    student: str
    score: float | None
    max_score: float | None
    needs_reading: bool = False
    problem: str = ""
    evidence: int = 0
    kept: bool = False


def grade(
    assignment: str,
    students: Iterable[str] = (),
    course: str | os.PathLike = ".",
    *,
    source: str | os.PathLike | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    again: bool = False,
    limits: dict | None = None,
) -> list[Grade]:
    """Grade what stands in ``submitted/<student>/<assignment>/``.

    Scores and feedback go into nbgrader's gradebook and ``autograded/`` folder, a report for
    each submission and one for the class into ``reports/<assignment>/``. A submission that
    cannot be graded is set aside with the reason; the others go on.

    Parameters
    ----------
    assignment : str
        Its folder's name, or the beginning of it that is unique (``"a1"``).
    students : iterable of str
        Grade these only; all who submitted, if empty.
    course : path
        The folder of the course, with its ``nbgrader_config.py``.
    source : path, optional
        First collect submissions from this folder, or zip file of Canvas or Moodle.
    workers : int, optional
        Processes on this machine; as many as it has cores, and one more, unless told.
    scheduler : str, optional
        The address of Dask's scheduler, ``"tcp://host:8786"``: grade on its workers instead.
    again : bool
        Judge also what has not changed since the last run.
    limits : dict, optional
        Traits of `JudgeOutside`, beyond the configuration's: ``{"timeout": 60}``.

    Raises
    ------
    GradingError
        If there is no such assignment, submission, or course, if the gradebook or the disk
        cannot be used, or if the host forbids the sandbox.
    """
    most = MOST * _cores()
    if workers is not None and not 0 < workers <= most:
        raise GradingError(f"There have to be workers, 1 to {most} on this machine: not {workers}.")
    for name in ("timeout", "notebook_seconds"):
        if (seconds := (limits or {}).get(name)) is not None and seconds <= 0:
            raise GradingError(f"{name} has to be more than 0 seconds, and it is {seconds}.")
    with inside(course) as course, ExitStack() as held:
        if scheduler is None:
            zygote.start()  # imports torch while we look around
        session = _Session(course, assignment, limits or {})
        held.enter_context(alone(session.folder))
        if source is not None:
            session.collect(source)
        wanted = session.students(students)
        done, ready = session.settled(wanted) if not again else ({}, [])
        todo = [name for name in wanted if name not in done and name not in ready]
        seconds = session.limits.get("notebook_seconds", 300) + SLACK
        if scheduler is not None:
            results = on_cluster(todo, session.job, scheduler)
        else:
            prepare(session.tasks, session.key)
            gc.freeze()  # what is loaded stays: no collection here or in a worker need look at it
            results = in_processes(todo, session.job, workers or _cores() + 1, seconds)
        failed = 0
        tqdm.monitor_interval = 0
        with tqdm(total=len(wanted), unit="", disable=None) as bar:
            bar.update(len(done))
            for name, result in _chain(ready, results):
                if refused := (result or {}).get("refused"):
                    raise GradingError(f"{refused[0].upper()}{refused[1:]}")
                for grade in session.enter(name, result):
                    done[grade.student] = grade
                    failed += bool(grade.problem)
                    bar.update()
                bar.set_postfix_str(f"{failed} not graded" if failed else "")
                session.progress(bar.n, len(wanted))
            done |= {grade.student: grade for grade in session.flush()}
            bar.update(len(wanted) - bar.n)
        session.finish()
        left = [Grade(name, None, None, problem=why) for name, why in session.left_out.items()]
        return [done[name] for name in wanted] + left


def _chain(ready: list[str], results: Iterator) -> Iterator[tuple[str, dict | None]]:
    yield from ((name, None) for name in ready)
    yield from results


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


class _Session:
    """One run over one assignment."""

    def __init__(self, course: Path, assignment: str, limits: dict):
        self.said: list[str] = []
        self.left_out: dict[str, str] = {}
        self._notes: dict[str, dict] = {}
        self._pending: dict[str, dict] = {}  # what is to be entered, by student
        self._size, self._since = 0, 0.0
        self._next = time.monotonic() + 10.0  # when the class's report shows progress
        try:
            self.key = course_key(course)
        except (OSError, ValueError) as error:
            raise GradingError(f"The course's key cannot be used ({error}).") from None
        config = configuration(course)
        self.limits = dict(config.JudgeOutside) | limits
        self.api = NbGraderAPI(config=config)
        self.name = full_name(assignment, self.api)
        where = self.api.coursedir.format_path(self.api.coursedir.release_directory, ".", self.name)
        self.releases = {path.stem: path.read_text() for path in Path(where).glob("*.ipynb")}
        self.files = {str(p.relative_to(where)): p.read_bytes() for p in _others(Path(where))}
        self.folder = course / "reports" / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self._prepare_entering(config)
        self._load_tasks()
        self._check_gradebook()
        code = sorted(
            path
            for part in (checks, assignments)
            for path in Path(part.__file__).parent.glob("*.py")
        )
        rules = [
            text.encode()
            for text in (*self.releases.values(), json.dumps(self.limits), *self.source)
        ]
        rules += [path.read_bytes() for path in code]
        rules += [part for kv in self.files.items() for part in (kv[0].encode(), kv[1])]
        parts = (*rules, json.dumps(self.steps, default=str).encode(), self.key)
        self.rules = b"".join(hashlib.sha256(part).digest() for part in parts)

    def _prepare_entering(self, config: Config) -> None:
        """What nbgrader's own ``autograde`` is told in the configuration."""
        course = self.api.coursedir
        self.book = Gradebook(course.db_url, course.course_id)
        self.book.close()
        self.stock = Autograde(coursedir=course, parent=self.api)
        steps = [
            step.rpartition(".")
            for step in map(_path, config.Autograde.get("autograde_preprocessors", []))
        ]
        names = [f"{module}.{name}" for module, _, name in steps if name not in OURS]
        sections = {
            name: dict(config[name]) for _, _, name in steps if name not in OURS and name in config
        }
        self.steps = names, sections
        self.late = None
        if any(name == "AssignLatePenalties" for _, _, name in steps):
            late = AssignLatePenalties(parent=self.api)
            late.init_plugin()
            self.late = late.plugin_inst
        where = course.format_path(course.source_directory, ".", self.name)
        apart = {os.path.join(where, f) for f in self.stock.exclude_overwriting.get(self.name, [])}
        found = set(find_all_files(where, [*course.ignore, "*.ipynb"])) - apart
        self.masters = {os.path.relpath(path, where): Path(path) for path in sorted(found)}

    def _load_tasks(self) -> None:
        course = self.api.coursedir
        path = Path(course.format_path(course.source_directory, ".", self.name), "tasks.py")
        try:
            released = [nbformat.reads(text, as_version=4) for text in self.releases.values()]
            variant = max(map(variant_of, released), default="")
            self.source = path.read_text(encoding="utf-8"), path.name, variant
            self.known = assignments.tasks_from(*self.source)
        except OSError as error:
            raise GradingError(
                f"{path} cannot be read ({error.strerror}): without it nothing can be graded."
            ) from None
        except checks.TasksError as error:
            raise GradingError(f"{path.parent}: {error}") from None

    def _check_gradebook(self) -> None:
        with self._gradebook() as gradebook:
            try:
                known = gradebook.find_assignment(self.name)
                gradebook.db.query(nbgrader.api.Grade).first()  # fails in another version's
            except MissingEntry:
                raise GradingError(
                    f"The gradebook does not know {self.name} yet: run `make assignments` first, "
                    f"or `nbgrader generate_assignment --force {self.name}` for this one."
                ) from None
            entered = {(c.name, c.max_score) for n in known.notebooks for c in n.grade_cells}
        cells = [
            cell
            for text in self.releases.values()
            for cell in nbformat.reads(text, as_version=4).cells
            if cell.metadata.get("nbgrader", {}).get("grade")
        ]
        released = {
            (cell.metadata.nbgrader.grade_id, float(cell.metadata.nbgrader.points))
            for cell in cells
        }
        self.tasks = [task for cell in cells if (task := task_of(cell, self.known))]
        if entered != released:
            odd = sorted({name for name, _ in entered ^ released})
            raise GradingError(
                f"The gradebook and the release of {self.name} do not agree (on "
                f"{', '.join(odd[:3])}): the gradebook is another course's, or `make assignments` "
                "has to be run."
            )

    @contextmanager
    def _gradebook(self):
        """Nothing of it is open before or after: neither a lock nor what a fork would share."""
        try:
            yield self.book
        finally:
            self.book.close()

    def collect(self, source: str | os.PathLike) -> None:
        """Take in what a learning platform handed out."""
        releases = {name: nbformat.v4.reads(text) for name, text in self.releases.items()}
        submitted = self.api.coursedir.submitted_directory
        self.said = intake.collect(source, self.name, submitted, releases, self.left_out)

    def students(self, asked: Iterable[str]) -> list[str]:
        root = Path(self.api.coursedir.submitted_directory).resolve()
        names = sorted(os.listdir(root)) if root.is_dir() else []
        submitted = [name for name in names if os.path.isdir(self._submitted(name))]
        wanted = sorted(set(asked)) or submitted
        if absent := sorted(set(wanted) - set(submitted)):
            raise GradingError(
                f"{', '.join(absent)}: no submission of {self.name} from this student."
            )
        if not wanted and not self.left_out:
            raise GradingError(f"There is no submission of {self.name} in {root}.")
        return wanted

    def _submitted(self, student: str) -> Path:
        course = self.api.coursedir
        return Path(course.format_path(course.submitted_directory, student, self.name))

    def job(self, student: str) -> dict:
        """What a worker needs to judge a submission, or why there is nothing to judge."""
        notes = {"signs": [], "refused": [], "fingerprint": "", "timestamp": ""}
        self._notes[student] = notes
        try:
            folder = self._submitted(student)
            notes["signs"] = intake.drop_links(folder) + intake.odd_times(folder)
            kept, notes["refused"] = intake.allowed_files(folder)
            notes["timestamp"] = intake.timestamp(folder)
            notes["fingerprint"] = self._fingerprint(student)
            return {
                "student": student,
                "assignment": self.name,
                "found": intake.candidates(folder),
                "files": {f: intake.read_text(folder / f) for f in kept} | self.files,
                "releases": self.releases,
                "key": self.key,
                "tasks": self.source,
                "limits": self.limits,
                "steps": self.steps,
            }
        except Exception as error:
            if is_ours(error):
                raise
            return {"problem": sentence(error)}

    def _fingerprint(self, student: str) -> str:
        return intake.digest_of(self._submitted(student), self.rules)

    def _path(self, student: str, end: str) -> Path:
        return self.folder / f"{student}{end}"

    def settled(self, wanted: list[str]) -> tuple[dict[str, Grade], list[str]]:
        """Whose grade stands as it is, and whose lies judged since a run that was cut short."""
        done, ready = {}, []
        for start in range(0, len(wanted), BATCH):
            reports = {}
            for student in wanted[start : start + BATCH]:
                report = read(self._path(student, ".json"))
                judged = read(self._path(student, ".judged"))
                if report or judged:
                    fingerprint = self._known_fingerprint(student)
                    if judged and judged.get("fingerprint") == fingerprint and "scores" in judged:
                        ready.append(student)
                    elif report and report.get("fingerprint") == fingerprint:
                        reports[student] = report
            kept = {student: r for student, r in reports.items() if not r["problem"]}
            with self._gradebook() as book:
                found = gradebook.standings(book.db, self.name, kept, self.late)
                book.db.commit()
            for student, standing in found.items():
                if standing.scores == kept[student]["scores"]:
                    done[student] = self._grade(student, kept[student], standing, kept=True)
        return done, ready

    def _known_fingerprint(self, student: str) -> str | None:
        try:
            return self._fingerprint(student)
        except (OSError, intake.SetAside):
            return None  # it is handled, and told about, as a new one

    def enter(self, student: str, result: dict | None) -> list[Grade]:
        """Take what a worker found, or ``None`` where it lies there from an earlier run.

        Returns the grades of those that have been entered, with others or not yet.
        """
        path = self._path(student, ".judged")
        try:
            if result is None:
                result = read(path)
            else:
                result = _complete(result, self._notes.pop(student))
                write(path, result, safe=False)  # what is lost with the machine is judged again
        except Exception as error:
            if is_ours(error):
                raise
            return [Grade(student, None, None, problem=sentence(error))]
        self._since = self._since if self._pending else time.monotonic()
        self._pending[student] = result
        self._size += sum(map(len, result["notebooks"].values()))
        full = len(self._pending) >= BATCH or self._size >= BYTES
        return self.flush() if full or time.monotonic() - self._since > WAIT else []

    def flush(self) -> list[Grade]:
        """Enter all that waits for it."""
        pending, self._pending, self._size = self._pending, {}, 0
        entered = self._record({name: r for name, r in pending.items() if not r["problem"]})
        grades = []
        for student, result in pending.items():
            try:
                grades.append(self._finish(student, result, entered.get(student)))
            except Exception as error:
                if is_ours(error):
                    raise
                grades.append(Grade(student, None, None, problem=sentence(error)))
        return grades

    def _record(self, results: dict[str, dict]) -> dict[str, Standing | Exception]:
        """Write into the gradebook: all at once, or each alone where one cannot be entered."""
        if not results:
            return {}
        try:
            with self._gradebook() as book:
                found = gradebook.enter(
                    book.db, self.name, results, self.late, self.stock.create_student
                )
                for student, result in results.items():
                    _compare(result, found[student])
                book.db.commit()
                return found
        except Exception as error:
            if is_ours(error):
                raise
            if len(results) == 1:
                return dict.fromkeys(results, error)
        return {s: found for s, r in results.items() for found in self._record({s: r}).values()}

    def _finish(self, student: str, result: dict, entered: Standing | Exception | None) -> Grade:
        """The files of a submission that has been entered: its notebook and its report."""
        if isinstance(entered, Exception):
            result["problem"], entered = sentence(entered), None
        if entered:
            self._file(student, result)
        report = {
            "student": student,
            "assignment": self.name,
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "scores": entered.scores if entered else {},
            **{key: result[key] for key in ("problem", "fingerprint", "refused_files", "prints")},
            **result["report"],
        }
        write(self._path(student, ".json"), report)
        self._path(student, ".judged").unlink(missing_ok=True)
        return self._grade(student, report, entered)

    def _file(self, student: str, result: dict) -> None:
        """Put into ``autograded/`` what nbgrader would: there is the old or the new, no mixture."""
        course, submitted = self.api.coursedir, self._submitted(student)
        target = Path(course.format_path(course.autograded_directory, student, self.name))
        made, old = (target.with_name(f".{target.name}.{end}") for end in ("new", "old"))
        for folder in (made, old):
            shutil.rmtree(folder, ignore_errors=True)
        made.mkdir(parents=True)
        for shown in intake.allowed_files(submitted)[0]:
            (made / shown).parent.mkdir(parents=True, exist_ok=True)
            (made / shown).write_bytes(intake.read_text(submitted / shown))
        if result["timestamp"]:
            (made / "timestamp.txt").write_text(result["timestamp"])
        for shown, master in self.masters.items():
            (made / shown).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(master, made / shown)
        for name, text in result["notebooks"].items():
            (made / f"{name}.ipynb").write_text(text, encoding="utf-8")
        if os.path.lexists(target):
            os.rename(target, old)
        os.rename(made, target)
        shutil.rmtree(old, ignore_errors=True)
        self.stock.set_permissions(self.name, student)

    def _grade(
        self, student: str, report: dict, found: Standing | None, kept: bool = False
    ) -> Grade:
        signs = len(report["evidence"])
        if found is None:
            return Grade(student, None, None, problem=report["problem"], evidence=signs)
        reading = bool(found.waiting)
        return Grade(student, found.score, found.max_score, reading, "", signs, kept)

    def progress(self, done: int, of: int) -> None:
        """Now and then, the class's report as far as it has come."""
        if (began := time.monotonic()) > self._next:
            write_class_report(
                self._page("class"), self.name, self._everybody(), running=(done, of)
            )
            ended = time.monotonic()
            self._next = ended + max(10.0, 20 * (ended - began))

    def finish(self) -> None:
        """The class's report, and a page for each student."""
        said = [f"{name} was not taken in: {why}" for name, why in self.left_out.items()]
        said += self.said
        prints: dict[str, list[int]] = {}

        def reports() -> Iterator[dict]:
            for report in self._everybody():
                if not report.get("absent"):
                    prints[report["student"]] = report.pop("prints", [])
                    write_student_page(self._page("students", report["student"]), report)
                yield report

        def pairs() -> Iterator[tuple]:  # when all reports have been read
            try:
                yield from alike(prints)
            except Exception as error:
                said.append(f"Nobody's work was compared with another's: {sentence(error)}")

        write_class_report(self._page("class"), self.name, reports(), pairs(), said)

    def _page(self, *names: str) -> Path:
        return self.folder.joinpath(*names[:-1], f"{names[-1]}.html")

    def _everybody(self) -> Iterator[dict]:
        """The reports, with what the gradebook and the folders say now; also of those without."""
        with self._gradebook() as book:
            enrolled = {
                student: " ".join(filter(None, names))
                for student, *names in book.db.query(*ENROLLED).order_by(Student.id)
            }
        for name, why in self.left_out.items():
            yield {"student": name, "assignment": self.name, "problem": why, "absent": why}
        graded = sorted(path.stem for path in self.folder.glob("*.json"))
        course, feedback = self.api.coursedir, "feedback"
        for start in range(0, len(graded), BATCH):
            names = graded[start : start + BATCH]
            with self._gradebook() as book:
                found = gradebook.standings(book.db, self.name, filter(_is_text, names))
            for name in names:
                report = read(self._path(name, ".json"))
                if report and report.keys() >= {"scores", "fingerprint"}:
                    where = Path(course.format_path(feedback, name, self.name))
                    pages = sorted(where.glob("*.html"))
                    report["feedback"] = os.path.relpath(pages[0], course.root) if pages else ""
                    report["standing"] = None if report["problem"] else found.get(name)
                    yield report | {"name": enrolled.get(name, "")}
        for name in sorted(enrolled.keys() - set(graded) - self.left_out.keys()):
            there = os.path.isdir(self._submitted(name))
            absent = "handed in, not graded yet" if there else "nothing handed in"
            yield {
                "student": name,
                "assignment": self.name,
                "name": enrolled[name],
                "absent": absent,
            }


ENROLLED = Student.id, Student.first_name, Student.last_name
# Of nbgrader's preprocessors, what is done by the judge, by the gradebook, or of no use after them.
OURS = ("JudgeOutside", "SaveAutoGrades", "AssignLatePenalties", "CheckCellMetadata")


def _is_text(name: str) -> bool:
    """Whether a folder's name is one that a database takes."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _path(step: str | type) -> str:
    return step if isinstance(step, str) else f"{step.__module__}.{step.__name__}"


def _complete(result: dict, notes: dict) -> dict:
    """What a worker found, with what was noted before it got the submission."""
    report = {"tasks": {}, "evidence": [], "seconds": {}}
    nothing = {"problem": "", "notebooks": {}, "scores": {}, "comments": {}, "prints": []}
    found = nothing | result
    found["report"] = report | result.get("report", {})
    found["report"]["evidence"] += notes["signs"]
    found["refused_files"] = notes["refused"] + result.get("refused_files", [])
    return found | {key: notes[key] for key in ("fingerprint", "timestamp")}


def _compare(result: dict, entered: Standing) -> None:
    """Whether the gradebook holds the points that were given."""
    given = {cell: v for cells in result["scores"].values() for cell, v in cells.items()}
    judged = {name: verdict["points"] for name, verdict in result["report"]["tasks"].items()}
    if odd := [c for c, v in (given | judged).items() if entered.scores.get(c, v) != v]:
        raise ValueError(f"other points were entered than were given for {', '.join(odd)}")


def _others(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".ipynb", ".checks")
    ]
