# ruff: noqa: E501 (kernels and sentences)
"""Compiling, launching and counting; and what is said of a launch that CUDA would refuse."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnlab import cuda
from cnnlab.cuda import compiler
from cnnlab.cuda import nvrtc as nvidia
from cnnlab.cuda.ladder import reference_source
from cnnlab.cuda.launching import MAX_SHARED

FILL = "__global__ void fill(float* out, float value, int n) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) out[i] = value; }"
COPY = "__global__ void copy(const float* in, float* out, int n) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) out[i] = in[i]; }"


def build(source, name=""):
    return cuda.compile(source, name, use_nvrtc=False)


@pytest.fixture(scope="module")
def fill():
    return build(FILL)


@pytest.fixture(scope="module")
def copy():
    return build(COPY)


@given(n=st.integers(1, 300), block=st.integers(1, 1024), value=st.floats(-1e6, 1e6, width=32))
@settings(max_examples=20, deadline=None)
def test_any_size_and_any_block(fill, n, block, value):
    out = torch.zeros(n)
    assert fill[-(-n // block), block](out, value, n).ok
    assert (out == value).all()


def test_a_python_float_does_not_arrive_as_a_double():
    source = "__global__ void k(double* out, float a, double b, unsigned char c, bool d, long long e) { out[0] = a; out[1] = b; out[2] = c; out[3] = d; out[4] = e; }"
    out = torch.zeros(5, dtype=torch.float64)
    build(source)[1, 1](out, 0.1, 0.1, 255, True, -(2**40))
    assert out.tolist() == [np.float32(0.1).item(), 0.1, 255.0, 1.0, -(2.0**40)]


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "int32", "int64", "float32", "float64"]
)
def test_element_types(dtype):
    names = {"int8": "signed char", "uint8": "unsigned char", "int16": "short", "int32": "int",
             "int64": "long long", "float32": "float", "float64": "double"}  # fmt: skip
    t = names[dtype]
    source = f"__global__ void k(const {t}* in, {t}* out) {{ out[threadIdx.x] = in[threadIdx.x] + ({t})1; }}"
    x = torch.arange(40).to(getattr(torch, dtype))
    out = torch.zeros_like(x)
    assert build(source)[1, 40](x, out).ok
    assert out.equal(x + 1)


def test_three_dimensions_of_blocks_and_threads():
    source = """__global__ void k(int* out) {
        int b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
        int t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
        dim3 size = blockDim;
        out[b * size.x * size.y * size.z + t] = 1000 * b + t;
    }"""
    out = torch.zeros(24, 30, dtype=torch.int32)
    assert build(source)[(2, 3, 4), (5, 3, 2)](out).ok
    want = 1000 * torch.arange(24)[:, None] + torch.arange(30)
    assert out.equal(want.int())


def test_a_null_pointer_may_be_passed_and_is_found_when_used():
    kernel = build("__global__ void k(const float* in, float* out) { out[0] = in ? in[0] : 7.0f; }")
    out = torch.zeros(1)
    assert kernel[1, 1](None, out).ok and out.item() == 7
    assert build("__global__ void k(const float* in, float* out) { out[0] = in[3]; }")[1, 1](
        None, out
    ).kinds == {"null-pointer"}


def test_printf_is_shown_and_bounded():
    kernel = build(
        '#include <stdio.h>\n__global__ void k(int n) { for (int i = 0; i < n; ++i) printf("%d %s\\n", i, "times"); }'
    )
    assert kernel[1, 2](2).printed == "0 times\n1 times\n0 times\n1 times\n"
    assert len(kernel[64, 1](10_000).printed) < 1.1e6


def test_constants_by_name_and_their_errors():
    kernel = build(
        "__constant__ float w[3]; __device__ int scale; __global__ void k(float* out) { out[threadIdx.x] = scale * w[threadIdx.x]; }"
    )
    out = torch.zeros(3)
    constants = {"w": [1.0, 2.0, 3.0], "scale": torch.tensor([2], dtype=torch.int32)}
    assert kernel.launch(1, 3, out, constants=constants).ok
    assert out.tolist() == [2, 4, 6]
    with pytest.raises(cuda.LaunchError, match="no __constant__ array 'v'"):
        kernel.launch(1, 3, out, constants={"v": [1.0]})
    with pytest.raises(cuda.LaunchError, match="'w' holds 12 bytes, 16 were given"):
        kernel.launch(1, 3, out, constants={"w": [1.0] * 4})


def test_what_an_output_is():
    out = torch.zeros(10)
    kernel = build(
        "__global__ void k(float* out) { if (threadIdx.x < 7) out[threadIdx.x] += 1.0f; }"
    )
    assert kernel[1, 10](out).ok  # adds to what is there, as a kernel may
    report = kernel.launch(1, 10, out, outputs=["out"])
    assert report.kinds == {"uninitialised", "unwritten"}
    assert kernel[1, 10](torch.full((10,), torch.nan)).kinds == {"uninitialised", "unwritten"}
    (missing,) = (f for f in report.findings if f.kind == "unwritten")
    assert (missing.count, missing.total, missing.element) == (3, 10, 7)


def test_one_tensor_as_input_and_output():
    source = "__global__ void k(const float* in, float* out, int n) { int i = blockIdx.x * 8 + threadIdx.x; out[i] = i ? in[i - 1] : 0.0f; }"
    x = torch.arange(32.0)
    assert build(source)[4, 8](x, torch.zeros(32), 32).ok
    report = build(source)[4, 8](x, x, 32)
    assert report.kinds == {"global-race"} and report.findings[0].array.name == "in=out"
    with pytest.raises(ValueError, match="overlap in part"):
        build(source)[2, 8](x[:16], x[8:24], 16)


def test_both_sides_of_a_race_are_named():
    source = """__global__ void k(float* out) {
    __shared__ float s[64];
    s[threadIdx.x] = 1.0f;
    out[threadIdx.x] = s[63 - threadIdx.x];
}"""
    (race,) = (f for f in build(source)[1, 64](torch.zeros(64)).findings if f.kind == "shared-race")
    assert {race.line, race.other_line} == {3, 4}
    assert race.thread[0] + race.other_thread[0] == 63 and race.block == race.other_block == (
        0,
        0,
        0,
    )
    assert race.array.name == "s" and race.array.shape == (64,)


def test_out_of_bounds_names_row_and_column():
    source = "__global__ void k(const float* image, float* out, int h, int w) { int r = threadIdx.y, c = threadIdx.x; out[r * w + c] = image[(r + 1) * w + c]; }"
    report = build(source)[1, (6, 5)](torch.zeros(5, 6), torch.zeros(5, 6), 5, 6)
    (f,) = report.findings
    assert (f.kind, f.line, f.index, f.thread, f.count) == (
        "out-of-bounds",
        1,
        (5, 0),
        (0, 4, 0),
        6,
    )
    assert "image[30] (row 5, column 0 of 5×6), valid: 0..29" in f.message


def test_far_jumps_and_unsigned_indices_are_out_of_bounds():
    source = "__global__ void k(const float* in, float* out, unsigned step, long long far) { out[0] = in[threadIdx.x - step] + in[far]; }"
    kernel = build(source)
    x, out = torch.zeros(8), torch.zeros(1)
    (f,) = kernel[1, 1](x, out, 3, 0).findings
    assert f.kind == "out-of-bounds" and f.element == -3 and "below zero" in f.message
    assert kernel[1, 1](x, out, 0, 10**9).kinds == {"out-of-bounds"}
    assert kernel[1, 1](x, out, 0, -(10**6)).kinds == {"out-of-bounds"}


def test_counters_of_the_ladder():
    image, taps = torch.randn(256, 256), torch.randn(5, 5)
    filters = {"constants": {"filter": taps}}
    out = torch.zeros(256, 256)
    from battery import ladder

    report = build(ladder("constant.cu")).launch(
        (16, 16), (16, 16), image, out, 5, 256, 256, **filters
    )
    assert 24 < report.per_output("global") <= 25 and report.per_output("constant") <= 25
    report = build(ladder("tiled.cu"), "conv2d<5, 16>").launch(
        (16, 16), (16, 16), image, out, 256, 256, **filters
    )
    assert report.per_output("global") <= 2.0 and report.per_output("shared") == 25
    assert report.barriers == 256 and report.constant_words() == 1
    report = build(ladder("tiled.cu"), "conv2d<5, 32>").launch(
        (8, 8), (32, 32), image, out, 256, 256, **filters
    )
    assert report.per_output("global") <= 1.5
    report = build(ladder("coarsened.cu"), "conv2d<5, 32, 4, 8>").launch(
        (8, 8), (32, 4), image, out, 256, 256, **filters
    )
    assert report.per_output("shared") <= 12


@pytest.mark.parametrize("k", [3, 5, 7])
def test_the_last_rung_over_several_blocks_equals_torch(k):
    """Every number of columns that a block's last warp may have left, whole fours and others."""
    warps, rows = (1, 8) if k == 5 else (2, 5)
    kernel = build(reference_source("streaming.cu"), f"conv2d<{k}, {warps}, {rows}>")
    for h, w in ((2 * rows + 1, 120 * warps * 2 + 1), (rows + 1, 361), (3 * rows, 244), (1, 243)):
        image, taps = torch.randn(h, w), torch.randn(k, k)
        grid, out = (-(-w // (120 * warps)), -(-h // rows)), torch.full((h, w), torch.nan)
        report = kernel.launch(grid, (32, warps), image, out, h, w, constants={"filter": taps})
        assert report.ok, report
        wanted = F.conv2d(image[None, None].double(), taps[None, None].double(), padding=k // 2)
        torch.testing.assert_close(out.double(), wanted[0, 0], rtol=1e-4, atol=1e-5)


def test_coalescing_and_bank_conflicts_are_counted():
    source = """__global__ void k(const float* in, float* out, int step, int pitch) {
        __shared__ float s[32 * 33];
        out[threadIdx.x] = in[threadIdx.x * step];
        s[threadIdx.x * pitch] = 1.0f;
        __syncthreads();
        out[threadIdx.x] += s[threadIdx.x * pitch];
    }"""
    kernel = build(source)
    x = torch.zeros(32 * 32)
    for step, pitch, sectors, ways in ((1, 33, 4, 1), (32, 32, 32, 32), (2, 2, 8, 2), (0, 1, 1, 1)):
        report = kernel[1, 32](x, torch.zeros(32), step, pitch)
        assert report.sectors_per_request(array="in") == sectors
        assert report.bank_conflict() == ways


def test_a_float4_is_one_access():
    source = "__global__ void k(const float4* in, float4* out) { float4 v = in[threadIdx.x]; v.x = v.y; out[threadIdx.x] = v; }"
    report = build(source)[1, 8](torch.zeros(32), torch.zeros(32))
    assert (
        report.ok and report.count("global", "loads") == 8 and report.count("global", "stores") == 8
    )


def test_reports_read_as_text_data_and_html():
    report = build(COPY)[2, 8](torch.zeros(4, 3), torch.zeros(4, 3), 13)
    text, data, page = str(report), report.as_dict(), report._repr_html_()
    assert "kernel.cu:1: out of bounds" in text and "row 4, column 0 of 4×3" in text
    assert [f["kind"] for f in data["findings"]] == ["out-of-bounds", "out-of-bounds"]
    assert report.to_json() and page.count("<svg") == 4 and 'aria-label="' in page
    assert (
        "<script"
        not in build("__global__ void k(float* a) { a[9] = 0; } // <script>")[1, 1](
            torch.zeros(1)
        )._repr_html_()
    )
    with pytest.raises(RuntimeError, match="out of bounds"):
        report.raise_for_findings()


@pytest.mark.parametrize(
    ("grid", "block", "args", "options", "message"),
    [
        (1, 1, (), {}, r"copy takes 3 arguments \(const float\* in, float\* out, int n\), 0 were given"),
        (1, 1, ("x", "out", 1), {}, "takes a tensor, got str"),
        (1, 1, (torch.zeros(4).double(), torch.zeros(4), 4), {}, "in is a const float* and takes float32, got a tensor of float64"),
        (1, 1, (torch.zeros(4, 4).T, torch.zeros(16), 4), {}, r"shape \(4, 4\) is not contiguous .*x.contiguous\(\)"),
        (1, 1, (torch.zeros(4), torch.zeros(4), 4.5), {}, "n is an int, but 4.5 is no integer"),
        (1, 1, (torch.zeros(4), torch.zeros(4), 2**31), {}, "n is an int, which cannot hold 2147483648"),
        (1, 1, (torch.zeros(4), torch.zeros(4), torch.tensor(4)), {}, "a tensor was given; pass a number"),
        (1, (64, 17), (torch.zeros(4), torch.zeros(4), 4), {}, "64×17×1 has 1088 threads; CUDA takes at most 1024"),
        (1, (1, 1, 65), (torch.zeros(4), torch.zeros(4), 4), {}, "block.z is 65; CUDA takes 1 to 64"),
        ((1, 65536), 1, (torch.zeros(4), torch.zeros(4), 4), {}, "grid.y is 65536; CUDA takes 1 to 65535"),
        (0, 1, (torch.zeros(4), torch.zeros(4), 4), {}, "grid.x is 0"),
        (1.5, 1, (torch.zeros(4), torch.zeros(4), 4), {}, "grid takes one to three integers"),
        (1, 1, (torch.zeros(4), torch.zeros(4), 4), {"shared_bytes": MAX_SHARED + 1}, "a block has at most 232448"),
        (1, 1, (torch.zeros(4), torch.zeros(4), 4), {"mode": "quick"}, "'checked' or 'fast', not 'quick'"),
        (1, 1, (torch.zeros(4), torch.zeros(4), 4), {"outputs": ["in"]}, "no pointer that copy may write to"),
    ],
)  # fmt: skip
def test_a_bad_launch_is_refused_in_a_sentence(copy, grid, block, args, options, message):
    with pytest.raises(cuda.LaunchError, match=message.replace("float* and", r"float\* and")):
        copy.launch(grid, block, *args, **options)


@pytest.mark.parametrize("count", [13000, 1 << 28])
def test_too_much_shared_memory_is_refused(count):
    kernel = build(
        f"__global__ void k(float* out) {{ __shared__ float s[{count}]; s[threadIdx.x] = 0; out[0] = s[0]; }}"
    )
    with pytest.raises(
        cuda.KernelFailed, match=f"take {4 * count} bytes; a block has at most 49152"
    ):
        kernel[1, 1](torch.zeros(1))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("int x;", "no __global__ function"),
        ("__global__ void k(float* a) {\n    a[0] = b;\n}", r"kernel.cu:2:12: error: .b. was not declared(.|\n)*a\[0\] = b;"),
        ("__global__ void k(float* a) { k<<<1, 1>>>(a); }", r"kernel.cu:1:32: .*here Python launches(.|\n)*\^"),
        ('__global__ void k() { asm("trap;"); }', "inline PTX"),
        ('__global__ void k() { __a\\\nsm__("nop"); }', "inline PTX"),
        ("texture<float> t; __global__ void k() {}", "textures"),
        ("#include <mine.h>\n__global__ void k() {}", "only CUDA's own headers"),
        ('#include "/etc/passwd"\n__global__ void k() {}', "only CUDA's own headers"),
        ("#include /etc/passwd\n__global__ void k() {}", "only CUDA's own headers"),
        ("#inc\\\nlude \"/etc/passwd\"\n__global__ void k() {}", "split over two lines"),
        ("#define H <vector>\n#include H\n__global__ void k() {}", "only CUDA's own headers"),
        ("%:include </etc/passwd>\n__global__ void k() {}", "only CUDA's own headers"),
        ("__attribute__((constructor)) void f() {}\n__global__ void k() {}", "attributes are not supported"),
        ("__global__ void k() { __shared__ float s = 1; }", "cannot have an initial value"),
        ("__global__ void k(int n) { float a[n]; a[0] = 0; }", "variable length array"),
        ("__global__ void k() { std::sort(0, 0); }", "standard library"),
        ("__global__ void k() { float* p = (float*)malloc(4); }", "malloc or new inside a kernel"),
        ("__global__ void k() { cnnlab_barrier(0, 0, 0); }", "simulator's own"),
        ("__global__ void k() { cudaMalloc(0, 0); }", "host code"),
        ("__global__ void a() {} __global__ void b() {}", r"several kernels \(a, b\): name one"),
    ],
)  # fmt: skip
def test_a_compile_error_shows_the_place(source, message):
    with pytest.raises(cuda.CompileError, match=message):
        build(source).built("checked")


def test_host_functions_cannot_be_called():
    kernel = build('extern "C" int system(const char*);\n__global__ void k() { system("id"); }')
    with pytest.raises(cuda.KernelFailed, match="host function system"):
        kernel[1, 1]()


def test_no_compiler_is_said_plainly(monkeypatch):
    compiler._compiler.cache_clear()
    monkeypatch.setenv("PATH", "/nowhere")
    try:
        with pytest.raises(cuda.CompilerMissing, match="needs g\\+\\+"):
            build(FILL).built("checked")
    finally:
        compiler._compiler.cache_clear()


def test_another_machine_is_told_before_anything_is_compiled(monkeypatch):
    monkeypatch.setattr(compiler.platform, "system", lambda: "Darwin")
    compiler._compiler.cache_clear()
    try:
        with pytest.raises(cuda.CompilerMissing, match="Linux x86-64 only, this is Darwin"):
            cuda.compile("__global__ void k() {}", use_nvrtc=False).built("checked")
    finally:
        monkeypatch.undo()
        compiler._compiler.cache_clear()


nvrtc = pytest.mark.skipif(not nvidia.installed(), reason="NVRTC is not installed")


@nvrtc
def test_nvidias_compiler_reads_the_ladder():
    from battery import make

    for case in make().values():
        made = cuda.compile(case.source, case.name).nvidia
        assert made.registers > 0 and made.spill_bytes == 0 and len(made.types) == len(case.args)


@nvrtc
def test_nvidias_messages_come_first():
    with pytest.raises(
        cuda.CompileError, match=r'kernel.cu\(1\): error: identifier "b" is undefined'
    ):
        cuda.compile("__global__ void k(float* a) { a[0] = b; }")


@nvrtc
def test_both_compilers_see_the_same_types():
    source = "__global__ void k(const float4* a, unsigned char* b, long long c, unsigned d, signed char e, double* f, bool g, unsigned long h) {}"
    ours, theirs = build(source).parameters, cuda.compile(source).parameters
    assert [(p.name, p.base, p.pointer, p.const) for p in ours] == [
        (p.name, p.base, p.pointer, p.const) for p in theirs
    ]


@pytest.mark.parametrize(
    "missing",
    [
        cuda.CompilerMissing("no C++ compiler: get one"),
        ModuleNotFoundError("No module named 'cuda'", name="cuda.core"),
    ],
)
def test_where_possible_says_in_a_sentence_what_is_missing(missing, capsys):
    with cuda.where_possible():
        raise missing
    assert "compiler" in capsys.readouterr().out


def test_where_possible_hides_nothing_else():
    with pytest.raises(ModuleNotFoundError, match="no_such"), cuda.where_possible():
        import no_such  # noqa: F401
    with pytest.raises(cuda.CompileError), cuda.where_possible():
        build("__global__ void k(int* x) { x[0] = y; }")[1, 1](torch.zeros(1, dtype=torch.int32))
