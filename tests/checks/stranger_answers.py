"""Answers by people who saw the questions only: `strangers/bank_*.py`, tried on the graders.

``python tests/checks/stranger_answers.py one [beginning of a task's name ...]`` lists what is
judged otherwise than its author meant it, with the rates.
"""

import contextlib
import io
import json
import linecache
import re
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import nbformat
from filelock import FileLock
from grader_quality import BY_ID, KEYS, ROOT, questions

from cnnlab.answers import answer
from cnnlab.checks import judge

HERE = Path(__file__).parent / "strangers"
sys.path.insert(0, str(HERE))
FEW = (None, KEYS[1], KEYS[2])
FOLDER = {task_id: task_id.split("-")[0] for task_id in BY_ID}
SLOW = re.compile(r"-train-answer$")


# Answered as another text asked, of which the authors of these banks were not told: left out.
CHANGED = {name: ("a3-train", "a4-train", "a5-train") for name in ("one", "two")}


def bank(name: str) -> list:
    answers, changed = import_module(f"bank_{name}").ANSWERS, CHANGED.get(name, ())
    return [given for given in answers if given.task not in changed]


@cache
def notebook(prefix: str) -> dict:
    """The names that an assignment's solution notebook defines, training left out."""
    (path,) = (ROOT / "solutions").glob(f"{prefix}_*/*.ipynb")
    namespace = {"__name__": "__main__"}
    for index, cell in enumerate(nbformat.read(path, 4).cells):
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        defines = re.match(r"(import|from|class|def|train|SHAPES|\w+ = [{(])", cell.source)
        if (
            cell.cell_type == "code"
            and defines
            and not SLOW.search(grade_id)
            and (grade_id.endswith(("-answer", "-imports", "-trial")) or not grade_id)
        ):
            if "plt.subplots" in cell.source or "fit(DeepNet" in cell.source:
                continue
            with contextlib.suppress(NameError):  # it builds on a cell that is left out
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
    if task.kind == "value":  # the cell begins with the skeleton's table
        namespace[task.entry] = dict.fromkeys(task.points)
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            run(given.code, namespace, f"<{given.task} {given.name}>")
        except Exception as error:  # as a cell that fails: what it defined before is there
            print(error)
    return judged_in(task, namespace, key)


def judged_in(task, namespace: dict, key):
    """The verdict on what a notebook's names hold, while grading."""
    cases = questions(task.id, key)
    report = answer(task.kind, task.entry, task.questions(cases), namespace)
    return judge(task, cases, report, reveal=False)


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


def found(name: str) -> dict:
    """What was found when a bank was last tried: the points under each seed, by answer."""
    path = HERE / f"found_{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def rates(run: str) -> list[str]:
    """How many of a bank were judged otherwise than meant in a run, as rows of a table.

    A run is the name of a bank, or more: ``three_held_out`` is the first run of bank three.
    """
    answers, name = bank(run.partition("_")[0]), run.replace("_", ", ", 1).replace("_", " ")
    known = {f"{given.task}: {given.name}": given for given in answers if not given.ambiguous}
    outcomes = {title: f for title, f in found(run).items() if title in known}
    rows = []
    for right, words in ((True, "right, refused"), (False, "wrong, accepted")):
        mine = {t: f for t, f in outcomes.items() if known[t].right is right}
        full = {t: [p == f["of"] for p in f["points"]] for t, f in mine.items()}
        bad = [t for t, f in full.items() if (not all(f) if right else any(f))]
        if mine:
            low, high = interval(len(bad), len(mine))
            share = f"{len(bad) / len(mine):.1%} | {low:.1%} to {high:.1%}"
            rows += [f"| {name} | {words} | {len(mine)} | {len(bad)} | {share} |"]
    refused = [f for t, f in outcomes.items() if not known[t].right and max(f["points"]) < f["of"]]
    hints = sum(f["hint"] for f in refused)
    rows += [f"| {name} | wrong, refused, with a hint | {len(refused)} | {hints} | | |"]
    return rows


def main(name: str, *wanted: str) -> None:
    """Try a bank, or some tasks of it; list what is judged otherwise, and note what was found."""
    for given in bank(name):
        if given.ambiguous or not any(given.task.startswith(w) for w in wanted or ("",)):
            continue
        verdicts = tried(given)
        full = [verdict.points == verdict.max_points for verdict in verdicts]
        points = [verdict.points for verdict in verdicts]
        worst = min(verdicts, key=lambda verdict: verdict.points)
        hint = any(verdict.hint for verdict in verdicts)
        outcome = {"points": points, "of": worst.max_points, "hint": hint}
        with FileLock(HERE / ".found.lock"):
            now = found(name) | {f"{given.task}: {given.name}": outcome}
            lines = [json.dumps({title: now[title]}, ensure_ascii=False) for title in sorted(now)]
            text = ",\n".join(line[1:-1] for line in lines)
            (HERE / f"found_{name}.json").write_text(f"{{\n{text}\n}}\n")
        if not all(full) if given.right else any(full):
            print(f"{given.right} {given.task} [{given.name}] {points} of {worst.max_points:g}")
            print(f"      {given.why}\n      {worst.problem}", flush=True)
    print(*rates(name), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
