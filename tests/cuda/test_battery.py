"""Correct kernels pass without a finding; every seeded mistake is found and rightly named."""

import battery_courses
import pytest
from battery import BUGS, make

from cnnlab.simulator.causes import CAUSES

CASES = make() | battery_courses.make()
BUGS = BUGS + battery_courses.BUGS


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_correct_kernels_have_no_finding(name, reverse):
    report = CASES[name].run(reverse=reverse)
    assert report.ok, report
    assert CASES[name].right


@pytest.mark.parametrize("name", CASES)
def test_fast_and_checked_agree(name):
    case = CASES[name]
    case.run()
    checked = case.out.clone()
    case.run(mode="fast")
    assert case.right
    assert case.out.allclose(checked, rtol=1e-4, atol=case.tolerance)


@pytest.mark.parametrize(("name", "old", "new", "kinds"), BUGS)
def test_seeded_mistakes_are_found(name, old, new, kinds):
    case = CASES[name]
    assert old in case.source
    report = case.run(case.source.replace(old, new, 1), timeout=1.0)
    if kinds:
        assert report.kinds & kinds, report
        finding = next(f for f in report.findings if f.kind in kinds)
        assert finding.kind == "unwritten" or finding.line, finding
    else:
        assert report.ok, report


def test_the_battery_is_broad():
    wrong = [bug for bug in BUGS if bug[3]]
    assert len(wrong) >= 30 and len({bug[0] for bug in wrong}) >= 4 and len(CASES) >= 15
    assert {kind for bug in wrong for kind in bug[3]} >= set(CAUSES) - {
        "forbidden", "crash", "trap", "wild-pointer", "timeout",
    }  # fmt: skip
