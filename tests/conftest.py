"""A whole course in a temporary folder, as an instructor has it on grading day."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


class Course:
    """A folder with solutions, releases and a gradebook of its own."""

    def __init__(self, folder: Path):
        self.folder = folder

    def run(self, module: str, *args: str, status: int = 0, **env: str) -> str:
        """What ``python -m module args`` prints; it has to exit with ``status``."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            [sys.executable, "-m", module, *args],
            cwd=self.folder,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def submit(self, student: str, assignment: str, notebook: str) -> None:
        """Put a notebook's text where nbgrader collects it."""
        folder = self.folder / "submitted" / student / assignment
        folder.mkdir(parents=True)
        (folder / f"{assignment}.ipynb").write_text(notebook)


@pytest.fixture(scope="session")
def generated_course(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    shutil.copy(ROOT / "nbgrader_config.py", folder)
    shutil.copytree(
        ROOT / "solutions",
        folder / "solutions",
        ignore=shutil.ignore_patterns(".ipynb_checkpoints"),
    )
    course = Course(folder)
    for source in sorted((folder / "solutions").iterdir()):
        course.run("nbgrader", "generate_assignment", source.name)
    return folder


@pytest.fixture
def course(generated_course, tmp_path) -> Course:
    """A course whose assignments have just been generated."""
    shutil.copytree(generated_course, tmp_path / "course")
    return Course(tmp_path / "course")
