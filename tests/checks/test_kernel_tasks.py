"""Kernels as answers: what a student is told, at home and while grading."""

from pathlib import Path

import pytest

from cnnlab import sandbox
from cnnlab.answers import answer
from cnnlab.assignments import load_tasks, sources
from cnnlab.assignments.course import load_module
from cnnlab.assignments.kernels import altered_source
from cnnlab.checks import CannotJudge, examine, judge, seed_for
from cnnlab.cuda import CompilerMissing, compiler

pytestmark = pytest.mark.skipif(
    sandbox.unavailable() is not None, reason=f"no namespaces: {sandbox.unavailable()}"
)
SOURCE = next(Path(__file__).parents[2].glob("solutions/a6_*"))
MIRROR, BYTES, CONSTANT, TILED, COARSENED = (
    load_tasks(SOURCE)[f"a6-{name}"]
    for name in ("mirror", "bytes", "constant", "tiled", "coarsened")
)
right = load_module(SOURCE / "right_answers.py")


def at_home(task, source):
    return examine(task, {task.entry: source})


def graded(task, source, key=b"key"):
    cases = task.make_cases(seed_for(task.id, key))
    report = answer(task.kind, task.entry, [], {task.entry: source})
    return judge(task, cases, report, reveal=False)


def changed(source, *changes):
    return altered_source(source(), *changes)


def test_a_mistake_in_another_style_gets_the_same_hint():
    flipped = changed(right.constant_fused, ("filter[tap++]", "filter[k * k - 1 - tap++]"))
    assert at_home(CONSTANT, flipped).misconception == "filter upside down"
    wrapping = changed(right.bytes_helper, ("    if (v < 0) return 0;\n", ""))
    assert at_home(BYTES, wrapping).misconception == "clamped from above only"
    hasty = changed(right.tiled_linear, ("    __syncthreads();\n", ""))
    assert at_home(TILED, hasty).misconception == "barrier missing"
    direct = changed(
        right.tiled_linear,
        (
            "tile[(threadIdx.y + t / K) * side + threadIdx.x + t % K]",
            "in[min(max(y + t / K - half, 0), h - 1) * w + min(max(x + t % K - half, 0), w - 1)]",
        ),
    )
    assert at_home(TILED, direct).misconception == "image read again"


def test_two_mistakes_at_once_are_no_known_one():
    both = changed(right.constant_fused, ("tap++", "k * k - 1 - tap++"), ("h - 1", "h - 2"))
    found = at_home(CONSTANT, both)
    assert found.points < found.max_points and found.misconception is None and not found.hint


def test_each_aspect_earns_its_own_points():
    raced = changed(
        right.tiled_with_spare, ("    __syncthreads();\n    float", "    __syncwarp();\n    float")
    )
    earned = {part.name: bool(part.earned) for part in at_home(TILED, raced).parts}
    assert not earned["clean"]
    slow = changed(right.constant_fused, ("__constant__", "__device__"))
    earned = {part.name: bool(part.earned) for part in at_home(CONSTANT, slow).parts}
    assert earned == {"correct": True, "clean": True, "global loads": False, "broadcast": True}


WITHOUT_A_TILE = """
__constant__ float filter[15 * 15];

template <int K, int WIDTH, int STRIPS, int ROWS>
__global__ void conv2d(const float* in, float* out, int h, int w) {
    int col = blockIdx.x * WIDTH + threadIdx.x;
    if (col >= w) return;
    for (int o = 0; o < ROWS; ++o) {
        int row = (blockIdx.y * STRIPS + threadIdx.y) * ROWS + o;
        if (row >= h) return;
        float sum = 0.0f;
        for (int j = 0; j < K; ++j) {
            int r = min(max(row - K / 2 + j, 0), h - 1);
            for (int i = 0; i < K; ++i) {
                int c = min(max(col - K / 2 + i, 0), w - 1);
                sum += filter[j * K + i] * in[r * w + c];
            }
        }
        out[row * w + col] = sum;
    }
}
"""


def test_a_kernel_without_a_tile_earns_what_its_right_results_are_worth():
    earned = {part.name: bool(part.earned) for part in at_home(COARSENED, WITHOUT_A_TILE).parts}
    assert earned == {"correct": True, "clean": True, "global loads": False, "loads": False}
    assert at_home(COARSENED, WITHOUT_A_TILE).points == 3


