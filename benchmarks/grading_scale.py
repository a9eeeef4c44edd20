"""Grading on many machines: measured on a few workers, simulated for many.

    python -m benchmarks.grading_scale [--submissions 48] [--cluster 2 4]    (as root: cgroups)

The simulation holds: the command's start and end, during which nobody is served; the processor
time of a submission in its worker, drawn from a measured class, and what it waits there for
anything else; that of Dask's scheduler and of the coordinator, which enters one submission after
another; the network, one transfer a direction at a time; two submissions for each worker on their
way; what these processes use only by being there; and cores, shared in equal parts by all that
compute on them, less what other processes of the machine take. All of these are measured, in a
cluster of one worker and in one that has nothing to do, and none is fitted to what is to be
predicted.

It does not hold: that a core computes less while others use the same caches and memory, that
processes get uneven parts of a core, that submissions are entered some at a time, disks and memory
that are full, and workers that die.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from time import perf_counter, sleep

import psutil

from benchmarks._report import DOCS, save, time
from benchmarks.grading import NAME, ROOT, environment, forget, make_course, reports_of

LINK = 1e9 / 8  # bytes a second of a network of 1 Gbit/s
NOTHING = 10  # seconds in which a cluster that has nothing to do is watched


@dataclass(frozen=True)
class Costs:
    """What a submission costs: seconds of a processor unless told, and bytes."""

    services: Sequence[float]  # in a worker with the student's kernel, of each submission
    wait: float = 0.0  # seconds that it spends there without computing
    schedule: float = 0.0  # in Dask's scheduler
    enter: float = 0.0  # in the coordinator
    job: float = 0.0  # bytes, to the worker
    result: float = 0.0  # and back
    start: float = 0.0  # in the coordinator, before the first submission is judged
    finish: float = 0.0  # and after the last one: the class's report
    idle: float = 0.0  # share of a core that a worker takes by being there
    idle_others: float = 0.0  # likewise scheduler and coordinator


def simulate(
    costs: Costs,
    workers: int,
    submissions: int,
    *,
    cores: float = math.inf,
    link: float = LINK,
    draw: bool = True,
    ahead: int = 2,
    seed: int = 0,
) -> float:
    """Seconds from the command to its end.

    Parameters
    ----------
    cores : how many all processes share; each has its own, by default
    draw : whether service times are drawn; else they are taken in their order, each once
    ahead : how many submissions there are for each worker, the one in work among them
    """
    rng = random.Random(seed)
    times = costs.services
    services = [rng.choice(times) if draw else times[i % len(times)] for i in range(submissions)]
    left = max(cores - workers * costs.idle - costs.idle_others, 0.1)
    # Of each step: where it is done, whether a processor does it, and what it takes.
    steps = (
        ("out", False, lambda i: costs.job / link),
        ("worker", False, lambda i: costs.wait),
        ("worker", True, lambda i: services[i]),
        ("in", False, lambda i: costs.result / link),
        ("scheduler", True, lambda i: costs.schedule),
        ("coordinator", True, lambda i: costs.enter),
    )
    waiting = {place: deque() for place, _, _ in steps}
    room = dict.fromkeys(waiting, 1) | {"worker": workers}
    active: dict[int, list] = {}  # [seconds of work left, step, submission]
    numbers, now, sent, entered = count(), costs.start / min(1.0, left), 0, 0

    while entered < submissions:
        while sent < submissions and sent - entered < ahead * workers:
            waiting["out"].append((0, sent))
            sent += 1
        for place, queue in waiting.items():
            while queue and room[place]:
                room[place] -= 1
                step, i = queue.popleft()
                active[next(numbers)] = [steps[step][2](i), step, i]
        computing = sum(steps[step][1] for _, step, _ in active.values())
        speed = min(1.0, left / computing) if computing else 1.0
        pace = [speed if computes else 1.0 for _, computes, _ in steps]
        passed = min(work / pace[step] for work, step, _ in active.values())
        now += passed
        for number, state in list(active.items()):
            state[0] -= passed * pace[state[1]]
            if state[0] > 1e-12:
                continue
            _, step, i = active.pop(number)
            after = step + 1
            if after < len(steps) and steps[after][0] == steps[step][0]:  # it stays in its place
                active[number] = [steps[after][2](i), after, i]
                continue
            room[steps[step][0]] += 1
            if after < len(steps):
                waiting[steps[after][0]].append((after, i))
            else:
                entered += 1
    return now + costs.finish / min(1.0, left)


def throughputs(costs: Costs, counts: Sequence[int], link: float = LINK) -> dict[int, float]:
    """Submissions a second of clusters of so many workers, each with a core of its own."""
    found = {}
    for workers in counts:
        submissions = 200 + 12 * workers
        graded = replace(costs, start=0.0, finish=0.0)
        found[workers] = submissions / simulate(graded, workers, submissions, link=link)
    return found


def limits(costs: Costs, link: float = LINK) -> dict[str, float]:
    """Submissions a second that the coordinator and the network can take, whatever the workers."""
    return {
        "coordinator": 1 / costs.enter,
        "network": link / max(costs.job, costs.result),
    }


def needed(costs: Costs, submissions: int, seconds: float) -> int | None:
    """The smallest number of workers that grade so many in that time; None if none does."""
    rate = submissions / seconds
    if rate > min(limits(costs).values()):
        return None
    return math.ceil(rate * (statistics.mean(costs.services) + costs.wait))


def draw(path: Path, predicted: dict[int, float], most: dict[str, float]) -> None:
    """The picture: predicted throughput against the number of workers, and what bounds it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    workers = list(predicted)
    axes.loglog(workers, list(predicted.values()), "o-", color="#0072b2", label="simulated")
    single = predicted[workers[0]]
    axes.loglog(
        workers, [w * single for w in workers], ":", color="#666", label="if nothing held it up"
    )
    for (name, value), colour in zip(most.items(), ("#d55e00", "#009e73"), strict=True):
        axes.axhline(value, color=colour, linestyle="--", label=f"the {name}: {value:.0f} a second")
    axes.axhline(100_000 / (8 * 3600), color="#999", linewidth=1)
    below = (workers[-1], 100_000 / (8 * 3600) / 1.08)
    axes.annotate("100,000 in eight hours", below, color="#555", ha="right", va="top")
    axes.set_xticks(workers, [str(w) for w in workers])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("workers, each with a core of its own")
    axes.set_ylabel("submissions a second")
    axes.legend()
    figure.savefig(path, dpi=110)


