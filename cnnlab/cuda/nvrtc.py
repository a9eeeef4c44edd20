"""NVIDIA's own compiler, through cuda.core: it needs no GPU, and says what nvcc would say.

Run as a program (a `Worker`) it reads requests and answers them, as JSON: so a compile bomb is the
sandbox's matter, and neither the notebook's nor the grader's.
"""

import base64
import functools
import importlib.util
import io
import json
import re
import socket
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Nvidia", "compile_cuda", "installed"]

_PROBE = """
#line 1 "launch"
template <class... A> __device__ const char* cnnlab_signature(void (*)(A...)) {{ return __PRETTY_FUNCTION__; }}
extern "C" __global__ void cnnlab_types(const char** p) {{ *p = cnnlab_signature((decltype(&{name}))0); }}
"""  # noqa: E501
_SECONDS, _MOST = 20, 64 << 20  # for an answer, and its bytes


@dataclass(frozen=True)
class Nvidia:
    """What NVIDIA's compiler made of a kernel: its resources a thread, and its machine code."""

    arch: str
    types: tuple[str, ...]
    symbol: str
    registers: int
    shared_bytes: int
    spill_bytes: int
    stack_bytes: int
    cubin: bytes = b""

    def __str__(self) -> str:
        return (
            f"NVRTC {self.arch}: {self.registers} registers, {self.shared_bytes} bytes shared, "
            f"{self.stack_bytes} bytes stack, {self.spill_bytes} bytes spilled"
        )


@functools.cache
def installed() -> bool:
    """Whether cuda.core and NVRTC are there (wheels; no GPU and no driver is needed)."""
    if importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.core") is None:
        return False
    try:
        from cuda.bindings import nvrtc

        return nvrtc.nvrtcVersion()[0] == nvrtc.nvrtcResult.NVRTC_SUCCESS
    except Exception:  # whatever the bindings raise where the library cannot be loaded
        return False


def _sites() -> list[Path]:
    """Where packages lie: more than one folder where torch is lent by a lab machine's Python."""
    return [Path(entry) for entry in sys.path if entry.endswith("-packages")]


@functools.cache
def _prelude(headers: tuple[str, ...]) -> str:
    """What precedes a source: CUDA's own headers that it includes, then what NVRTC lacks."""
    from cnnlab.simulator import INCLUDE  # not in the worker, which has this file only

    rows = [f"#include <{name}>" for name in headers]
    for row in (INCLUDE / "sim_names.h").read_text().splitlines():
        macro = re.match(r"#define (\w+)", row)
        rows.append(f"#ifndef {macro[1]}\n{row}\n#endif" if macro else row)
    # What C++'s library adds, and nvcc takes: calls with a float and a double, or an integer.
    for name in ("pow", "fmod", "atan2", "hypot", "fmax", "fmin"):
        for a, b in (("float", "double"), ("double", "float")):
            body = f"return {name}((double)x, (double)y);"
            rows.append(f"__device__ inline double {name}({a} x, {b} y) {{ {body} }}")
    for name in ("sqrt", "exp", "log", "log2", "sin", "cos"):
        rows.append(f"__device__ inline double {name}(int x) {{ return {name}((double)x); }}")
    return "\n".join([*rows, '#line 1 "kernel.cu"\n'])


def compile_cuda(source, name: str, arch: str = "sm_90", isolation: str = "preferred") -> Nvidia:
    """Compile one kernel of a `cnnlab.cuda.source.Source` to machine code, in the sandbox.

    Raises
    ------
    ValueError
        With NVIDIA's messages (line, caret) if it does not compile.
    LabFailed
        If the compiler's process does not start.
    """
    headers = tuple(re.findall(r"^[ \t]*#[ \t]*include[ \t]*[<\"]([\w./]+)", source.device, re.M))
    text = _prelude(headers) + source.device
    with _pool().take(isolation) as worker, tempfile.TemporaryFile() as request:
        request.write(json.dumps([text, name, arch]).encode())
        request.seek(0)
        out, stopped = worker(b"compile", [request.fileno()], _SECONDS, _MOST)
    if stopped or not out:
        raise ValueError("NVIDIA's compiler was stopped: it takes too much time or memory")
    answer = json.loads(out)
    if "error" in answer:
        raise ValueError(answer["error"])
    cubin = base64.b64decode(answer["cubin"])
    return Nvidia(**answer | {"types": tuple(answer["types"]), "cubin": cubin})


