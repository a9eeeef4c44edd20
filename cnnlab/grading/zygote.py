"""A process that has imported everything, and forks Jupyter kernels from itself.

Starting a kernel and importing torch takes seconds, a fork of a process that has done both
takes milliseconds. The zygote does nothing else: it holds no key and no answer, it has one
thread, and it never touches CUDA (a fork could not use the device any more). It listens on a
Unix socket; a request names the kernel's arguments, environment and, if it is to be confined,
its `Policy`. The reply is the kernel's process as a PID file descriptor.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import itertools
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from types import ModuleType

from cnnlab import sandbox

__all__ = ["ADDRESS", "PASSED_ON", "folder", "fork_kernel", "readable", "start"]

ADDRESS = "CNNLAB_ZYGOTE"  # names the socket, so that one zygote serves a whole family
# What of the environment may reach code that is not trusted: enough to compute, no token.
PASSED_ON = (
    "CNNLAB_DEVICE", "CUDA_VISIBLE_DEVICES", "LANG", "LC_ALL", "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS", "TZ",
)  # fmt: skip
PRELOADED = (
    "torch", "matplotlib.pyplot", "numpy", "PIL.Image", "cnnlab.assignments",
    "cnnlab.data", "cnnlab.plotting", "cnnlab.shapes", "ipykernel.kernelapp", "encodings.idna",
    "PIL.PngImagePlugin", "PIL.JpegImagePlugin",
    "IPython.core.pylabtools", "importlib.resources.readers", "zmq.utils.garbage",
)  # fmt: skip
# A second's import each, before the first kernel whose notebook has the word: whoever makes an
# optimizer imports the first one.
LATER = {"optim": "torch._dynamo", "torchvision": "torchvision"}
UNDRAWN = "not drawn, as no marked answer follows it (`cnnlab grade --figures` draws all)"
MANY = 12  # requests: from there on, one that comes is not the last
_KERNEL_TIMEOUT = 60
_starting = threading.Lock()
_children: dict[int, subprocess.Popen] = {}


def start() -> str:
    """The address of this family's zygote; one is started where none answers.

    It ends when the process that started it ends, and so does every kernel of it.
    """
    with _starting:
        address = os.environ.get(ADDRESS)
        if address and _answers(address):
            return address
        folder = tempfile.mkdtemp(prefix="cnnlab-zygote-", dir=_short_folder())
        address = os.path.join(folder, "socket")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
        listener.listen(128)
        path = [entry for entry in sys.path if os.path.isabs(entry)]
        code = (
            f"import sys; sys.path[:] = {path!r}\n"
            f"from cnnlab.grading import zygote; zygote.serve({listener.fileno()}, {folder!r})"
        )
        environment = {k: os.environ[k] for k in (*PASSED_ON, "HOME", "PATH") if k in os.environ}
        environment["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        # Where OpenMP cannot have a thread it ends the process; an arena for each thread would use
        # up the address space.
        environment |= {"OMP_THREAD_LIMIT": "32", "MALLOC_ARENA_MAX": "2"}
        # The memory of one tensor is there for the next, without a fault for each of its pages.
        keep = {"MALLOC_MMAP_THRESHOLD_": 32 << 20, "MALLOC_TRIM_THRESHOLD_": 256 << 20}
        environment |= {name: str(size) for name, size in keep.items()}
        environment["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # a kernel's debugger says it
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,  # its end tells the zygote to end
            pass_fds=[listener.fileno()],
            env=environment,
            cwd="/",
            start_new_session=True,
        )
        listener.close()
        _children[os.getpid()] = process
        os.environ[ADDRESS] = address
        atexit.register(_stop, os.getpid(), folder)
        return address


def _stop(owner: int, folder: str) -> None:
    if os.getpid() == owner and (process := _children.pop(owner, None)):
        process.terminate()  # it may still be importing; its kernels end with it
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.pop(ADDRESS, None)


def folder() -> str:
    """Where this family puts what is of no use after it: the zygote removes it at the end."""
    address = os.environ.get(ADDRESS)
    return os.path.dirname(address if address and os.path.exists(address) else start())


def _short_folder() -> str | None:
    """A place for sockets, whose paths may have about 100 bytes."""
    return None if len(tempfile.gettempdir()) < 50 else "/tmp"


def _answers(address: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(address)
        except OSError:
            return False
        return True


def fork_kernel(
    arguments: list[str],
    environment: dict,
    cwd: str,
    policy: sandbox.Policy | None = None,
    sockets: dict[str, int] | None = None,
    handles: Sequence[int] = (),
    words: Sequence[str] = tuple(LATER),
) -> tuple[int, int]:
    """A new kernel's PID and PID file descriptor.

    Parameters
    ----------
    arguments : what follows ``ipykernel_launcher`` on its command line
    environment : the whole environment, where there is no policy
    policy : confines it; None for a person's own notebook
    sockets : descriptors of listening sockets by the addresses that it would bind
    handles : its mailbox and its connection file, which it gets in their place
    words : of `LATER`, those of its notebook

    Raises
    ------
    SandboxUnavailable
        If the host forbids namespaces.
    """
    request = {
        "arguments": arguments,
        "environment": environment,
        "cwd": cwd,
        "policy": asdict(policy) if policy else None,
        "told": os.environ.get("CNNLAB_NO_SANDBOX", ""),
        "sockets": list(sockets or ()),
        "words": list(words),
    }
    given = [*(sockets or {}).values(), *handles]
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_KERNEL_TIMEOUT)
        client.connect(start())
        socket.send_fds(client, [len(given).to_bytes(1, "big")], given)
        client.sendall(json.dumps(request, default=str).encode() + b"\n")
        reply, handles, *_ = socket.recv_fds(client, 4096, 1)
    answer = json.loads(reply or '{"error": "the zygote ended"}')
    if "refused" in answer:
        raise sandbox.SandboxUnavailable(answer["refused"])
    if "error" in answer:
        raise RuntimeError(f"no kernel could be forked: {answer['error']}")
    return answer["pid"], handles[0]


def readable() -> list[str]:
    """Where Python and its packages lie; of this package's folder, only the package."""
    found = [sys.prefix, sys.base_prefix, *(p for p in sys.path if p.endswith("-packages"))]
    found += [str(Path(sandbox.__file__).parents[1])]
    found += map(os.path.realpath, found[:])
    kept = []
    for path in sorted(set(found), key=len):
        inside = any(Path(path).is_relative_to(other) for other in (*kept, "/usr"))
        if os.path.isdir(path) and not inside:
            kept.append(path)
    return kept


