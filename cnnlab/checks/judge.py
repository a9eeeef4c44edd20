"""From a student's answers to points and words. Runs only where it is trusted."""

import ast
import contextlib
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from cnnlab.checks import source_rules
from cnnlab.checks.compare import describe, difference, show, size_of
from cnnlab.checks.runner import Refused
from cnnlab.checks.task import Case, Misconception, Task

__all__ = ["Part", "Verdict", "judge"]

WIDTH = 80


@dataclass(frozen=True)
class Part:
    """What one part of a task earned."""

    name: str
    points: float
    earned: float


@dataclass(frozen=True)
class Verdict:
    """The outcome of a task: points, and words for the student.

    ``misconception`` is the name of the one that explains the whole answer, or None.
    """

    task: str
    parts: tuple[Part, ...]
    problem: str = ""
    detail: str = ""
    misconception: str | None = None
    hint: str = ""

    @property
    def points(self) -> float:
        return float(sum(part.earned for part in self.parts))

    @property
    def max_points(self) -> float:
        return float(sum(part.points for part in self.parts))

    def to_dict(self) -> dict:
        return {**asdict(self), "points": self.points, "max_points": self.max_points}

    def text(self) -> str:
        """The feedback as a student reads it, at most 80 columns wide."""
        lines = [f"{self.task}: {self.points:g} of {self.max_points:g} points"]
        if len(self.parts) > 1 and 0 < self.points < self.max_points:
            lines += [
                f"  {'✓' if part.earned else '✗'} {part.name} ({part.points:g})"
                for part in self.parts
            ]
        for sentence in (self.problem, self.hint and f"Hint: {self.hint}"):
            if sentence:
                lines += textwrap.wrap(sentence, WIDTH, initial_indent="  ", subsequent_indent="  ")
        if self.detail:
            lines += textwrap.indent(self.detail, "    ").splitlines()
        return "\n".join(lines)


def judge(
    task: Task,
    cases: list[Case],
    report: dict,
    look_up: Callable[[str], ast.AST | None],
    *,
    reveal: bool,
) -> Verdict:
    """Judge a student's report.

    Parameters
    ----------
    report : dict
        What :func:`cnnlab.checks.runner.answer` gave, possibly forged: only its plain
        values count.
    look_up : callable
        The syntax tree of a name that the notebook defines, or None.
    reveal : bool
        Whether the smallest failing case may be shown with its numbers (while learning),
        or only described (while grading).
    """

    answers, problem = _answers(task, cases, report)
    if problem:
        return _nothing(task, problem)
    if task.forbidden and (broken := source_rules.violation(task.entry, task.forbidden, look_up)):
        return _nothing(task, f"{broken}.")
    called = report.get("called") if look_up(task.entry) is not None else None
    if used := [name for name in task.forbidden if isinstance(called, list) and name in called]:
        return _nothing(
            task,
            f"`{task.entry}` called torch's `{used[0]}` while it ran, and this task asks you to do "
            "without it.",
        )
    if task.kind == "source":
        return _examined(task, cases, answers[0])
    wrong = (_too_inaccurate if task.kind == "predictions" else _wrong_cases)(task, cases, answers)
    parts = _parts(task, {cases[index].part for index in wrong})
    if not wrong:
        return Verdict(task.id, parts)
    smallest = min(wrong, key=lambda index: size_of(cases[index].question()))
    if task.kind == "predictions":
        found = _misread(task, cases[0], answers[0])
        return Verdict(task.id, parts, wrong[smallest], **_named(found))
    found = _misconception(task, cases, answers)
    if not found and task.kind == "value":  # a table may hold more than one mistake
        found = _misconception(task, [cases[smallest]], [answers[smallest]])
    return Verdict(
        task.id,
        parts,
        problem=wrong[smallest],
        detail=_detail(task, cases[smallest], answers[smallest])
        if reveal and task.kind != "value" and not _unwritten(answers[smallest])
        else "",
        **_named(found),
    )


def _named(found: Misconception | None) -> dict:
    return {"misconception": found.name, "hint": found.hint} if found else {}


def _nothing(task: Task, problem: str) -> Verdict:
    return Verdict(task.id, _parts(task, set(task.points)), problem)


def _parts(task: Task, failed: set[str]) -> tuple[Part, ...]:
    return tuple(
        Part(name, points, 0.0 if name in failed else float(points))
        for name, points in task.points.items()
    )


