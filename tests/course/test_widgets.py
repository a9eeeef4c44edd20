"""Each lecture's knobs in JupyterLab, in a real browser: they move, and redraw their picture."""

import time
from operator import eq, ne

import pytest

from tests.course import lab

LECTURES = [
    path
    for path in sorted((lab.ROOT / "lectures").glob("*.ipynb"))
    if "Explorer(" in path.read_text(encoding="utf-8")
    or "explore_" in path.read_text(encoding="utf-8")
]
pytestmark = [pytest.mark.slow, lab.needs_chromium]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A JupyterLab on an empty folder: the folder and its address."""
    folder = tmp_path_factory.mktemp("lab")
    with lab.serve(folder) as address:
        yield folder, address


@pytest.fixture(scope="module")
def browser():
    with lab.chromium() as browser:
        yield browser


@pytest.fixture(params=LECTURES, ids=lambda path: path.stem)
def page(server, browser, request):
    """A lecture that has been run to its end; its kernel goes when the test is done."""
    folder, address = server
    with lab.new_page(browser) as page:
        lab.run_to_the_end(page, address, folder, request.param)
        yield page
    lab.stop_kernels(address)


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
