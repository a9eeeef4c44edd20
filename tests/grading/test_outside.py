"""Verdicts from outside: no trick in the kernel earns a point, no accident costs two parts."""

import ast
import base64
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from traitlets.config import Config

from cnnlab.assignments import load_tasks
from cnnlab.grading.outside import POOL, JudgeOutside, _questions, variant

SOLUTION = Path(__file__).parents[2] / "solutions/a1_convolution/a1_convolution.ipynb"
KEEP = {"a1-window", "a1-output-size", "a1-loops"}  # three of ten parts make a quick notebook


def grade(tmp_path, timeout=20, before="", **answers):
    """Points and feedback of a submission whose answers are replaced, by task."""
    notebook = nbformat.read(SOLUTION, 4)
    cells = []
    for cell in notebook.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        name = grade_id.removesuffix("-answer")
        if cell.cell_type == "code" and (name in KEEP or cell.source.startswith("import")):
            if grade_id.endswith("-answer") and (new := answers.get(name[3:].replace("-", "_"))):
                cell.source = new
            cells.append(cell)
    cells[0].source += "\n" + before
    notebook.cells = cells
    key = tmp_path / "key"
    key.write_text("k" * 64)
    config = Config({"JudgeOutside": {"key_file": str(key), "timeout": timeout}})
    outside = JudgeOutside(config=config)
    outside.tasks = load_tasks(SOLUTION.parent)
    done, _ = outside.preprocess(notebook, {"metadata": {"path": str(tmp_path)}})
    graded = [cell for cell in done.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    return {
        cell.metadata.nbgrader.grade_id[3:]: (
            float(cell.outputs[1].data["text/plain"]),
            cell.outputs[0].text,
        )
        for cell in graded
    }


LIST = """
from torch import nn
network = nn.Sequential(nn.Conv2d(1, 2, 3, 2), nn.Flatten(), nn.Linear(338, 10))
golf = [("Conv2d", 1, 2, 3, {"stride": 2}), ("Flatten",), ("Linear", 338, 10)], network.state_dict()
"""


def test_who_is_judged_by_figures_sees_their_own_place_and_nobody_elses(tmp_path):
    task = load_tasks(SOLUTION.parents[1] / "a9_golf")["a9-golf"]
    graded = {"grade_id": task.id, "points": task.max_points, "grade": True, "solution": False}
    graded |= {"locked": True, "task": False, "schema_version": 3}
    cells = [new_code_cell(LIST), new_code_cell('check("a9-golf")', metadata={"nbgrader": graded})]
    outside = JudgeOutside()
    outside.tasks, outside.key = {task.id: task}, b"k" * 32
    resources = {"metadata": {"path": str(tmp_path)}, "nbgrader": {"student": "ada"}}
    done, resources = outside.preprocess(new_notebook(cells=cells), resources)
    told, _, picture = done.cells[1].outputs
    assert "6,422 MACs, 3,410 parameters." in told.text
    assert resources["cnnlab"]["tasks"][task.id]["figures"]["MACs"] == 6422
    (coded,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', picture.data["text/html"])
    shown = base64.b64decode(coded).decode()
    assert shown.count("<circle") == 1 and "<title>ada: accuracy" in shown


FIGURE = """
import os, matplotlib.pyplot as plt
plt.plot([1, 2])
plt.savefig("mine.png")
print(os.path.getsize("mine.png") > 1000, plt.gcf().canvas.get_width_height())
"""


@pytest.mark.parametrize(
    ("between", "told", "drawn"),
    [
        ([], {}, True),
        ([new_code_cell("1")], {}, True),
        (["check"], {}, False),
        (["check"], {"figures": True}, True),
    ],
)
def test_a_figure_is_drawn_where_a_marked_answer_follows_or_who_grades_wants_it(
    tmp_path, between, told, drawn
):
    told_of = {"locked": False, "task": False, "schema_version": 3, "points": 1, "grade": True}
    checked = told_of | {"grade_id": "t", "solution": False}
    written = new_markdown_cell("I see a line.")
    written.metadata["nbgrader"] = told_of | {"grade_id": "written", "solution": True}
    check = new_code_cell("1", metadata={"nbgrader": checked})
    between = [check if cell == "check" else cell for cell in between]
    outside = JudgeOutside(**told)
    outside.tasks, outside.key = {}, b"k" * 32
    cells = [new_code_cell(FIGURE), *between, written]
    resources = {"metadata": {"path": str(tmp_path)}, "nbgrader": {}}
    done, _ = outside.preprocess(new_notebook(cells=cells), resources)
    printed, shown = done.cells[0].outputs
    assert printed.text.startswith("True (")  # its code works with it in either case
    assert ("image/png" in shown.data) == drawn
    assert ("not drawn" in shown.data["text/plain"]) != drawn


def points(found) -> tuple:
    return tuple(found[name][0] for name in ("window", "output-size", "loops"))


def test_honest_work_earns_its_points(tmp_path):
    assert points(grade(tmp_path)) == (6, 8, 10)


def test_feedback_while_grading_shows_no_questions(tmp_path):
    found = grade(tmp_path, window="def window_response(image, kernel, row, col): return 0")
    assert found["window"][0] == 0
    assert "expected" in found["window"][1] and "[[" not in found["window"][1]


INDEPENDENT = """
def conv2d_loops(image, kernel):
    h, w = kernel.shape
    out = torch.zeros(image.shape[0] - h + 1, image.shape[1] - w + 1)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = window_response(image, kernel, i, j)
    return out
"""

WRONG = "def output_size(n, k, padding=0, stride=1): return {}\n"
TRICKS = {
    "an object that equals everything": (
        "class Same:\n    __eq__ = lambda a, b: True\n    __float__ = lambda a: 0.0\n"
        + WRONG.format("Same()")
    ),
    "a number whose comparisons lie": (
        "class Lie(float):\n    __eq__ = __lt__ = __le__ = lambda a, b: True\n"
        "    __sub__ = __rsub__ = lambda a, b: Lie()\n" + WRONG.format("Lie()")
    ),
    "a patched judge": (
        "import cnnlab.checks, cnnlab.checks.compare as c, cnnlab.checks.judge as j\n"
        "c.difference = j.difference = lambda *a: None\n"
        "import torch; torch.allclose = torch.equal = lambda *a, **k: True\n" + WRONG.format("0")
    ),
    "a forged report": (
        "import cnnlab.answers.mailbox as m, cnnlab.answers.wire as w\n"
        "honest = m.answer_mail\n"
        "def forged(kind, entry):\n"
        "    if entry != 'output_size': return honest(kind, entry)\n"
        "    w.save(m.letter()[1], {'status': 'answered', 'points': 8, 'answers': []})\n"
        "m.answer_mail = forged\n" + WRONG.format("0")
    ),
    "forged outputs": (
        "from IPython import get_ipython\n"
        "get_ipython().events.register('pre_run_cell', lambda *a: print('a1: 8 of 8 points'))\n"
        "get_ipython().events.register('post_run_cell', lambda *a: display(8.0))\n"
        + WRONG.format("0")
    ),
    "a kernel that swallows errors": (
        "from IPython import get_ipython\n"
        "get_ipython().ast_transformers.append(type('T', (), {'visit': lambda s, t: t}))\n"
        "get_ipython().set_custom_exc((Exception,), lambda *a: None)\n" + WRONG.format("1/0")
    ),
    "the public questions learnt by heart": (
        "from cnnlab.assignments import get_task\nfrom cnnlab.checks import seed_for\n"
        "t = get_task('a1-output-size')\n"
        "c = t.make_cases(seed_for(t.id))\n"
        "known = {(*x.args, *x.kwargs.items()): e for x, e in zip(c, t.expected(c))}\n"
        "def output_size(n, k, **more): return known.get((n, k, *more.items()), 0)\n"
    ),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_earns_nothing_and_costs_the_other_parts_nothing(tmp_path, trick):
    found = grade(
        tmp_path,
        output_size=TRICKS[trick],
        loops=INDEPENDENT,
    )
    window, tricked, loops = points(found)
    assert tricked <= 2 if "heart" in trick else tricked == 0, found["output-size"][1]
    assert (window, loops) == (6, 10)


def test_a_kernel_that_dies_in_an_answer_costs_that_part_only(tmp_path):
    die = "def output_size(n, k, padding=0, stride=1):\n    import os; os._exit(1)"
    found = grade(tmp_path, output_size=die, loops=INDEPENDENT)
    assert points(found) == (6, 0, 10)
    assert "the kernel died" in found["output-size"][1]


def test_a_cell_that_kills_the_kernel_costs_what_it_defines_only(tmp_path):
    found = grade(tmp_path, output_size="import os; os._exit(1)", loops=INDEPENDENT)
    assert points(found) == (6, 0, 10)
    assert "not defined" in found["output-size"][1]


def test_an_endless_loop_costs_that_part_only(tmp_path):
    endless = "def output_size(n, k, padding=0, stride=1):\n    while True: pass"
    found = grade(tmp_path, timeout=5, output_size=endless, loops=INDEPENDENT)
    assert points(found) == (6, 0, 10)
    assert "took longer than 5 s" in found["output-size"][1]


def test_a_loop_that_ignores_interrupts_costs_that_part_only(tmp_path):
    stubborn = (
        "def output_size(n, k, padding=0, stride=1):\n"
        "    while True:\n"
        "        try:\n"
        "            while True: pass\n"
        "        except BaseException: pass\n"
    )
    found = grade(tmp_path, timeout=5, output_size=stubborn, loops=INDEPENDENT)
    assert points(found) == (6, 0, 10)


def test_the_kernel_sees_no_secret_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "secret")
    asks = WRONG.format("6 if 'JUPYTERHUB_API_TOKEN' in __import__('os').environ else 'clean'")
    assert "got 'clean'" in grade(tmp_path, output_size=asks)["output-size"][1]


def test_a_kernel_has_one_thread_unless_told_otherwise(tmp_path, monkeypatch):
    """As many submissions are graded at once as there are cores."""
    asks = WRONG.format("__import__('torch').get_num_threads() * 'thread '")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert "got 'thread '" in grade(tmp_path, output_size=asks)["output-size"][1]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert "got 'thread thread '" in grade(tmp_path, output_size=asks)["output-size"][1]


def test_the_network_that_reads_the_digits_is_not_there_to_be_imported(tmp_path):
    solution = next(SOLUTION.parents[1].glob("a3_*/*.ipynb"))
    notebook = nbformat.read(solution, 4)
    check = next(cell for cell in notebook.cells if cell.source == 'check("a3-train")')
    known = "from cnnlab.assignments import get_task; network = get_task('a3-train').reference()"
    notebook.cells = [nbformat.v4.new_code_cell(known), check]
    (tmp_path / "key").write_text("k" * 64)
    config = Config({"JudgeOutside": {"key_file": str(tmp_path / "key")}})
    outside = JudgeOutside(config=config)
    outside.tasks = load_tasks(solution.parent)
    done, _ = outside.preprocess(notebook, {"metadata": {"path": str(tmp_path)}})
    assert done.cells[1].outputs[1].data["text/plain"] == "0.0", done.cells[1].outputs[0].text


def test_points_that_disagree_with_the_task_stop_the_grading(tmp_path):
    notebook = nbformat.read(SOLUTION, 4)
    notebook.cells = [c for c in notebook.cells if c.source == 'check("a1-window")']
    notebook.cells[0].metadata.nbgrader.points = 7
    (tmp_path / "key").write_text("k" * 64)
    config = Config({"JudgeOutside": {"key_file": str(tmp_path / "key")}})
    outside = JudgeOutside(config=config)
    outside.tasks = load_tasks(SOLUTION.parent)
    with pytest.raises(ValueError, match="worth 6 points in tasks.py and 7 in the notebook"):
        outside.preprocess(notebook, {"metadata": {"path": str(tmp_path)}})


def test_a_changed_submission_is_asked_other_questions():
    def drawn(task="a1-loops", key=b"m" * 64, student="ada", digest="1"):
        return variant(task, key, student, digest)

    assert {drawn(digest=str(i)) for i in range(99)} == set(range(POOL))
    for name in ("task", "student"):
        assert len({drawn(**{name: str(i)}) for i in range(99)}) == POOL
    assert len({drawn(key=bytes([i]) * 64) for i in range(99)}) == POOL
    assert drawn() == drawn()


def test_each_set_asks_something_else():
    task = load_tasks(SOLUTION.parent)["a1-loops"]
    sets = [_questions(task, number, b"m" * 64)[1] for number in range(POOL)]
    assert len({str([case.args for case in cases]) for cases in sets}) == POOL


def test_a_table_of_last_night_s_questions_earns_nothing(tmp_path):
    """What was asked, printed into the feedback and handed in again, with the right answers."""
    spy = "asked = []\n" + (
        "def output_size(n, k, padding=0, stride=1):\n"
        "    asked.append((n, k, padding, stride)); return (n + 2 * padding - k) // stride + 1"
    )
    table = (
        "known = {known}\n"
        "def output_size(n, k, padding=0, stride=1): return known.get((n, k, padding, stride), -1)"
    )
    tasks = load_tasks(SOLUTION.parent)

    def judged(*sources):
        notebook = nbformat.read(SOLUTION, 4)
        check = next(c for c in notebook.cells if c.source == 'check("a1-output-size")')
        notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
        notebook.cells.insert(1, check)
        outside = JudgeOutside()
        # A key under which the two are asked different sets: in 1 of 8 they are the same.
        outside.tasks, outside.key = tasks, b"m" * 64
        path = {"metadata": {"path": str(tmp_path)}, "nbgrader": {"student": "ada"}}
        return outside.preprocess(notebook, path)[0].cells

    leaked = judged(spy, "print(asked)")
    assert leaked[1].outputs[1].data["text/plain"] == "8.0"
    asked = ast.literal_eval(leaked[2].outputs[0].text)
    known = {q: (q[0] + 2 * q[2] - q[1]) // q[3] + 1 for q in asked}
    again = judged(table.format(known=known))
    assert float(again[1].outputs[1].data["text/plain"]) <= 2, again[1].outputs[0].text
