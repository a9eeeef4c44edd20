"""How good are the graders? Right answers, wrong ones and mutants tried on every task.

``python tests/checks/grader_quality.py`` writes what it finds to ``docs/grader-quality.md``.
"""

import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from mutation import mutants, source_mutants

from cnnlab.answers import answer
from cnnlab.assignments import load_tasks
from cnnlab.assignments.course import load_module
from cnnlab.checks import Task, Verdict, judge, seed_for
from cnnlab.checks.task import READ

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "grader-quality.md"
ASSIGNMENTS = sorted(path.parent for path in (ROOT / "solutions").glob("*/tasks.py"))
TASKS = [task for folder in ASSIGNMENTS for task in load_tasks(folder).values()]
BY_ID = {task.id: task for task in TASKS}
RIGHT_ANSWERS = {
    task_id: answers
    for folder in ASSIGNMENTS
    for task_id, answers in load_module(folder / "right_answers.py").ANSWERS.items()
}
KEYS = [None, *(bytes([k]) * 8 for k in range(10))]
SECONDS_A_MUTANT = {"source": 60}  # 5, unless told
RUNS = ("one", "two", "three_held_out", "three", "four_held_out", "four")
MUTATED = ("function", "module", "value", "source")


def right_answers(task: Task) -> tuple[Callable, ...]:
    """The right answers of other people: ``right_answers.py`` lists them by task."""
    return RIGHT_ANSWERS.get(task.id, ())


def keys(task: Task) -> list[bytes | None]:
    """The seeds under which a task is tried: kernels, half a second each, under the public one."""
    return KEYS[:1] if task.kind == "source" else KEYS


@cache
def questions(task_id: str, key: bytes | None) -> list:
    return BY_ID[task_id].make_cases(seed_for(task_id, key))


def judged(task: Task, given: Callable, key: bytes | None, cases: list | None = None) -> Verdict:
    """The verdict on an answer while grading; ``given`` makes the value of a value task."""
    cases = cases or questions(task.id, key)
    makes_value = task.kind in READ
    namespace = {task.entry: given() if makes_value else given}
    report = answer(task.kind, task.entry, task.questions(cases), namespace)
    return judge(task, cases, report, reveal=False)


@dataclass
class Mutation:
    """What became of the mutants of a task's right answers.

    ``equal`` answered every question of every seed rightly; ``escaped`` those of some seeds
    only: a grader that asks too little.
    """

    killed: int = 0
    equal: list[str] = field(default_factory=list)
    escaped: list[str] = field(default_factory=list)


@cache
def mutate(task_id: str) -> Mutation:
    """Judge every mutant of a task's right answers (of a kernel's first) under every seed."""
    task, found = BY_ID[task_id], Mutation()
    nameless = replace(task, misconceptions=(), forbidden=())
    stock, make = right_answers(task), mutants
    if task.kind == "source":
        stock, make = stock[:1], source_mutants
    for right in stock:
        for change, mutant in make(right):
            accepted = [_accepted(nameless, mutant, key) for key in keys(task)]
            if not any(accepted):
                found.killed += 1
            elif all(accepted):
                found.equal.append(change)
            else:
                found.escaped.append(change)
    return found


def _accepted(task: Task, mutant: Callable, key: bytes | None) -> bool:
    """Whether a mutant earns all points; one that does not come to an end earns none.

    What is called is asked one question at a time: most mutants fail the first.
    """
    cases = questions(task.id, key)
    asked = [cases] if task.kind in READ else [[case] for case in cases]
    with contextlib.suppress(Exception), _alarm(SECONDS_A_MUTANT.get(task.kind, 5)):
        return all(judged(task, mutant, key, some).points == task.max_points for some in asked)
    return False


