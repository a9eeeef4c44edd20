"""What every lecture keeps to, as docs/lectures.md describes it (nbval compares its outputs)."""

import ast
import itertools
import json
import re
from pathlib import Path
from statistics import median

import nbformat
import pytest

from cnnlab.experiments import measured

ROOT = Path(__file__).parents[2]
LECTURES = sorted((ROOT / "lectures").glob("*.ipynb"))
ASSIGNMENTS = {path.name for path in (ROOT / "solutions").iterdir() if path.is_dir()}
IMAGES = ("image/png", "image/jpeg")
WIDGET = "application/vnd.jupyter.widget-view+json"
FOLDED = {"house": {"source_hidden": True}, "answer": {"outputs_hidden": True}}


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


def tags(cell):
    return {*cell.metadata.get("tags", [])}


def student_cells(lecture):
    return [cell for cell in code_cells(lecture) if "house" not in tags(cell)]


def lines(cell):
    return len(cell.source.splitlines())


def printed(lecture):
    """What cells print or return, as text."""
    for output in outputs(lecture):
        yield output.get("text") or output.get("data", {}).get("text/plain", "")


def nodes(lecture, kind):
    trees = [ast.parse(cell.source) for cell in student_cells(lecture)]
    return [node for tree in trees for node in ast.walk(tree) if isinstance(node, kind)]


def test_what_is_folded_says_so_in_its_tag_and_its_metadata(lecture):
    for cell in code_cells(lecture):
        folded = dict(cell.metadata.get("jupyter", {}))
        wanted = {}
        for tag in tags(cell) & {*FOLDED}:
            wanted |= FOLDED[tag]
        assert folded == wanted, f"{sorted(tags(cell))} and {folded}:\n{cell.source}"
        assert not [tag for tag in tags(cell) if re.match("(hide|remove)-", tag)]


def test_no_answer_stands_open_below_its_question(lecture):
    cells = lecture.cells
    asked = [i for i, cell in enumerate(cells) if "**Predict first.**" in cell.source]
    assert asked
    for i in asked:
        assert cells[i].source.rstrip().endswith("</div>"), "the question comes last in its cell"
        assert cells[i].source.count("**Predict first.**") == 1
        assert cells[i + 1].cell_type == "code" and "answer" in tags(cells[i + 1])
        assert cells[i + 1].outputs, "an answer that shows nothing"
        for cell in itertools.takewhile(lambda c: c.cell_type == "code", cells[i + 1 :]):
            hidden = {"answer", "house"} & tags(cell)
            assert hidden or not cell.outputs, f"this shows the answer: {cell.source}"
    before = [i - 1 for i, cell in enumerate(cells) if "answer" in tags(cell)]
    assert all(i in asked or cells[i].cell_type == "code" for i in before), "without a question"


def test_what_it_teaches_stands_on_the_page(lecture):
    bases = [ast.unparse(base) for c in nodes(lecture, ast.ClassDef) for base in c.bases]
    assert {"nn.Module", "nn.Sequential"} & {*bases}, "no network is written out"
    parts = [ast.unparse(part) for part in nodes(lecture, (ast.For, ast.FunctionDef))]
    assert [part for part in parts if ".backward()" in part and ".step()" in part], "no training"


def test_a_student_could_have_written_its_cells(lecture):
    student, house = student_cells(lecture), len(code_cells(lecture))
    house -= len(student)
    assert median(map(lines, code_cells(lecture))) <= 10
    assert max(map(lines, student)) <= 25
    assert 4 * house <= len(student) + house, f"{house} house cells beside {len(student)}"
    for cell in student:
        plumbing = re.findall(r"new_figure|subplots|set_xlabel|\baxes\.|expect\(", cell.source)
        assert not plumbing, f"this belongs into the house:\n{cell.source}"


def test_numbers_are_printed_as_numbers(lecture):
    assert not [text for text in printed(lecture) if re.search(r"\b(True|False)\b", text)]


def test_what_is_measured_lies_in_its_band(lecture):
    """What varies is printed, and the band in which the text is true is held by `expect`."""
    assert not [text for text in printed(lecture) if "The text was written for" in text]
    cells = code_cells(lecture)
    measured = [i for i, cell in enumerate(cells) if "nbval-ignore-output" in tags(cell)]
    bands = [i for i, cell in enumerate(cells) if re.search(r"^ *expect\(", cell.source, re.M)]
    assert all("house" in tags(cells[i]) and not cells[i].outputs for i in bands)
    assert not measured or [i for i in bands if i > measured[-1]], "a number without a band"


