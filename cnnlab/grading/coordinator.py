"""Grade the submissions of an assignment: many at once, resumable, into nbgrader's gradebook.

The coordinator alone opens the gradebook. Workers get a submission and hand back the judged
notebook, which lies in ``reports/`` before it is entered: a run that is killed loses nothing
and judges nothing twice. Entering is nbgrader's own ``autograde`` with the judged notebook in
the place of what was handed in, which is read once and never again, so that its scores, comments
and late penalties are its own.

Whatever is wrong with one submission becomes one sentence about it, and the others go on.
"""

import errno
import fcntl
import functools
import gc
import json
import os
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import nbgrader.api
from nbconvert.exporters import NotebookExporter
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps import NbGrader
from nbgrader.apps.api import NbGraderAPI
from nbgrader.converters import Autograde
from nbgrader.utils import capture_log, temp_attrs
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from tqdm import tqdm
from traitlets.config import Config

from cnnlab import assignments, checks
from cnnlab.assignments.variant import variant_of
from cnnlab.grading import intake, zygote
from cnnlab.grading.key import course_key
from cnnlab.grading.outside import prepare, task_of
from cnnlab.grading.report import write_class_report
from cnnlab.grading.similarity import alike
from cnnlab.grading.worker import in_processes, on_cluster

__all__ = ["Grade", "GradingError", "grade"]

SLACK = 120  # seconds that a worker has beyond its notebook's own


class GradingError(RuntimeError):
    """Grading cannot begin or go on; the message says what to do."""


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
    course = Path(course).resolve()
    if not (course / "nbgrader_config.py").is_file():
        raise GradingError(
            f"{course} holds no nbgrader_config.py: run this in the course's folder."
        )
    if workers is not None and workers < 1:
        raise GradingError(f"There have to be workers, at least one, and not {workers}.")
    for name in ("timeout", "notebook_seconds"):
        if (seconds := (limits or {}).get(name)) is not None and seconds <= 0:
            raise GradingError(f"{name} has to be more than 0 seconds, and it is {seconds}.")
    if scheduler is None:
        zygote.start()  # imports torch while we look around
    with chdir(course), _in_sentences(), _one_engine(), ExitStack() as held:
        session = _Session(course, assignment, limits or {})
        held.enter_context(_alone(session.folder))
        if source is not None:
            session.collect(source)
        wanted = session.students(students)
        done = {name: session.kept(name) for name in wanted} if not again else {}
        todo = [name for name in wanted if not done.get(name)]
        ready = [name for name in todo if not again and session.judged(name)]
        todo = [name for name in todo if name not in ready]
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
            bar.update(len(wanted) - len(todo) - len(ready))
            for name, result in _chain(ready, results):
                if refused := (result or {}).get("refused"):
                    raise GradingError(f"{refused[0].upper()}{refused[1:]}")
                done[name] = session.enter(name, result)
                failed += bool(done[name].problem)
                bar.set_postfix_str(f"{failed} not graded" if failed else "")
                bar.update()
        session.finish()
        left = [Grade(name, None, None, problem=why) for name, why in session.left_out.items()]
        return [done[name] for name in wanted] + left


