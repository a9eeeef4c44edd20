"""What a student gets back, and what an instructor's browser shows (rows 55, 57, 58)."""

import base64
import hashlib
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell
from nbgrader.api import Gradebook
from nbgrader.server_extensions.formgrader import apihandlers, handlers
from tornado.web import StaticFileHandler

from cnnlab.grading.report import write_class_report
from tests.course import lab
from tests.grading.test_submissions import NAME, cell, make_course, solved

EVIL = """from IPython.display import HTML, Javascript, Markdown, display
display(HTML("<b onmouseover='evil()'>bold</b><script>evil()</script><img src=x onerror=evil()>"))
display(Javascript("evil()"))
display(Markdown("[here](javascript:evil()) <iframe src='https://evil.example'></iframe>"))
display({"image/svg+xml": "<svg onload='evil()'><script>evil()</script></svg>"}, raw=True)
print("\\x1b]0;evil\\x07\\x1b[2J\\x1b[31mred\\x1b[0m")
"""
# What runs or fetches in a page that writes it down as it is, wherever it stands.
ACT = "document.title='PWNED';fetch('https://evil.example/a');fetch('/api/contents')"
PIXEL = "<img src='https://evil.example/p.png'><img src='/hub/logout'>"
STEALTHY = f"""from IPython.display import display
act = {ACT!r}
size = {{'width': '1 onerror=' + act, 'height': 3}}
display({{'image/png': 'aGk='}}, metadata={{'image/png': size, 'image/jpeg': size}}, raw=True)
display({{'image/jpeg': 'aGk='}}, metadata={{'image/jpeg': {{'height': '1 onerror=' + act}},
        'alt': "x' onerror=" + act, 'needs_background': '"><img src=x onerror=' + act}}, raw=True)
display({{'image/png': '"><img src=x onerror="' + act + '">'}}, raw=True)
display({{'image/png': ['aGk=', '"><script>' + act + '</script>']}}, raw=True)
evil = '<script>' + act + '</script><img src=x onerror="' + act + '">'
display({{'text/latex': '$x$' + evil}}, raw=True)
display({{'text/markdown': '![x](https://evil.example/m.png)' + evil}}, raw=True)
display({{'text/html': {PIXEL!r} + '<svg><script>' + act + '</script></svg><p style="background:'
        'url(https://evil.example/s)" class="score" id="a1-window">styled</p><form action=x><input>'
        '</form><base href="https://evil.example"><meta http-equiv=refresh content="0;url=https:'
        '//evil.example">'}}, raw=True)
display({{'image/svg+xml': '<svg xmlns="http://www.w3.org/2000/svg" onload="' + act + '"><script>'
        + act + '</script></svg>'}}, raw=True)
display({{'application/javascript': act, 'text/vnd.mermaid': 'x', 'application/pdf': 'x',
        'application/vnd.jupyter.widget-view+json': {{'model_id': '</script><script>' + act}},
        'text/plain': 'plain words'}}, raw=True)
"""
# Other ways to run or to fetch, each as Markdown and as an output of HTML.
VECTORS = f"""
<a href="data:text/html;base64,PHNjcmlwdD4=">d1</a> [d2](data:text/html,<script>{ACT}</script>)
[j1](JaVaScRiPt:{ACT}) [j2](&#106;avascript:{ACT}) <a href="java&#10;script:{ACT}">j3</a>
<a href="vbscript:x" target=_top ping=https://evil.example/ping download>v</a>
<img srcset="https://evil.example/s 1x" lowsrc=https://evil.example/l dynsrc=https://evil.example/d>
<picture><source srcset=https://evil.example/p><img src=/hub/logout></picture>
<video poster=https://evil.example/v src=https://evil.example/w autoplay onplay="{ACT}"></video>
<audio src=https://evil.example/a autoplay onerror="{ACT}"></audio>
<object data="data:text/html,<script>{ACT}</script>"></object><embed src=https://evil.example/e>
<link rel=stylesheet href=https://evil.example/c.css><link rel=prefetch href=/hub/logout>
<style>@import url(https://evil.example/i.css); body {{ background: url(/hub/logout) }}</style>
<svg><a xlink:href="javascript:{ACT}"><text>t</text></a><use href="data:image/svg+xml,x"/>
<animate onbegin="{ACT}" attributeName=x dur=1s /><foreignObject><iframe/onload="{ACT}">
</foreignObject><image href=https://evil.example/svg></svg>
<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror={ACT}&gt;">
</table></mtext></math><math href="javascript:{ACT}">m</math>
<noscript><p title="</noscript><img src=x onerror={ACT}>"></noscript>
<textarea><p title="</textarea><img src=x onerror={ACT}>"></textarea>
<xmp><p title="</xmp><script>{ACT}</script>"></xmp><template><script>{ACT}</script></template>
<details open ontoggle="{ACT}"><summary onclick="{ACT}">s</summary></details>
<input autofocus onfocus="{ACT}"><select autofocus onfocus="{ACT}"></select>
<button formaction=/hub/logout popovertarget=x>b</button><form id=f action=/hub/logout></form>
<iframe srcdoc="<script>parent.{ACT}</script>"></iframe><frameset onload="{ACT}"></frameset>
<table background=https://evil.example/t><td background=https://evil.example/u>t</td></table>
<p style="background: url(https://evil.example/y); position: fixed; inset: 0">p</p>
<div id=a1-window class=score contenteditable onfocus="{ACT}" tabindex=1 accesskey=x>d</div>
<marquee onstart="{ACT}">m</marquee><body onload="{ACT}" background=https://evil.example/z>
<script nonce="{{{{ csp_nonce() }}}}">{ACT}</script>{{{{ csp_nonce() }}}}
<!--><script>{ACT}</script>--> <![CDATA[<script>{ACT}</script>]]> <?x <script>{ACT}</script>?>
""".strip().splitlines()
EVIL_NAME = f'<img src=x onerror="{ACT}">'
HIDDEN = """assert output_size(5, 3) == 3
### BEGIN HIDDEN TESTS
assert output_size(41, 3) == 39
### END HIDDEN TESTS"""


