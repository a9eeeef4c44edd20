"""Judging a student's CUDA source: many awkward sizes, a float64 reference, findings and counters.

The student's code runs in the sandbox only. This process makes the inputs, reads back arrays of
the sizes that it asked for, and compares them itself.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Event

import torch

from cnnlab.cuda.cpu import KernelFailed
from cnnlab.cuda.kernel import Kernel, compile
from cnnlab.cuda.launching import LaunchError
from cnnlab.simulator.report import Report
from cnnlab.cuda.source import CompileError
from cnnlab.cuda.workers import LabFailed

__all__ = [
    "Limit", "NotJudged", "SourceCase", "SourceSpec", "Verdict", "behaviour", "explain",
    "judge_source", "known_behaviours",
]  # fmt: skip


_SLOWER = 4  # the second try has so many times the first one's time


class NotJudged(RuntimeError):
    """The lab could not judge a source, twice; that costs nobody points."""


@dataclass(frozen=True)
class SourceCase:
    """One launch of a student's kernel, and what it must compute.

    Attributes
    ----------
    label : the case in words, as ``"a 1×9 image, 3×3 filter"``
    name : the kernel, as ``"conv2d<3, 16>"``
    arguments : tensors and numbers; the tensor at ``output`` is replaced by one full of NaN (of
        zeros if its type has no NaN), whose every element must be written
    expected : the right output, float64 (integers: exactly)
    scale : what the tolerance is measured by, such as the sum of the products' magnitudes
    """

    label: str
    name: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    arguments: tuple
    output: int
    expected: torch.Tensor
    scale: torch.Tensor | float = 1.0
    constants: Mapping[str, torch.Tensor] = field(default_factory=dict)
    shared_bytes: int = 0
    reverse: bool = False


@dataclass(frozen=True)
class Limit:
    """A bound on a counter of the spec's `measured` case.

    ``sentence`` says the rule with the bound in it.
    """

    aspect: str
    measure: Callable[[Report], float]
    bound: float
    sentence: str


@dataclass(frozen=True)
class SourceSpec:
    """What a source must do: cases from a seed, one larger case for the counters, and limits."""

    id: str
    cases: Callable[[int], list[SourceCase]]
    measured: Callable[[int], SourceCase] | None = None
    limits: tuple[Limit, ...] = ()
    tolerance: float = 1e-5
    timeout: float = 3.0


@dataclass(frozen=True)
class Verdict:
    """One judged aspect: its share of the points (all shares sum to 1) and one sentence."""

    aspect: str
    share: float
    passed: bool
    sentence: str


def _difference(
    case: SourceCase, got: torch.Tensor, want: torch.Tensor, tolerance: float
) -> torch.Tensor:
    """Where the two differ by more than rounding explains."""
    if not got.dtype.is_floating_point:
        return got.double() != want
    allowed = tolerance * torch.as_tensor(case.scale, dtype=torch.float64) + 1e-30
    return ~((got.double() - want).abs() <= allowed)


def _run(case: SourceCase, kernel: Kernel, timeout: float) -> tuple[Report, torch.Tensor]:
    """One launch; where the lab fails or the time is too short, a second one with more time.

    Raises
    ------
    NotJudged
        Where that does not help either.
    """
    arguments = list(case.arguments)
    out = torch.empty_like(arguments[case.output])
    for seconds in (timeout, _SLOWER * timeout):
        arguments[case.output] = out.fill_(float("nan") if out.is_floating_point() else 0)
        try:
            report = kernel.launch(
                case.grid,
                case.block,
                *arguments,
                shared_bytes=case.shared_bytes,
                constants=case.constants,
                outputs=[case.output],
                reverse=case.reverse,
                timeout=seconds,
            )
        except LabFailed as error:
            problem = str(error)
            continue
        slow = [f for f in report.findings if f.kind == "timeout"]
        if not slow:
            return report, out
        problem = slow[0].message
    raise NotJudged(f"not graded: for {case.label}, {problem}")


def _run_all(
    source: str, spec: SourceSpec, cases: list[SourceCase], isolation: str, use_nvrtc: bool | None
):
    """Compile what the cases need and run them, side by side; the outcome of each, or its error.

    Raises
    ------
    NotJudged
        Where the lab did not do its part.
    """
    names = list(dict.fromkeys(case.name for case in cases))
    stop = Event()

    def make(name: str):
        # NVIDIA's compiler reads the first one; other instantiations differ in numbers only.
        try:
            kernel = compile(
                source,
                name,
                isolation=isolation,
                use_nvrtc=use_nvrtc if name == names[0] else False,
            )
            kernel.built("checked")
            return kernel
        except CompileError as error:
            return error

    def one(case: SourceCase):
        kernel = kernels[case.name]
        if stop.is_set() or isinstance(kernel, CompileError):
            return kernel if isinstance(kernel, CompileError) else None
        try:
            report, out = _run(case, kernel, spec.timeout)
        except (KernelFailed, LaunchError, NotJudged) as error:
            return error
        if report.kinds & {"infinite-loop", "deadlock", "forbidden"}:
            stop.set()  # one is enough
        return report, out

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        try:
            kernels = dict(zip(names, pool.map(make, names), strict=True))
        except LabFailed as error:
            raise NotJudged(f"not graded: {error}") from None
        outcomes = list(pool.map(one, cases))
    for outcome in outcomes:
        if isinstance(outcome, NotJudged):
            raise outcome
    return kernels, outcomes


def judge_source(
    source: str, spec: SourceSpec, *, seed: int = 0, isolation: str = "required"
) -> list[Verdict]:
    """Judge a source against a spec.

    Parameters
    ----------
    source : the student's text
    spec : the task, from `cnnlab.assignments.ladder` or one's own
    seed : of the random inputs; grading derives it from its key
    isolation : as in `cnnlab.sandbox.run`

    Returns
    -------
    list of Verdict
        *compiles* 0.1, *correct* 0.4, *clean* 0.3 and the limits, equally, 0.2 (without limits
        *correct* has 0.6). What cannot be judged because of the source has not passed.

    Raises
    ------
    NotJudged
        If the lab did not do its part, or a kernel that gets on needs more than its time.
    """
    shares = {"compiles": 0.1, "correct": 0.4 if spec.limits else 0.6, "clean": 0.3}
    shares |= {limit.aspect: 0.2 / len(spec.limits) for limit in spec.limits}
    verdicts: list[Verdict] = []

    def say(aspect: str, passed: bool, sentence: str) -> None:
        verdicts.append(Verdict(aspect, shares[aspect], passed, sentence))

    def skip_the_rest(why: str) -> list[Verdict]:
        for aspect in list(shares)[len(verdicts) :]:
            say(aspect, False, why)
        return verdicts

    cases = spec.cases(seed)
    kernels, outcomes = _run_all(source, spec, cases, isolation, use_nvrtc=None)
    if isinstance(first := kernels[cases[0].name], CompileError):
        say("compiles", False, f"The source does not compile:\n{first}")
        return skip_the_rest("Not judged, for it does not compile.")
    say("compiles", True, "The source compiles.")
    wrong, findings, broken = [], [], ""
    for case, outcome in zip(cases, outcomes, strict=True):
        if outcome is None:
            continue
        if isinstance(outcome, Exception):
            broken = broken or f"For {case.label} it does not run: {outcome}."
            continue
        report, out = outcome
        if not report.ok:
            findings.append((case, report.findings[0]))
        off = _difference(case, out, case.expected, spec.tolerance)
        if not report.finished:
            broken = broken or f"For {case.label} it did not end: {report.findings[0].message}."
        elif off.any():
            wrong.append((case, out, tuple(map(int, off.nonzero()[0]))))
    if wrong:
        case, out, at = wrong[0]
        values = f"{out[at].item():.6g} instead of {case.expected[at].item():.6g}"
        where = f"first for {case.label}, at element {at}: {values}"
        say("correct", False, f"Wrong in {len(wrong)} of {len(cases)} cases, {where}.")
    else:
        say("correct", not broken, broken or f"Right in all {len(cases)} cases.")
    if findings:
        case, f = findings[0]
        line = f" in line {f.line}" if f.line else ""
        text = f"{f.title.capitalize()}{line}, for {case.label}: {f.message}. {f.cause}"
        say("clean", False, text)
    elif not broken and len(wrong) > 0.9 * len(cases):  # who only writes zeros makes no mistakes
        say("clean", False, "Not judged: hardly any result is right.")
    else:
        fine = "No race, no stray access, nothing unwritten, on two schedules."
        say("clean", not broken, broken or fine)
    if not spec.limits:
        return verdicts
    if wrong or broken:  # a wrong answer can be had with few loads
        return skip_the_rest("Not judged until the answers are right.")
    case = spec.measured(seed)
    try:
        kernel = kernels.get(case.name) or compile(
            source, case.name, isolation=isolation, use_nvrtc=False
        )
        report, out = _run(case, kernel, 4 * spec.timeout)
    except (CompileError, KernelFailed, LaunchError) as error:
        return skip_the_rest(f"Not judged: for {case.label} it does not run: {error}.")
    if not report.ok or _difference(case, out, case.expected, spec.tolerance).any():
        return skip_the_rest(f"Not judged: for {case.label} it goes wrong.")
    for limit in spec.limits:
        value = limit.measure(report)
        say(limit.aspect, value <= limit.bound, f"{limit.sentence}; yours: {value:.2f}.")
    return verdicts


# ---- which known mistake is it? -----------------------------------------------------------------

_UNORDERED = {"shared-race", "global-race"}


@dataclass(frozen=True)
class _Outcome:
    """What one launch came to: an output, and the findings' kinds, spaces and directions."""

    case: SourceCase
    finished: bool = False
    out: torch.Tensor | None = None
    found: frozenset = frozenset()

    def like(self, other: "_Outcome", tolerance: float) -> bool:
        """Whether two kernels did the same here, as far as that is defined at all."""
        if self.finished != other.finished or self.found != other.found:
            return False
        if not self.finished or any(kind in _UNORDERED for kind, *_ in self.found):
            return True  # what a race leaves behind says nothing about its cause
        known = ~(self.out.isnan() & other.out.isnan())
        return not (_difference(self.case, self.out, other.out.double(), tolerance) & known).any()


