"""`make book`: lectures, assignments and docs/ as pages that need no network."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup

from tests.course import lab

ROOT = Path(__file__).parents[2]
LECTURES = sorted(path.stem for path in (ROOT / "lectures").glob("*.ipynb"))


class Book:
    """The site in its folder, what Sphinx had to say, and its pages, parsed."""

    def __init__(self, folder: Path):
        command = [sys.executable, "-m", "sphinx", "-q", "-c", "docs/book", ".", str(folder)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        self.folder, self.warnings = folder, done.stderr.splitlines()
        files = [path for path in folder.rglob("*.html") if "_static" not in path.parts]
        self.pages = {path: BeautifulSoup(path.read_text(), "html.parser") for path in files}
        self.ids = {
            path: {tag["id"] for tag in page.find_all(id=True)} for path, page in self.pages.items()
        }

    def find(self, *names: str, **attributes):
        """Each element of this kind, with the path of its page."""
        for path, page in self.pages.items():
            for element in page.find_all(names, **attributes):
                yield path, element


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Book:
    return Book(tmp_path_factory.mktemp("book"))


def is_missing_assignment(link: str) -> bool:
    """An assignment that is not there at all: test_lectures.py knows which may be missing."""
    match = re.search(r"assignments/(\w+)/", link)
    return bool(match) and not (ROOT / "assignments" / match[1]).exists()


def is_external(link: str) -> bool:
    return bool(urlsplit(link).scheme or urlsplit(link).netloc)


def test_sphinx_has_nothing_to_complain_about(book):
    assert not [line for line in book.warnings if not is_missing_assignment(line)]


@pytest.mark.parametrize("folder, suffix", [("lectures", ".ipynb"), ("docs", ".md")])
def test_every_notebook_and_document_has_a_page_that_the_first_page_leads_to(book, folder, suffix):
    first = book.folder / "docs/book/index.html"
    linked = {a["href"] for a in book.pages[first].select("article a.reference.internal")}
    for path in (ROOT / folder).glob(f"*{suffix}"):
        page = book.folder / folder / f"{path.stem}.html"
        assert page in book.pages
        assert [link for link in linked if (first.parent / link).resolve() == page.resolve()]


def test_every_assignment_has_a_page(book):
    for path in (ROOT / "assignments").glob("*/*.ipynb"):
        assert (book.folder / path.relative_to(ROOT)).with_suffix(".html") in book.pages


def test_links_lead_somewhere(book):
    broken = []
    for path, anchor in book.find("a", href=True):
        link = anchor["href"]
        if is_external(link) or is_missing_assignment(link):
            continue
        to = urlsplit(link)
        target = (path.parent / unquote(to.path)).resolve() if to.path else path
        if not target.is_file() or (to.fragment and unquote(to.fragment) not in book.ids[target]):
            broken.append((path.name, link))
    assert not broken


def test_links_from_a_lecture_to_its_assignment_lead_to_its_page(book):
    page = book.pages[book.folder / "lectures" / "01_convolution.html"]
    assert page.select('a[href="../assignments/a1_convolution/a1_convolution.html"]')


def test_nothing_is_fetched_from_elsewhere(book):
    loaded = [(path.name, e.get("src") or "") for path, e in book.find("script", "img", "iframe")]
    loaded += [(path.name, e["href"]) for path, e in book.find("link", href=True)]
    assert not [link for link in loaded if is_external(link[1]) and "data:" not in link[1]]
    styles = [path.read_text() for path in book.folder.rglob("*.css")]
    assert not [link for css in styles for link in re.findall(r"url\([\"']?(https?:[^)]*)", css)]
    assert not [css for css in styles if re.search(r"@import [\"']https?:", css)]


def test_every_image_has_its_words(book):
    """Without any, Sphinx writes the file's name."""
    words = [(path.name, image.get("alt", "")) for path, image in book.find("img")]
    assert words
    assert not [one for one in words if re.fullmatch(r"(\S+\.\w{3,4})?", one[1])]


@pytest.mark.parametrize("lecture", LECTURES)
def test_pictures_of_a_lecture_keep_their_words(book, lecture):
    page = book.pages[book.folder / "lectures" / f"{lecture}.html"]
    shown = {image["alt"] for image in page.find_all("img")}
    notebook = nbformat.read(ROOT / "lectures" / f"{lecture}.ipynb", 4)
    stored = {
        about["alt"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        for about in output.get("metadata", {}).values()
        if "alt" in about
    }
    assert stored and stored <= shown


def test_what_tags_fold_is_folded(book):
    """Answers stay closed below their questions, and so does the house's code."""
    page = book.pages[book.folder / "lectures" / "04_lenet.html"]
    answers = page.select("div.cell.tag_answer")
    assert answers
    for cell in answers:
        (output,) = cell.select("div.cell_output")
        folded = output.find_parent("details")
        assert not folded.has_attr("open")
        assert folded.select_one("summary .collapsed").text == "Show the answer"
        assert not cell.select_one("div.cell_input").find_parent("details")
    house = page.select("div.cell.tag_house")
    assert house and all(c.select_one("div.cell_input").find_parent("details") for c in house)
    assert not [
        c for c in house if (o := c.select_one("div.cell_output")) and o.find_parent("details")
    ]


@pytest.fixture(scope="module")
def browser():
    with lab.chromium() as browser:
        yield browser


@lab.needs_chromium
def test_pages_open_without_an_error_and_without_a_network(book, browser):
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    faults = []
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda r: faults.append(r.url) if r.url.startswith("http") else None)
    for path in book.pages.keys() - {book.folder / "index.html"}:
        page.goto(path.as_uri())
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) <= 0, f"{path.name} is wider than the window"
        assert not faults, path.name
    page.goto((book.folder / "index.html").as_uri())
    page.wait_for_url("**/docs/book/index.html")
    page.close()


CHARACTERS = """() => {
    const wide = [...document.querySelectorAll(".bd-article > section p")].filter(
        (p) => p.offsetParent && p.textContent.length > 400 && !p.closest("details"));
    return wide.map((p) => p.textContent.length /
        (p.getBoundingClientRect().height / parseFloat(getComputedStyle(p).lineHeight)));
}"""


@lab.needs_chromium
@pytest.mark.parametrize("width", [1366, 1920])
def test_a_line_of_text_has_about_ninety_characters(book, browser, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto((book.folder / "lectures" / "09_resnet.html").as_uri())
    lengths = page.evaluate(CHARACTERS)
    page.close()
    assert lengths and max(lengths) <= 95, lengths


@lab.needs_chromium
def test_formulas_are_drawn(book, browser):
    page = browser.new_page()
    page.goto((book.folder / "lectures" / "02_shapes.html").as_uri())
    page.wait_for_selector("mjx-container svg")
    assert page.locator("mjx-merror").count() == 0
    page.close()
