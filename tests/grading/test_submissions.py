"""A class of cheats, accidents and odd but honest work, graded in one run.

Every trick comes with a wrong `output_size`, every accident with a right `window_response` and
`conv2d_loops`: nobody may gain by a trick, and nobody may lose by an accident of another.
"""

import json
import re
import shutil
import socket
import textwrap
import threading
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell
from nbgrader.api import Gradebook

from tests.conftest import ALONE, ROOT, Course

NAME = "a1_convolution"
KEPT = {"a1-window", "a1-output-size", "a1-loops", "a1-explain"}
FULL = {"a1-window": 6, "a1-output-size": 8, "a1-loops": 10}
WRONG = "def output_size(n, k, padding=0, stride=1): return -1\n"
LOOPS = """
def conv2d_loops(image, kernel):
    h, w = kernel.shape
    out = torch.zeros(image.shape[0] - h + 1, image.shape[1] - w + 1)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = (image[i : i + h, j : j + w] * kernel).sum()
    return out
"""


def shortened(text: str):
    """The assignment with three of its tasks and the written one: quick to grade."""
    notebook = nbformat.reads(text, as_version=4)

    def stays(cell) -> bool:
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        return name.removesuffix("-answer") in KEPT or cell.source.startswith("import")

    notebook.cells = [cell for cell in notebook.cells if stays(cell)]
    return notebook


def make_course(folder: Path) -> Course:
    solution = folder / "solutions" / NAME / f"{NAME}.ipynb"
    solution.parent.mkdir(parents=True)
    tasks = ROOT / "solutions" / NAME / "tasks.py"
    (solution.parent / "tasks.py").write_text(tasks.read_text())
    (folder / "nbgrader_config.py").write_text((ROOT / "nbgrader_config.py").read_text())
    nbformat.write(shortened((ROOT / solution.relative_to(folder)).read_text()), solution)
    shutil.copy((ROOT / solution.relative_to(folder)).with_name("tasks.py"), solution.parent)
    course = Course(folder)
    course.run("nbgrader", "generate_assignment", NAME)
    return course


def cell(notebook, name: str):
    (found,) = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == name]
    return found


def solved(course: Course, **answers: str):
    """The release with the answers filled in, some of them by others."""
    notebook = nbformat.read(course.folder / "assignments" / NAME / f"{NAME}.ipynb", 4)
    solution = nbformat.read(course.folder / "solutions" / NAME / f"{NAME}.ipynb", 4)
    for name in FULL:
        short = name[3:].replace("-", "_")
        source = answers.get(short) or cell(solution, f"{name}-answer").source
        cell(notebook, f"{name}-answer").source = textwrap.dedent(source)
    cell(notebook, "a1-explain").source = "Neighbours belong together, wherever they are."
    return notebook


def look(course: Course) -> Course:
    """The course with what a run left: its reports, and the gradebook's grades by student."""
    found = map(Path.read_text, (course.folder / "reports" / NAME).glob("*.json"))
    course.reports = {report["student"]: report for report in map(json.loads, found)}
    course.scores, course.by_hand, course.manual = {}, {}, []
    with Gradebook(f"sqlite:///{course.folder}/gradebook.db", "cnnlab") as gradebook:
        for submission in gradebook.assignment_submissions(NAME):
            grades = [grade for notebook in submission.notebooks for grade in notebook.grades]
            course.scores[submission.student_id] = {g.name: g.auto_score for g in grades}
            waiting = {g.name: g.needs_manual_grade for g in grades}
            course.by_hand[submission.student_id] = waiting
            course.manual += [(g.manual_score, g.extra_credit) for g in grades]
    return course


def points(course: Course, name: str) -> dict:
    assert name in course.scores, course.reports.get(name, {}).get("problem")
    return {task: course.scores[name][task] for task in FULL}


# --- tricks: the answer is wrong, and something is done about it (rows 1 to 33) ---

