"""The course as a student meets it: JupyterLab in a real browser.

That every lecture runs there, with its knobs turned, is shown in `test_widgets.py`.
"""

import os
import shutil
import signal
import subprocess

import pytest

from tests.course import lab

pytestmark = lab.needs_chromium


@pytest.fixture(scope="module")
def server(generated_course, tmp_path_factory):
    """A JupyterLab on a generated course: the folder and its address."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(generated_course, folder, dirs_exist_ok=True)
    with lab.serve(folder) as address:
        yield folder, address


@pytest.fixture(scope="module")
def browser():
    with lab.chromium() as browser:
        yield browser


@pytest.fixture
def page(browser):
    with lab.new_page(browser) as page:
        yield page


def test_the_first_lecture_runs_to_its_end_without_an_error(page, server):
    folder, address = server
    lab.run_to_the_end(page, address, folder, lab.ROOT / "lectures/01_convolution.ipynb")


def test_validate_says_in_words_what_is_missing(page, server):
    lab.open_notebook(page, server[1], "assignments/a1_convolution/a1_convolution.ipynb")
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
        cwd=lab.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
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
    page.goto(f"{server[1]}/formgrader?token=token")
    page.wait_for_selector("text=a1_convolution")
    assert "Manage Assignments" in page.content()
