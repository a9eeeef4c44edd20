"""The slides' numbers on each lecture's subject, from the package's own networks."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from tests import facts

FOLDER = Path(__file__).parent / "facts"
TABLES = sorted(path.stem for path in FOLDER.glob("lecture_*.py"))


@pytest.fixture(scope="module", params=TABLES)
def table(request):
    """What the package gives by the slides' ids, and the ids of what is only quoted."""
    module = import_module(f"tests.facts.{request.param}")
    return module.numbers(), module.QUOTED.split()


def test_every_number_is_the_right_one(table):
    rows = facts.compare_all(table[0]).rows
    wrong = [row for row in rows if row.fact.ours is not None or row.fact.value is not None]
    wrong = [repr(row) for row in wrong if not row.right]
    wrong += [
        f"{row.fact.id}: {row.got!r} is not {row.fact.printed!r}"
        for row in rows
        if row.fact.ours is None and row.fact.value is None and row.got != row.fact.printed
    ]
    assert not wrong, "\n".join(wrong)


def test_what_is_only_quoted_cannot_be_computed(table):
    numbers, quoted = table
    computed = {id for ids in numbers for id in ids.split()}
    assert len(quoted) == len({*quoted}) and not computed & {*quoted}
    assert not [id for id in quoted if facts.get(id).how], "these belong into numbers()"


def test_a_table_is_of_a_lecture_that_is_there():
    there = {path.name[:2] for path in (FOLDER.parents[1] / "lectures").glob("*.ipynb")}
    assert TABLES and {re.sub(r"\D", "", name) for name in TABLES} <= there
