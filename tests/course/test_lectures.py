"""What every lecture keeps to, as docs/lectures.md describes it (nbval compares its outputs)."""

import json
import re
from pathlib import Path
from statistics import median

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
LECTURES = sorted((ROOT / "lectures").glob("*.ipynb"))
ASSIGNMENTS = {path.name for path in (ROOT / "solutions").iterdir() if path.is_dir()}
IMAGES = ("image/png", "image/jpeg")
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module", params=LECTURES, ids=lambda path: path.stem)
def lecture(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(lecture):
    return [cell for cell in lecture.cells if cell.cell_type == "code"]


def outputs(lecture):
    return [output for cell in code_cells(lecture) for output in cell.outputs]


def text(lecture):
    return "\n\n".join(cell.source for cell in lecture.cells if cell.cell_type == "markdown")


@pytest.mark.parametrize("path", LECTURES, ids=lambda path: path.stem)
def test_it_is_at_most_a_megabyte(path):
    assert path.stat().st_size <= 1_000_000


def test_it_was_run_from_top_to_bottom(lecture):
    counts = [cell.execution_count for cell in code_cells(lecture)]
    assert counts == list(range(1, len(counts) + 1))
    assert not [output for output in outputs(lecture) if output.output_type == "error"]


def test_its_code_cells_are_short(lecture):
    lines = [len(cell.source.splitlines()) for cell in code_cells(lecture)]
    assert median(lines) <= 10
    assert max(lines) <= 40


def test_every_image_says_in_words_what_it_shows(lecture):
    shown = [output for output in outputs(lecture) if output.get("data", {}).keys() & {*IMAGES}]
    assert shown
    for output in shown:
        (mime,) = output.data.keys() & {*IMAGES}
        alt = output.metadata.get(mime, {}).get("alt", "")
        assert len(alt) > 20
        assert output.data["text/plain"] == alt
    assert not re.findall(r"!\[\s*\]\(", text(lecture)), "an image in Markdown without alt text"


def test_its_outputs_are_small(lecture):
    assert max(len(json.dumps(output)) for output in outputs(lecture)) <= 250_000


def test_no_number_differs_from_the_right_one(lecture):
    """What `facts.compare` says beside a number that is neither the slide's nor the right one."""
    for output in outputs(lecture):
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        assert not re.search(r"^  DIFFERS  |  differs  ", text, re.M), text


def test_it_stores_no_dead_widgets(lecture):
    assert "widgets" not in lecture.metadata
    assert not [o for o in outputs(lecture) if WIDGET in o.get("data", {})], "run `make lectures`"


def test_it_has_the_shape_of_a_lecture(lecture):
    words = text(lecture)
    first = lecture.cells[0].source
    assert re.match(r"# \d+ · \w", first)
    assert "**After this lecture you can**" in first
    assert re.search(r"\*\*Time\*\* \| about \d+ minutes", first)
    assert "**Predict first.**" in words
    for heading in ("Summary", "Quiz", "Exercises", "Read on", "Sources"):
        assert f"\n## {heading}\n" in f"\n{words}\n", heading
    assert words.count("<details><summary>Answer</summary>") >= 3
    assert words.count("<details>") == words.count("</details>")
    assert "../assignments/" in words


def test_its_assignments_exist(lecture):
    named = re.findall(r"\.\./assignments/(\w+)/|`(a\d_\w+)`", text(lecture))
    assert {link or name for link, name in named} <= ASSIGNMENTS


def test_its_minutes_add_up(lecture):
    total = int(re.search(r"\*\*Time\*\* \| about (\d+) minutes", text(lecture))[1])
    parts = [int(minutes) for minutes in re.findall(r"^\*(\d+) minutes\*$", text(lecture), re.M)]
    assert sum(parts) == total


def test_its_tags_say_what_it_teaches(lecture):
    tagged = [cell for cell in lecture.cells if "cnnlab" in cell.metadata]
    assert tagged
    for cell in tagged:
        assert cell.source.startswith("#"), "tags stand on the heading of what teaches it"
        assert set(cell.metadata.cnnlab) == {"teaches"}
        for tag in cell.metadata.cnnlab.teaches:
            assert re.fullmatch(r"[ALTE][1-9]\d?", tag)


def drop_alt(lecture):
    for output in outputs(lecture):
        for mime in output.get("data", {}).keys() & {*IMAGES}:
            del output.metadata[mime]["alt"]


def add_markdown(words):
    return lambda lecture: lecture.cells.append(nbformat.v4.new_markdown_cell(words))


def add_code(lines, output=""):
    stored = [nbformat.v4.new_output("stream", text=output)] if output else []
    cell = nbformat.v4.new_code_cell("\n".join(["x = 1"] * lines), outputs=stored)
    return lambda lecture: lecture.cells.append(cell)


@pytest.mark.parametrize(
    ("test", "spoil"),
    [
        (test_every_image_says_in_words_what_it_shows, drop_alt),
        (test_every_image_says_in_words_what_it_shows, add_markdown("![](docs/x.png)")),
        (test_its_code_cells_are_short, add_code(lines=41)),
        (test_its_outputs_are_small, add_code(1, output="x" * 250_000)),
        (test_no_number_differs_from_the_right_one, add_code(1, output="a  55  56  differs  S0")),
        (test_its_assignments_exist, add_markdown("[a9](../assignments/a9_nothing/)")),
    ],
)
def test_a_fault_is_seen(test, spoil):
    lecture = nbformat.read(LECTURES[0], as_version=4)
    test(lecture)
    spoil(lecture)
    with pytest.raises(AssertionError):
        test(lecture)


def test_it_runs_anywhere(lecture):
    code = "\n".join(cell.source for cell in code_cells(lecture))
    assert not re.search(r"""["'](/|[A-Z]:\\)""", code), "an absolute path"
    assert not re.search(r"\.cuda\(|pip install|^\s*[!%]", code, re.M)


def test_the_map_leads_to_every_lecture():
    (start,) = (path for path in LECTURES if path.name.startswith("00_"))
    words = text(nbformat.read(start, as_version=4))
    missing = [path.name for path in LECTURES if path != start and f"]({path.name})" not in words]
    assert not missing
