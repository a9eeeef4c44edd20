"""The class's page: who is in it, how each is marked, and what a browser does with it."""

import csv
import json
import shutil

import pytest
from bs4 import BeautifulSoup

from cnnlab.grading.gradebook import Standing
from cnnlab.grading.report import write_class_report, write_student_page
from tests.course import lab

NAME = "a1_convolution"
EVIL = '=HYPERLINK("http://evil.example")'


def verdict(task: str, points: float, misconception: str | None = None) -> dict:
    parts = [
        {"name": "square", "points": 4, "earned": min(points, 4)},
        {"name": "not square", "points": 6, "earned": max(points - 4, 0)},
    ]
    problem = "" if points == 10 else f"`{task}(3)`: expected 3, got 2."
    return {"task": task, "parts": parts, "points": points, "max_points": 10.0, "hint": "",
            "problem": problem, "misconception": misconception}  # fmt: skip


def report(student: str, points: tuple[float, float] = (10, 10), late: float = 0, **more) -> dict:
    tasks = {
        f"a1-{task}": verdict(
            f"a1-{task}", given, "the stride is forgotten" if given < 10 else None
        )
        for task, given in zip(("loops", "window"), points, strict=True)
    }
    penalty = 5.0 if late else 0.0
    scores = {name: v["points"] for name, v in tasks.items()}
    standing = Standing(scores, more.pop("waiting", []), sum(points), penalty, late, 28.0)
    return {
        "student": student, "assignment": NAME, "name": "", "problem": "", "feedback": "",
        "when": "2026-11-27T10:00:00+00:00", "tasks": tasks, "seconds": {"total": 0.6},
        "evidence": [], "to_read": [], "refused_files": [], "repaired": [], "timed_out": [],
        "blank": [], "scores": scores, "standing": standing, **more,
    }  # fmt: skip


