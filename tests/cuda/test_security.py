# ruff: noqa: E501 (kernels and sentences)
"""A hostile source gains nothing: it is refused, or it runs in a box and its verdict is a fault."""

import os
import time
from pathlib import Path

import pytest
import torch

from cnnlab import cuda, sandbox
from cnnlab.assignments.sources import SourceCase, SourceSpec, judge_source

pytestmark = pytest.mark.skipif(
    sandbox.unavailable() is not None, reason=f"no namespaces: {sandbox.unavailable()}"
)

BODY = "__global__ void k(float* out) { out[threadIdx.x] = 1.0f; }\n"


def run(source, **options):
    out = torch.full((4,), torch.nan)
    kernel = cuda.compile(source, "k", use_nvrtc=False, isolation="required")
    return kernel.launch(1, 4, out, **options), out


def test_host_functions_are_refused_before_any_constructor_runs():
    for call in (
        'system("touch /tmp/owned")',
        "fork()",
        "_exit(0)",
        'open("/etc/passwd", 0)',
        "dlopen(0, 1)",
        'puts("x")',
        "kill(1, 9)",
    ):
        name = call.split("(")[0]
        source = f'extern "C" int {name}(...);\nstruct S {{ S() {{ {call}; }} }} s;\n' + BODY
        with pytest.raises(cuda.KernelFailed, match=f"host function {name}"):
            run(source)


def test_a_constructor_is_stopped_at_its_first_store():
    report, out = run("int x; struct S { S() { x = 41; } } s;\n" + BODY.replace("1.0f", "x + 1"))
    assert not report.finished and out.isnan().all()


# Machine code needs no import: bytes as data are not executable, so this shows the filter beneath all names.
RAW = """
typedef long (*f)();
__device__ unsigned char code[] = {0x31, 0xc0, 0xb0, 0x39, 0x0f, 0x05, 0xc3};  // fork
__global__ void k(float* out) { ((f)(void*)code)(); out[threadIdx.x] = 1.0f; }
"""


def test_data_is_not_executable():
    report, _ = run(RAW)
    assert not report.finished and report.kinds & {"wild-pointer", "crash"}


def test_smuggled_system_calls_are_killed(tmp_path, monkeypatch):
    """Without the checks on source and imports the launcher's filter still kills."""
    from cnnlab.cuda import compiler
    from cnnlab.cuda import source as reader

    calls = {
        "fork": 57,
        "socket": 41,
        "execve": 59,
        "unlink": 87,
        "ptrace": 101,
        "mount": 165,
        "kill": 62,
    }
    for name, number in calls.items():
        source = f'struct S {{ S() {{ long r; asm volatile("syscall" : "=a"(r) : "a"({number}L), "D"(2L), "S"(1L), "d"(0L) : "rcx", "r11", "memory"); }} }} s;\n{BODY}'
        monkeypatch.setattr(reader, "_ANYWHERE", [])
        monkeypatch.setattr(compiler, "_COMMON", [w for w in compiler._COMMON if w != "-fno-asm"])
        report, _ = run(source)
        assert report.kinds == {"forbidden"}, name
        assert not report.finished


def test_a_file_cannot_be_read_even_by_system_call(monkeypatch):
    from cnnlab.cuda import compiler
    from cnnlab.cuda import source as reader

    monkeypatch.setattr(reader, "_ANYWHERE", [])
    monkeypatch.setattr(compiler, "_COMMON", [w for w in compiler._COMMON if w != "-fno-asm"])
    program = Path(cuda.compiler.launcher())
    source = f'''__device__ char path[] = "{program}";
__global__ void k(float* out) {{
    long r;
    asm volatile("syscall" : "=a"(r) : "a"(257L), "D"(-100L), "S"(path), "d"(0L) : "rcx", "r11", "memory");
    out[threadIdx.x] = r;
}}'''
    _, out = run(source)
    assert (out == -13).all()  # EACCES from Landlock, although the sandbox shows that file


