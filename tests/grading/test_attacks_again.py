"""A second class of attacks and accidents, of the same kinds as in `test_attacks`, in one run.

The first class was mended by what it found; these were written afterwards. An attack costs nobody
but its owner, and no more than its own part; an honest accident costs nothing and is no sign.
"""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell

from tests.grading.test_attacks import FORGE, IMPORTS, OUTPUT, RIGHT, add, at_end, in_answer, submit
from tests.grading.test_submissions import (
    FULL,
    LOOPS,
    cell,
    look,
    make_course,
    points,
    solved,
)

pytestmark = pytest.mark.slow

LIBC = IMPORTS + "libc = ctypes.CDLL(None, use_errno=True)\n"
FORKS = "reads, writes = os.pipe()\nfor i in range(10):\n    if os.fork() == 0:\n"
FORKS += "        held = {}\n        os.write(writes, b'x'); time.sleep(60); os._exit(0)\n"
FORKS += "for i in range(10): os.read(reads, 1)\ntime.sleep(20)\nprint('all was held')\n"
OWN = """
import re
def own():
    for line in open('/proc/self/maps'):
        found = re.match(r'([0-9a-f]+)-([0-9a-f]+) rw-p', line)
        if found and '[stack' not in line and '[v' not in line:
            for at in range(int(found[1], 16), int(found[2], 16), 4096): ctypes.memmove(at, at, 1)
"""
CHILD = IMPORTS + "for i in range(2):\n    if os.fork() == 0:\n"
CHILD += "        held = [b'1' * (1 << 20) for _ in range(1000)]\n        time.sleep(60)"
MAIL = (
    "import os, socket, cnnlab.answers.mailbox as m\ns = socket.socket(fileno=os.dup(m.handle))\n"
)
WALLS = {
    "semaphores": LIBC + "print('refused', libc.semget(0, 32000, 0o600))",
    "asynchronous reads": LIBC + "print('refused', libc.syscall(206, 1000, ctypes.byref("
    "ctypes.c_ulong(0))))",
    "the log of the kernel": LIBC + "print('refused', libc.klogctl(3, ctypes.c_buffer(99), 99))",
    "sockets of other kinds": "import socket\nfor kind in (16, 17, 29, 31, 38, 40):\n"
    "    try: socket.socket(kind, socket.SOCK_RAW)\n    except OSError: print('refused', -1)",
    "what others have": IMPORTS + "for path in ('/proc/1/mem', '/proc/kcore', '/proc/kallsyms',"
    " '/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger', '/proc/self/oom_score_adj'):\n"
    "    try: open(path, 'w').write('-1000'); print('written')\n"
    "    except OSError: print('refused', -1)",
    "children that hold memory": IMPORTS + FORKS.format("[b'1' * (1 << 20) for _ in range(200)]"),
    "children that make shared memory their own": IMPORTS + OWN + FORKS.format("own()"),
    "mail to the grader": MAIL + "s.setblocking(False)\ntry:\n    while True: s.send(b'x' * 1000)\n"
    "except OSError: pass",
    "descriptors to the grader": MAIL + "s.setblocking(False)\ntry:\n"
    "    while True: socket.send_fds(s, [b'x'], [0, 1, 2])\nexcept OSError: pass",
    "signals to everything": "import os\nfor pid in (0, -1, os.getppid(), 2, 3):\n"
    "    for number in (1, 3, 9, 19):\n        try: os.kill(pid, number)\n"
    "        except OSError: pass",
    "its own limits lowered": "import resource\n"
    "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))",
    "a name like the kernel's own lists": LIBC + "for i in range(3):\n    if os.fork() == 0:\n"
    "        libc.prctl(15, b') Z 0 (\\n', 0); time.sleep(30); os._exit(0)",
    "not to be looked at": LIBC + "libc.prctl(4, 0); libc.prctl(1, 9)",
    "stopped": "import os, threading, time\n"
    "threading.Timer(0.2, os.kill, (os.getpid(), 19)).start()\ntime.sleep(0.4)",
    "forked and going on": "import os\npid = os.fork()",
    "every descriptor closed": "import os\nos.closerange(3, 60)",
    "hooks, finders and timers": "import gc, signal, sys, importlib.abc as abc\n"
    "class Finder(abc.MetaPathFinder):\n    def find_spec(self, *a): return None\n"
    "sys.meta_path.insert(0, Finder())\nsys.addaudithook(lambda *a: None)\n"
    "gc.callbacks.append(lambda *a: None)\nsignal.signal(signal.SIGALRM, lambda *a: None)\n"
    "signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)",
    "errors in errors": "e = ValueError(0)\nfor i in range(50000):\n    f = ValueError(i)\n"
    "    f.__cause__ = e; e = f\nraise e",
    "programs with rights": "import subprocess\nfor line in (['su', '-c', 'id'], ['mount', '/'],"
    " ['sudo', '-n', 'id']):\n    try: print(subprocess.run(line, stdin=-3, timeout=5))\n"
    "    except Exception as error: print(error)",
}
KERNEL = "from IPython import get_ipython\nimport time\nk = get_ipython().kernel\ns = k.session\n"
SEND = KERNEL + "def send(kind, content, **more):\n"
SEND += "    s.send(k.iopub_socket, kind, content, parent=k.get_parent(), **more)\n"
REPLY = (
    KERNEL
    + "for content in ({}, [1], {'status': ['x']}, {'status': 'ok', 'payload': 'x' * 10**6}):\n"
)
REPLY += "    s.send(k.shell_stream, 'execute_reply', content, parent=k.get_parent('shell'), "
REPLY += "ident=k._parent_ident['shell'])"
KINDS = "('stream', 'display_data', 'update_display_data', 'execute_result', 'error', 'comm_msg', "
KINDS += "'clear_output', 'comm_open', 'comm_close', 'status', 'execute_input', 'nonsense', '')"
ODD = "{'name': 5, 'text': {'a': 1}, 'data': [1], 'metadata': 'x', 'ename': 3, 'evalue': [], "
ODD += "'traceback': 5, 'execution_count': 'n', 'comm_id': [], 'target_name': {}, 'transient': 7}"