IPYTHON = "from IPython import get_ipython\nip = get_ipython()\n"
FORGED = "ip.display_pub.publish({'text/plain': '8.0'})"
TRICKS = {
    "02 asserts deleted": IPYTHON + "import ast\n"
    "class Drop(ast.NodeTransformer):\n"
    "    visit_Assert = visit_Raise = lambda self, node: ast.Pass()\n"
    "ip.ast_transformers.append(Drop())\n",
    "03 cells emptied": IPYTHON
    + "empty = lambda lines: ['8.0\\n'] if 'runner' in str(lines) else lines\n"
    "ip.input_transformers_post.append(empty)\n",
    "04 do_execute replaced": IPYTHON + "async def fake(code, silent, *args, **kwargs):\n"
    "    return {'status': 'ok', 'execution_count': 1, 'payload': [], 'user_expressions': {}}\n"
    "ip.kernel.do_execute = fake\n",
    "05 a result before the cell": IPYTHON
    + f"ip.events.register('pre_run_cell', lambda *a: {FORGED})\n",
    "06 a result after the cell": IPYTHON + "from IPython.display import clear_output\n"
    f"ip.events.register('post_run_cell', lambda *a: (clear_output(), {FORGED}))\n",
    "07 session.send wrapped": IPYTHON + "send = ip.kernel.session.send\n"
    "def quiet(stream, kind, *args, **kwargs):\n"
    "    if kind == 'error' or getattr(kind, 'get', dict().get)('msg_type') == 'error': return\n"
    "    return send(stream, kind, *args, **kwargs)\n"
    "ip.kernel.session.send = quiet\n",
    "08 tracebacks off": IPYTHON + "ip.showtraceback = lambda *a, **k: None\n1 / 0\n",
    "09 errors swallowed": IPYTHON + "ip.set_custom_exc((BaseException,), lambda *a, **k: None)\n",
    "10 AssertionError replaced": "import builtins\n"
    "builtins.AssertionError = type('Quiet', (BaseException,), {})\n",
    "11 equal to everything": "class Same(int):\n"
    "    __eq__ = __le__ = __ge__ = __lt__ = __gt__ = lambda self, other: True\n"
    "    __ne__ = lambda self, other: False\n"
    "    __sub__ = __rsub__ = __abs__ = lambda *a: Same()\n"
    "def output_size(n, k, padding=0, stride=1): return Same()\n",
    "12 the running test read": "import re\n"
    "def output_size(n, k, padding=0, stride=1):\n"
    "    numbers = re.findall(r'\\d+', In[-1])\n"
    "    return int(numbers[-1]) if numbers else 0\n",
    "13 the disk searched": "import glob, json, os\n"
    "found = [p for root in ('.', '..', '/srv', '/root', '/home', '/tmp', '/') \n"
    "         for p in glob.glob(root + '/**/*.ipynb')]\n"
    "def output_size(n, k, padding=0, stride=1):\n"
    "    return (n + 2 * padding - k) // stride + 1 if found else -1\n",
    "14 helpers patched": "import torch, numpy, cnnlab.checks, cnnlab.checks.compare as c\n"
    "import cnnlab.checks.judge as j\n"
    "torch.allclose = torch.equal = numpy.allclose = lambda *a, **k: True\n"
    "c.difference = j.difference = lambda *a, **k: None\n"
    "cnnlab.checks.check = lambda name: 8.0\n",
    "16 a thread beside": "import threading, time, cnnlab.answers.runner as r\n"
    "def beside():\n"
    "    while True:\n"
    "        globals()['output_size'] = lambda *a, **k: 3\n"
    "        r.answer = lambda *a: {'status': 'answered', 'points': 8, 'answers': []}\n"
    "        time.sleep(0.001)\n"
    "threading.Thread(target=beside, daemon=True).start()\n",
    "17 check says NaN": "check = lambda name: float('nan')\n",
    "18 check says 999": "check = lambda name: 999.0\n",
    "19 asks whether it is graded": "import os\n"
    "graded = 'NBGRADER_EXECUTION' in os.environ\n"
    "def output_size(n, k, padding=0, stride=1): return 8 if graded else 0\n",
    "20 built-ins redefined": "def type(x): return int\ndef len(x): return 0\n"
    "def isinstance(*a): return True\ndef abs(x): return 0\n",
    "21 leftovers": "import sys, warnings, torch, numpy\n"
    "sys.settrace(lambda *a: None)\nwarnings.simplefilter('error')\n"
    "torch.set_default_dtype(torch.float64)\ntorch.manual_seed(0); numpy.random.seed(0)\n",
    "22 the solution copied": "import glob, pathlib\n"
    "texts = [pathlib.Path(p).read_text() for p in glob.glob('COURSE/**/*', recursive=True)\n"
    "         + glob.glob('../../../solutions/**/*', recursive=True)\n"
    "         if pathlib.Path(p).is_file()]\n"
    "def output_size(n, k, padding=0, stride=1):\n"
    "    return (n + 2 * padding - k) // stride + 1 if texts else -1\n",
    "22 the reference called": "try:\n"
    "    from cnnlab.assignments import get_task\n"
    "    output_size = get_task('a1-output-size').reference\n"
    "except BaseException: pass\n",
    "22 the reference compiled": "import pathlib, marshal, cnnlab.checks\n"
    "folder = pathlib.Path(cnnlab.checks.__file__).parent\n"
    "for path in (folder.parents[1] / 'solutions').rglob('tasks*'):\n"
    "    try:\n"
    "        code = marshal.loads(path.read_bytes()[16:]) if path.suffix == '.pyc' "
    "else path.read_text()\n"
    "        names = {}; exec(code, names); output_size = names['_output_size']\n"
    "    except BaseException: pass\n",
    "23 the gradebook changed": "import sqlite3\n"
    "try:\n"
    "    db = sqlite3.connect('COURSE/gradebook.db')\n"
    "    db.execute('UPDATE grade SET manual_score=99, extra_credit=100'); db.commit()\n"
    "except Exception: pass\n",
    "24 the gradebook changed later": "import os, sqlite3, time\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    while True:\n"
    "        try:\n"
    "            db = sqlite3.connect('COURSE/gradebook.db')\n"
    "            db.execute('UPDATE grade SET auto_score=99'); db.commit()\n"
    "        except Exception: pass\n"
    "        time.sleep(0.2)\n",
    "25 a classmate's work changed": "import glob\n"
    "for path in glob.glob('COURSE/submitted/**/*.ipynb', recursive=True):\n"
    "    open(path, 'w').write('{}')\n",
    "26 a startup file written": "import os, pathlib\n"
    "for home in ('HOME_OF_GRADER', os.path.expanduser('~')):\n"
    "    try:\n"
    "        folder = pathlib.Path(home, '.ipython/profile_default/startup')\n"
    "        folder.mkdir(parents=True, exist_ok=True)\n"
    "        (folder / 'evil.py').write_text('raise SystemExit')\n"
    "    except OSError: pass\n",
    "27 files written elsewhere": "for path in (\n"
    "    'COURSE/evil', '/usr/evil', '/etc/evil', '/tmp/evil'):\n"
    "    try: open(path, 'w').write('x')\n"
    "    except OSError: pass\n",
    "28 a process left behind": "import subprocess\n"
    "subprocess.Popen(['sleep', '98765'], start_new_session=True)\n",
    "31 the network": "import socket\n"
    "try: socket.create_connection(('127.0.0.1', PORT), 2).sendall(b'questions')\n"
    "except OSError: pass\n",
    "32 tokens in the environment": "import os\n"
    "text = str(os.environ) + open('/proc/self/environ').read()\n"
    "def output_size(n, k, padding=0, stride=1):\n"
    "    return (n + 2 * padding - k) // stride + 1 if 'secret-token' in text else -1\n",
    "xx answers written ahead": "import os, threading, time\n"
    "def watch():\n"
    "    while True:\n"
    "        for name in os.listdir('/proc/self/fd'):\n"
    "            try:\n"
    "                if 'answers' in os.readlink('/proc/self/fd/' + name):\n"
    "                    os.pwrite(int(name), b'8.0', 0)\n"
    "            except OSError: pass\n"
    "        time.sleep(0)\n"
    "threading.Thread(target=watch, daemon=True).start()\n",
    "xx the mailbox closed": "import os, cnnlab.answers.mailbox as m\nos.close(m.handle)\n",
    "xx memory searched": "import gc\n"
    "tasks = [o for o in gc.get_objects() if type(o).__name__ == 'Task']\n"
    "def output_size(n, k, padding=0, stride=1):\n"
    "    return tasks[0].reference(n, k, padding, stride)\n",
}
# These tricks break what comes after them, too.
SELF_RUINED = {
    "03 cells emptied", "04 do_execute replaced", "16 a thread beside",
    "xx answers written ahead", "xx the mailbox closed",
}  # fmt: skip


