"""Running what we don't trust: one mechanism for students' C++ and for whole submissions.

A `Policy` says what a process may see and use; `fork` forks this process into it, and `run` runs
a command under it: a fresh Python forks, is confined and executes the command. Either gets mount,
PID, network, IPC and UTS namespaces and a user of its own: a read-only system, one private
writable folder, no home, no network and a clean environment, with bounded memory, processes, file
sizes, output and time; a key ring of its own, and a filter that refuses the system calls by which
walls are climbed or things kept that nobody counts. Nothing is needed for it but the kernel.

Where the host forbids namespaces both refuse, unless the environment variable
``CNNLAB_NO_SANDBOX=1`` says otherwise (which is warned about), or the caller of `run` does:
``isolation="preferred"`` is for a person's own code on their own account, which goes on without.
"""

import contextlib
import functools
import json
import marshal
import os
import selectors
import signal
import struct
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import MAGIC_NUMBER
from pathlib import Path

from cnnlab.sandbox import confine
from cnnlab.sandbox.confine import SandboxUnavailable, die_with_parent, fork

__all__ = [
    "Limits",
    "Outcome",
    "Policy",
    "SandboxUnavailable",
    "command",
    "die_with_parent",
    "fork",
    "run",
    "unavailable",
]


@dataclass(frozen=True)
class Limits:
    """What a process may use: seconds of wall time, and bytes of everything else.

    ``memory`` bounds the address space; None where a GPU driver reserves more than it uses.
    """

    seconds: float = 10.0
    memory: int | None = 4 << 30
    file_bytes: int = 64 << 20
    output_bytes: int = 1 << 20
    processes: int = 64
    open_files: int = 256


@dataclass(frozen=True)
class Policy:
    """What a process may see.

    Attributes
    ----------
    readable : paths that it may read, beyond the system's programs and libraries
    hidden : files and folders below the readable ones that it may not read
    writable : the one folder that it may write, its working directory; else none
    scratch : bytes, or None. Where given, the writable folder is a new one, in memory: with
        ``/tmp`` and ``/dev/shm`` it holds no more than that, and it ends with the process
    contents : the folder of which that new one begins as a copy
    devices : device nodes passed through, such as ``/dev/nvidia0``
    environment : the whole environment, beyond ``PATH``, ``HOME``, ``TMPDIR`` and ``LANG``
    network : whether it may reach one
    limits : see `Limits`
    """

    readable: Sequence[str | Path] = ()
    hidden: Sequence[str | Path] = ()
    writable: str | Path | None = None
    scratch: int | None = None
    contents: str | Path | None = None
    devices: Sequence[str | Path] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    network: bool = False
    limits: Limits = Limits()


@dataclass(frozen=True)
class Outcome:
    """How a process ended. ``stopped`` is ``"deadline"`` or ``"output"`` where we ended it."""

    returncode: int
    stdout: bytes
    stderr: bytes
    stopped: str | None
    seconds: float

    @property
    def signal(self) -> int | None:
        """The signal that ended it."""
        return -self.returncode if self.returncode < 0 else None


@functools.cache
def unavailable() -> str | None:
    """Why this host cannot confine a process, in words; None where it can."""
    if not sys.platform.startswith("linux"):
        return confine.NOT_LINUX
    try:
        _run(["true"], Policy(limits=Limits(seconds=20)), confined=True)
    except SandboxUnavailable as refusal:
        return refusal.reason
    return None


def _confined(isolation: str) -> bool:
    """Whether to use namespaces; raises or warns where they are required and not to be had."""
    if isolation not in ("required", "preferred"):
        raise ValueError(f"isolation must be 'required' or 'preferred', not {isolation!r}")
    reason = "CNNLAB_NO_SANDBOX is set" if confine.told_to_go_without() else unavailable()
    if reason is None or isolation == "preferred":
        return reason is None
    if not confine.told_to_go_without():
        raise SandboxUnavailable(reason)
    warnings.warn(f"running WITHOUT namespaces: {reason}", RuntimeWarning, stacklevel=4)
    return False


