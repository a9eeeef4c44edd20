"""What students get: all they need, and nothing that gives an answer away."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import nbformat
import pytest

from cnnlab.assignments import load_tasks

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "solutions").glob("*/tasks.py"))
GIVEN = {"Trunk", "_Trunk", "_nudged"}  # what an assignment gives its students
LONG = 90  # characters without spaces: what is shorter is the library's own way to say it


def made(name: str, target: str) -> dict[str, bytes]:
    """The files of the archive that ``make target`` writes, by name; assignments are there."""
    subprocess.run(["make", "-o", "assignments", target], cwd=ROOT, check=True)
    with tarfile.open(ROOT / "dist" / name) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}


@pytest.fixture(scope="module")
def archive(generated_course) -> dict[str, bytes]:
    for path in generated_course.glob("assignments/*/*.checks"):
        shutil.copy(path, ROOT / path.relative_to(generated_course))
    return made("cnnlab.tar.gz", "release")


@pytest.fixture(scope="module")
def code(archive) -> dict[str, str]:
    """The code of the archive, without spaces, by file."""
    found = {}
    for name, content in archive.items():
        if name.endswith((".py", ".cu", ".md")):
            found[name] = content.decode()
        elif name.endswith(".ipynb"):
            cells = nbformat.reads(content.decode(), as_version=4).cells
            found[name] = "\n".join(cell.source for cell in cells)
    return {name: squeezed(text) for name, text in found.items()}


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def bodies(path: Path) -> dict[str, str]:
    """What each function, method and kernel of a file does, without spaces, by its name."""
    text = path.read_text()
    found = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            body = [n for n in node.body if not isinstance(n, ast.Expr)]
            lines = text.splitlines()[body[0].lineno - 1 : node.end_lineno] if body else []
            found[f"{path.parent.name}: {node.name}"] = squeezed("\n".join(lines))
        if isinstance(node, ast.Constant) and "__global__" in str(node.value):
            kernel = node.value.partition("{")[2]
            found[f"{path.parent.name}: line {node.lineno}"] = squeezed(kernel)
    return {name: body for name, body in found.items() if len(body) >= LONG}


def test_it_holds_what_a_student_needs(archive):
    assert {
        "cnnlab/README.md",
        "cnnlab/Makefile",
        "cnnlab/pyproject.toml",
        "cnnlab/constraints.txt",
        "cnnlab/cnnlab/checks/judge.py",
        "cnnlab/lectures/01_convolution.ipynb",
    } <= set(archive)
    for path in SOURCES:
        name = path.parent.name
        assert f"cnnlab/assignments/{name}/{name}.ipynb" in archive
        assert f"cnnlab/assignments/{name}/{name}.checks" in archive


def test_it_holds_no_solution_no_test_and_no_key(archive):
    for name, content in archive.items():
        top = name.split("/")[1]
        assert top not in ("solutions", "tests", ".ci", "docs"), name
        assert not name.endswith((".cnnlab_key", ".db", "tasks.py", "right_answers.py")), name
        if name.endswith(".ipynb"):
            assert b"BEGIN SOLUTION" not in content and b"BEGIN HIDDEN" not in content, name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.parent.name)
def test_no_reference_and_no_right_answer_stands_in_it(code, path):
    known = bodies(path) | bodies(path.with_name("right_answers.py"))
    known = {name: body for name, body in known.items() if name.split(": ")[1] not in GIVEN}
    assert len(known) > 5
    found = [(name, file) for name, body in known.items() for file in code if body in code[file]]
    assert not found


def test_the_search_finds_what_is_there(code):
    path = SOURCES[0]
    planted = code | {"planted.py": squeezed(path.read_text())}
    assert all(any(body in text for text in planted.values()) for body in bodies(path).values())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.parent.name)
def test_no_number_of_a_table_stands_beside_its_assignment(archive, path):
    name = path.parent.name
    for task in load_tasks(path.parent).values():
        if task.kind != "value":
            continue
        rows = [v if isinstance(v, dict) else {"": v} for v in task.reference().values()]
        numbers = {f"{n}" for row in rows for n in row.values() if abs(n) >= 1000}
        for file, content in archive.items():
            if f"assignments/{name}/" in file or re.match(r"cnnlab/cnnlab/(?!facts/)", file):
                text = re.sub(r"(?<=\d)[,_ ](?=\d{3})", "", content.decode("latin-1"))
                there = [n for n in numbers if re.search(rf"(?<![\d.]){n}(?![\d.])", text)]
                assert not there, (task.id, file)


def test_the_archive_knows_no_tasks_and_still_checks(archive, tmp_path):
    """With the archive's own package: no reference can be had, and feedback is as it was."""
    for name, content in archive.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    probe = """
from cnnlab.assignments import check, get_task
import cnnlab, os
assert os.path.realpath(cnnlab.__file__).startswith(os.path.realpath("../../cnnlab"))
def output_size(n, k, padding=0, stride=1): return (n + 2 * padding - k) // stride
check("a1-output-size")
task = get_task("a1-output-size")
for way in (lambda: task.reference(5, 3), lambda: task.misconceptions[0].answer(5, 3)):
    try: print("GOT", way())
    except TypeError as error: print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", probe],
        cwd=tmp_path / "cnnlab/assignments/a1_convolution",
        env={"PYTHONPATH": str(tmp_path / "cnnlab"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "a1-output-size: 0 of 8 points" in done.stdout and "Hint: " in done.stdout
    assert "GOT" not in done.stdout and "the public questions only" in done.stdout


def test_the_instructors_archive_holds_everything(archive):
    names = made("cnnlab-instructor.tar.gz", "release-instructor")
    for path in SOURCES:
        assert f"cnnlab/{path.relative_to(ROOT)}" in names
    assert "cnnlab/tests/conftest.py" in names and "cnnlab/docs/instructors.md" in names
    assert not [name for name in names if name.endswith((".cnnlab_key", ".db"))]


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