def trick(course: Course, name: str, port: int, home: str):
    """The trick stands before the answers, so that all of them could be touched by it."""
    code = TRICKS[name].replace("COURSE", str(course.folder)).replace("PORT", str(port))
    code = code.replace("HOME_OF_GRADER", home)
    own = "def output_size" in code or "22 the reference" in name
    notebook = solved(course, output_size=(WRONG + code) if own else code + WRONG, loops=LOOPS)
    return notebook


# --- accidents: what was right stays right (rows 36 to 53) ---


def graded(notebook, name="a1-output-size"):
    return cell(notebook, name)


def _twice(notebook):
    notebook.cells.insert(3, nbformat.from_dict(json.loads(json.dumps(graded(notebook)))))


def _set(**fields):
    def change(notebook):
        graded(notebook).metadata.nbgrader.update(fields)

    return change


def _without(notebook):
    notebook.cells.remove(graded(notebook))


def _no_metadata(notebook):
    for name in (*FULL, *(f"{n}-answer" for n in FULL)):
        del cell(notebook, name).metadata["nbgrader"]


def _retyped(notebook):
    graded(notebook).cell_type = "markdown"
    graded(notebook, "a1-loops").cell_type = "raw"


def _reordered(notebook):
    tests = [graded(notebook, name) for name in FULL]
    others = [c for c in notebook.cells if c not in tests]
    notebook.cells = tests + others