def test_the_largest_filter_that_the_text_promises_is_asked():
    small = changed(right.constant_fused, ("filter[225]", "filter[49]"))
    found = at_home(CONSTANT, small)
    assert found.points == 0 and "15×15" in found.text()


@pytest.mark.parametrize(
    "source, words",
    [
        ("", "0 of 10 points"),
        ("__global__ void mirror() {\n    raise NotImplementedError()\n}", "is not written yet."),
        ("__global__ void reflect(float* a) {}", "no kernel 'mirror'"),
        ("__global__ void mirror(const float* in, float* out) {}", "takes 2 arguments"),
        ('__global__ void mirror(float* a) { asm("nop;"); }', "inline PTX (asm) is not supported"),
        ("#include </etc/passwd>\n__global__ void mirror() {}", "only CUDA's own headers"),
        (None, "should be source text, and it is None"),
    ],
)
def test_what_is_no_answer_is_refused_in_words(source, words):
    for found in (at_home(MIRROR, source), graded(MIRROR, source)):
        assert found.points == 0
        assert words in " ".join(found.text().split())


@pytest.mark.parametrize("task", [MIRROR, BYTES, TILED], ids=lambda task: task.id)
def test_a_kernel_that_only_writes_zeros_earns_nothing(task):
    parameters = task.reference().partition(") {")[0]
    zeros = """) {
    int col = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row < h && col < w) out[row * w + col] = 0;
}"""
    found = at_home(task, parameters + zeros)
    assert found.points == 0 and "hardly any result is right" in found.detail


def test_a_compile_error_keeps_its_lines_and_its_caret():
    found = at_home(MIRROR, changed(right.mirror_swapped, ("if (x", "iff (x")))
    assert found.points == 0 and found.problem == "The source does not compile:"
    assert "iff (x" in found.detail and "^" in found.detail
    assert found.text() == found.text().rstrip()


def test_sentences_are_wrapped():
    found = at_home(MIRROR, changed(right.mirror_swapped, ("if (x < w && y < h) ", "")))
    assert len(found.detail.splitlines()) > 1
    assert max(map(len, found.text().splitlines())) <= 80


def test_a_kernel_that_never_ends_costs_its_own_points():
    endless = changed(right.mirror_swapped, ("if (x", "while (w > 0) {}\n    if (x"))
    found = graded(MIRROR, endless)
    assert found.points == 0 and "did not end" in found.problem


def test_a_kernel_that_breaks_out_is_stopped():
    out = """
extern "C" int system(const char*);
__global__ void mirror(const float* in, float* out, int h, int w) { system("touch /tmp/x"); }
"""
    assert graded(MIRROR, out).points == 0


def test_without_a_compiler_the_check_says_so_and_grading_does_not_judge(monkeypatch):
    def missing():
        raise CompilerMissing("no C++ compiler: install g++")

    monkeypatch.setattr(compiler, "_compiler", missing)
    monkeypatch.setattr(compiler, "launcher", missing)
    sources.behaviour.cache_clear()
    found = at_home(MIRROR, right.mirror_swapped())
    assert (found.points, found.problem) == (0, "Not judged: no C++ compiler: install g++.")
    with pytest.raises(CannotJudge, match="install g\\+\\+"):
        graded(MIRROR, right.mirror_swapped())


def test_others_code_is_refused_where_it_cannot_be_confined(monkeypatch):
    asked = []
    for name in ("judge_source", "explain"):
        real = getattr(sources, name)
        monkeypatch.setattr(
            f"cnnlab.assignments.kernels.{name}",
            lambda *args, real=real, **how: asked.append(how["isolation"]) or real(*args, **how),
        )
    upside_down = changed(right.mirror_swapped, ("(y + 1)", "(h - y)"))
    graded(MIRROR, upside_down)
    assert asked == ["required", "required"]
    at_home(MIRROR, upside_down)
    assert asked[2:] == ["preferred", "preferred"]


def test_a_change_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="does not hold 'grid'"):
        altered_source("kernel", ("grid", "block"))
