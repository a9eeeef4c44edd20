"""Programs in the sandbox that outlive one request: kept while they answer, replaced when not."""

import atexit
import contextlib
import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from cnnlab import sandbox

__all__ = ["LabFailed", "Pool", "Worker"]


class LabFailed(RuntimeError):
    """The lab itself did not do its part: nothing is said about the kernel by it."""


class Worker:
    """A program that says ``ready`` on its socket (stdin), then takes one request after another.

    A request is a message and some descriptors, the last of which the answer is written to.
    """

    def __init__(self, task: str, argv: Sequence[str], policy: sandbox.Policy, isolation: str):
        self._name = f"the process that {task}"
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, tempfile.TemporaryFile() as said:
            self.process = subprocess.Popen(
                sandbox.command(argv, policy, isolation, tied=False),
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env={"PATH": os.defpath},
                start_new_session=True,
            )
            theirs.close()
            ready = select.select([self._socket], [], [], 60)[0]
            if not ready or self._socket.recv(16) != b"ready":
                self.kill()
                said.seek(0)
                why = said.read(500).decode(errors="replace").strip()
                raise LabFailed(f"{self._name} did not start: {why or 'no word'}")

    def __call__(
        self, message: bytes, fds: Sequence[int], seconds: float, most: int
    ) -> tuple[bytes, str]:
        """The answer, and why it was stopped, if it was: ``"deadline"`` or ``"output"``."""
        answer, theirs = os.pipe()
        with os.fdopen(answer, "rb", buffering=0) as pipe:
            try:
                socket.send_fds(self._socket, [message], [*fds, theirs])
            except OSError as error:
                raise LabFailed(f"{self._name} is gone ({error})") from None
            finally:
                os.close(theirs)
            out, stopped, end = bytearray(), "", time.monotonic() + seconds
            while not stopped:
                left = end - time.monotonic()
                if not select.select([pipe], [], [], max(left, 0))[0]:
                    stopped = "deadline"
                elif chunk := pipe.read(1 << 16):
                    out += chunk
                    stopped = "output" if len(out) > most else ""
                else:
                    break
        if stopped:
            self.kill()
        return bytes(out), stopped

    def kill(self) -> None:
        """End the process with all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __del__(self):
        self._socket.close()


class Pool:
    """Idle workers by kind."""

    def __init__(self, start: Callable[..., Worker]):
        self._start, self._lock = start, threading.Lock()
        self._idle: dict[tuple, list[Worker]] = {}
        atexit.register(self._close)

    @contextlib.contextmanager
    def take(self, *kind: str) -> Iterator[Worker]:
        """A worker for one request; it goes back unless the block raises or kills it."""
        key = (os.getpid(), *kind)  # a forked Python makes its own
        with self._lock:
            waiting = self._idle.setdefault(key, [])
            worker = waiting.pop() if waiting else None
        if worker is None or worker.process.poll() is not None:
            worker = self._start(*kind)
        try:
            yield worker
        except BaseException:
            worker.kill()
            raise
        if worker.process.poll() is None:
            with self._lock:
                waiting.append(worker)

    def _close(self) -> None:
        for (pid, *_), workers in self._idle.items():
            for worker in workers:
                if pid == os.getpid():
                    worker.kill()
