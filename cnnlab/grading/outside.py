"""An nbgrader preprocessor that runs a student's cells and judges the tasks from outside.

The graded cells are not executed. In the place of each, the student's kernel, forked into a
sandbox, gets the questions as a file of plain arrays, over a socket; its answers come back in
another such file, which lies in no folder, and this process judges them and writes score and
feedback into the cell, where nbgrader's ``SaveAutoGrades`` finds them.
"""

import contextlib
import fcntl
import functools
import hashlib
import hmac
import itertools
import json
import math
import os
import re
import secrets
import socket
import tempfile
import time
from asyncio import sleep
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from queue import Empty

import psutil
import torch
import zmq
from ipykernel.kernelspec import make_ipkernel_cmd
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.utils import ensure_async, run_sync
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode, from_dict
from nbgrader.preprocessors import Execute
from nbgrader.utils import determine_grade, is_grade, is_solution, is_task
from traitlets import Bool, Integer, Unicode

from cnnlab.answers import wire
from cnnlab.assignments import load_tasks
from cnnlab.assignments.reading import MAX_NODES, plain_python
from cnnlab.assignments.variant import variant_of
from cnnlab.checks import CannotJudge, Case, Task, Verdict, judge, seed_for
from cnnlab.grading import intake, pages, tampering, zygote
from cnnlab.grading.doubts import definitions, doubt
from cnnlab.grading.key import course_key
from cnnlab.grading.leaderboard import chart, frontier

__all__ = ["JudgeOutside", "prepare", "task_of"]

MIB = 1 << 20
FLOOD = 50 * MIB  # of messages: nobody reads that, the cell is stopped
MESSAGE = 20 * MIB  # what one of them may hold
KEPT = 20 * MIB  # of a notebook's output
NO_FIGURES = "--InlineBackend.figure_formats=set()"
SEALED = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK


