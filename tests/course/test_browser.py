"""The course as a student meets it: JupyterLab in a real browser.

That every lecture runs there, with its knobs turned, is shown in `test_widgets.py`.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from uuid import uuid4

import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser")) if p), None)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium here: `apt install chromium`")
MINUTE = 60_000


@pytest.fixture(scope="module")
def server(generated_course, tmp_path_factory):
    """The address of a JupyterLab that serves a copy of the course, with its token."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(generated_course, folder, dirs_exist_ok=True)
    shutil.copytree(ROOT / "lectures", folder / "lectures")
    tracker = folder / "settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings"
    tracker.parent.mkdir(parents=True)  # all cells in the page, not only those in view
    tracker.write_text('{"windowingMode": "none"}')
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
        f"--port={port}", "--IdentityProvider.token=token", f"--ServerApp.root_dir={folder}",
    ]  # fmt: skip
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "CNNLAB_DEVICE": "cpu"}
    env |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "IPYTHONDIR": str(folder / "ipy")}
    log = (folder / "server.log").open("w")
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/api", timeout=1).close()
                break
            except OSError:
                time.sleep(0.25)
        else:
            pytest.fail((folder / "server.log").read_text())
        yield address
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.set_default_timeout(2 * MINUTE)
    yield page
    page.close()


def open_notebook(page, server: str, path: str):
    """Open a notebook in a workspace of its own, and wait until its kernel is ready.

    (``?reset`` would empty the common workspace and then load the page once more.)
    """
    page.goto(f"{server}/lab/workspaces/{uuid4().hex}/tree/{path}?token=token")
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')


@pytest.mark.slow
def test_the_first_lecture_runs_to_its_end_without_an_error(page, server):
    from playwright.sync_api import TimeoutError

    open_notebook(page, server, "lectures/01_convolution.ipynb")
    page.locator(".jp-CodeCell .jp-InputArea-editor").first.click()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    prompts = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]"
    idle = "document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=idle]')"
    all_ran = f"() => {idle} && {prompts}.every(e => /\\[\\d+\\]/.test(e.textContent))"
    try:
        page.wait_for_function(all_ran, timeout=3 * MINUTE, polling=500)
    except TimeoutError:
        pytest.fail(f"{page.evaluate(f'() => {prompts}.map(e => e.textContent)')}")
    assert page.locator(".jp-RenderedText[data-mime-type*='error']").count() == 0
    assert page.locator(".jp-CodeCell").count() > 5


def test_validate_says_in_words_what_is_missing(page, server):
    open_notebook(page, server, "assignments/a1_convolution/a1_convolution.ipynb")
    page.get_by_role("button", name="Validate").click()
    dialog = page.locator(".jp-Dialog")
    dialog.wait_for()
    text = dialog.inner_text()
    assert "`window_response` is not written yet." in text
    assert "a1-padding: 0 of 12 points" in text
    assert "Traceback" not in text


def test_make_lab_prints_its_address_where_there_is_no_display():
    flags = "--no-browser --port=0 --IdentityProvider.token=token"
    process = subprocess.Popen(
        ["make", "--old-file=.venv/.ready", "lab", f"LAB_ARGS={flags}"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        lines = iter(process.stdout.readline, "")
        printed = next((line for line in lines if "http://127.0.0.1:" in line), "nothing")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
    assert "/lab/tree/lectures/" in printed


def test_formgrader_lists_the_assignment(page, server):
    page.goto(f"{server}/formgrader?token=token")
    page.wait_for_selector("text=a1_convolution")
    assert re.search("Manage Assignments", page.content())
