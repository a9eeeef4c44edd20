"""What students get: all they need, and nothing that gives an answer away."""

import json
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def archive() -> dict[str, bytes]:
    """The files of the archive that `make release` writes, by name."""
    subprocess.run(["make", "release"], cwd=ROOT, check=True)
    with tarfile.open(ROOT / "dist" / "cnnlab.tar.gz") as tar:
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


def test_what_its_readme_and_makefile_name_is_there(archive):
    readme, makefile = (archive[f"cnnlab/{name}"].decode() for name in ("README.md", "Makefile"))
    named = set(re.findall(r"`([\w.-]+(?:/[\w.-]+)+|LICENSE)`", readme))
    named |= set(re.findall(r"\]\((?!http)([^)]+)\)", readme))
    named |= set(re.findall(r"[\w-]+\.py\b", makefile))
    assert {"lectures/00_start_here.ipynb", "LICENSE", "set_up.py"} <= named
    assert {f"cnnlab/{name}" for name in named} <= set(archive)
    targets = set(re.findall(r"^([a-z]+):", makefile, re.M))
    assert set(re.findall(r"`?\bmake ([a-z]+)", readme)) <= targets


def test_a_student_gets_no_instructor_s_pages(archive):
    page = json.loads(archive["cnnlab/etc/jupyter/labconfig/page_config.json"])
    assert page["disabledExtensions"]["@jupyter/nbgrader:formgrader"] is True
    server = json.loads(archive["cnnlab/etc/jupyter/jupyter_server_config.d/student.json"])
    extensions = server["ServerApp"]["jpserver_extensions"]
    assert extensions["nbgrader.server_extensions.formgrader"] is False