class JudgeOutside(Execute):
    """Executes what a student wrote, and judges what a task asks."""

    course = Unicode(".", help="The course's folder, which holds its key.").tag(config=True)
    key: bytes | None = None  # given where there is no such folder
    tasks: dict[str, Task] | None = None  # likewise
    notebook_seconds = Integer(300, help="All cells and answers together.").tag(config=True)
    memory_mib = Integer(4096, help="What a kernel's processes may allocate.").tag(config=True)
    disk_mib = Integer(256, help="What they may write.").tag(config=True)
    processes = Integer(64, help="How many processes and threads they may be.").tag(config=True)
    output_kib = Integer(1024, help="What is kept of a cell's output.").tag(config=True)
    gpu = Bool(False, help="Whether kernels may use NVIDIA's devices.").tag(config=True)
    figures = Bool(False, help="Draw also those that no marked answer follows.").tag(config=True)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.raise_on_iopub_timeout = False  # an endless loop must not cost the other parts
        self.shutdown_kernel = "immediate"
        self.record_timing = False  # nobody reads when each message came
        self.skip_cells_with_tag = "__never__"
        self.kernel_name = "python3"
        quick = {"bbox_inches": None, "dpi": 72, "pil_kwargs": {"compress_level": 1}}
        self.extra_arguments = [f"--InlineBackend.print_figure_kwargs={quick}"]

    def preprocess(self, nb, resources, *args, **kwargs):
        self.done: list[int] = []
        self.letters: list[int] = []  # files of answers: the kernel may keep and fill them
        self.written: dict = {}
        self.record = {"tasks": {}, "evidence": [], "seconds": {}, "timed_out": []}
        self.timed_out, self.killed_for, self.printed, self.kept = False, "", 0, 0
        self.student = resources.get("nbgrader", {}).get("student", "")
        held = hashlib.sha256("\0".join(cell.source for cell in nb.cells).encode())
        self.started = self.looked = time.monotonic()
        for index, cell in enumerate(nb.cells):
            if cell.cell_type == "code":
                found = tampering.signs(plain_python(cell.source))
                self.record["evidence"] += [f"cell {index}: {sign}" for sign in found]
        if not (self.figures or _marked_beside_code(nb.cells)):
            self.extra_arguments = [*self.extra_arguments, NO_FIGURES]
        metadata = resources.get("metadata", {})
        if self.tasks is None:
            source = self.config.CourseDirectory.get("source_directory", "source")
            folder = Path(source, resources["nbgrader"]["assignment"])
            self.tasks = load_tasks(folder, variant_of(nb))
        # Nothing but this process ever writes into it: the kernel works on a copy.
        with tempfile.TemporaryDirectory(prefix="n-", dir=zygote.folder()) as folder:
            for shown in intake.allowed_files(path)[0] if (path := metadata.get("path")) else ():
                copy = Path(folder, shown)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(content := intake.read_text(Path(path, shown)))
                held.update(hashlib.sha256(content).digest())
            self.digest = held.hexdigest()
            here = {**metadata, "path": folder}
            try:
                nb, _ = super().preprocess(nb, {**resources, "metadata": here}, *args, **kwargs)
            finally:
                for letter in self.letters:
                    os.close(letter)
        for cell in nb.cells:
            pages.make_inert(cell)
        resources["cnnlab"] = self.record
        return nb, resources

    # --- the kernel ---

    def create_kernel_manager(self):
        km = super().create_kernel_manager()
        km.context.setsockopt(zmq.MAXMSGSIZE, MESSAGE)
        km.context.setsockopt(zmq.RCVHWM, 50)
        limits = {
            "seconds": self.notebook_seconds,
            "memory": None if self.gpu else self.memory_mib * MIB,
            "file_bytes": self.disk_mib * MIB,
            "processes": self.processes,
        }
        told = {
            "limits": limits,
            "scratch": self.disk_mib * MIB,
            "devices": sorted(map(str, Path("/dev").glob("nvidia*"))) if self.gpu else [],
            "words": [w for w in zygote.LATER if any(w in cell.source for cell in self.nb.cells)],
        }
        # Nothing is looked up: it is a fork of this Python, whatever else is installed.
        provisioner = {"provisioner_name": "cnnlab-sandbox", "config": told}
        metadata = {"kernel_provisioner": provisioner}
        km._kernel_spec = KernelSpec(argv=make_ipkernel_cmd(), language="python", metadata=metadata)
        return km

    async def async_start_new_kernel_client(self):
        began = time.monotonic()
        self.kc = self.km.client()
        self.kc.session.unpack = _unpacked
        self.kc.start_channels()
        try:
            await self._until_ready()
        except BaseException:
            await self._async_cleanup_kernel()
            raise
        self.kc.allow_stdin = False
        self.usage = _memory(psutil.Process(self.km.provisioner.pid))
        spent = self.record["seconds"]
        spent["kernel"] = spent.get("kernel", 0) + time.monotonic() - began
        return self.kc

    async def _until_ready(self) -> None:
        """Until the kernel answers and what it says reaches us; nothing is waited for twice."""
        for _ in range(self.startup_timeout):
            request = self.kc.kernel_info()
            with contextlib.suppress(Empty):
                await ensure_async(self.kc.shell_channel.get_msg(timeout=1))
                while True:
                    message = await ensure_async(self.kc.iopub_channel.get_msg(timeout=0.2))
                    ours = message["parent_header"].get("msg_id") == request
                    if ours and message["content"].get("execution_state") == "idle":
                        return
            if not await ensure_async(self.km.is_alive()):
                break
        raise RuntimeError("the kernel did not start")

    start_new_kernel_client = run_sync(async_start_new_kernel_client)

    async def _async_poll_kernel_alive(self):
        """Ends the wait for a reply when the kernel has died, or has to; cells may be short."""
        while True:
            await sleep(max(self.looked + 0.5 - time.monotonic(), 0))
            if reason := self._too_much():
                self.killed_for = reason
                self.km.provisioner.process.kill()
            try:
                await self._async_check_alive()
            except DeadKernelError:
                self.task_poll_for_reply.cancel()
                return
            self.looked = time.monotonic()

    def _too_much(self) -> str:
        """What the kernel's processes use beyond the limits, in words."""
        try:
            kernel = psutil.Process(self.km.provisioner.pid)
            family = [kernel, *kernel.children(recursive=True)]
            grown = max(_memory(kernel) - self.usage, 0)
            grown += sum(map(self._childs, family[1:]))
        except psutil.Error:
            grown = 0  # it is ending
        grown += sum(512 * os.fstat(letter).st_blocks for letter in self.letters)
        if grown > self.memory_mib * MIB:
            return f"it used more than {self.memory_mib} MiB of memory"
        if self.printed > FLOOD:
            return f"it printed more than {FLOOD // MIB} MiB"
        return ""

    def _childs(self, process: psutil.Process) -> int:
        """Bytes of a child: what it shares with the kernel by parts, what it made its own whole."""
        try:
            return _memory(process, "smaps_rollup", "Pss|SwapPss")
        except PermissionError:
            return max(_memory(process) - self.usage, 0)

    def _get_timeout(self, cell):
        return max(min(self.timeout or math.inf, self._left()), 0.1)

    def _left(self) -> float:
        return self.started + self.notebook_seconds - time.monotonic()

    # What a kernel says is passed on by libraries, and may be forged: one message that nbclient
    # cannot take is one message less. It counts as printed, so there is an end to them.

    async def _async_poll_output_msg(self, *args):
        while True:
            try:
                return await super()._async_poll_output_msg(*args)
            except Exception:
                if self.printed > FLOOD:
                    raise
                self.printed += 1024

    async def _async_poll_for_reply(self, *args):
        while True:
            try:
                reply = await super()._async_poll_for_reply(*args)
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
                if self.printed > FLOOD:
                    raise
                self.printed += MIB
            else:
                told = reply["content"]
                reply["content"] = {"status": "ok"} | (told if isinstance(told, dict) else {})
                return reply

    def process_message(self, msg, cell, cell_index):
        """Keeps a bounded part of a cell's output, and of whatever else a kernel sends."""
        kind, content = msg["msg_type"], msg["content"]
        if kind not in ("status", "execute_input"):
            size = len(str(content)) + sum(map(len, msg.get("buffers", ())))
            before, self.printed = self.printed, self.printed + size
            self.kept += size
            if self.printed > self.output_kib * 1024 or self.kept > KEPT:
                if before > self.output_kib * 1024 or self.kept - size > KEPT:
                    return None
                note = f"[more than {self.output_kib} KiB of output: the rest is left out]\n"
                msg = {**msg, "msg_type": "stream", "content": {"name": "stdout", "text": note}}
                msg["header"] = {**msg["header"], "msg_type": "stream"}
        return super().process_message(msg, cell, cell_index)

    # --- the cells ---

    async def async_execute_cell(self, cell, cell_index, *args, **kwargs):
        task = task_of(cell, self.tasks)
        began = time.monotonic()
        if task is not None:
            self._show(cell, await self._judge(task, cell, cell_index))
        elif cell.cell_type == "code" and self._left() <= 0:
            self.record["timed_out"].append(f"cell {cell_index}")
            cell.outputs = [_error(f"Not run: the notebook took over {self.notebook_seconds} s.")]
        else:
            survived = await self._run(cell, cell_index)
            if survived and cell.cell_type == "code":
                self.done.append(cell_index)
                self.written |= _definitions(cell.source)
            if cell.cell_type == "code" and is_grade(cell) and not is_solution(cell):
                self._bound_score(cell)
        stage = "tasks" if task else "cells"
        spent = self.record["seconds"]
        spent[stage] = spent.get(stage, 0) + time.monotonic() - began
        if cell_index == len(self.nb.cells) - 1:
            await self._look_for_tampering()
        return cell

    # nbclient's blocking method is bound to its own coroutine, not to the one above.
    execute_cell = run_sync(async_execute_cell)

    def _show(self, cell: NotebookNode, verdict: Verdict) -> None:
        self.record["tasks"][verdict.task] = verdict.to_dict()
        cell.execution_count = None
        cell.outputs = [
            _output("stream", name="stdout", text=verdict.text() + "\n"),
            _result(repr(verdict.points)),
        ]
        if verdict.figures:  # their own place, beside what earns points
            task = self.tasks[verdict.task]
            up, right, *_ = verdict.figures
            steps = [(m[right], task.bands[p]) for p, m in task.limits.items() if right in m]
            own = {self.student: (verdict.figures[right], verdict.figures[up])}
            picture = chart(own, frontier(steps), (right, up), "what earns points")
            data = {"image/svg+xml": picture}
            cell.outputs.append(_output("display_data", data=data, metadata={}))

    def _bound_score(self, cell: NotebookNode) -> None:
        """A graded cell that is no task is scored by what it printed: make that a fair number."""
        name, maximum = cell.metadata.nbgrader.grade_id, float(cell.metadata.nbgrader.points)
        self.record["evidence"].append(f"{name} is no task: its own output says its score")
        failed = any(output.output_type == "error" for output in cell.outputs)
        results = [o for o in cell.outputs if o.output_type == "execute_result"]
        try:
            given = float(results[0].data["text/plain"]) if results else maximum
        except (KeyError, ValueError, TypeError):
            given = math.nan
        score = 0.0 if failed or not math.isfinite(given) else min(max(given, 0.0), maximum)
        if not failed and score != given:
            self.record["evidence"].append(f"{name} gave itself {given}; {score:g} was counted")
        for output in cell.outputs:
            if output.output_type == "error":
                output.traceback = [f"{output.ename}: {output.evalue}"]
        kept = [o for o in cell.outputs if o.output_type in ("stream", "error", "display_data")]
        for output in kept:
            if output.get("name") == "stderr":
                output.name = "stdout"  # nbgrader takes any warning for a failure
        cell.outputs = [*(o for o in kept if o.output_type != "error"), _result(repr(score))]
        cell.outputs += [
            _output("stream", name="stdout", text=o.traceback[0])
            for o in kept
            if o.output_type == "error"
        ]
        determine_grade(cell, self.log)

    def on_cell_executed(self, **kwargs):
        super().on_cell_executed(**kwargs)
        reply = kwargs["execute_reply"]["content"]
        self.timed_out = reply.get("ename") == self.error_on_timeout["ename"]

    async def _run(self, cell: NotebookNode, index: int, before=None, **how) -> bool:
        """Execute a cell; a kernel that dies or hangs in it is replaced. False: it was.

        A cell in which the kernel dies is tried again in a fresh one: what ended it may have been
        left behind by an earlier cell. ``before`` is called before each try.
        """
        self.timed_out = False
        for last in (False, True):
            try:
                if not await ensure_async(self.km.is_alive()):
                    if self.killed_for:  # just when the cell before had ended
                        self.record["evidence"].append(f"before cell {index}: {self.killed_for}")
                    await self._restart()
                self.killed_for, self.printed = "", 0
                if before is not None:
                    before()
                await super().async_execute_cell(cell, index, **how)
                break
            except DeadKernelError:
                reason = self.killed_for
                await self._restart()
                if reason or last:
                    self.killed_for = reason
                    reason = reason or "the kernel died"
                    self.record["evidence"].append(f"cell {index}: {reason}")
                    told = f"Stopped: {reason}. Grading goes on without this cell."
                    cell.outputs = [_error(told)]
                    return False
        if self.timed_out and before is None:
            self.record["timed_out"].append(f"cell {index}")
        if self.timed_out and not await self._responds():
            await self._restart()
            return False
        return True

    async def _correspond(self, source: str, questions: list, index: int) -> tuple:
        """Execute code, no cell of the notebook, that answers questions.

        Returns the executed cell, or None, and what reads the answers. The files of both lie in
        no folder; the student's processes hold them too, so what is read is read once.
        """
        cell, aside = self.nb.cells[index], _code(source)

        def send() -> None:
            flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
            asked, answers = (os.memfd_create(name, flags) for name in ("asked", "answers"))
            self.letters.append(answers)
            wire.send(os.dup(asked), questions)
            fcntl.fcntl(asked, fcntl.F_ADD_SEALS, SEALED)
            with contextlib.suppress(OSError):  # nobody takes it: there will be no answer
                socket.send_fds(self.km.provisioner.mail, [b"?"], [asked, answers])
            os.close(asked)

        try:
            survived = await self._run(aside, index, before=send, store_history=False)
            told = wire.receive(os.dup(self.letters[-1]))
        except wire.WireError as error:
            raised = [o for o in aside.outputs if o.output_type == "error"]
            told = _unusable(f"{raised[0].ename}: {raised[0].evalue}" if raised else str(error))
        finally:
            self.nb.cells[index] = cell  # nbclient has put the executed one there
        return (aside if survived else None), told

    # --- the questions ---

    async def _judge(self, task: Task, cell: NotebookNode, index: int) -> Verdict:
        if task.max_points != float(cell.metadata.nbgrader.points):
            raise ValueError(
                f"Task {task.id} is worth {task.max_points:g} points in tasks.py and "
                f"{cell.metadata.nbgrader.points:g} in the notebook: make the two agree."
            )
        key = self.key or course_key(self.course)
        task, cases = _questions(task, variant(task.id, key, self.student, self.digest), key)
        report = await self._ask(task, cases, index)
        if task.forbidden and task.entry not in self.written:
            self.record["evidence"].append(f"{task.id}: where is `{task.entry}` written?")
        try:
            verdict = judge(task, cases, report, reveal=False)
        except CannotJudge:
            raise
        except Exception as error:
            # The answer is of a form that the judge does not know: a person looks at it.
            what = f"{task.id} could not be judged ({type(error).__name__}: {error})"
            self.record["evidence"].append(what[:300])
            return judge(task, cases, _unusable("they cannot be judged"), reveal=False)
        if task.forbidden and verdict.points:
            found = doubt(task, report, self.written.get(task.entry))
            self.record["evidence"] += [f"{task.id}: {found}"] if found else []
        return verdict

    async def _ask(self, task: Task, cases: list, index: int) -> dict:
        """Have the student's kernel answer; what comes back is not trusted."""
        if self._left() <= 0:
            self.record["timed_out"].append(task.id)
            return _unusable(f"the notebook took longer than {self.notebook_seconds} s")
        call = f"answer_mail({task.kind!r}, {task.entry!r})"
        code = f"__import__('cnnlab.answers.mailbox', fromlist=['mailbox']).{call}"
        aside, answers = await self._correspond(code, task.questions(cases), index)
        if self.timed_out:
            self.record["timed_out"].append(task.id)
            return _unusable(f"they took longer than {self.timeout} s")
        if aside is None:
            how = f": {self.killed_for}" if self.killed_for else " while it computed them"
            return _unusable("the kernel died" + how)
        return answers

    async def _look_for_tampering(self) -> None:
        """Signs for a human: they change no verdict."""
        nonce = secrets.token_hex(8)
        with contextlib.suppress(Exception):
            code = tampering.probe(nonce)
            aside, told = await self._correspond(code, [], len(self.nb.cells) - 1)
            if aside is not None and not self.timed_out:
                self.record["evidence"] += tampering.read(told, aside.outputs, nonce)

    async def _responds(self) -> bool:
        """Whether the kernel takes requests again after it was interrupted."""
        try:
            await ensure_async(self.kc.kernel_info(reply=True, timeout=5))
        except Exception:
            return False
        return True

    async def _restart(self) -> None:
        """A fresh kernel in which the student's own cells have been run again."""
        timed_out, killed_for = self.timed_out, self.killed_for
        died = True
        while died:
            died = False
            self.kc.stop_channels()
            await ensure_async(self.km.restart_kernel(now=True))
            await self.async_start_new_kernel_client()
            for index in self.done[:]:
                if self._left() <= 0:
                    break
                cell = self.nb.cells[index]
                self.killed_for, self.printed = "", 0
                try:
                    await super().async_execute_cell(_code(cell.source), index)
                    await self._responds()
                    await self._async_check_alive()  # it may have begun what ends the kernel
                except DeadKernelError:
                    died = True
                    self.done.remove(index)
                    reason = self.killed_for or "the kernel died"
                    self.record["evidence"].append(f"cell {index}: {reason} the second time")
                    break
                finally:
                    self.nb.cells[index] = cell
        self.timed_out, self.killed_for = timed_out, killed_for