@functools.cache
def _pool():
    from cnnlab import sandbox
    from cnnlab.cuda.workers import Pool, Worker

    def start(isolation: str) -> Worker:
        places = {sys.prefix, sys.base_prefix, *map(str, _sites())}
        policy = sandbox.Policy(
            readable=[__file__, *sorted(p for p in places if not p.startswith("/usr"))],
            limits=sandbox.Limits(seconds=1e6, memory=8 << 30, file_bytes=0),
        )
        return Worker("is NVIDIA's compiler", [sys.executable, "-I", __file__], policy, isolation)

    return Pool(start)


# ---- in the worker ------------------------------------------------------------------------------


def _headers() -> list[str]:
    """Folders of cuda_fp16.h, mma.h, cooperative_groups.h: in the toolkit's or Triton's wheels."""
    found = [folder for site in _sites() for folder in site.glob("nvidia/*/include")]
    found += [site / "triton/backends/nvidia/include" for site in _sites()]
    whole = [p for p in found if (p / "cuda_fp16.h").exists()]
    whole.sort(key=lambda p: not (p / "crt/mma.h").exists())
    return [str(p) for p in whole + [p / "cccl" for p in found if (p / "cccl").exists()]]


def _cubin(text: str, name: str, arch: str):
    from cuda.core import Program, ProgramOptions

    log = io.StringIO()
    options = ProgramOptions(
        arch=arch,
        std="c++17",
        name="kernel.cu",
        include_path=_headers(),
        device_as_default_execution_space=True,
        ptxas_options=["-v"],
    )
    code = Program(text, "c++", options).compile(
        "cubin", name_expressions=(name,) * bool(name), logs=log
    )
    return code, log.getvalue()


def _messages(error: Exception) -> str:
    """NVIDIA's errors about the student's lines."""
    text = str(error).split("compilation log:")[-1].replace("\0", "")  # C's end of the text
    if too := re.search(r"uses too much (shared|global constant) data \((\w+) bytes, (\w+)", text):
        kind = "__shared__" if too[1] == "shared" else "__constant__"
        most = "a block has at most" if too[1] == "shared" else "there are at most"
        return f"the {kind} arrays take {int(too[2], 16)} bytes; {most} {int(too[3], 16)}"
    kept, keep = [], False
    for line in text.splitlines():
        if re.match(
            r"\S+\(\d+\): |At end of source|ptxas|\d+ errors? detected|Remark:|\S+: fatal", line
        ):
            keep = line.startswith(("kernel.cu(", "At end of source")) and ": warning" not in line
            keep |= line.startswith("ptxas") and "error" in line
        if keep:
            kept.append(line)
    return "\n".join(kept).strip()


def _compile(text: str, name: str, arch: str) -> Nvidia:
    try:
        code, log = _cubin(text + _PROBE.format(name=name), name, arch)
    except Exception as error:
        try:  # once more without the probe, so that every message is about the student's text
            _cubin(text + "\n", "", arch)
        except Exception as bare:
            raise ValueError(_messages(bare) or _messages(error) or str(error)) from None
        said = _messages(error) or str(error).split("compilation log:")[-1].strip()
        raise ValueError(said or f"there is no kernel {name!r} in this source") from None
    symbol = code.symbol_mapping.get(name, name)
    symbol = symbol.decode() if isinstance(symbol, bytes) else symbol
    cubin = bytes(code.code)
    found = re.search(rb"cnnlab_signature\(void \(\*\)\(A\.\.\.\)\)(?: \[with (.*?)\])?\0", cubin)
    types = re.split(r"(?:^|, )A = ", (found[1] or b"").decode())[1:] if found else []
    entry = re.search(
        rf"Compiling entry function '{re.escape(symbol)}'(.*?)Compile time", log, re.S
    )
    info = entry[1] if entry else ""

    def number(pattern: str) -> int:
        m = re.search(pattern, info)
        return int(m[1]) if m else 0

    return Nvidia(
        arch,
        tuple(re.sub(r"\s*\*\s*", "*", t.strip()) for t in types),
        symbol,
        number(r"Used (\d+) registers"),
        number(r"(\d+) bytes smem"),
        number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
        number(r"(\d+) bytes stack frame"),
        cubin,
    )


def _serve() -> None:
    import cuda.core  # noqa: F401  (before it says that it is ready: its absence is no kernel's fault)

    channel = socket.socket(fileno=0)
    channel.send(b"ready")
    while fds := socket.recv_fds(channel, 16, 2)[1]:
        with open(fds[0]) as request, open(fds[1], "w") as answer:
            try:
                made = asdict(_compile(*json.load(request)))
                made["cubin"] = base64.b64encode(made["cubin"]).decode()
            except ValueError as error:
                made = {"error": str(error)}
            json.dump(made, answer)


if __name__ == "__main__":
    _serve()
