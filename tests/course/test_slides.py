"""`make slides`: each lecture as slides that fit the screen and need no network."""

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pytest
from bs4 import BeautifulSoup

from docs.nbconvert import slides
from tests.course import lab

ROOT = Path(__file__).parents[2]
LECTURES = sorted((ROOT / "lectures").glob("*.ipynb"))


@pytest.fixture(scope="module", params=LECTURES, ids=lambda path: path.stem)
def deck(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("slides") / "deck.html"
    path.write_text(slides.to_slides(request.param), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def page(deck) -> BeautifulSoup:
    return BeautifulSoup(deck.read_text(), "html.parser")


@pytest.fixture(scope="module")
def browser():
    with lab.chromium() as browser:
        yield browser


def test_every_section_begins_a_column(page):
    for column in page.select(".slides > section"):
        headings = column.select("h1, h2")
        assert headings == column.select(":scope > section:first-child :is(h1, h2):first-child")


def test_it_loads_nothing(page):
    assert not page.select("script[src], img:not([src^='data:']), iframe")
    assert not page.select("link[href]:not([href^='data:'])")
    for style in page.select("style"):
        assert not re.search(r"@import|url\([\"']?(https?:)?//", style.text)


def test_pictures_have_their_words_and_no_repetition_of_them(page):
    pictures = page.select(".slides img")
    assert pictures and all(len(picture.get("alt", "")) > 20 for picture in pictures)
    assert not [one for one in page.select("summary") if one.text == "In words"]


SIZES = """() => Reveal.getSlides().map(slide => {
    const {h, v} = Reveal.getIndices(slide);
    Reveal.slide(h, v);
    return [slide.innerText.slice(0, 60), slide.scrollWidth, slide.scrollHeight];
}).filter(([_, width, height]) => width > 1600 || height > 1000)"""


@pytest.mark.slow
@lab.needs_chromium
def test_in_a_browser_every_slide_fits_and_nothing_is_lost(deck, page, browser):
    tab = browser.new_page(viewport={"width": 1600, "height": 1000})
    faults = []
    tab.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("request", lambda r: faults.append(r.url) if r.url.startswith("http") else None)
    tab.goto(deck.as_uri())
    tab.wait_for_function("window.Reveal && Reveal.isReady()")
    assert not faults
    assert tab.evaluate(SIZES) == []
    assert tab.locator(".slides section.tall").count() == 0, "a slide has to be scrolled"
    for kind in ("p", "td", "pre", "img", "h2", "li"):
        assert tab.locator(f".slides {kind}").count() == len(page.select(f".slides {kind}")), kind
    tab.close()


@lab.needs_chromium
def test_a_long_table_goes_on_with_its_head_and_long_text_is_scrolled(browser, tmp_path):
    rows = "".join(f"<tr><td>{i}</td></tr>" for i in range(60))
    table = f"<table><thead><tr><th>n</th></tr></thead>{rows}</table>"
    outputs = [
        nbformat.v4.new_output("display_data", data={"text/html": table}),
        nbformat.v4.new_output("stream", text="line\n" * 80),
    ]
    cells = [nbformat.v4.new_markdown_cell("# 1 · A"), nbformat.v4.new_markdown_cell("the end")]
    cells.insert(1, nbformat.v4.new_code_cell("show()", outputs=outputs))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    (tmp_path / "a.html").write_text(slides.to_slides(tmp_path / "a.ipynb"), encoding="utf-8")
    tab = browser.new_page(viewport={"width": 1600, "height": 1000})
    tab.goto((tmp_path / "a.html").as_uri())
    tab.wait_for_function("window.Reveal && Reveal.isReady()")
    found = tab.evaluate("""() => Reveal.getSlides().map(slide => ({
        heads: slide.querySelectorAll("th").length,
        rows: [...slide.querySelectorAll("td")].map(cell => cell.textContent),
        lines: (slide.textContent.match(/line/g) || []).length,
        scrolls: slide.classList.contains("tall"),
        end: slide.textContent.includes("the end"),
    }))""")
    tab.close()
    tables = [slide for slide in found if slide["rows"]]
    assert len(tables) > 1 and {slide["heads"] for slide in tables} == {1}
    assert [row for slide in tables for row in slide["rows"]] == [str(i) for i in range(60)]
    assert [slide["lines"] for slide in found if slide["scrolls"]] == [80]
    assert found[-1] == {"heads": 0, "rows": [], "lines": 0, "scrolls": False, "end": True}


def types(*sources):
    """The kinds of slides that cells of text with these sources become."""
    cells = [nbformat.v4.new_markdown_cell(source) for source in ("# 1 · A", *sources)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    slides.Slides().preprocess(notebook, {})
    return [cell.metadata.slideshow.slide_type for cell in notebook.cells[1:]]


def test_slides_begin_at_headings_and_at_the_answer_to_a_question():
    box = '<div class="alert alert-predict">\n\n**Predict first.** 1 or 2?\n\n</div>'
    assert types("## 1.1 · B", "words", f"so:\n\n{box}", "1", "more") == [
        "slide", "-", "-", "-", "subslide", "-",
    ]  # fmt: skip
    assert types("end of 1.1\n\n## Summary\n\n- a\n\n### Detail") == ["-", "slide", "subslide"]


def test_the_houses_code_stays_out_of_slides_and_its_picture_does_not():
    output = nbformat.v4.new_output("stream", text="a picture")
    cells = [nbformat.v4.new_markdown_cell("# 1 · A")]
    for source, outputs in (
        ("draw(knobs)", [output]),
        ("expect(band)", []),
        ("print(1)", [output]),
    ):
        cells.append(nbformat.v4.new_code_cell(source, outputs=outputs))
    for cell in cells[1:3]:
        cell.metadata["tags"] = ["house"]
    page = BeautifulSoup(to_page(cells), "html.parser")
    assert not [code for code in page.select(".jp-CodeCell") if "expect" in code.text]
    assert [code.text for code in page.select(".slides pre code, .slides .highlight pre")] == [
        "print(1)\n"
    ]
    assert len([o for o in page.select(".jp-OutputArea-output") if "a picture" in o.text]) == 2


def to_page(cells) -> str:
    """The page of slides of a notebook with these cells."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        return slides.to_slides(path)


def test_a_lecture_that_is_not_there_is_named_in_a_sentence():
    command = [sys.executable, "docs/nbconvert/slides.py", "lectures/99*.ipynb"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "There is no lecture lectures/99*.ipynb.\n"
