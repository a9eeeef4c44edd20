# ruff: noqa: E501 (kernels and sentences)
"""Judging sources: references pass every rung, typical mistakes fail the right aspect with the right words."""

import pytest

from cnnlab import sandbox
from cnnlab.assignments.ladder import LADDER
from cnnlab.assignments.sources import explain, judge_source

pytestmark = pytest.mark.skipif(
    sandbox.unavailable() is not None, reason=f"no namespaces: {sandbox.unavailable()}"
)


@pytest.mark.parametrize("id", LADDER)
def test_the_reference_passes_its_rung(id):
    verdicts = judge_source(LADDER[id].source, LADDER[id].spec, seed=11)
    assert all(v.passed for v in verdicts), verdicts
    assert sum(v.share for v in verdicts) == pytest.approx(1)
    assert len(LADDER[id].spec.cases(0)) >= 6


def failed(id, *changes, seed=3):
    source = LADDER[id].source
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    return {
        v.aspect: v.sentence
        for v in judge_source(source, LADDER[id].spec, seed=seed)
        if not v.passed
    }


@pytest.mark.parametrize(
    ("id", "mistakes"),
    [
        ("constant", {
            "upside down": ("filter[j * k + i]", "filter[(k - 1 - j) * k + k - 1 - i]"),
            "exchanged": ("j * k + i", "i * k + j"),
        }),
        ("uchar", {"wraps": ("min(sum, 255)", "sum"), "clamped early": ("min(sum, 255)", "min(sum, 254)")}),
    ],
)  # fmt: skip
def test_mistakes_without_a_finding_are_told_apart(id, mistakes):
    suspects = {name: LADDER[id].source.replace(*change) for name, change in mistakes.items()}
    for name, change in mistakes.items():
        assert set(failed(id, change)) >= {"correct"} and "clean" not in failed(id, change)
        assert explain(suspects[name] + "\n", suspects, LADDER[id].spec, seed=5) == name


def test_a_race_that_returns_the_right_answer_is_a_fault():
    once = failed("tiled", ("    __syncthreads();\n", "    __syncwarp();\n"))
    assert "Race in shared memory in line" in once["clean"]


def test_counters_decide_about_the_idea():
    direct = "(row + j - K / 2 >= 0 && row + j - K / 2 < h && col + i - K / 2 >= 0 && col + i - K / 2 < w ? in[(row + j - K / 2) * w + col + i - K / 2] : 0.0f)"
    verdict = failed("tiled", ("tile[threadIdx.y + j][threadIdx.x + i]", direct))
    assert set(verdict) == {"global loads"} and "yours: 26." in verdict["global loads"]
    assert set(failed("layout", ("tile[32][33]", "tile[32][32]"))) == {"bank conflicts"}


def test_counters_count_only_where_the_result_is_right():
    for cheat in (
        "if (h == 128) { out[row * w + col] = 0; return; }",
        "if (h == 128) *(int*)0 = 1;",
    ):
        verdict = failed("constant", ("    float sum", f"    {cheat}\n    float sum"))
        assert set(verdict) == {"global loads", "broadcast"}
        assert "Not judged: for a 128×160 image" in verdict["broadcast"]


def test_sizes_that_catch_people_out():
    assert "1×1 image with a 3×3" in failed("uchar", ("c >= 0 && ", ""))["clean"]
    assert "correct" in failed("tiled", ("- K / 2", "- 1"))


def test_what_never_ends_or_does_not_compile():
    loop = failed("index", ("out[row", "while (true) {}\n    out[row"))
    assert "Infinite loop in line" in loop["clean"] and "did not end" in loop["correct"]
    broken = failed("gemm", ("float sum", "flaot sum"))
    assert "flaot" in broken["compiles"] and set(broken) == {
        "compiles",
        "correct",
        "clean",
        "global loads",
    }
    assert "no kernel" in failed("index", ("brighten", "darken"))["compiles"]


def test_explain_finds_the_one_suspect_that_goes_wrong_alike():
    rung, right = LADDER["index"], LADDER["index"].source
    suspects = {
        "no guard": right.replace("if (row >= h || col >= w) return;", ""),
        "half": right.replace("2.0f", "0.5f"),
    }
    half = right.replace("2.0f * in[row * w + col]", "in[col + w * row] / 2")
    assert explain(half, suspects, rung.spec, seed=5) == "half"
    assert explain(half, suspects | {"again": suspects["half"]}, rung.spec, seed=5) is None
    assert explain(right.replace("2.0f", "3.0f"), suspects, rung.spec, seed=5) is None
    assert explain("int", suspects, rung.spec, seed=5) is None


def test_explain_compares_counters_where_results_are_right():
    right = LADDER["constant"].source
    suspects = {"global filter": right.replace("__constant__", "__device__"), "none": right}
    slow = right.replace("__constant__", "__device__").replace("int r = row", "const int r = row")
    assert explain(slow, suspects, LADDER["constant"].spec, seed=5) == "global filter"
