"""What a student gets back, and what an instructor's browser shows (rows 55, 57, 58)."""

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell

from tests.grading.test_submissions import NAME, make_course, solved

EVIL = """from IPython.display import HTML, Javascript, Markdown, display
display(HTML("<b onmouseover='evil()'>bold</b><script>evil()</script><img src=x onerror=evil()>"))
display(Javascript("evil()"))
display(Markdown("[here](javascript:evil()) <iframe src='https://evil.example'></iframe>"))
display({"image/svg+xml": "<svg onload='evil()'><script>evil()</script></svg>"}, raw=True)
print("\\x1b]0;evil\\x07\\x1b[2J\\x1b[31mred\\x1b[0m")
"""
HIDDEN = """assert output_size(5, 3) == 3
### BEGIN HIDDEN TESTS
assert output_size(41, 3) == 39
### END HIDDEN TESTS"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    """The feedback for a wrong and evil submission of a course that has a hidden test besides."""
    course = make_course(tmp_path_factory.mktemp("feedback") / "course")
    path = course.folder / "solutions" / NAME / f"{NAME}.ipynb"
    solution = nbformat.read(path, 4)
    told = {"grade_id": "own", "grade": True, "solution": False, "locked": True, "points": 2}
    told |= {"schema_version": 3, "task": False}
    solution.cells.append(new_code_cell(HIDDEN, metadata={"nbgrader": told}))
    nbformat.write(solution, path)
    course.run("nbgrader", "generate_assignment", "--force", NAME)
    wrong = "def output_size(n, k, padding=0, stride=1):\n    return 3"
    notebook = solved(course, output_size=wrong)
    notebook.cells += [
        new_code_cell(EVIL),
        new_markdown_cell("<script>evil()</script><img src=x onerror='evil()'>\n\n*mine* $a < b$"),
        new_markdown_cell("[l](javascript:evil()) <svg onload=evil()> `i < n` <b>kept</b>"),
    ]
    course.submit("eve", NAME, nbformat.writes(notebook))
    course.run("cnnlab", "grade", "a1")
    course.run("nbgrader", "generate_feedback", NAME)
    return (course.folder / "feedback" / "eve" / NAME / f"{NAME}.html").read_text()


def test_nothing_of_a_student_runs_in_a_browser(page):
    soup = BeautifulSoup(page, "html.parser")
    assert "bold" in soup.text and "red" in soup.text
    assert soup.find("em", string="mine") and soup.find("b", string="kept")
    assert "$a < b$" in soup.text and soup.find("code", string="i < n")
    assert not [tag for tag in soup.find_all("script") if "evil" in tag.text]
    handlers = [
        (tag.name, name) for tag in soup.find_all() for name in tag.attrs if name.startswith("on")
    ]
    assert handlers == []
    links = [tag.get("href") or tag.get("src") for tag in soup.find_all(["a", "iframe", "img"])]
    assert not [link for link in links if link and link.startswith(("javascript:", "https://evil"))]


def test_control_characters_do_not_reach_the_page(page):
    assert "\x1b" not in page and "\x07" not in page


def test_hidden_tests_stay_hidden(page):
    assert "output_size(5, 3)" in BeautifulSoup(page, "html.parser").text
    assert "41" not in BeautifulSoup(page, "html.parser").text
    assert "HIDDEN" not in page


def test_the_feedback_says_points_and_what_was_wrong(page):
    text = BeautifulSoup(page, "html.parser").text
    assert "a1-output-size: 0 of 8 points" in text
    assert "Traceback" not in text