DRAWING = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)


DRAWN = '<svg xmlns="http://www.w3.org/2000/svg" aria-label="a word"><text>drawn</text></svg>'


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course with the feedback for a wrong and evil submission; it has a hidden test besides."""
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
        new_code_cell(STEALTHY),
        *map(new_markdown_cell, VECTORS),
        new_code_cell(f"from IPython.display import HTML\ndisplay(*map(HTML, {VECTORS!r}))"),
        new_code_cell(f"from IPython.display import SVG\ndisplay(SVG({DRAWN!r}))"),
        new_markdown_cell(PIXEL + f'<img src=x onerror="{ACT}"><script>{ACT}</script>'),
    ]
    written = cell(notebook, "a1-explain")
    written.source = "As drawn: ![](attachment:draw.png) ![](attachment:lost.png) [z](attachment:z)"
    written.attachments = {"draw.png": {"image/png": DRAWING}, "b": {"text/html": "<script>"}}
    course.submit("eve", NAME, nbformat.writes(notebook))
    drawn = f'<svg xmlns="http://www.w3.org/2000/svg"><script>{ACT}</script></svg>'
    (course.folder / "submitted" / "eve" / NAME / "x.svg").write_text(drawn)
    course.run("cnnlab", "grade", "a1")
    with Gradebook(f"sqlite:///{course.folder}/gradebook.db", "cnnlab") as gradebook:
        gradebook.update_or_create_student("mallory", first_name=EVIL_NAME)
    course.run("nbgrader", "generate_feedback", NAME)
    return course


@pytest.fixture(scope="module")
def page(course) -> str:
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
    told = [str(value) for tag in soup.find_all() for value in tag.attrs.values()]
    assert not [value for value in told if "evil.example" in value or "/hub/logout" in value]
    assert "plain words" in soup.text and not soup.find_all(["form", "base", "iframe"])
    assert not soup.find_all(["object", "embed", "math", "video", "audio", "button", "input"])
    assert not [link for link in links if link and link.startswith("data:text")]
    assert soup.find("script")["nonce"] not in soup.text


def test_a_picture_in_a_written_answer_is_shown(page):
    pictures = [tag.get("src") for tag in BeautifulSoup(page, "html.parser").find_all("img")]
    assert f"data:image/png;base64,{DRAWING}" in pictures


def test_what_is_kept_of_outputs_is_on_the_allow_list(course):
    (path,) = (course.folder / "autograded" / "eve").rglob("*.ipynb")
    outputs = [o for c in nbformat.read(path, 4).cells for o in c.get("outputs", ())]
    kinds = {kind for output in outputs for kind in output.get("data", ())}
    allowed = {"image/jpeg", "image/png", "text/html", "text/latex", "text/markdown", "text/plain"}
    assert "image/png" in kinds and kinds <= allowed
    told = [output.metadata for output in outputs if output.get("metadata")]
    assert told == [{"image/png": {"height": 3}}]


def test_only_the_page_s_own_scripts_may_run(page):
    soup = BeautifulSoup(page, "html.parser")
    (policy,) = [m["content"] for m in soup.find_all("meta", {"http-equiv": True})]
    nonce = re.search(r"'nonce-([^']+)'", policy)[1]
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    assert soup.find_all("script") and all(s["nonce"] == nonce for s in soup.find_all("script"))


@pytest.fixture(scope="module")
def server(course):
    """A Jupyter server on the course, as an instructor has it."""
    names = ["cnnlab.grading.server", "nbgrader.server_extensions.formgrader"]
    options = [f"--ServerApp.jpserver_extensions={dict.fromkeys(names, True)}"]
    env = {**os.environ, "JUPYTER_CONFIG_DIR": str(course.folder / "config")}
    with lab.start_server(course.folder, "jupyter_server", *options, env=env) as address:
        yield address


def submission_page(course, server) -> str:
    with Gradebook(f"sqlite:///{course.folder}/gradebook.db", "cnnlab") as gradebook:
        (submission,) = gradebook.notebook_submissions(NAME, NAME)
    return f"{server}/formgrader/submissions/{submission.id}/"


@contextmanager
def logged_in(browser, server):
    """A tab that has the cookie of an instructor."""
    with lab.new_page(browser) as tab:
        tab.goto(f"{server}/login?token=token")
        yield tab


@lab.needs_chromium
@pytest.mark.parametrize("through", ["the sanitizer", "no sanitizer"])
def test_no_script_of_a_student_s_runs_beside_a_logged_in_formgrader(course, server, through):
    """Once as it is, once with a page whose sanitizer let everything through."""
    asked: list[str] = []
    with lab.chromium() as browser, logged_in(browser, server) as tab:
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("requestfailed", lambda r: r.failure == "csp" and asked.remove(r.url))
        if through == "no sanitizer":

            def spoil(route):
                answer = route.fetch()
                evil = f'<img src=x onerror="{ACT}"><script>{ACT}</script>{PIXEL}'
                route.fulfill(
                    response=answer, body=answer.text().replace("</body>", evil + "</body>")
                )

            tab.route(lambda url: "/formgrader/submissions/" in url, spoil)
        reply = tab.goto(submission_page(course, server))
        assert reply.status == 200 and "script-src" in reply.headers["content-security-policy"]
        tab.wait_for_timeout(2000)
        assert "PWNED" not in tab.title()
        assert tab.locator("#a1-explain").count() == 1
    outside = [url for url in asked if not url.startswith((server, "data:"))]
    assert not [url for url in outside if "cdnjs" not in url], outside
    assert not [url for url in asked if "/api/contents" in url]
    if through == "the sanitizer":
        assert not [url for url in asked if "/hub/logout" in url]


# What formgrader answers: its own pages, and what is shown beside them.
PAGES = (
    "manage_assignments", f"manage_submissions/{NAME}", "gradebook", f"gradebook/{NAME}",
    f"gradebook/{NAME}/{NAME}", "manage_students", "manage_students/eve",
    f"manage_students/eve/{NAME}", "submissions/ID/",
)  # fmt: skip
BESIDE = (
    "", "submissions/ID/next", "submissions/ID/x.svg", "submissions/none/", "api/status",
    "api/assignments", f"api/assignment/{NAME}", f"api/assignment/{NAME}/assign",
    f"api/assignment/{NAME}/unrelease", f"api/assignment/{NAME}/release",
    f"api/assignment/{NAME}/collect", f"api/assignment/{NAME}/generate_feedback",
    f"api/assignment/{NAME}/release_feedback", f"api/assignment/{NAME}/eve/generate_feedback",
    f"api/assignment/{NAME}/eve/release_feedback", f"api/notebooks/{NAME}",
    f"api/submissions/{NAME}", f"api/submission/{NAME}/eve", f"api/submission/{NAME}/eve/autograde",
    f"api/submitted_notebooks/{NAME}/{NAME}", "api/submitted_notebook/ID/flag", "api/grades",
    "api/grade/1", "api/comments", "api/comment/1", "api/students", "api/student/eve",
    "api/student_submissions/eve", f"api/student_notebook_submissions/eve/{NAME}",
)  # fmt: skip


def answered(course, server, path: str):
    """The status, the policy and the text that formgrader gives; it is asked and not told."""
    address = submission_page(course, server).replace("submissions/", "", 1)
    number = address.rstrip("/").rpartition("/")[2]
    address = f"{server}/formgrader/{path.replace('ID', number)}"
    request = urllib.request.Request(address, headers={"Authorization": "token token"})
    try:
        reply = urllib.request.build_opener(NoRedirect).open(request)
    except urllib.error.HTTPError as error:
        reply = error
    with reply:
        return reply.status, reply.headers["Content-Security-Policy"], reply.read().decode()


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None


def test_no_answer_of_formgrader_s_is_forgotten_here():
    """Every pattern of nbgrader's has an address below, but for what the package brings itself."""
    known = [f"/formgrader/{path}" for path in (*PAGES, *BESIDE)]
    for pattern, handler, *_ in (*handlers.default_handlers, *apihandlers.default_handlers):
        if handler is not StaticFileHandler:
            assert any(re.fullmatch(pattern, path) for path in known), pattern


