"""Processes that compute together, started from anywhere: a script, a test, a notebook.

A notebook is the hard case. ``fork`` breaks a process that has used CUDA or threads, and
``spawn`` cannot import what a notebook's cell defines. So a function is written to a file, and
torch's own launcher, ``torchrun``, runs that file in fresh processes.
"""

import inspect
import os
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import torch

__all__ = ["launch"]

WORKER = """\
import datetime, os, sys
import torch, torch.distributed as dist
{source}
arguments = torch.load(sys.argv[1], weights_only=True)
on_gpu = {on_gpu}
if on_gpu:
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
dist.init_process_group("nccl" if on_gpu else "gloo", timeout=datetime.timedelta(seconds={timeout}))
try:
    result = {name}(**arguments)
    torch.save(result, os.path.join(sys.argv[2], f"{{dist.get_rank()}}.pt"))
    dist.barrier()  # leave together: the others may still be connecting
finally:
    dist.destroy_process_group()
"""


def launch(
    function: Callable,
    processes: int = 2,
    *,
    device: str | None = None,
    port: int | None = None,
    timeout: float = 600,
    **arguments,
) -> list:
    """Run a function in several processes that form a group, and collect what each returns.

    Within it ``torch.distributed`` is ready: gloo between CPU processes, NCCL between GPUs, one
    process each, whose device is already the current one. `cnnlab.training.fit` called there
    trains data-parallel.

    Parameters
    ----------
    function
        A function of a module, or one that a notebook's cell defines; the latter must import
        inside its body what it uses, because it runs in a file of its own.
    processes
        How many. On GPUs not more than there are.
    device
        ``"cpu"`` or ``"cuda"``; by default CUDA if there are enough GPUs.
    port
        Where the processes find each other; by default one that is free.
    timeout
        Seconds after which the processes are ended.
    **arguments
        Passed on: numbers, strings, tensors, and lists and dicts of them.

    Returns
    -------
    list
        What the function returned in each process, by rank: of the same types.

    Raises
    ------
    ValueError
        If the function cannot be written to a file, or there are too few GPUs.
    RuntimeError
        If the port is in use, a process fails (with its message), or the time is up.
    """
    if processes < 1:
        raise ValueError(f"processes {processes} is below 1")
    gpus = torch.cuda.device_count()
    on_gpu = gpus >= processes if device is None else device == "cuda"
    if on_gpu and gpus < processes:
        raise ValueError(f"{processes} processes need as many GPUs, there are {gpus}")
    if port is not None:
        _check_port(port)
    with tempfile.TemporaryDirectory(prefix="cnnlab-launch-") as folder:
        script, given = Path(folder) / "worker.py", Path(folder) / "arguments.pt"
        torch.save(arguments, given)
        script.write_text(
            WORKER.format(
                source=_source(function), name=function.__name__, on_gpu=on_gpu, timeout=timeout
            ),
            encoding="utf-8",
        )
        meeting = ["--standalone"] if port is None else [f"--master-port={port}"]
        meeting.append("--local-addr=127.0.0.1")  # else by this machine's name, if it can be found
        threads = max(1, (os.cpu_count() or 1) // processes)
        command = [sys.executable, "-m", "torch.distributed.run", *meeting]
        command += [f"--nproc-per-node={processes}", str(script), str(given), folder]
        environment = {"OMP_NUM_THREADS": str(threads), "TORCH_CPP_LOG_LEVEL": "ERROR"}
        environment |= {**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            printed, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise RuntimeError(
                f"{function.__name__} was not done after {timeout:g} s in {processes} processes"
            ) from None
        finally:  # also when a notebook's cell is interrupted
            if process.poll() is None:
                process.terminate()  # torchrun then ends its processes
                process.wait()
        if process.returncode:
            raise RuntimeError(f"{function.__name__} failed: {_reason(errors)}")
        print(printed, end="")
        return [
            torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(processes)
        ]


def _source(function: Callable) -> str:
    """Lines that define the function in a file."""
    if function.__module__ != "__main__" and "<locals>" not in function.__qualname__:
        return f"from {function.__module__} import {function.__qualname__}"
    try:
        if not function.__name__.isidentifier():  # a lambda
            raise TypeError
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        raise ValueError(
            f"the source of {function.__name__} is not to be had; define it with def in a cell "
            "or in a module"
        ) from None


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise RuntimeError(
                f"port {port} is in use; leave port out, and a free one is taken"
            ) from None


def _reason(errors: str) -> str:
    """The line of a traceback that says what went wrong in a process."""
    lines = [line.split("]: ", 1)[-1] for line in errors.splitlines()]
    started = False
    for line in lines:
        if "Traceback (most recent call last)" in line:
            started = True
        elif started and line and not line.startswith(" "):
            return line
    return errors.strip().splitlines()[-1] if errors.strip() else "no message"
