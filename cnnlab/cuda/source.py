# ruff: noqa: E501 (one rule a line)
"""Reading a student's .cu file: its kernels, its host part (left out), and what cannot run here.

The text is cut into declarations by its brackets, no more: what they mean is the compilers' matter.
Every position is kept, so that lines and columns in messages are the student's.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cnnlab.simulator.text import blank, strip_comments

__all__ = ["CompileError", "Declaration", "Source", "read"]


class CompileError(RuntimeError):
    """The source is not CUDA C++ that this lab can run; the message shows the place."""


_PLAIN_INCLUDES = {  # what CUDA's compiler knows by itself, or has no use for on a GPU
    *("stdio.h", "math.h", "assert.h", "stdint.h", "inttypes.h", "float.h", "limits.h", "stddef.h", "stdlib.h", "string.h"),
    *("cuda.h", "cuda_runtime.h", "cuda_runtime_api.h", "device_launch_parameters.h", "math_constants.h", "vector_types.h"),
    *("vector_functions.h", "device_functions.h", "device_atomic_functions.h", "sm_20_intrinsics.h", "time.h", "sys/time.h", "omp.h"),
    *("cstdio", "cmath", "cassert", "cstdint", "cinttypes", "cfloat", "climits", "cstddef", "cstdlib", "cstring", "ctime", "limits"),
    *("algorithm", "array", "chrono", "fstream", "functional", "iomanip", "iostream", "iterator", "map", "memory", "numeric"),
    *("random", "sstream", "stdexcept", "string", "utility", "vector", "wb.h", "helper_cuda.h", "helper_functions.h", "helper_string.h"),
}  # fmt: skip
_CUDA_INCLUDES = {  # CUDA's name: ours
    "cuda_fp16.h": "sim_fp16.h", "cuda_fp16.hpp": "sim_fp16.h", "cuda_bf16.h": "sim_fp16.h", "mma.h": "sim_mma.h",
    "cooperative_groups.h": "sim_groups.h", "cooperative_groups/reduce.h": "sim_groups.h", "cooperative_groups/scan.h": "sim_groups.h",
}  # fmt: skip
_CUDA_ONLY = r"^(curand|cub/|thrust/|cuda/|cublas|cufft|cusparse|cudnn|nvtx|cuda_pipeline|cuda_fp8|cuda_fp4|cooperative_groups/|texture_|surface_)"
_HOST_ONLY = r"^(thrust/|cub/|cublas|cufft|cusparse|cusolver|cudnn|curand\.h|nvtx|nvToolsExt|nccl|cuda_profiler)"  # unless a kernel uses it
_HOST = r"<<<|\b(?:thrust|cub)\s*::|\bstd\s*::|\bcuda[A-Z]\w*|\bcu(?:blas|rand|fft|dnn)\w+|\busing\s+namespace\s+std\b"  # only in host code
_ANYWHERE = [  # also inside a macro
    (r"\b(?:asm|__asm__|__asm)\b", "inline PTX (asm) is not supported"),
    (r"__attribute__|\[\[\s*gnu::|__declspec", "compiler attributes are not supported"),
    (r"^\s*(?:#|%:)\s*pragma\s+GCC|_Pragma\s*\(", "compiler-specific pragmas are not supported"),
    (r"\b(?:__)?cnnlab_\w+|\b__tsan_\w+|\b__tls_get_addr\b|\bCNNLAB_\w+|\bCnnlab[A-Z]\w*", "names that begin with cnnlab_ are the simulator's own"),
    (r"\b(?:texture\s*<|cudaTextureObject_t|cudaSurfaceObject_t|tex[123]D\w*)", "textures and surfaces are not supported"),
    (r"\b(?:cuda::(?:pipeline|barrier|memcpy_async)|__pipeline_\w+|memcpy_async)\b", "asynchronous copies (cp.async) are not supported"),
    (r"\bwgmma|\b__cluster_dims__|\bcluster_group\b", "Hopper's clusters and wgmma are not supported"),
    (r"\b(?:this_grid|grid_group|this_multi_grid)\b", "grid-wide barriers (a cooperative launch) are not supported: blocks run one after another here"),
    (r"(?<![<\"])\bcurand\w*", "cuRAND is not supported; make random numbers in Python and pass them"),
    (r"\b__managed__\b", "__managed__ variables are not supported"),
]  # fmt: skip
_IN_CODE = [
    (r"<<<", "a launch with <<<...>>> is host code; here Python launches: kernel[grid, block](...)"),
    (r"\bcuda(?:Malloc|Memcpy|Memset|Free|DeviceSynchronize|GetLastError)\w*", "this is host code; a kernel file holds device code only, Python does the rest"),
    (r"\b__shared__\b[^;(){}]*=", "a __shared__ variable cannot have an initial value"),
    (r"\b(?:std\s*::|using\s+namespace\s+std\b)", "the C++ standard library is not there on a GPU"),
    (r"\b(?:malloc|realloc|calloc)\s*\(|\bnew\s+[A-Za-z_]", "memory from malloc or new inside a kernel is not supported; pass a tensor to work in"),
]  # fmt: skip


def _blanked(text: str, start: int, end: int) -> str:
    return text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]


def place(text: str, position: int, why: str) -> str:
    """A message about a position: file, line and column, the line itself, a caret."""
    line = text.count("\n", 0, position) + 1
    row = text.splitlines()[line - 1] if text.strip() else ""
    column = position - (text.rfind("\n", 0, position) + 1)
    caret = "".join("\t" if c == "\t" else " " for c in row[:column]) + "^"
    return f"kernel.cu:{line}:{column + 1}: {why}\n    {row}\n    {caret}"


@dataclass(frozen=True)
class Declaration:
    """A kernel as the text declares it. ``template`` is its parameter list, or None."""

    name: str
    parameters: tuple[str, ...]
    template: str | None = None
    problem: str = ""


@dataclass(frozen=True)
class Source:
    """The text for the host's compiler and for NVIDIA's, line for line the student's, and what is in it.

    ``dynamic`` are the names of dynamic shared arrays; ``macros`` tells whether
    kernels may be defined by macros, so that `kernels` is not all.
    """

    text: str
    host: str
    device: str
    kernels: tuple[Declaration, ...]
    dynamic: tuple[str, ...]
    macros: bool


_DYNAMIC = r"\b(?=[^;{}()]*\b__shared__\b|[^;{}]*\b__shared__\b[^;{}]*\[\s*\])(?:extern|__shared__)\b(?P<type>[^;{}]*?)\b(?P<name>\w+)\s*\[\s*\](?P<rest>(?:\s*\[[^\]]*\])*)\s*;"
_ALIGN = r"(?:__align__|alignas|__launch_bounds__)\s*\((?:[^()]|\([^()]*\))*\)"


def _declarations(code: str) -> Iterator[tuple[int, int, int]]:
    """Start, opening brace (or -1) and end of each declaration at the level of the file or a namespace."""
    start, brace, paren, opened = 0, 0, 0, -1
    for mark in re.finditer(r"[{}();]", code):
        c, at = mark[0], mark.start()
        if c in "()":
            paren = max(paren + (1 if c == "(" else -1), 0)
        elif c == "{":
            head = code[start:at].strip()
            if not brace and re.fullmatch(r"(?:inline\s+)?namespace\b[\w:\s]*|extern", head):
                start = at + 1
                continue
            opened, brace = (at if not brace and opened < 0 else opened), brace + 1
        elif c == "}" and not brace:
            start = at + 1
        elif c == "}":
            brace -= 1
            if not brace and _is_function(code[start:opened]):
                yield start, opened, at + 1
                start, paren, opened = at + 1, 0, -1
        elif not brace and not paren:
            yield start, opened, at + 1
            start, opened = at + 1, -1
    if opened >= 0:  # a brace is not closed
        yield start, opened, len(code)


def _closing(text: str, at: int, brackets: str) -> int:
    """Behind the bracket that closes the one that was opened just before a position."""
    depth = 1
    while depth and at < len(text):
        depth += {brackets[0]: 1, brackets[1]: -1}.get(text[at], 0)
        at += 1
    return at


def _template(head: str) -> tuple[str | None, str]:
    """A leading ``template <...>`` and what follows it."""
    parameters = None
    while found := re.match(r"\s*template\s*<", head):
        end = _closing(head, found.end(), "<>")
        parameters, head = head[found.end() : end - 1].strip(), head[end:]
    return parameters, head


def _is_function(head: str) -> bool:
    _, head = _template(re.sub(_ALIGN, blank, head))
    plain = re.sub(r"\boperator\s*\S+?(?=\s*\()", "operator", head)
    before = plain.partition("(")[0]
    return (
        "(" in plain
        and "=" not in before
        and not re.match(r"\s*(?:typedef\s+)?(?:struct|class|union|enum)\b[^(]*$", before)
    )


def split(text: str) -> list[str]:
    """A list of parameters or types at its commas, but not inside brackets."""
    parts, depth = [""], 0
    for c in text:
        depth += {"<": 1, "(": 1, "[": 1, ">": -1, ")": -1, "]": -1}.get(c, 0)
        if c == "," and not depth:
            parts.append("")
        else:
            parts[-1] += c
    return [p.strip() for p in parts if p.strip()]


def _kernel(head: str) -> Declaration | None:
    template, rest = _template(re.sub(_ALIGN, blank, head))
    found = re.search(r"\b([A-Za-z_]\w*)\s*\(", rest)
    if not found:
        return None
    end = _closing(rest, found.end(), "()")
    parameters = split(rest[found.end() : end - 1])
    plain = (re.sub(r"=.*|\[[^\]]*\]", "", p, flags=re.S) for p in parameters)
    names = [re.findall(r"[A-Za-z_]\w*", p) for p in plain]
    problem = ""
    if by := [p for p in parameters if "&" in p]:
        problem = f"its parameter '{by[0]}' is a reference; a kernel takes values and pointers"
    elif not re.search(r"\bvoid\b", rest[: found.start()]) and "auto" not in rest[: found.start()]:
        problem = "a __global__ function must return void"
    return Declaration(
        found[1], tuple(n[-1] for n in names if n and n != ["void"]), template, problem
    )


def read(text: str) -> Source:
    """Read a source.

    Raises
    ------
    CompileError
        With all that this lab does not support, each with its line and a caret.
    """
    if "\0" in text or len(text) > 1 << 20:
        raise CompileError("the source is not text, or more than a megabyte of it")
    code = strip_comments(text)
    problems: dict[int, str] = {}  # by position
    split = r"\?\?[/=]|^[ \t]*(?:#|%:)[ \t]*(?!define\b|if|el|pragma\b)\w*\\[ \t]*$"
    for found in re.finditer(split, text, re.M):
        problems[found.start()] = "a directive split over two lines is not supported"
    plain = re.sub(_DIRECTIVE, blank, code, flags=re.M)
    macros = [name for name, rest in re.findall(r"^[ \t]*#[ \t]*define[ \t]+(\w+)((?:\\[ \t]*\n|[^\n])*)", code, flags=re.M)
              if re.search(r"__(?:device|global)__", rest)]  # fmt: skip
    kernels, host_part, host_functions = _declared(plain, macros)
    for start, end in host_part:
        plain = _blanked(plain, start, end)
    ours, useless = _includes(text, code, plain, problems)
    for name, line in host_functions.items():
        for at in _calls(plain, name):
            said = f"{name} (line {line}) is a host function: a kernel can call it only if"
            problems[at] = f"{said} it is marked __device__"
    kept = plain
    for found in re.finditer(_DIRECTIVE, code, flags=re.M):
        kept = kept[: found.start()] + found[0] + kept[found.end() :]
    _unsupported(kept, plain, problems)
    if problems:
        shown = [place(text, at, why) for at, why in sorted(problems.items())]
        more = [f"... and {len(shown) - 8} more"] if len(shown) > 8 else []
        raise CompileError("\n".join(shown[:8] + more))
    host = device = text
    for start, end in useless + host_part:
        host, device = _blanked(host, start, end), _blanked(device, start, end)
    for start, end, name in reversed(ours):
        host = f'{host[:start]}#include "{name}"{host[end:]}'
    device = re.sub(_MARKED_LAMBDA, lambda m: m[1] + re.sub(r"[^\n]", " ", m[2]), device)
    host = re.sub(r"\bstatic\b(?=[^;{}()=]*\b__shared__\b)", "      ", host)
    host = re.sub(r"(\b__shared__\b[^;{}()=]*)\bstatic\b", r"\1      ", host)
    host = re.sub(_DYNAMIC, _pointer, host)
    dynamic = dict.fromkeys(m["name"] for m in re.finditer(_DYNAMIC, plain) if "extern" in m[0])
    return Source(text, host, device, tuple(kernels), tuple(dynamic), bool(macros))


# What nvcc --extended-lambda takes.
_MARKED_LAMBDA = r"(\[[^\[\]\n]*\]\s*)((?:__(?:host|device)__\s*)+)(?=[({])"
_DIRECTIVE = r"^[ \t]*(?:#|%:|\?\?=)(?:\\[ \t]*\n|[^\n])*"


def _includes(text: str, code: str, kernels: str, problems: dict[int, str]):
    """The includes for which there is a header of ours (with its name), and those that no kernel needs."""
    ours, useless = [], []
    directive = r"^[ \t]*(?:#|%:|\?\?=)[ \t]*(include\w*|import|embed)\b([^\n]*)"
    for found in re.finditer(directive, code, flags=re.M):
        rest = text[found.start(2) : found.end()]
        name = re.match(r"\s*[<\"]([\w./]+)[>\"]\s*(//.*|/\*.*)?$", rest)
        if found[1] == "include" and name and name[1] in _CUDA_INCLUDES:
            ours.append((*found.span(), _CUDA_INCLUDES[name[1]]))
        elif found[1] == "include" and name and _nobody_needs(name[1], kernels):
            useless.append(found.span())
        elif name and re.match(_CUDA_ONLY, name[1]):
            said = f"the header {name[1]} is CUDA's, but this lab does not have it"
            problems[found.start()] = said
        else:
            allowed = "cuda_fp16.h, mma.h, cooperative_groups.h, math.h, stdio.h"
            problems[found.start()] = f"only CUDA's own headers can be included ({allowed}, ...)"
    return ours, useless


def _nobody_needs(header: str, kernels: str) -> bool:
    """Whether it is one that the host part has for itself, or that CUDA knows anyway."""
    library = re.match(_HOST_ONLY, header)
    used = library and re.search(rf"\b{library[1].rstrip('/').partition('.')[0]}", kernels)
    return header in _PLAIN_INCLUDES or (library is not None and not used)


def _declared(plain: str, macros: list[str]):
    """The kernels, where the host's part lies, and the lines of its functions by their names."""
    qualifier = rf"\b(?:{'|'.join(['__device__', '__global__', 'constexpr', *macros])})\b"
    ours = qualifier + "|__constant__|__shared__"
    kernels, host_part, host_functions = [], [], {}
    for start, opened, end in _declarations(plain):
        head = plain[start : opened if opened >= 0 else end]
        begin = start + len(head) - len(head.lstrip())
        function = opened >= 0 and _is_function(head)
        if function and "__global__" in head:
            own = head if "template" in head else head[head.index("__global__") :]
            kernel = _kernel(own.replace("__global__", " " * 10))
            if kernel and kernel not in kernels:
                kernels.append(kernel)
            continue
        other = qualifier + r"|\boperator\b|__attribute__|\[\["
        if function and not re.search(other, head):
            name = re.search(r"\b([A-Za-z_]\w*)\s*\(", _template(head)[1])
            host_functions[name[1] if name else ""] = plain.count("\n", 0, begin) + 1
        elif re.search(ours, plain[start:end]) or not re.search(_HOST, plain[start:end]):
            continue
        host_part.append((begin, end))
    return kernels, host_part, host_functions