def _kernelspec(notebook):
    notebook.metadata.kernelspec = {"name": "ir", "display_name": "R", "language": "R"}
    for each in notebook.cells:
        each.id = "same"


def _invented(notebook):
    extra = new_code_cell("assert True")
    extra.metadata.nbgrader = {**graded(notebook).metadata.nbgrader, "grade_id": "mine"}
    notebook.cells.append(extra)


def _no_id(notebook):
    del graded(notebook).metadata.nbgrader["grade_id"]


def _add(source, where=1):
    def change(notebook):
        notebook.cells.insert(where, new_code_cell(source))

    return change


def _many(notebook):
    notebook.cells += [new_code_cell(f"x = {i}") for i in range(300)]


def _tagged(notebook):
    graded(notebook).metadata.tags = ["skip-execution"]


def _large(notebook):
    notebook.cells.append(new_markdown_cell("long " * 1_000_000))


UNHARMED = {
    "45 the test twice": _twice,
    "46 schema lowered": _set(schema_version=1),
    "46 schema raised": _set(schema_version=99),
    "47 flags flipped": _set(solution=True, grade=False, locked=False),
    "48 points are text": _set(points="many"),
    "48 an invented test": _invented,
    "48 a test without its name": _no_id,
    "49 a test deleted": _without,
    "49 metadata removed": _no_metadata,
    "50 tests retyped": _retyped,
    "50 points changed": _set(points=800),
    "50 another kernel": _kernelspec,
    "xx tests first": _reordered,
    "01 tagged skip-execution": _tagged,
    "42 sys.exit()": _add("import sys\nsys.exit()"),
    "43 input()": _add("name = input('Who?')"),
    "44 a warning": _add("import warnings\nwarnings.warn('careful')"),
    "53 300 more cells": _many,
    "53 five megabytes of text": _large,
    "36 os._exit in a cell": _add("import os\nos._exit(1)", where=-1),
    "36 a segfault in a cell": _add("import ctypes\nctypes.string_at(0)", where=3),
}

# Answers that ruin themselves and nothing else.
RUINED = {
    "36 os._exit": "def output_size(n, k, padding=0, stride=1):\n    import os; os._exit(1)",
    "36 a segfault": "def output_size(n, k, padding=0, stride=1):\n"
    "    import ctypes; ctypes.string_at(0)",
    "38 six gigabytes": "def output_size(n, k, padding=0, stride=1):\n"
    "    return len(bytearray(6 << 30)) and (n + 2 * padding - k) // stride + 1",
    "40 files without end": "def output_size(n, k, padding=0, stride=1):\n"
    "    for i in range(10**6):\n"
    "        open(f'big{i}', 'wb').write(b'0' * (8 << 20))",
    "40 processes without end": "def output_size(n, k, padding=0, stride=1):\n"
    "    import os\n"
    "    while True: os.fork()",
}

UNGRADED = {
    "51 no JSON": ("{'cells': [}", "is not a notebook"),
    "51 empty": ("", "is empty"),
    "51 format 5": (
        '{"cells": [], "metadata": {}, "nbformat": 5, "nbformat_minor": 0}',
        "notebook",
    ),
    "51 a list": ("[1, 2]", "is not a notebook"),
    "51 nested too deep": ("[" * 100_000, "is not a notebook"),
}

