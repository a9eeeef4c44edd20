# ruff: noqa: E501 (C++ text)
"""NVIDIA's own compiler, through cuda.core: it needs no GPU, and says what nvcc would say.

Run as a program it reads one request (JSON) and writes one answer, so that a compile bomb in
somebody else's source is the sandbox's matter and not the grader's.
"""

import base64
import functools
import importlib.util
import io
import json
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Nvidia", "compile_cuda", "compile_isolated", "installed"]

_TYPES = """
#line 1 "launch"
template <class... A> __device__ const char* cnnlab_signature(void (*)(A...)) {{ return __PRETTY_FUNCTION__; }}
extern "C" __global__ void cnnlab_types(const char** p) {{ *p = cnnlab_signature((decltype(&{name}))0); }}
"""
# Constants that students take from headers which NVRTC does not have.
_DEFINES = {
    "INFINITY": "__int_as_float(0x7f800000)",
    "NAN": "__int_as_float(0x7fffffff)",
    "FLT_MAX": "3.402823466e+38f",
    "FLT_MIN": "1.175494351e-38f",
    "FLT_EPSILON": "1.192092896e-07f",
    "INT_MAX": "2147483647",
    "INT_MIN": "(-2147483647-1)",
    "UINT_MAX": "4294967295u",
    "M_PI": "3.14159265358979323846",
    "int8_t": "signed char",
    "uint8_t": "unsigned char",
    "int16_t": "short",
    "uint16_t": "unsigned short",
    "int32_t": "int",
    "uint32_t": "unsigned int",
    "int64_t": "long long",
    "uint64_t": "unsigned long long",
    "uchar": "unsigned char",
    "ushort": "unsigned short",
    "uint": "unsigned int",
    "ulong": "unsigned long",
}


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


def _headers() -> list[str]:
    """Folders of cuda_fp16.h, mma.h and cooperative_groups.h, in the toolkit's or Triton's wheels."""
    found = [folder for site in _sites() for folder in site.glob("nvidia/*/include")]
    found += [site / "triton/backends/nvidia/include" for site in _sites()]
    whole = [p for p in found if (p / "cuda_fp16.h").exists()]
    whole.sort(key=lambda p: not (p / "crt/mma.h").exists())
    return [str(p) for p in whole + [p / "cccl" for p in found if (p / "cccl").exists()]]


def compile_cuda(source: str, name: str, arch: str = "sm_90") -> Nvidia:
    """Compile one kernel to machine code.

    Raises
    ------
    ValueError
        With NVIDIA's messages (line, caret) if it does not compile.
    """
    from cuda.core import Program, ProgramOptions

    log = io.StringIO()
    # cooperative_groups.h brings a standard library of its own, which defines all of these.
    defines = {} if "cooperative_groups" in source else _DEFINES
    options = ProgramOptions(
        arch=arch,
        std="c++17",
        name="kernel.cu",
        include_path=_headers(),
        define_macro=[f"{k}={v}" for k, v in defines.items()] or None,
        ptxas_options=["-v"],
    )
    try:
        program = Program(source + _TYPES.format(name=name), "c++", options)
        code = program.compile("cubin", name_expressions=(name,), logs=log)
    except Exception as error:
        text = str(error).split("compilation log:")[-1].replace("\0", "")  # C's end of the text
        text = "\n".join(
            line for line in text.splitlines() if not re.match(r"\d+ errors? det", line)
        )
        raise ValueError(text.strip()) from None
    symbol = code.symbol_mapping.get(name, name)
    symbol = symbol.decode() if isinstance(symbol, bytes) else symbol
    cubin = bytes(code.code)
    found = re.search(rb"cnnlab_signature\(void \(\*\)\(A\.\.\.\)\)(?: \[with (.*?)\])?\0", cubin)
    types = re.split(r"(?:^|, )A = ", (found[1] or b"").decode())[1:] if found else []
    entry = re.search(
        rf"Compiling entry function '{re.escape(symbol)}'(.*?)Compile time", log.getvalue(), re.S
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


def compile_isolated(source: str, name: str, arch: str = "sm_90") -> Nvidia:
    """As `compile_cuda`, in a sandboxed process of its own."""
    from cnnlab import sandbox

    places = {
        sys.prefix,
        sys.base_prefix,
        *map(str, _sites()),
    }
    policy = sandbox.Policy(
        readable=[__file__, *sorted(p for p in places if not p.startswith("/usr"))],
        limits=sandbox.Limits(seconds=20, memory=8 << 30, file_bytes=0, output_bytes=32 << 20),
    )
    request = json.dumps([source, name, arch]).encode()
    outcome = sandbox.run([sys.executable, "-I", __file__], policy, stdin=request)
    try:
        answer = json.loads(outcome.stdout)
    except ValueError:
        raise ValueError(
            "NVIDIA's compiler was stopped: it takes too much time or memory"
        ) from None
    if "error" in answer:
        raise ValueError(answer["error"])
    cubin = base64.b64decode(answer["cubin"])
    return Nvidia(**answer | {"types": tuple(answer["types"]), "cubin": cubin})


if __name__ == "__main__":
    try:
        made = asdict(compile_cuda(*json.load(sys.stdin)))
        made["cubin"] = base64.b64encode(made["cubin"]).decode()
    except ValueError as error:
        made = {"error": str(error)}
    json.dump(made, sys.stdout)
