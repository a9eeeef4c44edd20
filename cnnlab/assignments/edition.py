"""The student's edition of an assignment's tasks: what ``check`` needs of them, as data.

``x.checks`` lies beside the notebook ``x.ipynb``. It is a zip archive of plain arrays, read without
pickle, and holds no code: the public questions of each task, the answers that are expected, and
those that each known misconception gives to the same questions. Numbers of *value* tasks are
sealed (`cnnlab.assignments.sealed`). Tasks that are read from it are judged as others are.
"""

import inspect
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch

from cnnlab.assignments.sealed import opened, seal
from cnnlab.assignments.variant import variant_of
from cnnlab.answers import Refused, wire
from cnnlab.checks.compare import difference
from cnnlab.checks.task import Case, Misconception, Task, TasksError, seed_for

__all__ = ["MAX_BYTES", "SUFFIX", "read_edition", "write_edition"]

SUFFIX = ".checks"
FORMAT = 3
MAX_BYTES = 2**20
_CODE = {"reference", "cases", "misconceptions", "examine", "explain"}


class _Answers:
    """What an answer said to each of a task's cases, in the place of the answer itself."""

    def __init__(self, records: list, parameters: tuple[str, ...] = ()):
        self.records = records
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        self.__signature__ = inspect.Signature([inspect.Parameter(p, kind) for p in parameters])

    def __call__(self, *args, **kwargs):
        raise TypeError("the student's edition knows the public questions only")

    def to(self, index: int):
        record = self.records[index]
        if "value" in record:
            return record["value"]
        raise (Refused if record["refused"] else RuntimeError)(record["error"])


@dataclass(frozen=True)
class _ReadTask(Task):
    """A task whose questions and answers are read, not computed."""

    asked: tuple[Case, ...] = ()

    def make_cases(self, seed: int) -> list[Case]:
        return list(self.asked)

    def expected(self, cases: list[Case], answer: Callable | None = None) -> list:
        places = {id(case): index for index, case in enumerate(self.asked)}
        asked = cases[:1] if self.in_bands else cases
        return [(answer or self.reference).to(places[id(case)]) for case in asked]


def write_edition(
    path: str | os.PathLike, tasks: Mapping[str, Task], assignment: str, variant: str = ""
) -> None:
    """Write the student's edition of ``tasks`` to ``path``.

    Raises
    ------
    TasksError
        If something in a task cannot be told as data, or it would be larger than 1 MB.
    """
    content = {
        "format": FORMAT,
        "assignment": assignment,
        "variant": variant,
        "tasks": [_record(task) for task in tasks.values()],
    }
    try:
        Path(path).unlink(missing_ok=True)
        wire.save(path, content)
    except wire.WireError as error:
        raise TasksError(f"{path} cannot be written: {error}.") from None
    if (size := os.path.getsize(path)) > MAX_BYTES:
        os.unlink(path)
        raise TasksError(
            f"{path} would have {size / 1e6:.1f} MB, and {MAX_BYTES / 1e6:.1f} MB is the most: ask "
            "smaller questions."
        )


def _record(task: Task) -> dict:
    try:
        return _plain(task)
    except TasksError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise TasksError(f"Task {task.id} cannot be asked: {said}.") from error


def _plain(task: Task) -> dict:
    cases = task.make_cases(seed_for(task.id))
    data = {f.name: getattr(task, f.name) for f in fields(Task) if f.name not in _CODE and f.init}
    data |= {name: dict(v) for name, v in data.items() if isinstance(v, Mapping)}
    right = _answers(task, cases, task.reference)
    if failed := [record["error"] for record in right if "error" in record]:
        said = (failed[0].splitlines() or ["it raises"])[0][:200]
        raise TasksError(f"Task {task.id}: its reference does not answer its cases ({said}).")
    wrong = [
        {
            "name": m.name,
            "hint": m.hint,
            "answers": _short(task, right, _answers(task, cases, m.answer)),
        }
        for m in task.misconceptions
    ]
    found = {
        "data": data,
        "parameters": list(inspect.signature(task.reference).parameters),
        "cases": [_plain_case(case, coarse=task.in_bands) for case in cases],
        "answers": right,
        "misconceptions": wrong,
    }
    if task.kind == "source":
        if not hasattr(task.examine, "record"):
            raise TasksError(
                f"Task {task.id}: its `examine` is code of its own and cannot be told as data; "
                "make source tasks with `kernel_task`."
            )
        suspects = {m.name: m.answer() for m in task.misconceptions}
        found["source"] = task.examine.record(seed_for(task.id), suspects)
    return found