def _chain(ready: list[str], results: Iterator) -> Iterator[tuple[str, dict | None]]:
    yield from ((name, None) for name in ready)
    yield from results


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@contextmanager
def _alone(folder: Path):
    """One run at a time over an assignment: a second one waits for the first."""
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Another run grades {folder.name}: waiting for it.", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_ours(error: Exception) -> bool:
    """Whether an error is the gradebook's or the disk's, and not one submission's."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
    return isinstance(error, OperationalError) or getattr(error, "errno", None) in full


def _sentence(error: Exception) -> str:
    """What went wrong in handling one submission."""
    if isinstance(error, intake.SetAside):
        return intake.printable(error)
    reason = str(error).splitlines()[0][:200] if str(error) else ""
    return intake.printable(f"It cannot be handled ({type(error).__name__}: {reason})")


@contextmanager
def _one_engine():
    """nbgrader opens the gradebook nine times a submission: let it compile its SQL once."""
    create = nbgrader.api.create_engine
    nbgrader.api.create_engine = functools.cache(create)
    try:
        yield
    finally:
        nbgrader.api.create_engine = create


@contextmanager
def _in_sentences():
    """What can go wrong around us, in one sentence each."""
    try:
        yield
    except intake.SetAside as error:
        raise GradingError(str(error)) from None
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        raise GradingError(
            f"The gradebook cannot be used ({reason}): nothing in it was changed. If it is busy, "
            "close what else has it open; if it is of another version, run `nbgrader db upgrade`."
        ) from None
    except OSError as error:
        raise GradingError(
            f"Grading stopped ({error}); what was graded is kept, run the command again to go on."
        ) from None


class _Enter(Autograde):
    """nbgrader's entering of one submission, whatever characters its folder's name has."""

    def init_notebooks(self) -> None:
        course = self.coursedir
        folder = self._format_source(course.assignment_id, course.student_id)
        self.assignments = {folder: [str(path) for path in sorted(Path(folder).glob("*.ipynb"))]}


class _Session:
    """One run over one assignment."""

    def __init__(self, course: Path, assignment: str, limits: dict):
        self.said: list[str] = []
        self.left_out: dict[str, str] = {}
        self._notes: dict[str, tuple] = {}
        try:
            self.key = course_key(course)
        except (OSError, ValueError) as error:
            raise GradingError(f"The course's key cannot be used ({error}).") from None
        config = _config(course)
        self.limits = dict(config.JudgeOutside) | limits
        self.api = NbGraderAPI(config=config)
        self.name = _full_name(assignment, self.api)
        where = self.api.coursedir.format_path(self.api.coursedir.release_directory, ".", self.name)
        self.releases = {path.stem: path.read_text() for path in Path(where).glob("*.ipynb")}
        self.files = {str(p.relative_to(where)): p.read_bytes() for p in _others(Path(where))}
        self.folder = course / "reports" / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self._incoming = self.folder / ".incoming"
        shutil.rmtree(self._incoming, ignore_errors=True)  # of a run that was killed
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
        self.rules = [*rules, self.key]

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
        course = self.api.coursedir
        with Gradebook(course.db_url, course.course_id) as gradebook:
            yield gradebook

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
        signs: list[str] = []
        refused: list[str] = []
        fingerprint = ""
        try:
            folder = self._submitted(student)
            signs += intake.drop_links(folder) + intake.odd_times(folder)
            kept, said = intake.allowed_files(folder)
            refused += said
            found, notebooks = intake.candidates(folder), {}
            for name, release in self.releases.items():
                release = nbformat.v4.reads(release)
                if (best := intake.choose(found, name, release, refused)) is not None:
                    notebooks[name] = best.text
                    if best.path != f"{name}.ipynb":
                        refused.append(f"{best.path} is graded as {name}.ipynb")
            fingerprint = self._fingerprint(student)
            return {
                "student": student,
                "notebooks": notebooks,
                "files": {f: intake.read_text(folder / f) for f in kept} | self.files,
                "releases": self.releases,
                "key": self.key,
                "tasks": self.source,
                "limits": self.limits,
            }
        except Exception as error:
            if _is_ours(error):
                raise
            return {"problem": _sentence(error)}
        finally:
            self._notes[student] = (signs, refused, fingerprint)

    def _fingerprint(self, student: str) -> str:
        return intake.digest_of(self._submitted(student), *self.rules)

    def _path(self, student: str, end: str) -> Path:
        return self.folder / f"{student}{end}"

    def judged(self, student: str) -> dict | None:
        """What a worker found in this very submission in a run that was cut short."""
        return self._unchanged(student, ".judged.json")

    def _unchanged(self, student: str, end: str) -> dict | None:
        """What an earlier run wrote about this very submission."""
        try:
            found = _read(self._path(student, end))
            return found if found and found["fingerprint"] == self._fingerprint(student) else None
        except (OSError, KeyError, intake.SetAside):
            return None  # it is handled, and told about, as a new one

    def kept(self, student: str) -> Grade | None:
        """The grade of a submission that has not changed, if the gradebook still has it."""
        report = self._unchanged(student, ".json")
        if not report or report["problem"]:
            return None
        entered = self._entered(student)
        return self._grade(student, report, kept=True) if entered == report["scores"] else None

    def _entered(self, student: str) -> dict:
        with self._gradebook() as gradebook:
            try:
                submission = gradebook.find_submission(self.name, student)
            except MissingEntry:
                return {}
            return {g.name: g.auto_score for n in submission.notebooks for g in n.grades}

    def enter(self, student: str, result: dict | None) -> Grade:
        """Enter what a worker found; ``None`` where it lies there from an earlier run."""
        try:
            return self._entry(student, result)
        except Exception as error:
            if _is_ours(error):
                raise
            return Grade(student, None, None, problem=_sentence(error))

    def _entry(self, student: str, result: dict | None) -> Grade:
        judged = self._path(student, ".judged.json")
        if result is None:
            result = _read(judged)
        else:
            signs, refused, fingerprint = self._notes.pop(student)
            result |= {"fingerprint": fingerprint, "refused_files": refused}
            found = {"tasks": {}, "evidence": [], "repaired": [], "to_read": [], "seconds": {}}
            result["report"] = found | result.get("report", {})
            result["report"]["evidence"] += signs
            _write(judged, result)
        problem, notebooks = result.get("problem", ""), result.get("notebooks", {})
        if not problem:
            problem = self._autograde(student, notebooks)
        scores = {} if problem else self._entered(student)
        judgements = result["report"]["tasks"].items()
        if odd := [name for name, v in judgements if scores.get(name, v["points"]) != v["points"]]:
            problem = f"nbgrader entered other points than were given for {', '.join(odd)}."
        report = {
            "student": student,
            "assignment": self.name,
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "problem": problem,
            "scores": scores,
            "fingerprint": result["fingerprint"],
            "refused_files": result["refused_files"],
            **result["report"],
        }
        report["code"] = {} if problem else _answers(notebooks)
        _write(self._path(student, ".json"), report)
        judged.unlink()
        return self._grade(student, report)

    def _autograde(self, student: str, notebooks: dict[str, str]) -> str:
        """Let nbgrader enter a submission that consists of what we have read and judged."""
        submitted, course = self._submitted(student), self.api.coursedir
        folder = self._incoming / student / self.name
        try:
            folder.mkdir(parents=True)
            for shown in intake.allowed_files(submitted)[0]:
                (folder / shown).parent.mkdir(parents=True, exist_ok=True)
                (folder / shown).write_bytes(intake.read_text(submitted / shown))
            if stamp := intake.timestamp(submitted):
                (folder / "timestamp.txt").write_text(stamp)
            for name, text in notebooks.items():
                (folder / f"{name}.ipynb").write_text(text)
            told = {"assignment_id": self.name, "student_id": student}
            told["submitted_directory"] = str(self._incoming.relative_to(course.root))
            with warnings.catch_warnings(), temp_attrs(course, **told):
                warnings.simplefilter("ignore")  # nbgrader's and nbformat's, without consequence
                app = _Enter(coursedir=course, parent=self.api)
                app.force = True
                outcome = capture_log(app)
        finally:
            shutil.rmtree(self._incoming / student, ignore_errors=True)
        if outcome["success"]:
            return ""
        if "sqlalchemy.exc." in (reason := _reason(outcome)):
            raise OperationalError(None, None, reason.split(") ", 1)[-1][:200])
        return intake.printable(reason)

    def _grade(self, student: str, report: dict, kept: bool = False) -> Grade:
        signs = len(report.get("evidence", []))
        if report["problem"]:
            return Grade(student, None, None, problem=report["problem"], evidence=signs)
        with self._gradebook() as gradebook:
            found = gradebook.find_submission(self.name, student)
            score = max(0.0, found.score - found.late_submission_penalty)
            reading = found.needs_manual_grade
            return Grade(student, score, found.max_score, reading, "", signs, kept)

    def finish(self) -> None:
        """The class's report, from the reports of all submissions."""
        reports = [_read(path) for path in sorted(self.folder.glob("*.json"))]
        reports = [r for r in reports if r and "scores" in r and "fingerprint" in r]
        said = [f"{name} was not taken in: {why}" for name, why in self.left_out.items()]
        said += self.said
        try:
            release = _answers(self.releases)
            pairs = alike({r["student"]: r["code"] for r in reports}, release)
        except Exception as error:
            pairs = []
            said.append(f"Nobody's work was compared with another's: {_sentence(error)}")
        write_class_report(self.folder / "class.html", self.name, reports, pairs, said)


