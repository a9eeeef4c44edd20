"""Everything that the slides name is taught, and the page that says where is up to date."""

import csv
import re
from pathlib import Path

import nbformat
import pytest

from tests import facts
from tests.course import what_is_taught

TAGS = {row["tag"] for row in what_is_taught.topics()}
FACTS = {fact.id for fact in facts.all_facts()}


def test_all_rows_of_the_lists_are_there():
    counts = {letter: sum(tag[0] == letter for tag in TAGS) for letter in what_is_taught.KINDS}
    assert counts == {"A": 40, "L": 17, "T": 13, "E": 17}
    assert len(TAGS) == len(what_is_taught.topics())
    assert all(row["name"] and row["where"] for row in what_is_taught.topics())


def test_every_tag_names_a_row():
    unknown = [
        f"{section.lecture.name}, {section.title!r}: {tag}"
        for section in what_is_taught.sections()
        for tag in section.teaches
        if tag not in TAGS
    ]
    assert not unknown, unknown


def test_every_row_is_taught():
    taught = {tag for section in what_is_taught.sections() for tag in section.teaches}
    untaught = [
        f"{r['tag']} {r['name']}" for r in what_is_taught.topics() if r["tag"] not in taught
    ]
    assert not untaught, "\n".join(untaught)


def test_the_page_is_what_the_tags_give():
    assert what_is_taught.PAGE.read_text(encoding="utf-8") == what_is_taught.page(), (
        "run: make coverage"
    )


def test_every_fact_is_compared_or_listed_with_a_reason():
    missing = sorted(FACTS - {*what_is_taught.compared()} - {*what_is_taught.not_taught()})
    assert not missing, (
        f"compare them in tests/facts, or list them in facts_not_taught.csv: {missing}"
    )


def test_no_fact_that_is_compared_is_listed_as_not_taught():
    compared = what_is_taught.compared()
    both = {id: compared[id] for id in sorted({*compared} & {*what_is_taught.not_taught()})}
    assert not both, f"`make coverage` takes them off facts_not_taught.csv: {both}"


def test_no_fact_waits_for_a_lecture_that_is_there():
    """A reason that begins with "Lecture 13:" is for the time until there is one."""
    there = {int(path.name[:2]) for path in what_is_taught.LECTURES}
    late = {
        id: reason
        for id, reason in what_is_taught.not_taught().items()
        if (match := re.match(r"Lecture (\d+):", reason)) and int(match[1]) in there
    }
    assert not late, f"compare them in that lecture, or give the reason why not: {late}"


def test_every_id_is_one_of_a_fact():
    assert {*what_is_taught.compared()} <= FACTS
    assert {*what_is_taught.not_taught()} <= FACTS
    assert all(reason.endswith(".") for reason in what_is_taught.not_taught().values())


def test_tags_are_read_from_a_lecture(tmp_path):
    cell = nbformat.v4.new_markdown_cell("## 3.1 · *Max* pooling, and S000-003")
    cell.metadata["cnnlab"] = {"teaches": ["L8"]}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "03_pooling.ipynb")
    (section,) = what_is_taught.sections([tmp_path / "03_pooling.ipynb"])
    assert section.teaches == ["L8"]
    assert section.link == (
        r"[3.1 · \*Max\* pooling, and S000-003]"
        "(../lectures/03_pooling.ipynb#31--max-pooling-and-s000-003)"
    )


@pytest.fixture
def table(tmp_path) -> Path:
    """A lecture's table with three facts, and one that a comment speaks of."""
    path = tmp_path / "lecture_03.py"
    path.write_text('NUMBERS = {"S000-001 S000-004": 1, "S001-001": 2}  # S000-005\n')
    return path


def test_ids_are_read_from_a_lectures_table(table):
    assert what_is_taught.compared([table]) == dict.fromkeys(
        ["S000-001", "S000-004", "S001-001"], "lecture_03"
    )


def test_what_is_compared_is_struck_off_the_list(table, tmp_path, monkeypatch):
    listed = [["ids", "reason"], ["S000-001 S000-002", "Is left."], ["S001-001", "Goes."]]
    with (tmp_path / "facts_not_taught.csv").open("w", newline="") as file:
        csv.writer(file).writerows(listed)
    monkeypatch.setattr(what_is_taught, "HERE", tmp_path)
    monkeypatch.setattr(what_is_taught, "TABLES", [table])
    what_is_taught.strike_what_is_compared()
    assert what_is_taught.not_taught() == {"S000-002": "Is left."}
