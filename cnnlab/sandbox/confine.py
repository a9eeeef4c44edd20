"""How a process is confined: namespaces, a root of its own, limits, and no privilege.

`fork` forks this process into a `cnnlab.sandbox.Policy`. Run as a program, this file does the same
and then executes a command: it imports little, since that is most of what a short command costs.
"""

import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import warnings  # noqa: F401  (os.execvpe imports it, where no library is left to be read)
from types import SimpleNamespace

__all__ = ["SandboxUnavailable", "die_with_parent", "fork"]

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives")
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/localtime", "/etc/fonts")
NOT_LINUX = f"namespaces are a facility of Linux, this is {sys.platform}"


class SandboxUnavailable(RuntimeError):
    """This host cannot confine a process, for a ``reason``, and nobody said to go on without."""

    def __init__(self, reason: str):
        super().__init__(
            f"refusing to run untrusted work without a sandbox: {reason}. Where that risk is "
            "accepted, set CNNLAB_NO_SANDBOX=1."
        )
        self.reason = reason


def told_to_go_without() -> bool:
    return os.environ.get("CNNLAB_NO_SANDBOX", "") not in ("", "0")


def environment(policy) -> dict[str, str]:
    folder = str(policy.writable) if policy.writable else "/tmp"
    base = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": folder, "TMPDIR": folder}
    return base | {"LANG": "C.UTF-8"} | dict(policy.environment)


def _bound(limits) -> None:
    """Put limits on this process and those that it will start."""
    bounds = {
        resource.RLIMIT_CPU: int(limits.seconds) + 1,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NPROC: limits.processes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
    }
    if limits.memory is not None:
        bounds[resource.RLIMIT_AS] = limits.memory
    for kind, bound in bounds.items():
        resource.setrlimit(kind, (bound, bound))


_NEW = {"mount": 0x20000, "uts": 0x4000000, "ipc": 0x8000000, "pid": 0x20000000}
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8
_REMOUNT, _BIND, _REC, _SLAVE = 0x20, 0x1000, 0x4000, 1 << 19
_DEVICES = ("null", "zero", "full", "random", "urandom")
_FIRST_UID = 1 << 30  # where no account of the host lies


def fork(policy) -> int:
    """Fork this single-threaded process; the child is confined by ``policy``.

    Like ``os.fork`` it returns 0 in the child and the child's PID in the caller. The caller
    has left its own namespaces then: let it do no more than wait for the child. If it dies,
    the child dies, and every process that the child has started.

    Raises
    ------
    SandboxUnavailable
        In the caller, if the child cannot be confined and ``CNNLAB_NO_SANDBOX`` is not set.
    """
    bare, privileged = told_to_go_without(), os.geteuid() == 0
    if not bare:
        if not sys.platform.startswith("linux"):
            raise SandboxUnavailable(NOT_LINUX)
        try:
            privileged = _unshare(privileged, policy.network)
        except OSError as error:
            raise SandboxUnavailable(f"the kernel says: {error}") from None
    uid, (reads, writes) = _uid(policy), os.pipe()
    if pid := os.fork():
        os.close(writes)
        with os.fdopen(reads) as pipe:
            problem = pipe.read()
        if problem:
            os.waitpid(pid, 0)
            raise SandboxUnavailable(problem)
        return pid
    os.close(reads)
    try:
        os.setsid()
        if not bare:
            _confine(policy, uid if privileged else None)
        # Not before: the kernel forgets it when a process changes its user.
        die_with_parent()
        watched = select.poll()
        watched.register(writes, select.POLLERR)
        if watched.poll(0):  # the caller had died before that
            os._exit(1)
        _bound(policy.limits)
        os.environ.clear()
        os.environ.update(environment(policy))
        if policy.writable:
            os.chdir(policy.writable)
    except BaseException as error:
        os.write(writes, (str(error) or type(error).__name__).encode()[:1000])
        os._exit(1)
    os.close(writes)
    return 0


def _uid(policy) -> int:
    """A user that no account of the host is: one for each writable folder, else for each box."""
    mine = os.stat(policy.writable).st_ino if policy.writable else os.getpid()
    return _FIRST_UID + mine % _FIRST_UID