def raw(content: str, parts: str = "") -> str:
    """A cell that sends a message with this content, rightly signed."""
    parts = parts or "[b'stream', b'<IDS|MSG>', s.sign(m), *m]"
    return (
        f"{KERNEL}m = s.msg('stream', {{}}, parent=k.get_parent())\n"
        f"m = [s.pack(m['header']), s.pack(m['parent_header']), b'{{}}', ({content}).encode()]\n"
        f"k.iopub_thread.schedule(lambda: k.iopub_thread.socket.send_multipart({parts}))\n"
        "time.sleep(1)\n"
    )


HALVES = "'\\ud83d\\udcf6\\udc80'"
MESSAGES = {
    "halves of characters": f"from IPython.display import display\ns = {HALVES}\n"
    "for k in ('text/plain', 'text/html', 'image/svg+xml', s): display({k: s}, raw=True)\n"
    "print(s)\nraise ValueError(s)",
    "halves of characters, escaped": raw('\'{"name":"stdout","text":"\\\\ud83d"}\''),
    "nothing in them": SEND + f"for kind in {KINDS}: send(kind, {{}})",
    "other types in them": SEND + f"for kind in {KINDS}: send(kind, {ODD})",
    "an input that counts in words": SEND + "send('execute_input', {'execution_count': {'a': []}})",
    "inputs of a million letters": SEND + "for i in range(100): send('execute_input', {'code': "
    "'x' * 10**6, 'execution_count': 1})",
    "states without end": SEND + "while True: send('status', {'execution_state': 'busy', 'x': "
    "'y' * 10**4})",
    "comms without a model": SEND + "for i in range(2000): send('comm_open', {'comm_id': str(i), "
    "'target_name': 'jupyter.widget', 'data': {'state': {}, 'buffer_paths': [['x']]}}, "
    "buffers=[b'z' * 10**4])",
    "deep lists": raw("'{\"text\":' + '[' * 10**5 + ']' * 10**5 + '}'"),
    "millions of lists": raw("'{\"text\":[' + '[],' * 6 * 10**6 + '0]}'"),
    "a number of 5000 digits": raw("'{\"name\":\"stdout\",\"text\":' + '9' * 5000 + '}'"),
    "NaN for a text": raw('\'{"name":"stdout","text":NaN}\''),
    "no JSON": raw("'{{{'"),
    "one part": raw("''", "[b'x']"),
    "no header": raw("''", "[b'stream', b'<IDS|MSG>', s.sign([b'{}'] * 4), *[b'{}'] * 4]"),
    "replies that nobody asked for": REPLY,
}
ANSWERS = {
    "a tree of lists": "tree = b'[' + b'[],' * 38_000_000 + b'0]'\n"
    "    open(answers, 'wb').write(len(tree).to_bytes(8, 'big') + tree)",
    "elements of no size": 'tree = b\'{"array":["|V0",[1000000000,1000000],0]}\'\n'
    "    open(answers, 'wb').write(len(tree).to_bytes(8, 'big') + tree)",
    "a size that changes": "import os, threading\n    threading.Thread(target=lambda: [os.truncate("
    "answers, i % 2 << 26) for i in range(10**5)], daemon=True).start()",
}


