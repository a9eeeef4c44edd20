"""Warm kernels through Jupyter's own tools, and what the sandbox keeps from one."""

import os
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from cnnlab.grading import zygote
from cnnlab.grading.outside import JudgeOutside

WHO = "import os, sys; print('torch' in sys.modules, os.getpid())"


@pytest.fixture
def warm(monkeypatch):
    monkeypatch.setenv("JUPYTER_DEFAULT_PROVISIONER_NAME", "cnnlab-warm")
    from jupyter_client.provisioning import KernelProvisionerFactory

    KernelProvisionerFactory.clear_instance()
    yield
    KernelProvisionerFactory.clear_instance()


def run(*sources: str, **how) -> list[str]:
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=60, **how).execute()
    return ["".join(o.get("text", "") for o in cell.outputs) for cell in notebook.cells]


def test_nbclient_gets_a_kernel_that_has_imported_torch(warm):
    (first,) = run(WHO)
    (second,) = run(WHO)
    assert first.startswith("True") and second.startswith("True") and first != second


def test_every_kernel_has_seeds_of_its_own(warm):
    draw = "import random, numpy, torch\nprint(random.random(), numpy.random.rand(), torch.rand(1))"
    assert len({run(draw)[0] for _ in range(3)}) == 3


def test_cuda_was_not_touched(warm):
    assert run("import torch; print(torch.cuda.is_initialized())") == ["False\n"]