# --- below: in the zygote ---


def serve(listener_handle: int, folder: str) -> None:
    """Preload, then fork a kernel for each request until standard input ends."""
    listener = socket.socket(fileno=listener_handle)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # hardly any of what is imported ever goes
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    _draw()
    from ipykernel.kernelapp import IPKernelApp

    for name in _what_a_kernel_imports():
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    IPKernelApp.instance().log.debug("This makes it, and what it logs with.")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    _settle()
    for served in itertools.count():
        if served == MANY:
            _gather_pages()
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready:
            for _ in range(20):  # the workers of a run that was killed are dying, too
                shutil.rmtree(folder, ignore_errors=True)
                time.sleep(0.05)
            os._exit(0)
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError, ValueError):
            connection.settimeout(_KERNEL_TIMEOUT)
            _, handles, *_ = socket.recv_fds(connection, 1, 16)
            with connection.makefile("rb") as lines:
                request = json.loads(lines.readline() or b"null")
            if request:  # else somebody asked whether we are there
                _import_later(request["words"])
                if os.fork() == 0:
                    _answer(connection, request, handles)
            for handle in handles:
                os.close(handle)


def _import_later(words: list[str]) -> None:
    wanted = [LATER[word] for word in words if LATER[word] not in sys.modules]
    for name in wanted:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if wanted:
        _settle()


def _settle() -> None:
    """What there is now stays: no garbage is sought in it, and a change of it is a sign."""
    from cnnlab.grading import tampering

    tampering.remember()
    gc.freeze()
    gc.enable()


def _gather_pages() -> None:
    """Put this process's memory into huge pages: a fork copies one entry of each, not 512.

    It takes as long as is won with ten forks or so.
    """
    madvise, collapse = ctypes.CDLL(None).madvise, 25
    madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights, _, device, *_ = line.split()
        if rights.startswith("rw") and device == "00:00":
            begin, end = (int(place, 16) for place in span.split("-"))
            madvise(begin, end - begin, collapse)  # a kernel that cannot says so, and no more


def _draw() -> None:
    """A first figure finds fonts and files, and fills matplotlib's caches; every fork has them."""
    with contextlib.suppress(ImportError, OSError):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        from cnnlab.data import photograph

        figure = Figure(layout="constrained")
        axes = figure.subplots()
        axes.set_title("$x$")
        axes.imshow(photograph("flower").permute(1, 2, 0))
        FigureCanvasAgg(figure).print_png(io.BytesIO())


