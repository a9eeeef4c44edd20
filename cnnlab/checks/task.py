"""What a graded task is: the contract between an assignment, its checks and its grader."""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from cnnlab.answers import MODULE, ask

__all__ = ["CannotJudge", "Case", "Finding", "Misconception", "Task", "TasksError", "seed_for"]

KINDS = ("function", "module", "value", "weights", "predictions", "source")
READ = ("value", "weights", "source")  # of a variable; the others are called


class TasksError(Exception):
    """The tasks of an assignment cannot be used; the message says why, in one sentence."""


class CannotJudge(RuntimeError):
    """This machine lacks what judging needs: nobody's answer is to blame."""


@dataclass(frozen=True)
class Case:
    """One question put to an answer.

    Parameters
    ----------
    part : str
        Which of the task's parts it counts for (a key of ``Task.points``).
    args, kwargs
        What the entry is called with: plain values, as :mod:`cnnlab.answers.wire` has them.
    note : str
        What is special about this case, for the feedback: ``"an image of one row"``.
    inputs : tuple
        *module* tasks: what the module that the entry returns is called with.
    training : bool
        *module* tasks: whether it is called in training mode.
    state : mapping of str to torch.Tensor
        *module* tasks: the weights it is given, by name. Drawn anew for every seed from the
        shapes of the reference's own, unless the case brings it.
    """

    part: str
    args: tuple = ()
    kwargs: Mapping = field(default_factory=dict)
    note: str = ""
    inputs: tuple = ()
    training: bool = False
    state: Mapping = field(default_factory=dict)

    def question(self) -> dict:
        """What the student's side gets of the case: the inputs and nothing else."""
        question = {"args": tuple(self.args), "kwargs": dict(self.kwargs)}
        if self.inputs:
            question |= {"inputs": tuple(self.inputs), "training": self.training}
            question |= {"state": dict(self.state)}
        return question