def command(
    argv: Sequence[str], policy: Policy, isolation: str = "required", *, tied: bool = True
) -> list[str]:
    """The command line that runs ``argv`` under ``policy`` (for a caller with its own Popen).

    With ``tied`` the process dies with the *thread* that starts it; one that is to live longer
    must notice for itself that nobody needs it any more.

    Raises
    ------
    SandboxUnavailable
        If the host forbids namespaces and ``isolation`` is ``"required"``.
    """
    return _command(argv, policy, _confined(isolation), tied)


def _command(argv, policy: Policy, confined: bool, tied: bool, problems: int = 2) -> list[str]:
    """`confine` as a program; it says on descriptor ``problems`` why it cannot."""
    asked = vars(policy) | {
        "limits": vars(policy.limits),
        "environment": dict(policy.environment),
        "readable": list(policy.readable),
        "hidden": list(policy.hidden),
        "devices": list(policy.devices),
    }
    told = {"policy": asked, "confined": confined, "tied": tied, "problems": problems}
    plain = json.loads(json.dumps(told, default=str))  # marshal is read without an import
    words = [sys.executable, "-I", "-S", _program(), marshal.dumps(plain).hex()]
    return [*words, *map(str, argv)]


@functools.cache
def _program() -> str:
    """`confine` as a file to run: compiled, where Python has kept it so and it has not changed."""
    source, kept = confine.__file__, confine.__spec__.cached or ""
    with contextlib.suppress(OSError):
        made, now = Path(kept).read_bytes()[:16], os.stat(source)
        if made == MAGIC_NUMBER + struct.pack("<3I", 0, int(now.st_mtime), now.st_size):
            return kept
    return source


def run(
    argv: Sequence[str],
    policy: Policy,
    *,
    stdin: bytes = b"",
    pass_fds: Sequence[int] = (),
    isolation: str = "required",
) -> Outcome:
    """Run a command under a policy, to its end or to its limits.

    Parameters
    ----------
    argv : the command; its program must lie in the system or in ``policy.readable``
    stdin : what it reads
    pass_fds : file descriptors that it inherits under the same numbers
    isolation : ``"required"``, or ``"preferred"`` to go on where there are no namespaces

    Raises
    ------
    SandboxUnavailable
        If the host forbids namespaces and ``isolation`` is ``"required"``.
    """
    return _run(argv, policy, stdin, pass_fds, confined=_confined(isolation))


def _run(argv, policy: Policy, stdin: bytes = b"", pass_fds=(), *, confined: bool) -> Outcome:
    began = time.monotonic()
    source, (heard, problems) = os.memfd_create("stdin"), os.pipe()
    try:
        os.write(source, stdin)
        os.lseek(source, 0, os.SEEK_SET)
        process = subprocess.Popen(
            _command(argv, policy, confined, tied=True, problems=problems),
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(*pass_fds, problems),
            env={},
            cwd=None if policy.scratch else policy.writable,
            start_new_session=True,
        )
    except BaseException:
        os.close(heard)
        raise
    finally:
        os.close(source)
        os.close(problems)
    taken = {process.stdout: bytearray(), process.stderr: bytearray()}
    stopped = None
    with process, selectors.DefaultSelector() as ready, open(heard, "rb") as told:
        for stream in taken:
            ready.register(stream, selectors.EVENT_READ)
        while ready.get_map() and not stopped:
            left = began + policy.limits.seconds - time.monotonic()
            for key, _ in ready.select(max(left, 0)):
                chunk = os.read(key.fd, 1 << 16)
                taken[key.fileobj] += chunk
                if not chunk:
                    ready.unregister(key.fileobj)
            if sum(map(len, taken.values())) > policy.limits.output_bytes:
                stopped = "output"
            elif left <= 0:
                stopped = "deadline"
        if not stopped:
            try:
                process.wait(max(began + policy.limits.seconds - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                stopped = "deadline"
        if stopped:  # the PID namespace, or else the process group, goes with it
            os.killpg(process.pid, signal.SIGKILL)
        if problem := told.read():
            raise SandboxUnavailable(problem.decode())
    out, err = (bytes(taken[s][: policy.limits.output_bytes]) for s in taken)
    return Outcome(process.returncode, out, err, stopped, time.monotonic() - began)