@pytest.mark.parametrize("path", PAGES)
def test_a_page_of_formgrader_s_runs_its_own_scripts_and_no_other(course, server, path):
    status, policy, page = answered(course, server, path)
    nonce = re.search(r"script-src 'nonce-([^']{20,})' 'strict-dynamic'", policy)[1]
    assert status == 200 and "default-src 'none'" in policy and "frame-ancestors 'self'" in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    scripts = BeautifulSoup(page, "html.parser").find_all("script")
    assert scripts and all(script["nonce"] == nonce for script in scripts)
    assert nonce not in answered(course, server, path)[1]


@pytest.mark.parametrize("path", BESIDE)
def test_what_formgrader_serves_beside_its_pages_runs_nothing(course, server, path):
    status, policy, _ = answered(course, server, path)
    assert status in (200, 302, 400, 404, 405) and "default-src 'none'" in policy
    assert "sandbox" in policy and "script-src" not in policy and "frame-ancestors" in policy


def test_what_stands_in_an_address_is_text_on_the_page(course, server):
    evil = urllib.parse.quote(f'x"</script><script>{ACT}</script>', safe="")
    for path in (f"gradebook/{evil}", f"gradebook/{evil}/{evil}", f"manage_submissions/{evil}"):
        _, _, page = answered(course, server, path)
        assert not [s for s in BeautifulSoup(page, "html.parser").find_all("script")
                    if s.string and s.string.strip() == ACT]  # fmt: skip
        assert f'"x"</script><script>{ACT}' not in page


