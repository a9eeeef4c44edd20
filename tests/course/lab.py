"""JupyterLab and a browser for it, as the tests of the course start and drive them."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
MINUTE = 60_000
END = "the lecture has ended"
ERROR = ".jp-OutputArea-output:has-text('Traceback (most recent call last)')"
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser")) if p), None)
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="no chromium here: `apt install chromium`")


@contextmanager
def chromium() -> Iterator:
    """Debian's chromium without a window, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@contextmanager
def new_page(browser) -> Iterator:
    """A tab of the size of a laptop's screen."""
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.set_default_timeout(2 * MINUTE)
    page.on("dialog", lambda dialog: dialog.accept())  # leave a notebook that is not saved
    yield page
    page.close()


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """The address of a JupyterLab on this folder, whose token is ``token``."""
    tracker = folder / "settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings"
    tracker.parent.mkdir(parents=True)  # all cells in the page, not only those in view
    tracker.write_text('{"windowingMode": "none"}')
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {key: value for key, value in os.environ.items() if key != "CNNLAB_WIDGETS"}
    env |= {"PATH": path, "CNNLAB_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    env |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "IPYTHONDIR": str(folder / "ipy")}
    with start_server(folder, "jupyterlab", "--no-browser", env=env) as address:
        yield address


@contextmanager
def start_server(folder: Path, module: str, *options: str, env: dict) -> Iterator[str]:
    """The address of a Jupyter server on this folder, once it answers; its token is ``token``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", module, "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.port_retries=0", "--IdentityProvider.token=token",
        f"--ServerApp.root_dir={folder}", *options,
    ]  # fmt: skip
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**env, "PYTHONPATH": str(ROOT)}, stdout=log, stderr=log
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(480):
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


def open_notebook(page, address: str, path: str) -> None:
    """Open a notebook in a workspace of its own, and wait until its kernel is ready.

    (``?reset`` would empty the common workspace and then load the page once more.)
    """
    page.goto(f"{address}/lab/workspaces/{uuid4().hex}/tree/{path}?token=token")
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')


def stop_kernels(address: str) -> None:
    """Shut down every kernel of the server."""
    for kernel in json.load(urllib.request.urlopen(f"{address}/api/kernels?token=token")):
        url = f"{address}/api/kernels/{kernel['id']}?token=token"
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE")).close()


def run_to_the_end(page, address: str, folder: Path, lecture: Path) -> None:
    """Put a lecture into the server's folder without its outputs, open it and run all its cells.

    On a busy machine a page that is still settling can lose the click on the menu, or the
    kernel's answers: what did not end then gets a second chance with a new page and kernel.
    """
    from playwright.sync_api import TimeoutError

    notebook = nbformat.read(lecture, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(f'print("{END}")'))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    prompts = page.locator(".jp-CodeCell .jp-InputPrompt")
    for _ in range(2):
        nbformat.write(notebook, folder / lecture.name)
        open_notebook(page, address, lecture.name)
        try:
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
            running = prompts.filter(has_text=re.compile("[*0-9]"))
            running.first.wait_for(timeout=MINUTE / 4)
            ended = f".jp-OutputArea-output:has-text('{END}'), {ERROR}"
            page.wait_for_selector(ended, timeout=3 * MINUTE)
            break
        except TimeoutError:
            state = prompts.all_inner_texts()
            stop_kernels(address)
    else:
        pytest.fail(f"{lecture.name} did not end within three minutes: {state}")
    assert page.locator(ERROR).all_inner_texts() == []
