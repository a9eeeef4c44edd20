"""A class that attacks its grader, and a class of honest accidents: each graded in one run.

Every attack stands in a notebook with right answers, so that what it costs is seen: nobody but
its owner may lose anything, nothing outside may change, and an accident costs nothing at all.
"""

import json
import os
import stat
import subprocess

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell

from tests.conftest import ALONE
from tests.grading.test_submissions import (
    FULL,
    LOOPS,
    NAME,
    cell,
    look,
    make_course,
    points,
    solved,
)

IMPORTS = "import os, sys, time, ctypes, pathlib\n"
FORK = IMPORTS + "if os.fork() == 0:\n    os.setsid()\n    while True:\n        time.sleep(0.001)\n"
HERE = "[f for f in ('.', '.cnnlab', '/tmp', os.environ.get('HOME', '.')) if os.path.isdir(f)]"
FIRST = {  # cells before everything
    "questions replaced by a link to a secret": FORK + f"        for folder in {HERE}:\n"
    "            for name in os.listdir(folder):\n"
    "                if name.endswith('.npz') and 'q' in name:\n"
    "                    path = os.path.join(folder, name)\n"
    "                    try: os.rename(path, path + 'x'); os.symlink('CANARY/secret', path)\n"
    "                    except OSError: pass\n",
    "the key ring": IMPORTS + "libc = ctypes.CDLL(None)\n"
    "key = libc.syscall(250, 10, -3, b'user', b'cnnlab-canary', 0)\n"
    "held = ctypes.create_string_buffer(64)\n"
    "libc.syscall(250, 11, key, held, 64)\nprint('read', held.value)\n"
    "libc.syscall(250, 2, key, b'POISON', 6)\n",
    "a namespace of its own": IMPORTS + "libc = ctypes.CDLL(None)\n"
    "print('unshared', libc.unshare(0x10000000 | 0x20000))\n",
    "the debugger's system call": IMPORTS + "ctypes.CDLL(None).ptrace(0, 0, 0, 0)\n",
    "memory that belongs to no process": IMPORTS + "handles = []\ntry:\n"
    "    for i in range(15):\n"
    "        handles.append(os.memfd_create('x'))\n"
    "        os.write(handles[-1], b'1' * (100 << 20))\n"
    "except OSError as error: print('refused', error)\n",
    "files without names": IMPORTS + "files = []\ntry:\n"
    "    for i in range(60):\n"
    "        files.append(open(f'f{i}', 'wb')); os.unlink(f'f{i}')\n"
    "        files[-1].write(b'1' * (10 << 20)); files[-1].flush()\n"
    "except OSError as error: print('refused', error)\n"
    "print('written', sum(os.fstat(f.fileno()).st_size for f in files) >> 20)\n"
    "for f in files: f.truncate(0)\n",
    "folders in folders": IMPORTS + "for i in range(1200):\n"
    "    os.mkdir('d'); os.chdir('d')\nos.chdir('/home/student')\n",
    "questions at large": "asked = []\n",
    "messages that no kernel sends": "from IPython import get_ipython\nk = get_ipython().kernel\n"
    "for kind in ('stream', 'error', 'comm_open', 'status', 'display_data', 'execute_input'):\n"
    "    for content in ({}, {'text': 5, 'traceback': 7, 'execution_count': {}, 'transient': 1}):\n"
    "        k.session.send(k.iopub_socket, kind, content, parent=k.get_parent())\n"
    "k.iopub_thread.schedule(lambda: k.iopub_thread.socket.send_multipart([b'x']))\n",
}
LAST = {  # cells after everything
    "the mailbox replaced by a link": IMPORTS + "for name in os.listdir('.'):\n"
    "    os.rename(name, name + 'x')\nos.symlink('CANARY', '.cnnlab')\n",
    "the same, then death": IMPORTS + "if os.path.isdir('.cnnlab'):\n"
    "    os.rename('.cnnlab', 'x')\nos.symlink('CANARY', '.cnnlab')\nos._exit(1)\n",
}
OUTPUT = "def output_size(n, k, padding=0, stride=1):\n    {}\n"
RIGHT = "return (n + 2 * padding - k) // stride + 1"
FORGE = (
    "import cnnlab.answers.mailbox as mailbox, cnnlab.answers.wire as wire, numpy as np\n"
    "def forged(kind, entry, honest=mailbox.answer_mail):\n"
    "    if entry != 'output_size': return honest(kind, entry)\n"
    "    _, answers = mailbox.letter()\n"
    "    {}\n"
    "mailbox.answer_mail = forged\n" + OUTPUT.format("return -1")
)
FORGED = {
    "an integer of 5000 digits": "tree = b'[' + b'9' * 5000 + b']'\n"
    "    open(answers, 'wb').write(len(tree).to_bytes(8, 'big') + tree)",
    "one array in a million places": 'array = b\'{"array":["<f8",[131072],0]},\'\n'
    "    tree = b'[' + array * 10**6 + b'0]'\n"
    "    open(answers, 'wb').write(len(tree).to_bytes(8, 'big') + tree + bytes(2**20))",
    "a tree longer than its file": "open(answers, 'wb').write(b'\\xff' * 8 + b'[]')",
    "an array as status": "wire.send(answers, {'status': np.zeros(3), 'answers': []})",
    "an array as an answer's status": "wire.send(answers, "
    "{'status': 'answered', 'answers': [{'status': np.zeros(3)}] * 99})",
    "a file without end": "import os; os.ftruncate(answers, (1 << 27) + 9)",
    "no answer": "pass",
}