# --- honest work in odd styles keeps full marks ---


def _class_based(notebook):
    cell(notebook, "a1-output-size-answer").source = textwrap.dedent("""
        class Sizes:
            def __call__(self, n, k, padding=0, stride=1):
                return 1 + (n + 2 * padding - k) // stride
        output_size = Sizes()
    """)


def _styled(**answers):
    return lambda notebook: [
        setattr(cell(notebook, f"a1-{name.replace('_', '-')}-answer"), "source", textwrap.dedent(s))
        for name, s in answers.items()
    ]


SIZE = "(n + 2 * padding - k) // stride + 1"
HONEST = {
    "as released": lambda notebook: None,
    "extra cells": _add("x = 3\nx"),
    "an own check": _add("check('a1-window')", where=-1),
    "other names": _styled(
        output_size=f"""
        def how_many(n, k, padding=0, stride=1): return {SIZE}
        output_size = how_many"""
    ),
    "a lambda": _styled(output_size=f"output_size = lambda n, k, padding=0, stride=1: {SIZE}"),
    "a class": _class_based,
    "a warning in the answer": _styled(
        output_size=f"""
        import warnings
        def output_size(n, k, padding=0, stride=1):
            warnings.warn("am I right?")
            return {SIZE}"""
    ),
    "prints": _styled(
        output_size=f"""
        import sys
        def output_size(n, k, padding=0, stride=1):
            print(n, k, padding, stride, file=sys.stderr)
            return {SIZE}"""
    ),
    "a plot": _add("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"),
    "%%time": _styled(
        output_size=f"%%time\ndef output_size(n, k, padding=0, stride=1): return {SIZE}"
    ),
    "%timeit": _add("%timeit -n1 -r1 sum(range(10))"),
    "magics": _add("%matplotlib inline\n%load_ext autoreload\n%autoreload 2"),
    "a shell command": _add("!echo hello\n!pip list > /dev/null"),
    "a failed pip install": _add("%pip install a-package-that-nobody-has"),
    "type hints": _styled(
        output_size=f"""
        from typing import Optional
        def output_size(n: int, k: int, padding: int = 0, stride: int = 1) -> int:
            return {SIZE}"""
    ),
    "decorated": _styled(
        output_size=f"""
        import functools
        def loud(f):
            @functools.wraps(f)
            def g(*args, **kwargs):
                print("called"); return f(*args, **kwargs)
            return g
        @loud
        @functools.lru_cache
        def output_size(n, k, padding=0, stride=1): return {SIZE}"""
    ),
    "slow but right": _styled(
        output_size=f"""
        import time
        def output_size(n, k, padding=0, stride=1):
            time.sleep(0.02); return {SIZE}"""
    ),
    "recursive": _styled(
        output_size="""
        def output_size(n, k, padding=0, stride=1):
            if padding: return output_size(n + 2 * padding, k, 0, stride)
            return 0 if n < k else 1 + output_size(n - stride, k, 0, stride)"""
    ),
    "a numpy integer": _styled(
        output_size=f"""
        import numpy as np
        def output_size(n, k, padding=0, stride=1): return np.int64({SIZE})"""
    ),
    "a tensor": _styled(
        output_size=f"""
        def output_size(n, k, padding=0, stride=1): return torch.tensor({SIZE})"""
    ),
    "keyword arguments": _styled(
        output_size=f"""
        def output_size(n, k, **more):
            padding, stride = more.get("padding", 0), more.get("stride", 1)
            return {SIZE}"""
    ),
    "star arguments": _styled(
        output_size=f"""
        def output_size(*args, padding=0, stride=1):
            n, k, *_ = args
            return {SIZE}"""
    ),
    "numpy inside": _styled(
        window="""
        import numpy as np
        def window_response(image, kernel, row, col):
            image, kernel = image.numpy(), kernel.numpy()
            h, w = kernel.shape
            return float(np.sum(image[row:row+h, col:col+w] * kernel))"""
    ),
    "double precision": _styled(
        window="""
        torch.set_default_dtype(torch.float64)
        def window_response(image, kernel, row, col):
            h, w = kernel.shape
            return (image.double()[row:row+h, col:col+w] * kernel.double()).sum()"""
    ),
    "einsum": _styled(
        window="""
        def window_response(image, kernel, row, col):
            h, w = kernel.shape
            return torch.einsum("ij,ij->", image[row:row+h, col:col+w], kernel)"""
    ),
    "nested functions": _styled(
        loops="""
        def conv2d_loops(image, kernel):
            def size(n, k): return n - k + 1
            def one(i, j): return window_response(image, kernel, i, j)
            H, W = size(image.shape[0], kernel.shape[0]), size(image.shape[1], kernel.shape[1])
            return torch.tensor([[one(i, j) for j in range(W)] for i in range(H)])"""
    ),
    "requires grad": _styled(loops=LOOPS.replace("return out", "return out.requires_grad_()")),
    "a global helper below": _styled(
        window="""
        def window_response(image, kernel, row, col): return _dot(image, kernel, row, col)
        def _dot(image, kernel, row, col):
            h, w = kernel.shape
            return (image[row:row+h, col:col+w] * kernel).sum()"""
    ),
    "asserts of one's own": _add("assert output_size(7, 3, stride=2) == 3", where=-1),
    "a cell that fails": _add("1 / 0", where=2),
    "a generator left open": _add("g = (i for i in range(10)); next(g)"),
    "async": _add("import asyncio\nawait asyncio.sleep(0.01)"),
    "threads": _add("import threading\nt = threading.Thread(target=print)\nt.start(); t.join()"),
    "worker processes": _add(
        "from torch.utils.data import DataLoader\nlist(DataLoader(range(4), num_workers=1))"
    ),
    "files of one's own": _add("open('notes.txt', 'w').write('x')\nopen('/tmp/y', 'w').write('y')"),
    "a dataclass": _add(
        "from dataclasses import dataclass\n@dataclass\nclass Point:\n    x: int = 0\nPoint()"
    ),
    "equality defined": _add(
        "class Size:\n    def __init__(self, n): self.n = n\n"
        "    def __eq__(self, other): return self.n == other.n\nSize(3) == Size(3)"
    ),
    "unicode": _add("größe = 3\nπ = 3.14\nprint('∑', größe, π)"),
    "seeds": _add("torch.manual_seed(1)\nimport random; random.seed(2)"),
    "clear_output": _add("from IPython.display import clear_output, display\nclear_output()"),
    "a widget": _add("import ipywidgets\nipywidgets.IntSlider()"),
    "a long output": _add("for i in range(20000): print(i)"),
}