@contextlib.contextmanager
def _alarm(seconds: float):
    """Stop after so much time of the processor: on a busy machine a right answer takes long."""

    def stop(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


INTRODUCTION = f"""# How good are the graders?

Written by `make grader-quality`; a test fails when it no longer agrees with the tasks. Each answer
was judged as while grading, under {len(KEYS)} seeds: the public one and {len(KEYS) - 1} keys.
Kernels (the tasks of kind *source*) were judged under the public one, since each has to be
compiled and run.

- **Wrong answers**: the task's bank of misconceptions. Each loses points and is told its own
  sentence under every seed.
- **Right answers**: written independently of the reference and of each other (loops, whole arrays,
  the library). Each earns all points under every seed. The solution notebooks come on top: they go
  through nbgrader itself.
- **Mutants**: the right answers (of a kernel's, the first) with one operator, comparison, constant,
  argument, statement or call changed; in modules also with a gradient cut off, or another momentum
  or epsilon of a batch norm. *Killed* ones lose points under every seed. Those that make
  *no difference* answer every question of every seed rightly; they are listed below, for a person
  to look through. None is accepted under some seeds and refused under others.
"""


def fixed_columns(task: Task) -> str:
    """The columns of a task's row that are quickly known."""
    name = f"| {task.id} | {task.kind} | {len(task.points)} | {task.max_points:g} "
    return name + f"| {len(task.misconceptions)} | {len(right_answers(task))} "


STRANGERS = """
## Answers by people who had seen the questions only

What is above measures the graders by their makers' own answers. Four more banks, in
`tests/checks/strangers/`, were written from the released notebooks alone, without a look at
the references or the tasks: right answers in many styles, and wrong ones that people
give. Bank one was used while the graders were mended; bank two was kept aside until they were
done; bank three was written after that, to all tasks, and fixed before it was tried; bank four
likewise, to the parts that are newer than bank three (`a3-losses`, `a3-mend`, `a5-resnet`) and
once more to assignments 8 and 9. Their first runs, *three, held out* and *four, held out*, are the
honest figures: no grader had been mended for them. The other rows are of later runs. Answers that
their author calls ambiguous are left out. Functions and modules were tried under three seeds; a
right answer is refused if it loses a point under any of them, a wrong one accepted if it earns all
points under any. Intervals are Wilson's, of 95 %.
`python tests/checks/stranger_answers.py one` tries them anew.

| bank | answers | tried | misjudged, or hinted | share | interval |
|---|---|--:|--:|--:|---|"""


AFTERWARDS = """
In the first run of bank four eight wrong answers were accepted. Six fell between the questions,
which are asked now: a loop over a few images was too short to be seen (`a8-linear`,
`a8-conv-matrix`; every part of assignment 8 that rules loops out is asked about sixteen images,
too), no true class lay so far below the others that its probability is 0 (`a8-cross-entropy`, two
answers), no window lay wholly below 0 (`a8-max-pool`), and the losses were those of a single batch
(`a3-mend`). The other two, to `a5-resnet`, stay: a shortcut that has weights only where the size
changes, or only where the channels do. In every network of that part these are the same blocks. The
answers to `a3-mend` were tried a second time before anything was mended, since the first time a
cell of the skeleton had been left out. What is wrong in the first part that fails is named since
then, too, where the answer as a whole is explained by no single mistake.

In the first run of bank three one right answer lost its points by a fault of the trial: it fills in
the skeleton's table (`a6-counts`), which the trial had left out. The two wrong ones that were
accepted fell between the questions: nobody asked for a block of one convolution that is 1×1
(`a3-vgg-block`), nor for large and small scores in one batch (`a8-cross-entropy`). Both are asked
now. One right answer that its author called ambiguous was refused, a network whose `stem` is an
`nn.Sequential` of the convolution and its ReLU; such a chain is taken for its only layer now. What
misled was mended too: hints that named a property which set right and wrong questions apart by
chance only, and a hint on values where the values were right. Five answers to training tasks, whose
graders stayed as they were, have been tried in the first run only.

Bank two was held out once. In that first run 2 of 106 right answers lost points (1.9 %) and 6 of
156 wrong ones were accepted (3.8 %): three because of a gap in a grader (`a4-pool` and
`a4-concatenated` did not look at gradients, and `a7-few` had no class without an image), three as
answers to training tasks, which saw only that classes were right. 48 % of the refused ones had a
hint. The two right answers that still lose points do what the text now rules out and did not
mention when they were written: layers with names of their own (`a7-head`), and nothing that trains
(`a7-freeze`).

The training tasks of assignments 3 to 5 are left out of banks one and two: they ask for another
thing since these were written. Then every answer that read the digits earned its points, and so
did a linear layer, class means and the nearest training image. Now the trained network is handed
in, its structure is looked at, and its digits are moved; `tests/checks/test_weights.py` measures
what these three come to."""


def page() -> str:
    """The page, made anew: some minutes."""
    from stranger_answers import rates

    lines, listed, killed, tried = [], [], 0, 0
    for task in TASKS:
        mutation = mutate(task.id) if task.kind in MUTATED else Mutation()
        if mutation.escaped:
            raise SystemExit(f"{task.id} asks too little:\n" + "\n".join(mutation.escaped))
        count = mutation.killed + len(mutation.equal)
        killed, tried = killed + mutation.killed, tried + count
        row = f"| {count} | {mutation.killed} | {len(mutation.equal)} |" if count else "| | | |"
        lines.append(fixed_columns(task) + row)
        if mutation.equal:
            listed += [f"\n**{task.id}**\n", *(f"- {change}" for change in mutation.equal)]
    wrong = sum(len(task.misconceptions) for task in TASKS)
    right = sum(len(right_answers(task)) for task in TASKS)
    total = f"| **all** | | {sum(len(t.points) for t in TASKS)} | | {wrong} | {right} "
    return "\n".join(
        [
            INTRODUCTION,
            "| task | kind | parts | points | wrong answers, all caught | right answers, "
            "all accepted | mutants | killed | no difference |",
            "|---|---|--:|--:|--:|--:|--:|--:|--:|",
            *lines,
            f"{total}| {tried} | {killed} | {tried - killed} |",
            STRANGERS,
            *(row for run in RUNS for row in rates(run)),
            AFTERWARDS,
            "\n## Mutants that make no difference",
            f"\n{killed} of {tried} mutants are killed ({killed / tried:.1%}). These are not:",
            *listed,
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page())
