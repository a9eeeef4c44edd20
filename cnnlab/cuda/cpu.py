"""Launching on the CPU: a sandboxed process runs the grid, the parent reads arrays and records."""

import atexit
import contextlib
import fcntl
import json
import mmap
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import torch

from cnnlab import sandbox
from cnnlab.cuda import compiler
from cnnlab.cuda.report import Array, Counter, Finding, Report, merge

__all__ = ["KernelFailed", "launch"]

_PAGE = mmap.PAGESIZE
_SAMPLED_BLOCKS = 5
_MAX_BLOCKS = (1 << 24) - 2
_MAX_ANSWER = 8 << 20  # bytes
_MEMORY = 12 << 30  # bytes of address space, most of it reserved and never touched


class KernelFailed(RuntimeError):
    """The process that ran the kernel did not come back with what it owed."""


def _bytes(tensor: torch.Tensor) -> np.ndarray:
    return tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else np.empty(0, np.uint8)


def launch(kernel, launch, checked: bool, reverse: bool, timeout: float, isolation: str) -> Report:
    """Run a checked `Launch` of a `Kernel` on CPU tensors; see `Kernel.launch`."""
    blocks = int(np.prod(launch.grid, dtype=np.int64))
    if checked and blocks > _MAX_BLOCKS:
        raise ValueError(
            f"the checked run takes at most {_MAX_BLOCKS} blocks, the grid has {blocks}"
        )
    made = kernel.built("checked" if checked else "fast")
    built = made.path
    words, buffers, size = [], [], 0

    def add(tensor: torch.Tensor, name: str, writable: bool) -> int:
        nonlocal size
        buffers.append((size, tensor, name, writable))
        offset, size = size, size + -(-max(tensor.nbytes, 1) // _PAGE) * _PAGE
        return offset

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
        undefined = i in launch.outputs or (writable and len(same) == 1 and _all_nan(a))
        shift = min(a.element_size(), 8).bit_length() - 1
        offset = add(a, name, writable)
        words.append(f"b {name} {a.nbytes} {offset} {shift} {int(not undefined)} {int(writable)}")
    constant_words = []
    for name, value in launch.constants.items():
        if not re.fullmatch(r"\w+", name):
            raise ValueError(f"{name!r} is not the name of a __constant__ array")
        constant_words.append(f"{name} {value.nbytes} {add(value, name, False)}")
    spec = [
        int(checked), int(reverse), int(timeout * 1000), _SAMPLED_BLOCKS,
        *launch.grid, *launch.block, launch.shared_bytes,
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

            records, failure = run(built)
            unset = ()
            if made.suspects and any(r.get("done") for r in records):
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
    report = _report(kernel, launch, built, checked, records, failure, tensors, isolation)
    report.findings += [
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
            raise ValueError(f"{kernel}: the tensors {a} and {b} overlap in part")
    return same or [i]


def _all_nan(tensor: torch.Tensor) -> bool:
    return bool(
        tensor.is_floating_point()
        and tensor.numel()
        and tensor.view(-1)[0].isnan()
        and tensor.isnan().all()
    )


class _Server:
    """One launcher in its sandbox: one launch at a time, each in a process of its own."""

    def __init__(self, isolation: str):
        program = compiler.launcher()
        limits = sandbox.Limits(seconds=1e6, memory=_MEMORY, file_bytes=1 << 20)
        policy = sandbox.Policy(readable=[program], limits=limits)
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                sandbox.command([program], policy, isolation, tied=False),
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL if _MEMORY else None,
                env={"PATH": os.defpath},
                start_new_session=True,
            )

    def __call__(
        self, words: list, fds: tuple[int, int], seconds: float
    ) -> tuple[bytes, str | None]:
        """The launcher's answer, and why it was stopped, if it was."""
        answer, theirs = os.pipe()
        out, stopped, end = bytearray(), None, time.monotonic() + seconds
        try:
            message = "\n".join(map(str, words)).encode()
            try:
                socket.send_fds(self.socket, [message], [*fds, theirs])
            except OSError as error:
                self.close()
                raise KernelFailed(
                    f"the process that runs kernels did not start ({error.strerror}): it reserves "
                    f"{_MEMORY >> 30} GB of address space, and a limit here may forbid that"
                ) from None
            os.close(theirs)
            theirs = None
            while not stopped:
                left = end - time.monotonic()
                if not select.select([answer], [], [], max(left, 0))[0]:
                    stopped = "deadline"
                elif chunk := os.read(answer, 1 << 16):
                    out += chunk
                    stopped = "output" if len(out) > _MAX_ANSWER else None
                else:
                    break
        finally:
            for fd in (answer, theirs):
                if fd is not None:
                    os.close(fd)
            if stopped:
                self.close()
        return bytes(out), stopped

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.socket.close()


_idle: dict[tuple, list[_Server]] = {}  # by process and kind; a forked Python makes its own
_lock = threading.Lock()


def _answer(
    words: list, fds: tuple[int, int], seconds: float, isolation: str
) -> tuple[bytes, str | None]:
    kind = (os.getpid(), isolation, str(compiler.launcher()))
    with _lock:
        waiting = _idle.setdefault(kind, [])
        server = waiting.pop() if waiting else None
    if server and server.process.poll() is not None:
        server = None
    server = server or _Server(isolation)
    out, stopped = server(words, fds, seconds)
    if not stopped:
        with _lock:
            waiting.append(server)
    return out, stopped


@atexit.register
def _close_servers() -> None:
    for (pid, *_), servers in _idle.items():
        for server in servers:
            if pid == os.getpid():
                server.close()


def _run(fd: int, spec: list, built: Path, timeout: float, isolation: str):
    object_fd = os.open(built, os.O_RDONLY | os.O_CLOEXEC)
    try:
        out, stopped = _answer(spec, (fd, object_fd), timeout + 5, isolation)
    finally:
        os.close(object_fd)
    records = []
    for line in out.splitlines():
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            records += [record] if isinstance(record, dict) else []
    for record in records:
        if "error" in record:
            raise KernelFailed(str(record["error"]))
    if any("done" in r for r in records) and not stopped:
        return records, None
    status = next((r["exit"] for r in records if isinstance(r.get("exit"), int)), 1)
    if stopped == "deadline":
        return records, ("timeout", f"the kernel was stopped after {timeout:g} s")
    if stopped == "output":
        return records, ("crash", "the kernel wrote more output than is allowed")
    if status == -signal.SIGSYS:
        return records, (
            "forbidden",
            "the kernel asked the operating system for something (a system call)",
        )
    if status in (-signal.SIGKILL, -signal.SIGXCPU):
        return records, ("timeout", "the kernel used up its processor time or memory")
    if status < 0:
        return records, ("crash", f"the kernel's process died of signal {-status}")
    return records, ("forbidden", "the kernel's process ended by itself")


def _lines(built: Path, addresses: set[int], isolation: str) -> dict[int, int]:
    """Source lines of code addresses: the innermost one in the student's file."""
    if not addresses:
        return {}
    ordered = sorted(addresses)
    policy = sandbox.Policy(readable=[built])
    outcome = sandbox.run(
        ["addr2line", "-e", built, "-a", "-i", *(hex(a) for a in ordered)],
        policy,
        isolation=isolation,
    )
    lines, current = {}, None
    for text in outcome.stdout.decode(errors="replace").splitlines():
        if text.startswith("0x") and ":" not in text:
            current = int(text, 16)
        elif current is not None and (m := re.search(r"kernel\.cu:(\d+)", text)):
            lines.setdefault(current, int(m[1]))
    return lines


# ---- from records to findings -------------------------------------------------------------------

_KINDS = {"timeout": "infinite-loop", "index": "out-of-bounds"}


def _report(kernel, launch, built, checked, records, failure, tensors, isolation) -> Report:
    regions = {r["region"]: r for r in records if "region" in r and "name" in r}
    raw = [r for r in records if "finding" in r]
    pcs = {r[k] - 1 for r in raw for k in ("pc", "other_pc") if r.get(k)}
    lines = _lines(built, pcs, isolation)
    arrays = {}
    for r in regions.values():
        name, tensor = r["name"], tensors.get(r["name"]) if r["argument"] else None
        itemsize = tensor.element_size() if tensor is not None else None
        shape = tuple(tensor.shape) if tensor is not None else None
        if shape is None and (declared := _declared_shape(kernel, name, r["bytes"])):
            shape, itemsize = declared
        arrays[r["region"]] = Array(
            name, r["space"], r["bytes"], shape, itemsize, bool(r["argument"]),
            r["loads"], r["stores"], r["load_bytes"], r["store_bytes"],
        )  # fmt: skip
    findings = []
    for r in raw:
        kind = r["finding"]
        array = arrays.get(r["region"])
        threads = r.get("threads") or []
        mask = sum(word << 64 * i for i, word in enumerate(threads))
        first_pc = r.get("pc") or (r.get("other_pc") if kind == "index" else 0)
        finding = Finding(
            kind=_KINDS.get(kind, kind),
            line=r.get("line") or lines.get((first_pc or 0) - 1),
            array=array,
            offset=r.get("index"),
            size=r.get("size", 0),
            write=bool(r.get("write")),
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
            detail=r.get("text", ""),
            raw=kind,
            source=kernel.source,
        )
        findings.append(finding)
    if failure:
        findings.append(
            Finding(
                kind=_KINDS.get(failure[0], failure[0]),
                detail=failure[1],
                block_shape=launch.block,
                source=kernel.source,
                raw="failure",
            )
        )
    done = next((r for r in records if "done" in r), {})
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
        findings=merge(findings),
        arrays=list(arrays.values()),
        counters=counters,
        barriers=done.get("barriers", 0),
        milliseconds=done.get("kernel_ms"),
        printed=printed["printed"],
        finished=bool(done.get("done")),
        nvidia=kernel.nvidia,
    )


def _declared_shape(kernel, name: str, size: int) -> tuple[tuple[int, ...], int] | None:
    """Shape and element size of an array as declared, if that adds up to ``size`` bytes."""
    code = compiler.strip_comments(kernel.source)
    found = None
    for declared in re.finditer(r"(?:__shared__|__constant__|__device__)[^;(){}]*", code):
        if m := re.search(rf"\b{re.escape(name)}((?:\s*\[[^\]]+\])+)", declared[0]):
            found = m
            break
    if not found:
        return None
    values = dict(re.findall(r"^\s*#\s*define\s+(\w+)\s+(.+?)\s*$", code, flags=re.M))
    values |= dict(
        re.findall(
            r"\b(?:constexpr|const)\s+(?:static\s+)?(?:unsigned\s+)?(?:int|size_t|unsigned)\s+"
            r"(\w+)\s*=\s*([^;,]+)",
            code,
        )
    )
    plain, _, given = kernel.name.partition("<")
    template = re.search(
        rf"\btemplate\s*<([^<>]*)>[^;{{}}]*?\b{re.escape(plain.split(':')[-1])}\s*\(", code
    )
    if template and given:
        names = re.findall(r"(\w+)\s*(?:=[^,]*)?(?:,|$)", template[1])
        values |= dict(zip(names, given.rstrip("> ").split(","), strict=False))
    shape = []
    for text in re.findall(r"\[([^\]]+)\]", found[1]):
        for _ in range(8):
            text = re.sub(r"\b[A-Za-z_]\w*\b", lambda m: f"({values.get(m[0], m[0])})", text)
        if not re.fullmatch(r"[\d\s()+*/-]+", text) or len(text) > 500:
            return None
        try:
            shape.append(int(eval(text.replace("/", "//"), {"__builtins__": {}})))
        except (SyntaxError, ArithmeticError, MemoryError, TypeError):
            return None
    count = int(np.prod(shape, dtype=np.int64))
    return (
        (tuple(shape), size // count)
        if count > 0 and size % count == 0 and size // count <= 16
        else None
    )