@pytest.fixture(scope="module")
def class_(tmp_path_factory):
    """The course after one grading run over everybody."""
    folder = tmp_path_factory.mktemp("class")
    course = make_course(folder / "course")
    home = folder / "home"
    home.mkdir()
    server = socket.create_server(("127.0.0.1", 0))
    called: list = []
    threading.Thread(
        target=lambda: [called.append(server.accept()) for _ in range(99)], daemon=True
    ).start()

    course.submit("victim", NAME, nbformat.writes(solved(course)))
    for name in TRICKS:
        notebook = trick(course, name, server.getsockname()[1], str(home))
        course.submit(name, NAME, nbformat.writes(notebook))
    for name, change in (UNHARMED | HONEST).items():
        notebook = solved(course)
        change(notebook)
        text = json.dumps(notebook)  # also what nbformat would refuse to write
        course.submit(name, NAME, text)
    for name, answer in RUINED.items():
        course.submit(name, NAME, nbformat.writes(solved(course, output_size=answer, loops=LOOPS)))
    for name, (text, _) in UNGRADED.items():
        course.submit(name, NAME, text)

    old = nbformat.v3.downgrade(nbformat.from_dict(solved(course)))
    course.submit("52 format 3", NAME, json.dumps(old))
    submitted = course.folder / "submitted"
    (folder / "secret.txt").write_text("the instructor's own secret")
    (submitted / "02 asserts deleted" / NAME / "data.txt").symlink_to(folder / "secret.txt")
    (submitted / "30 a link to a classmate" / NAME).mkdir(parents=True)
    (submitted / "30 a link to a classmate" / NAME / f"{NAME}.ipynb").symlink_to(
        submitted / "victim" / NAME / f"{NAME}.ipynb"
    )
    course.submit(
        "15 modules in disguise", NAME, nbformat.writes(solved(course, output_size=WRONG))
    )
    for module in ("torch", "cnnlab", "numpy", "random", "IPython"):
        path = submitted / "15 modules in disguise" / NAME / f"{module}.py"
        path.write_text("raise SystemExit\n")
    course.submit("33 an early timestamp", NAME, nbformat.writes(solved(course)))
    stamp = submitted / "33 an early timestamp" / NAME / "timestamp.txt"
    stamp.write_text("2020-01-01 10:00:00.000000 UTC")

    before = {p: p.read_bytes() for p in submitted.rglob("*.ipynb") if not p.is_symlink()}
    course.printed = course.run(
        "cnnlab", "grade", "a1", "--timeout", "60", status=1,
        JUPYTERHUB_API_TOKEN="secret-token", HOME=str(home), **ALONE,
    )  # fmt: skip
    course.home, course.called, course.before = home, called, before
    return look(course)