# --- what is measured ---


class Group:
    """Processes whose processor time is counted, with all that they start, also what has ended."""

    def __init__(self, name: str):
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
        roots = [Path(where) for _, where, kind, *_ in mounts if kind == "cgroup2"]
        if os.geteuid() or not roots:
            sys.exit("This needs root and cgroups, version 2: they count what processes use.")
        self.folder = roots[0] / f"cnnlab-{os.getpid()}-{name}"
        self.folder.mkdir()

    def start(self, *words: str) -> subprocess.Popen:
        """Start one of our Python commands in this group."""
        tell = self.folder / "cgroup.procs"
        return subprocess.Popen(
            [sys.executable, *words], env=environment(), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, preexec_fn=lambda: tell.write_text(str(os.getpid())),
        )  # fmt: skip

    def spent(self) -> float:
        return int((self.folder / "cpu.stat").read_text().split()[1]) / 1e6

    def close(self) -> None:
        (self.folder / "cgroup.kill").write_text("1")
        while (self.folder / "cgroup.procs").read_text():
            sleep(0.1)
        self.folder.rmdir()


@contextmanager
def cluster(workers: int, groups: dict[str, Group]) -> Iterator[str]:
    """Dask's scheduler and workers on this machine; gives the address."""
    from distributed import Client

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    where = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    worker = ["-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
    running = [groups["scheduler"].start("-m", "distributed.cli.dask_scheduler", *where)]
    running += [groups["worker"].start(*worker, "--no-dashboard") for _ in range(workers)]
    try:
        with Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=120)
        yield address
    finally:
        for process in running:
            process.kill()
            process.wait()


def machine() -> float:
    """Seconds that this machine's processors have worked, whoever asked for it."""
    told = psutil.cpu_times()
    return sum(told) - told.idle - told.iowait - told.guest - told.guest_nice


def watched(folder: Path, groups: dict[str, Group], address: str, students: int = 0) -> dict:
    """Grade that many, or all: what `spent` tells, and wall and processor seconds of the
    coordinator when the first of them has been judged, and the last.
    """
    forget(folder)
    some = [f"--student=student{i:03}" for i in range(students)]
    words = ["cnnlab", "grade", "a1", f"--course={folder}", "--scheduler", address, *some]
    all_, marks = students or len(list((folder / "submitted").iterdir())), []

    def grade() -> None:
        before, began = groups["coordinator"].spent(), perf_counter()
        process = groups["coordinator"].start("-m", *words)
        while process.poll() is None:
            judged = len({path.stem for path in folder.glob("reports/*/student*.j*")})
            if judged >= (1, all_, math.inf)[len(marks)]:
                marks.append((perf_counter() - began, groups["coordinator"].spent() - before))
            sleep(0.05)
        if process.wait():
            raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}")

    return spent(groups, grade) | {"first": marks[0], "last": marks[-1]}


def spent(groups: dict[str, Group], call: Callable[[], None]) -> dict:
    """Wall seconds, processor seconds of each group, and cores that others left to them."""
    before, all_before, began = {n: g.spent() for n, g in groups.items()}, machine(), perf_counter()
    call()
    wall, all_ = perf_counter() - began, machine() - all_before
    found = {name: group.spent() - before[name] for name, group in groups.items()}
    free = os.cpu_count() - max(all_ - sum(found.values()), 0) / wall
    return found | {"wall": wall, "free": free}