@dataclass(frozen=True)
class Finding:
    """What the examination of a source found out about one part of the task.

    The first line of ``sentence`` is a sentence; what follows is shown as it stands.
    """

    part: str
    passed: bool
    sentence: str = ""


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

    The six kinds, by what ``entry`` is in the student's notebook:

    - *function*: it is called on every case.
    - *module*: it returns an ``nn.Module``, which gets weights by name and is called on the
      case's inputs; the skeleton in the assignment fixes the names.
    - *value*: a variable. A dict is judged key by key where ``points`` names its keys.
    - *weights*: a variable that holds a trained network, or a list of layers with its weights.
      They are read, and the judge evaluates a copy of its own (:mod:`cnnlab.checks.weights`).
    - *predictions*: a function from images to class numbers, judged by its accuracy.
    - *source*: a variable that holds source text, examined by ``examine``.

    Parameters
    ----------
    id : str
        ``"a1-padding"``: assignment, hyphen, name. It is the ``grade_id`` of its locked cell.
    kind : {"function", "module", "value", "weights", "predictions", "source"}
    entry : str
        The name that the student defines in the notebook.
    points : mapping of str to float
        The parts of the task in words, and what each is worth. A part's points are earned
        when all of its cases are right. Their sum is the points of the cell.
    reference : callable
        The right answer, called like the entry. For a task that reads a
        variable it is called without arguments; for *predictions* it gives the true classes.
    cases : callable
        ``cases(rng)`` yields :class:`Case` objects drawn from a ``numpy.random.Generator``
        (one case for *predictions* and *weights*, here with images and classes as arguments). Not
        used by *value* and *source* tasks.
    misconceptions : tuple of Misconception
    forbidden : tuple of str
        What the entry must not do while it answers: ``"loop"`` (more steps or operators for a large
        question than for a small one), ``"convolution"`` (any of PyTorch's), ``"joining"`` (a
        tensor as large as all of the first argument), or the name of a function that is not the
        student's own.
    compared : tuple of str
        What is compared beside the output. *module*: some of `observe.MODULE`; all, unless told.
        *function*: ``("gradients",)`` for one that has to be differentiable, ``("no gradient",)``
        for one whose result must not require any.
    initial : tuple of str
        *module*: parameters whose first values the text states.
    bands : mapping of str to float
        *weights*, *predictions*: the accuracy (0 to 1) from which each part is earned.
    limits : mapping of str to mapping of str to float
        *weights*: what the network may cost at most for a part to be earned, as
        ``{"small": {"MACs": 100_000}}`` (see :func:`cnnlab.checks.weights.figures`). A task that
        has limits reports these figures and the accuracy.
    structure : tuple of str
        *weights*: what the network must be, as :func:`cnnlab.checks.weights.rebuilt` knows it.
    examine : callable
        *source*: ``examine(text, seed)`` yields :class:`Finding` objects, at least one for
        each part. It runs where it is trusted and must box in what it runs.
    explain : callable
        *source*: ``explain(text, suspects, seed)`` is the one among wrong sources, by name, that
        the text behaves like, or None. It is asked where the examination found a fault.
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
    compared: tuple[str, ...] | None = None
    initial: tuple[str, ...] = ()
    bands: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    structure: tuple[str, ...] = ()
    examine: Callable[[str, int], Iterable["Finding"]] | None = None
    explain: Callable[[str, Mapping[str, str], int], str | None] | None = None
    rtol: float = 1e-4
    atol: float = 1e-6

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"task {self.id}: kind {self.kind!r} is none of {', '.join(KINDS)}")
        if not isinstance(self.id, str) or not self.max_points >= 0:
            raise ValueError(f"task {self.id!r}: the id is text, and points are numbers")
        if not all(isinstance(m, Misconception) for m in self.misconceptions):
            raise ValueError(f"task {self.id}: `misconceptions` holds `Misconception` objects")
        if self.compared is None:
            object.__setattr__(self, "compared", MODULE if self.kind == "module" else ())
        if (self.cases is None) != (self.kind in ("value", "source")):
            raise ValueError(f"task {self.id}: a {self.kind} task and its cases do not agree")
        if (self.examine is not None) != (self.kind == "source"):
            raise ValueError(f"task {self.id}: `examine` is for source tasks, and needed there")
        if self.in_bands != (self.bands.keys() == self.points.keys()):
            raise ValueError(f"task {self.id}: `bands` gives what is classified one band a part")
        if not self.limits.keys() <= (self.points.keys() if self.kind == "weights" else set()):
            raise ValueError(f"task {self.id}: `limits` is for parts of a task of kind weights")

    @property
    def in_bands(self) -> bool:
        """Whether points are earned by accuracy on one set of images."""
        return self.kind in ("weights", "predictions")

    @property
    def max_points(self) -> float:
        return float(sum(self.points.values()))

    def make_cases(self, seed: int) -> list[Case]:
        """The questions for one seed: the same seed gives the same questions anywhere."""
        if self.kind == "source":
            return [Case(part, (seed,)) for part in self.points]
        if self.kind == "value":
            expected = self.reference()
            by_key = isinstance(expected, dict)
            return [Case(part, (part,) if by_key else ()) for part in self.points]
        rng = np.random.default_rng(seed)
        cases = list(self.cases(rng))
        if self.in_bands:
            (case,) = cases
            return [replace(case, part=part) for part in self.points]
        if self.kind == "module":
            cases = [self._with_state(case, rng) for case in cases]
        if missing := set(self.points) ^ {case.part for case in cases}:
            raise ValueError(f"task {self.id}: parts without cases or points: {sorted(missing)}")
        return cases

    def _with_state(self, case: Case, rng: np.random.Generator) -> Case:
        """The case with weights of a size that keeps activations near 1."""
        state = {}
        for name, tensor in self.reference(*case.args, **case.kwargs).state_dict().items():
            if tensor.is_floating_point():
                fan_in = tensor[0].numel() if tensor.ndim > 1 else 4
                drawn = rng.normal(size=tuple(tensor.shape)) * fan_in**-0.5
                drawn = abs(drawn) + 0.5 if name.endswith("running_var") else drawn
                state[name] = torch.from_numpy(drawn.astype(np.float32))
        inputs = tuple(_apart(value, rng) for value in case.inputs)
        return replace(case, state=state | dict(case.state), inputs=inputs)

    def questions(self, cases: list[Case]) -> list[dict]:
        """What the student's side is asked; nothing where a variable is read."""
        if self.kind in READ:
            return []
        cases = cases[:1] if self.kind == "predictions" else cases
        return [self._question(case) | {"watch": bool(self.forbidden)} for case in cases]

    def _question(self, case: Case) -> dict:
        return case.question() | {"compared": self.compared, "initial": self.initial}

    @property
    def records(self) -> bool:
        """Whether an answer is a record of what was observed, of which ``"output"`` is one part."""
        return self.kind == "module" or "gradients" in self.compared

    def expected(self, cases: list[Case], answer: Callable | None = None) -> list:
        """What ``answer`` (the reference unless told) says to each case."""
        answer = answer or self.reference
        if self.kind == "source":
            return [None] * len(cases)
        if self.records:
            return [ask(answer, self._question(case)) for case in cases]
        if self.kind == "value":
            value = answer()
            return [value[case.args[0]] if case.args else value for case in cases]
        if self.kind == "weights":
            return [case.args[1] for case in cases[:1]]
        if self.kind == "predictions":
            cases = cases[:1]
        return [answer(*case.args, **case.kwargs) for case in cases]


def _apart(value, rng: np.random.Generator):
    """Values that were rounded, with no two alike: at a tie a maximum has no one gradient."""
    if not (isinstance(value, torch.Tensor) and value.is_floating_point()):
        return value
    return value + torch.from_numpy(rng.uniform(-4e-3, 4e-3, value.shape).astype(np.float32))


def seed_for(task_id: str, key: bytes | None = None) -> int:
    """The seed of a task's questions: public while learning, keyed while grading."""
    message = task_id.encode()
    if key is None:
        digest = hashlib.sha256(b"public:" + message).digest()
    else:
        digest = hmac.new(key, message, hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big")
