"""The slides' numbers as data: consistent in themselves, and compared in plain words."""

import doctest
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import facts

ALL = facts.all_facts()
DECKS = {"S000": 149, "S001": 104, "S002": 192, "S003": 76, "S004": 115}


def test_every_number_of_every_deck_is_there():
    for deck, count in DECKS.items():
        ids = [fact.id for fact in ALL if fact.deck == deck]
        assert ids == [f"{deck}-{number:03}" for number in range(1, count + 1)]


def is_consistent(fact):
    agrees = facts.Comparison(fact, fact.ours).agrees
    if (fact.status == "erratum") != bool(fact.erratum and fact.cause):
        return False
    if fact.status == "agrees":
        return agrees and bool(fact.how)
    if fact.status == "erratum":
        return not agrees and fact.ours is not None
    if fact.status == "derived":
        return fact.value is None and fact.ours is not None and bool(fact.how)
    return fact.status == "quoted" and not fact.how


def test_status_follows_from_the_numbers():
    """No erratum that in fact agrees, no disagreement that is not an erratum."""
    assert [fact.id for fact in ALL if not is_consistent(fact)] == []


def test_every_cause_explains_something():
    used = {fact.erratum for fact in ALL} - {""}
    assert used == {row["erratum"] for row in facts._table("errata")}


def test_errata_page_is_up_to_date():
    page = Path(__file__).parents[1] / "docs" / "errata.md"
    assert page.read_text(encoding="utf-8") == facts.errata_markdown(), (
        "run: python -m tests.facts > docs/errata.md"
    )
    assert all(fact.id in page.read_text() for fact in ALL if fact.status == "erratum")


@pytest.mark.parametrize(
    ("id", "got", "right", "agrees", "words"),
    [
        ("S002-076", 61_100_840, True, True, "AGREES"),
        ("S002-076", 62_378_344, False, False, "61,100,840 params is expected"),
        ("S000-006", 102_760_448, True, True, "AGREES"),  # truncated on the slide
        ("S000-030", 480_836_608, True, False, "the digits are transposed"),
        ("S000-030", 418_000_000, False, True, "this is what is printed; right is 480,836,608"),
        ("S000-030", 1, False, False, "480,836,608 MACs is expected"),
        ("S002-078", 54_226_848, True, False, "twelve|13"),
        ("S001-013", 62_378_344, True, False, "prints no number"),
        ("S000-035", 6.67, True, False, "not computed here"),
        ("S004-028", ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d"], True, False, "Letters"),
    ],
)
def test_compare_says_what_is_wrong(id, got, right, agrees, words):
    comparison = facts.compare(id, got)
    assert (comparison.right, comparison.agrees, bool(comparison)) == (right, agrees, right)
    assert re.search(words, " ".join(str(comparison).split()))
    assert comparison.fact.quantity in " ".join(str(comparison).split())
    assert str(comparison) == str(facts.compare(id, got))


def test_compare_all_is_a_line_for_each_number():
    table = facts.compare_all({"S000-030 S002-115": 480_836_608, "S000-031": 22})
    assert table and len(table.rows) == 3
    _, *totals, depth = str(table).splitlines()  # the decks name the total differently
    assert [re.findall(r"418 +480,836,608 MACs +erratum +(S.*)", row) for row in totals] == [
        ["S000-030"],
        ["S002-115"],
    ]
    assert re.search("22 layers +22 layers +agrees +S000-031$", depth)


def test_decks_that_print_the_same_share_a_line():
    table = facts.compare_all({"S000-011 S002-096": 118_013_952})
    assert str(table).endswith("agrees   S000-011, S002-096")


def test_compare_all_is_false_where_one_number_is_wrong():
    table = facts.compare_all({"S000-031 S001-085": 22, "S000-030": 418_000_000})
    assert not table
    assert "differs" in str(table).splitlines()[-1]


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, lambda x: tuple(map(tuple, x))])
def test_compare_takes_any_array(kind):
    rows = [[0, 24, 24, 0]] * 4
    assert facts.compare("S004-006", kind(rows)).right
    rows = [[0, 24, 24, 0]] * 3 + [[0, 24, 24, 1]]
    assert "1 of 16 differ" in str(facts.compare("S004-006", kind(rows)))
    assert not facts.compare("S004-006", 24).right


def test_get():
    fact = facts.get("S002-053")
    assert (fact.value, fact.step, fact.ours) == (145_000_000, 1_000_000, 149_520_384)
    assert "150 million" in str(fact)
    with pytest.raises(KeyError, match="the nearest are S002-05"):
        facts.get("S002-0533")
    with pytest.raises(KeyError, match="ids look like S002-053"):
        facts.get("?")


def test_examples_in_the_docstring():
    assert doctest.testmod(facts, extraglobs={"facts": facts}).failed == 0


# Sayings, conventions, and an entry of 2013 whose paper doesn't print the number.
WITHOUT_A_PAPER = "S000-068 S000-149 S001-020 S001-104 S002-084 S004-027 S004-068"


def test_what_is_quoted_has_paper_and_place_beside_it():
    source = r"\d{4}( \(\w.*?\))?, (section|table|figure)|README of|Programming Guide,|, talk at "
    quoted = [fact for fact in facts.all_facts() if fact.status == "quoted"]
    dated = {fact.id for fact in quoted if fact.note == "depends on the date"}  # citation counts
    without = {fact.id for fact in quoted if not re.search(source, fact.note)} - dated
    assert without == {*WITHOUT_A_PAPER.split()}
    assert len(dated) == 20
