"""The instructors' page says of every assignment what its notebook says."""

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "instructors.md").read_text()
SOLUTIONS = sorted((ROOT / "solutions").glob("*/*.ipynb"))


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_hours_and_points_are_those_of_the_notebook(path):
    cells = nbformat.read(path, 4).cells
    graded = [cell for cell in cells if cell.metadata.get("nbgrader", {}).get("grade")]
    points = {
        kind: sum(c.metadata.nbgrader.points for c in graded if c.cell_type == kind)
        for kind in ("code", "markdown")
    }
    hours = re.search(r"\*\*Time\*\* (.*?) hours", cells[0].source).group(1)
    row = f"| {path.stem} | {hours} | {points['code']} | {points['markdown']} |"
    assert row in PAGE


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_each_assignment_is_handed_out_in_some_week(path):
    assert re.search(rf"^\| +\d+ \| .* \| {path.stem} \|$", PAGE, re.M)


def test_the_tables_of_numbers_are_all_named():
    from cnnlab.assignments import load_tasks

    tasks = [t for path in SOLUTIONS for t in load_tasks(path.parent).values()]
    values = {t.id for t in tasks if t.kind == "value" and not t.id.startswith("a6")}
    assert values == set(re.findall(r"`(a\d-[\w-]+)`", PAGE))
