"""Each lecture's knobs in JupyterLab, in a real browser: they move, and redraw their picture."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from operator import eq, ne
from pathlib import Path
from uuid import uuid4

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser")) if p), None)
LECTURES = sorted((ROOT / "lectures").glob("*.ipynb"))
MINUTE = 60_000
END = "the lecture has ended"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium here: `apt install chromium`"),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab on an empty folder: the folder and its address."""
    folder = tmp_path_factory.mktemp("lab")
    settings = folder / "settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"windowingMode": "none"}))  # all cells are in the page
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
        f"--port={port}", "--IdentityProvider.token=token", f"--ServerApp.root_dir={folder}",
    ]  # fmt: skip
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {key: value for key, value in os.environ.items() if key != "CNNLAB_WIDGETS"}
    env |= {"PATH": path, "PYTHONPATH": str(ROOT), "CNNLAB_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
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
        yield folder, address
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


@pytest.fixture(params=LECTURES, ids=lambda path: path.stem)
def page(lab, browser, request):
    """A lecture that has been run to its end; its kernel goes when the test is done."""
    folder, address = lab
    notebook = nbformat.read(request.param, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(f'print("{END}")'))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, folder / request.param.name)
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.set_default_timeout(2 * MINUTE)
    page.goto(f"{address}/lab/workspaces/{uuid4().hex}/tree/{request.param.name}?token=token")
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    error = ".jp-RenderedText[data-mime-type*='error']"
    page.wait_for_selector(f".jp-OutputArea-output:has-text('{END}'), {error}", timeout=4 * MINUTE)
    assert page.locator(error).all_inner_texts() == []
    yield page
    page.close()
    for kernel in json.load(urllib.request.urlopen(f"{address}/api/kernels?token=token")):
        url = f"{address}/api/kernels/{kernel['id']}?token=token"
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE")).close()


class Knob:
    """A slider or a list of choices, as a person turns it."""

    def __init__(self, control):
        self.name = control.locator("label").first.inner_text()
        self.list = control.locator("select")
        self.handle = control.locator(".noUi-handle")
        self.readout = control.locator(".widget-readout")
        self.is_list = self.list.count() > 0

    @property
    def value(self) -> str:
        """As it is shown."""
        if self.is_list:
            return self.list.evaluate("list => list.selectedOptions[0].text")
        return self.readout.inner_text()

    def set(self, value: str) -> None:
        """Turn it step by step to a value that it has had."""
        if self.is_list:
            self.list.select_option(label=value)
            return
        for key in ("ArrowLeft", "ArrowRight"):
            if self.value != value:
                self.handle.press(key)
        assert self.value == value

    def turn(self) -> None:
        """One step up; from the last value, one down."""
        if self.is_list:
            count, now = self.list.evaluate("list => [list.length, list.selectedIndex]")
            self.list.select_option(index=(now + 1) % count)
            return
        before = self.value
        for key in ("ArrowRight", "ArrowLeft"):
            if self.value == before:
                self.handle.press(key)


def waits(screen, compare, picture: str, seconds: float = 30) -> bool:
    """Whether what is on the screen becomes equal (`eq`) to this, or unequal (`ne`), in time."""
    end = time.monotonic() + seconds
    while not compare(screen.inner_html(), picture):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def test_every_knob_moves_and_redraws(page):
    explorers = page.locator(".widget-vbox:has(> .widget-hbox)")
    assert explorers.count() >= 1
    for explorer in explorers.all():
        screen = explorer.locator("> .widget-html .widget-html-content")
        screen.locator("img[alt]").wait_for()
        opening = screen.inner_html()
        knobs = [Knob(one) for one in explorer.locator(".widget-slider, .widget-dropdown").all()]
        assert knobs
        for knob in knobs:
            value = knob.value
            knob.turn()
            assert knob.value != value, f"{knob.name} does not move"
            said = f"{knob.name}, from {value} to {knob.value}"
            assert waits(screen, ne, opening), f"{said}: nothing is redrawn"
            knob.set(value)
            assert waits(screen, eq, opening), f"{said} and back: it differs"