def measure(folder: Path, groups: dict[str, Group]) -> Costs:
    """What a submission costs, from a cluster of one worker."""
    with cluster(1, groups) as address:
        watched(folder, groups, address, 2)  # the worker has graded before
        client = f"import distributed, time; c = distributed.Client({address!r}); time.sleep(600)"
        waiting = groups["coordinator"].start("-c", client)
        sleep(NOTHING)
        nothing = spent(groups, lambda: sleep(NOTHING))
        waiting.kill()
        waiting.wait()
        all_ = watched(folder, groups, address)
    took = [report["seconds"]["total"] for report in reports_of(folder)]
    mean = statistics.mean(took)
    idle = {name: nothing[name] / nothing["wall"] for name in groups}
    used = {n: max(all_[n] - idle[n] * all_["wall"], 0.0) for n in ("worker", "scheduler")}
    each = {name: seconds / len(took) for name, seconds in used.items()}
    (began, start), (ended, last) = all_["first"], all_["last"]
    entering = last - start - idle["coordinator"] * (ended - began)
    # The start only computes, so it tells how fast one process gets on beside whatever else runs.
    speed = min(1.0, start / (began - mean))
    job, result = sizes(folder)
    return Costs(
        services=[seconds * each["worker"] / mean for seconds in took],
        wait=max(mean - each["worker"] / speed, 0.0),
        schedule=each["scheduler"],
        enter=max(entering, 0.0) / (len(took) - 1),
        job=job,
        result=result,
        start=start,
        finish=all_["coordinator"] - last,
        idle=idle["worker"],
        idle_others=idle["scheduler"] + idle["coordinator"],
    )


def sizes(folder: Path) -> tuple[float, float]:
    """Bytes that cross the network with a submission, to its worker and back: the means."""

    def mean(pattern: str) -> float:
        return statistics.mean(path.stat().st_size for path in folder.glob(pattern))

    given = mean(f"assignments/{NAME}/*.ipynb") + mean(f"solutions/{NAME}/tasks.py")
    job = mean(f"submitted/*/{NAME}/*.ipynb") + given
    return job, mean(f"autograded/*/{NAME}/*.ipynb") + mean(f"reports/{NAME}/*.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--submissions", type=int, default=48)
    parser.add_argument("--cluster", type=int, nargs="*", default=[2, 4], metavar="WORKERS")
    options = parser.parse_args()
    groups = {name: Group(name) for name in ("coordinator", "scheduler", "worker")}
    rows = []
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder, submissions = Path(temporary, "course"), options.submissions
            make_course(folder, (ROOT / "nbgrader_config.py").read_text(), submissions)
            costs = measure(folder, groups)
            for workers in options.cluster:
                with cluster(workers, groups) as address:
                    watched(folder, groups, address, 2 * workers)
                    found = watched(folder, groups, address)
                foreseen = simulate(
                    costs, workers, submissions, cores=found["free"], link=math.inf, draw=False
                )
                rows.append(
                    [f"{workers} workers", f"{found['free']:.2f}",
                     time([found["wall"] / submissions]), time([foreseen / submissions]),
                     f"{foreseen / found['wall'] - 1:+.0%}"]
                )  # fmt: skip
    finally:
        for group in groups.values():
            group.close()
    save(
        "grading_scale",
        title="Grading on many machines",
        question=f"How long does a submission of assignment 1 take on a Dask cluster, in a class "
        f"of {options.submissions} on this machine, and how long by the simulation?",
        columns=["cluster", "cores left by others", "measured", "simulated", "difference"],
        rows=rows,
        packages=["nbgrader", "torch", "ipykernel", "distributed"],
        notes=at_scale(costs),
    )


def at_scale(costs: Costs) -> list[str]:
    """What the simulation says of many machines: a picture, and sentences."""
    predicted = throughputs(costs, [2**n for n in range(9)])
    most = limits(costs)
    draw(DOCS / "benchmarks" / "grading_scale.png", predicted, most)
    workers = needed(costs, 100_000, 8 * 3600)
    shown = ", ".join(
        f"{rate:.1f} with {n}" for n, rate in predicted.items() if n in (4, 16, 64, 256)
    )
    return [
        "Where others leave fewer cores than there are workers, all that is left is in use, and "
        "the comparison is one of processor time more than of waiting.",
        f"From {len(costs.services)} submissions on one worker, means of processor time: "
        f"{statistics.mean(costs.services):.2f} s in the worker, which waits for "
        f"{costs.wait:.2f} s more; {1000 * costs.enter:.1f} ms in the coordinator, "
        f"{1000 * costs.schedule:.1f} ms in Dask's scheduler; {costs.start:.1f} s before the first "
        f"and {costs.finish:.1f} s after the last. With nothing to do a worker takes "
        f"{costs.idle:.1%} of a core, scheduler and coordinator {costs.idle_others:.1%}.",
        f"Simulated, on workers with a core each and a network of 1 Gbit/s, {costs.job / 1e3:.0f} "
        f"kB to the worker and {costs.result / 1e3:.0f} kB back: submissions a second {shown}. The "
        f"coordinator takes {most['coordinator']:.0f} a second at most, the network "
        f"{most['network']:.0f}.",
        f"100,000 submissions in eight hours take {workers} workers and "
        f"{100_000 * costs.result / 1e9:.0f} GB of disk for notebooks and reports.",
        "![Throughput by the number of workers](benchmarks/grading_scale.png)",
    ]


if __name__ == "__main__":
    main()
