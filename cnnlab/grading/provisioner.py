"""Jupyter kernels forked from a warm process, by Jupyter's own extension point.

``JUPYTER_DEFAULT_PROVISIONER_NAME=cnnlab-warm`` makes every Python kernel start in
milliseconds with torch imported: in nbgrader, nbclient, nbval, Validate and JupyterLab.
``cnnlab-sandbox`` confines it besides; grading uses that one.
"""

import asyncio
import os
import select
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from jupyter_client.provisioning import LocalProvisioner
from traitlets import Dict, List

from cnnlab import sandbox
from cnnlab.grading import zygote

__all__ = ["SandboxProvisioner", "WarmProvisioner"]


class _Forked:
    """A process that is no child of ours, with the interface of ``subprocess.Popen``."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, handle: int):
        self.pid, self._handle, self.returncode = pid, handle, None

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._handle], [], [], 0)[0]:
            self.returncode = 0  # how it ended is known to its parent alone
            os.close(self._handle)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            select.select([self._handle], [], [], timeout)
        return self.poll()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class WarmProvisioner(LocalProvisioner):
    """Forks the kernel from a process that has imported torch.

    A kernel of another interpreter or language is started as Jupyter would have started it.
    """

    _folder = None

    def _policy(self, cwd: str) -> sandbox.Policy | None:
        return None

    def _connection_folder(self, cwd: str) -> str:
        self._folder = tempfile.mkdtemp(prefix="cnnlab-", dir=zygote._short_folder())
        return self._folder

    async def pre_launch(self, **kwargs):
        manager = self.parent
        self._forks = _is_this_python(self.kernel_spec.argv)
        if self._forks and manager.transport == "tcp":
            folder = Path(self._connection_folder(kwargs.get("cwd") or os.getcwd()))
            manager.transport, manager.ip = "ipc", str(folder / "k")
            manager.connection_file = str(folder / "kernel.json")
        return await super().pre_launch(**kwargs)

    async def launch_kernel(self, cmd, **kwargs):
        if not self._forks:
            return await super().launch_kernel(cmd, **kwargs)
        cwd = os.path.abspath(kwargs.get("cwd") or os.getcwd())
        self.process = _Forked(
            *zygote.fork_kernel(
                cmd[cmd.index("ipykernel_launcher") + 1 :],
                dict(kwargs.get("env") or os.environ),
                cwd,
                self._policy(cwd),
            )
        )
        self.pid = self.pgid = self.process.pid
        self.cwd = cwd
        await self._until_it_listens()
        return self.connection_info

    async def _until_it_listens(self) -> None:
        """A client that connects too early waits a tenth of a second for its next try."""
        last = f"{self.connection_info['ip']}-{self.connection_info['control_port']}"
        for _ in range(6000):
            if os.path.exists(last) or self.process.poll() is not None:
                return
            await asyncio.sleep(0.005)

    async def wait(self) -> int | None:
        while self.process and self.process.poll() is None:
            await asyncio.sleep(0.005)
        self.process = None
        return 0

    async def cleanup(self, restart: bool = False) -> None:
        await super().cleanup(restart)
        if self._folder and not restart:
            shutil.rmtree(self._folder, ignore_errors=True)


class SandboxProvisioner(WarmProvisioner):
    """Forks the kernel into a sandbox whose writable folder is the kernel's ``cwd``.

    There its connection and the questions that it is asked lie in ``.cnnlab``.
    """

    limits = Dict(help="Fields of cnnlab.sandbox.Limits.").tag(config=True)
    devices = List(help="Device nodes that it may use.").tag(config=True)

    def _policy(self, cwd: str) -> sandbox.Policy:
        environment = {k: os.environ[k] for k in zygote.PASSED_ON if k in os.environ}
        environment |= {
            "PATH": os.pathsep.join([os.path.join(sys.prefix, "bin"), "/usr/bin", "/bin"]),
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "NBGRADER_EXECUTION": "autograde",
            "USER": "student",
        }
        package = Path(sandbox.__file__).parent / "assignments"
        answers = [package / "authoring.py", package / "__pycache__"]  # it knows the digits
        return sandbox.Policy(
            readable=zygote.readable(),
            hidden=list(map(str, answers)),
            writable=cwd,
            devices=list(self.devices),
            environment=environment,
            limits=sandbox.Limits(**self.limits),
        )

    def _connection_folder(self, cwd: str) -> str:
        folder = Path(cwd).resolve() / ".cnnlab"
        folder.mkdir(exist_ok=True)
        return str(folder)

    async def pre_launch(self, **kwargs):
        kwargs = await super().pre_launch(**kwargs)
        if not self._forks:
            raise RuntimeError(
                f"the kernel {self.kernel_spec.argv[0]} is not this Python: only that one can be "
                "confined"
            )
        return kwargs


def _is_this_python(argv: list[str]) -> bool:
    if "ipykernel_launcher" not in argv or not hasattr(os, "pidfd_open"):
        return False
    program = shutil.which(argv[0]) or argv[0]
    here = Path(sys.executable)
    return argv[0] in ("python", "python3", here.name) or Path(program).parent == here.parent
