# ruff: noqa: E501 (one rule a line)
"""From CUDA C++ text to something that runs: checks, NVIDIA's compiler, the host's compiler."""

import contextlib
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cnnlab import sandbox

__all__ = [
    "Built",
    "CompileError",
    "CompilerMissing",
    "build",
    "launcher",
    "parse_kernels",
    "prepare",
    "where_possible",
]

SIM = Path(__file__).parent / "sim"

_FAST = ["-O2"]
_CHECKED = [
    *("-O1", "-g1", "-fsanitize=thread", "-fsanitize=bounds-strict,integer-divide-by-zero"),
    # A float4 must stay one access, and a loop that never ends must not be optimised away.
    *("-fno-tree-sra", "-fno-finite-loops", "-fno-tree-loop-distribute-patterns"),
    *("--param", "tsan-instrument-func-entry-exit=0"),
]
_COMMON = [
    *("-x", "c++", "-std=c++17", "-fPIC", "-shared", "-nostdlib", "-nostdinc", "-nostdinc++"),
    *("-fvisibility=hidden", "-fno-gnu-unique", "-ffp-contract=off", "-fno-exceptions"),
    *("-fno-strict-aliasing", "-fwrapv", "-fno-math-errno", "-fstack-clash-protection"),
    *("-fdiagnostics-color=never", "-fmax-errors=5", "-Werror=vla"),
    *("-ftemplate-depth=200", "-fconstexpr-ops-limit=10000000", "-fno-asm"),
]
_COMPILE = sandbox.Limits(seconds=10, memory=3 << 30, file_bytes=32 << 20, output_bytes=256 << 10)


class CompileError(RuntimeError):
    """The source is not CUDA C++ that this lab can run; the message shows the place."""


class CompilerMissing(RuntimeError):
    """No host compiler: kernels can't be run on this machine's CPU."""


@contextlib.contextmanager
def where_possible() -> Iterator[None]:
    """Run a block of launches; where this machine has no compiler for them, say so and go on.

    For a notebook, which is to be read to its end on every machine. What is missing is g++, or,
    for tensors on a GPU, NVIDIA's compiler.
    """
    try:
        yield
    except CompilerMissing as error:
        print(f"Not run here, {error}.")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "cuda":
            raise
        print("Not run here: kernels on a GPU need NVIDIA's compiler ('pip install cuda-core').")


# ---- reading the source -------------------------------------------------------------------------

_PLAIN_INCLUDES = {  # what CUDA's compiler knows by itself, or has no use for on a GPU
    *("stdio.h", "cstdio", "math.h", "cmath", "assert.h", "cassert", "stdint.h", "cstdint"),
    *("float.h", "cfloat", "limits.h", "climits", "stddef.h", "cstddef"),
    *("cuda.h", "cuda_runtime.h", "cuda_runtime_api.h", "device_launch_parameters.h"),
    *("math_constants.h", "vector_types.h", "device_functions.h"),
}
_CUDA_INCLUDES = {  # CUDA's name: ours
    "cuda_fp16.h": "sim_fp16.h",
    "mma.h": "sim_mma.h",
    "cooperative_groups.h": "sim_groups.h",
}
_UNSUPPORTED = [
    (r"<<<", "a launch with <<<...>>> is host code; here Python launches: kernel[grid, block](...)"),
    (r"\b(?:asm|__asm__|__asm)\b", "inline PTX (asm) is not supported"),
    (r"\b(?:texture\s*<|cudaTextureObject_t|cudaSurfaceObject_t|tex[123]D\w*)", "textures and surfaces are not supported"),
    (r"\b(?:cuda::(?:pipeline|barrier|memcpy_async)|__pipeline_\w+|memcpy_async)\b", "asynchronous copies (cp.async) are not supported"),
    (r"\bwgmma|\b__cluster_dims__|\bcluster_group\b", "Hopper's clusters and wgmma are not supported"),
    (r"\bcuda(?:Malloc|Memcpy|Memset|Free|DeviceSynchronize|GetLastError)\w*", "this is host code; a kernel file holds device code only, Python does the rest"),
    (r"\b__managed__\b", "__managed__ variables are not supported"),
    (r"__attribute__|\[\[\s*gnu::|__declspec", "compiler attributes are not supported"),
    (r"^\s*(?:#|%:)\s*pragma\s+GCC|_Pragma\s*\(", "compiler-specific pragmas are not supported"),
    (r"\bsim_\w+|\bSim[A-Z]\w*|\b__tsan_\w+|\b__tls_get_addr\b|\bSIM_\w+", "names that begin with sim_ are the simulator's own"),
    (r"\b__shared__\b[^;(){}]*=", "a __shared__ variable cannot have an initial value"),
    (r"\b(?:std\s*::|using\s+namespace\s+std\b)", "the C++ standard library is not there on a GPU"),
]  # fmt: skip