POOL = 8  # sets of questions for a task


def variant(task_id: str, key: bytes, student: str, digest: str) -> int:
    """Which of a task's sets of questions a submission is asked: another one when it changes."""
    drawn = hmac.digest(
        key, "\0".join((task_id, student, digest)).encode("utf-8", "replace"), "sha256"
    )
    return int.from_bytes(drawn[:8], "big") % POOL


def prepare(tasks: Iterable[Task], key: bytes) -> None:
    """Compute what answers are compared with, for the workers that this process forks."""
    torch.set_num_threads(1)  # a fork has none of its parent's other threads
    for task, number in itertools.product(tasks, range(POOL)):
        task, cases = _questions(task, number, key)
        if task.kind == "function":
            for answer in (task.reference, *(m.answer for m in task.misconceptions)):
                for case in cases:
                    with contextlib.suppress(Exception):  # a wrong answer may raise
                        task.expected([case], answer)


_asked: dict = {}


def _questions(task: Task, number: int, key: bytes) -> tuple[Task, list[Case]]:
    """One of a task's sets of questions, and the task with what its answers to them are remembered.

    Many of a class are asked the same questions, so a worker computes their answers once.
    """
    if (id(task), number, key) not in _asked:  # the task is kept, and so its id is its own
        _asked[id(task), number, key] = (task, *_remembered(task, number, key))
    return _asked[id(task), number, key][1:]


