"""Running what we don't trust: one mechanism for students' C++ and for whole submissions.

A `Policy` says what a process may see and use; `run` runs a command under it and `fork` forks
this process into it. Both give the process its own mount, PID, network, IPC and UTS namespaces
and a user of its own: a read-only system, one private writable folder, no home, no network and a
clean environment, with bounded memory, processes, file sizes, output and time. `run` leaves the
namespaces to bubblewrap; `fork` uses the same kernel facilities without an ``exec``, so that a
process which has imported torch stays warm.

Where the host forbids namespaces, both refuse, unless the environment variable
``CNNLAB_NO_SANDBOX=1`` or the caller (``isolation="preferred"``, for a person's own code on
their own account) says otherwise; that is warned about.
"""

import ctypes
import fcntl
import functools
import os
import resource
import select
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "Limits",
    "Outcome",
    "Policy",
    "SandboxUnavailable",
    "command",
    "fork",
    "run",
    "unavailable",
]

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
    hidden : files and folders below the readable ones that it may not read
    writable : the one folder that it may write, its working directory; else none
    devices : device nodes passed through, such as ``/dev/nvidia0``
    environment : the whole environment, beyond ``PATH``, ``HOME``, ``TMPDIR`` and ``LANG``
    network : whether it may reach one
    limits : see `Limits`
    """

    readable: Sequence[str | Path] = ()
    hidden: Sequence[str | Path] = ()
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
    for path in policy.hidden:
        box += (
            ["--tmpfs", str(path)] if os.path.isdir(path) else ["--ro-bind", os.devnull, str(path)]
        )
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


# --- the same without an exec ---------------------------------------------------------------

_NEW = {"mount": 0x20000, "uts": 0x4000000, "ipc": 0x8000000, "pid": 0x20000000}
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_NOSUID, _NODEV, _NOEXEC, _BIND, _REC, _SLAVE = 2, 4, 8, 0x1000, 0x4000, 1 << 19
_DEVICES = ("null", "zero", "full", "random", "urandom")
_FIRST_UID = 1 << 30  # where no account of the host lies


def fork(policy: Policy) -> int:
    """Fork this single-threaded process; the child is confined by ``policy``.

    Like ``os.fork`` it returns 0 in the child and the child's PID in the caller. The caller
    has left its own namespaces then: let it do no more than wait for the child. If it dies,
    the child dies, and every process that the child has started.

    Raises
    ------
    SandboxUnavailable
        In the caller, if the child cannot be confined and ``CNNLAB_NO_SANDBOX`` is not set.
    """
    told = os.environ.get("CNNLAB_NO_SANDBOX", "") not in ("", "0")
    privileged = os.geteuid() == 0
    if not told:
        if not sys.platform.startswith("linux"):
            raise _refusal(f"namespaces are a facility of Linux, this is {sys.platform}")
        try:
            privileged = _unshare(privileged, policy.network)
        except OSError as error:
            raise _refusal(f"the kernel says: {error}") from None
    uid, (reads, writes) = _FIRST_UID + os.getpid(), os.pipe()
    if pid := os.fork():
        os.close(writes)
        with os.fdopen(reads) as pipe:
            problem = pipe.read()
        if problem:
            os.waitpid(pid, 0)
            raise _refusal(problem)
        return pid
    os.close(reads)
    try:
        os.setsid()
        if not told:
            _confine(policy, uid if privileged else None)
        # Not before: the kernel forgets it when a process changes its user.
        _libc("prctl", 1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG
        watched = select.poll()
        watched.register(writes, select.POLLERR)
        if watched.poll(0):  # the caller had died before that
            os._exit(1)
        for kind, bound in _limits(policy.limits).items():
            resource.setrlimit(kind, (bound, bound))
        os.environ.clear()
        os.environ.update(_environment(policy))
        if policy.writable:
            os.chdir(policy.writable)
    except BaseException as error:
        os.write(writes, (str(error) or type(error).__name__).encode()[:1000])
        os._exit(1)
    os.close(writes)
    return 0


def _refusal(reason: str) -> SandboxUnavailable:
    return SandboxUnavailable(
        f"refusing to run untrusted work without a sandbox: {reason}. Where that risk is "
        "accepted, set CNNLAB_NO_SANDBOX=1."
    )


def _libc(name: str, *args) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    args = [a.encode() if isinstance(a, str) else a for a in args]
    args = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in args]
    if getattr(libc, name)(*args) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{os.strerror(code)} ({name})")


def _unshare(privileged: bool, network: bool) -> bool:
    """New namespaces for this process; whether that went without a user namespace."""
    flags = sum(_NEW.values()) + (0 if network else _NEW_NET)
    if privileged:
        try:
            _libc("unshare", flags)
        except PermissionError:  # root in a container, perhaps
            pass
        else:
            return True
    uid, gid = os.geteuid(), os.getegid()
    _libc("unshare", flags | _NEW_USER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    return False


def _confine(policy: Policy, uid: int | None) -> None:
    """Give this first process of its PID namespace a root of its own, then no privilege."""
    root = Path("/tmp")  # covered by the new root; what is bound was opened before
    bound = [(path, True) for path in (*SYSTEM, *SYSTEM_FILES) if os.path.exists(path)]
    bound += [(path, True) for path in policy.readable]
    bound += [(path, False) for path in policy.devices]
    bound += [(policy.writable, False)] if policy.writable else []
    # A link into what is bound elsewhere (/bin -> usr/bin) stays a link.
    links = [path for path, _ in bound if path in SYSTEM and os.path.islink(path)]
    opened = [
        (os.open(path, os.O_PATH), str(path), fixed) for path, fixed in bound if path not in links
    ]
    devices = [(os.open(f"/dev/{name}", os.O_PATH), f"/dev/{name}") for name in _DEVICES]
    targets = {path: os.readlink(path) for path in links}

    _libc("mount", None, "/", None, _SLAVE | _REC, None)
    _libc("mount", "tmpfs", str(root), "tmpfs", _NOSUID | _NODEV, "mode=755,size=256m")
    for path, target in targets.items():
        (root / path[1:]).symlink_to(target)
    for handle, path, fixed in opened:
        _bind(handle, root / path[1:])
        _restrict(root / path[1:], read_only=fixed, devices=path in map(str, policy.devices))
    for path in map(str, policy.hidden):
        where = root / path[1:]
        if where.is_dir():
            _libc("mount", "tmpfs", str(where), "tmpfs", 1 | _NOSUID | _NODEV, "mode=555")
        elif where.exists():
            _bind(devices[0][0], where)
            _restrict(where, read_only=True, devices=False)  # so that opening it is refused
    for handle, path in devices:
        _bind(handle, root / path[1:])
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        (root / "dev" / name).symlink_to(f"/proc/self/fd/{number}")
    (root / "dev/fd").symlink_to("/proc/self/fd")
    for folder, kind in (("proc", "proc"), ("tmp", "tmpfs"), ("dev/shm", "tmpfs")):
        (root / folder).mkdir(parents=True, exist_ok=True)
        if folder == "tmp" and any(path.startswith("/tmp/") for _, path, _ in opened):
            (root / folder).chmod(0o1777)  # it holds the writable folder already
            continue
        options = "mode=1777,size=256m" if kind == "tmpfs" else None
        _libc("mount", kind, str(root / folder), kind, _NOSUID | _NODEV | _NOEXEC, options)

    if policy.writable and uid is not None:
        for folder, _, files in os.walk(policy_root := str(root) + str(policy.writable)):
            for path in (folder, *(os.path.join(folder, name) for name in files)):
                os.chown(path, uid, uid, follow_symlinks=False)
        os.chmod(policy_root, 0o700)
    (root / ".old").mkdir()
    _libc("pivot_root", str(root), str(root / ".old"))
    os.chdir("/")
    _libc("umount2", "/.old", 2)  # MNT_DETACH
    os.rmdir("/.old")
    socket.sethostname("sandbox")
    if not policy.network:
        with socket.socket() as any_socket:  # the loopback device is down in a new namespace
            fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
    for handle, *_ in (*opened, *devices):
        os.close(handle)

    for capability in range(41):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    _libc("capset", struct.pack("II", 0x20080522, 0), struct.pack("6I", *[0] * 6))
    _libc("prctl", 38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS


def _bind(handle: int, target: Path) -> None:
    source = f"/proc/self/fd/{handle}"
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.mkdir() if os.path.isdir(source) else target.touch()
    _libc("mount", source, str(target), None, _BIND | _REC, None)


def _restrict(target: Path, read_only: bool, devices: bool) -> None:
    """Of a bound tree, also where other file systems are mounted in it (mount_setattr)."""
    flags = _NOSUID | (1 if read_only else 0) | (0 if devices else _NODEV)
    attributes = struct.pack("4Q", flags, 0, 0, 0)
    _libc("syscall", 442, -100, str(target), 0x8000, attributes, 32)  # AT_FDCWD, AT_RECURSIVE
