"""Answers by people who had seen the questions only are judged as they meant them."""

import pytest
from grader_quality import BY_ID
from stranger_answers import bank, interval, tried

BANKS = ("one", "two", "three", "four")

# What is judged otherwise, and why it stays so.
MENDED_TEXT = "wrong by the text as it is now, which did not say so when the answer was written"
ALIKE = "in every network of that part the size changes where the channels do"
OTHERWISE = {
    "two, a7-head: subclass-free setattr": MENDED_TEXT,
    "two, a7-freeze: prefixes": MENDED_TEXT,
    "four, a5-resnet: shortcut by size only": ALIKE,
    "four, a5-resnet: shortcut by channels only": ALIKE,
}


def answers():
    for name in BANKS:
        for given in bank(name):
            quick = BY_ID[given.task].kind in ("function", "module", "value")
            marks = () if quick and name == "one" else pytest.mark.slow
            title = f"{name}, {given.task}: {given.name}"
            if not given.ambiguous and title not in OTHERWISE:
                yield pytest.param(given, id=title, marks=marks)


@pytest.mark.parametrize("given", list(answers()))
def test_an_answer_of_a_stranger_is_judged_as_it_was_meant(given):
    full = {verdict.points == verdict.max_points for verdict in tried(given)}
    assert full == {given.right}, given.why


def test_each_exception_is_an_answer_of_the_banks():
    titles = {f"{n}, {given.task}: {given.name}" for n in BANKS for given in bank(n)}
    assert titles >= set(OTHERWISE)


def test_the_interval_is_wilson_s():
    low, high = interval(5, 100)
    assert (round(low, 4), round(high, 4)) == (0.0215, 0.1118)
    assert interval(0, 50)[0] == 0.0
