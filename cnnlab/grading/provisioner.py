"""Jupyter kernels forked from a warm process, by Jupyter's own extension point.

``JUPYTER_DEFAULT_PROVISIONER_NAME=cnnlab-warm`` makes every Python kernel start in
milliseconds with torch imported: in nbgrader, nbclient, nbval, Validate and JupyterLab.
``cnnlab-sandbox`` confines it besides; grading uses that one.
"""

import asyncio
import contextlib
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path

from jupyter_client.connect import port_names
from jupyter_client.provisioning import LocalProvisioner
from traitlets import Dict, Integer, List

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

    def _fork(self, arguments: list[str], environment: dict, cwd: str) -> tuple[int, int]:
        return zygote.fork_kernel(arguments, environment, cwd)

    async def pre_launch(self, **kwargs):
        manager = self.parent
        self._forks = _is_this_python(self.kernel_spec.argv)
        if self._forks and manager.transport == "tcp":
            self._folder = tempfile.mkdtemp(prefix="k-", dir=zygote.folder())
            folder = Path(self._folder)
            manager.transport, manager.ip = "ipc", str(folder / "k")
            manager.connection_file = str(folder / "kernel.json")
        return await super().pre_launch(**kwargs)

    async def launch_kernel(self, cmd, **kwargs):
        if not self._forks:
            return await super().launch_kernel(cmd, **kwargs)
        cwd = os.path.abspath(kwargs.get("cwd") or os.getcwd())
        arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]
        environment = dict(kwargs.get("env") or os.environ)
        self.process = _Forked(*self._fork(arguments, environment, cwd))
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

    async def kill(self, restart: bool = False) -> None:
        """Jupyter would look only after a tenth of a second whether it has ended."""
        await super().kill(restart)
        for _ in range(40):
            if self.process is None or self.process.poll() is not None:
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
    """Forks the kernel into a sandbox, where it works on a copy of ``cwd``, in memory.

    It shares no folder with us. Its sockets are bound here and handed over, and so is ``mail``,
    a socket over which it gets the questions that it is asked.
    """

    limits = Dict(help="Fields of cnnlab.sandbox.Limits.").tag(config=True)
    scratch = Integer(256 << 20, help="Bytes that it may write.").tag(config=True)
    devices = List(help="Device nodes that it may use.").tag(config=True)
    words = List(help="Those of zygote.LATER that its notebook has.").tag(config=True)
    mail: socket.socket | None = None

    def _policy(self, cwd: str) -> sandbox.Policy:
        environment = {"OMP_NUM_THREADS": "1"}  # each core has a submission of its own
        environment |= {k: os.environ[k] for k in zygote.PASSED_ON if k in os.environ}
        environment |= {
            "PATH": os.pathsep.join([os.path.join(sys.prefix, "bin"), "/usr/bin", "/bin"]),
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "NBGRADER_EXECUTION": "autograde",
            "USER": "student",
        }
        package = Path(sandbox.__file__).parents[1] / "assignments"
        answers = [package / "authoring.py", package / "__pycache__"]  # it knows the digits
        alone = os.environ.get("CNNLAB_NO_SANDBOX", "") not in ("", "0")
        return sandbox.Policy(
            readable=zygote.readable(),
            hidden=list(map(str, answers)),
            writable=cwd if alone else "/home/student",
            scratch=self.scratch,
            contents=cwd,
            devices=list(self.devices),
            environment=environment,
            limits=sandbox.Limits(**self.limits),
        )

    def _fork(self, arguments: list[str], environment: dict, cwd: str) -> tuple[int, int]:
        with contextlib.ExitStack() as ours:
            sockets = {}
            for name in port_names:
                path = f"{self.connection_info['ip']}-{self.connection_info[name]}"
                Path(path).unlink(missing_ok=True)  # of the kernel before
                sockets[f"ipc://{path}"] = bound = ours.enter_context(socket.socket(socket.AF_UNIX))
                bound.bind(path)
                bound.listen()
            self._hang_up()
            self.mail, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.mail.setblocking(False)
            ours.enter_context(theirs)
            connection = ours.enter_context(os.fdopen(os.memfd_create("connection"), "wb"))
            connection.write(Path(self.parent.connection_file).read_bytes())
            connection.flush()
            numbers = {address: bound.fileno() for address, bound in sockets.items()}
            return zygote.fork_kernel(
                arguments,
                environment,
                cwd,
                self._policy(cwd),
                numbers,
                [theirs.fileno(), connection.fileno()],
                self.words,
            )

    def _hang_up(self) -> None:
        if self.mail is not None:
            self.mail.close()

    async def cleanup(self, restart: bool = False) -> None:
        self._hang_up()
        await super().cleanup(restart)

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
