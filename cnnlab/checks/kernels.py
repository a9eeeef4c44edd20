"""Tasks whose answer is a CUDA kernel: judged on the CPU, in the sandbox, access by access."""

import contextlib
from collections.abc import Iterator, Mapping

from cnnlab.checks.task import Finding, Misconception, Task, seed_for
from cnnlab.cuda import CompilerMissing
from cnnlab.cuda.grading import NotJudged, SourceSpec, explain, judge_source

__all__ = ["altered_source", "kernel_task"]

UNWRITTEN = "raise NotImplementedError"  # what the release has in the place of a solution
SEEDS = 1 << 32  # a spec counts on from its seed


def altered_source(source: str, *changes: tuple[str, str]) -> str:
    """A source with pieces of its text exchanged; each piece must be there."""
    for old, new in changes:
        if old not in source:
            raise ValueError(f"the source does not hold {old!r}")
        source = source.replace(old, new)
    return source


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
    mistakes : mapping of str to (str, str)
        The misconceptions: a wrong kernel and the sentence that helps, by name.
    """

    def isolation(seed: int) -> str:
        """One's own code, at home, runs also where the host forbids namespaces; others' never."""
        return "preferred" if seed == seed_for(id) else "required"

    def examine(text: str, seed: int) -> Iterator[Finding]:
        problem = ""
        if UNWRITTEN in text:
            problem = f"`{entry}` is not written yet."
        else:
            try:
                verdicts = judge_source(text, spec, seed=seed % SEEDS, isolation=isolation(seed))
                if not verdicts[0].passed:  # it does not compile
                    problem = verdicts[0].sentence
            except (CompilerMissing, NotJudged) as error:
                if isolation(seed) == "required":
                    raise  # the grading machine's fault, not the student's
                problem = f"Not judged: {error}."
        if problem:
            yield from (Finding(part, False, problem) for part in points)
        else:
            yield from (Finding(v.aspect, v.passed, v.sentence) for v in verdicts[1:])

    def tell(text: str, suspects: Mapping[str, str], seed: int) -> str | None:
        if UNWRITTEN in text:
            return None
        with contextlib.suppress(CompilerMissing, NotJudged):
            return explain(text, suspects, spec, seed=seed % SEEDS, isolation=isolation(seed))

    return Task(
        id=id,
        kind="source",
        entry=entry,
        points=points,
        reference=lambda: reference,
        examine=examine,
        explain=tell,
        misconceptions=tuple(
            Misconception(name, lambda source=source: source, hint)
            for name, (source, hint) in mistakes.items()
        ),
    )
