"""Tasks whose answer is a CUDA kernel: judged on the CPU, in the sandbox, access by access."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F

from cnnlab.assignments.ladder import LADDER
from cnnlab.assignments.sources import (
    NotJudged,
    SourceCase,
    SourceSpec,
    behaviour,
    explain,
    judge_source,
    known_behaviours,
)
from cnnlab.checks.task import CannotJudge, Finding, Misconception, Task, TasksError, seed_for
from cnnlab.cuda import CompilerMissing

__all__ = ["KernelJudge", "altered_source", "kernel_task", "with_edges_repeated"]

UNWRITTEN = "raise NotImplementedError"  # what the release has in the place of a solution
SEEDS = 1 << 32  # a spec counts on from its seed


def altered_source(source: str, *changes: tuple[str, str]) -> str:
    """A source with pieces of its text exchanged; each piece must be there."""
    for old, new in changes:
        if old not in source:
            raise ValueError(f"the source does not hold {old!r}")
        source = source.replace(old, new)
    return source


def with_edges_repeated(case: SourceCase) -> SourceCase:
    """A case of the ladder's filters as a convolution whose image is continued by its edges."""
    image, taps = case.arguments[0], case.constants["filter"]
    padded = F.pad(image.double()[None, None], [taps.shape[0] // 2] * 4, "replicate")
    weight = taps.double()[None, None]
    expected, scale = F.conv2d(padded, weight), F.conv2d(padded.abs(), weight.abs())
    return replace(case, expected=expected[0, 0], scale=scale[0, 0])


# What a task may have made of a rung's cases, by the name that the student's edition gives it.
CHANGES: dict[str, Callable[[SourceCase], SourceCase]] = {
    "": lambda case: case,
    "edges repeated": with_edges_repeated,
}


@dataclass(frozen=True)
class KernelJudge:
    """Examines the text of a kernel against a spec: the `examine` and `explain` of its task."""

    task_id: str
    entry: str
    parts: tuple[str, ...]
    spec: SourceSpec

    def _isolation(self, seed: int) -> str:
        """One's own code, at home, runs also where the host forbids namespaces; others' never."""
        return "preferred" if seed == seed_for(self.task_id) else "required"

    def __call__(self, text: str, seed: int) -> Iterator[Finding]:
        problem, isolation = "", self._isolation(seed)
        if _unwritten(text):
            problem = f"`{self.entry}` is not written yet."
        else:
            try:
                verdicts = judge_source(text, self.spec, seed=seed % SEEDS, isolation=isolation)
                if not verdicts[0].passed:  # it does not compile
                    problem = verdicts[0].sentence
            except (CompilerMissing, NotJudged) as error:
                if isolation == "required":  # the grading machine's fault, not the student's
                    raise CannotJudge(str(error)) if isinstance(error, CompilerMissing) else error
                problem = f"Not judged: {error}."
        if problem:
            yield from (Finding(part, False, problem) for part in self.parts)
        else:
            yield from (Finding(v.aspect, v.passed, v.sentence) for v in verdicts[1:])

    def explain(self, text: str, suspects: Mapping, seed: int) -> str | None:
        """The suspect, a source or what `record` tells of one, that a text behaves like."""
        if _unwritten(text):
            return None
        told = {name: found for name, found in suspects.items() if not isinstance(found, str)}
        known = known_behaviours(told, self.spec, seed % SEEDS) if told else {}
        with contextlib.suppress(CompilerMissing, NotJudged):
            isolation = self._isolation(seed)
            suspects = {**suspects, **known}
            return explain(text, suspects, self.spec, seed=seed % SEEDS, isolation=isolation)

    def record(self, seed: int, suspects: Mapping[str, str]) -> dict:
        """The spec and the suspects' behaviour as data.

        Cases are told by what they differ in from those of a rung of the ladder.
        """
        if self.spec.id not in LADDER:
            raise TasksError(f"Task {self.task_id}: the ladder has no rung {self.spec.id!r}.")
        rung, seed = LADDER[self.spec.id].spec, seed % SEEDS
        told = {}
        for name, change in CHANGES.items():
            with contextlib.suppress(KeyError):
                pairs = zip(_all_cases(self.spec, seed), _all_cases(rung, seed), strict=True)
                told[name] = [_changes(case, change(base)) for case, base in pairs]
        change = min(told, key=lambda name: sum(map(len, told[name])))
        found = {}
        with contextlib.suppress(CompilerMissing):  # then no kernel can be checked there either
            for name, text in suspects.items():
                found[name] = _plain_behaviour(*behaviour(text, self.spec, seed, "preferred"))
        return {
            "rung": self.spec.id,
            "seed": seed,
            "change": change,
            "cases": told[change],
            "parts": list(self.parts),
            "suspects": found,
        }

    @classmethod
    def restored(cls, task_id: str, entry: str, data: dict) -> "KernelJudge":
        """The judge that `record` told of."""
        rung, change = LADDER[data["rung"]].spec, CHANGES[data["change"]]

        def cases(seed: int) -> list[SourceCase]:
            own = data["cases"][: len(data["cases"]) - (rung.measured is not None)]
            return [_changed(change(c), o) for c, o in zip(rung.cases(seed), own, strict=True)]

        def measured(seed: int) -> SourceCase:
            return _changed(change(rung.measured(seed)), data["cases"][-1])

        spec = replace(rung, cases=cases, measured=rung.measured and measured)
        return cls(task_id, entry, tuple(data["parts"]), spec)


def _unwritten(text: str) -> bool:
    """Whether the skeleton's line is still there, and not in a comment of C++."""
    return UNWRITTEN in re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


def _all_cases(spec: SourceSpec, seed: int) -> list[SourceCase]:
    return [*spec.cases(seed), *([spec.measured(seed)] if spec.measured else [])]


def _same(a, b) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.allclose(a, b, 1e-12, 1e-12)
    return type(a) is type(b) and not isinstance(a, torch.Tensor) and a == b


def _changes(case: SourceCase, base: SourceCase) -> dict:
    """The fields in which a case differs from another; of the arguments, those that do."""
    changed = {}
    for name in (f.name for f in fields(SourceCase)):
        own, other = getattr(case, name), getattr(base, name)
        if name == "arguments" and len(own) == len(other):
            pairs = enumerate(zip(own, other, strict=True))
            different = {i: a for i, (a, b) in pairs if i != case.output and not _same(a, b)}
            changed |= {name: different} if different else {}
        elif name == "constants":
            if own.keys() != other.keys() or not all(_same(own[k], other[k]) for k in own):
                changed[name] = dict(own)
        elif not _same(own, other):
            changed[name] = own.float() if name == "expected" else own
    return changed


def _changed(base: SourceCase, changes: dict) -> SourceCase:
    arguments = list(base.arguments)
    for index, value in changes.get("arguments", {}).items():
        arguments[index] = value
    case = replace(base, **changes | {"arguments": tuple(arguments)})
    return replace(case, expected=case.expected.double())


def _plain_behaviour(outcomes: list, values: tuple) -> tuple[list, list]:
    return [(o.finished, o.out, sorted(map(list, o.found))) for o in outcomes], list(values)


def kernel_task(
    id: str,
    entry: str,
    points: Mapping[str, float],
    spec: SourceSpec,
    reference: str,
    mistakes: Mapping[str, tuple[str, str]],
) -> Task:
    """A *source* task that a kernel answers.

    Parameters
    ----------
    points : mapping of str to float
        What the aspects of `judge_source` are worth: ``"correct"``, ``"clean"``, and the aspects
        of the spec's limits. A source that does not compile earns nothing.
    spec : SourceSpec
        A rung's of `cnnlab.assignments.ladder`, with its cases changed or not.
    mistakes : mapping of str to (str, str)
        The misconceptions: a wrong kernel and the sentence that helps, by name.
    """
    judge = KernelJudge(id, entry, tuple(points), spec)
    return Task(
        id=id,
        kind="source",
        entry=entry,
        points=points,
        reference=lambda: reference,
        examine=judge,
        explain=judge.explain,
        misconceptions=tuple(
            Misconception(name, lambda source=source: source, hint)
            for name, (source, hint) in mistakes.items()
        ),
    )
