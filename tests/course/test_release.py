"""What students get: all they need, and nothing that gives an answer away."""

import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def archive() -> dict[str, bytes]:
    """The files of the archive that `make release` writes, by name."""
    subprocess.run(["make", "--old-file=.venv/.ready", "release"], cwd=ROOT, check=True)
    with tarfile.open(ROOT / "dist" / "cnnlab.tar.gz") as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}


def test_it_holds_what_a_student_needs(archive):
    assert {
        "cnnlab/README.md",
        "cnnlab/Makefile",
        "cnnlab/pyproject.toml",
        "cnnlab/constraints.txt",
        "cnnlab/cnnlab/checks/judge.py",
        "cnnlab/lectures/01_convolution.ipynb",
        "cnnlab/assignments/a1_convolution/a1_convolution.ipynb",
    } <= set(archive)


def test_it_holds_no_solution_no_test_and_no_key(archive):
    for name, content in archive.items():
        top = name.split("/")[1]
        assert top not in ("solutions", "tests", ".ci", "docs"), name
        assert not name.endswith((".cnnlab_key", ".db")), name
        assert b"BEGIN SOLUTION" not in content and b"BEGIN HIDDEN" not in content, name