def _wrong_cases(task: Task, cases: list[Case], answers: list[dict]) -> dict[int, str]:
    """The sentence for each case that is answered wrongly."""
    expected = task.expected(cases)
    sentences = map(_wrong, [task] * len(cases), cases, expected, answers)
    return {index: sentence for index, sentence in enumerate(sentences) if sentence}


def _too_inaccurate(task: Task, cases: list[Case], answers: list[dict]) -> dict[int, str]:
    """The sentence for each part whose band the predictions do not reach."""
    (truth,) = task.expected(cases)
    everything = range(len(cases))
    if answers[0].get("status") != "ok":
        return dict.fromkeys(everything, _wrong(task, cases[0], truth, answers[0]))
    given = _classes(answers[0], truth)
    if given is None:
        found = f"expected {len(truth)} class numbers, got {describe(answers[0].get('value'))}"
        return dict.fromkeys(everything, f"{_call(task, cases[0])}: {found}.")
    accuracy = _share(given == truth)
    same = " It says the same class for every image." if len(given.unique()) == 1 else ""
    return {
        index: f"{_call(task, case)} is right on {accuracy:.1%} of {len(truth)} images; "
        f"{task.bands[case.part]:.0%} are needed for {case.part!r}.{same}"
        for index, case in enumerate(cases)
        if accuracy < task.bands[case.part]
    }


def _classes(answer: dict, truth: torch.Tensor) -> torch.Tensor | None:
    """The predicted classes as a tensor like ``truth``, or None where they are something else."""
    given = answer.get("value")
    with contextlib.suppress(TypeError, ValueError, RuntimeError):
        given = torch.as_tensor(given)
    fits = isinstance(given, torch.Tensor) and given.shape == truth.shape
    return given if fits else None


def _share(same: torch.Tensor) -> float:
    return same.double().mean().item()


def _misread(task: Task, case: Case, answer: dict) -> Misconception | None:
    """The misconception that predictions agree with: as well as is asked, and better than right."""
    (truth,) = task.expected([case])
    given = _classes(answer, truth) if answer.get("status") == "ok" else None
    if given is None:
        return None
    least = max(_share(given == truth), *task.bands.values())
    for misconception in task.misconceptions:
        (wrong,) = task.expected([case], misconception.answer)
        if _share(given == wrong) >= least:
            return misconception
    return None


def _examined(task: Task, cases: list[Case], answer: dict) -> Verdict:
    """Source text, examined by the task itself."""
    text = answer.get("value")
    if not isinstance(text, str):
        return _nothing(task, f"`{task.entry}` should be source text, and it is {describe(text)}.")
    findings = list(task.examine(text, cases[0].args[0]))
    unexamined = set(task.points) - {finding.part for finding in findings}
    failed = [finding for finding in findings if not finding.passed]
    told = dict.fromkeys(finding.sentence for finding in failed)
    problem, _, block = next(iter(told), "").partition("\n")
    others = (textwrap.fill(s, WIDTH - 4) if "\n" not in s else s for s in list(told)[1:])
    name = None
    if failed and task.explain and task.misconceptions:
        suspects = {m.name: m.answer() for m in task.misconceptions}
        name = task.explain(text, suspects, cases[0].args[0])
    return Verdict(
        task.id,
        _parts(task, {finding.part for finding in failed} | unexamined),
        problem=problem,
        detail="\n".join(text for text in (block.rstrip(), *others) if text),
        **_named(next((m for m in task.misconceptions if m.name == name), None)),
    )


def _answers(task: Task, cases: list[Case], report) -> tuple[list[dict], str]:
    """One answer a case, or the sentence that says why there is none."""
    status = report.get("status") if isinstance(report, dict) else None
    if status == "missing":
        return [], f"`{task.entry}` is not defined in the notebook: was it renamed or deleted?"
    if status == "not callable":
        return (
            [],
            f"`{task.entry}` is no longer a function (it is of type {_word(report, 'type')}).",
        )
    if status == "unusable":
        return [], f"The answers of `{task.entry}` are not usable: {_word(report, 'message')}."
    answers = report.get("answers") if status == "answered" else None
    if not isinstance(answers, list) or not all(isinstance(a, dict) for a in answers):
        return [], f"`{task.entry}` gave no answer."
    if task.kind in ("predictions", "source") and len(answers) == 1:
        return answers * len(cases), ""
    if task.kind == "value" and len(answers) == 1:
        value = answers[0].get("value")
        if cases[0].args and not isinstance(value, dict):
            return [], (
                f"`{task.entry}` should be a dict with the keys "
                f"{', '.join(repr(case.part) for case in cases)}, and it is {describe(value)}."
            )
        answers = [_pick(answers[0], case) for case in cases]
    if len(answers) != len(cases):
        return [], f"`{task.entry}` answered {len(answers)} of {len(cases)} questions."
    return answers, ""