WRONG = {  # answers of the notebook's own
    "half a character raised": OUTPUT.format(f"raise ValueError({HALVES})"),
    "half a character told": OUTPUT.format(f"return {HALVES}"),
    "an error without a text": OUTPUT.format("raise type('E', (Exception,), {'__str__': None})()"),
    "frames searched": "import sys\n"
    + OUTPUT.format(
        "f = sys._getframe()\n    while f:\n        for v in [*f.f_locals.values()]:\n"
        "            if isinstance(v, dict) and 'expected' in v: return v['expected']\n"
        "        f = f.f_back\n    return -1"
    ),
    "a number that is another": "class Any(int):\n    __index__ = __int__ = lambda self: 3\n"
    "    __reduce__ = lambda self: (int, (3,))\n" + OUTPUT.format("return Any(-1)"),
    "a tensor with a mind": "class T(torch.Tensor):\n    @classmethod\n"
    "    def __torch_function__(cls, *a): return torch.tensor(3)\n"
    + OUTPUT.format("return torch.tensor(-1).as_subclass(T)"),
    "a view of 8 TB": OUTPUT.format("return torch.ones(1).expand(10**6, 10**6)"),
    "a list in itself": OUTPUT.format("x = []; x.append(x); return x"),
    "changed in its last moment": OUTPUT.format("return -1")
    + "class D:\n    def __del__(self): globals()['output_size'] = lambda *a, **k: 3\n"
    "d = D(); d.d = d; d = None\nimport gc\ngc.set_threshold(1)\n"
    "gc.callbacks.append(lambda *a: D())",
}


def loops(source):
    return lambda notebook: cell(notebook, "a1-loops-answer").update(source=source)


def each_cell(change):
    return lambda notebook: [change(i, c) for i, c in enumerate(notebook.cells)]


def more(**fields):
    made = {"cell_type": "code", "source": "1", "metadata": {}, "outputs": [], **fields}
    return lambda notebook: notebook.cells.insert(1, nbformat.from_dict(made))


MARKS = {  # of Colab, Kaggle, VS Code, Deepnote, Datalore, Databricks, PyCharm, marimo, papermill
    "id": "x", "colab": {"base_uri": "https://localhost"}, "outputId": "a", "_uuid": "8f",
    "trusted": True, "execution": {"iopub.status.busy": "2026"}, "vscode": {"languageId": "python"},
    "cell_id": "0" * 32, "deepnote_cell_type": "code", "source_hash": "9b", "tags": [],
    "datalore": {"type": "CODE"}, "application/vnd.databricks.v1+cell": {"nuid": "x"},
    "pycharm": {"name": "#%%\n"}, "marimo": {"config": {"hide_code": True}}, "collapsed": 1,
    "papermill": {"status": "completed"}, "jupyter": {"source_hidden": True},
    "lines_to_next_cell": 2, "slideshow": {"slide_type": "skip"},
}  # fmt: skip


def several(*sources):
    return lambda notebook: [add(source)(notebook) for source in sources]


