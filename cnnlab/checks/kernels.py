"""Tasks whose answer is a CUDA kernel: judged on the CPU, in the sandbox, access by access."""

from collections.abc import Iterator, Mapping

from cnnlab.checks.task import Finding, Misconception, Task, seed_for
from cnnlab.cuda import CompilerMissing
from cnnlab.cuda.grading import SourceSpec, explain, judge_source

__all__ = ["altered_source", "kernel_task"]


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
    suspects = {name: source for name, (source, _) in mistakes.items()}

    def examine(text: str, seed: int) -> Iterator[Finding]:
        learning = seed == seed_for(id)
        isolation = "preferred" if learning else "required"
        seed %= 1 << 32  # room to count on from it
        if "raise NotImplementedError" in text:
            yield from (Finding(part, False, f"`{entry}` is not written yet.") for part in points)
            return
        try:
            verdicts = judge_source(text, spec, seed=seed, isolation=isolation)
            lost = [v for v in verdicts if not v.passed]
            compiled = verdicts[0].passed
            name = None
            if lost and compiled:
                name = explain(text, suspects, spec, seed=seed, isolation=isolation)
        except CompilerMissing as error:
            if not learning:
                raise  # the machine's fault, not the student's
            yield from (Finding(part, False, f"Not judged: {error}.") for part in points)
            return
        if not compiled:
            yield from (Finding(part, False, verdicts[0].sentence) for part in points)
            return
        for v in verdicts:
            if v.aspect in points:
                yield Finding(v.aspect, v.passed, v.sentence, None if v.passed else name)

    return Task(
        id=id,
        kind="source",
        entry=entry,
        points=points,
        reference=lambda: reference,
        examine=examine,
        misconceptions=tuple(
            Misconception(name, lambda source=source: source, hint)
            for name, (source, hint) in mistakes.items()
        ),
    )