@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_earns_nothing(class_, name):
    found = points(class_, name)
    assert found["a1-output-size"] == 0
    if name not in SELF_RUINED:
        assert found == {**FULL, "a1-output-size": 0}


TELL = {"02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "14", "16", "19", "21"}
TELLING = [n for n in TRICKS if n[:2] in TELL]


@pytest.mark.parametrize("name", TELLING)
def test_signs_of_tampering_are_recorded(class_, name):
    assert class_.reports[name]["evidence"]


@pytest.mark.parametrize("name", UNHARMED)
def test_a_damaged_notebook_keeps_its_points(class_, name):
    assert points(class_, name) == FULL


@pytest.mark.parametrize("name", RUINED)
def test_an_answer_that_ruins_itself_costs_that_part_only(class_, name):
    assert points(class_, name) == {**FULL, "a1-output-size": 0}


@pytest.mark.parametrize("name", HONEST)
def test_honest_work_keeps_full_marks(class_, name):
    assert points(class_, name) == FULL, class_.reports[name]["tasks"]


def test_there_are_thirty_honest_styles():
    assert len(HONEST) >= 30


@pytest.mark.parametrize("name", UNGRADED)
def test_what_is_no_notebook_is_set_aside_with_a_reason(class_, name):
    assert UNGRADED[name][1] in class_.reports[name]["problem"]
    assert re.search(rf"{re.escape(name)} +not graded: ", class_.printed)


def test_a_notebook_of_format_3_is_graded(class_):
    assert points(class_, "52 format 3") == FULL


def test_a_link_to_a_classmate_s_notebook_is_no_submission(class_):
    assert class_.scores.get("30 a link to a classmate", {}).get("a1-window") in (None, 0)
    assert "link" in str(class_.reports["30 a link to a classmate"])


def test_a_link_s_target_is_copied_nowhere(class_):
    copies = [
        path
        for path in class_.folder.rglob("*")
        if path.is_file() and b"the instructor's own secret" in path.read_bytes()
    ]
    assert not copies
    assert "was a link" in str(class_.reports["02 asserts deleted"]["evidence"])


def test_modules_in_disguise_are_left_out_and_told(class_):
    assert points(class_, "15 modules in disguise") == {
        "a1-window": 6, "a1-output-size": 0, "a1-loops": 0,
    }  # fmt: skip
    assert "stand in for the installed module torch" in str(
        class_.reports["15 modules in disguise"]["refused_files"]
    )


def test_an_early_timestamp_is_told(class_):
    assert "older than the notebook" in str(class_.reports["33 an early timestamp"]["evidence"])


def test_nobody_touched_anything_else(class_):
    assert points(class_, "victim") == FULL
    assert set(class_.manual) == {(None, None)} or set(class_.manual) == {(None, 0.0)}
    assert {p: p.read_bytes() for p in class_.before} == class_.before
    assert not [p for p in class_.home.rglob("*") if "evil" in p.name]
    assert not [
        p for p in (class_.folder / "evil", Path("/usr/evil"), Path("/tmp/evil")) if p.exists()
    ]
    assert not class_.called
    assert not [p for p in psutil.process_iter(["cmdline"]) if "98765" in (p.info["cmdline"] or [])]


def test_the_written_answer_waits_for_a_person(class_):
    assert class_.scores["victim"]["a1-explain"] is None


def test_the_class_report_names_what_needs_a_human(class_):
    page = (class_.folder / "reports" / NAME / "class.html").read_text()
    assert "51 empty" in page and "was not graded" in page
    assert re.search(r"<b>a1-explain</b>: \d+ to be marked in formgrader", page)
    assert page.count("<script") == 1  # its own