def _blank(match: re.Match) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def strip_comments(source: str) -> str:
    """The source with comments and the insides of strings blanked, every position kept."""
    pattern = r"//(?:\\\n|[^\n])*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
    return re.sub(pattern, _blank, source, flags=re.S)


def _fail(source: str, position: int, why: str):
    line = source.count("\n", 0, position) + 1
    text = source.splitlines()[line - 1] if source.strip() else ""
    column = position - (source.rfind("\n", 0, position) + 1)
    caret = "".join("\t" if c == "\t" else " " for c in text[:column]) + "^"
    raise CompileError(f"kernel.cu:{line}:{column + 1}: {why}\n    {text}\n    {caret}")


def prepare(source: str) -> tuple[str, str]:
    """The text for the host's compiler and the text for NVIDIA's, line for line the student's.

    Raises
    ------
    CompileError
        For what this lab does not support, with the line and a caret.
    """
    if "\0" in source or len(source) > 1 << 20:
        raise CompileError("the source is not text, or more than a megabyte of it")
    split = re.search(
        r"\?\?[/=]|^[ \t]*(?:#|%:)[ \t]*(?!define\b|if|el|pragma\b)\w*\\[ \t]*$", source, re.M
    )
    if split:
        _fail(source, split.start(), "a directive split over two lines is not supported")
    code = strip_comments(source)
    joined = re.sub(r"\\[ \t]*\n", "", code)  # a word split over two lines is still that word
    for pattern, why in _UNSUPPORTED:
        for text in (code, joined):
            if found := re.search(pattern, text, flags=re.M):
                _fail(source, min(found.start(), len(source) - 1), why)
    host, device = source, source
    directive = r"^[ \t]*(?:#|%:|\?\?=)[ \t]*(include\w*|import|embed)\b([^\n]*)"
    for found in reversed(list(re.finditer(directive, code, flags=re.M))):
        start, end = found.span()
        name = re.match(r"\s*[<\"]([\w./]+)[>\"]\s*(//.*|/\*.*)?$", source[found.start(2) : end])
        if (
            found[1] != "include"
            or not name
            or name[1] not in _PLAIN_INCLUDES | _CUDA_INCLUDES.keys()
        ):
            allowed = ", ".join(sorted(_CUDA_INCLUDES.keys() | {"math.h", "stdio.h", "stdint.h"}))
            _fail(source, start, f"only CUDA's own headers can be included ({allowed}, ...)")
        blank = " " * (end - start)
        ours = f'#include "{_CUDA_INCLUDES.get(name[1])}"'
        host = host[:start] + (ours if name[1] in _CUDA_INCLUDES else blank) + host[end:]
        if name[1] in _PLAIN_INCLUDES:
            device = device[:start] + blank + device[end:]
    host = _DYNAMIC.sub(
        lambda m: (
            f"{m['type'].strip()} (*const {m['name']}){m['rest']} = ({m['type'].strip()} (*)"
            f"{m['rest']})sim_dynamic_shared;"
            if m["rest"].strip()
            else f"{m['type'].strip()} *const {m['name']} = ({m['type'].strip()} *)sim_dynamic_shared;"
        ),
        host,
    )
    return host, device