@lab.needs_chromium
def test_formgrader_s_pages_work_under_their_policy_and_links_to_files_run_nothing(course, server):
    said: list[str] = []
    number = submission_page(course, server).rstrip("/").rpartition("/")[2]
    with lab.chromium() as browser, logged_in(browser, server) as tab:
        tab.on("console", lambda message: said.append(message.text))
        for path in PAGES[:-1]:
            tab.goto(f"{server}/formgrader/{path}")
            tab.locator("#main-table a, #main-table .name").first.wait_for()
            tab.wait_for_timeout(500)
            assert "PWNED" not in tab.title()
        tab.goto(f"{server}/formgrader/gradebook/{NAME}/{NAME}")
        tab.locator("span.name-hidden").first.wait_for()
        tab.get_by_role("button", name="Show All Names").click()
        tab.get_by_role("button", name="Hide All Names").wait_for()
        refused = [line for line in said if "Content Security Policy" in line]
        # The table of students makes a picture of one's name: its handler is all that is refused.
        assert refused and all("inline event handler" in line for line in refused), said
        for path in ("api/students", f"submissions/{number}/x.svg"):
            reply = tab.goto(f"{server}/formgrader/{path}")
            assert reply.status == 200 and "PWNED" in reply.text()
            tab.wait_for_timeout(500)
            assert "PWNED" not in tab.title()