def test_environment_folder_and_figures_are_the_notebook_s_own(warm, tmp_path, monkeypatch):
    monkeypatch.setenv("A_SETTING", "seen")
    where, setting, _ = run(
        "import os; print(os.getcwd())",
        "print(os.environ['A_SETTING'])",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    assert (where.strip(), setting.strip()) == (str(tmp_path), "seen")
    figure = new_notebook(cells=[new_code_cell("import pylab as p\np.plot([1, 2]); p.show()")])
    NotebookClient(figure, timeout=60).execute()
    assert "image/png" in str(figure.cells[0].outputs)


def test_an_interrupt_ends_a_loop_and_the_kernel_goes_on(warm):
    manager = KernelManager()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        # After an error a kernel aborts what was queued, unless told not to.
        client.execute("import time\nwhile True: time.sleep(0.01)", stop_on_error=False)
        time.sleep(1)
        manager.interrupt_kernel()
        assert client.get_shell_msg(timeout=30)["content"]["ename"] == "KeyboardInterrupt"
        reply = client.execute("1 + 1", reply=True, timeout=30)
        assert reply["content"]["status"] == "ok"
        pid = manager.provisioner.pid
        manager.restart_kernel(now=True)
        client.wait_for_ready(timeout=60)
        assert manager.provisioner.pid != pid
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert not manager.is_alive() and not psutil.pid_exists(manager.provisioner.pid or 0)


def test_nbval_runs_on_it(warm, tmp_path):
    path = tmp_path / "test.ipynb"
    cell = new_code_cell("import sys; 'torch' in sys.modules", execution_count=1)
    cell.outputs = [
        nbformat.v4.new_output("execute_result", {"text/plain": "True"}, execution_count=1)
    ]
    nbformat.write(new_notebook(cells=[cell]), path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--nbval", "-p", "no:cacheprovider", str(path)],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_zygote_and_kernels_end_with_the_process_that_started_them(tmp_path):
    code = (
        "import os, time\nfrom cnnlab.grading import zygote\nfrom cnnlab.sandbox import Policy\n"
        "here = os.getcwd()\nconfined = Policy(readable=zygote.readable(), writable=here)\n"
        "for name, policy in (('/k.json', None), ('/confined.json', confined)):\n"
        "    kernel = ['-f', here + name, '--transport=ipc']\n"
        "    print(zygote.fork_kernel(kernel, dict(os.environ), here, policy)[0])\n"
        "time.sleep(2)\n"
        "print(zygote._children[os.getpid()].pid, flush=True)\nos.kill(os.getpid(), 9)"
    )
    env = {k: v for k, v in os.environ.items() if k != zygote.ADDRESS}
    env["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=env
    )
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 3, done.stderr
    for _ in range(100):
        if not any(psutil.pid_exists(pid) for pid in pids):
            break
        time.sleep(0.1)
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_where_namespaces_are_forbidden_grading_refuses(tmp_path):
    """A seccomp-free way to forbid them: no capability, and no user namespace left."""
    code = (
        "import os\nfrom cnnlab import sandbox\n"
        "def forbidden(*a): raise PermissionError(1, 'Operation not permitted (unshare)')\n"
        "sandbox.confine._unshare = forbidden\n"
        "try: sandbox.fork(sandbox.Policy())\n"
        "except sandbox.SandboxUnavailable as error: print(error)\n"
        "os.environ['CNNLAB_NO_SANDBOX'] = '1'\n"
        "if pid := sandbox.fork(sandbox.Policy()): print(os.waitpid(pid, 0)[1])\n"
        "else: os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "refusing to run untrusted work without a sandbox" in done.stdout, done.stderr
    assert "CNNLAB_NO_SANDBOX=1" in done.stdout and done.stdout.endswith("0\n")


def test_a_confined_kernel_shares_no_folder_with_us(tmp_path):
    """Whatever it can write lies in memory of its own; and it holds no folder of ours open."""
    (tmp_path / "given.txt").write_text("x")
    notebook = new_notebook(
        cells=[
            new_code_cell("print(open('/proc/self/mountinfo').read())"),
            new_code_cell(
                "import os\nfor f in os.listdir('/proc/self/fd'):\n"
                "    try: print(os.readlink('/proc/self/fd/' + f))\n    except OSError: pass"
            ),
            new_code_cell("print(open('given.txt').read()); open('made.txt', 'w').write('y')"),
        ]
    )
    outside = JudgeOutside()
    outside.key, outside.tasks = b"k" * 64, {}
    done, _ = outside.preprocess(notebook, {"metadata": {"path": str(tmp_path)}})
    mounts, held, given = ("".join(o.get("text", "") for o in c.outputs) for c in done.cells)
    for line in mounts.strip().splitlines():
        left, _, right = line.partition(" - ")
        writable = left.split()[5].split(",")[0] == "rw"
        assert not writable or right.split()[0] in ("tmpfs", "proc", "devpts", "devtmpfs"), line
    assert str(tmp_path) not in mounts + held and "/n-" not in held
    assert given == "x\n" and [p.name for p in tmp_path.iterdir()] == ["given.txt"]


CELLS = {
    "import asyncio\nawait asyncio.sleep(0.01)\nprint('awaited')": "awaited\n",
    "own = 1\n%who": "asyncio\t own\t \n",
    "!echo shell": "shell\r\n",
    "from concurrent.futures import ThreadPoolExecutor as Pool\n"
    "print(*Pool(1).map(lambda n: print(n, flush=True), [1, 1]))": "1\n1\nNone None\n",
    "import sys; print('out', flush=True); print('err', file=sys.stderr)": "out\nerr\n",
}


def test_a_grader_s_kernel_runs_what_any_kernel_runs(tmp_path):
    outside = JudgeOutside(timeout=60)
    outside.tasks, outside.key = {}, b"k" * 32
    cells = [new_code_cell(source) for source in CELLS]
    resources = {"metadata": {"path": str(tmp_path)}, "nbgrader": {}}
    done, _ = outside.preprocess(new_notebook(cells=cells), resources)
    printed = ["".join(o.get("text", str(o)) for o in cell.outputs) for cell in done.cells]
    assert printed == list(CELLS.values())


HUGE = """
import os, re
from pathlib import Path
from cnnlab.grading import zygote

def huge():
    told = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(r"AnonHugePages:\\s+(\\d+)", told)[1])

blocks = [os.urandom(1 << 16) for _ in range(1024)]
before, held = huge(), b"".join(blocks)
zygote._gather_pages()
print(huge() - before > 32 << 10, b"".join(blocks) == held)
"""


@pytest.mark.skipif(
    tuple(map(int, os.uname().release.split(".")[:2])) < (6, 1), reason="needs Linux 6.1"
)
def test_memory_is_the_same_in_huge_pages():
    code = [sys.executable, "-c", HUGE]
    # As in the zygote: what is as large is not mapped on its own.
    told = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(32 << 20)}
    assert subprocess.run(code, env=told, capture_output=True, text=True).stdout == "True True\n"
