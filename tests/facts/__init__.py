"""Numbers that lecture slides print, as data: what is printed, what it should be, and why.

Five decks of slides on CNN architectures are the course's sources. Each number in them has an id
(``S002-053`` is number 53 of deck S002) and one of four states:

- ``agrees``: our value, rounded or truncated to the printed digits, is what the slide says;
- ``erratum``: it isn't, and the cause is known;
- ``derived``: the slide prints no number there, and this is the one that belongs to it;
- ``quoted``: a measurement, a date or a claim, which no calculation reproduces.

Everything is in base units: parameters, MACs, bytes, pixels. The slides' "FLOP" is one
multiply-add, which is one MAC here; their "KB" is 1024 bytes, and "MB" 1024 KB.

>>> facts.compare("S000-030", 480_836_608)
S000-030  GoogLeNet stem: stem MFLOP total (deck S000, line 152)
  printed  418 = 418,000,000 MACs
  ours     480,836,608 MACs
  ERRATUM  The five rows above the total add to 118 + 2 + 13 + 347 + 1 = 481: the digits are
           transposed.
"""

from __future__ import annotations

import csv
import difflib
import json
import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = [
    "Comparison",
    "Comparisons",
    "Fact",
    "all_facts",
    "compare",
    "compare_all",
    "errata_markdown",
    "get",
]


@dataclass(frozen=True)
class Fact:
    """One number of a slide.

    Attributes
    ----------
    id, topic, quantity, where : str
        What it is, and where: the lines count in the deck's text.
    printed : str
        As the slide prints it; empty where it prints no number.
    value, ours : number, list, str or None
        The printed value and the right one, in base units.
    step : number, list or None
        What one unit of the last printed digit is worth.
    unit : str
        Base unit, such as ``"MACs"`` or ``"bytes"``.
    status : str
        ``"agrees"``, ``"erratum"``, ``"derived"`` or ``"quoted"``.
    erratum, title, cause : str
        Key, title and cause of the erratum, if it is one; several facts can share them.
    how : str
        The expression with which the tests recompute ``ours``; empty where nothing can.
    note : str
        A remark: a variant, a rounding, a source.
    """

    id: str
    topic: str
    quantity: str
    where: str
    printed: str
    value: Any
    step: Any
    ours: Any
    unit: str
    status: str
    erratum: str
    title: str
    cause: str
    how: str
    note: str

    @property
    def deck(self) -> str:
        """Id of the deck, ``S000`` to ``S004``."""
        return self.id.split("-")[0]

    def __repr__(self) -> str:
        return _text(self._heading(), self._lines())

    def _heading(self) -> str:
        return f"{self.id}  {self.topic}: {self.quantity} (deck {self.deck}, {self.where})"

    def _printed(self) -> str:
        if not self.printed:
            return "no number"
        shown = _number(self.value, self.unit)
        plain = shown.replace(",", "").removesuffix(f" {self.unit}")
        if not _is_number(self.value) or plain == self.printed.replace(",", "").rstrip("%x"):
            return self.printed
        return f"{self.printed} = {shown}"

    def _verdict(self) -> tuple[str, str]:
        if self.status == "erratum":
            return "ERRATUM", " ".join(filter(None, [self.cause, self.note and f"({self.note})"]))
        words = {
            "agrees": "to the printed digits",
            "derived": "the slide prints no number here",
            "quoted": "not computed here",
        }
        return self.status.upper(), "; ".join(filter(None, [words[self.status], self.note]))

    def _lines(self) -> list[tuple[str, str]]:
        lines = [("printed", self._printed())]
        if self.ours is not None:
            lines.append(("right", _number(self.ours, self.unit)))
        return [*lines, self._verdict()]


