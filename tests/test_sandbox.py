"""The sandbox holds: no home, no network, no writing outside, bounded time, memory and output."""

import os
import signal

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


@pytest.mark.parametrize("how", ["told", "preferred"])
def test_it_goes_on_without_only_loudly(monkeypatch, how):
    monkeypatch.setattr(sandbox, "unavailable", lambda: "user namespaces are off")
    if how == "told":
        monkeypatch.setenv("CNNLAB_NO_SANDBOX", "1")
    else:
        monkeypatch.delenv("CNNLAB_NO_SANDBOX", raising=False)
    isolation = "required" if how == "told" else "preferred"
    with pytest.warns(RuntimeWarning, match="WITHOUT namespaces"):
        outcome = run(["sh", "-c", "ulimit -c"], Policy(), isolation=isolation)
    assert outcome.stdout == b"0\n"  # the limits hold all the same


def test_a_wrong_isolation_is_refused():
    with pytest.raises(ValueError, match="'required' or 'preferred', not 'none'"):
        run(["true"], Policy(), isolation="none")
