"""Grade the submissions of an assignment: many at once, resumable, into nbgrader's gradebook.

The coordinator alone opens the gradebook. Workers get a submission and hand back the judged
notebook, which lies in ``reports/`` before it is entered: a run that is killed loses nothing
and judges nothing twice. Entering is nbgrader's own ``autograde`` with the judged notebook in
the place of the execution, so that its scores, comments and late penalties are its own.
"""

import functools
import gc
import hashlib
import hmac
import json
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import nbgrader.api
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps import NbGrader
from nbgrader.apps.api import NbGraderAPI
from nbgrader.preprocessors import NbGraderPreprocessor
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from tqdm import tqdm
from traitlets import Unicode
from traitlets.config import Config

from cnnlab import assignments, checks
from cnnlab.assignments.variant import variant_of
from cnnlab.grading import intake, zygote
from cnnlab.grading.key import course_key
from cnnlab.grading.outside import prepare, task_of
from cnnlab.grading.report import write_class_report
from cnnlab.grading.similarity import alike
from cnnlab.grading.worker import in_processes, on_cluster

__all__ = ["Grade", "GradingError", "TakeJudged", "grade"]

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
    if scheduler is None:
        zygote.start()  # imports torch while we look around
    with chdir(course), _in_sentences(), _one_engine():
        session = _Session(course, assignment, limits or {})
        if source is not None:
            submitted = session.api.coursedir.submitted_directory
            session.said = intake.collect(source, session.name, submitted)
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
        return [done[name] for name in wanted]


def _chain(ready: list[str], results: Iterator) -> Iterator[tuple[str, dict | None]]:
    yield from ((name, None) for name in ready)
    yield from results


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


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


class TakeJudged(NbGraderPreprocessor):
    """In nbgrader's pipeline: the notebook that a worker has judged, for the submitted one."""

    folder = Unicode().tag(config=True)

    def preprocess(self, nb, resources):
        names = resources["nbgrader"]
        path = Path(self.folder) / f"{names['student']}.judged.json"
        text = json.loads(path.read_text())["notebooks"][names["notebook"]]
        return nbformat.v4.reads(text), resources


class _Session:
    """One run over one assignment."""

    def __init__(self, course: Path, assignment: str, limits: dict):
        self.said: list[str] = []
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
        config.TakeJudged.folder = str(self.folder)
        self._load_tasks()
        self._check_gradebook()
        code = sorted(
            path
            for part in (checks, assignments)
            for path in Path(part.__file__).parent.glob("*.py")
        )
        self.rules = _digest(
            [
                *self.releases.values(),
                *self.source,
                *(p.read_text() for p in code),
                json.dumps(self.limits),
            ],
            self.files | {"key": hashlib.sha256(self.key).digest()},
        )

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
                    f"The gradebook does not know {self.name} yet: run `make assignments` first."
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

    def students(self, asked: Iterable[str]) -> list[str]:
        submitted = sorted(self.api.get_submitted_students(self.name))
        wanted = sorted(set(asked)) or submitted
        if absent := sorted(set(wanted) - set(submitted)):
            raise GradingError(
                f"{', '.join(absent)}: no submission of {self.name} from this student."
            )
        if not wanted:
            root = Path(self.api.coursedir.submitted_directory).resolve()
            raise GradingError(f"There is no submission of {self.name} in {root}.")
        return wanted

    def _submitted(self, student: str) -> Path:
        course = self.api.coursedir
        return Path(course.format_path(course.submitted_directory, student, self.name))

    def job(self, student: str) -> dict:
        """What a worker needs to judge a submission."""
        folder = self._submitted(student)
        signs = intake.drop_links(folder) + intake.odd_times(folder)
        files, refused = intake.allowed_files(folder)
        notebooks = {}
        for name in self.releases:
            path = folder / f"{name}.ipynb"
            if path.exists():
                try:
                    notebooks[name] = intake.read_text(path)
                except intake.SetAside as reason:
                    notebooks[name] = b""
                    refused.append(str(reason))
        job = {
            "student": student,
            "notebooks": notebooks,
            "files": {str(path.relative_to(folder)): path.read_bytes() for path in files},
            "releases": self.releases,
            "key": self.key,
            "tasks": self.source,
            "limits": self.limits,
        }
        self._notes[student] = (signs, refused, self._fingerprint(student))
        job["files"] |= self.files
        return job

    def _fingerprint(self, student: str) -> str:
        folder, contents = self._submitted(student), {}
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                contents[str(path.relative_to(folder))] = path.read_bytes()
        return _digest([self.rules], contents)

    def _path(self, student: str, end: str) -> Path:
        return self.folder / f"{student}{end}"

    def judged(self, student: str) -> dict | None:
        """What a worker found in this very submission in a run that was cut short."""
        found = _read(self._path(student, ".judged.json"))
        return found if found and found["fingerprint"] == self._fingerprint(student) else None

    def kept(self, student: str) -> Grade | None:
        """The grade of a submission that has not changed, if the gradebook still has it."""
        report = _read(self._path(student, ".json"))
        if not report or report["fingerprint"] != self._fingerprint(student):
            return None
        if report["problem"]:
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
        judged = self._path(student, ".judged.json")
        if result is None:
            result = _read(judged)
        else:
            signs, refused, fingerprint = self._notes.pop(student)
            result |= {"fingerprint": fingerprint, "refused_files": refused}
            result.setdefault("report", {}).setdefault("evidence", []).extend(signs)
            _write(judged, result)
        problem = result.get("problem", "")
        if not problem:
            problem = self._autograde(student)
        report = {
            "student": student,
            "assignment": self.name,
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "problem": problem,
            "scores": {} if problem else self._entered(student),
            "fingerprint": result["fingerprint"],
            "refused_files": result["refused_files"],
            **result["report"],
        }
        notebooks = result.get("notebooks", {})
        report["code"] = {} if problem else _answers(notebooks)
        _write(self._path(student, ".json"), report)
        judged.unlink()
        return self._grade(student, report)

    def _autograde(self, student: str) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nbgrader's and nbformat's, without consequence
            outcome = self.api.autograde(self.name, student, force=True, create=True)
        if outcome["success"]:
            return ""
        if "sqlalchemy.exc." in (reason := _reason(outcome)):
            raise OperationalError(None, None, reason.split(") ", 1)[-1][:200])
        return reason

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
        reports = [r for r in reports if r and "scores" in r]
        release = _answers(self.releases)
        pairs = alike({r["student"]: r["code"] for r in reports}, release)
        write_class_report(self.folder / "class.html", self.name, reports, pairs, self.said)


def _config(course: Path) -> Config:
    app = NbGrader()
    app.config_file_paths.append(str(course))
    app.load_config_file()
    config = app.config
    config.CourseDirectory.root = str(course)
    config.Autograde.sanitize_preprocessors = [TakeJudged]
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


def _digest(texts: list[str], files: dict[str, bytes]) -> str:
    digest = hmac.new(b"cnnlab", digestmod="sha256")
    for part in (*(text.encode() for text in texts), *(b for kv in files.items() for b in kv)):
        part = part.encode() if isinstance(part, str) else part
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


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