@dataclass(frozen=True, repr=False)
class Comparison:
    """A number that you computed, next to the slide's. True where yours is right."""

    fact: Fact
    got: Any

    @property
    def agrees(self) -> bool:
        """Whether your number, rounded or truncated, is what the slide prints."""
        return _agrees(self.got, self.fact.value, self.fact.step)

    @property
    def right(self) -> bool:
        """Whether your number is the right one, to the printed digits if the slide is right."""
        if self.fact.status != "erratum" and self.agrees:
            return True
        return _equal(self.got, self.fact.ours)

    __bool__ = right.fget

    def __repr__(self) -> str:
        return _text(self.fact._heading(), self._lines())

    def _state(self) -> str:
        if not self.right and (self.fact.ours is not None or self.fact.value is not None):
            return "differs"
        return self.fact.status

    def _lines(self) -> list[tuple[str, str]]:
        fact, unit = self.fact, self.fact.unit
        lines = [("printed", fact._printed()), ("ours", _number(self.got, unit))]
        if self._state() != "differs":
            return [*lines, fact._verdict()]
        expected = fact.value if fact.ours is None else fact.ours
        if fact.status == "erratum" and self.agrees:
            lines.append(
                ("DIFFERS", f"this is what is printed; right is {_number(expected, unit)}")
            )
        else:
            lines.append(("DIFFERS", f"{_number(expected, unit)} is expected{_cells(self)}"))
        return [*lines, fact._verdict()] if fact.status == "erratum" else lines


@dataclass(frozen=True, repr=False)
class Comparisons:
    """Many numbers that you computed, next to the slides', a line each. True where all are right.

    Slides that print the same number of the same thing share a line.
    """

    rows: tuple[Comparison, ...]

    def __bool__(self) -> bool:
        return all(self.rows)

    def __repr__(self) -> str:
        table = [("", "printed", "ours", "", "where")]
        for what, printed, ours, *rest in self._cells():
            table.append((_clipped(what, 50), _clipped(printed, 24), _clipped(ours, 40), *rest))
        widths = [max(len(row[i]) for row in table) for i in range(3)]
        return "\n".join(
            f"{what:{widths[0]}}  {printed:>{widths[1]}}  {ours:>{widths[2]}}"
            f"  {verdict:7}  {ids}".rstrip()
            for what, printed, ours, verdict, ids in table
        )

    def _cells(self) -> list[tuple[str, str, str, str, str]]:
        lines: dict[tuple[str, ...], list[str]] = {}
        for row in self.rows:
            fact = row.fact
            line = (fact.quantity, fact.printed, _number(row.got, fact.unit), row._state())
            lines.setdefault(line, []).append(fact.id)
        return [(*line, ", ".join(ids)) for line, ids in lines.items()]


def get(id: str) -> Fact:
    """The fact with this id, such as ``"S002-053"``; KeyError names the nearest ids."""
    try:
        return _facts()[id]
    except KeyError:
        near = difflib.get_close_matches(str(id), _facts(), n=3)
        hint = f"the nearest are {', '.join(near)}" if near else "ids look like S002-053"
        raise KeyError(f"no fact has the id {id!r}: {hint}") from None


def compare(id: str, got: Any) -> Comparison:
    """Your number next to the slide's, with the erratum if it is one.

    Parameters
    ----------
    id : str
        Of the fact.
    got : number, sequence or array
        In base units: parameters, MACs, bytes, pixels. Nested sequences are compared item by item.
    """
    return Comparison(get(id), _plain(got))


def compare_all(numbers: Mapping[str, Any]) -> Comparisons:
    """Many numbers at once, as one table.

    Parameters
    ----------
    numbers : dict
        Your number by the fact's id, or by several ids with blanks between: slides repeat each
        other. ``{"S000-041 S001-076": 854_196_224}``.

    Raises
    ------
    KeyError
        For an id that no fact has.
    """
    return Comparisons(
        tuple(compare(id, got) for ids, got in numbers.items() for id in ids.split())
    )


def all_facts() -> tuple[Fact, ...]:
    """Every fact, in the order of the decks."""
    return tuple(_facts().values())


def errata_markdown() -> str:
    """``docs/errata.md``: each cause with the numbers that it explains."""
    decks = "\n".join(f"- **{d['deck']}**: {d['title']} ({d['author']})" for d in _table("decks"))
    errata = [fact for fact in all_facts() if fact.status == "erratum"]
    count = sum(bool(fact.how) for fact in all_facts())
    parts = [
        "# Errata of the slides\n",
        f"Of {len(all_facts())} numbers and statements in five decks of slides, {len(errata)} are "
        f"wrong or need a word. {count} were recomputed by the tests, which also fail when a "
        "number below turns out to agree.\n",
        "One FLOP of the slides is one multiply-add, called a MAC here; KB are 1024 bytes. "
        "`tests/facts/` holds them all as data.\n",
        f"{decks}\n",
        "This file is made by `python -m tests.facts`; edit the tables in `tests/facts/`.\n",
    ]
    for erratum in _table("errata"):
        rows = [fact for fact in errata if fact.erratum == erratum["erratum"]]
        parts.append(f"## {erratum['title']}\n\n{erratum['cause']}\n")
        parts.append("| id | where | what | printed | right |\n|---|---|---|---|---|")
        for fact in rows:
            cells = (fact.id, fact.where, f"{fact.topic}: {fact.quantity}", fact.printed)
            right = _number(fact.ours, fact.unit)
            parts.append("| " + " | ".join(_cell(c) for c in (*cells, right)) + " |")
        parts.append("")
    return "\n".join(parts)