def everybody() -> list[dict]:
    failed = report("failed", problem="failed.ipynb is empty.", standing=None)
    some = [
        report(f"student{n:02}", (10.0, float(n % 11)), name=f"Person Number{n}") for n in range(25)
    ]
    for n, each in enumerate(some):
        figures = {"accuracy": 0.9 + n / 300, "MACs": 10_000 + 97_000 * n, "parameters": 9_000 + n}
        each["tasks"]["a1-golf"] = verdict("a1-golf", 10) | {"figures": figures}
    return [
        *some,
        failed,
        report("ada_l", name="Ada Lovelace", feedback=f"feedback/ada_l/{NAME}/{NAME}.html"),
        report("bob", (4, 0), late=100_000.0, waiting=["a1-explain"], blank=["a1-window-answer"]),
        report("slow", (10, 0), timed_out=["a1-window", "cell 12"]),
        report("odd", evidence=["cell 3: `ctypes` goes around Python", "<script>x</script>"]),
        report(EVIL),
        {"student": "zoe", "assignment": NAME, "name": "Zoe", "absent": "nothing handed in"},
        {"student": "lost", "assignment": NAME, "problem": "no notebook", "absent": "no notebook"},
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course") / "reports" / NAME
    (folder / "students").mkdir(parents=True)
    write_class_report(
        folder / "class.html", NAME, everybody(), [(0.93, "odd", "slow")],
        ["lost was not taken in: no notebook", "notes.pdf: whose is it?"],
    )  # fmt: skip
    for each in everybody():
        if "absent" not in each and "/" not in each["student"]:
            write_student_page(folder / "students" / f"{each['student']}.html", each)
    return folder


@pytest.fixture(scope="module")
def soup(folder):
    return BeautifulSoup((folder / "class.html").read_text(), "html.parser")


def row(soup, student: str):
    cells = soup.find_all("td", {"data-th": "student", "data-v": student})
    (found,) = [cell.parent for cell in cells]
    return found


STATES = {
    "student00": [],
    "failed": ["failed"],
    "bob": ["read", "late", "blank"],
    "slow": ["timeout"],
    "odd": ["signs"],
    "zoe": ["absent"],
    "lost": ["failed"],
}


@pytest.mark.parametrize("student", STATES)
def test_everybody_is_in_the_table_and_marked(soup, student):
    found = row(soup, student)
    assert found["data-states"].split() == STATES[student]
    assert ("late 28 h" in found.text) == (student == "bob")


def test_those_who_need_a_human_come_first(soup):
    order = [cell["data-v"] for cell in soup.find_all("td", {"data-th": "student"})]
    assert order[:5] == ["failed", "lost", "bob", "odd", "slow"]
    needs = soup.find("h2", string="Needs a human").parent
    assert soup.find("table", "class").sourceline > needs.sourceline
    counts = {s.contents[0].strip(): s.find("span").text for s in needs.find_all("summary")}
    assert counts["Not graded"] == "1" and counts["Left out when they were collected"] == "2"
    assert counts["Alike"] == "1" and "<script>x" in needs.text


def test_what_is_not_written_is_no_other_mistake(soup):
    tasks = soup.find("h2", string="Tasks").parent.text
    assert "the stride is forgotten (" in tasks and "not written (1)" in tasks
    assert "points lost at: square (" in tasks


def test_points_count_marks_by_hand_and_lateness(soup):
    assert row(soup, "bob").find("td", {"data-th": "points"}).text == "0"
    assert row(soup, "student03").find("td", {"data-th": "points"}).text == "13"


def test_links_lead_to_formgrader_feedback_and_the_student_s_page(soup, folder):
    ada = row(soup, "ada_l")
    assert (folder / ada.find("a")["href"]).exists()
    links = {a.text: a["href"] for a in ada.find_all("a")}
    assert links["formgrader"].endswith(f"/formgrader/manage_students/ada_l/{NAME}")
    assert links["feedback"] == f"../../feedback/ada_l/{NAME}/{NAME}.html"
    assert not row(soup, "zoe").find_all("a")
    page = BeautifulSoup((folder / "students" / "bob.html").read_text(), "html.parser")
    assert "0 of 28 points; lateness has cost 5" in page.text
    assert "a1-window-answer" in page.text and "square 4/4" in page.text
    assert "the stride is forgotten" in page.text


def test_a_run_shows_how_far_it_has_come(tmp_path):
    write_class_report(tmp_path / "c.html", NAME, everybody(), running=(120, 2000))
    page = (tmp_path / "c.html").read_text()
    assert "120 of 2,000" in page and "http-equiv=refresh" in page


@lab.needs_chromium
@pytest.mark.parametrize(("width", "scheme"), [(1366, "light"), (400, "dark")])
def test_the_page_sorts_filters_and_exports(folder, tmp_path, width, scheme):
    asked, complained = [], []
    with lab.chromium() as browser:
        tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda message: complained.append(message.text))
        tab.on("pageerror", lambda error: complained.append(str(error)))
        tab.goto((folder / "class.html").as_uri())
        students = tab.locator("td[data-th=student]:visible")
        assert students.count() == len(everybody())
        tab.get_by_role("button", name="points", exact=True).click()
        tab.get_by_role("button", name="points", exact=True).click()
        assert tab.locator("td[data-th=points]").first.inner_text().endswith("20")
        tab.get_by_label("Find a student").fill("LOVELACE")
        assert students.all_inner_texts() == ["ada_l"]
        tab.get_by_label("Find a student").fill("")
        tab.locator("input[value=late]").check()
        assert students.all_inner_texts() == ["bob"]
        tab.reload()  # what was chosen stays
        assert students.all_inner_texts() == ["bob"]
        tab.locator("input[value=late]").uncheck()
        for kind in ("CSV", "JSON"):
            with tab.expect_download() as download:
                tab.get_by_role("button", name=f"Export {kind}").click()
            download.value.save_as(tmp_path / kind)
        wide = tab.evaluate("document.documentElement.scrollWidth")
        shade = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        tab.screenshot(path=tmp_path / "page.png", full_page=True)
        served = shutil.copytree(folder, tmp_path / "jo/files/reports" / NAME)
        for page in ("class.html", "students/bob.html"):
            tab.goto((served / page).as_uri())
            there = tab.locator("a[data-formgrader]").first.get_attribute("href")
            assert there.startswith(f"{tmp_path}/jo/formgrader/manage_students/")
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
    records = list(csv.DictReader((tmp_path / "CSV").open(newline="", encoding="utf-8")))
    assert len(records) == len(everybody()) == len(json.loads((tmp_path / "JSON").read_text()))
    told = {r["student"]: r for r in records}
    assert told["ada_l"]["points"] == "20" and "late 28 h" in told["bob"]["state"]
    assert "'" + EVIL in told and EVIL not in told
    assert wide <= width and (shade == "rgb(255, 255, 255)") == (scheme == "light")
    assert all(url.startswith(("file:", "blob:")) for url in asked) and not complained
