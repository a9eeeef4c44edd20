"""From a student's answers to points and words. Runs only where it is trusted."""

import contextlib
import inspect
import math
import textwrap
from dataclasses import asdict, dataclass, field

import torch

from cnnlab.answers import ALONE, Refused
from cnnlab.checks import source_rules, weights
from cnnlab.checks.compare import describe, difference, record_difference, show, size_of
from cnnlab.checks.hints import advice, general_hint
from cnnlab.checks.task import Case, Misconception, Task

__all__ = ["Part", "Verdict", "judge"]

WIDTH = 80
SKELETON = "Write this part, then delete this line."


@dataclass(frozen=True)
class Part:
    """What one part of a task earned."""

    name: str
    points: float
    earned: float


@dataclass(frozen=True)
class Verdict:
    """The outcome of a task: points, and words for the student.

    ``misconception`` is the one that explains the answer, or its first wrong part, or None.
    ``figures`` are numbers that answers can be compared by, such as accuracy and MACs.
    """

    task: str
    parts: tuple[Part, ...]
    problem: str = ""
    detail: str = ""
    misconception: str | None = None
    hint: str = ""
    figures: dict[str, float] = field(default_factory=dict)

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
        told = ", ".join(map(_figure, self.figures, self.figures.values()))
        for sentence in (told and f"{told}.", self.problem, self.hint and f"Hint: {self.hint}"):
            if sentence:
                lines += textwrap.wrap(sentence, WIDTH, initial_indent="  ", subsequent_indent="  ")
        if self.detail:
            lines += textwrap.indent(self.detail, "    ").splitlines()
        return "\n".join(lines)


def _figure(name: str, value: float) -> str:
    """A number with its name: a share in percent, a count with commas."""
    return f"{name} {_percent(value)}" if isinstance(value, float) else f"{value:,} {name}"


def _percent(share: float) -> str:
    """Rounded down: what falls short of a band is not shown as if it did not."""
    return f"{math.floor(1000 * share + 1e-9) / 10:.1f}%"


def judge(task: Task, cases: list[Case], report: dict, *, reveal: bool) -> Verdict:
    """Judge a student's report.

    Parameters
    ----------
    report : dict
        What :func:`cnnlab.answers.answer` gave, possibly forged: only its plain
        values count.
    reveal : bool
        Whether the smallest failing case may be shown with its numbers (while learning),
        or only described (while grading).
    """
    answers, problem = _answers(task, cases, report)
    if problem:
        return _nothing(task, problem)
    if task.forbidden and (broken := source_rules.violation(task, cases, answers)):
        return _nothing(task, f"{broken}.")
    if task.kind == "source":
        return _examined(task, cases, answers[0])
    if task.in_bands:
        return _classified(task, cases, answers[0])
    expected = task.expected(cases)
    sentences = map(_wrong, [task] * len(cases), cases, expected, answers)
    wrong = {index: sentence for index, sentence in enumerate(sentences) if sentence}
    failed = {cases[index].part for index in wrong}
    if not wrong:
        return Verdict(task.id, _parts(task, failed))
    first = next(part for part in task.points if part in failed)
    of_first = [index for index in wrong if cases[index].part == first]
    smallest = min(of_first, key=lambda index: size_of(cases[index].question()))
    found = _misconception(task, cases, expected, answers)
    if not found and (task.kind == "value" or len(of_first) > 1):  # there may be other mistakes
        of_part = [index for index, case in enumerate(cases) if case.part == first]
        some = ([of[index] for index in of_part] for of in (cases, expected, answers))
        found = _misconception(task, *some)
    problem, hint, detail = wrong[smallest], "", ""
    written = not _unwritten(answers[smallest])
    if not found and written:
        given = [_output(task, answer.get("value")) for answer in answers]
        pairs = [(_output(task, e), g) for e, g in zip(expected, given, strict=True)]
        hint = general_hint(task, cases, wrong, smallest, pairs)
    others = [repr(cases[index].part) for index in wrong if index != smallest]
    filled_in = not all("not filled in" in told for told in wrong.values())
    if task.kind == "value" and others and filled_in:
        problem += f" Nor {'is' if len(others) == 1 else 'are'} {', '.join(others)}."
    if reveal and task.kind != "value" and written:
        detail = _detail(task, cases[smallest], expected[smallest], answers[smallest])
    told = _named(found) or {"hint": hint}
    return Verdict(task.id, _parts(task, failed), problem, detail, **told)


def _named(found: Misconception | None) -> dict:
    return {"misconception": found.name, "hint": found.hint} if found else {}


