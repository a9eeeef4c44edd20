"""Edits that a curious student makes: each works, or stops at the edited cell with a sentence.

A row names the lecture, what is replaced by what in one cell, the cell up to which the lecture is
run (by some text in it), and, where the edit asks for the impossible, how the last line of the
error reads. What the page proves equal to the package's is no longer so when it is edited: then
the proof stops. Add yours.
"""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

LECTURES = Path(__file__).parents[2] / "lectures"
SLOW_CELLS = r"torch\.distributed\.run|two_processes"  # no edit below asks for them

WORKS = [
    ("01", "zeros(6, 6, device", "zeros(9, 7, device", "theirs.shape"),
    ("01", "seconds=0.7", "seconds=0.1", "seconds="),
    ("01", "units in (1, 10, 1000, inputs)", "units in (3, 64)", "units in"),
    ("01", "F.one_hot(labels).double()", "F.one_hot(labels, 10).double()", "shuffled:   "),
    ("01", "at=(0, 1)", "at=(3, 3)", "at=(3, 3)"),
    ("02", "sizes = [28]", "sizes = [224]", "sizes = ["),
    ("02", "(3, 5, 7, 4)", "(1, 2, 11)", "same_padding(kernel_size)"),
    ("02", "(4, 4, 4, 4)", "(1, 1, 1, 1)", "(1, 1, 1, 1)"),
    ("02", "stride in (1, 2, 3)", "stride in (5, 7)", "stride in"),
    ("02", "in (16, 32, 64)", "in (1, 100)", "stack = nn.Sequential"),
    ("02", "for layers in (1, 5, 10, 20)", "for layers in (2, 3)", "standard deviation"),
    ("04", "batch_size=64, shuffle=True", "batch_size=256, shuffle=True", "right = (net(images)"),
    ("04", "lr=1e-3", "lr=1e-4", "right = (net(images)"),
    ("14", "= 6, 10, 4", "= 7, 5, 8", "unguarded ="),
    ("14", "double[1, 1] = 2", "double[0, 0] = 3", "brightened(MENDED)"),
    ("14", '"china", 192', '"coffee", 100', "sectors_per_request"),
    ("14", "torch.randn(5, 5", "torch.randn(3, 3", "for rung, launch in rungs"),
    ("14", "torch.randn(5, 5", "torch.randn(7, 7", "for rung, launch in rungs"),
    ("14", "in (1024, 512, 256, 128)", "in (96, 32)", "occupancy(threads"),
    ("15", '"alexnet_two_gpu", 227, 128', '"resnet50", 224, 32', "training_memory"),
    ("15", "width=16", "width=6", "torch.no_grad()"),
    ("15", "in (torch.float32, torch.float16", "in (torch.float64, torch.float16", "gradient ="),
    ("15", "trained(parts=4)", "trained(parts=3)", "trained(parts=3)"),
    ("15", "for first in (8, 12)", "for first in (1, 15)", "for first in"),
    ("15", "num_replicas=3, rank=rank", "num_replicas=7, rank=rank", "num_replicas=7"),
    ("15", "for p in (2, 4, 8, 16)", "for p in (3, 7)", "for p in"),
    ("16", "best(cat, 3)", "best(cat, 12)", "best(cat"),
    ("16", 'prepared["coffee"], cat]', 'prepared["rocket"], cat]', "shares[name]"),
    ("16", "[105, 45]", "[30, 120]", "x_test, y_test = features"),
]  # fmt: skip

STOPS = [
    ("01", "at=(0, 1)", "at=(9, 9)", r"9"),
    ("01", '"china", height=240', '"paris", height=240', r"paris.*"),
    ("01", "OneFilter(3)", "OneFilter(5)", r"must match"),
    ("02", "explain(7, kernel_size=3", "explain(7, kernel_size=9", r"kernel_size 9 exceeds"),
    ("02", "theirs = nn.Conv2d(3, 6, 5", "theirs = nn.Conv2d(3, 6, 7", r"size mismatch"),
    ("04", "nn.Conv2d(1, 20, kernel_size=5), nn.ReLU()",
     "nn.Conv2d(1, 20, kernel_size=5), nn.Sigmoid()", r"not (close|equal)"),
    ("04", '"lenet_slide", padding=0', '"lenet_slide", padding=2', r"size mismatch"),
    ("14", "= 6, 10, 4", "= 6, 10, 64", r"4096 threads.*at most 1024"),
    ("15", '("vgg16", 224, 64)', '("vgg61", 224, 64)', r"vgg61"),
    ("16", "range(150)", "range(60)", r"Sum of input lengths"),
    ("16", "mine = Transferred(15)", "mine = Transferred(37)", r"size mismatch"),
]  # fmt: skip


def run(lecture: str, old: str, new: str, until: str):
    """The edited cell, the cell that stops, or None, and its error."""
    (path,) = LECTURES.glob(f"{lecture}_*.ipynb")
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    edited = [i for i, cell in enumerate(cells) if old in cell.source]
    assert len(edited) == 1, f"{old!r} stands in {len(edited)} cells of {path.stem}"
    cells[edited[0]].source = cells[edited[0]].source.replace(old, new)
    last = [i for i, cell in enumerate(cells) if i >= edited[0] and until in cell.source]
    assert last, f"no cell with {until!r} after the edit"
    notebook.cells = [c for c in cells[: last[0] + 1] if not re.search(SLOW_CELLS, c.source)]
    edited = cells[edited[0]].source
    for cell in notebook.cells:
        cell.execution_count = None
    here = {"metadata": {"path": LECTURES}}
    client = NotebookClient(notebook, timeout=600, startup_timeout=600, resources=here)
    try:
        client.execute()
    except CellExecutionError as error:
        stopped = [i for i, c in enumerate(notebook.cells) if c.execution_count][-1]
        return edited, notebook.cells[stopped].source, f"{error.ename}: {error.evalue}"
    return edited, None, ""


@pytest.mark.slow
@pytest.mark.parametrize(("lecture", "old", "new", "until"), WORKS)
def test_it_works(lecture, old, new, until):
    assert run(lecture, old, new, until)[1:] == (None, "")


@pytest.mark.slow
@pytest.mark.parametrize(("lecture", "old", "new", "sentence"), STOPS)
def test_it_stops_with_a_sentence(lecture, old, new, sentence):
    proof = "assert_close" if "not (close" in sentence else new
    edited, stopped, message = run(lecture, old, new, proof)
    assert proof in stopped if proof != new else stopped == edited
    assert re.search(sentence, message, re.S)


def test_there_are_thirty_and_each_is_still_on_its_page():
    assert len(WORKS) + len(STOPS) >= 30
    for lecture, old, *_ in WORKS + STOPS:
        (path,) = LECTURES.glob(f"{lecture}_*.ipynb")
        cells = nbformat.read(path, as_version=4).cells
        found = [cell for cell in cells if cell.cell_type == "code" and old in cell.source]
        assert len(found) == 1, f"{old!r} stands in {len(found)} cells of {path.stem}"