@lab.needs_chromium
def test_a_person_marks_a_written_answer_in_formgrader_without_a_network(course, server):
    with lab.chromium() as browser, logged_in(browser, server) as tab:
        tab.route("**/mathjax/**", lambda route: route.abort())
        tab.goto(submission_page(course, server))
        tab.locator("#a1-explain.needs_manual_grade").wait_for()
        with tab.expect_response(lambda reply: "/api/grade/" in reply.url) as saved:
            tab.locator("#a1-explain").fill("3.5")
            tab.locator("#a1-explain").blur()
        assert saved.value.ok
        with tab.expect_response(lambda reply: "/api/comment/" in reply.url) as saved:
            tab.locator("#a1-explain-comment").fill("Read by a person.")
            tab.locator("#a1-explain-comment").blur()
        assert saved.value.ok
    with Gradebook(f"sqlite:///{course.folder}/gradebook.db", "cnnlab") as gradebook:
        grade = gradebook.find_grade("a1-explain", NAME, NAME, "eve")
        comment = gradebook.find_comment("a1-explain", NAME, NAME, "eve")
        assert grade.manual_score == 3.5 and comment.manual_comment == "Read by a person."


def test_names_and_words_on_the_class_s_page_are_inert(tmp_path):
    report = {"student": "<b onclick=x>", "problem": "\x1b[2J<script>x</script>", "scores": {}}
    report |= {"tasks": {}, "assignment": NAME}
    write_class_report(tmp_path / "c.html", NAME, [report], [], ["<img src=x>\x07"])
    page = (tmp_path / "c.html").read_text()
    assert "default-src 'none'" in page and "\x1b" not in page and "\x07" not in page
    soup = BeautifulSoup(page, "html.parser")
    assert not soup.find_all(onclick=True) and "<img" not in page
    (own,) = soup.find_all("script")
    digest = base64.b64encode(hashlib.sha256(own.string.encode()).digest()).decode()
    policy = soup.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    assert policy.endswith(f"script-src 'sha256-{digest}'") and "unsafe" not in policy


def test_control_characters_do_not_reach_the_page(page):
    assert "\x1b" not in page and "\x07" not in page


def test_hidden_tests_stay_hidden(page):
    assert "output_size(5, 3)" in BeautifulSoup(page, "html.parser").text
    assert "41" not in BeautifulSoup(page, "html.parser").text
    assert "HIDDEN" not in page


@lab.needs_chromium
def test_the_feedback_is_as_wide_as_a_phone(course):
    path = course.folder / "feedback" / "eve" / NAME / f"{NAME}.html"
    with (
        lab.chromium() as browser,
        browser.new_context(viewport={"width": 400, "height": 800}, is_mobile=True) as context,
    ):
        shown = context.new_page()
        shown.goto(path.as_uri())
        root = "document.documentElement"
        assert shown.evaluate(f"[{root}.clientWidth, {root}.scrollWidth]") == [400, 400]


def test_a_drawing_is_a_picture_and_no_text(page):
    (image,) = BeautifulSoup(page, "html.parser").find_all("img", alt="a word")
    kind, data = image["src"].split(",")
    assert kind == "data:image/svg+xml;base64" and b"drawn" in base64.b64decode(data)


def test_the_feedback_says_points_and_what_was_wrong(page):
    text = BeautifulSoup(page, "html.parser").text
    contents = BeautifulSoup(page, "html.parser").find(id="toc").text
    assert "a1-output-size (Score: 0.0 / 8.0)" in contents and "Test cell" not in contents
    assert "a1-explain: written answer" in contents
    assert "a1-output-size: 0 of 8 points" in text
    assert "Traceback" not in text