PROMPTED = "\n".join(
    (">>> " if n == 0 else "... ") + s for n, s in enumerate(LOOPS.strip().split("\n"))
)
ACCIDENTS = {
    "getpass": add("import getpass\ngetpass.getpass()"),
    "%pdb on": add("%pdb on"),
    "breakpoint": add("breakpoint()"),
    "%debug": at_end("%debug"),
    "a command that waits": add("!cat"),
    "every result shown": add("%config InteractiveShell.ast_node_interactivity = 'all'\n1\n2"),
    "%matplotlib of a window": add("%matplotlib widget\n%matplotlib qt"),
    "tqdm": add("from tqdm.auto import tqdm\nfor i in tqdm(range(3000)): pass"),
    "another folder": add("import os\nos.chdir('/')\n%cd /tmp"),
    "warnings are errors": add("import warnings\nwarnings.simplefilter('error')"),
    "NumPy raises": add("import numpy as np\nnp.seterr(all='raise')"),
    "no gradients": add("torch.set_grad_enabled(False)\ntorch.use_deterministic_algorithms(True)"),
    "inference for ever": add("guard = torch.inference_mode()\nguard.__enter__()"),
    "double precision": add("torch.set_default_dtype(torch.float64)"),
    "settings of torch": add(
        "torch.backends.cudnn.benchmark = False\ntorch.backends.cudnn.deterministic = True\n"
        "torch.set_flush_denormal(True)\ntorch.set_default_device('cpu')"
    ),
    "names that NumPy had": add("import numpy as np\nnp.float = float\nnp.bool = bool"),
    "a variable called In": add("In = torch.ones(3, 3)\nIn[0, 1]"),
    "workers that are forked": add(
        "from torch.utils.data import DataLoader\n"
        "list(DataLoader(range(4), num_workers=1, multiprocessing_context='fork'))"
    ),
    "plt.show replaced": add("import matplotlib.pyplot as plt\nplt.show = plt.close\nplt.ion()"),
    "recursion without a limit": add("import sys\nsys.setrecursionlimit(10**6)"),
    "%autoreload": add("%load_ext autoreload\n%autoreload 2\nimport helper"),
    "an alarm": add("import signal, time\nsignal.alarm(1)\ntime.sleep(1.2)"),
    "threads that run on": add(
        "import threading\ndef run():\n    while True: pass\n"
        "for i in range(3): threading.Thread(target=run, daemon=True).start()"
    ),
    "a hundred threads": add(
        "import threading, time\n"
        "for i in range(100): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    ),
    "64 threads": add(
        "torch.set_num_threads(64)\na = torch.randn(500, 500) @ torch.randn(500, 500)"
    ),
    "a line of five megabytes": add("print('x' * 5_000_000)"),
    "no imports": lambda notebook: notebook.cells.remove(
        next(c for c in notebook.cells if c.source.startswith("import"))
    ),
    "pip over two lines": loops("!pip --quiet \\\n    --version\n" + LOOPS),
    "prompts pasted": loops(PROMPTED),
    "its own file": in_answer("import sys; sys.path.append('..')\nfrom helper import output_size"),
    "half a character printed": add("print('\\ud83d')"),
    "a name of other bytes printed": add("import os\nopen(b'L\\xf6sung', 'w')\nos.listdir()"),
    "control characters": add("print('a\\0b\\x07\\x0c\\x1b[31mred\\u2028\\ufffe')"),
    "UTF-16 printed": add("import sys\nsys.stdout.buffer.write('x'.encode('utf-16'))"),
    "from numpy import *": add("from numpy import *\nfrom torch.nn import *"),
    "help": add("len?\n??torch\ntorch.nn.Conv2d?"),
    "%run": add("%run helper.py\n%who\n%history"),
    "the loop stopped": add("import asyncio\nasyncio.get_event_loop().stop()"),
    "pkill": add("!pkill -9 python\n!kill -9 -1"),
    "rm": add("!rm -rf * /tmp/*"),
    "logging": add("import logging\nlogging.basicConfig(level=logging.DEBUG, force=True)"),
    "print to a file": add("import sys\nsys.stdout = sys.stderr = open('log.txt', 'w')"),
    "a profiler left on": add("import cProfile\np = cProfile.Profile()\np.enable()"),
    "files left open": add("held = []\nwhile True: held.append(open('/dev/null'))"),
    "marks of nine platforms": each_cell(lambda i, c: c.metadata.update(MARKS)),
    "%%capture over %%time": in_answer("%%capture\n%%time\n" + OUTPUT.format(RIGHT)),
    "cells of other languages": several(
        "%%bash\necho hi",
        "%%html\n<b>x</b>",
        "%%javascript\nalert(1)",
        "%%latex\nx",
        "%%R\nx",
        "%%script python\nprint(1)",
        "%%sql\nselect",
        "%%writefile x.txt\ny",
        "%%sh\nexit 3",
    ),
    "asyncio": several(
        "import asyncio\nasync def f(): return 1\nawait asyncio.gather(f(), f())",
        "asyncio.run(f())",
        "asyncio.get_event_loop().run_until_complete(f())",
        "async def on():\n    while True: await asyncio.sleep(0)\nt = asyncio.ensure_future(on())",
        "asyncio.set_event_loop_policy(None)\nasyncio.set_event_loop(asyncio.new_event_loop())",
    ),
    "processes of all kinds": several(
        "import multiprocessing as mp, math\nfor kind in ('spawn', 'forkserver'):\n"
        "    with mp.get_context(kind).Pool(1) as p: p.map(math.sqrt, [4])",
        "from concurrent.futures import ProcessPoolExecutor\n"
        "with ProcessPoolExecutor(2) as p: list(p.map(math.sqrt, [1, 4]))",
        "mp.set_start_method('spawn', force=True)",
    ),
    "files of all kinds": several(
        "import sqlite3\nc = sqlite3.connect('x.db'); c.execute('create table t (a)'); c.commit()",
        "import shelve\ns = shelve.open('s'); s['a'] = 1; s.close()",
        "import tempfile\ntempfile.mkstemp(); tempfile.TemporaryDirectory()",
        "torch.save({'a': torch.ones(3)}, 'm.pt')\ntorch.load('m.pt')",
    ),
    "downloads that fail": several(
        "import urllib.request\nurllib.request.urlretrieve('https://example.com/x', 'x')",
        "torch.hub.load('pytorch/vision', 'resnet18')",
        "!wget -q https://example.com/x",
        "import torchvision\ntorchvision.datasets.MNIST('.', download=True)",
    ),
    "modes of torch left on": several(
        "torch.autocast('cpu').__enter__()\ntorch.autograd.set_detect_anomaly(True)",
        "from torch.utils.flop_counter import FlopCounterMode\n"
        "FlopCounterMode(display=False).__enter__()",
        "from torch.profiler import profile\np = profile()\np.__enter__()",
    ),
    "attachments of all kinds": each_cell(
        lambda i, c: c.update(
            attachments=[["a"], 5, None, {"../x": {"image/png": "a"}, "": 1}][i % 4]
        )
    ),
    "outputs of all kinds": each_cell(
        lambda i, c: c.update(outputs=[[], None, "x", [{"output_type": "pyout"}], {}][i % 5])
    ),
    "carriage returns": each_cell(lambda i, c: c.update(source=c.source.replace("\n", "\r"))),
    "__future__": add("from __future__ import annotations"),
    "Colab": add("from google.colab import drive\ndrive.mount('/content')\n%cd /content/drive"),
    "modules reloaded": add("import importlib, cnnlab.checks as c\nimportlib.reload(c)"),
    "a display that changes": add(
        "from IPython.display import display, update_display\ndisplay(1, display_id='q')\n"
        "for i in range(300): update_display(i, display_id='q')"
    ),
    "format 4.0": lambda notebook: notebook.update(nbformat=4.0),
    "format null": lambda notebook: notebook.update(nbformat=None, nbformat_minor="five"),
    "format 4.5": lambda notebook: notebook.update(nbformat=4.5),
    "a source of null": more(source=None),
    "a type of null": more(cell_type=None, source=["a", 5]),
    "an id of a list": more(metadata={"nbgrader": {"grade_id": ["a"], "grade": True}}),
    "no ids, and the same ids": each_cell(lambda i, c: c.update(id="") if i % 2 else c.pop("id")),
    "ends of lines": each_cell(lambda i, c: c.update(source=c.source.replace("\n", "\r\n"))),
    "reversed": lambda notebook: notebook.cells.reverse(),
    "everything three times": lambda notebook: notebook.cells.extend(
        json.loads(json.dumps(notebook.cells * 2))
    ),
    "a kernel called 5": lambda notebook: notebook.metadata.update(
        kernelspec={"name": 5}, language_info=["julia"], widgets={"x": None}
    ),
}
NAMES = ("n" * 250, "victim.judged", "-rf", "{0}{student_id}", "~", "$HOME;id", "class", "a\nb")
HELPER = OUTPUT.format(RIGHT)


@pytest.fixture(scope="module")
def class_(tmp_path_factory):
    """The course after one grading run over everybody."""
    course = make_course(tmp_path_factory.mktemp("again") / "course")
    with (course.folder / "nbgrader_config.py").open("a") as file:
        file.write("c.JudgeOutside.disk_mib = 64\nc.JudgeOutside.memory_mib = 1500\n")
    for name in ("victim", *NAMES):
        submit(course, name, solved(course))
    for name, source in (WALLS | MESSAGES).items():
        notebook = solved(course, loops=LOOPS)
        notebook.cells.insert(1, new_code_cell(source))
        submit(course, name, notebook)
    notebook = solved(course, loops=LOOPS)
    notebook.cells[1:1] = [new_code_cell(CHILD), *[new_code_cell("time.sleep(0.2)")] * 80]
    submit(course, "short cells", notebook)
    for name, source in WRONG.items():
        submit(course, name, solved(course, output_size=source, loops=LOOPS))
    for name, source in ANSWERS.items():
        submit(course, name, solved(course, output_size=FORGE.format(source), loops=LOOPS))
    for name, change in ACCIDENTS.items():
        notebook = solved(course, loops=LOOPS)
        change(notebook)
        (submit(course, name, notebook) / "helper.py").write_text(HELPER)
    course.printed = course.run("cnnlab", "grade", "a1", status=1)
    return look(course)


@pytest.mark.parametrize("name", [*WALLS, *MESSAGES])
def test_an_attack_costs_no_point_and_breaks_through_no_wall(class_, name):
    assert points(class_, name) == FULL, class_.reports[name]["tasks"]
    (path,) = (class_.folder / "autograded" / name).rglob("*.ipynb")
    shown = "".join(str(c.get("outputs", "")) for c in nbformat.read(path, 4).cells[:2])
    assert "written" not in shown and "all was held" not in shown
    assert shown.count("refused") == shown.count("refused -1")
    if "memory" in name and name in WALLS:
        assert "more than 1500 MiB of memory" in str(class_.reports[name]["evidence"])


def test_memory_is_looked_at_however_short_the_cells_are(class_):
    assert "more than 1500 MiB of memory" in str(class_.reports["short cells"]["evidence"])


@pytest.mark.parametrize("name", [*ANSWERS, *WRONG])
def test_a_forged_answer_costs_its_own_part(class_, name):
    assert points(class_, name) == {**FULL, "a1-output-size": 0}


@pytest.mark.parametrize("name", ACCIDENTS)
def test_an_accident_costs_nothing_and_is_no_sign(class_, name):
    assert points(class_, name) == FULL, class_.reports[name]["tasks"]
    signs = class_.reports[name]["evidence"]
    assert signs == [] or (name == "the loop stopped" and "cell 1:" in str(signs))


def test_any_name_is_graded_or_told(class_):
    assert "Traceback" not in class_.printed
    for name in ("victim", *NAMES[1:]):
        assert points(class_, name) == FULL
    assert "File name too long" in class_.printed


def test_a_second_run_finds_everybody_as_the_first(class_):
    again = class_.run("cnnlab", "grade", "a1", status=1)
    for name in ("victim", "victim.judged"):
        assert any(f"{name} " in line and "24.0 of 32" in line for line in again.splitlines())
    assert points(class_, "victim.judged") == FULL and "Traceback" not in again
