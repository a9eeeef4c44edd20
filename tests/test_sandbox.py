"""The sandbox holds: no home, no network, no writing outside, bounded time, memory and output."""

import os
import py_compile
import shutil
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from cnnlab import sandbox
from cnnlab.sandbox import Limits, Policy, SandboxUnavailable, run

needs_namespaces = pytest.mark.skipif(
    sandbox.unavailable() is not None, reason=f"no namespaces here: {sandbox.unavailable()}"
)


def shell(script: str, policy: Policy | None = None, **options):
    return run(["sh", "-c", script], policy or Policy(), **options)


@needs_namespaces
def test_it_runs_and_reports():
    outcome = shell("cat; echo oops >&2; exit 3", stdin=b"hello")
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (3, b"hello", b"oops\n")
    assert outcome.stopped is None and outcome.signal is None


@needs_namespaces
def test_a_large_stdin_arrives_whole():
    assert shell("wc -c", stdin=b"x" * 3_000_000).stdout.strip() == b"3000000"


@needs_namespaces
def test_a_signal_is_seen():
    assert shell("kill -SEGV $$").signal == signal.SIGSEGV


@needs_namespaces
@pytest.mark.parametrize(
    "script",
    [
        "ls /root /home",
        "cat /etc/passwd",
        "touch /usr/bin/x",
        "touch /x",
        "mount -t tmpfs none /mnt",
        "cat < /dev/tcp/127.0.0.1/80",
        "python3 -c 'import socket; socket.create_connection((\"1.1.1.1\", 80), 2)'",
    ],
)
def test_it_cannot(script):
    assert run(["bash", "-c", script], Policy()).returncode != 0


@needs_namespaces
def test_other_processes_are_not_to_be_seen():
    numbers = shell("ls /proc | grep -E '^[0-9]+$' | wc -l").stdout
    assert int(numbers) < 10
    assert str(os.getpid()) != shell("echo $PPID").stdout.decode().strip()


@needs_namespaces
def test_the_environment_is_clean(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    outcome = shell("env", Policy(environment={"WANTED": "1"}))
    assert b"hunter2" not in outcome.stdout and b"WANTED=1" in outcome.stdout


@needs_namespaces
def test_one_folder_is_writable_and_another_readable(tmp_path):
    private, given = tmp_path / "private", tmp_path / "given"
    private.mkdir(), given.mkdir()
    (given / "data").write_text("42")
    policy = Policy(readable=[given], writable=private)
    assert shell(f"cat {given}/data > answer && pwd", policy).stdout.decode().strip() == str(
        private
    )
    assert (private / "answer").read_text() == "42"
    assert shell(f"echo x > {given}/data", policy).returncode != 0
    assert shell("ls ..", policy).stdout.split() == [b"given", b"private"]


@needs_namespaces
def test_time_is_bounded_also_for_grandchildren():
    outcome = shell(
        "(sleep 60; echo late) & while :; do :; done", Policy(limits=Limits(seconds=0.5))
    )
    assert outcome.stopped == "deadline" and outcome.seconds < 10


@needs_namespaces
def test_a_daemon_dies_with_its_parent(tmp_path):
    shell("setsid sh -c 'sleep 1; touch alive' & exit 0", Policy(writable=tmp_path))
    signal.sigtimedwait([], 1.5)
    assert not (tmp_path / "alive").exists()


@needs_namespaces
def test_output_is_bounded():
    outcome = run(["yes"], Policy(limits=Limits(output_bytes=10_000)))
    assert outcome.stopped == "output" and len(outcome.stdout) <= 10_000


@needs_namespaces
def test_memory_and_files_are_bounded(tmp_path):
    limits = Limits(memory=200 << 20, file_bytes=1 << 20)
    hog = run(["python3", "-c", "b'x' * (1 << 30)"], Policy(limits=limits))
    assert hog.returncode != 0 and b"MemoryError" in hog.stderr
    run(
        ["dd", "if=/dev/zero", "of=big", "bs=1M", "count=8"],
        Policy(writable=tmp_path, limits=limits),
    )
    assert (tmp_path / "big").stat().st_size <= 1 << 20


def test_it_refuses_where_there_are_no_namespaces(monkeypatch):
    monkeypatch.setattr(sandbox, "unavailable", lambda: "user namespaces are off")
    monkeypatch.delenv("CNNLAB_NO_SANDBOX", raising=False)
    with pytest.raises(SandboxUnavailable, match=r"user namespaces are off.*CNNLAB_NO_SANDBOX=1"):
        run(["true"], Policy())


def test_told_to_it_goes_on_without_and_says_so(monkeypatch):
    monkeypatch.setenv("CNNLAB_NO_SANDBOX", "1")
    with pytest.warns(RuntimeWarning, match="WITHOUT namespaces"):
        outcome = run(["sh", "-c", "ulimit -c"], Policy())
    assert outcome.stdout == b"0\n"  # the limits hold all the same


def test_ones_own_code_runs_without_a_word_where_there_are_no_namespaces(monkeypatch):
    monkeypatch.setattr(sandbox, "unavailable", lambda: "user namespaces are off")
    monkeypatch.delenv("CNNLAB_NO_SANDBOX", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = run(["sh", "-c", "ulimit -c; kill -9 $$"], Policy(), isolation="preferred")
    assert (outcome.stdout, outcome.signal) == (b"0\n", signal.SIGKILL)


@needs_namespaces
def test_a_box_that_is_not_made_is_not_the_commands_failure(tmp_path):
    with pytest.raises(SandboxUnavailable, match="No such file or directory: '.*/gone'"):
        run(["true"], Policy(readable=[tmp_path / "gone"]))
    assert run(["gone"], Policy()).stderr == b"gone: No such file or directory\n"


@needs_namespaces
@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ("touch /x", 1, "Read-only"),
        ("touch /usr/x", 1, "Read-only"),
        ("ls /root /home", 2, "cannot access"),
        ("mount -t tmpfs none /mnt", 32, "mount"),
        ("echo 1 > a && cat a >&2", 0, "1"),
    ],
)
def test_it_holds_in_a_user_namespace_too(tmp_path, words, status, says):
    """What an account without privileges gets: there the box's root belongs to that account."""
    script = (
        "import os, sys\n"
        "from cnnlab.sandbox import Policy, confine, fork\n"
        "real = confine._unshare\n"
        "confine._unshare = lambda privileged, network: real(False, network)\n"
        "if pid := fork(Policy(writable=sys.argv[1])):\n"
        "    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
        "os.execv('/bin/sh', ['sh', '-c', sys.argv[2]])\n"
    )
    words = [sys.executable, "-c", script, str(tmp_path), words]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == status and says in done.stderr, done