def _word(report: dict, key: str) -> str:
    """A text that the student's side sent, of a length that a sentence can take."""
    return str(report.get(key) or "")[:300]


def _pick(answer: dict, case: Case) -> dict:
    if not case.args:
        return answer
    return {**answer, "value": answer["value"].get(case.args[0])}


def _wrong(task: Task, case: Case, expected, answer: dict) -> str | None:
    call = _call(task, case)
    if answer.get("status") != "ok":
        kind, message, line = (_word(answer, key) for key in ("type", "message", "line"))
        if _unwritten(answer):
            return f"`{task.entry}` is not written yet."
        raised = f"{call} raised {kind}" + (f": {message}" if message else "") if kind else message
        return raised.rstrip(".") + (f" (at `{line}`)." if line else ".")
    given = answer.get("value")
    if task.kind == "value" and (given is None or given is Ellipsis):
        return f"{call} is not filled in yet."
    if task.kind != "value" and given is None and expected is not None:
        return f"{call} returned None: is a `return` missing?"
    if answer.get("mutated") is True:
        return f"{call} changed its input: work on a copy."
    if found := difference(expected, given, task.rtol, task.atol):
        where = found.rpartition(": expected")[0]
        if task.kind == "value" and where and found.endswith("got None"):
            return f"{call}: {where} is not filled in yet."
        if task.kind == "value" and "expected" in found and "expected a number" not in found:
            # The question is the same for everybody: what is expected would be the solution.
            return f"{call}: {where or describe(given)} is not right."
        return f"{call}: {found}."
    return None


def _call(task: Task, case: Case) -> str:
    if task.kind == "value":
        return f"`{task.entry}[{case.part!r}]`" if case.args else f"`{task.entry}`"
    if task.kind == "source":
        return f"`{task.entry}`"
    arguments = [_argument(a) for a in case.args]
    arguments += [f"{key}={_argument(value)}" for key, value in case.kwargs.items()]
    note = f" ({case.note})" if case.note else ""
    if case.inputs:
        mode = "training" if case.training else "evaluation"
        note = f" on {', '.join(map(describe, case.inputs))}, in {mode} mode{note}"
    return f"`{task.entry}({', '.join(arguments)})`{note}"


def _argument(value) -> str:
    """A list of plain values in full where it is short, such as the layers of a network."""
    text = repr(value) if isinstance(value, (list, tuple, dict)) else ""
    plain = text and "tensor(" not in text
    return text if plain and len(text) <= 2 * WIDTH else describe(value)


def _unwritten(answer: dict) -> bool:
    return answer.get("type") == "NotImplementedError"


def _detail(task: Task, case: Case, answer: dict) -> str:
    """The smallest failing case in full, where it is small enough to read."""
    names = list(inspect.signature(task.reference).parameters)
    rows = [*zip(names, case.args, strict=False), *case.kwargs.items()]
    rows += [("input", value) for value in case.inputs]
    rows += [("expected", value) for value in task.expected([case])]
    if answer.get("status") == "ok":
        rows += [("got", answer.get("value"))]
    rows = [(f"{name}:", show(value)) for name, value in rows if hasattr(value, "shape")]
    width = max((len(name) for name, _ in rows), default=0) + 1
    return "\n".join(f"{n:<{width}}" + v.replace("\n", "\n" + " " * width) for n, v in rows)


def _misconception(task: Task, cases: list[Case], answers: list[dict]) -> Misconception | None:
    """The one misconception that alone reproduces the answers to all of these cases."""

    def predicts(misconception) -> bool:
        agreed = 0
        for case, answer in zip(cases, answers, strict=True):
            try:
                value = task.expected([case], misconception.answer)[0]
            except Exception as error:
                if answer.get("status") == "ok":
                    return False
                said = answer.get("message")
                same = isinstance(said, str) and said != "" and str(error).startswith(said)
                if isinstance(error, Refused) and not same:  # the sentence says what is refused
                    return False
                agreed += same
                continue
            if answer.get("status") != "ok":
                return False
            if difference(value, answer.get("value"), task.rtol, task.atol):
                return False
            agreed += 1
        return agreed > 0

    found = [m for m in task.misconceptions if predicts(m)]
    return found[0] if len(found) == 1 else None