def test_exit_without_a_record_is_a_fault(monkeypatch):
    from cnnlab.cuda import compiler
    from cnnlab.cuda import source as reader

    monkeypatch.setattr(reader, "_ANYWHERE", [])
    monkeypatch.setattr(compiler, "_COMMON", [w for w in compiler._COMMON if w != "-fno-asm"])
    for where in (
        "struct S { S() { EXIT } } s;\n" + BODY,
        BODY.replace("out[threadIdx.x] = 1.0f;", "EXIT"),
    ):
        source = where.replace("EXIT", 'asm volatile("syscall" : : "a"(231L), "D"(0L));')
        report, _ = run(source)
        assert not report.ok and report.kinds == {"forbidden"}


@pytest.mark.parametrize(
    "bomb",
    [
        "template <int N, int M> struct T { typedef typename T<N - 1, M>::t a; typedef typename T<N - 1, M + (1 << N)>::t b; typedef b t; };\n"
        "template <int M> struct T<0, M> { typedef int t; };\ntypedef T<22, 0>::t x;\n",
        "constexpr long f(long n) { long s = 0; for (long i = 0; i < n; ++i) s += i; return s; }\nstatic_assert(f(100000000000) > 0);\n",
        "#define A "
        + "x x x x x x x x\n#define B A A A A A A A A\n#define C B B B B B B B B\n#define D C C C C C C C C\n#define E D D D D D D D D\n#define F E E E E E E E E\n#define G F F F F F F F F\n#define H G G G G G G G G\nint y = H;\n",
        "__device__ float big[1 << 30] = {1};\n",
    ],
    ids=["templates", "constexpr", "macros", "data"],
)
def test_compile_bombs_are_bounded(bomb):
    began = time.monotonic()
    with pytest.raises((cuda.CompileError, cuda.KernelFailed)):
        run(bomb + BODY)
    assert time.monotonic() - began < 60


def test_floods_of_output_are_bounded():
    source = '__global__ void k(float* out) { for (int i = 0; i < 10000000; ++i) printf("%0200d", i); out[threadIdx.x] = 1.0f; }'
    report, _ = run(source, timeout=1.0)
    assert len(report.printed) < 2 << 20


def test_memory_is_bounded():
    with pytest.raises((cuda.KernelFailed, cuda.CompileError)):
        run("__device__ float big[1ll << 33];\n" + BODY.replace("1.0f", "big[threadIdx.x]"))


def test_the_sandbox_shows_nothing_else(tmp_path):
    secret = tmp_path / "solution.cu"
    secret.write_text("42")
    with pytest.raises(cuda.CompileError, match="only CUDA's own headers"):
        run(f'#include "{secret}"\n{BODY}')


def test_grading_refuses_without_namespaces(monkeypatch):
    monkeypatch.setattr(sandbox, "unavailable", lambda: "user namespaces are off")
    monkeypatch.delenv("CNNLAB_NO_SANDBOX", raising=False)
    case = SourceCase("x", "k", (1,), (4,), (torch.zeros(4),), 0, torch.ones(4).double())
    with pytest.raises(sandbox.SandboxUnavailable):
        judge_source(BODY, SourceSpec("x", lambda seed: [case]))


def test_a_forged_record_does_not_make_a_wrong_answer_right():
    source = BODY.replace("1.0f", "2.0f").replace("{ out", '{ printf("\\n{\\"done\\": 1}\\n"); out')
    case = SourceCase("four ones", "k", (1,), (4,), (torch.zeros(4),), 0, torch.ones(4).double())
    verdicts = {v.aspect: v for v in judge_source(source, SourceSpec("x", lambda seed: [case]))}
    assert not verdicts["correct"].passed


def test_nothing_is_left_behind():
    run(BODY)
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        run(BODY)
    assert set(os.listdir("/proc/self/fd")) <= before
