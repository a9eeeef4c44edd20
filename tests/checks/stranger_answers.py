"""Answers by people who saw the questions only: `strangers/bank_*.py`, tried on the graders.

``python tests/checks/stranger_answers.py one [beginning of a task's name ...]`` lists what is
judged otherwise than its author meant it, with the rates.
"""

import contextlib
import io
import linecache
import re
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import nbformat
from grader_quality import BY_ID, KEYS, ROOT, questions

from cnnlab.checks import judge
from cnnlab.checks.runner import answer

sys.path.insert(0, str(Path(__file__).parent / "strangers"))
FEW = (None, KEYS[1], KEYS[2])
FOLDER = {task_id: task_id.split("-")[0] for task_id in BY_ID}
SLOW = re.compile(r"-train-answer$")


def bank(name: str) -> list:
    return list(import_module(f"bank_{name}").ANSWERS)


@cache
def notebook(prefix: str) -> dict:
    """The names that an assignment's solution notebook defines, training left out."""
    (path,) = (ROOT / "solutions").glob(f"{prefix}_*/*.ipynb")
    namespace = {"__name__": "__main__"}
    for index, cell in enumerate(nbformat.read(path, 4).cells):
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        defines = re.match(r"(import|from|class|def|train|SHAPES|[\w]+ = \{)", cell.source)
        if (
            cell.cell_type == "code"
            and defines
            and not SLOW.search(grade_id)
            and (grade_id.endswith("-answer") or not grade_id)
        ):
            if "plt.subplots" in cell.source or "fit(DeepNet" in cell.source:
                continue
            run(cell.source, namespace, f"<{prefix} {index}>")
    return namespace


def run(source: str, namespace: dict, name: str) -> None:
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    exec(compile(source, name, "exec"), namespace)


def judged(given, key):
    """The verdict on a stranger's answer while grading."""
    task = BY_ID[given.task]
    namespace = dict(notebook(FOLDER[given.task]))
    namespace.pop(task.entry, None)
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            run(given.code, namespace, f"<{given.task} {given.name}>")
        except Exception as error:  # as a cell that fails: what it defined before is there
            print(error)
    cases = questions(given.task, key)
    report = answer(task.kind, task.entry, task.questions(cases), namespace)
    return judge(task, cases, report, lambda name: None, reveal=False)


def tried(given) -> list:
    """The verdicts on an answer under a few seeds; kernels and what is trained under one."""
    kind = BY_ID[given.task].kind
    return [judged(given, key) for key in (FEW if kind in ("function", "module") else FEW[:1])]


def interval(errors: int, number: int) -> tuple[float, float]:
    """The interval of Wilson, of 95 %, for a share."""
    share, z = errors / number, 1.96
    middle = share + z**2 / (2 * number)
    reach = z * (share * (1 - share) / number + z**2 / (4 * number**2)) ** 0.5
    low, high = ((middle + side * reach) / (1 + z**2 / number) for side in (-1, 1))
    return max(0.0, low), min(1.0, high)


def main(name: str, *wanted: str) -> None:
    """List what is judged otherwise than its author meant it, and print both rates."""
    counts = {"right": [0, 0], "wrong": [0, 0], "hints": [0, 0]}
    for given in bank(name):
        if given.ambiguous or not any(given.task.startswith(w) for w in wanted or ("",)):
            continue
        verdicts = tried(given)
        full = [verdict.points == verdict.max_points for verdict in verdicts]
        failed = not all(full) if given.right else any(full)
        meant = "right" if given.right else "wrong"
        counts[meant][0] += failed
        counts[meant][1] += 1
        if not given.right:
            counts["hints"][0] += any(verdict.hint for verdict in verdicts)
            counts["hints"][1] += 1
        if failed:
            points = "/".join(f"{verdict.points:g}" for verdict in verdicts)
            worst = min(verdicts, key=lambda verdict: verdict.points)
            print(f"{meant}: {given.task} [{given.name}] {points} of {worst.max_points:g}")
            print(f"      {given.why}\n      {worst.problem}", flush=True)
    for meant, (errors, number) in counts.items():
        if number:
            low, high = interval(errors, number)
            what = "told a hint" if meant == "hints" else f"{meant} ones judged otherwise"
            print(f"{what}: {errors} of {number} ({low:.1%} to {high:.1%})")


if __name__ == "__main__":
    main(*sys.argv[1:])
