"""Launching on the CPU: a sandboxed process runs the grid, the parent reads arrays and records."""

import contextlib
import fcntl
import json
import mmap
import os
import signal
from collections.abc import Sequence
from itertools import chain, combinations
from pathlib import Path

import numpy as np
import torch

from cnnlab import sandbox
from cnnlab.cuda import compiler
from cnnlab.cuda.evidence import bare_arrays, report_of, without_value
from cnnlab.cuda.launching import LaunchError, Part
from cnnlab.cuda.report import Report
from cnnlab.cuda.workers import LabFailed, Pool, Worker

__all__ = ["KernelFailed", "launch"]

_PAGE = mmap.PAGESIZE
_SAMPLED_BLOCKS = 5
_MAX_BLOCKS = (1 << 24) - 2
_MAX_ANSWER = 8 << 20  # bytes


class KernelFailed(RuntimeError):
    """This kernel cannot be run, for a reason that lies in it or in the launch."""


def _bytes(tensor: torch.Tensor) -> np.ndarray:
    return tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else np.empty(0, np.uint8)


def launch(kernel, launch, checked: bool, reverse: bool, timeout: float, isolation: str) -> Report:
    """Run a checked `Launch` of a `Kernel` on CPU tensors; see `Kernel.launch`."""
    if checked and launch.blocks > _MAX_BLOCKS:
        raise LaunchError(
            f"a checked run takes at most {_MAX_BLOCKS:,} blocks, the grid has "
            f"{launch.blocks:,}; mode='fast' takes any"
        )
    made = kernel.built("checked" if checked else "fast")
    buffer_words, buffers, size = [], [], 0

    def add(tensor: torch.Tensor, name: str, writable: bool) -> int:
        nonlocal size
        buffers.append((size, tensor, name, writable))
        offset, size = size, size + -(-max(tensor.nbytes, 1) // _PAGE) * _PAGE
        return offset

    guessed = set()  # tensors taken for outputs because they hold nothing but NaN
    together = _together(kernel.name, launch.tensors)  # the same tensor twice is one buffer
    for same in together:
        (p, a), fields = launch.tensors[same[0]][1:], [launch.tensors[i].field for i in same]
        name = "=".join(field.name.replace(" ", "_") for field in fields)
        writable = not all(field.const for field in fields)
        undefined = launch.outputs is not None and p.name in launch.outputs
        whole = undefined or (launch.outputs is None and writable)
        if launch.outputs is None and writable and len(same) == 1 and _all_nan(a):
            undefined = True
            guessed.add(name)
        shift = min(a.element_size(), 8).bit_length() - 1
        offset = add(a, name, writable)
        buffer_words.append(f"{name} {a.nbytes} {offset} {shift} {+(not undefined)} {+whole}")
    number = iter(sorted((i, n) for n, same in enumerate(together) for i in same))
    value_words = []
    for p, parts in zip(launch.parameters, launch.arguments, strict=True):
        places = [f"{part.at} {next(number)[1]}" for part in parts if part.tensor]
        value_words.append(" ".join([p.packed(parts).hex(), str(len(places)), *places]))
    constant_words = [
        f"{name} {value.nbytes} {add(value, '', True)}" for name, value in launch.constants.items()
    ]
    spec = [
        int(checked), int(reverse), int(timeout * 1000), _SAMPLED_BLOCKS,
        *launch.grid, *launch.block, launch.shared_bytes, kernel.dynamic or "-",
        *chain(*([len(words), *words] for words in (buffer_words, value_words, constant_words))),
    ]  # fmt: skip
    fd = os.memfd_create("cnnlab-cuda", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, max(size, _PAGE))
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        with mmap.mmap(fd, max(size, _PAGE)) as memory:

            def run(built: Path):
                for offset, tensor, _, _ in buffers:
                    data = _bytes(tensor)
                    np.frombuffer(memory, np.uint8, len(data), offset)[:] = data
                return _run(fd, spec, built, timeout, isolation)

            records, failure = run(made.path)
            unset = ()
            slow = any(r.get("finding") == "timeout" for r in records)
            found = any(r.get("finding", "unwritten") != "unwritten" for r in records)
            doubtful = made.suspects or (
                checked
                and not found
                and (
                    any(_strange(memory, *b) for b in buffers)
                    or bare_arrays(made.path, kernel.source)
                )
            )
            if doubtful and not failure and not slow:
                # A variable that may have no value: does another value make another result?
                results = memory[:]
                run(kernel.built("zero").path)
                if memory[:] != results:
                    run(made.path)  # and not each run, as where it asks for the time
                    if memory[:] == results:
                        unset = made.suspects or without_value(made.path, kernel.source)
                memory[:] = results
            for offset, tensor, _, writable in buffers:
                if writable:
                    data = _bytes(tensor)
                    data[:] = np.frombuffer(memory, np.uint8, len(data), offset)
    finally:
        os.close(fd)
    tensors = {name: tensor for _, tensor, name, _ in buffers}
    return report_of(
        kernel, launch, made, records, failure, tensors, guessed, unset, checked, timeout
    )


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


def _strange(memory, offset: int, before: torch.Tensor, name: str, writable: bool) -> bool:
    """Whether an array now holds what comes of the number that stands for "no value" (0xFE...)."""
    if not writable or before.dtype == torch.bfloat16 or before.element_size() < 2:
        return False
    kind = before.reshape(-1).numpy()
    now = np.frombuffer(memory, kind.dtype, kind.size, offset)
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


def _run(fd: int, spec: list, built: Path, timeout: float, isolation: str):
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
            words = "\n".join(map(str, spec)).encode()
            out, stopped = server(words, (fd, object_fd), 20 * timeout + 20, _MAX_ANSWER)
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