def _compared(cases: list[SourceCase], large: SourceCase | None) -> list[SourceCase]:
    """Some six cases of one instantiation."""
    name = (large or cases[0]).name
    cases = [case for case in cases if case.name == name]
    return cases[:: len(cases) // 6 | 1]  # an odd step, for block shapes and schedules alternate


def known_behaviours(
    told: Mapping[str, tuple], spec: SourceSpec, seed: int
) -> dict[str, tuple[list[_Outcome], tuple[float, ...]]]:
    """What `behaviour` found for some sources, from plain data.

    Parameters
    ----------
    told : a pair for each source: (finished, out, found) for each case, and the limits' values
    """
    cases = _compared(spec.cases(seed), spec.measured(seed) if spec.measured else None)
    return {
        name: (
            [
                _Outcome(case, finished, out, frozenset(map(tuple, kinds)))
                for case, (finished, out, kinds) in zip(cases, outcomes, strict=True)
            ],
            tuple(values),
        )
        for name, (outcomes, values) in told.items()
    }


@lru_cache(maxsize=256)
def behaviour(
    source: str, spec: SourceSpec, seed: int, isolation: str
) -> tuple[list[_Outcome], tuple[float, ...]]:
    """Outcomes of some six cases of one instantiation; the limits' values if all is right."""
    large = spec.measured(seed) if spec.measured else None
    cases = _compared(spec.cases(seed), large)
    large = large or cases[0]
    kernels, results = _run_all(source, spec, cases, isolation, use_nvrtc=False)
    outcomes = []
    for case, result in zip(cases, results, strict=True):
        if not isinstance(result, tuple):
            outcomes.append(_Outcome(case))
            continue
        report, out = result
        found = {(f.kind, f.array.space if f.array else "", f.write) for f in report.findings}
        outcomes.append(_Outcome(case, report.finished, out, frozenset(found)))
    right = not any(
        o.found
        or not o.finished
        or _difference(o.case, o.out, o.case.expected, spec.tolerance).any()
        for o in outcomes
    )
    if not (right and spec.limits):
        return outcomes, ()
    try:
        report, _ = _run(large, kernels[large.name], 4 * spec.timeout)
    except (KernelFailed, LaunchError, NotJudged):
        return outcomes, ()
    return outcomes, tuple(limit.measure(report) for limit in spec.limits)


def explain(
    source: str,
    suspects: Mapping[str, str | tuple],
    spec: SourceSpec,
    *,
    seed: int = 0,
    isolation: str = "required",
) -> str | None:
    """The name of the one source among ``suspects`` that goes wrong just as ``source`` does.

    In the place of a source may stand what `known_behaviours` tells of it.

    Two sources go wrong alike when they leave the same outputs and the same kinds of findings on
    each of about six cases; where all of these are right, when their counters are alike (within
    a tenth). Where threads race, outputs mean nothing and are not compared. None where no suspect
    fits, or more than one.
    """
    outcomes, values = behaviour(source, spec, seed, isolation)
    if not any(o.finished or o.found for o in outcomes):
        return None  # it does not compile
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        others = list(
            pool.map(
                lambda other: (
                    behaviour(other, spec, seed, isolation) if isinstance(other, str) else other
                ),
                suspects.values(),
            )
        )

    def alike(theirs: list[_Outcome], counters: tuple) -> bool:
        return (
            len(values) == len(counters)
            and all(a.like(b, spec.tolerance) for a, b in zip(outcomes, theirs, strict=True))
            and all(abs(a - b) <= 0.1 * max(a, b) for a, b in zip(values, counters, strict=True))
        )

    found = [name for name, other in zip(suspects, others, strict=True) if alike(*other)]
    return found[0] if len(found) == 1 else None
