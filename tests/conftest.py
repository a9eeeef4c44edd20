"""A whole course in a temporary folder, as an instructor has it on grading day."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[1]
collect_ignore = ["example_course"]  # its notebook is no part of this course
# A command that shall see, and lose, nothing but its own starts a zygote of its own.
ALONE = {"CNNLAB_ZYGOTE": ""}


class Course:
    """A folder with solutions, releases and a gradebook of its own."""

    def __init__(self, folder: Path):
        self.folder = folder

    def run(self, module: str, *args: str, status: int = 0, **env: str) -> str:
        """What ``python -m module args`` prints; it has to exit with ``status``."""
        return self.python("-m", module, *args, status=status, **env)

    def python(self, *args: str, status: int = 0, **env: str) -> str:
        """The same of ``python args``."""
        from tests import warm  # what needs no course needs none of what it imports

        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        known = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **env}
        ended, printed = warm.python(args, self.folder, known)
        assert ended == status, printed
        return printed

    def submit(self, student: str, assignment: str, notebook: str) -> None:
        """Put a notebook's text where nbgrader collects it."""
        folder = self.folder / "submitted" / student / assignment
        folder.mkdir(parents=True)
        (folder / f"{assignment}.ipynb").write_text(notebook)


@pytest.fixture(scope="session")
def generated_course(tmp_path_factory, worker_id) -> Path:
    """The course with its releases: made once, also where several processes test."""
    root = tmp_path_factory.getbasetemp()
    folder = (root if worker_id == "master" else root.parent) / "generated"
    ready = folder.with_suffix(".ready")
    with FileLock(folder.with_suffix(".lock")):
        if ready.exists():
            return folder
        shutil.copytree(
            ROOT / "solutions",
            folder / "solutions",
            ignore=shutil.ignore_patterns(".ipynb_checkpoints"),
        )
        shutil.copy(ROOT / "nbgrader_config.py", folder)
        Course(folder).run("cnnlab.assignments.generate")
        ready.touch()
    return folder


@pytest.fixture
def course(generated_course, tmp_path) -> Course:
    """A course whose assignments have just been generated."""
    shutil.copytree(generated_course, tmp_path / "course")
    return Course(tmp_path / "course")
