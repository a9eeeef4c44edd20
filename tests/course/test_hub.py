"""`make hub`, in the hands of two students and an instructor: a real hub and a real browser.

For root each server runs as a system user of its own; those users, and their folder, are gone
afterwards. For anybody else all is one account's, and the same goes all the way.
"""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat
import psutil
import pytest

from tests.course import lab
from tests.course.test_nbgrader import answers

ACCOUNTS = ("instructor", "ada", "ben")
AS_ROOT = os.geteuid() == 0
A1 = "a1_convolution"
IDLE = '.jp-Notebook-ExecutionIndicator[data-status="idle"]'
WORKS = os.access("/usr/bin/python3", os.X_OK)
ANYWHERE = {"windowingMode": "none"}  # all cells are in the page, not only those in view


class Hub:
    """A hub that `make hub` has started, with its folder and address."""

    def __init__(self, folder: Path, port: int):
        self.folder, self.port, self.address = folder, port, f"http://127.0.0.1:{port}"

    def start(self) -> None:
        with (self.folder / "log").open("a") as log:
            self.make = subprocess.Popen(
                ["make", "hub", f"PORT={self.port}", "PYTHON=/usr/bin/python3"], cwd=lab.ROOT,
                env={**os.environ, "CNNLAB_HUB": str(self.folder)}, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        health = f"{self.address}/hub/health"
        wait_for(lambda: self.make.poll() is not None or answered(health), 900)
        assert self.make.poll() is None, (self.folder / "log").read_text()[-3000:]

    def kill(self) -> None:
        """The hub alone, as when the machine's memory runs out."""
        begun = psutil.Process(self.make.pid).children(recursive=True)
        (hub,) = [process for process in begun if "--config" in process.cmdline()]
        hub.kill()
        self.make.wait(60)

    @contextmanager
    def signed_in(self, browser, name: str):
        words = json.loads((self.folder / "state/passwords.json").read_text())
        with browser.new_context(viewport={"width": 1366, "height": 900}) as context:
            page = context.new_page()
            page.set_default_timeout(2 * lab.MINUTE)
            page.on("dialog", lambda dialog: dialog.accept())
            page.goto(f"{self.address}/hub/login")
            page.fill("input[name=username]", name)
            page.fill("input[name=password]", words.get(name, words["students"]))
            page.click("#login_submit")
            page.get_by_role("menuitem", name="Nbgrader").wait_for()
            yield page

    def look(self, page, name: str) -> None:
        """Pictures for whoever wants to see the page: $CNNLAB_SCREENSHOTS."""
        if where := os.environ.get("CNNLAB_SCREENSHOTS"):
            for width in (1366, 400):
                page.set_viewport_size({"width": width, "height": 900})
                page.screenshot(path=f"{where}/{name}{width}.png")
            page.set_viewport_size({"width": 1366, "height": 900})


def free_ports() -> int:
    """The first of four ports in a row that nobody uses, nor another of these tests soon."""
    for port in range(20_000 + os.getpid() % 900 * 10, 30_000, 10):
        with socket.socket() as probe:
            if all(probe.connect_ex(("127.0.0.1", port + more)) for more in range(4)):
                return port
    raise AssertionError("no free ports")


@pytest.fixture(scope="module")
def hub():
    if not WORKS:
        pytest.skip("no Python for other users: `apt install python3-venv`")
    known = [entry.pw_name for entry in pwd.getpwall() if entry.pw_name in ACCOUNTS]
    if AS_ROOT and known:
        pytest.skip(f"this machine has accounts of these names: {known}")
    folder = Path(tempfile.mkdtemp(prefix="cnnlab-hub-", dir="/var/tmp"))
    hub = Hub(folder, free_ports())
    try:
        hub.start()
        for name in ("ada", "ben"):
            tell(folder / "home" / name, name)
        yield hub
    finally:
        if hub.make.poll() is None:
            os.killpg(hub.make.pid, signal.SIGTERM)
        hub.make.wait(60)
        wait_for(lambda: not ended(folder), 60)
        for name in ACCOUNTS * AS_ROOT:
            left = subprocess.run(["userdel", name], capture_output=True, text=True)
            assert left.returncode in (0, 6), left.stderr  # 6: it was never made
        if os.environ.get("CNNLAB_SCREENSHOTS"):
            shutil.copy(folder / "log", os.environ["CNNLAB_SCREENSHOTS"])
        shutil.rmtree(folder)


def ended(folder: Path) -> list:
    """Those of a hub's processes that were still there, and are killed now."""
    found = []
    for process in psutil.process_iter(["username", "cmdline", "status"]):
        theirs = AS_ROOT and process.info["username"] in ACCOUNTS
        theirs |= str(folder) in " ".join(process.info["cmdline"] or ())
        if theirs and process.info["status"] != psutil.STATUS_ZOMBIE:
            with suppress(psutil.NoSuchProcess):
                process.kill()
            found.append(process)
    return found


def tell(home: Path, name: str) -> None:
    tracker = home / ".jupyter/lab/user-settings/@jupyterlab/notebook-extension"
    tracker.mkdir(parents=True)
    (tracker / "tracker.jupyterlab-settings").write_text(json.dumps(ANYWHERE))
    if AS_ROOT:
        subprocess.run(["chown", "-R", f"{name}:", home / ".jupyter"], check=True)


def wait_for(condition, seconds: float):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.5)
    raise AssertionError(f"waited {seconds} s for {condition}")