def test_a_wrong_isolation_is_refused():
    with pytest.raises(ValueError, match="'required' or 'preferred', not 'none'"):
        run(["true"], Policy(), isolation="none")


CALLS = """
import ctypes, os, pty, socket, subprocess, threading
libc = ctypes.CDLL(None, use_errno=True)
def refused(*call):
    return libc.syscall(*call) == -1 and ctypes.get_errno() in (1, 38)
numbers = {"x86_64": (272, 165, 250, 101, 319, 425, 321, 323, 29, 64, 206, 103),
           "aarch64": (97, 40, 219, 117, 279, 425, 280, 282, 194, 190, 0, 116)}[os.uname().machine]
print([refused(number, 0, 0, 0, 0, 0) for number in numbers])
for family, kind in ((socket.AF_NETLINK, socket.SOCK_RAW), (38, 5), (40, 1)):  # ALG, VSOCK
    try: socket.socket(family, kind); print("open")
    except OSError: print("closed")
socket.socketpair(); socket.socket(socket.AF_INET6)
os.close(pty.openpty()[0])
thread = threading.Thread(target=len, args=("",)); thread.start(); thread.join()
print(subprocess.run(["echo", "fine"], capture_output=True).stdout)
"""


def test_system_calls_that_climb_walls_are_refused_and_others_are_not():
    here = Policy(readable=[sys.prefix, sys.base_prefix])
    done = run([sys.executable, "-c", CALLS], here)
    lines = done.stdout.decode().splitlines()
    assert lines == [str([True] * 12), "closed", "closed", "closed", "b'fine\\n'"], done.stderr


FILL = """
import os
print(sorted(os.listdir()), open("deep/er/a.txt").read())
held, total = [], 0
for folder in (".", "/tmp", "/dev/shm"):
    try:
        while True:
            held.append(open(f"{folder}/f{len(held)}", "wb", buffering=0))
            os.unlink(held[-1].name)
            while n := held[-1].write(b"1" * (1 << 20)): total += n
    except OSError: pass
print(total >> 20)
"""


def test_a_folder_in_memory_is_a_copy_and_bounds_all_that_is_written(tmp_path):
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/a.txt").write_text("given")
    policy = Policy(
        readable=[sys.prefix, sys.base_prefix],
        writable="/home/student",
        scratch=32 << 20,
        contents=tmp_path,
        limits=Limits(file_bytes=8 << 20),
    )
    done = run([sys.executable, "-c", FILL], policy)
    first, total = done.stdout.decode().splitlines()
    assert first == "['deep'] given" and int(total) <= 32
    assert [p.name for p in tmp_path.rglob("*")] == ["deep", "er", "a.txt"]


def test_the_program_is_run_compiled_while_that_is_what_its_source_says(tmp_path, monkeypatch):
    source = tmp_path / "confine.py"
    shutil.copy(sandbox.confine.__file__, source)
    kept = py_compile.compile(str(source), str(tmp_path / "confine.pyc"))
    monkeypatch.setattr(sandbox.confine, "__file__", str(source))
    monkeypatch.setattr(sandbox.confine, "__spec__", SimpleNamespace(cached=kept))
    assert sandbox._program.__wrapped__() == kept
    with monkeypatch.context() as patched:
        patched.setattr(sandbox, "_program", lambda: kept)
        assert run(["echo", "it runs"], Policy(), isolation="preferred").stdout == b"it runs\n"
    source.write_text(f"{source.read_text()}# and more\n")
    assert sandbox._program.__wrapped__() == str(source)


@needs_namespaces
def test_commands_share_a_folder_while_files_come_and_go_in_it(tmp_path):
    here = Policy(writable=tmp_path, limits=Limits(seconds=20))
    churn = "until [ -e stop ]; do touch a b c d; rm a b c d; done"
    with ThreadPoolExecutor() as pool:
        busy = pool.submit(shell, churn, here)
        assert [shell("true", here).returncode for _ in range(25)] == [0] * 25
        shell("touch stop", here)
        assert busy.result().returncode == 0