def _nothing(task: Task, problem: str) -> Verdict:
    return Verdict(task.id, _parts(task, set(task.points)), problem, hint=advice(problem))


def _parts(task: Task, failed: set[str]) -> tuple[Part, ...]:
    return tuple(
        Part(name, points, 0.0 if name in failed else float(points))
        for name, points in task.points.items()
    )


def _classified(task: Task, cases: list[Case], answer: dict) -> Verdict:
    """What classifies images: each part is earned from a share of right answers."""
    case, call = cases[0], _call(task, cases[0])
    (truth,) = task.expected(cases)
    if answer.get("status") != "ok":
        told = _wrong(task, case, truth, answer)
        return _nothing(task, f"{call}: {told}" if task.kind == "weights" else told)
    network, costs = None, {}
    try:
        if task.kind == "weights":
            shape = tuple(case.args[0].shape[1:])
            network = weights.rebuilt(answer.get("value"), shape, task.structure)
            given = weights.classes(network, case.args[0])
            costs = weights.figures(network, shape) if task.limits else {}
        else:
            given = _predicted(answer, truth)
    except Refused as error:
        return _nothing(task, f"{call}: {error}.")
    accuracy = _share(given == truth)
    figures = costs and {"accuracy": accuracy, **costs}
    short = [name for name, least in task.bands.items() if accuracy < least]
    large = {
        name: f"{costs[what]:,} {what}, and {most:,} are the most for {name!r}"
        for name, limits in task.limits.items()
        for what, most in limits.items()
        if costs[what] > most
    }
    failed = {*short, *large}
    if not short:
        problem = f"{call} has {next(iter(large.values()))}." if large else ""
        return Verdict(task.id, _parts(task, failed), problem, figures=figures)
    problem = (
        f"{call} is right on {_percent(accuracy)} of {len(truth)} images; "
        f"{100 * task.bands[short[0]]:g}% are needed for {short[0]!r}."
    )
    if len(given.unique()) == 1:
        problem += " It says the same class for every image."
    if network is not None:
        told = {"hint": weights.hint(network, case.args[0], truth)}
    else:
        told = _named(_misread(task, case, given))
    return Verdict(task.id, _parts(task, failed), problem, figures=figures, **told)


def _predicted(answer: dict, truth: torch.Tensor) -> torch.Tensor:
    """The classes that were predicted, as a tensor like ``truth``."""
    given = _classes(answer.get("value"), truth)
    if given is None:
        raise Refused(f"expected {len(truth)} class numbers, got {describe(answer.get('value'))}")
    alone = answer.get("alone")
    pairs = zip(alone if isinstance(alone, list) else (), given, strict=False)
    other = sum((found := _classes(a, c[None])) is None or bool(found != c) for a, c in pairs)
    if other > 1:  # a single image may lie between two classes
        raise Refused(
            f"asked about one image at a time, it gives {other} of {ALONE} images another class "
            "than in a batch: is the network in evaluation mode?"
        )
    return given


def _classes(given, truth: torch.Tensor) -> torch.Tensor | None:
    """The given classes as a tensor like ``truth``, or None where they are something else."""
    with contextlib.suppress(TypeError, ValueError, RuntimeError):
        given = torch.as_tensor(given)
    fits = isinstance(given, torch.Tensor) and given.shape == truth.shape
    return given if fits else None


def _share(same: torch.Tensor) -> float:
    return same.double().mean().item()


def _misread(task: Task, case: Case, given: torch.Tensor) -> Misconception | None:
    """The misconception that predictions agree with: as well as is asked, and better than right."""
    (truth,) = task.expected([case])
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
        return [], (
            f"`{task.entry}` is not defined: its cell was not run, raised an error before it came "
            "that far, or the name was changed."
        )
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
    if (task.in_bands or task.kind == "source") and len(answers) == 1:
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
    table, key = answer["value"], case.args[0]
    if key not in table and (others := [k for k in table if _letters(k) == _letters(key)]):
        message = f"The table has a key {others[0]!r}; the one that is asked is {key!r}"
        return {"status": "error", "type": "", "message": message, "line": ""}
    return {**answer, "value": table.get(key)}


def _letters(key) -> str:
    return "".join(filter(str.isalnum, str(key))).casefold()