def answered(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except OSError:
        return False
    return True


@pytest.fixture
def browser():
    with lab.chromium() as browser:
        yield browser


def assignment_list(page):
    page.get_by_role("menuitem", name="Nbgrader").click()
    page.get_by_role("menuitem", name="Assignment List").click()
    page.wait_for_selector("text=Released assignments")


def solve(page, hub, student: str) -> None:
    """Type the right answers into the notebook's cells, save, and run them all.

    On a busy machine a page that is still settling can lose the click on the menu, or the kernel's
    answers: then it is loaded again.
    """
    from playwright.sync_api import TimeoutError

    right = answers(nbformat.read(lab.ROOT / "solutions" / A1 / f"{A1}.ipynb", 4))
    page.goto(f"{hub.address}/user/{student}/lab/workspaces/w/tree/{A1}/{A1}.ipynb")
    page.wait_for_selector(IDLE)
    cells = page.locator(".jp-NotebookPanel .jp-Cell")
    release = nbformat.read(lab.ROOT / "assignments" / A1 / f"{A1}.ipynb", 4)
    for index, cell in enumerate(release.cells):
        told = cell.metadata.get("nbgrader", {})
        if not told.get("solution"):
            continue
        box = cells.nth(index)
        box.scroll_into_view_if_needed()
        if cell.cell_type == "markdown":
            box.locator(".jp-RenderedMarkdown").dblclick()
        box.locator(".cm-content").click()
        page.keyboard.press("Control+a")
        answer = right[told.grade_id.removesuffix("-answer")].source
        page.keyboard.insert_text("By hand: " * (cell.cell_type == "markdown") + answer)
    page.keyboard.press("Control+s")
    written = hub.folder / "home" / student / A1 / f"{A1}.ipynb"
    wait_for(lambda: "By hand: " in written.read_text(), 60)
    for _ in range(3):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        try:
            page.wait_for_selector("text=a1-counts: 8 of 8 points", timeout=lab.MINUTE)
            break
        except TimeoutError:
            page.reload()
            page.wait_for_selector(IDLE)
    else:
        pytest.fail("the notebook does not run to its end")


def grade_now(page, hub) -> str:
    """Press the service's button; what its page says when the round is over."""
    page.goto(f"{hub.address}/services/grading/")
    page.wait_for_selector("text=Grading")
    wait_for(lambda: page.reload() and page.locator("text=The last round ended").count(), 300)
    before = page.locator("p").last.inner_text()
    time.sleep(1)
    page.get_by_role("button", name="Collect and grade now").click()

    def over():
        page.reload()
        said = page.locator("p").last.inner_text()
        return said if "ended" in said and said != before else None

    wait_for(over, 300)
    return page.inner_text("body")


@pytest.mark.slow
@lab.needs_chromium
def test_an_assignment_goes_all_the_way_and_nobody_sees_more_than_his_own(hub, browser):
    with hub.signed_in(browser, "ada") as page:
        hub.look(page, "lab")
        assignment_list(page)
        page.get_by_role("button", name="Fetch", exact=True).click()
        page.get_by_role("button", name="Submit", exact=True).wait_for()
        solve(page, hub, "ada")
        home = hub.folder / "home/ada" / A1
        assignment_list(page)
        page.get_by_role("button", name="Submit", exact=True).click()
        wait_for(lambda: list((hub.folder / "exchange/cnnlab/inbound").glob("ada+*")), 60)

    with hub.signed_in(browser, "instructor") as page:
        said = grade_now(page, hub)
        assert f"{A1}: ada: collected" in said and "92.0 of 100" in said, said
        hub.look(page, "service")
        page.get_by_role("link", name=A1).click()
        page.wait_for_selector("text=Needs a human")
        assert "ada" in page.inner_text("body")
        hub.look(page, "report")
        page.get_by_role("link", name="ada").first.click()
        page.wait_for_url("**/students/ada.html")
        marking = page.locator("[data-formgrader]").first.get_attribute("href")
        assert marking.startswith("/user/instructor/formgrader/")
        assert page.goto(f"{hub.address}{marking}").ok
        page.goto(f"{hub.address}/user/instructor/formgrader/gradebook/{A1}/{A1}")
        page.get_by_role("link", name="Submission #1").click()
        score = page.locator("input#a1-explain")
        score.fill("7")
        score.press("Tab")
        page.wait_for_load_state("networkidle")
        assert "feedback written" in grade_now(page, hub)
        page.get_by_role("link", name=A1).click()
        assert page.locator("td[data-th=points][data-v='99']").count() == 1
        page.get_by_role("link", name="feedback").first.click()
        page.wait_for_selector("text=(Score: 99.0 / 100.0)")

    with hub.signed_in(browser, "ada") as page:
        assignment_list(page)
        page.get_by_role("button", name="Fetch Feedback").click()
        written = wait_for(lambda: list(home.glob(f"feedback/*/{A1}.html")), 60)
        shown = written[0].relative_to(home.parent)
        page.goto(f"{hub.address}/user/ada/files/{shown}")
        assert "(Score: 99.0 / 100.0)" in page.inner_text("body")
        hub.look(page, "feedback")

    if AS_ROOT:
        nobody_reads_what_is_another_s(hub, home)
    with hub.signed_in(browser, "ben") as page:
        reports = f"/services/grading/reports/{A1}/class.html"
        theirs = ["/user/ada/lab", "/user/instructor/formgrader", "/services/grading/", reports]
        for where in [*theirs, "/user/ben/formgrader"]:
            reply = page.goto(f"{hub.address}{where}")
            assert reply.status in (403, 404), where
        reply = page.goto(f"{hub.address}/user/ben/api/contents/../ada/{A1}/{A1}.ipynb")
        assert reply.status in (400, 403, 404)


def nobody_reads_what_is_another_s(hub, home: Path) -> None:
    closed = [home / f"{A1}.ipynb", hub.folder / "home/instructor/course/.cnnlab_key"]
    closed += [hub.folder / "home/instructor/course/solutions", hub.folder / "state"]
    closed += [hub.folder / "exchange/cnnlab" / name for name in ("inbound", "feedback")]
    for path in closed:
        tried = ["ls", path] if path.is_dir() else ["cat", path]
        done = subprocess.run(tried, user="ben", group="ben", extra_groups=[], capture_output=True)
        assert b"Permission denied" in done.stderr, path
    course = hub.folder / "course"
    done = subprocess.run(["touch", course / "x"], user="ben", group="ben", extra_groups=[])
    assert done.returncode and (course / "lectures/01_convolution.ipynb").is_file()


SUBMIT = """async (what) => {
    const token = document.cookie.split("; ").find((c) => c.startsWith("_xsrf=")).slice(6);
    try {
        const reply = await fetch(`/user/ben/assignments/${what}`, {
            method: "POST", headers: {"X-XSRFToken": token},
            body: new URLSearchParams({course_id: "cnnlab", assignment_id: "a1_convolution"}),
        });
        return reply.ok && (await reply.json()).success;
    } catch { return false }
}"""


@pytest.mark.slow
@lab.needs_chromium
def test_a_hub_that_is_killed_while_a_student_submits_loses_nothing(hub, browser):
    inbound = hub.folder / "exchange/cnnlab/inbound"
    with hub.signed_in(browser, "ben") as page:
        assert page.evaluate(SUBMIT, "fetch")
        accepted = [page.evaluate(SUBMIT, "submit") for _ in range(3)]
        killer = threading.Timer(0.3, hub.kill)
        killer.start()
        until = time.monotonic() + lab.MINUTE / 1000
        while accepted[-1] and time.monotonic() < until:
            accepted.append(page.evaluate(SUBMIT, "submit"))
        killer.join()
        assert not accepted[-1]
        hub.start()
        wait_for(
            lambda: page.evaluate(SUBMIT, "submit"), 120
        )  # the student's server is found again
    handed_in = sorted(inbound.glob("ben+*"))
    assert len(handed_in) >= sum(accepted) + 1
    for folder in handed_in:
        whole = {f"{A1}.ipynb", "timestamp.txt", "submission_secret.txt"}
        assert whole <= {path.name for path in folder.iterdir()}
    with hub.signed_in(browser, "instructor") as page:
        (hub.folder / "exchange").chmod(0o555)
        assert "its mode has to be 1777. Nothing was lost." in grade_now(page, hub)
        (hub.folder / "exchange").chmod(0o1777)
        assert f"{A1}: ben: collected" in grade_now(page, hub)
    taken = hub.folder / "home/instructor/course/submitted/ben" / A1 / "timestamp.txt"
    assert taken.read_text() == handed_in[-1].name.split("+")[2]


@pytest.mark.parametrize("more", [0, 2])
def test_a_port_that_is_in_use_is_told_before_anything_is_made(tmp_path, more):
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        env = {"CNNLAB_HUB": str(tmp_path / "hub"), "PORT": str(port - more), "PATH": "/usr/bin"}
        command = [sys.executable, "deploy/hub/start.py"]
        done = subprocess.run(command, cwd=lab.ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and f"Port {port}, for " in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "hub").exists()


@pytest.mark.skipif(not AS_ROOT, reason="not root: there are no other accounts to serve")
def test_a_folder_that_students_cannot_enter_is_refused(tmp_path):
    tmp_path.chmod(0o700)
    env = {"CNNLAB_HUB": str(tmp_path / "hub"), "PORT": str(free_ports()), "PATH": "/usr/bin"}
    command = [sys.executable, "deploy/hub/start.py"]
    done = subprocess.run(command, cwd=lab.ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and "Other accounts cannot enter" in done.stderr
    assert not (tmp_path / "hub").exists()
