"""What an answer must not do: decided by what it was seen to do, in check as in grading."""

from itertools import product

import torch

from cnnlab.checks.compare import size_of
from cnnlab.checks.task import Case, Task

__all__ = ["violation"]

_SPARE = {"steps": 6, "operators": 12}  # what may differ from question to question without a loop


def violation(task: Task, cases: list[Case], answers: list[dict]) -> str | None:
    """The first thing that the entry was seen to do and must not."""
    seen = [a.get("seen") if isinstance(a.get("seen"), dict) else {} for a in answers]
    lists = [s["called"] for s in seen if isinstance(s.get("called"), list)]
    found = {str(name) for names in lists for name in names}
    operators = {name for name in found if "::" in name}
    called = set(task.forbidden) & {name.rpartition("::")[2] for name in found}
    if "convolution" in task.forbidden and any("conv" in name for name in operators):
        return f"`{task.entry}` runs PyTorch's convolution, and this task asks you to do without it"
    if called:
        return f"`{task.entry}` calls `{min(called)}`, and this task asks you to do without it"
    if "joining" in task.forbidden:
        for case, s in zip(cases, seen, strict=True):
            if len(case.args[0]) > 1 and _number(s, "largest") >= size_of(case.args[0]):
                return (
                    f"`{task.entry}` lays its arguments together in one tensor, and this task asks "
                    "you to do without that"
                )
    if "loop" in task.forbidden:
        alike: dict[tuple, list[dict]] = {}
        for case, s, a in zip(cases, seen, answers, strict=True):
            if a.get("status") == "ok":
                alike.setdefault(_form(case), []).append(s)
        for group, (what, spare) in product(alike.values(), _SPARE.items()):
            numbers = [_number(s, what) for s in group]
            if max(numbers) - min(numbers) > spare:
                kind = "lines of Python" if what == "steps" else "operations of PyTorch"
                return (
                    f"`{task.entry}` runs {max(numbers)} {kind} for one question and "
                    f"{min(numbers)} for another: it loops, and this task asks for no loop, "
                    "whatever its form"
                )
    return None


def _form(case: Case) -> tuple:
    """What a question asks for: with another tensor, or in another mode, steps may be others."""
    tensors = tuple(k for k, value in case.kwargs.items() if isinstance(value, torch.Tensor))
    return tensors, tuple(a for a in case.args if isinstance(a, bool))


def _number(seen: dict, key: str) -> int:
    value = seen.get(key)
    return value if isinstance(value, int) else 0
