"""Stock nbgrader against ``cnnlab grade`` on the same submissions, with the sandbox on.

Both grade a class of assignment 1 from the command line, in turns, each time from an empty
gradebook; then the grades are compared one by one.

    python -m benchmarks.grading [--submissions 48] [--rounds 2] [--cluster 2 4] [--many 500]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep

import nbformat
import psutil
from nbgrader.api import Gradebook

from benchmarks._report import interleaved, ratio, save, time

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
    done = subprocess.run([sys.executable, "-m", *words], cwd=folder, env=_environment(),
                          capture_output=True, text=True)  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stdout}{done.stderr}")


def _environment() -> dict:
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


def stages(folder: Path) -> dict[str, float]:
    """Seconds of a submission in its worker, stage by stage: the median of the class."""
    reports = [json.loads(p.read_text()) for p in (folder / "reports" / NAME).glob("*.json")]
    names = ("kernel", "cells", "tasks", "total")
    return {name: statistics.median(r["seconds"].get(name, 0) for r in reports) for name in names}


def peak_memory(folder: Path) -> tuple[int, float]:
    """The coordinator's largest resident size, in MiB, and the seconds of a run."""
    forget(folder)
    began, largest = perf_counter(), 0
    process = psutil.Popen([sys.executable, "-m", "cnnlab", "grade", "a1"], cwd=folder,
                           env=_environment(), stdout=subprocess.DEVNULL)  # fmt: skip
    while process.poll() is None:
        try:
            largest = max(largest, process.memory_info().rss)
        except psutil.Error:
            break
        sleep(0.2)
    process.wait()
    return largest >> 20, perf_counter() - began


def busy() -> float:
    """Seconds that this machine's processors have worked."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system


@contextmanager
def cluster(workers: int):
    """Dask's scheduler and workers on this machine; gives the address."""
    from distributed import Client

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    worker = ["distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
    running = [
        subprocess.Popen([sys.executable, "-m", *words, "--no-dashboard"], env=_environment(),
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for words in [scheduler, *[worker] * workers]
    ]  # fmt: skip
    try:
        with Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=120)
        yield address
    finally:
        for process in running:
            process.kill()
            process.wait()


def on_clusters(folder: Path, counts: list[int], grade: Callable) -> tuple[list, str]:
    """``(workers, seconds, predicted seconds)`` of each cluster, and whence the prediction."""

    def timed(address: str, *students: str) -> tuple[float, float]:
        forget(folder)
        began, spent = perf_counter(), busy()
        grade("--scheduler", address, *students)
        return perf_counter() - began, busy() - spent

    measured = {}
    for workers in [1, *counts]:
        with cluster(workers) as address:
            some = [f"--student=student{i:03}" for i in range(2 * workers)]
            timed(address, *some)  # each worker has graded before: its start does not count
            measured[workers], _ = alone = timed(address)
            if workers == 1:
                (wall, work), (start, least) = alone, timed(address, some[0])
    cores = os.cpu_count()
    rows = [
        (w, measured[w], start + max((wall - start) / w, (work - least) / cores)) for w in counts
    ]
    return rows, (
        f"Predicted from a cluster of one worker, which took {wall:.1f} s, and {start:.1f} s for "
        "one submission: what lies between is divided among the workers, but not below the "
        f"{work - least:.1f} s of processor time in it, divided among {cores} cores."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--submissions", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cluster", type=int, nargs="*", default=[2, 4], metavar="WORKERS")
    parser.add_argument("--many", type=int, default=500, help="also the memory of so many; 0: no")
    options = parser.parse_args()
    config = (ROOT / "nbgrader_config.py").read_text()
    stock = config[: config.index("# Grading, whoever starts it")]
    with tempfile.TemporaryDirectory() as temporary:
        theirs, ours = Path(temporary, "stock"), Path(temporary, "ours")
        make_course(theirs, stock, options.submissions)
        make_course(ours, config, options.submissions)
        waiting = {"stock": theirs, "ours": ours}

        def fresh(folder: Path) -> None:
            if (folder / "autograded").exists():
                forget(folder)

        def grade_stock() -> None:
            run(waiting["stock"], "nbgrader", "autograde", NAME)

        def grade_ours(*more: str) -> None:
            run(waiting["ours"], "cnnlab", "grade", "a1", *more)

        seconds: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            fresh(theirs), fresh(ours)
            candidates = {"stock nbgrader": grade_stock, "cnnlab grade": grade_ours}
            for name, found in interleaved(candidates, rounds=1, warmup=0).items():
                seconds.setdefault(name, []).extend(found)
        a, b = grades(theirs), grades(ours)
        equal = sum(a[key] == b.get(key) for key in a)
        spent = stages(ours)
        reference = seconds["stock nbgrader"]
        rows = [
            [name, time(found), statistics.median(found) / options.submissions,
             ratio(reference, found), ""]
            for name, found in seconds.items()
        ]  # fmt: skip
        notes = [
            f"{equal} of {len(a)} grades of {options.submissions} submissions are equal.",
            "A submission in its worker, medians: kernel ready {kernel:.2f} s, its cells "
            "{cells:.2f} s, the tasks judged {tasks:.2f} s, in all {total:.2f} s.".format(**spent),
            f"Load of the machine at the end: {os.getloadavg()[1]:.1f} processes on "
            f"{os.cpu_count()} cores.",
        ]
        if options.cluster:
            found, note = on_clusters(ours, options.cluster, grade_ours)
            once = [statistics.median(reference)]
            rows += [
                [f"on a Dask cluster of {workers} workers", time([took]),
                 took / options.submissions, ratio(once, [took]), f"{foreseen:.1f} s"]
                for workers, took, foreseen in found
            ]  # fmt: skip
            notes.append(note)
        if options.many:
            few, _ = peak_memory(ours)
            many = Path(temporary, "many")
            make_course(many, config, options.many)
            most, took = peak_memory(many)
            notes.append(
                f"The coordinator's largest memory: {few} MiB with {options.submissions} "
                f"submissions, {most} MiB with {options.many} (in {took:.0f} s)."
            )
        save(
            "grading",
            title="Grading a class",
            question=f"How long do {options.submissions} submissions of assignment 1 take, from "
            "the command to the gradebook?",
            columns=["grader", "all", "seconds each", "times as fast", "predicted"],
            rows=rows,
            packages=["nbgrader", "torch", "ipykernel"],
            notes=notes,
        )


if __name__ == "__main__":
    main()
