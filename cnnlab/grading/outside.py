"""An nbgrader preprocessor that runs a student's cells and judges the tasks from outside.

The graded cells are not executed. In the place of each, the student's kernel gets the
questions as a file of plain arrays, its answers come back the same way, and this process
judges them and writes score and feedback into the cell, where nbgrader's ``SaveAutoGrades``
finds them.
"""

import contextlib
import os
import resource
import subprocess
import tempfile
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager
from jupyter_client.utils import ensure_async, run_sync
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output
from nbgrader.preprocessors import Execute
from nbgrader.utils import is_grade, is_solution
from traitlets import Integer, Unicode

from cnnlab.checks import Task, Verdict, get_task, judge, seed_for, wire
from cnnlab.checks.source_rules import definitions

__all__ = ["JudgeOutside"]

# What a student's kernel sees of the environment: enough to compute, no token, no key.
PASSED_ON = (
    "CNNLAB_DEVICE", "CUDA_VISIBLE_DEVICES", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS", "PATH", "PYTHONPATH", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV",
)  # fmt: skip


class JudgeOutside(Execute):
    """Executes what a student wrote, and judges what a task asks."""

    key_file = Unicode(help="The file that holds the course's key.").tag(config=True)
    memory_mib = Integer(8192, help="Data a student's kernel may allocate, in MiB.").tag(
        config=True
    )
    file_mib = Integer(256, help="The largest file a student's kernel may write, in MiB.").tag(
        config=True
    )

    def preprocess(self, nb, resources, *args, **kwargs):
        self.done: list[int] = []
        self.written: dict = {}
        self.timed_out = False
        with tempfile.TemporaryDirectory(prefix="cnnlab-") as folder:
            self.folder = Path(folder)
            return super().preprocess(nb, resources, *args, **kwargs)

    async def async_start_new_kernel(self, **kwargs):
        env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        env |= {"IPYTHONDIR": str(self.folder / "ipython"), "NBGRADER_EXECUTION": "autograde"}
        await super().async_start_new_kernel(**kwargs, env=env, stderr=subprocess.DEVNULL)
        self._limit_kernel()

    def _limit_kernel(self) -> None:
        pid = getattr(self.km.provisioner, "pid", None)
        if pid and hasattr(resource, "prlimit"):
            mib = 2**20
            resource.prlimit(pid, resource.RLIMIT_DATA, (self.memory_mib * mib,) * 2)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (self.file_mib * mib,) * 2)
            resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))

    async def async_execute_cell(self, cell, cell_index, *args, **kwargs):
        task = _task_of(cell)
        if task is None:
            if await self._run(cell, cell_index) and cell.cell_type == "code":
                self.done.append(cell_index)
                self.written |= definitions(_plain_python(cell.source))
        else:
            verdict = await self._judge(task, cell, cell_index)
            cell.outputs = [
                new_output("stream", name="stdout", text=verdict.text() + "\n"),
                new_output(
                    "execute_result",
                    data={"text/plain": repr(verdict.points)},
                    execution_count=self.code_cells_executed,
                ),
            ]
        return cell

    # nbclient's blocking methods are bound to its own coroutines, not to the ones above.
    execute_cell = run_sync(async_execute_cell)
    start_new_kernel = run_sync(async_start_new_kernel)

    def on_cell_executed(self, **kwargs):
        super().on_cell_executed(**kwargs)
        reply = kwargs["execute_reply"]["content"]
        self.timed_out = reply.get("ename") == self.error_on_timeout["ename"]

    async def _run(self, cell: NotebookNode, index: int) -> bool:
        """Execute a cell; a kernel that dies or hangs in it is replaced. False: it was."""
        try:
            await super().async_execute_cell(cell, index)
        except DeadKernelError:
            message = "The kernel died in this cell; grading goes on without it."
            cell.outputs = [
                new_output("error", ename="DeadKernelError", evalue=message, traceback=[message])
            ]
            await self._restart()
            return False
        if self.timed_out and not await self._responds():
            await self._restart()
            return False
        return True

    async def _run_aside(self, source: str, index: int) -> bool:
        """Execute code that is no cell of the notebook, while it is at cell ``index``."""
        cell = self.nb.cells[index]
        try:
            return await self._run(new_code_cell(source), index)
        finally:
            self.nb.cells[index] = cell  # nbclient has put the executed one there

    async def _judge(self, task: Task, cell: NotebookNode, index: int) -> Verdict:
        if task.max_points != float(cell.metadata.nbgrader.points):
            raise ValueError(
                f"Task {task.id} is worth {task.max_points:g} points in cnnlab.checks and "
                f"{cell.metadata.nbgrader.points:g} in the notebook: make the two agree."
            )
        key = Path(self.key_file).read_text().strip().encode()
        cases = task.make_cases(seed_for(task.id, key))
        report = await self._ask(task, cases, index)
        return judge(task, cases, report, self.written.get, reveal=False)

    async def _ask(self, task: Task, cases: list, index: int) -> dict:
        """Have the student's kernel answer; what comes back is not trusted."""
        asked, answered = self.folder / f"{index}-questions.npz", self.folder / f"{index}.npz"
        wire.save(asked, task.questions(cases))
        call = (task.kind, task.entry, str(asked), str(answered))
        code = (
            "__import__('cnnlab.checks.runner', fromlist=['runner'])"
            f".answer_files({', '.join(map(repr, call))}, globals())"
        )
        survived = await self._run_aside(code, index)
        if self.timed_out:
            return {"status": "unusable", "message": f"they took longer than {self.timeout} s"}
        if not survived:
            return {"status": "unusable", "message": "the kernel died while it computed them"}
        try:
            report = wire.load(answered)
        except wire.WireError as error:
            report = {"status": "unusable", "message": str(error)}
        finally:
            for path in (asked, answered):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
        return report

    async def _responds(self) -> bool:
        """Whether the kernel takes requests again after it was interrupted."""
        try:
            await ensure_async(self.kc.kernel_info(reply=True, timeout=5))
        except Exception:
            return False
        return True

    async def _restart(self) -> None:
        """A fresh kernel in which the student's own cells have been run again."""
        timed_out = self.timed_out
        self.kc.stop_channels()
        await ensure_async(self.km.restart_kernel(now=True))
        self._limit_kernel()
        await self.async_start_new_kernel_client()
        for index in self.done:
            cell = self.nb.cells[index]
            with contextlib.suppress(DeadKernelError):
                await super().async_execute_cell(new_code_cell(cell.source), index)
            self.nb.cells[index] = cell
        self.timed_out = timed_out


def _task_of(cell: NotebookNode) -> Task | None:
    """The task that a locked, graded cell stands for, if it is one."""
    if cell.cell_type != "code" or not is_grade(cell) or is_solution(cell):
        return None
    try:
        return get_task(cell.metadata.nbgrader.grade_id)
    except KeyError:
        return None


def _plain_python(source: str) -> str:
    """A cell's source without IPython's magics, so that it can be parsed."""
    try:
        return TransformerManager().transform_cell(source)
    except Exception:
        return source
