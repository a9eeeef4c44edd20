"""The machinery of benchmarks: turns, cells, and a page that is what the figures say."""

import json

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output, writes

from benchmarks import _report, cuda, gpu, lectures
from benchmarks.grading_scale import Costs, limits, needed, simulate, throughputs


def test_candidates_take_turns():
    calls = []
    seconds = _report.interleaved(
        {name: lambda name=name: calls.append(name) for name in "abc"}, rounds=3, warmup=1
    )
    assert [sorted(calls[i : i + 3]) for i in range(0, 12, 3)] == [["a", "b", "c"]] * 4
    assert {calls[i] for i in range(3, 12, 3)} == {"a", "b", "c"}  # each goes first once
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_waits_for_the_device_around_each_call():
    order = []
    _report.interleaved(
        {"a": lambda: order.append("call")},
        rounds=1,
        warmup=0,
        synchronize=lambda: order.append("wait"),
    )
    assert order == ["wait", "call", "wait"]


def test_figures_and_page(tmp_path, capsys):
    _report.save(
        "one",
        title="One",
        question="How long?",
        columns=["what", "time", "ratio", "MACs", "share"],
        rows=[
            ["x", _report.time([0.002, 0.001, 0.003]), _report.ratio([4.0], [2.0]), 1234567, 0.5]
        ],
        notes=["Counted: nothing."],
        docs=tmp_path,
    )
    record = json.loads((tmp_path / "benchmarks" / "one.json").read_text())
    assert record["rows"][0][1] == {"seconds": 0.002, "low": 0.0015, "high": 0.0025, "runs": 3}
    assert record["rows"][0][2]["times"] == 2
    assert {"torch", "python"} <= record["versions"].keys() and record["machine"]["processor"]
    page = (tmp_path / "benchmarks.md").read_text()
    row = "| x | 2.00 ms (1.50 to 2.50) | 2.00× (2.00 to 2.00) | 1,234,567 | 0.500 |"
    assert row in page and row in capsys.readouterr().out
    assert "Counted: nothing." in page and record["date"] in page


@pytest.mark.parametrize(
    ("seconds", "text"), [(120.0, "120 s"), (1.5e-5, "15.0 µs"), (2e-8, "20.0 ns")]
)
def test_units_of_time(seconds, text):
    assert _report._show(_report.time([seconds])).startswith(text + " (")


def test_page_is_what_the_figures_say():
    assert (_report.DOCS / "benchmarks.md").read_text(encoding="utf-8") == _report.page(), (
        "run: python -m benchmarks._report"
    )


def test_the_roofline_shows_every_rung(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    titles = ["copy", *(f"rung {i}" for i in range(9))]
    points = [{"k": k, "title": t, "pixels_per_second": 1e9} for t in titles for k in (3, 5)]
    axes = cuda.draw_roofline(points, "a card", 6e13, tmp_path).axes[0]
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown[1:] == titles[1:] and len(axes.get_lines()) == 10
    assert (tmp_path / "benchmarks/cuda_roofline.png").stat().st_size > 0


@pytest.mark.parametrize(
    "stage, ended",
    [
        (gpu.Stage("tests", ["-c", "print('3 passed')"], 60), "passed"),
        (gpu.Stage("tests", ["-c", "raise SystemExit(3)"], 60), "FAILED (status 3)"),
        (gpu.Stage("tests", ["-c", "import time; time.sleep(60)"], 1), "cut off after 1 s"),
        (gpu.Stage("tests", ["-c", ""], 1, ["no_such.module", "os"]), "not run"),
    ],
)
def test_a_stage_on_a_gpu_ends_in_a_row(stage, ended):
    name, how, seconds, words = gpu.run(stage)
    assert (name, how) == ("tests", ended) and seconds < 60
    assert words == {"passed": "3 passed", "not run": "pip install no_such.module"}.get(how, "")


def test_the_files_of_the_gpu_s_tests_exist_and_hold_them():
    for name in gpu.TESTS:
        assert "pytest.mark.gpu" in (gpu.ROOT / name).read_text(encoding="utf-8"), name


def test_a_lecture_that_prints_something_else_is_told_by_its_cell(tmp_path):
    def cell(code, text):
        return new_code_cell(code, outputs=[new_output("stream", name="stdout", text=text)])

    cells = [cell("print(1)", "1\n"), cell("print(2)", "3\n"), cell("print(4)", "5\n")]
    cells[2].metadata.tags = ["nbval-ignore-output"]
    path = tmp_path / "lecture.ipynb"
    path.write_text(writes(new_notebook(cells=cells)))
    assert lectures.differences(path) == ["cell 1: stdout is '2\\n', not '3\\n'"]


def test_a_lecture_that_kills_its_kernel_does_not_end_the_comparison(tmp_path):
    path = tmp_path / "lecture.ipynb"
    path.write_text(writes(new_notebook(cells=[new_code_cell("import os\nos._exit(1)")])))
    (sentence,) = lectures.differences(path)
    assert sentence.startswith("DeadKernelError: ")


# --- the simulation of many graders ---


def test_one_worker_does_one_after_another():
    costs = Costs([2.0, 3.0], wait=0.5, schedule=0.25, enter=0.125, start=4.0, finish=1.0)
    # The first is entered while the second is served.
    foreseen = 4 + 2 * 0.5 + 2 + 3 + 0.25 + 0.125 + 1
    assert simulate(costs, 1, 2, draw=False) == pytest.approx(foreseen)


def test_without_a_coordinator_s_cost_workers_share_the_work():
    assert simulate(Costs([1.0]), 4, 40) == pytest.approx(10.0)


def test_shared_cores_are_shared_and_waiting_needs_none():
    costs = Costs([1.0], enter=0.5)
    assert simulate(costs, 4, 40, cores=2) >= 40 * 1.5 / 2
    assert simulate(costs, 4, 40, cores=1) == pytest.approx(40 * 1.5)
    # In step: both wait for a second, then both compute for two.
    assert simulate(Costs([1.0], wait=1.0), 2, 40, cores=1) == pytest.approx(20 * 3)


def test_what_is_there_takes_its_part_of_the_cores_all_the_time():
    costs = Costs([1.0], start=3.0, idle=0.05, idle_others=0.1)
    assert simulate(costs, 2, 40, cores=1) == pytest.approx((3 + 40) / 0.8)
    assert simulate(costs, 8, 40, cores=1) == pytest.approx((3 + 40) / 0.5)
    assert simulate(costs, 2, 40, cores=4) == pytest.approx(3 + 20)


def test_coordinator_and_network_are_the_limits():
    costs = Costs([1.0], enter=0.010, job=2e6, result=1e6, start=100.0)
    assert limits(costs) == {"coordinator": pytest.approx(100.0), "network": pytest.approx(62.5)}
    found = throughputs(costs, [1, 16, 256])
    assert found[1] == pytest.approx(1.0, rel=0.05) and found[16] == pytest.approx(16, rel=0.1)
    assert 0.8 * 62.5 < found[256] <= 62.5
    fast = throughputs(costs, [256], link=1e12)
    assert 0.8 * 100 < fast[256] <= 100.0


def test_how_many_workers_a_night_takes():
    costs = Costs([0.5, 1.0], wait=0.25, enter=0.01, result=1e5)
    assert needed(costs, 36_000, 3600) == 10
    assert needed(costs, 1_000_000, 3600) is None