# --- reading and writing ----------------------------------------------------------------------


@cache
def _table(name: str) -> list[dict[str, str]]:
    text = (files(__package__) / f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def _facts() -> dict[str, Fact]:
    errata = {row["erratum"]: row for row in _table("errata")}
    errata[""] = {"title": "", "cause": ""}
    facts = {}
    for row in _table("slides"):
        erratum = errata[row["erratum"]]
        numbers = {key: json.loads(row[key] or "null") for key in ("value", "step", "ours")}
        words = {"title": erratum["title"], "cause": erratum["cause"]}
        facts[row["id"]] = Fact(**{**row, **numbers, **words})
    return facts


def _plain(value: Any) -> Any:
    """Tensors, arrays and tuples as lists, their scalars as numbers."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _agrees(got: Any, printed: Any, step: Any) -> bool:
    """Whether ``got`` rounds, or truncates, to what is printed."""
    if isinstance(printed, list):
        if not isinstance(got, list) or len(got) != len(printed):
            return False
        steps = step if isinstance(step, list) else [step] * len(printed)
        return all(map(_agrees, got, printed, steps))
    if not _is_number(printed) or not _is_number(got):
        return got == printed is not None
    if not step:
        return _equal(got, printed)
    nearest = abs(got - printed) <= step / 2 * (1 + 1e-9)
    truncated = 0 <= (abs(got) - abs(printed)) < step and got * printed >= 0
    return nearest or truncated


def _equal(got: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        return (
            isinstance(got, list) and len(got) == len(expected) and all(map(_equal, got, expected))
        )
    if _is_number(got) and _is_number(expected):
        return math.isclose(got, expected, rel_tol=1e-6)
    return got == expected is not None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: Any, unit: str = "") -> str:
    """``480,836,608 MACs``; bytes also in KB or MB, a matrix as the number of its cells."""
    if value is None:
        return ""
    if isinstance(value, list):
        if value and isinstance(value[0], list):
            return f"{len(value)}×{len(value[0])} cells"
        return f"{', '.join(_number(item) for item in value)} {unit}".strip()
    if not _is_number(value):
        return str(value)
    if unit == "year":
        return str(value)
    if isinstance(value, int) or value.is_integer():
        text = f"{int(value):,}"
    else:
        text = f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"
    if unit == "bytes" and value >= 2**20:
        unit = f"bytes ({value / 2**20:.2f} MB)"
    elif unit == "bytes":
        unit = f"bytes ({value / 1024:.4g} KB)"
    return text + unit if unit in ("x", "%") else f"{text} {unit}".strip()


def _cells(comparison: Comparison) -> str:
    """How many cells of a matrix are off, when the shapes are the same."""
    got, fact = comparison.got, comparison.fact
    rows = fact.value if fact.ours is None else fact.ours
    try:
        pairs = [
            (a, b)
            for one, other in zip(got, rows, strict=True)
            for a, b in zip(one, other, strict=True)
        ]
    except (TypeError, ValueError):
        return ""
    off = sum(not (_equal(a, b) or abs(a - b) < (fact.step or 0)) for a, b in pairs)
    return f", {off} of {len(pairs)} differ"


def _clipped(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _text(heading: str, lines: list[tuple[str, str]]) -> str:
    width = max(len(label) for label, _ in lines)
    indent = " " * (width + 4)
    wrapped = [textwrap.fill(text, 100 - len(indent)) for _, text in lines]
    return "\n".join(
        [heading]
        + [
            f"  {label:{width}}  {textwrap.indent(text, indent).strip()}"
            for (label, _), text in zip(lines, wrapped, strict=True)
        ]
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")
