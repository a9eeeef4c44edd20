"""Grading on many machines: a simulation, which is fed and checked by runs that were measured.

A coordinator sends submissions to workers and enters what comes back, one thing at a time; both
ways lead through one network link. A worker takes a service time that was measured for some
submission. Where several share a machine, so do they its cores.
"""

from __future__ import annotations

import math
import random
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

LINK = 1e9 / 8  # bytes a second of a network of 1 Gbit/s


@dataclass(frozen=True)
class Costs:
    """What a submission costs: seconds, and bytes."""

    services: Sequence[float]  # in a worker, each as measured
    send: float = 0.0  # to read a submission and hand it over
    enter: float = 0.0  # to enter it, and write its files
    job: float = 0.0  # bytes, to the worker
    result: float = 0.0  # and back


def simulate(
    costs: Costs,
    workers: int,
    submissions: int,
    *,
    cores: float = float("inf"),
    link: float = LINK,
    draw: bool = True,
    ahead: int = 2,
    seed: int = 0,
) -> float:
    """Seconds from the first submission that is sent to the last one that is entered.

    Parameters
    ----------
    cores : how many the coordinator and all workers share; each has its own, by default
    draw : whether service times are drawn; else they are taken in their order, each once
    ahead : how many submissions there are for each worker, the one in work among them
    """
    rng = random.Random(seed)
    times = costs.services
    services = [rng.choice(times) if draw else times[i % len(times)] for i in range(submissions)]
    waiting = {"coordinator": deque(), "out": deque(), "workers": deque(), "in": deque()}
    room = {"coordinator": 1, "out": 1, "workers": workers, "in": 1}
    active: dict[int, list] = {}  # [seconds of work left, place, what, submission]
    numbers, now, sent, entered = count(), 0.0, 0, 0
    need = {
        "send": lambda i: costs.send,
        "job": lambda i: costs.job / link,
        "serve": lambda i: services[i],
        "result": lambda i: costs.result / link,
        "enter": lambda i: costs.enter,
    }
    then = {"send": ("out", "job"), "job": ("workers", "serve"), "serve": ("in", "result"),
            "result": ("coordinator", "enter")}  # fmt: skip

    while entered < submissions:
        while sent < submissions and sent - entered < ahead * workers:
            waiting["coordinator"].append(("send", sent))
            sent += 1
        for place, queue in waiting.items():
            while queue and room[place]:
                room[place] -= 1
                what, i = queue.popleft()
                active[next(numbers)] = [need[what](i), place, what, i]
        busy = sum(place in ("coordinator", "workers") for _, place, _, _ in active.values())
        speed = min(1.0, cores / busy) if busy else 1.0
        pace = {"coordinator": speed, "workers": speed, "out": 1.0, "in": 1.0}
        step = min(left / pace[place] for left, place, _, _ in active.values())
        now += step
        for number, state in list(active.items()):
            state[0] -= step * pace[state[1]]
            if state[0] <= 1e-12:
                _, place, what, i = active.pop(number)
                room[place] += 1
                if what == "enter":
                    entered += 1
                else:
                    where, next_ = then[what]
                    waiting[where].append((next_, i))
    return now


def throughputs(costs: Costs, counts: Sequence[int], link: float = LINK) -> dict[int, float]:
    """Submissions a second of clusters of so many workers, each with a core of its own."""
    found = {}
    for workers in counts:
        submissions = 200 + 12 * workers
        found[workers] = submissions / simulate(costs, workers, submissions, link=link)
    return found


def limits(costs: Costs, link: float = LINK) -> dict[str, float]:
    """Submissions a second that the coordinator and the network can take, whatever the workers."""
    return {
        "coordinator": 1 / (costs.send + costs.enter),
        "network": link / max(costs.job, costs.result),
    }


def needed(costs: Costs, submissions: int, seconds: float) -> int | None:
    """The smallest number of workers that grade so many in that time; None if none does."""
    rate = submissions / seconds
    if rate > min(limits(costs).values()):
        return None
    return math.ceil(rate * statistics.mean(costs.services))


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
    axes.annotate("100,000 in eight hours", (workers[0], 100_000 / (8 * 3600) * 1.08), color="#555")
    axes.set_xticks(workers, [str(w) for w in workers])
    axes.set_xlabel("workers, each with a core of its own")
    axes.set_ylabel("submissions a second")
    axes.legend()
    figure.savefig(path, dpi=110)
