"""Grade the submissions of an assignment through nbgrader, judged from outside."""

import os
import sys
import warnings
from collections.abc import Iterable
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps import NbGrader
from nbgrader.apps.api import NbGraderAPI
from sqlalchemy.exc import SAWarning
from traitlets.config import Config

from cnnlab.grading.key import KEY_FILE, course_key
from cnnlab.grading.outside import JudgeOutside

__all__ = ["Grade", "GradingError", "grade"]


class GradingError(RuntimeError):
    """Grading cannot begin; the message says what to do."""


@dataclass(frozen=True)
class Grade:
    """What a submission got; ``problem`` says why where it could not be graded."""

    student: str
    score: float | None
    max_score: float | None
    needs_reading: bool = False
    problem: str = ""


def grade(
    assignment: str, students: Iterable[str] = (), course: str | os.PathLike = "."
) -> list[Grade]:
    """Grade what stands in ``submitted/<student>/<assignment>/``, a student at a time.

    Scores and feedback go into nbgrader's gradebook and ``autograded/`` folder. A submission
    that cannot be graded is set aside with the reason; the others go on.

    Parameters
    ----------
    assignment : str
        Its folder's name, or the beginning of it that is unique (``"a1"``).
    students : iterable of str
        Grade these only; all who submitted, if empty.
    course : path
        The folder of the course, with its ``nbgrader_config.py``.

    Raises
    ------
    GradingError
        If there is no such assignment, submission, or course.
    """
    course = Path(course).resolve()
    if not (course / "nbgrader_config.py").is_file():
        raise GradingError(
            f"{course} holds no nbgrader_config.py: run this in the course's folder."
        )
    # nbgrader calls alembic by name when it makes a gradebook.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with chdir(course):
        config = _config(course)
        api = NbGraderAPI(config=config)
        name = _full_name(assignment, api)
        submitted = sorted(api.get_submitted_students(name))
        wanted = sorted(set(students)) or submitted
        if absent := sorted(set(wanted) - set(submitted)):
            raise GradingError(f"{', '.join(absent)}: no submission of {name} from this student.")
        if not wanted:
            raise GradingError(f"There is no submission of {name} in {course / 'submitted'}.")
        return [_grade_one(api, name, student) for student in wanted]


def _config(course: Path) -> Config:
    try:
        course_key(course)
    except (OSError, ValueError) as error:
        raise GradingError(f"The course's key cannot be used ({error}).") from None
    app = NbGrader()
    app.config_file_paths.append(str(course))
    app.load_config_file()
    config = app.config
    config.CourseDirectory.root = str(course)
    config.JudgeOutside.key_file = str(course / KEY_FILE)
    config.Autograde.autograde_preprocessors = [
        JudgeOutside,
        "nbgrader.preprocessors.IgnorePattern",
        "nbconvert.preprocessors.ClearMetadataPreprocessor",
        "nbgrader.preprocessors.LimitOutput",
        "nbgrader.preprocessors.SaveAutoGrades",
        "nbgrader.preprocessors.AssignLatePenalties",
        "nbgrader.preprocessors.CheckCellMetadata",
    ]
    return config


def _full_name(assignment: str, api: NbGraderAPI) -> str:
    known = sorted(api.get_source_assignments())
    found = [name for name in known if name == assignment or name.startswith(assignment + "_")]
    if len(found) != 1:
        raise GradingError(f"There is no assignment {assignment!r}; there is: {', '.join(known)}.")
    with Gradebook(api.coursedir.db_url, api.coursedir.course_id) as gradebook:
        try:
            gradebook.find_assignment(found[0])
        except MissingEntry:
            raise GradingError(
                f"The gradebook does not know {found[0]} yet: run `make assignments` first."
            ) from None
    return found[0]


def _grade_one(api: NbGraderAPI, assignment: str, student: str) -> Grade:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)  # nbgrader's own, without consequence
        outcome = api.autograde(assignment, student, force=True, create=True)
    if not outcome["success"]:
        return Grade(student, None, None, problem=_reason(outcome))
    with Gradebook(api.coursedir.db_url, api.coursedir.course_id) as gradebook:
        found = gradebook.find_submission(assignment, student)
        return Grade(student, found.score, found.max_score, found.needs_manual_grade)


def _reason(outcome: dict) -> str:
    """The sentence in nbgrader's log that says what went wrong."""
    lines = [line.strip() for line in (outcome["log"] or outcome["error"] or "").splitlines()]
    raised = [line for line in lines if line.split(":")[0].endswith(("Error", "Exception"))]
    errors = [line.split("ERROR]")[-1].strip() for line in lines if "ERROR]" in line]
    return (raised or errors or ["nbgrader gave no reason"])[-1]