def _config(course: Path) -> Config:
    app = NbGrader()
    app.config_file_paths.append(str(course))
    app.load_config_file()
    config = app.config
    config.CourseDirectory.root = str(course)
    config.Autograde.exporter_class = NotebookExporter
    config.Autograde.sanitize_preprocessors = []
    steps = list(config.Autograde.get("autograde_preprocessors", []))
    done = ("JudgeOutside", "CheckCellMetadata")  # by the worker, or of no use after it
    config.Autograde.autograde_preprocessors = [
        step for step in steps if not str(step).endswith(done)
    ]
    return config


def _full_name(assignment: str, api: NbGraderAPI) -> str:
    known = sorted(api.get_source_assignments() | api.get_released_assignments())
    found = [name for name in known if name == assignment or name.startswith(assignment + "_")]
    if len(found) != 1:
        raise GradingError(f"There is no assignment {assignment!r}; there is: {', '.join(known)}.")
    return found[0]


def _others(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".ipynb", ".checks")
    ]


def _answers(notebooks: dict[str, str]) -> dict[str, str]:
    """What a student wrote, as one text a cell, by the cell's name or number."""
    found = {}
    for name, text in notebooks.items():
        for index, cell in enumerate(json.loads(text)["cells"]):
            told = cell["metadata"].get("nbgrader", {})
            if cell["cell_type"] == "code" and not told.get("grade"):
                source = "".join(cell["source"])
                found[told.get("grade_id") or f"{name}, cell {index}"] = source
    return found


def _read(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _write(path: Path, content: dict) -> None:
    """All or nothing, also where the machine stops in the middle."""
    made = path.with_suffix(".part")
    with open(made, "w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(made, path)


def _reason(outcome: dict) -> str:
    """The sentence in nbgrader's log that says what went wrong."""
    lines = [
        line.strip() for line in (outcome.get("log") or outcome.get("error") or "").splitlines()
    ]
    raised = [line for line in lines if line.split(":")[0].endswith(("Error", "Exception"))]
    errors = [line.split("ERROR]")[-1].strip() for line in lines if "ERROR]" in line]
    return (raised or errors or ["nbgrader gave no reason"])[-1]