_DYNAMIC = re.compile(
    r"(?:\bextern\s+__shared__|\b__shared__\s+extern)\s+(?:(?:__align__|alignas)\s*\(\s*\w+\s*\)\s*)?"
    r"(?P<type>[\w:<> ]+?)\s*(?:__align__\s*\(\s*\w+\s*\)\s*)?\b(?P<name>\w+)\s*\[\s*\]"
    r"(?P<rest>(?:\s*\[[^\]]*\])*)\s*;"
)


@dataclass(frozen=True)
class Declaration:
    """A kernel as the text declares it: its name and its parameters' names."""

    name: str
    parameters: tuple[str, ...]


def parse_kernels(source: str) -> list[Declaration]:
    """Every ``__global__`` function that the source defines, in order."""
    code = strip_comments(source)
    found = []
    for mark in re.finditer(r"\b__global__\b", code):
        head = re.compile(r"(?!__launch_bounds__|__align__|__attribute__)\b([A-Za-z_]\w*)\s*\(")
        rest = re.sub(
            r"__launch_bounds__\s*\([^()]*(?:\([^()]*\)[^()]*)*\)", _blank, code[mark.end() :]
        )
        start = head.search(rest)
        if not start:
            continue
        depth, end = 1, start.end()
        while depth and end < len(rest):
            depth += {"(": 1, ")": -1}.get(rest[end], 0)
            end += 1
        names, depth = [""], 0
        for c in rest[start.end() : end - 1]:
            depth += {"<": 1, "(": 1, "[": 1, ">": -1, ")": -1, "]": -1}.get(c, 0)
            if c == "," and not depth:
                names.append("")
            else:
                names[-1] += c
        words = [re.findall(r"[A-Za-z_]\w*", re.sub(r"=.*", "", n, flags=re.S)) for n in names]
        declaration = Declaration(start[1], tuple(w[-1] for w in words if w and w != ["void"]))
        if declaration not in found:
            found.append(declaration)
    return found


# ---- the host's compiler ------------------------------------------------------------------------


@functools.cache
def _compiler() -> str:
    if (here := (platform.system(), platform.machine())) != ("Linux", "x86_64"):
        raise CompilerMissing(
            f"kernels run on the CPU on Linux x86-64 only, this is {' '.join(here)}"
        )
    for name in (os.environ.get("CNNLAB_CXX"), "g++"):
        if name and (path := shutil.which(name)):
            return os.path.realpath(path)
    raise CompilerMissing(
        "no C++ compiler: running CUDA kernels on the CPU needs g++ (Debian, Ubuntu: "
        "'apt install g++'; conda: 'conda install gxx')"
    )


@functools.cache
def _fills_locals() -> bool:
    """Whether the compiler can give variables without a value a chosen one (GCC 12 and newer)."""
    version = subprocess.run([_compiler(), "-dumpversion"], capture_output=True, text=True).stdout
    return int(version.split(".")[0] or 0) >= 12


@functools.cache
def launcher() -> Path:
    """The trusted program that runs kernels: built once, cached by its source and its compiler."""
    source, compiler = SIM / "launcher.cpp", _compiler()
    flags = ["-std=c++17", "-O2", "-rdynamic", *os.environ.get("CNNLAB_SIM_FLAGS", "").split()]
    stamp = os.stat(compiler)
    key = f"{source.read_text()} {compiler} {stamp.st_mtime_ns} {stamp.st_size} {flags}"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cnnlab"
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
    if not os.access(cache, os.W_OK):
        cache = Path(tempfile.mkdtemp(prefix="cnnlab-"))
    program = cache / f"launcher-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if not program.exists():
        scratch = program.with_name(f"{program.name}.{os.getpid()}.{threading.get_ident()}")
        words = [compiler, *flags, str(source), "-o", str(scratch), "-ldl", "-lm"]
        built = subprocess.run(words, capture_output=True, text=True)
        if built.returncode:
            raise CompilerMissing(f"the launcher does not build with {compiler}:\n{built.stderr}")
        scratch.replace(program)
    return program


