"""Launching on the CPU: a sandboxed process runs the grid, the parent reads arrays and records."""

import contextlib
import fcntl
import functools
import json
import math
import mmap
import os
import re
import signal
from pathlib import Path

import numpy as np
import torch

from cnnlab import sandbox
from cnnlab.cuda import compiler, debuginfo
from cnnlab.cuda.findings import Array, Counter, Finding, merge
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
    if checked and math.prod(launch.grid) > _MAX_BLOCKS:
        launch.refuse(
            f"a checked run takes at most {_MAX_BLOCKS:,} blocks, the grid has "
            f"{math.prod(launch.grid):,}; mode='fast' takes any"
        )
    made = kernel.built("checked" if checked else "fast")
    words, buffers, size = [], [], 0

    def add(tensor: torch.Tensor, name: str, writable: bool) -> int:
        nonlocal size
        buffers.append((size, tensor, name, writable))
        offset, size = size, size + -(-max(tensor.nbytes, 1) // _PAGE) * _PAGE
        return offset

    guessed = set()  # tensors taken for outputs because they hold nothing but NaN
    for i, (p, a) in enumerate(zip(launch.parameters, launch.arguments, strict=True)):
        if not isinstance(a, torch.Tensor):
            words.append(f"s {'00' * 8 if p.pointer else launch.scalar_bytes(i).hex()}")
            continue
        same = _same_memory(kernel.name, launch, i)
        if same[0] < i:  # the same tensor twice is one buffer, seen by both
            words.append(f"a {same[0]}")
            continue
        name = "=".join(launch.parameters[j].name.replace(" ", "_") for j in same)
        writable = any(not launch.parameters[j].const for j in same)
        undefined = i in launch.outputs
        if not undefined and writable and len(same) == 1 and _all_nan(a):
            undefined = True
            guessed.add(name)
        shift = min(a.element_size(), 8).bit_length() - 1
        offset = add(a, name, writable)
        words.append(f"b {name} {a.nbytes} {offset} {shift} {int(not undefined)} {int(writable)}")
    constant_words = [
        f"{name} {value.nbytes} {add(value, '', True)}" for name, value in launch.constants.items()
    ]
    spec = [
        int(checked), int(reverse), int(timeout * 1000), _SAMPLED_BLOCKS,
        *launch.grid, *launch.block, launch.shared_bytes, kernel.dynamic or "-",
        len(words), *words, len(constant_words), *constant_words,
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
            if made.suspects and not failure and not slow:
                # A variable that may have no value: does another value make another result?
                results = memory[:]
                run(kernel.built("zero").path)
                unset = made.suspects if memory[:] != results else ()
                memory[:] = results
            for offset, tensor, _, writable in buffers:
                if writable:
                    data = _bytes(tensor)
                    data[:] = np.frombuffer(memory, np.uint8, len(data), offset)
    finally:
        os.close(fd)
    tensors = {name: tensor for _, tensor, name, _ in buffers}
    report = _report(
        kernel, launch, made.path, checked, records, failure, tensors, guessed, timeout
    )
    report.findings[:0] = [
        Finding(kind="uninitialised", line=line, detail=name, raw="local", source=kernel.source)
        for line, name in unset
    ]
    return report


def _same_memory(kernel: str, launch, i: int) -> list[int]:
    """Positions of the arguments that are the very tensor of argument ``i``."""
    start, size = launch.arguments[i].data_ptr(), launch.arguments[i].nbytes
    same = []
    for j, other in enumerate(launch.arguments):
        if not isinstance(other, torch.Tensor) or not (size and other.nbytes):
            continue
        if (other.data_ptr(), other.nbytes) == (start, size):
            same.append(j)
        elif other.data_ptr() < start + size and start < other.data_ptr() + other.nbytes:
            a, b = launch.parameters[i].name, launch.parameters[j].name
            launch.refuse(f"{kernel}: the tensors {a} and {b} overlap in part")
    return same or [i]


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


def _lines(built: Path, addresses: set[int]) -> dict[int, int]:
    """Source lines of code addresses: the innermost one in the student's file."""
    if not addresses:
        return {}
    ordered = sorted(addresses)
    words = ["addr2line", "-e", built, "-a", "-i", *(hex(a) for a in ordered)]
    outcome = sandbox.run(words, sandbox.Policy(readable=[built]), isolation="preferred")
    lines, current = {}, None
    for text in outcome.stdout.decode(errors="replace").splitlines():
        if text.startswith("0x") and ":" not in text:
            current = int(text, 16)
        elif current is not None and (m := re.search(r"kernel\.cu:(\d+)", text)):
            lines.setdefault(current, int(m[1]))
    return lines


# ---- from records to findings -------------------------------------------------------------------


def _report(kernel, launch, built, checked, records, failure, tensors, guessed, timeout) -> Report:
    regions = {r["region"]: r for r in records if "region" in r and "name" in r}
    raw = [r for r in records if "finding" in r]
    if raw:  # an input that happens to be full of NaN: read, and never written
        unwritten = {
            r["region"] for r in regions.values() if r["name"] in guessed and not r["stores"]
        }
        raw = [r for r in raw if r["region"] not in unwritten or r["finding"] not in ("unwritten", "uninitialised")]  # fmt: skip  # noqa: E501
    declared = functools.cache(lambda: debuginfo.variables(built))
    lines = _lines(built, {r[k] - 1 for r in raw for k in ("pc", "other_pc") if r.get(k)})
    arrays = {}
    for r in regions.values():
        tensor = tensors.get(r["name"]) if r["argument"] else None
        shape, itemsize = (tuple(tensor.shape), tensor.element_size()) if tensor is not None else (None, None)  # fmt: skip  # noqa: E501
        if tensor is None and raw and (v := _declared(declared(), r)):
            shape, itemsize = v.shape or (1,), v.itemsize
        arrays[r["region"]] = Array(
            r["name"], r["space"], r["bytes"], shape, itemsize, bool(r["argument"]),
            r["loads"], r["stores"], r["load_bytes"], r["store_bytes"],
        )  # fmt: skip
    done = next((r for r in records if "done" in r), {})
    findings, notes = [], []
    for r in raw:
        kind, text = r["finding"], r.get("text", "")
        mask = sum(word << 64 * i for i, word in enumerate(r.get("threads") or []))
        first_pc = r.get("pc") or (r.get("other_pc") if kind == "index" else 0)
        line = r.get("line") or lines.get((first_pc or 0) - 1)
        array, wrong, write = arrays.get(r["region"]), None, bool(r.get("write"))
        if kind == "index":
            array, wrong, write = _refused(text, array, r, line, kernel.source, declared())
        if kind == "timeout":
            kind, text = _stopped(done, launch, timeout)
        findings.append(Finding(
            kind="out-of-bounds" if kind == "index" else kind,
            line=line,
            array=array,
            offset=r.get("index") if kind != "index" or r["region"] else None,
            size=r.get("size", 0),
            write=write,
            block=tuple(r["who"][0]) if "who" in r else None,
            thread=tuple(r["who"][1]) if "who" in r else None,
            other_block=tuple(r["other"][0]) if "other" in r else None,
            other_thread=tuple(r["other"][1]) if "other" in r else None,
            other_line=lines.get(r["other_pc"] - 1) if r.get("other_pc") and "other" in r else None,
            count=r["count"],
            total=r.get("of"),
            runs=tuple(map(tuple, r.get("runs", ()))),
            cell=r.get("cell", 1),
            threads=tuple(i for i in range(1024) if mask >> i & 1),
            block_shape=launch.block,
            launched=math.prod(launch.grid) * math.prod(launch.block),
            detail=text,
            raw=kind,
            wrong_index=wrong,
            reach=r.get("reach", 0),
            source=kernel.source,
        ))  # fmt: skip
    if failure:
        kind, text = failure
        findings.append(
            Finding(
                kind, detail=text, block_shape=launch.block, source=kernel.source, raw="failure"
            )
        )
    merged = []
    for f in merge(findings):
        if f.same_value and f.write and f.detail == "write" and _is_flag(f):
            notes.append(
                f"line {f.line}: {f.count + 1:,} stores set {f.place} to the same constant. "
                "That is no race in CUDA: one of them wins, whichever it is."
            )
        else:
            merged.append(f)
    for r in regions.values():
        if r["argument"] and r["old"] and r["stores"] and r["name"] in tensors and not merged:
            notes.append(f"{r['name']} was read before it was written: its old contents count.")
    printed = next((r for r in records if "printed" in r), {"printed": "", "lost": 0})
    if printed["lost"]:
        printed["printed"] += f"... ({printed['lost']} more printf calls did not fit in 1 MB)"
    counters = [
        Counter(arrays[r["region"]], bool(r["write"]), r["counter"],
                *(r[k] for k in ("requests", "lanes", "units", "least")))
        for r in records if "counter" in r
    ]  # fmt: skip
    return Report(
        kernel=kernel.name,
        device="cpu, checked" if checked else "cpu",
        grid=launch.grid,
        block=launch.block,
        findings=merged,
        notes=notes,
        arrays=list(arrays.values()),
        counters=counters,
        barriers=done.get("barriers", 0),
        milliseconds=done.get("kernel_ms"),
        printed=printed["printed"],
        finished=bool(done.get("done")),
        nvidia=kernel.nvidia,
    )


def _declared(known, region) -> debuginfo.Variable | None:
    space = "shared" if region["space"] == "shared" else "static"
    for v in known:
        if (v.space, v.address, v.name) == (space, region["address"], region["name"]):
            return v
    return None


def _refused(text: str, array, record, line, source: str, known):
    """Array, index and direction of an access whose index its compiled check refused."""
    found = re.match(r"(-?\d+) of '(.*?)((?: ?\[\d+\])+)'", text)
    if not found:
        return array, None, bool(record.get("write"))
    value, base = int(found[1]), found[2].strip()
    dims = tuple(map(int, re.findall(r"\d+", found[3])))
    row = [*source.splitlines(), ""][line - 1] if line else ""
    if array is None:  # the access itself was not seen: a local array, which is not watched
        fits = [
            v for v in known
            if (v.shape[-len(dims):] == dims and base in (v.type, "")) or
            (v.shape[-len(dims):] == dims and re.search(rf"\b{v.name}\s*\[", row))
        ]  # fmt: skip
        fits = [v for v in fits if re.search(rf"\b{v.name}\s*\[", row)]
        fits.sort(key=lambda v: (v.line > line, abs(line - v.line)))
        if not fits:
            return None, None, False
        v = fits[0]
        size = v.itemsize * math.prod(v.shape)
        declared = [*source.splitlines(), ""][v.line - 1] if v.line else ""
        space = (
            "shared" if "__shared__" in declared else {"static": "constant"}.get(v.space, v.space)
        )
        array = Array(v.name, space, size, v.shape, v.itemsize, False)
        target = rf"\b{v.name}(?:\s*\[[^=;]*\])+\s*(?:[-+*/%&|^]|<<|>>)?=(?!=)|\+\+|--"
        wrong = (value,) if len(v.shape) == 1 else None
        return array, wrong, bool(re.search(target, row))
    shape, write = array.shape, bool(record.get("write"))
    if not shape or shape[-len(dims) :] != dims:
        return array, None, write
    axis = len(shape) - len(dims)
    stride = math.prod(shape[axis + 1 :])
    rest = record["index"] // array.itemsize - value * stride
    lead, tail = divmod(rest, math.prod(shape[axis:]))
    index = []
    for size in reversed(shape[:axis]):
        lead, part = divmod(lead, size)
        index.insert(0, part)
    index.append(value)
    behind = []
    for size in reversed(shape[axis + 1 :]):
        tail, part = divmod(tail, size)
        behind.insert(0, part)
    return array, (*index, *behind), write


def _stopped(done: dict, launch, timeout: float) -> tuple[str, str]:
    """A kernel that took too long: is it endless, or only slow?"""
    blocks, whole = done.get("blocks", 0), math.prod(launch.grid)
    if done.get("stuck", True):
        text = f"still running after {timeout:g} s of processor time"
        return "infinite-loop", f"{text}; for half of it no thread has come to its end"
    got = f"{blocks:,} of {whole:,} blocks done"
    if blocks == 0:
        threads = math.prod(launch.block)
        got = (
            f"{threads - done.get('threads_left', 0)} of {threads} threads of the first block done"
        )
    return "timeout", f"stopped after {timeout:g} s of processor time with {got}"


def _is_flag(f: Finding) -> bool:
    """Whether all stores of a race set a constant, as one sets a flag."""
    constant = r"=\s*\(?(?:true|false|-?[\d.]+[fFuU]?|0[xX][\da-fA-F]+|[A-Z][A-Z_\d]*)\)?\s*;"
    return all(re.search(rf"[^=!<>+*/%&|^-]{constant}", " " + f._row(x)) for x in {f.line, f.other_line})  # fmt: skip  # noqa: E501
