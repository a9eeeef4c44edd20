"""Stock nbgrader against ``cnnlab grade`` on the same submissions, with the sandbox on.

Both grade a class of assignment 1 from the command line, from an empty gradebook; then the grades
are compared one by one. Otter-grader grades some of the class, in an environment of its own. Then
2,000 submissions are entered that have been judged before. `benchmarks.grading_scale` is about
clusters.

    python -m benchmarks.grading [--submissions 48] [--entered 2000] [--otter 12]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep

import nbformat
import psutil
from nbgrader.api import Gradebook

from benchmarks import otter
from benchmarks._report import ratio, save, time

ROOT = Path(__file__).parents[1]
NAME = "a1_convolution"
WRONG = {
    "a1-window": "def window_response(image, kernel, row, col):\n    return image[row, col] * 2",
    "a1-output-size": "def output_size(n, k, padding=0, stride=1):\n    return n - k + 1",
    "a1-flip": "def true_convolution(image, kernel):\n    return conv2d_loops(image, kernel)",
    "a1-counts": "counts = {}",
}


def make_course(folder: Path, config: str, submissions: int) -> None:
    """A course with a class that is partly right, partly wrong and partly has written nothing."""
    shutil.copytree(ROOT / "solutions" / NAME, folder / "solutions" / NAME)
    (folder / "nbgrader_config.py").write_text(config)
    run(folder, "nbgrader", "generate_assignment", NAME)
    make_class(folder, submissions)


def make_class(folder: Path, submissions: int) -> None:
    for number in range(submissions):
        notebook = nbformat.read(folder / "solutions" / NAME / f"{NAME}.ipynb", 4)
        release = nbformat.read(folder / "assignments" / NAME / f"{NAME}.ipynb", 4)
        blank = {c.metadata.nbgrader.grade_id: c for c in release.cells if "nbgrader" in c.metadata}
        for place, cell in enumerate(notebook.cells):
            name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
            task = name.removesuffix("-answer")
            if name.endswith("-answer") and task in WRONG and (number + place) % 4 == 0:
                cell.source = WRONG[task]
            elif name.endswith("-match-answer") and number % 6 == 5:
                cell.source = blank[name].source
        path = folder / "submitted" / f"student{number:03}" / NAME
        path.mkdir(parents=True)
        nbformat.write(notebook, path / f"{NAME}.ipynb")


def run(folder: Path, *words: str) -> None:
    """A command of the course, as an instructor gives it."""
    done = subprocess.run([sys.executable, "-m", *words], cwd=folder, env=environment(),
                          capture_output=True, text=True)  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stdout}{done.stderr}")


def environment() -> dict:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, "OMP_NUM_THREADS": "1"}


def forget(folder: Path) -> None:
    """As if nothing had been graded."""
    for name in ("autograded", "reports"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "gradebook.db").unlink()
    run(folder, "nbgrader", "generate_assignment", "--force", NAME)


def grades(folder: Path) -> dict:
    with Gradebook(f"sqlite:///{folder}/gradebook.db", "cnnlab") as gradebook:
        return {
            (s.student_id, g.name): g.auto_score
            for s in gradebook.assignment_submissions(NAME)
            for n in s.notebooks
            for g in n.grades
        }


def reports_of(folder: Path) -> list[dict]:
    return [json.loads(p.read_text()) for p in (folder / "reports" / NAME).glob("*.json")]


def stages(folder: Path) -> dict[str, float]:
    """Seconds of a submission in its worker, stage by stage: the median of the class."""
    reports = reports_of(folder)
    names = ("kernel", "cells", "tasks", "total")
    return {name: statistics.median(r["seconds"].get(name, 0) for r in reports) for name in names}


def watched(folder: Path, *words: str) -> tuple[float, float, int]:
    """Run ``cnnlab grade``; its wall and processor seconds and its largest resident size in MiB.

    Of the coordinator alone: its workers and their kernels count for themselves.
    """
    began = perf_counter()
    command = [sys.executable, "-m", "cnnlab", "grade", "a1", *words]
    process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL)
    status, largest, spent = psutil.Process(process.pid), 0, 0.0
    while process.poll() is None:
        try:
            with status.oneshot():
                largest = max(largest, status.memory_info().rss)
                spent = status.cpu_times().user + status.cpu_times().system
        except psutil.Error:
            break
        sleep(0.02)
    if process.wait():
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return perf_counter() - began, spent, largest >> 20


def judged_before(folder: Path, submissions: int, distinct: int = 24) -> None:
    """Submissions that all have been judged, by a run that was killed before it entered any."""
    forget(folder)
    shutil.rmtree(folder / "submitted")
    make_class(folder, distinct)
    keep = (
        "import sys\nfrom cnnlab.grading import coordinator\n"
        "coordinator._Session.flush = lambda self: []\n"
        "coordinator._Session.finish = lambda self: sys.exit(0)\n"
        "from cnnlab.cli import main\nmain(['grade', 'a1'])"
    )
    code = [sys.executable, "-c", keep]
    subprocess.run(code, cwd=folder, env=environment(), check=True, capture_output=True)
    reports = folder / "reports" / NAME
    for number in range(distinct, submissions):
        old, new = f"student{number % distinct:03}", f"student{number:03}"
        shutil.copytree(folder / "submitted" / old, folder / "submitted" / new)
        shutil.copy(reports / f"{old}.judged", reports / f"{new}.judged")


def entering(folder: Path, few: int, many: int) -> dict[str, float]:
    """What entering submissions costs the coordinator, which were all judged before."""
    found = {}
    for submissions in (few, many):
        judged_before(folder, submissions)
        found[submissions] = watched(folder)
        if len(entered := grades(folder)) != 11 * submissions:
            raise RuntimeError(f"{len(entered)} grades of {submissions} submissions were entered")
    (few_wall, few_spent, few_mib), (wall, spent, mib) = found.values()
    return {
        "wall": (wall - few_wall) / (many - few),
        "processor": (spent - few_spent) / (many - few),
        "few": few_mib,
        "many": mib,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--submissions", type=int, default=48)
    parser.add_argument("--entered", type=int, default=2000, help="judged before; 0: no such part")
    parser.add_argument("--otter", type=int, default=12, help="submissions for otter; 0: without")
    options = parser.parse_args()
    config = (ROOT / "nbgrader_config.py").read_text()
    stock = config[: config.index("# Grading, whoever starts it")]
    with tempfile.TemporaryDirectory() as temporary:
        theirs, ours = Path(temporary, "stock"), Path(temporary, "ours")
        make_course(theirs, stock, options.submissions)
        make_course(ours, config, options.submissions)
        # Ours before and after: what the machine does besides would be seen in the difference.
        seconds = {"cnnlab grade": [watched(ours)[0]]}
        seconds["stock nbgrader"] = [timed(run, theirs, "nbgrader", "autograde", NAME)]
        forget(ours)
        seconds["cnnlab grade --figures"] = [watched(ours, "--figures")[0]]
        forget(ours)
        seconds["cnnlab grade"].append(watched(ours)[0])
        a, b = grades(theirs), grades(ours)
        equal = sum(a[key] == b.get(key) for key in a)
        spent = stages(ours)
        each = {name: [s / options.submissions for s in found] for name, found in seconds.items()}
        notes = [
            f"{equal} of {len(a)} grades of {options.submissions} submissions are equal. Each has "
            "one figure, which stock nbgrader draws, and `cnnlab grade` only with `--figures`: "
            "nobody marks it.",
            "A submission in its worker, medians: kernel ready {kernel:.2f} s, its cells "
            "{cells:.2f} s, the tasks judged {tasks:.2f} s, in all {total:.2f} s.".format(**spent),
            f"Load of the machine at the end: {os.getloadavg()[1]:.1f} processes on "
            f"{os.cpu_count()} cores. Python's bytecode is kept from one process to the next"
            f"{' in no grader here' if sys.dont_write_bytecode else ''}.",
        ]
        if options.otter:
            took, said = otter.graded(ours, NAME, options.otter, b)
            each["otter run, without Docker"] = [took / options.otter]
            notes += said
        reference = each["stock nbgrader"]
        rows = [
            [name, time(found), ratio(reference * len(found), found)]
            for name, found in each.items()
        ]
        if options.entered:
            costs = entering(ours, 50, options.entered)
            notes.append(
                "The coordinator enters a submission that was judged before in "
                f"{1000 * costs['wall']:.1f} ms ({1000 * costs['processor']:.1f} ms of processor "
                f"time), from {options.entered:,} of them; its largest memory is "
                f"{costs['few']:.0f} MiB with 50 and {costs['many']:.0f} MiB with "
                f"{options.entered:,}."
            )
        save(
            "grading",
            title="Grading a class",
            question=f"How long does a submission of assignment 1 take, in a class of "
            f"{options.submissions}, from the command to the gradebook?",
            columns=["grader", "each", "times as fast"],
            rows=rows,
            packages=["nbgrader", "torch", "ipykernel"],
            notes=notes,
        )


def timed(call: Callable, *args) -> float:
    began = perf_counter()
    call(*args)
    return perf_counter() - began


if __name__ == "__main__":
    main()
