"""Otter-grader on the same assignment: ``otter run``, its way without Docker.

It stands in an environment of its own, which is made once, beside what is temporary; torch and the
course's packages are those of this Python. Each task becomes one of its test files, with the same
questions, answers and points by part, all of them hidden; the cells that say ``check`` say
``grader.check``. As many submissions are graded at once as there are cores.

    python -m benchmarks.otter

tries on it the tricks that ``tests/grading`` tries on us, each in a box of its own.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import nbformat

from benchmarks._report import save
from cnnlab import sandbox
from cnnlab.assignments import load_tasks
from cnnlab.checks import Task, seed_for
from cnnlab.grading import zygote

ROOT = Path(__file__).parents[1]

TEST = """OK_FORMAT = False
import base64, pickle
import torch
from otter.test_files import test_case

name = {name!r}
points = None
questions = pickle.loads(base64.b64decode({questions!r}))


def same(given, expected):
    if isinstance(expected, dict):
        return all(same(given[key], expected[key]) for key in expected)
    if isinstance(expected, (tuple, list)):
        return len(given) == len(expected) and all(map(same, given, expected))
    given, expected = torch.as_tensor(given), torch.as_tensor(expected)
    return given.shape == expected.shape and torch.allclose(
        given.double(), expected.double(), rtol={rtol}, atol={atol}
    )
"""
PART = """

@test_case(name={part!r}, points={points}, hidden=True)
def part_{number}(env):
    given = env[{entry!r}]
    for args, kwargs, expected in questions[{part!r}]:
        assert same({given}, expected)
"""


def environment() -> Path:
    """The Python of an environment that has otter-grader, and sees this one's packages."""
    folder = Path(tempfile.gettempdir(), "cnnlab-otter")
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "otter-grader"], check=True)
        (folder / "ready").touch()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    paths = [sysconfig.get_path("purelib"), str(ROOT)]  # of whoever measures now
    (folder / "lib" / version / "site-packages/zz_course.pth").write_text("\n".join(paths) + "\n")
    return python


def autograder(course: Path, name: str, folder: Path) -> Path:
    """The zip file that otter grades with, made by ``otter generate``."""
    tests = folder / "tests"
    tests.mkdir(parents=True)
    for task in load_tasks(course / "solutions" / name).values():
        (tests / f"{task.id}.py").write_text(_test_file(task))
    made = folder / "autograder.zip"
    words = ["generate", "-t", str(tests), "-o", str(made), "--no-config", "--no-requirements",
             "--no-environment"]  # fmt: skip
    subprocess.run([environment(), "-m", "otter", *words], check=True, cwd=folder,
                   capture_output=True)  # fmt: skip
    return made


def _test_file(task: Task) -> str:
    cases = task.make_cases(seed_for(f"{task.id}/otter", b"any key" * 5))
    asked: dict[str, list] = {part: [] for part in task.points}
    for case, expected in zip(cases, task.expected(cases), strict=True):
        asked[case.part].append((case.args, case.kwargs, expected))
    questions = base64.b64encode(pickle.dumps(asked)).decode()
    text = TEST.format(name=task.id, questions=questions, rtol=task.rtol, atol=task.atol)
    given = "given[args[0]]" if task.kind == "value" else "given(*args, **kwargs)"
    for number, (part, points) in enumerate(task.points.items()):
        text += PART.format(part=part, points=points, number=number, entry=task.entry, given=given)
    return text


def converted(text: str) -> str:
    """A submission as it would have been written for otter."""
    notebook = nbformat.reads(text, as_version=4)
    for cell in notebook.cells:
        told = cell.metadata.get("nbgrader", {})
        if told.get("grade") and not told.get("solution"):
            cell.source = f'grader.check("{told["grade_id"]}")'
    begin = 'import otter\ngrader = otter.Notebook(tests_dir="tests")'
    notebook.cells.insert(0, nbformat.v4.new_code_cell(begin))
    return nbformat.writes(notebook)


def run(notebook: Path, zipped: Path, into: Path) -> dict | None:
    """Points by task, from ``otter run``; None where there are no results."""
    into.mkdir(parents=True, exist_ok=True)
    python = environment()
    words = [str(python), "-m", "otter", "run", str(notebook), "-a", str(zipped)]
    path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    env.pop("JUPYTER_DEFAULT_PROVISIONER_NAME", None)
    subprocess.run([*words, "-o", str(into), "--no-logo"], env=env, cwd=into, capture_output=True)
    path = into / "results.json"
    return points_in(path.read_text()) if path.exists() else None


def points_in(results: str) -> dict | None:
    try:
        found = json.loads(results)["tests"]
        return {test["name"]: test["score"] for test in found if "score" in test}
    except (ValueError, KeyError, TypeError):
        return None