def add(source, where=1, kind=new_code_cell):
    return lambda notebook: notebook.cells.insert(where, kind(source))


def at_end(source):
    return lambda notebook: notebook.cells.append(new_code_cell(source))


def middle(source):
    return lambda notebook: notebook.cells.insert(len(notebook.cells) // 2, new_code_cell(source))


def in_answer(source):
    def change(notebook):
        cell(notebook, "a1-output-size-answer").source = source

    return change


TERMS = "x = " + " + ".join(["1"] * 6000)
ACCIDENTS = {
    "quit() first": add("quit()"),
    "quit() in the middle": middle("quit()"),
    "exit() in the middle": middle("exit()"),
    "exit, quit and sys.exit": middle(
        "import sys\nif True: exit\nquit(keep_kernel=True)\nsys.exit()"
    ),
    "a shell command": add(
        "!echo hello\nlines = !echo one two\nassert lines == ['one two'], lines"
    ),
    "nvidia-smi and pip": add("!nvidia-smi\n!pip --version"),
    "subprocess": add("import subprocess\nsubprocess.run(['ls'])"),
    "print is a number": add("print = 3"),
    "own print and globals": add("def print(*a): return 1\nglobals = locals = dir = input = 3"),
    "no standard output": at_end("import sys\nsys.stdout = None"),
    "the folder removed": add("import shutil\nshutil.rmtree('.', ignore_errors=True)"),
    "6000 terms": add(TERMS),
    "half a character": lambda notebook: notebook.cells.append(
        nbformat.from_dict(
            {
                "cell_type": "code",
                "source": "'\ud83d'",
                "metadata": {},
                "outputs": [],
                "execution_count": None,
            }
        )
    ),
    "%%time": in_answer("%%time\n" + OUTPUT.format(RIGHT)),
    "a class that compares": add(
        "class Size:\n    def __init__(self, n): self.n = n\n"
        "    def __eq__(self, other): return self.n == other.n\n"
    ),
    "settings, aliases and workers": add(
        "import numpy as np\nnp.float = float\nnp.bool = bool\nIn = torch.ones(2, 2)\n"
        "torch.backends.cudnn.deterministic = True\nIn[0, 1]\n"
        "import multiprocessing\nmultiprocessing.get_context('fork')"
    ),
    "a debugger, a long command, many threads": add(
        "%pdb on\n!pip --quiet \\\n    --version\ntorch.set_num_threads(64)"
    ),
    "a thread": add("import threading\nt = threading.Thread(target=len, args=('x',))\nt.start()"),
    "a picture in an answer": lambda notebook: cell(notebook, "a1-explain").update(
        attachments={"draw.png": {"image/png": "iVBORw0KGgo="}},
        source="See ![a drawing](attachment:draw.png) and ![none](attachment:missing.png)",
    ),
    "tags is a number": lambda notebook: notebook.cells[0].metadata.update(tags=5),
    "metadata is null": lambda notebook: notebook.cells[0].update(metadata=None),
    "metadata is a list": lambda notebook: notebook.cells[0].update(metadata=[]),
    "a cell without metadata": lambda notebook: notebook.cells[0].pop("metadata"),
    "a string among the cells": lambda notebook: notebook.cells.insert(0, "text"),
    "nbformat is 4.0": lambda notebook: notebook.update(nbformat=4.0),
    "an id that is a list": lambda notebook: notebook.cells[0].metadata.update(
        nbgrader={"grade_id": ["x"]}
    ),
    "nbformat is a text": lambda notebook: notebook.update(nbformat="4"),
    "no nbformat": lambda notebook: notebook.pop("nbformat"),
    "a timestamp that is none": None,
    "[z]": None,
    "name (1), a+b": None,
}
ENCODED = {
    "a mark at the front": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "Windows' code page": lambda text: text.replace("wherever", "wo\u00df").encode("cp1252"),
}
ESSAY = "Neighbours belong together, wherever they are."


def no_metadata(notebook):
    for each in notebook.cells:
        each.metadata = {}


def no_essay_cell(notebook):
    notebook.cells.remove(cell(notebook, "a1-explain"))
    notebook.cells.append(new_markdown_cell(ESSAY))


def essay_below(course):
    def change(notebook):
        blank = nbformat.read(course.folder / "assignments" / NAME / f"{NAME}.ipynb", 4)
        cell(notebook, "a1-explain").source = cell(blank, "a1-explain").source
        notebook.cells.append(new_markdown_cell(ESSAY))

    return change


def essay_retyped(notebook):
    cell(notebook, "a1-explain").cell_type = "raw"


def old_ids(notebook):
    for each in notebook.cells:
        if "nbgrader" in each.metadata:
            each.metadata.nbgrader.grade_id = "last-year-" + each.metadata.nbgrader.grade_id


HANDWRITTEN = {
    "all metadata lost": no_metadata,
    "the answer's cell deleted": no_essay_cell,
    "the answer in a cell below": essay_below,
    "the answer made raw": essay_retyped,
    "last year's ids": old_ids,
}


def submit(course, student, notebook, name=f"{NAME}.ipynb"):
    folder = course.folder / "submitted" / student / NAME
    folder.mkdir(parents=True, exist_ok=True)
    content = notebook if isinstance(notebook, bytes) else json.dumps(notebook).encode()
    (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def class_(tmp_path_factory):
    """The course after one grading run over everybody."""
    folder = tmp_path_factory.mktemp("attacks")
    course = make_course(folder / "course")
    with (course.folder / "nbgrader_config.py").open("a") as file:
        file.write("c.JudgeOutside.disk_mib = 64\nc.JudgeOutside.memory_mib = 1500\n")
    canary = folder / "canary"
    canary.mkdir()
    for name, mode in (("secret", 0o600), ("tool", 0o755), ("kernel.json", 0o600)):
        (canary / name).write_text("mine")
        (canary / name).chmod(mode)
    course.canary = {
        p.name: (stat.S_IMODE(p.lstat().st_mode), p.read_text()) for p in canary.iterdir()
    }
    submit(course, "victim", solved(course))
    for name, source in FIRST.items():
        notebook = solved(course, loops=LOOPS)
        notebook.cells.insert(1, new_code_cell(source.replace("CANARY", str(canary))))
        submit(course, name, notebook)
    for name, source in LAST.items():
        notebook = solved(course)
        notebook.cells.append(new_code_cell(source.replace("CANARY", str(canary))))
        submit(course, name, notebook)
    for name, source in FORGED.items():
        submit(course, name, solved(course, output_size=FORGE.format(source), loops=LOOPS))
    for name, change in ACCIDENTS.items():
        notebook = solved(course)
        if change is not None:
            change(notebook)
        where = submit(course, name, notebook)
        if "timestamp" in name:
            (where / "timestamp.txt").write_text("yesterday evening")
    for name, encode in ENCODED.items():
        submit(course, name, encode(json.dumps(solved(course), ensure_ascii=False)))
    for name, change in HANDWRITTEN.items():
        notebook = solved(course)
        (change(course) if change is essay_below else change)(notebook)
        submit(course, name, notebook)
    where = submit(course, "Latin-1", solved(course))
    with open(os.fsencode(where) + b"/L\xf6sung.pdf", "wb") as file:
        file.write(b"pdf")
    with open(os.fsencode(where) + b"/L\xf6sung.txt", "wb") as file:
        file.write(b"text")
    latin = os.fsencode(course.folder / "submitted") + b"/M\xfcller/" + NAME.encode()
    os.makedirs(latin)
    with open(latin + b"/a1_convolution.ipynb", "wb") as file:
        file.write(json.dumps(solved(course)).encode())
    deep = submit(course, "deep folders", solved(course))
    back = os.open(".", os.O_RDONLY)
    os.chdir(deep)
    for _ in range(1500):
        os.mkdir("d")
        os.chdir("d")
    os.fchdir(back)
    os.close(back)
    bomb = '{"nbformat": 4, "metadata": {"x": [' + "{}," * 2_000_000 + "0]}, "
    bomb += json.dumps(solved(course))[1:]
    submit(course, "lists without end", bomb.encode())
    many = solved(course)
    many.cells.insert(1, new_code_cell("!x\n" * 60_000))
    submit(course, "commands without end", many)
    submit(course, "a copy", solved(course), "a1_convolution-Copy1.ipynb")
    blank = nbformat.read(course.folder / "assignments" / NAME / f"{NAME}.ipynb", 4)
    submit(course, "a blank and a copy", solved(course), "a1_convolution-Copy1.ipynb")
    submit(course, "a blank and a copy", blank)
    submit(course, "text at the end", solved(course), "A1_Convolution.ipynb.txt")
    other = json.loads(json.dumps(solved(course)).replace("a1-", "a2-"))
    submit(course, "another assignment", other)

    canary_key = "\n".join(
        [
            "import ctypes, subprocess, sys",
            "libc = ctypes.CDLL(None, use_errno=True)",
            "libc.syscall(250, 1, None)",
            "key = libc.syscall(248, b'user', b'cnnlab-canary', b'KEYRING-CANARY', 14, -3)",
            "libc.syscall(250, 5, key, 0x3f3f3f3f)",
            "code = subprocess.call([sys.executable, '-m', 'cnnlab', 'grade', 'a1'])",
            "held = ctypes.create_string_buffer(64)",
            "libc.syscall(250, 11, key, held, 64)",
            "print('\\nKEY', held.value.decode()); sys.exit(code)",
        ]
    )
    try:
        course.printed = course.python("-c", canary_key, status=1, **ALONE)
    finally:
        subprocess.run(["rm", "-rf", deep / "d"], check=True)  # pytest could not
    (folder / "printed").write_text(course.printed)
    course.canary_folder = canary
    return look(course)


def shown(course, name) -> str:
    return (course.folder / "autograded" / name / NAME / f"{NAME}.ipynb").read_text()


def test_everybody_has_a_line_and_nobody_stops_the_others(class_):
    assert "Traceback" not in class_.printed
    for name in os.listdir(class_.folder / "submitted"):
        printable = os.fsencode(name).decode("utf-8", "replace")
        assert any(line.startswith(printable[:40]) for line in class_.printed.splitlines()), name
    assert points(class_, "victim") == FULL


@pytest.mark.parametrize("name", [*FIRST, *LAST])
def test_an_attack_gains_nothing_and_costs_nothing(class_, name):
    assert points(class_, name) == FULL


def test_nothing_of_the_host_was_touched(class_):
    found = {
        p.name: (stat.S_IMODE(p.lstat().st_mode), p.read_text())
        for p in class_.canary_folder.iterdir()
    }
    assert found == class_.canary
    assert stat.S_IMODE(class_.canary_folder.stat().st_mode) == 0o755


def test_the_key_ring_is_neither_read_nor_written(class_):
    assert "KEY KEYRING-CANARY" in class_.printed
    assert "read b''" in shown(class_, "the key ring")


def test_no_limit_is_stepped_around(class_):
    assert "unshared -1" in shown(class_, "a namespace of its own")
    assert "refused" in shown(class_, "memory that belongs to no process")
    written = shown(class_, "files without names").partition("written ")[2]
    assert int(written.split("\\n")[0]) <= 64


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_answer_costs_that_part_only_and_is_not_tried_again(class_, name):
    assert points(class_, name) == {**FULL, "a1-output-size": 0}
    assert "Tried" not in class_.printed


@pytest.mark.parametrize("name", ACCIDENTS)
def test_an_accident_costs_nothing_and_raises_no_suspicion(class_, name):
    assert points(class_, name) == FULL, class_.reports[name]["tasks"]
    assert class_.reports[name]["evidence"] == []


def test_a_shell_command_works(class_):
    page = shown(class_, "a shell command")
    assert "hello" in page and "out of pty" not in page and '"error"' not in page


@pytest.mark.parametrize("name", ENCODED)
def test_an_encoding_costs_nothing(class_, name):
    assert points(class_, name) == FULL


@pytest.mark.parametrize("name", HANDWRITTEN)
def test_a_written_answer_whose_cell_changed_goes_to_a_person(class_, name):
    assert points(class_, name) == FULL
    assert class_.scores[name]["a1-explain"] is None and class_.by_hand[name]["a1-explain"]
    assert ESSAY in shown(class_, name)


def test_what_stands_beside_a_blank_answer_is_shown_to_a_person(class_):
    page = (class_.folder / "reports" / NAME / "class.html").read_text()
    human = page.partition("Needs a human")[2].partition("<h2>")[0]
    assert "Neighbours belong together" in human and "is it the answer?" in human


def test_names_of_files_may_be_any_bytes(class_):
    assert points(class_, "Latin-1") == FULL
    assert (
        "L\ufffdsung.pdf: files of this kind"
        in (class_.folder / "reports" / NAME / "class.html").read_text()
    )
    assert "M\ufffdller" in class_.printed


def test_deep_folders_cost_nothing(class_):
    assert points(class_, "deep folders") == FULL


def test_texts_that_are_parsed_are_bounded(class_):
    assert "500,000 lists" in class_.reports["lists without end"]["problem"]
    assert points(class_, "commands without end") == FULL


def test_the_notebook_that_is_meant_is_graded(class_):
    for name in ("a copy", "a blank and a copy", "text at the end"):
        assert points(class_, name) == FULL
        assert "is graded" in str(class_.reports[name]["refused_files"])
    assert "another assignment's notebook" in class_.reports["another assignment"]["problem"]


def test_nothing_is_left_behind(class_):
    assert not list((class_.folder / "reports" / NAME / ".incoming").glob("*"))