def _what_a_kernel_imports() -> list[str]:
    """The modules that a kernel loads when it starts and tells of its first error: one does it."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        before = set(sys.modules)
        with contextlib.suppress(BaseException), tempfile.TemporaryDirectory() as folder:
            os.environ["IPYTHONDIR"] = folder
            app = _kernel([f"--f={folder}/kernel.json", "--transport=ipc", "--log-level=50"])
            app.shell.run_cell("1 / 0")
        os.write(writes, "\n".join(set(sys.modules) - before).encode()[:60000])
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        names = pipe.read().split()
    os.waitpid(pid, 0)
    return [name for name in names if not name.startswith(("matplotlib_inline", "__"))]


def _answer(connection: socket.socket, request: dict, handles: list[int]) -> None:
    """In a fork of the zygote: fork once more, into the sandbox if there is one."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sandbox.die_with_parent()
    try:
        sockets = dict(zip(request["sockets"], handles, strict=False))
        os.environ["CNNLAB_NO_SANDBOX"] = request["told"]
        policy = request["policy"]
        if policy:
            policy["limits"] = _limits(policy["limits"])
            pid = sandbox.fork(sandbox.Policy(**policy))
        else:
            pid = os.fork()
        if pid:
            reply = json.dumps({"pid": pid}).encode()
            socket.send_fds(connection, [reply], [os.pidfd_open(pid)])
    except sandbox.SandboxUnavailable as error:
        connection.sendall(json.dumps({"refused": error.reason}).encode())
        os._exit(1)
    except BaseException as error:
        connection.sendall(json.dumps({"error": repr(error)}).encode())
        os._exit(1)
    if pid:
        connection.close()
        _stay_until_it_ends(pid)
    try:
        if policy is None:
            sandbox.die_with_parent()
            os.setsid()
            os.chdir(request["cwd"])
            os.environ.clear()
            os.environ.update(request["environment"])
        else:
            _take_the_questions_off()
        _become_a_kernel(request["arguments"], policy is not None, sockets, handles)
    finally:
        os._exit(1)


def _limits(limits: dict) -> sandbox.Limits:
    """Memory is counted from what the warm process already has mapped."""
    if limits["memory"] is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limits["memory"] += pages * os.sysconf("SC_PAGE_SIZE")
    return sandbox.Limits(**limits)


def _stay_until_it_ends(pid: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.closerange(3, 1024)
    _, status = os.waitpid(pid, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _take_the_questions_off() -> None:
    """A student's own ``check(...)`` is harmless here: there is nothing to ask."""
    import cnnlab
    from cnnlab import checks

    def check(task_id: str) -> float:
        print(f"{task_id}: judged after your notebook has run.")
        return 0.0

    cnnlab.check = checks.check = check


def _become_a_kernel(
    arguments: list[str], confined: bool, sockets: dict[str, int], handles: list[int]
) -> None:
    import numpy as np
    import torch

    from cnnlab.answers import mailbox

    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    kept = [2, *sorted(handles), 1024]
    for below, above in pairwise(kept):
        os.closerange(below + 1, above)
    if handles:
        *_, mailbox.handle, connection = handles
        arguments[arguments.index("-f") + 1] = f"/proc/self/fd/{connection}"
        _bind_to(sockets)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for name in (ADDRESS, "JPY_PARENT_PID"):
        os.environ.pop(name, None)
    random.seed()
    np.random.seed(int.from_bytes(os.urandom(4), "big"))  # noqa: NPY002 (students use it)
    torch.default_generator.seed()
    with contextlib.suppress(ValueError):
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    sys.argv = ["ipykernel_launcher", *arguments]
    sys.path = ["", *(entry for entry in sys.path if entry)]
    if confined:
        _leave_out_what_no_grader_asks()
    app = _kernel(arguments)
    if confined:
        _draw_figures_once(app.shell)
        type(app.shell).ask_exit = lambda shell: None  # `quit()` would end it in a later cell
    app.start()


def _bind_to(sockets: dict[str, int]) -> None:
    """Let the kernel find its sockets bound: it has no folder in which it could bind them."""
    import zmq

    bind = zmq.Socket.bind

    def bind_or_find(self, address: str):
        if address in sockets:
            self.setsockopt(zmq.USE_FD, sockets[address])
        return bind(self, address)

    zmq.Socket.bind = bind_or_find


def _draw_figures_once(shell) -> None:
    """The inline backend draws what it shows; pyplot would have drawn it before, for a window."""
    with contextlib.suppress(ImportError):
        import matplotlib.pyplot as plt
        from matplotlib_inline.backend_inline import InlineBackend  # connects itself to the kernel

        plt.uninstall_repl_displayhook()
        if not InlineBackend.instance(parent=shell).figure_formats:
            plain = shell.display_formatter.formatters["text/plain"]
            plain.for_type(plt.Figure, lambda figure, page, _: page.text(f"{figure}: {UNDRAWN}"))


def _kernel(arguments: list[str]):
    from ipykernel.kernelapp import IPKernelApp

    app = IPKernelApp.instance()
    app.initialize(arguments)
    return app


def _leave_out_what_no_grader_asks() -> None:
    """What a kernel does at its start and around each cell, and takes longer than most cells."""
    from ipykernel import iostream, ipkernel, kernelapp

    flush = iostream.OutStream.flush

    def flush_something(stream) -> None:
        if getattr(stream, "_buffers", True):  # else it would wake a thread for nothing
            flush(stream)

    for looks_for_files in ("load_config_file", "init_code"):  # in the box there is none
        setattr(kernelapp.IPKernelApp, looks_for_files, lambda *_: None)
    iostream.OutStream.flush = flush_something
    # For its debugger it lists all modules' files, and so copies a page of each.
    ipkernel.sys = ModuleType("sys")
    vars(ipkernel.sys).update(vars(sys), modules={})