def graded(course: Path, name: str, count: int, ours: dict) -> tuple[float, list[str]]:
    """Seconds that so many submissions took, and what to say of them."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        zipped = autograder(course, name, folder)
        students = sorted(p.name for p in (course / "submitted").iterdir())[:count]
        for student in students:
            text = (course / "submitted" / student / name / f"{name}.ipynb").read_text()
            (folder / f"{student}.ipynb").write_text(converted(text))
        began = perf_counter()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = list(
                pool.map(lambda s: run(folder / f"{s}.ipynb", zipped, folder / "out" / s), students)
            )
        took = perf_counter() - began
    pairs = [
        (points[task], ours[student, task])
        for student, points in zip(students, found, strict=True)
        if points
        for task in points
        if ours.get((student, task)) is not None
    ]
    equal = sum(a == b for a, b in pairs)
    return took, [
        f"Otter graded {count} of the submissions with `otter run` (without Docker, "
        f"{os.cpu_count()} at once); {equal} of {len(pairs)} of its points are ours."
    ]


# --- what is tried on it ---

FOR_OTTER = {  # as the others were written for us
    "its tests pass whatever they find": "import otter.test_files.exception_test as tests\n"
    "tests.test_case.call_func = lambda self, env: None\n",
    "it counts other points": "import otter.test_files as files\n"
    "files.GradingResults.total = property(lambda self: 999)\n"
    "files.TestFile.score = property(lambda self: self.possible)\n",
}
SCRIPT = """
timeout -k 5 120 {python} -m otter run s.ipynb -a autograder.zip -o . --no-logo >/dev/null 2>&1
cat results.json 2>/dev/null; echo; echo ======; cat canary/* 2>&1; stat -c '%n %a' canary/* 2>&1
"""


def tried(notebook: nbformat.NotebookNode, zipped: Path) -> tuple[dict | None, bool]:
    """Points by task of a submission that is graded in a box, and whether a canary survived."""
    python = environment()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "s.ipynb").write_text(converted(json.dumps(notebook)))
        shutil.copy(zipped, folder / "autograder.zip")
        (folder / "canary").mkdir()
        for name in ("kernel.json", "secret", "tool"):
            (folder / "canary" / name).write_text(f"mine: {name}\n")
            (folder / "canary" / name).chmod(0o644)
        policy = sandbox.Policy(
            readable=[*zygote.readable(), python.parents[1], "/etc/hosts", ROOT],
            writable="/home/student",
            scratch=512 << 20,
            contents=folder,
            environment={"PATH": f"{python.parent}:/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
            limits=sandbox.Limits(seconds=150, memory=16 << 30, file_bytes=256 << 20,
                                  processes=200, open_files=1024),
        )  # fmt: skip
        done = sandbox.run(["/bin/sh", "-c", SCRIPT.format(python=python)], policy)
    results, _, canary = done.stdout.decode("utf-8", "replace").partition("======\n")
    kept = [f"mine: {name}" for name in ("kernel.json", "secret", "tool")]
    kept += [f"canary/{name} 644" for name in ("kernel.json", "secret", "tool")]
    return points_in(results.strip()), canary.split("\n")[:-1] == kept


def main() -> None:
    from tests.grading import test_attacks as attacks
    from tests.grading import test_submissions as submissions

    name = submissions.NAME
    with tempfile.TemporaryDirectory() as temporary:
        course = submissions.make_course(Path(temporary, "course"))
        zipped = autograder(course.folder, name, Path(temporary, "otter"))
        notebooks = {"honest": submissions.solved(course)}
        for trick in submissions.TRICKS:
            notebooks[trick] = submissions.trick(course, trick, 9, "/home/student")
        for trick, code in FOR_OTTER.items():
            notebooks[trick] = submissions.solved(course, output_size=code + submissions.WRONG)
        for at, codes in ((1, attacks.FIRST), (-1, attacks.LAST)):
            for attack, code in codes.items():
                notebook = submissions.solved(course, output_size=submissions.WRONG)
                cell = nbformat.v4.new_code_cell(code.replace("CANARY", "/home/student/canary"))
                notebook.cells.insert(at if at >= 0 else len(notebook.cells), cell)
                notebooks[attack] = notebook
        rows = []
        for trick, notebook in notebooks.items():
            points, whole = tried(notebook, zipped)
            given = "none" if points is None else f"{points.get('a1-output-size', 0):g} of 8"
            rows.append([trick, given, "" if whole else "changed"])
            print(*rows[-1], sep="\t", flush=True)
    honest, *tricks = rows
    if honest[1] != "8 of 8":
        raise RuntimeError(f"the honest submission got {honest[1]} points")
    earned = sum(row[1] == "8 of 8" for row in tricks)
    save(
        "grading_attacks",
        title="Tricks on otter-grader",
        question="What do the tricks earn, and harm, that `cnnlab grade` is tried with?",
        columns=["trick, with a wrong answer", "points", "files of the grader"],
        rows=rows,
        packages=["nbgrader"],
        notes=[
            f"{earned} of {len(tricks)} earn the full points of an answer that is wrong, and "
            f"{sum(row[1] == 'none' for row in tricks)} leave no result; on `cnnlab grade` none "
            "does (`tests/grading`). Otter 7 was run without Docker, in a sandbox of ours that "
            "forbids namespaces, tracing and key rings, and its tests were hidden. It runs them "
            "in the student's kernel, and reads their result from there."
        ],
    )


if __name__ == "__main__":
    main()
