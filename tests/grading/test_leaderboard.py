"""The class's answers by the figures that their judge reported."""

import xml.etree.ElementTree as ET

from cnnlab.grading.leaderboard import chart, frontier, leaderboard
from cnnlab.grading.report import write_class_report

AXES = ("MACs", "accuracy")


def figures(accuracy, macs):
    return {"accuracy": accuracy, "MACs": macs, "parameters": 7}


def test_the_frontier_is_what_no_other_beats():
    dots = [(900, 0.97), (100, 0.9), (500, 0.95), (600, 0.93), (500, 0.94), (1000, 0.97)]
    assert frontier(dots) == [(100, 0.9), (500, 0.95), (900, 0.97)]
    assert frontier([]) == []


def test_a_picture_shows_every_dot_and_better_ones_higher_and_cheaper_ones_to_the_left():
    dots = {"ada": (20_000, 0.98), "bob <b>": (90_000, 0.96)}
    root = ET.fromstring(chart(dots, frontier(list(dots.values())), AXES, "the frontier"))
    ada, bob = root.findall(".//{*}circle")
    assert float(ada.get("cx")) < float(bob.get("cx"))
    assert float(ada.get("cy")) < float(bob.get("cy"))
    assert [c[0].text for c in (ada, bob)] == [
        "ada: accuracy 98.00%, 20,000 MACs",
        "bob <b>: accuracy 96.00%, 90,000 MACs",
    ]


def test_one_dot_and_extreme_ones_have_a_picture_too():
    for dots in ({"a": (0, 0.0)}, {"a": (1, 1.0)}, {"a": (10**9, 0.1), "b": (1, 0.1)}):
        ET.fromstring(chart(dots, [], AXES, "none"))


def test_the_class_has_a_row_each_and_the_frontier_is_marked():
    class_ = {"ada": figures(0.98, 20_000), "<bob>": figures(0.97, 90_000)}
    page = leaderboard({"t-golf": class_})
    mark = "<span class='mark read'>frontier</span>"
    assert f"<td>ada {mark}<td class=n>98.00%<td class=n>20,000<td class=n>7" in page
    assert "<td>&lt;bob&gt; <td class=n>97.00%" in page and "<bob>" not in page
    assert page.count("<h2>") == 1


def test_the_class_report_holds_it_where_there_are_figures_and_only_there(tmp_path):
    verdict = {"points": 3.0, "max_points": 4.0, "misconception": None, "parts": []}
    graded = {
        "student": "ada",
        "assignment": "t",
        "when": "",
        "problem": "",
        "scores": {"t-golf": 3.0, "t-other": 3.0},
        "seconds": {"total": 1.0},
        "tasks": {"t-golf": verdict | {"figures": figures(0.98, 20_000)}, "t-other": verdict},
    }
    write_class_report(tmp_path / "c.html", "t", [graded])
    page = (tmp_path / "c.html").read_text()
    assert page.count("<svg") == 1 and "t-golf: accuracy against MACs" in page
    del graded["tasks"]["t-golf"]["figures"]  # as reports of before had none
    write_class_report(tmp_path / "c.html", "t", [graded])
    assert "<svg" not in (tmp_path / "c.html").read_text()