def test_the_slides_are_not_in_the_way(lecture):
    everything = [cell.source for cell in lecture.cells] + [*printed(lecture)]
    assert not [text for text in everything if re.search(r"\bS00\d-\d{3}\b", text)]
    assert "facts" not in {name.id for name in nodes(lecture, ast.Name)}
    prose = text(lecture).split("## Sources")[0]
    compared = [part for part in prose.split("\n\n") if re.search(r"\b(slide|deck)s?\b", part)]
    assert len(compared) <= 3, compared


def test_its_words_are_those_of_the_field(lecture):
    assert not re.findall(r"\b(trunks?|telephones?|dearer|dearest)\b", text(lecture))


def test_its_experiments_are_in_the_catalogue_with_all_rows(lecture):
    calls = [c for c in nodes(lecture, ast.Call) if ast.unparse(c.func) == "measured"]
    assert calls, "no run of its own stands beside those on other seeds"
    for call in calls:
        name = ast.literal_eval(call.args[0])
        assert any(repr(measured(name)) in text for text in printed(lecture)), name


def drop_alt(lecture):
    for output in outputs(lecture):
        for mime in output.get("data", {}).keys() & {*IMAGES}:
            del output.metadata[mime]["alt"]


def add_markdown(words):
    return lambda lecture: lecture.cells.append(nbformat.v4.new_markdown_cell(words))


def add_code(lines, output="", source="x = 1", **metadata):
    stored = [nbformat.v4.new_output("stream", text=output)] if output else []
    cell = nbformat.v4.new_code_cell("\n".join([source] * lines), outputs=stored)
    cell.metadata.update(metadata)
    return lambda lecture: lecture.cells.append(cell)


def ask(answer):
    def spoil(lecture):
        add_markdown('<div class="alert alert-predict">\n\n**Predict first.** 1?\n\n</div>')(
            lecture
        )
        add_code(1, "1", **answer)(lecture)

    return spoil


def without(pattern):
    """Takes the cells with this in their code away."""

    def spoil(lecture):
        lecture.cells = [cell for cell in lecture.cells if not re.search(pattern, cell.source)]

    return spoil


def hide_a_row(lecture):
    for output in outputs(lecture):
        if "seeds" in output.get("text", ""):
            output.text = "\n".join(output.text.splitlines()[:-1])
        elif "seeds" in output.get("data", {}).get("text/plain", ""):
            kept = output.data["text/plain"].splitlines()[:-1]
            output.data["text/plain"] = "\n".join(kept)


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


HOUSE = {"tags": ["house"], "jupyter": {"source_hidden": True}}


@pytest.mark.parametrize(
    ("test", "spoil"),
    [
        (test_what_is_folded_says_so_in_its_tag_and_its_metadata, add_code(1, tags=["house"])),
        (
            test_what_is_folded_says_so_in_its_tag_and_its_metadata,
            add_code(1, jupyter={"outputs_hidden": True}),
        ),
        (test_no_answer_stands_open_below_its_question, ask({})),
        (test_no_answer_stands_open_below_its_question, add_code(1, "1", tags=["answer"])),
        (test_what_it_teaches_stands_on_the_page, without(r"class \w+\(nn\.")),
        (test_what_it_teaches_stands_on_the_page, without(r"\.backward\(\)")),
        (test_a_student_could_have_written_its_cells, add_code(26)),
        (test_a_student_could_have_written_its_cells, add_code(1, source="axes.plot(x)")),
        (
            test_a_student_could_have_written_its_cells,
            lambda lecture: [add_code(1, **HOUSE)(lecture) for _ in range(20)],
        ),
        (test_numbers_are_printed_as_numbers, add_code(1, output="more than 90 %: True")),
        (
            test_what_is_measured_lies_in_its_band,
            add_code(1, output="Here the loss is 3. The text was written for 1 to 2: if"),
        ),
        (test_what_is_measured_lies_in_its_band, without(r"expect\(")),
        (test_the_slides_are_not_in_the_way, add_code(1, source='id = "S000-001"')),
        (test_the_slides_are_not_in_the_way, add_code(1, source="facts.get(1)")),
        (
            test_the_slides_are_not_in_the_way,
            lambda lecture: lecture.cells.insert(
                1, nbformat.v4.new_markdown_cell("\n\n".join(["The slide says 3."] * 4))
            ),
        ),
        (test_its_words_are_those_of_the_field, add_markdown("the trunk")),
        (test_its_experiments_are_in_the_catalogue_with_all_rows, hide_a_row),
        (test_its_experiments_are_in_the_catalogue_with_all_rows, without(r"measured\(")),
    ],
)
def test_a_fault_in_the_pattern_is_seen(test, spoil):
    lecture = nbformat.read(LECTURES[1], as_version=4)
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
