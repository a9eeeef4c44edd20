"""What a graded task is: the contract between an assignment, its checks and its grader."""

import hashlib
import hmac
import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.util import find_spec

import numpy as np

__all__ = ["Case", "Misconception", "Task", "assignment_tasks", "get_task", "seed_for"]

KINDS = ("function", "value")


@dataclass(frozen=True)
class Case:
    """One question put to an answer.

    Parameters
    ----------
    part : str
        Which of the task's parts it counts for (a key of ``Task.points``).
    args, kwargs
        What the entry is called with: plain values, as :mod:`cnnlab.checks.wire` has them.
    note : str
        What is special about this case, for the feedback: ``"an image of one row"``.
    """

    part: str
    args: tuple = ()
    kwargs: Mapping = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Misconception:
    """A wrong answer that people give, and the sentence that helps them.

    ``answer`` is called like the entry of the task (without arguments for a *value* task).
    """

    name: str
    answer: Callable
    hint: str


@dataclass(frozen=True)
class Task:
    """A graded question.

    Parameters
    ----------
    id : str
        ``"a1-padding"``: assignment, hyphen, name. It is the ``grade_id`` of its locked cell.
    kind : {"function", "value"}
        *function*: the entry is called on every case. *value*: the entry is a variable; a
        dict is judged key by key where ``points`` names its keys.
    entry : str
        The name that the student defines in the notebook.
    points : mapping of str to float
        The parts of the task in words, and what each is worth. A part's points are earned
        when all of its cases are right. Their sum is the points of the cell.
    reference : callable
        The right answer, called like the entry (without arguments for a *value* task).
    cases : callable
        ``cases(rng)`` yields :class:`Case` objects drawn from a ``numpy.random.Generator``.
        Not used by *value* tasks.
    misconceptions : tuple of Misconception
    forbidden : tuple of str
        What the source of the entry must not do: ``"loop"``, or the last name of a call
        (``"conv2d"`` forbids ``F.conv2d``, ``torch.conv2d`` and ``nn.functional.conv2d``).
    rtol, atol : float
        An element may differ from the reference by ``atol + rtol * max|reference|``: wide
        enough for any right algorithm in float32.
    """

    id: str
    kind: str
    entry: str
    points: Mapping[str, float]
    reference: Callable
    cases: Callable[[np.random.Generator], Iterable[Case]] | None = None
    misconceptions: tuple[Misconception, ...] = ()
    forbidden: tuple[str, ...] = ()
    rtol: float = 1e-4
    atol: float = 1e-6

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"task {self.id}: kind {self.kind!r} is none of {', '.join(KINDS)}")
        if (self.cases is None) != (self.kind == "value"):
            raise ValueError(f"task {self.id}: a {self.kind} task is declared with wrong cases")

    @property
    def max_points(self) -> float:
        return float(sum(self.points.values()))

    def make_cases(self, seed: int) -> list[Case]:
        """The questions for one seed: the same seed gives the same questions anywhere."""
        if self.kind == "value":
            expected = self.reference()
            by_key = isinstance(expected, dict)
            return [Case(part, (part,) if by_key else ()) for part in self.points]
        cases = list(self.cases(np.random.default_rng(seed)))
        if missing := set(self.points) ^ {case.part for case in cases}:
            raise ValueError(f"task {self.id}: parts without cases or points: {sorted(missing)}")
        return cases

    def expected(self, cases: list[Case], answer: Callable | None = None) -> list:
        """What ``answer`` (the reference unless told) says to each case."""
        answer = answer or self.reference
        if self.kind == "value":
            value = answer()
            return [value[case.args[0]] if case.args else value for case in cases]
        return [answer(*case.args, **case.kwargs) for case in cases]


def seed_for(task_id: str, key: bytes | None = None) -> int:
    """The seed of a task's questions: public while learning, keyed while grading."""
    message = task_id.encode()
    if key is None:
        digest = hashlib.sha256(b"public:" + message).digest()
    else:
        digest = hmac.new(key, message, hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big")


def assignment_tasks(prefix: str) -> dict[str, Task]:
    """The tasks of an assignment (``"a1"``) by id, in the order of the notebook."""
    name = f"cnnlab.checks.{prefix}"
    if not re.fullmatch(r"a\d+", prefix) or find_spec(name) is None:
        raise KeyError(f"There is no assignment {prefix!r}.")
    return {task.id: task for task in importlib.import_module(name).TASKS}


def get_task(task_id: str) -> Task:
    """The task of that id; a KeyError names the nearest one."""
    try:
        tasks = assignment_tasks(task_id.split("-")[0])
    except KeyError:
        tasks = {}
    if task_id not in tasks:
        near = get_close_matches(task_id, tasks, n=1)
        raise KeyError(f"There is no task {task_id!r}" + (f"; {near[0]!r}?" if near else "."))
    return tasks[task_id]
