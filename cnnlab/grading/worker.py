"""One submission, judged: what a worker does, on this machine or on another.

A job and its result are plain dictionaries, so that they travel to any process. A worker is
trusted: it holds the judge and the key, and the student's kernel is a sandboxed child of it.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import wait
from pathlib import Path

import nbformat
from traitlets.config import Config

from cnnlab import sandbox
from cnnlab.assignments import tasks_from
from cnnlab.grading import intake
from cnnlab.grading.outside import JudgeOutside

__all__ = ["in_processes", "on_cluster", "work"]

TRIES = 3  # of a submission whose worker fails; a student's fault is never tried again


def work(job: dict) -> dict:
    """Judge a submission.

    Parameters
    ----------
    job : dict
        ``student``; ``notebooks`` and ``releases``, text by name; ``files``, bytes by path;
        ``key``; ``tasks``, arguments of `tasks_from`; ``limits``, traits of `JudgeOutside`.

    Returns
    -------
    dict
        ``notebooks``, the judged ones by name, and ``report``; or ``problem``, a sentence.
    """
    report = {"tasks": {}, "evidence": [], "repaired": [], "seconds": {}}
    judged = {}
    with tempfile.TemporaryDirectory(prefix="cnnlab-") as folder:
        for name, content in job["files"].items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        try:
            for name, release in job["releases"].items():
                if (text := job["notebooks"].get(name)) is None:
                    continue  # nbgrader gives it no points
                notebook = intake.parse_notebook(text, f"{name}.ipynb")
                said = intake.repair(notebook, nbformat.v4.reads(release))
                report["repaired"] += said
                judge = JudgeOutside(config=Config(JudgeOutside=job["limits"]))
                judge.key, judge.tasks = job["key"], tasks_from(*job["tasks"])
                resources = {"metadata": {"path": folder}}
                notebook, resources = judge.preprocess(notebook, resources)
                judged[name] = json.dumps(notebook)
                found = resources["cnnlab"]
                report["tasks"] |= found["tasks"]
                report["evidence"] += found["evidence"]
                for stage, seconds in found["seconds"].items():
                    report["seconds"][stage] = report["seconds"].get(stage, 0) + seconds
        except intake.SetAside as reason:
            return {"problem": str(reason)}
    if not judged:
        names = ", ".join(f"{name}.ipynb" for name in job["releases"])
        return {"problem": f"{names} is not there: ask for it again.", "report": report}
    return {"notebooks": judged, "report": report}


def in_processes(
    names: Iterable[str], make: Callable[[str], dict], count: int, seconds: float
) -> Iterator[tuple[str, dict]]:
    """Judge submissions in ``count`` processes; yields results as they come.

    A process that dies or takes longer than ``seconds`` is replaced, and its submission tried
    again.
    """
    context = multiprocessing.get_context("fork")
    waiting, tries = deque(names), {}
    busy: dict = {}  # pipe: (process, submission or None, since)

    def hire() -> None:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, [ours, *busy]), daemon=True)
        process.start()
        theirs.close()
        busy[ours] = (process, None, 0.0)

    for _ in range(min(count, len(waiting))):
        hire()
    try:
        while waiting or any(name for _, name, _ in busy.values()):
            for pipe, (process, name, _) in list(busy.items()):
                if name is None and waiting:
                    name = waiting.popleft()
                    job = make(name)
                    busy[pipe] = (process, name, time.monotonic())
                    with contextlib.suppress(OSError):  # it has died: found below
                        pipe.send(job)
            ready = wait([pipe for pipe, (_, name, _) in busy.items() if name], timeout=1)
            for pipe, (process, name, since) in list(busy.items()):
                if pipe in ready:
                    try:
                        result = pipe.recv()
                    except (EOFError, OSError):
                        result = {"fault": "its worker died"}
                elif name and time.monotonic() - since > seconds:
                    result = {"fault": f"its worker took longer than {seconds:.0f} s"}
                else:
                    continue
                busy[pipe] = (process, None, 0.0)
                if fault := result.get("fault"):
                    tries[name] = tries.get(name, 0) + 1
                    process.kill()
                    process.join()
                    pipe.close()
                    del busy[pipe]
                    hire()
                    if tries[name] < TRIES:
                        waiting.append(name)
                        continue
                    result = {"problem": f"Tried {TRIES} times, and {fault}."}
                yield name, result
    finally:
        for pipe, (process, *_) in busy.items():
            process.kill()
            process.join()
            pipe.close()


def _serve(pipe, others: list) -> None:
    """A worker's life: it ends with the coordinator, also where that is killed."""
    for other in others:
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.path.exists("/proc/self"):
        sandbox._libc("prctl", 1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG
    import torch

    torch.set_num_threads(1)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send(_attempt(job))


def _attempt(job: dict) -> dict:
    try:
        return work(job)
    except sandbox.SandboxUnavailable as error:
        return {"refused": str(error)}
    except Exception as error:
        reason = str(error).splitlines()[0][:300] if str(error) else ""
        return {"fault": f"its worker failed with {type(error).__name__}: {reason}"}


def on_cluster(
    names: Iterable[str], make: Callable[[str], dict], address: str
) -> Iterator[tuple[str, dict]]:
    """The same on the workers of Dask's scheduler at ``address``.

    Raises
    ------
    OSError
        If the scheduler does not answer, or is lost.
    """
    try:
        import dask

        # Its own log would tell of a lost scheduler in tracebacks; we say it in a sentence.
        quiet = dict.fromkeys(("distributed", "distributed.client", "tornado"), "critical")
        with dask.config.set(logging=quiet):
            from distributed import Client, as_completed
    except ModuleNotFoundError:
        raise OSError("Dask is missing: install cnnlab with its extra `cluster`") from None
    waiting, tries = deque(names), {}
    try:
        client = Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise OSError(f"no scheduler answers at {address}: {error}") from None
    with client:
        if not (cores := sum(client.nthreads().values())):
            raise OSError(f"the scheduler at {address} has no workers")
        flying: dict = {}
        results = as_completed(loop=client.loop)

        def send() -> None:
            while waiting and len(flying) < 2 * cores:
                name = waiting.popleft()
                future = client.submit(_attempt, make(name), pure=False, retries=TRIES)
                flying[future.key] = name
                results.add(future)

        send()
        while flying:
            future = next(results)
            if client.status != "running":
                raise OSError(f"the scheduler at {address} was lost")
            name = flying.pop(future.key)
            if future.status == "finished":
                result = future.result()
            else:
                result = {"fault": f"its worker failed ({future.status})"}
            future.release()
            if fault := result.get("fault"):
                tries[name] = tries.get(name, 0) + 1
                if tries[name] < TRIES:
                    waiting.append(name)
                    send()
                    continue
                result = {"problem": f"Tried {TRIES} times, and {fault}."}
            yield name, result
            send()
