"""One submission, judged: what a worker does, on this machine or on another.

A job and its result are plain dictionaries, so that they travel to any process. A worker is
trusted: it holds the judge and the key, and the student's kernel is a sandboxed child of it.
"""

import contextlib
import functools
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
from nbformat import NotebookNode
from nbgrader.utils import compute_checksum, determine_grade, is_grade, is_solution, is_task
from traitlets.config import Config
from traitlets.utils.importstring import import_item

from cnnlab import sandbox
from cnnlab.assignments import tasks_from
from cnnlab.checks import CannotJudge
from cnnlab.grading import intake, zygote
from cnnlab.grading.outside import JudgeOutside
from cnnlab.grading.similarity import fingerprints

__all__ = ["in_processes", "on_cluster", "work"]

TRIES = 2  # of a submission whose worker is lost; whatever else goes wrong would do so again


def work(job: dict) -> dict:
    """Judge a submission, and convert it to what nbgrader's ``autograded/`` holds.

    Parameters
    ----------
    job : dict
        ``student``; ``found``, the notebooks that were handed in; ``releases``, text by name;
        ``files``, bytes by path; ``key``; ``tasks``, arguments of `tasks_from`; ``limits``, traits
        of `JudgeOutside`; ``steps``, the preprocessors after it, with their configuration.

    Returns
    -------
    dict
        ``notebooks``, the judged ones by name; ``scores`` and ``comments`` by notebook and cell;
        ``prints``, by which copies are known; ``refused_files`` and ``report``. Or ``problem``, a
        sentence.
    """
    began, report = time.monotonic(), {"tasks": {}, "seconds": {}}
    report |= {key: [] for key in ("blank", "evidence", "repaired", "timed_out", "to_read")}
    found = {"notebooks": {}, "scores": {}, "comments": {}, "refused_files": [], "report": report}
    written = []
    with tempfile.TemporaryDirectory(prefix="s-", dir=zygote.folder()) as folder:
        for name, content in job["files"].items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        try:
            for name, text in job["releases"].items():
                release = _release(text)
                best = intake.choose(job["found"], name, release, found["refused_files"])
                if best is None:
                    continue  # nbgrader gives it no points
                if best.path != f"{name}.ipynb":
                    found["refused_files"].append(f"{best.path} is graded as {name}.ipynb")
                notebook = best.notebook or intake.parse_notebook(best.text, f"{name}.ipynb")
                report["repaired"] += intake.repair(notebook, release, report["to_read"])
                written += [cell.source for cell in notebook.cells if _is_students(cell)]
                judge = JudgeOutside(config=Config(JudgeOutside=job["limits"]))
                judge.key, judge.tasks = job["key"], tasks_from(*job["tasks"])
                whose = {"student": job["student"], "assignment": job["assignment"]}
                resources = {"metadata": {"path": folder}, "nbgrader": whose | {"notebook": name}}
                notebook, resources = judge.preprocess(notebook, resources)
                names, config = job["steps"]
                for step in names:
                    convert = import_item(step)(config=Config(config))
                    notebook, resources = convert.preprocess(notebook, resources)
                written_out = nbformat.v4.writes(notebook, indent=None)
                found["notebooks"][name] = written_out.encode("utf-8", "replace").decode()
                found["scores"][name], comments = _entries(notebook)
                found["comments"][name] = comments
                told = resources["cnnlab"]
                report["blank"] += [cell for cell, comment in comments.items() if comment]
                report["tasks"] |= told["tasks"]
                report["evidence"] += told["evidence"]
                report["timed_out"] += told["timed_out"]
                for stage, seconds in told["seconds"].items():
                    report["seconds"][stage] = report["seconds"].get(stage, 0) + seconds
        except intake.SetAside as reason:
            return found | {"problem": str(reason)}
        except CannotJudge as reason:
            return found | {"problem": f"This machine cannot judge it: {reason}."}
    if not found["notebooks"]:
        names = ", ".join(f"{name}.ipynb" for name in job["releases"])
        return found | {"problem": f"{names} is not there: ask for it again."}
    given = _prints(*job["releases"].values())
    report["seconds"]["total"] = time.monotonic() - began
    return found | {"prints": sorted(fingerprints("\n".join(written)) - given)}


@functools.cache
def _release(text: str) -> NotebookNode:
    return nbformat.v4.reads(text)


@functools.cache
def _prints(*releases: str) -> set[int]:
    """The numbers of what was handed out, by which it is told from what a student wrote."""
    cells = [cell for text in releases for cell in _release(text).cells]
    return fingerprints("\n".join(cell.source for cell in cells if _is_students(cell)))


def _is_students(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and not is_grade(cell)


def _entries(notebook: NotebookNode) -> tuple[dict[str, float | None], dict[str, str | None]]:
    """Scores and comments by cell, as nbgrader's ``SaveAutoGrades`` finds them."""
    scores, comments = {}, {}
    for cell in notebook.cells:
        told = cell.metadata.get("nbgrader", {})
        if is_grade(cell):
            scores[told["grade_id"]] = determine_grade(cell)[0]
        if is_task(cell):
            comments[told["grade_id"]] = None
        elif is_solution(cell):
            blank = told.get("checksum") == compute_checksum(cell)
            comments[told["grade_id"]] = "No response." if blank else None
    return scores, comments


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
                    if "problem" in job:
                        yield name, job
                        continue
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
                    result = {"problem": f"Its worker took longer than {seconds:.0f} s."}
                else:
                    continue
                busy[pipe] = (process, None, 0.0)
                if pipe not in ready or "fault" in result:
                    process.kill()
                    process.join()
                    pipe.close()
                    del busy[pipe]
                    hire()
                if fault := result.get("fault"):
                    tries[name] = tries.get(name, 0) + 1
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
        sandbox.die_with_parent()
    import torch

    torch.set_num_threads(1)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send(_attempt(job))


def _attempt(job: dict) -> dict:
    if "problem" in job:
        return job
    try:
        return work(job)
    except sandbox.SandboxUnavailable as error:
        return {"refused": str(error)}
    except Exception as error:
        reason = str(error).splitlines()[0][:300] if str(error) else ""
        return {"problem": f"Judging it failed with {type(error).__name__}: {reason}"}


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
                job = make(name)
                # What cannot be judged takes the same way as what can.
                future = client.submit(_attempt, job, pure=False, retries=TRIES)
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
