"""The host's compiler: from a source that was read to an object, or to messages about its lines."""

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
from cnnlab.cuda.source import CompileError, Source, place, split
from cnnlab.simulator import INCLUDE, LAUNCHER

__all__ = ["Built", "CompilerMissing", "build", "launcher", "where_possible"]

_FAST = ["-O2"]
_CHECKED = [
    *("-O1", "-fsanitize=thread", "-fsanitize=bounds-strict,integer-divide-by-zero"),
    # A float4 must stay one access; a loop that never ends must stay, and so must a value that was
    # never set (-ftree-fre, and from g++ 13 on -ftree-ccp, take it for any that suits).
    *("-fno-tree-sra", "-fno-finite-loops", "-fno-tree-loop-distribute-patterns"),
    *("-fno-tree-fre", "-fno-tree-ccp"),
    *("--param", "tsan-instrument-func-entry-exit=0", "-fstack-protector-strong"),
]
_COMMON = [
    *("-x", "c++", "-std=c++17", "-fPIC", "-shared", "-nostdlib", "-nostdinc", "-nostdinc++"),
    "-gdwarf-4",  # of version 5's file numbers, addr2line mistakes the first
    *("-fvisibility=hidden", "-fno-gnu-unique", "-ffp-contract=off", "-fno-exceptions"),
    *("-fno-strict-aliasing", "-fwrapv", "-fno-math-errno", "-fstack-clash-protection"),
    *("-fdiagnostics-color=never", "-fmax-errors=5", "-Werror=vla", "-fno-builtin-printf"),
    *("-ftemplate-depth=200", "-fconstexpr-ops-limit=10000000", "-fno-asm"),
]
_COMPILE = sandbox.Limits(seconds=10, memory=3 << 30, file_bytes=32 << 20, output_bytes=256 << 10)


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
    """Whether variables without a value can have a chosen one, and volatile ones a hook: GCC 12."""
    version = subprocess.run([_compiler(), "-dumpversion"], capture_output=True, text=True).stdout
    return int(version.split(".")[0] or 0) >= 12


@functools.cache
def launcher() -> Path:
    """The trusted program that runs kernels: built once, cached by its source and its compiler."""
    compiler = _compiler()
    flags = ["-std=c++17", "-O2", "-rdynamic", *os.environ.get("CNNLAB_SIM_FLAGS", "").split()]
    stamp = os.stat(compiler)
    text = [path.read_text() for path in sorted(LAUNCHER.parent.glob("*.*"))]
    key = f"{text} {compiler} {stamp.st_mtime_ns} {stamp.st_size} {flags}"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cnnlab"
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
    if not os.access(cache, os.W_OK):
        cache = Path(tempfile.mkdtemp(prefix="cnnlab-"))
    program = cache / f"launcher-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if not program.exists():
        scratch = program.with_name(f"{program.name}.{os.getpid()}.{threading.get_ident()}")
        words = [compiler, *flags, str(LAUNCHER), "-o", str(scratch), "-ldl", "-lm"]
        built = subprocess.run(words, capture_output=True, text=True)
        if built.returncode:
            raise CompilerMissing(f"the launcher does not build with {compiler}:\n{built.stderr}")
        scratch.replace(program)
    return program


_TAIL = """
# 1 "launch"
extern "C" __attribute__((visibility("default"))) void cnnlab_entry(void** a) {{ cnnlab_call(&{name}, a); }}
extern "C" __attribute__((used)) const char* cnnlab_types() {{ return cnnlab_signature(&{name}); }}
"""  # noqa: E501


@dataclass(frozen=True)
class Built:
    """A shared object, and where its compiler saw a variable that may be read without a value."""

    path: Path
    suspects: tuple[tuple[int, str], ...] = ()