def _wrong(task: Task, case: Case, expected, answer: dict) -> str | None:
    call = _call(task, case)
    if answer.get("status") != "ok":
        kind, message, line = (_word(answer, key) for key in ("type", "message", "line"))
        if _unwritten(answer):
            return _not_written(task, answer)
        raised = f"{call} raised {kind}" + (f": {message}" if message else "") if kind else message
        return raised.rstrip(".") + (f" (at `{line}`)." if line else ".")
    given = answer.get("value")
    if task.kind == "value" and given is None:
        return f"{call} is not filled in yet."
    output = given.get("output", ...) if task.records and isinstance(given, dict) else given
    if task.kind != "value" and output is None and expected is not None:
        return f"{call} returned None: is a `return` missing?"
    if answer.get("mutated") is True:
        return f"{call} changed its input: work on a copy."
    if "no gradient" in task.compared and answer.get("requires_grad") is True:
        return f"{call} still requires a gradient: compute it under `torch.no_grad()`."
    compare = record_difference if task.records else difference
    if found := compare(expected, given, task.rtol, task.atol):
        if task.kind == "value":  # the same question for everybody: the right value is not told
            return _wrong_value(call, found, given)
        return f"{call}: {found}."
    return None


def _wrong_value(call: str, found: str, given) -> str:
    place, told, _ = found.rpartition(": expected") if found.startswith("result[") else ("", "", "")
    if place:
        call = call[:-1] + place.removeprefix("result") + "`"
        found = found.removeprefix(f"{place}: ")
    if told and found.endswith("got None"):
        return f"{call} is not filled in yet."
    if found.startswith("expected") and not found.startswith(
        ("expected a number", "expected a li")
    ):
        return f"{call} is not right." if place else f"{call}: {describe(given)} is not right."
    return f"{call}: {found}."


def _output(task: Task, value):
    return value.get("output") if task.records and isinstance(value, dict) else value


def _call(task: Task, case: Case) -> str:
    if task.kind == "value":
        return f"`{task.entry}[{case.part!r}]`" if case.args else f"`{task.entry}`"
    if task.kind in ("weights", "source"):
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
    """Whether the skeleton's own line raised, and not PyTorch or a line that means otherwise."""
    message = answer.get("message")
    skeleton = message in ("", SKELETON) or "line" not in answer
    return answer.get("type") == "NotImplementedError" and skeleton


def _not_written(task: Task, answer: dict) -> str:
    name = _word(answer, "raised by")
    if name in ("", task.entry, "__init__", "forward", "train"):
        where = f"its `{name}`" if name not in ("", task.entry) else "it"
        return (
            f"`{task.entry}` is not written yet. If it is: the line `raise NotImplementedError` is "
            f"still in {where}, delete it."
        )
    return f"`{name}`, which `{task.entry}` calls, is not written yet."


def _detail(task: Task, case: Case, expected, answer: dict) -> str:
    """The smallest failing case in full, where it is small enough to read."""
    names = list(inspect.signature(task.reference).parameters)
    rows = [*zip(names, case.args, strict=False), *case.kwargs.items()]
    rows += [("input", value) for value in case.inputs]
    rows += [("expected", _output(task, expected))]
    if answer.get("status") == "ok":
        rows += [("got", _output(task, answer.get("value")))]
    rows = [(f"{name}:", show(value)) for name, value in rows if hasattr(value, "shape")]
    width = max((len(name) for name, _ in rows), default=0) + 1
    return "\n".join(f"{n:<{width}}" + v.replace("\n", "\n" + " " * width) for n, v in rows)


def _misconception(
    task: Task, cases: list[Case], expected: list, answers: list[dict]
) -> Misconception | None:
    """The one misconception that alone reproduces the answers to all of these cases.

    Where outputs are wrong, they are what counts; how it learns counts where all of them are right.
    """

    def differs(expected, given, whole: bool) -> bool:
        if whole:
            return bool(record_difference(expected, given, task.rtol, task.atol))
        expected, given = _output(task, expected), _output(task, given)
        return bool(difference(expected, given, task.rtol, task.atol))

    whole = task.records and not any(
        differs(e, answer["value"], False)
        for e, answer in zip(expected, answers, strict=True)
        if "value" in answer
    )

    def predicts(misconception) -> bool:
        agreed = 0
        for case, answer in zip(cases, answers, strict=True):
            answered = answer.get("status") == "ok"
            try:
                (value,) = task.expected([case], misconception.answer)
            except Exception as error:
                said = answer.get("message")
                same = isinstance(said, str) and said != "" and str(error).startswith(said)
                if answered or (isinstance(error, Refused) and not same):  # the sentence says what
                    return False
                agreed += same
            else:
                if not answered or differs(value, answer.get("value"), whole):
                    return False
                agreed += 1
        return agreed > 0

    found = [m for m in task.misconceptions if predicts(m)]
    return found[0] if len(found) == 1 else None
