"""Running what we don't trust: one mechanism for students' C++ and for whole submissions.

A `Policy` says what a process may see and use; `run` runs a command under it and `enter` puts
an already forked process under it. Both give the process its own user, mount, PID, network, IPC
and UTS namespaces: a read-only system, one private writable folder, no home, no network and a
clean environment, with bounded memory, processes, file sizes, output and time. `run` leaves the
namespaces to bubblewrap; `enter` uses the same kernel facilities without an ``exec``, so that a
process which has imported torch stays warm.

Where the host forbids namespaces, both refuse, unless the environment variable
``CNNLAB_NO_SANDBOX=1`` or the caller (``isolation="preferred"``, for a person's own code on
their own account) says otherwise; that is warned about.
"""

import functools
import os
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Limits", "Outcome", "Policy", "SandboxUnavailable", "command", "run", "unavailable"]

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives")
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/localtime", "/etc/fonts")


class SandboxUnavailable(RuntimeError):
    """This host cannot confine a process, and nobody has said to go on without."""


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
    writable : the one folder that it may write, its working directory; else none
    devices : device nodes passed through, such as ``/dev/nvidia0``
    environment : the whole environment, beyond ``PATH``, ``HOME``, ``TMPDIR`` and ``LANG``
    network : whether it may reach one
    limits : see `Limits`
    """

    readable: Sequence[str | Path] = ()
    writable: str | Path | None = None
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
        """The signal that ended it, also where bubblewrap passes it on as 128 + signal."""
        if self.returncode < 0:
            return -self.returncode
        return self.returncode - 128 if self.returncode > 128 else None


@functools.cache
def unavailable() -> str | None:
    """Why this host cannot confine a process, in words; None where it can."""
    if not sys.platform.startswith("linux"):
        return f"namespaces are a facility of Linux, this is {sys.platform}"
    if shutil.which("bwrap") is None:
        return "the program bwrap is not installed (package bubblewrap)"
    probe = subprocess.run(
        ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "--dev", "/dev", "true"],
        capture_output=True,
        text=True,
        timeout=20,
    )
    return None if probe.returncode == 0 else f"bwrap says: {probe.stderr.strip()}"


def _confined(isolation: str) -> bool:
    """Whether to use namespaces; raises or warns where they are wanted and not to be had."""
    if isolation not in ("required", "preferred"):
        raise ValueError(f"isolation must be 'required' or 'preferred', not {isolation!r}")
    told = os.environ.get("CNNLAB_NO_SANDBOX", "") not in ("", "0")
    reason = "CNNLAB_NO_SANDBOX is set" if told else unavailable()
    if reason is None:
        return True
    if isolation == "required" and not told:
        raise SandboxUnavailable(
            f"refusing to run untrusted work without a sandbox: {reason}. Where that risk is "
            "accepted, set CNNLAB_NO_SANDBOX=1."
        )
    warnings.warn(f"running WITHOUT namespaces: {reason}", RuntimeWarning, stacklevel=3)
    return False


def _environment(policy: Policy) -> dict[str, str]:
    folder = str(policy.writable) if policy.writable else "/tmp"
    base = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": folder, "TMPDIR": folder}
    return base | {"LANG": "C.UTF-8"} | dict(policy.environment)


def _limits(limits: Limits) -> dict[int, int]:
    bounds = {
        resource.RLIMIT_CPU: int(limits.seconds) + 1,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NPROC: limits.processes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
    }
    if limits.memory is not None:
        bounds[resource.RLIMIT_AS] = limits.memory
    return bounds


_PRLIMIT = {
    resource.RLIMIT_CPU: "cpu",
    resource.RLIMIT_FSIZE: "fsize",
    resource.RLIMIT_NPROC: "nproc",
    resource.RLIMIT_NOFILE: "nofile",
    resource.RLIMIT_CORE: "core",
    resource.RLIMIT_AS: "as",
}


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
    limit = ["prlimit", *(f"--{_PRLIMIT[k]}={v}" for k, v in _limits(policy.limits).items())]
    argv = [str(word) for word in argv]
    if not _confined(isolation):
        return [*limit, *argv]
    box = ["bwrap", "--unshare-all", "--new-session", "--cap-drop", "ALL"]
    box += ["--die-with-parent"] if tied else []
    box += ["--share-net"] if policy.network else []
    box += ["--uid", "65534", "--gid", "65534", "--hostname", "sandbox"]
    for path in SYSTEM:
        if os.path.islink(path):
            box += ["--symlink", os.readlink(path), path]
        else:
            box += ["--ro-bind-try", path, path]
    for path in SYSTEM_FILES:
        box += ["--ro-bind-try", path, path]
    box += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    for path in policy.readable:
        box += ["--ro-bind", str(path), str(path)]
    for path in policy.devices:
        box += ["--dev-bind", str(path), str(path)]
    if policy.writable:
        box += ["--bind", str(policy.writable), str(policy.writable)]
    box += ["--remount-ro", "/", "--chdir", str(policy.writable or "/")]
    return [*limit, *box, "--", *argv]


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
    isolation : ``"required"``, or ``"preferred"`` to go on, with a warning, without namespaces

    Raises
    ------
    SandboxUnavailable
        If the host forbids namespaces and ``isolation`` is ``"required"``.
    """
    began = time.monotonic()
    source = os.memfd_create("stdin")
    try:
        os.write(source, stdin)
        os.lseek(source, 0, os.SEEK_SET)
        process = subprocess.Popen(
            command(argv, policy, isolation),
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
            env=_environment(policy),
            cwd=policy.writable,
            start_new_session=True,
        )
    finally:
        os.close(source)
    taken = {process.stdout: bytearray(), process.stderr: bytearray()}
    stopped = None
    with process, selectors.DefaultSelector() as ready:
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
    out, err = (bytes(taken[s][: policy.limits.output_bytes]) for s in taken)
    return Outcome(process.returncode, out, err, stopped, time.monotonic() - began)