def _remembered(task: Task, number: int, key: bytes) -> tuple[Task, list[Case]]:
    cases = task.make_cases(seed_for(f"{task.id}/{number}", key))
    if task.kind == "function" and not task.compared:  # else inputs are made anew for gradients
        known = [replace(m, answer=_remembering(m.answer)) for m in task.misconceptions]
        task = replace(task, reference=_remembering(task.reference), misconceptions=tuple(known))
    return task, cases


def _remembering(answer: Callable) -> Callable:
    """``answer``, computed once for the same objects (which the cases keep alive)."""
    seen: dict = {}

    @functools.wraps(answer)
    def remembered(*args, **kwargs):
        asked = (*map(id, args), *((name, id(value)) for name, value in kwargs.items()))
        if asked not in seen:
            seen[asked] = answer(*args, **kwargs)
        return seen[asked]

    return remembered


def _unpacked(text: bytes):
    """A part of a message; of lists without end none is made."""
    if text.count(b"[") + text.count(b"{") > MAX_NODES:
        raise ValueError("a message of more lists than anybody reads")
    return json.loads(text.decode("utf-8", "replace"))


def _unusable(message: str) -> dict:
    return {"status": "unusable", "message": message}


# nbformat's own functions validate each, which takes longer than to judge an answer.