_TAIL = """
# 1 "launch"
extern "C" __attribute__((visibility("default"))) void sim_entry(void** a) {{ sim_call(&{name}, a); }}
extern "C" __attribute__((used)) const char* sim_types() {{ return sim_signature(&{name}); }}
"""


@dataclass(frozen=True)
class Built:
    """A shared object, and where its compiler saw a variable that may be read without a value."""

    path: Path
    suspects: tuple[tuple[int, str], ...] = ()


def build(source: str, name: str, variant: str, folder: Path, isolation: str) -> Built:
    """Compile prepared source to a shared object in ``folder``, inside the sandbox.

    ``variant`` is ``"fast"``, ``"checked"`` or ``"zero"``: checked, with local variables that have
    no value set to 0 instead of to a large number.

    Raises
    ------
    CompileError
        With the compiler's messages about the student's lines.
    """
    text, target = folder / "kernel.cu", folder / f"{variant}.so"
    text.write_text(source + _TAIL.format(name=name))
    words = [_compiler(), *_COMMON, *(_FAST if variant == "fast" else _CHECKED)]
    if variant != "fast" and _fills_locals():
        fill = "zero" if variant == "zero" else "pattern"
        words += [f"-ftrivial-auto-var-init={fill}", "-Wuninitialized", "-Wmaybe-uninitialized"]
    words += ["-iquote", str(SIM), "-include", str(SIM / "cuda_sim.h")]
    words += [text.name, "-o", str(target)]  # by its name in its folder, as messages show it
    policy = sandbox.Policy(
        readable=[SIM, Path(_compiler()).parent], writable=folder, limits=_COMPILE
    )
    outcome = sandbox.run(words, policy, isolation=isolation)
    if outcome.stopped or outcome.signal:
        raise CompileError("the compiler was stopped: the source takes too much time or memory")
    messages = outcome.stderr.decode(errors="replace")
    if outcome.returncode:
        raise CompileError(_student_part(messages, name))
    pattern = r"^kernel\.cu:(\d+):\d+: warning: .(\w+). (?:is|may be) used uninitialized"
    found = {(int(line), word) for line, word in re.findall(pattern, messages, flags=re.M)}
    return Built(target, tuple(sorted(found)))


def _student_part(messages: str, name: str) -> str:
    """The compiler's messages, less the lines about our own header and wrapper."""
    kept, keep = [], False
    for line in messages.splitlines():
        if re.match(r"\S+?:(\d+:)*", line) and not line.startswith(" "):
            keep = line.startswith("kernel.cu:")
        if keep:
            kept.append(line)
    if kept:
        return "\n".join(kept)
    if re.search(r"launch:\d+", messages):
        detail = next((x for x in messages.splitlines() if " error: " in x), messages)
        return f"there is no kernel {name!r} in this source ({detail.split(' error: ')[-1]})"
    return messages


def signature(built: Path) -> list[str]:
    """The kernel's parameter types, as the compiler wrote them into the object."""
    found = re.search(
        rb"sim_signature\(void \(\*\)\(A \.\.\.\)\) \[with A = \{(.*?)\}\]\0", built.read_bytes()
    )
    if not found:
        raise CompileError("the object does not name its kernel's parameters")
    return _split(found[1].decode())


def _split(types: str) -> list[str]:
    parts, depth = [""], 0
    for c in types:
        depth += {"<": 1, "(": 1, ">": -1, ")": -1}.get(c, 0)
        if c == "," and not depth:
            parts.append("")
        else:
            parts[-1] += c
    return [re.sub(r"\s*\*\s*", "*", p.strip()) for p in parts if p.strip()]