def _plain_case(case: Case, coarse: bool) -> dict:
    """A case as data; images that are only classified need no more than half precision."""
    plain = {f.name: getattr(case, f.name) for f in fields(Case)}
    plain |= {name: dict(v) for name, v in plain.items() if isinstance(v, Mapping)}
    if coarse:
        plain["args"] = tuple(a.half() if _is_float(a) else a for a in case.args)
    return plain


def _is_float(value) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32


def _as_single(value):
    return value.float() if isinstance(value, torch.Tensor) and value.dtype == torch.half else value


def _short(task: Task, right: list[dict], wrong: list[dict]) -> list[dict]:
    """A misconception's answers; of records only outputs, where they tell it from the right."""
    pairs = [(r["value"], w["value"]) for r, w in zip(right, wrong, strict=True) if "value" in w]
    if not task.records or not any(
        difference(r["output"], w["output"], task.rtol, task.atol) for r, w in pairs
    ):
        return wrong
    return [{**w, "value": {"output": w["value"]["output"]}} if "value" in w else w for w in wrong]


def _answers(task: Task, cases: list[Case], answer: Callable) -> list[dict]:
    """What ``answer`` says to each case, or why it says nothing."""
    records = []
    for case in cases:
        try:
            (value,) = task.expected([case], answer)
        except Exception as error:
            records += [{"error": str(error), "refused": isinstance(error, Refused)}]
            continue
        if task.kind == "value":
            value = seal(value, f"{task.id}/{case.part}", task.rtol, task.atol)
        records += [{"value": value}]
    return records


def read_edition(path: str | os.PathLike) -> dict[str, Task]:
    """The tasks that `write_edition` wrote, by id.

    Raises
    ------
    TasksError
        If the file is missing, damaged, of another kind or version, or of another variant than
        the notebook beside it.
    """
    path = Path(path)
    again = "get the assignment again, all of its files"
    try:
        content = wire.load(path)
    except wire.WireError as error:
        raise TasksError(f"{path.name} cannot be read ({error}): {again}.") from None
    if not isinstance(content, dict) or "format" not in content:
        raise TasksError(f"{path.name} holds no checks: {again}.")
    if content["format"] != FORMAT:
        raise TasksError(
            f"{path.name} is of format {content['format']!r}, and this cnnlab reads format "
            f"{FORMAT}: the assignment and the package are of different terms."
        )
    if (other := _variant_beside(path)) not in (None, content.get("variant", "")):
        names = [name or "the default one" for name in (content.get("variant", ""), other)]
        raise TasksError(
            f"{path.name} is of another variant than the notebook beside it ({names[0]}, and "
            f"{names[1]}): {again}."
        )
    try:
        return {task["data"]["id"]: _restored(task) for task in content["tasks"]}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise TasksError(f"{path.name} is damaged ({error!r}): {again}.") from None


def _variant_beside(path: Path) -> str | None:
    """The variant of the released notebook that the file belongs to, if that can be told."""
    try:
        return variant_of(json.loads(path.with_suffix(".ipynb").read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError, LookupError, TypeError):
        return None


def _restored(found: dict) -> Task:
    data, parameters = found["data"], tuple(found["parameters"])
    for name, value in data.items():
        if isinstance(value, list):
            data[name] = tuple(value)
    sealed = data["kind"] == "value"

    def answers(records: list) -> _Answers:
        if sealed:
            records = [{**r, "value": opened(r["value"])} if "value" in r else r for r in records]
        return _Answers(records, parameters)

    cases = tuple(Case(**case) for case in found["cases"])
    cases = tuple(replace(c, args=tuple(_as_single(a) for a in c.args)) for c in cases)
    misconceptions = [
        Misconception(m["name"], answers(m["answers"]), m["hint"]) for m in found["misconceptions"]
    ]
    code: dict = {"examine": None, "explain": None}
    if data["kind"] == "source":
        from cnnlab.assignments.kernels import KernelJudge

        judge = KernelJudge.restored(data["id"], data["entry"], found["source"])
        code = {"examine": judge, "explain": judge.explain}
        suspects = found["source"]["suspects"]
        misconceptions = [
            Misconception(m.name, lambda b=suspects[m.name]: b, m.hint)
            for m in misconceptions
            if m.name in suspects
        ]
    return _ReadTask(
        **data,
        reference=answers(found["answers"]),
        cases=None if data["kind"] in ("value", "source") else lambda rng: cases,
        misconceptions=tuple(misconceptions),
        asked=cases,
        **code,
    )
