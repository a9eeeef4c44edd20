"""Processes that outlive one request: kept while they answer, replaced when one does not."""

import atexit
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator

__all__ = ["LabFailed", "Pool"]


class LabFailed(RuntimeError):
    """The lab itself did not do its part: nothing is said about the kernel by it."""


class Pool:
    """Idle workers by kind. A worker has a ``process``, which leads a session of its own."""

    def __init__(self, start: Callable):
        self._start, self._lock = start, threading.Lock()
        self._idle: dict[tuple, list] = {}
        atexit.register(self._close)

    @contextlib.contextmanager
    def take(self, *kind: str) -> Iterator:
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
            kill(worker.process)
            raise
        if worker.process.poll() is None:
            with self._lock:
                waiting.append(worker)

    def _close(self) -> None:
        for (pid, *_), workers in self._idle.items():
            for worker in workers:
                if pid == os.getpid():
                    kill(worker.process)


def kill(process: subprocess.Popen) -> None:
    """End a process with all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
