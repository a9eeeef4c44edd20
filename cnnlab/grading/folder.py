"""A course's folder, for all who grade in it: its settings, its lock, its files, its errors.

Whatever goes wrong becomes a sentence: about one submission, or, as a `GradingError`, about the
gradebook, the disk or the course, and then nothing goes on.
"""

import errno
import fcntl
import json
import os
import sys
from contextlib import chdir, contextmanager
from pathlib import Path

from nbgrader.apps import NbGrader
from nbgrader.apps.api import NbGraderAPI
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from traitlets.config import Config

from cnnlab.grading import intake

__all__ = [
    "GradingError", "alone", "configuration", "full_name", "inside", "is_ours", "read", "sentence",
    "write",
]  # fmt: skip


class GradingError(RuntimeError):
    """Grading cannot begin or go on; the message says what to do."""


@contextmanager
def inside(course: str | os.PathLike):
    """Work in the folder of a course; what goes wrong around us is one sentence. Gives its path."""
    course = Path(course).resolve()
    if not (course / "nbgrader_config.py").is_file():
        raise GradingError(
            f"{course} holds no nbgrader_config.py: run this in the course's folder."
        )
    with chdir(course), _in_sentences():
        yield course


def configuration(course: Path) -> Config:
    app = NbGrader()
    app.config_file_paths.append(str(course))
    app.load_config_file()
    app.config.CourseDirectory.root = str(course)
    return app.config


def full_name(assignment: str, api: NbGraderAPI) -> str:
    known = sorted(api.get_source_assignments() | api.get_released_assignments())
    found = [name for name in known if name == assignment or name.startswith(assignment + "_")]
    if len(found) != 1:
        raise GradingError(f"There is no assignment {assignment!r}; there is: {', '.join(known)}.")
    return found[0]


@contextmanager
def alone(folder: Path):
    """One run at a time over an assignment: a second one waits for the first."""
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Another run grades {folder.name}: waiting for it.", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_ours(error: Exception) -> bool:
    """Whether an error is the gradebook's or the disk's, and not one submission's."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
    return isinstance(error, OperationalError) or getattr(error, "errno", None) in full


def sentence(error: Exception) -> str:
    """What went wrong in handling one submission."""
    if isinstance(error, intake.SetAside):
        return intake.printable(error)
    reason = str(error).splitlines()[0][:200] if str(error) else ""
    return intake.printable(f"It cannot be handled ({type(error).__name__}: {reason})")


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


def read(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):  # it is not there, or bears a name that no file can
        return None


def write(path: Path, content: dict, safe: bool = True) -> None:
    """All or nothing; if it is to be ``safe``, also where the machine stops in the middle."""
    made = path.with_suffix(".part")
    with open(made, "w") as file:
        json.dump(content, file)
        file.flush()
        if safe:
            os.fsync(file.fileno())
    os.replace(made, path)