def die_with_parent() -> None:
    """The kernel kills this process when the thread that started it ends."""
    _libc("prctl", 1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG


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
    mapped = {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}
    for name, text in mapped.items():
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    return False


def _confine(policy, uid: int | None) -> None:
    """Give this first process of its PID namespace a root of its own, then no privilege."""
    root = "/tmp"  # covered by the new root; what is bound was opened before
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
    _libc("mount", "tmpfs", root, "tmpfs", _NOSUID | _NODEV, "mode=755,size=256m")
    for path, target in targets.items():
        os.symlink(target, root + path)
    for folder, kind in (("proc", "proc"), ("tmp", "tmpfs"), ("dev/shm", "tmpfs")):
        os.makedirs(f"{root}/{folder}")
        options = "mode=1777,size=256m" if kind == "tmpfs" else None
        _libc("mount", kind, f"{root}/{folder}", kind, _NOSUID | _NODEV | _NOEXEC, options)
    for handle, path, fixed in opened:
        _bind(handle, root + path)
        _restrict(root + path, read_only=fixed, devices=path in map(str, policy.devices))
    for path in map(str, policy.hidden):
        where = root + path
        if os.path.isdir(where):
            _libc("mount", "tmpfs", where, "tmpfs", _RDONLY | _NOSUID | _NODEV, "mode=555")
        elif os.path.exists(where):
            _bind(devices[0][0], where)
            _restrict(where, read_only=True, devices=False)  # so that opening it is refused
    for handle, path in devices:
        _bind(handle, root + path)
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        os.symlink(f"/proc/self/fd/{number}", f"{root}/dev/{name}")
    os.symlink("/proc/self/fd", f"{root}/dev/fd")

    if policy.writable and uid is not None:
        for folder, _, files in os.walk(policy_root := root + str(policy.writable)):
            for path in (folder, *(os.path.join(folder, name) for name in files)):
                os.chown(path, uid, uid, follow_symlinks=False)
        os.chmod(policy_root, 0o700)
    os.mkdir(f"{root}/.old")
    _libc("pivot_root", root, f"{root}/.old")
    os.chdir("/")
    _libc("umount2", "/.old", 2)  # MNT_DETACH
    os.rmdir("/.old")
    _libc("mount", None, "/", None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV, None)
    socket.sethostname("sandbox")
    if not policy.network:
        with socket.socket() as any_socket:  # the loopback device is down in a new namespace
            fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
    for handle, *_ in (*opened, *devices):
        os.close(handle)

    libc = ctypes.CDLL(None)
    for capability in range(41):
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    _libc("capset", struct.pack("II", 0x20080522, 0), struct.pack("6I", *[0] * 6))
    _libc("prctl", 38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS


def _bind(handle: int, target: str) -> None:
    source = f"/proc/self/fd/{handle}"
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not os.path.exists(target):
        os.mkdir(target) if os.path.isdir(source) else os.close(os.open(target, os.O_CREAT, 0o600))
    _libc("mount", source, target, None, _BIND | _REC, None)


def _restrict(target: str, read_only: bool, devices: bool) -> None:
    """Of a bound tree, also where other file systems are mounted in it (mount_setattr)."""
    flags = _NOSUID | (_RDONLY if read_only else 0) | (0 if devices else _NODEV)
    attributes = struct.pack("4Q", flags, 0, 0, 0)
    _libc("syscall", 442, -100, target, 0x8000, attributes, 32)  # AT_FDCWD, AT_RECURSIVE


# --- as a program -------------------------------------------------------------------------


def _main(told: str, argv: list[str]) -> None:
    """Become ``argv`` under the policy in ``told``, JSON of `cnnlab.sandbox.command`."""
    asked = json.loads(told)
    policy = SimpleNamespace(**asked["policy"])
    policy.limits = SimpleNamespace(**policy.limits)
    if asked["tied"] and sys.platform.startswith("linux"):
        die_with_parent()
    problems = asked["problems"]
    os.set_inheritable(problems, problems == 2)
    if not asked["confined"]:
        _bound(policy.limits)
        _execute(argv, policy)
    reads, writes = os.pipe()
    try:
        box = fork(policy)
    except SandboxUnavailable as problem:
        os.write(problems, problem.reason.encode())
        os._exit(125)
    if box == 0:
        # The first process of a PID namespace takes no signals: that one waits, and reaps.
        if not (child := os.fork()):
            _execute(argv, policy)
        while (ended := os.wait())[0] != child:
            pass
        os.write(writes, struct.pack("i", ended[1]))
        os._exit(0)
    os.close(writes)
    os.waitpid(box, 0)
    (status,) = struct.unpack("i", os.read(reads, 4) or struct.pack("i", signal.SIGKILL))
    if os.WIFSIGNALED(status):  # end as it ended
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


def _execute(argv: list[str], policy) -> None:
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python does
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvpe(argv[0], argv, environment(policy))
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        os._exit(127)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2:])
