"""Answers by people who saw the questions only: `strangers/bank_*.py`, tried on the graders.

``python tests/checks/stranger_answers.py one [task or text ...]`` lists what is judged otherwise
than its author meant it.
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
        except Exception as error:
            print(error)
    cases = questions(given.task, key)
    report = answer(task.kind, task.entry, task.questions(cases), namespace)
    return judge(task, cases, report, lambda name: None, reveal=False)


def main(name: str, *wanted: str) -> None:
    counts = {}
    for given in bank(name):
        if wanted and not any(given.task.startswith(w) for w in wanted):
            continue
        task = BY_ID[given.task]
        verdicts = []
        for key in FEW[:1] if task.kind == "source" else FEW:
            verdicts.append(judged(given, key))
            if task.kind not in ("function", "module"):
                break
        worst = min(verdicts, key=lambda v: v.points)
        full = worst.points == task.max_points
        always = full or max(v.points for v in verdicts) < task.max_points
        meant = "ambiguous" if given.ambiguous else "right" if given.right else "wrong"
        counts[meant, full] = counts.get((meant, full), 0) + 1
        hinted = bool(worst.hint)
        if meant == "wrong":
            counts["hint", hinted] = counts.get(("hint", hinted), 0) + 1
        if full != given.right or not always:
            points = "/".join(f"{v.points:g}" for v in verdicts)
            print(
                f"{meant:9} {given.task} [{given.name}] {points} of {task.max_points:g}"
                f"\n      {given.why}\n      {worst.problem}",
                flush=True,
            )
    print(counts)


if __name__ == "__main__":
    main(*sys.argv[1:])
