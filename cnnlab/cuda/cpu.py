"""Launching on the CPU: a sandboxed process runs the grid, the parent reads arrays and records."""

import contextlib
import fcntl
import json
import mmap
import os
import signal
import struct
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from cnnlab import sandbox
from cnnlab.cuda import compiler
from cnnlab.cuda.launching import LaunchError, Part
from cnnlab.cuda.workers import LabFailed, Pool, Worker
from cnnlab.simulator.evidence import bare_arrays, report_of, without_value
from cnnlab.simulator.report import Report

__all__ = ["KernelFailed", "launch"]

_PAGE = mmap.PAGESIZE
_SAMPLED_BLOCKS = 5
_MAX_BLOCKS = (1 << 24) - 2
_MAX_ANSWER = 8 << 20  # bytes
# What the launcher reads: `Head` and `Buffer` in simulator/launcher/launcher.cpp.
_HEAD, _BUFFER = struct.Struct("<6IQ9I12x"), struct.Struct("<QQ3I4x")


class KernelFailed(RuntimeError):
    """This kernel cannot be run, for a reason that lies in it or in the launch."""


def _bytes(tensor: torch.Tensor) -> np.ndarray:
    return tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else np.empty(0, np.uint8)


class Buffer(NamedTuple):
    """A tensor, and its place in the memory that the launcher shares."""

    name: str
    tensor: torch.Tensor
    offset: int
    writable: bool
    guessed: bool = False  # it is taken for an output because it holds nothing but NaN

    @property
    def end(self) -> int:
        return self.offset + -(-max(self.tensor.nbytes, 1) // _PAGE) * _PAGE

    def there(self, memory) -> np.ndarray:
        """The tensor's bytes in that memory."""
        return np.frombuffer(memory, np.uint8, self.tensor.nbytes, self.offset)


def _packed(kernel, launch, checked: bool, reverse: bool, timeout: float):
    """The launch as the launcher reads it, and the buffers of its tensors."""
    buffers, rows, numbers, free = [], b"", {}, 0
    for same in _together(kernel.name, launch.tensors):  # one and the same tensor is one buffer
        numbers |= dict.fromkeys(same, len(buffers))
        fields, tensor = [launch.tensors[i].field for i in same], launch.tensors[same[0]].value
        writable = not all(field.const for field in fields)
        guessed = launch.outputs is None and writable and len(same) == 1 and _all_nan(tensor)
        undefined = guessed or fields[0].name in (launch.outputs or ())
        whole = undefined or (launch.outputs is None and writable)
        shift = min(tensor.element_size(), 8).bit_length() - 1
        rows += _BUFFER.pack(tensor.nbytes, free, shift, not undefined, whole)
        name = "=".join(field.name for field in fields)
        buffers.append(Buffer(name, tensor, free, writable, guessed))
        free = buffers[-1].end
    for name, tensor in launch.constants.items():
        rows += _BUFFER.pack(tensor.nbytes, free, 0, 0, 0)
        buffers.append(Buffer(name, tensor, free, True))
        free = buffers[-1].end
    block, places, pointers, number = b"", [], [], iter(sorted(numbers.items()))
    for p, parts in zip(launch.parameters, launch.arguments, strict=True):
        for part in parts:
            pointers += [len(block) + part.at, next(number)[1]] if part.tensor else []
        places.append(len(block))
        block += p.packed(parts)
        block += bytes(-len(block) % 16)
    head = _HEAD.pack(
        *launch.grid, *launch.block, int(timeout * 1000), checked, reverse, _SAMPLED_BLOCKS,
        launch.shared_bytes, len(block), len(buffers) - len(launch.constants),
        len(launch.constants), len(pointers) // 2, len(places),
    )  # fmt: skip
    lists = struct.pack(f"<{len(pointers) + len(places)}I", *pointers, *places)
    names = b"".join(name.encode() + b"\0" for name in launch.constants)
    return head + block + rows + lists + names, buffers


def launch(kernel, launch, checked: bool, reverse: bool, timeout: float, isolation: str) -> Report:
    """Run a checked `Launch` of a `Kernel` on CPU tensors; see `Kernel.launch`."""
    if checked and launch.blocks > _MAX_BLOCKS:
        raise LaunchError(
            f"a checked run takes at most {_MAX_BLOCKS:,} blocks, the grid has "
            f"{launch.blocks:,}; mode='fast' takes any"
        )
    made = kernel.built("checked" if checked else "fast")
    spec, buffers = _packed(kernel, launch, checked, reverse, timeout)
    size = max([_PAGE, *(b.end for b in buffers)])
    fd = os.memfd_create("cnnlab-cuda", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        with mmap.mmap(fd, size) as memory:

            def run(built: Path):
                for buffer in buffers:
                    buffer.there(memory)[:] = _bytes(buffer.tensor)
                return _run(fd, spec, built, timeout, isolation)

            records, failure = run(made.path)
            unset = ()
            slow = any(r.get("finding") == "timeout" for r in records)
            found = any(r.get("finding", "unwritten") != "unwritten" for r in records)
            clean = checked and not found
            doubtful = made.suspects or (clean and any(_strange(memory, b) for b in buffers))
            doubtful = doubtful or (clean and bare_arrays(made.path, kernel.source))
            if doubtful and not failure and not slow:
                # A variable that may have no value: does another value make another result?
                results = memory[:]
                run(kernel.built("zero").path)
                if memory[:] != results:
                    run(made.path)  # and not each run, as where it asks for the time
                    if memory[:] == results:
                        unset = made.suspects or without_value(made.path, kernel.source)
                memory[:] = results
            for buffer in buffers:
                if buffer.writable:
                    _bytes(buffer.tensor)[:] = buffer.there(memory)
    finally:
        os.close(fd)
    return report_of(kernel, launch, made, records, failure, buffers, unset, checked, timeout)


def _together(kernel: str, tensors: Sequence[Part]) -> list[list[int]]:
    """Positions of the tensors, those of one and the same in one list."""
    spans: dict[tuple[int, int], list[int]] = {}
    for i, (_, _, tensor) in enumerate(tensors):
        start = tensor.data_ptr() if tensor.nbytes else i
        spans.setdefault((start, start + tensor.nbytes), []).append(i)
    for ((a, end), (i, *_)), ((b, stop), (j, *_)) in combinations(spans.items(), 2):
        if a < stop and b < end:
            names = f"{tensors[i].field.name} and {tensors[j].field.name}"
            raise LaunchError(f"{kernel}: the tensors {names} overlap in part")
    return list(spans.values())


def _strange(memory, buffer: Buffer) -> bool:
    """Whether an array now holds what comes of the number that stands for "no value" (0xFE...)."""
    before = buffer.tensor
    if not buffer.writable or before.dtype == torch.bfloat16 or before.element_size() < 2:
        return False
    kind = before.reshape(-1).numpy()
    now = np.frombuffer(memory, kind.dtype, kind.size, buffer.offset)
    if before.is_floating_point():
        large = np.finfo(kind.dtype).max / 4
        return bool((~(np.abs(now) < large)).any())
    pattern = np.frombuffer(b"\xfe" * 8, kind.dtype, 1)[0]
    return bool((np.abs(now.astype(np.float64) - float(pattern)) < 1 << 20).any())


def _all_nan(tensor: torch.Tensor) -> bool:
    return bool(
        tensor.is_floating_point()
        and tensor.numel()
        and tensor.view(-1)[0].isnan()
        and tensor.isnan().all()
    )


def _server(isolation: str, program: str) -> Worker:
    """One launcher: one launch at a time, each in a process of its own."""
    limits = sandbox.Limits(seconds=1e6, memory=None, file_bytes=1 << 20)
    policy = sandbox.Policy(readable=[program], limits=limits)
    return Worker("runs kernels", [program], policy, isolation)


_servers = Pool(_server)


def _run(fd: int, spec: bytes, built: Path, timeout: float, isolation: str):
    """The launcher's records, and what ended the kernel's process, if it did not end by itself.

    Raises
    ------
    LabFailed
        Where the launcher did not do its part; that says nothing about the kernel.
    """
    object_fd = os.open(built, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # The launcher counts processor time; this is for a machine that gives it none.
        with _servers.take(isolation, str(compiler.launcher())) as server:
            out, stopped = server(spec, (fd, object_fd), 20 * timeout + 20, _MAX_ANSWER)
    finally:
        os.close(object_fd)
    records = []
    for line in out.splitlines():
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            records += [record] if isinstance(record, dict) else []
    for record in records:
        if "error" in record:
            raise (LabFailed if record.get("lab") else KernelFailed)(str(record["error"]))
    if any("done" in r for r in records) and not stopped:
        return records, None
    status = next((r["exit"] for r in records if isinstance(r.get("exit"), int)), None)
    if stopped == "output":
        return records, ("crash", "the kernel wrote more output than is allowed")
    if stopped == "deadline":
        raise LabFailed(f"the machine is too busy: the kernel did not get {timeout:g} s")
    if status is None or status == 256:
        raise LabFailed("the process that runs kernels ended without an answer")
    if status == -signal.SIGSYS:
        said = "the kernel asked the operating system for something (a system call)"
        return records, ("forbidden", said)
    if status == -signal.SIGKILL:
        raise LabFailed("the system ended the kernel's process: perhaps it has no memory left")
    if status < 0:
        return records, ("crash", f"the kernel's process died of signal {-status}")
    return records, ("forbidden", "the kernel's process ended by itself")