def _code(source: str) -> NotebookNode:
    return from_dict({"cell_type": "code", "source": source, "metadata": {}, "outputs": []})


def _output(kind: str, **content) -> NotebookNode:
    return from_dict({"output_type": kind, **content})


def _result(text: str) -> NotebookNode:
    return _output("execute_result", data={"text/plain": text}, metadata={}, execution_count=None)


def _error(message: str) -> NotebookNode:
    return _output("error", ename="Stopped", evalue=message, traceback=[message])


def task_of(cell: NotebookNode, tasks: dict[str, Task]) -> Task | None:
    """The task that a locked, graded cell stands for, if it is one."""
    if cell.cell_type != "code" or not is_grade(cell) or is_solution(cell):
        return None
    return tasks.get(cell.metadata.nbgrader.grade_id)


def _marked_beside_code(cells: Iterable[NotebookNode]) -> bool:
    """Whether a person marks an answer that is code, or has code between it and what counts before.

    Then they look at figures, too; else nobody does.
    """
    code = False
    for cell in cells:
        code |= cell.cell_type == "code"
        if code and (is_task(cell) or (is_grade(cell) and is_solution(cell))):
            return True
        code &= not is_grade(cell)
    return False


def _definitions(source: str) -> dict:
    """What a cell defines, by name; nothing where it is too long or too deep to be looked into."""
    try:
        return definitions(plain_python(source))
    except (RecursionError, MemoryError):
        return {}


def _memory(process: psutil.Process, told: str = "status", fields: str = "VmRSS|VmSwap") -> int:
    """Bytes that a process holds, in memory or swapped out; 0 where it has just ended."""
    try:
        text = Path(f"/proc/{process.pid}/{told}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 1024 * sum(int(kib) for kib in re.findall(rf"^(?:{fields}):\s*(\d+)", text, re.M))
