"""Writes docs/coverage.md: where each topic of the slides is taught, and which facts are not.

The topics are in ``topics.csv``, the facts that nothing compares in ``facts_not_taught.csv``,
each group with its reason. Where something is taught the lectures say themselves: headings bear
tags (docs/lectures.md). A fact's id stands in the code that compares it, a lecture's table in
``tests/facts``.
"""

import ast
import csv
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import nbformat

from tests import facts

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NOT_TAUGHT = "facts_not_taught"
PAGE = ROOT / "docs" / "coverage.md"
LECTURES = sorted((ROOT / "lectures").glob("*.ipynb"))
TABLES = sorted((ROOT / "tests" / "facts").glob("lecture_*.py"))
KINDS = {
    "A": "Architectures",
    "L": "Layers and operations",
    "T": "Training and systems",
    "E": "Exercises",
}
INTRODUCTION = """# What is taught where

Every network, layer, technique and exercise that five decks of slides name ([their titles and
slips](errata.md)), and the section that teaches it. Written by `make coverage` from the tags in the
lectures; a test fails when it no longer agrees with them.
"""


class Section(NamedTuple):
    """A heading of a lecture that says what it teaches."""

    lecture: Path
    title: str
    teaches: list[str]

    @property
    def link(self) -> str:
        """A link from docs/ to the heading, its anchor as GitHub and Sphinx make it."""
        anchor = re.sub(r"[^\w\- ]", "", self.title.lower()).replace(" ", "-")
        title = re.sub(r"([\\*_`|])", r"\\\1", self.title)
        if not title[0].isdigit():
            title = f"{int(self.lecture.name[:2])} · {title}"
        return f"[{title}](../lectures/{self.lecture.name}#{anchor})"


def sections(lectures: Iterable[Path] | None = None) -> list[Section]:
    """All headings with tags, in the order of the course."""
    return [
        Section(path, cell.source.splitlines()[0].lstrip("# "), cell.metadata.cnnlab.teaches)
        for path in lectures or LECTURES
        for cell in nbformat.read(path, 4).cells
        if "cnnlab" in cell.metadata
    ]


def compared(files: Iterable[Path] | None = None) -> dict[str, str]:
    """The ids of facts in the lectures' tables, each with the first table that it stands in."""
    found: dict[str, str] = {}
    for path in files or TABLES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for id in re.findall(r"\bS\d{3}-\d{3}\b", node.value):
                    found.setdefault(id, path.stem)
    return found


def topics() -> list[dict[str, str]]:
    """Rows of ``tag``, ``name`` and ``where``: decks and lines."""
    return _table("topics")


def not_taught() -> dict[str, str]:
    """The reason for each fact that nothing compares, by its id."""
    rows = _table(NOT_TAUGHT)
    listed = [(id, row["reason"]) for row in rows for id in row["ids"].split()]
    twice = [id for id, count in Counter(id for id, _ in listed).items() if count > 1]
    if twice:
        raise ValueError(f"facts_not_taught.csv lists {', '.join(twice)} twice")
    return dict(listed)


def _table(name: str) -> list[dict[str, str]]:
    text = (HERE / f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def page() -> str:
    """The page, from the tags as they are."""
    tagged = sections()
    parts = [INTRODUCTION]
    for letter, kind in KINDS.items():
        parts.append(f"## {kind}\n\n| | what | taught in | in the slides |\n|---|---|---|---|")
        for row in topics():
            tag, name = row["tag"], row["name"].replace("|", "\\|")
            if tag.startswith(letter):
                links = "<br>".join(s.link for s in tagged if tag in s.teaches)
                parts.append(f"| {tag} | {name} | {links} | {row['where']} |")
        parts.append("")
    parts.append(_facts_section())
    return "\n".join(parts)


def _facts_section() -> str:
    total, used = len(facts.all_facts()), len(compared())
    lines = [
        "## Numbers of the slides that nothing compares\n",
        f"The slides print {total} numbers and statements; {used} of them are set beside the "
        "package's own, lecture by lecture (`tests/facts/`). The others, and why:\n",
        "| facts | why not |\n|---|---|",
    ]
    for row in _table(NOT_TAUGHT):
        lines.append(f"| {_runs(row['ids'].split())} | {row['reason']} |")
    return "\n".join([*lines, ""])


def _runs(ids: list[str]) -> str:
    """``S001-001 to 004, S002-007`` for the five ids."""
    runs: list[list[str]] = []
    for id in ids:
        if runs and id[:5] == runs[-1][-1][:5] and int(id[5:]) == int(runs[-1][-1][5:]) + 1:
            runs[-1].append(id)
        else:
            runs.append([id])
    return ", ".join(f"{r[0]} to {r[-1][5:]}" if len(r) > 2 else ", ".join(r) for r in runs)


def strike_what_is_compared() -> None:
    """Take the facts that are compared by now off the list of those that are not."""
    used, rows = compared(), _table(NOT_TAUGHT)
    for row in rows:
        row["ids"] = " ".join(id for id in row["ids"].split() if id not in used)
    with (HERE / f"{NOT_TAUGHT}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["ids", "reason"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for row in rows if row["ids"])


if __name__ == "__main__":
    strike_what_is_compared()
    PAGE.write_text(page(), encoding="utf-8")
