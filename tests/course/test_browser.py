"""The course as a student meets it: JupyterLab in a real browser.

That every lecture runs there, with its knobs turned, is shown in `test_widgets.py`.
"""

import json
import os
import shutil
import signal
import subprocess

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

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


def test_a_folded_answer_does_not_show_its_first_line(page, server):
    folder, address = server
    shutil.copy(lab.ROOT / "lectures/09_resnet.ipynb", folder)
    lab.open_notebook(page, address, "09_resnet.ipynb")
    folded = page.locator(".jp-OutputPlaceholder .jp-PlaceholderText")
    folded.first.wait_for(state="attached")
    sizes = folded.evaluate_all("spans => spans.map(span => getComputedStyle(span).fontSize)")
    assert set(sizes) == {"0px"} and len(sizes) > 5


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
        ["make", "SET_UP=true", "lab", f"LAB_ARGS={flags}"],
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


# The lowest contrast (WCAG 2) of a text with what is behind it.
LOWEST_CONTRAST = """boxes => {
  const parts = color => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    const color = parts(getComputedStyle(element).backgroundColor);
    return color[3] === 0 ? behind(element.parentElement) : color;
  };
  const contrasts = boxes.flatMap(box => [...box.querySelectorAll("*")])
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
    .map(e => [light(parts(getComputedStyle(e).color)), light(behind(e))].sort((a, b) => b - a))
    .map(([bright, dark]) => (bright + 0.05) / (dark + 0.05));
  return [contrasts.length, Math.min(...contrasts)];
}"""


@pytest.mark.slow
def test_on_a_dark_laptop_boxes_read_pictures_fit_and_checks_speak_once(page, server):
    folder, address = server
    page.set_viewport_size({"width": 1366, "height": 768})
    boxes = nbformat.read(lab.ROOT / "lectures/05_alexnet.ipynb", as_version=4)
    boxes = [c for c in boxes.cells if c.cell_type == "markdown" and 'class="alert' in c.source]
    explorer = "import torch\nfrom cnnlab import plotting\n"
    explorer += "plotting.explore_convolution(torch.eye(8), kernel_size=5)"
    points = "from cnnlab.checks import Points\nprint('8 of 8 points')\nPoints(8)"
    cells = [*boxes, new_code_cell(explorer), new_code_cell(points)]
    nbformat.write(new_notebook(cells=cells), folder / "dark.ipynb")
    theme = folder / "settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings"
    theme.parent.mkdir(parents=True)
    theme.write_text(json.dumps({"theme": "JupyterLab Dark"}))
    try:
        lab.run_to_the_end(page, address, folder, folder / "dark.ipynb")
        page.wait_for_selector("body[data-jp-theme-name='JupyterLab Dark']")
        texts, contrast = page.eval_on_selector_all(".alert", LOWEST_CONTRAST)
        picture = page.locator(".widget-html img")
        picture.wait_for()
        right = picture.evaluate("e => e.getBoundingClientRect().right")
        room = page.locator(".jp-OutputArea-output:has(.widget-html)").first
        shown = page.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea-output")
        said = [text.strip() for text in shown.all_inner_texts()]
        if where := os.environ.get("CNNLAB_SCREENSHOTS"):
            picture.scroll_into_view_if_needed()
            page.screenshot(path=f"{where}/dark.png")
    finally:
        theme.unlink()
    assert texts > 50 and contrast >= 4.5
    assert right <= room.evaluate("e => e.getBoundingClientRect().right") <= 1366
    assert [text for text in said if text] == ["8 of 8 points"]
