"""What students get: all they need, and nothing that gives an answer away."""

import re
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> dict[str, bytes]:
    """The files of the archive, made from what git knows as `make release` makes it."""
    path = tmp_path_factory.mktemp("release") / "cnnlab.tar"
    makefile = (ROOT / "Makefile").read_text()
    handout = re.search(r"^HANDOUT\s*:= ((?:.*\\\n)*.*)$", makefile, re.M).group(1)
    handout = handout.replace("\\\n", " ").split()
    subprocess.run(
        ["git", "archive", "--prefix=cnnlab/", f"--output={path}", "HEAD", "--", *handout],
        cwd=ROOT,
        check=True,
    )
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}


def test_it_holds_what_a_student_needs(archive):
    assert {
        "cnnlab/README.md",
        "cnnlab/Makefile",
        "cnnlab/pyproject.toml",
        "cnnlab/constraints.txt",
        "cnnlab/cnnlab/checks/a1.py",
        "cnnlab/lectures/01_convolution.ipynb",
        "cnnlab/assignments/a1_convolution/a1_convolution.ipynb",
    } <= set(archive)


def test_it_holds_no_solution_no_test_and_no_key(archive):
    for name, content in archive.items():
        top = name.split("/")[1]
        assert top not in ("solutions", "tests", ".ci", "docs"), name
        assert not name.endswith((".cnnlab_key", ".db")), name
        assert b"BEGIN SOLUTION" not in content and b"BEGIN HIDDEN" not in content, name


def test_make_release_writes_it(archive):
    done = subprocess.run(
        ["make", "--dry-run", "release"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "git archive --format=tar.gz --prefix=cnnlab/" in done.stdout