def build(source: Source, name: str, variant: str, folder: Path, isolation: str) -> Built:
    """Compile a source to a shared object in ``folder``, inside the sandbox.

    ``variant`` is ``"fast"``, ``"checked"`` or ``"zero"``: checked, with local variables that have
    no value set to 0 instead of to a large number.

    Raises
    ------
    CompileError
        With the compiler's messages about the student's lines.
    """
    text, target = folder / "kernel.cu", folder / f"{variant}.so"
    text.write_text(source.host + _TAIL.format(name=name))
    words = [_compiler(), *_COMMON, *(_FAST if variant == "fast" else _CHECKED)]
    if variant != "fast" and _fills_locals():
        fill = "zero" if variant == "zero" else "pattern"
        words += [f"-ftrivial-auto-var-init={fill}", "-Wuninitialized", "-Wmaybe-uninitialized"]
        words += ["--param", "tsan-distinguish-volatile=1"]
    words += ["-iquote", str(INCLUDE), "-include", str(INCLUDE / "cuda_sim.h")]
    words += [text.name, "-o", str(target)]  # by its name in its folder, as messages show it
    policy = sandbox.Policy(
        readable=[INCLUDE, Path(_compiler()).parent], writable=folder, limits=_COMPILE
    )

    def compile(*more: str) -> tuple[int, str]:
        outcome = sandbox.run([*words, *more], policy, isolation=isolation)
        if outcome.stopped or outcome.signal:
            raise CompileError("the compiler was stopped: the source takes too much time or memory")
        return outcome.returncode, outcome.stderr.decode(errors="replace")

    failed, messages = compile()
    if failed:  # once more without what we append, so that all is about the student's text
        text.write_text(source.host)
        alone, bare = compile("-fsyntax-only")
        if alone:
            raise CompileError(_student_part(bare) or _asserted(bare, source) or bare)
        said = _student_part(messages) or _asserted(messages, source) or _unnamed(messages, name)
        raise CompileError(said)
    pattern = r"^kernel\.cu:(\d+):\d+: warning: .(\w+). (?:is|may be) used uninitialized"
    found = set(re.findall(pattern, messages, flags=re.M))
    suspects = sorted((int(line), f"the variable {word}") for line, word in found)
    return Built(target, tuple(suspects))


_NO_ERROR = "#include|: warning: |In instantiation of .*cnnlab_|candidate: |was declared here"


def _student_part(messages: str) -> str:
    """The errors about the student's own lines; empty if there are none."""
    kept, keep, errors = [], False, False
    for line in messages.splitlines():
        if re.match(r"\S+?:(\d+:)*|In file included ", line) and not line.startswith(" "):
            keep = line.startswith("kernel.cu:") and not re.search(_NO_ERROR, line)
            errors |= keep and " error: " in line
        if keep:
            kept.append(line)
    return "\n".join(kept) if errors else ""


def _asserted(messages: str, source: Source) -> str:
    """What the simulator's headers say of a call that CUDA does not have, at the student's line."""
    pattern = r"^kernel\.cu:(\d+):(\d+): +required from here$.*?static assertion failed: (.*?)$"
    found = re.search(pattern, messages, flags=re.M | re.S)
    if not found:
        return ""
    rows = source.text.splitlines(keepends=True)
    position = sum(map(len, rows[: int(found[1]) - 1])) + int(found[2]) - 1
    return place(source.text, position, found[3])


def _unnamed(messages: str, name: str) -> str:
    """Why the source compiles but its kernel cannot be called."""
    detail = next((x for x in messages.splitlines() if " error: " in x), messages)
    said = detail.split(" error: ")[-1].replace("cnnlab_call", "the launch")
    return f"there is no kernel {name!r} in this source that can be launched ({said})"


def signature(built: Path) -> list[str]:
    """The kernel's parameter types, as the compiler wrote them into the object."""
    said = rb"cnnlab_signature\(void \(\*\)\(A \.\.\.\)\) \[with A = \{(.*?)\}\]\0"
    found = re.search(said, built.read_bytes())
    if not found:
        raise CompileError("the object does not name its kernel's parameters")
    return [re.sub(r"\s*\*\s*", "*", p) for p in split(found[1].decode())]