def _calls(plain: str, name: str) -> Iterator[int]:
    """Where a function is called, and not only declared."""
    for found in re.finditer(rf"\b{name}\s*\(", plain) if name else ():
        before = plain[plain.rfind(";", 0, found.start()) + 1 : found.start()]
        behind = plain[found.end() :].partition(")")[2].lstrip()[:1]
        typed = re.fullmatch(r"[\s\w:*&<>,]*[\w*&>]\s+\**", before) and "return" not in before
        if not (typed and behind == ";"):
            yield found.start()


def _unsupported(kept: str, plain: str, problems: dict[int, str]) -> None:
    joined = re.sub(r"\\[ \t]*\n", "", kept)  # a word split over two lines is still that word
    for rules, looked_at in ((_ANYWHERE, (kept, joined)), (_IN_CODE, (plain,))):
        for pattern, why in rules:
            for where in looked_at:
                for found in re.finditer(pattern, where, flags=re.M):
                    if where is kept or where is plain or why not in problems.values():
                        problems.setdefault(min(found.start(), len(kept) - 1), why)


def _pointer(m: re.Match) -> str:
    """``extern __shared__ T x[][n];`` as a pointer to where the launcher keeps dynamic shared memory."""
    if "extern" not in m[0] or "__shared__" not in m[0]:
        return m[0]
    kind = " ".join(re.sub(rf"{_ALIGN}|\b(?:extern|__shared__|static)\b", " ", m["type"]).split())
    lines = "\n" * m[0].count("\n")
    if m["rest"].strip():
        return f"{kind} (*const {m['name']}){m['rest']} = ({kind} (*){m['rest']})cnnlab_dynamic_shared;{lines}"
    return f"{kind} *const {m['name']} = ({kind} *)cnnlab_dynamic_shared;{lines}"
