"""Pictures show the real numbers, and say the same in words wherever they are shown."""

import io
import os
from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F
from bs4 import BeautifulSoup
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from PIL import Image

from cnnlab import plotting
from cnnlab.data import photograph
from cnnlab.plotting.convolution import Slide, draw_step
from cnnlab.plotting.explorer import FILTERS
from cnnlab.plotting.grids import board, draw_matrix, in_words, number

ROOT = Path(__file__).parents[1]
IMAGE = torch.zeros(6, 6)
IMAGE[:, :3] = 8
KERNEL = torch.tensor([[1.0, 0.0, -1.0]] * 3)


def open_image(picture: plotting.Picture) -> Image.Image:
    return Image.open(io.BytesIO(picture.data))


# --- the filter on its way --------------------------------------------------------------------

sizes = st.integers(1, 8)


@given(sizes, sizes, st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_a_slide_is_the_convolution_that_torch_computes(h, w, k, stride, padding, dilation):
    assume(dilation * (k - 1) < min(h, w) + 2 * padding)
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(-9, 10, (h, w), generator=generator)
    kernel = torch.randint(-3, 4, (k, k), generator=generator)
    slide = Slide(image, kernel, stride, padding, dilation)
    expected = F.conv2d(
        image[None, None].double(), kernel[None, None].double(), None, stride, padding, dilation
    )[0, 0]
    assert torch.equal(slide.output, expected)
    assert len(slide.cells) == expected.numel()
    for cell in slide.cells:
        assert slide.products(*cell).sum() == expected[cell]
        left, right = slide.arithmetic(*cell).split(" = ")
        assert eval(left.replace("·", "*").replace("−", "-")) == int(right.replace("−", "-"))


def test_the_output_fills_up_in_reading_order():
    slide = Slide(IMAGE, KERNEL)
    for count, cell in enumerate(slide.cells, start=1):
        written = ~slide.output_until(*cell).isnan().flatten()
        assert written[:count].all()
        assert not written[count:].any()


def test_the_figure_of_a_step_shows_window_products_sum_and_output():
    figure = draw_step(Slide(IMAGE, KERNEL), 1, 1)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "sum 24" in texts
    assert "8·1 + 8·0 + 0·(−1) + 8·1 + 8·0 + 0·(−1) + 8·1 + 8·0 + 0·(−1) = 24" in texts
    assert texts.count("8") == 18 + 3  # the bright half of the image, and three products
    assert texts.count("24") == 2 + 1  # row 0 has two, row 1 is written as far as column 1


def test_a_step_in_words():
    assert repr(plotting.convolution_step(IMAGE, KERNEL, at=(0, 1))) == (
        "Step 2 of 16. The filter (1 0 −1 / 1 0 −1 / 1 0 −1) lies on rows 0, 1, 2 and columns "
        "1, 2, 3 of the 6×6 image on the pixels (8 8 0 / 8 8 0 / 8 8 0). The products (8 0 0 / "
        "8 0 0 / 8 0 0) add up to 24, which is written into row 0, column 1 of the 4×4 output."
    )


def test_a_sum_of_rounded_numbers_says_so():
    assert Slide(torch.full((1, 1), 1 / 3), torch.ones(1, 1)).arithmetic(0, 0) == "0.33·1 ≈ 0.33"


def test_the_strip_names_each_step():
    strip = plotting.convolution_strip(IMAGE, KERNEL, steps=[(0, 0), (3, 2)])
    assert (
        "2 of 16 steps. Step 1 writes 0 into row 0, column 0. Step 15 writes 24 into" in strip.alt
    )


def test_the_animation_has_a_frame_a_step_and_comes_to_rest():
    picture = plotting.convolution_animation(IMAGE, KERNEL, stride=3, seconds=0.5)
    image = open_image(picture)
    assert (image.format, image.n_frames, image.info["loop"]) == ("PNG", 4, 3)
    durations = []
    for index in range(image.n_frames):
        image.seek(index)
        durations.append(image.info["duration"])
    assert durations == [500, 500, 500, 1500]
    assert "Animation in 4 steps" in picture.alt
    assert "in the end is (0 0 / 0 0)" in picture.alt


# --- pictures ---------------------------------------------------------------------------------


def test_numbers_are_written_as_people_write_them():
    assert [number(v) for v in (24.0, -1.0, -0.0)] == ["24", "−1", "0"]
    assert [number(v) for v in (7 / 9, -0.5, -0.001)] == ["0.78", "−0.50", "0.00"]
    assert in_words(torch.tensor([[1.0, -0.5], [0.0, 2.0]])) == "1.00 −0.50 / 0.00 2.00"


def test_a_matrix_has_every_number_in_its_cell_and_leaves_nan_empty():
    values = torch.tensor([[1.0, -2.0, 3.0], [4.0, float("nan"), 6.0]])
    axes = board(5, 4, values)
    draw_matrix(axes, values, left=1, top=2)
    written = {text.get_position(): text.get_text() for text in axes.texts if text.get_text()}
    assert {(int(x), int(y)): text for (x, y), text in written.items()} == {
        (1, 2): "1",
        (2, 2): "−2",
        (3, 2): "3",
        (1, 3): "4",
        (3, 3): "6",
    }


def test_the_text_equivalent_of_matrices_holds_their_numbers():
    picture = plotting.matrices({"a": torch.eye(2), "b": -torch.eye(2)}, "=")
    assert picture.alt == "Matrices, row by row. a: 1 0 / 0 1; b: −1 0 / 0 −1."


def test_a_chart_is_a_small_png_and_a_photograph_a_jpeg():
    chart = plotting.convolution_step(IMAGE, KERNEL)
    assert chart.mime == "image/png"
    assert open_image(chart).mode == "P"
    assert len(chart.data) < 40_000
    photo = plotting.images({"china": photograph("china", height=200)}, "a temple")
    assert photo.mime == "image/jpeg"
    for picture in (chart, photo):
        assert round(open_image(picture).width / 1.5) == picture.width


def test_signed_maps_are_white_at_zero_and_share_one_scale():
    maps = {"weak": torch.full((4, 4), -0.5), "zero": torch.zeros(4, 4), "strong": torch.ones(4, 4)}
    picture = plotting.images(maps, "three flat maps", signed=list(maps))
    image = open_image(picture).convert("RGB")
    weak, zero, strong = (
        image.getpixel((int(image.width * x), image.height // 2)) for x in (0.15, 0.45, 0.75)
    )
    assert min(zero) > 240
    assert weak[2] > weak[0]  # blue
    assert strong[0] > strong[2]  # red
    assert sum(strong) < sum(weak)  # darker, as it is farther from zero


def test_images_take_parameters_and_feature_maps_as_they_are():
    weight = torch.nn.Conv2d(1, 4, 3).weight
    picture = plotting.images({str(i): w for i, w in enumerate(weight)}, "four filters", columns=2)
    assert open_image(picture).height > 500


def test_the_figure_of_a_lecture_gets_the_house_style_and_its_words():
    with plotting.style():
        figure = plotting.new_figure(6, 3)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1])
        axes.set(title="a line")
    picture = plotting.Picture.from_figure(figure, "A line that rises.")
    assert axes.title.get_fontsize() == 16
    assert repr(picture) == "A line that rises."
    assert 550 < picture.width < 620  # 6 inches at 100 pixels, trimmed, and a margin


def test_a_picture_is_saved_as_the_file_that_it_is(tmp_path):
    plotting.convolution_step(IMAGE, KERNEL).save(tmp_path / "step.png")
    assert Image.open(tmp_path / "step.png").format == "PNG"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: plotting.convolution_step(IMAGE, KERNEL, at=(4, 0)),
            "at (4, 0) is outside the 4×4 output",
        ),
        (
            lambda: plotting.convolution_step(torch.zeros(3, 6, 6), KERNEL),
            "expected one (H, W) matrix, not the shape (3, 6, 6)",
        ),
        (
            lambda: plotting.convolution_strip(IMAGE, torch.ones(7, 7)),
            "height: kernel_size 7 exceeds the padded input 6 (input 6, padding 0)",
        ),
        (
            lambda: plotting.matrices({"a": IMAGE, "b": IMAGE}, "+="),
            "symbols '+=' has 2 characters, but 2 matrices have 1 gaps",
        ),
        (
            lambda: plotting.matrices({"photo": torch.zeros(200, 300)}),
            "200×300 is too large to write numbers into its 60,000 cells; plotting.images draws it",
        ),
        (
            lambda: plotting.images({"a": IMAGE}, alt="one", signed=["b"]),
            "no part is called 'b'; there are a",
        ),
        (lambda: plotting.matrices({}), "there is nothing to draw: parts is empty"),
        (
            lambda: plotting.images({"a": IMAGE}, alt=" "),
            "alt is empty: a picture must also say in words what it shows",
        ),
        (
            lambda: plotting.Picture.from_frames([], "nothing"),
            "an animation needs at least 1 figure, not 0",
        ),
        (
            lambda: plotting.explore_convolution(IMAGE, stride=9),
            "stride 9 is none of 1, 2, 3",
        ),
        (
            lambda: plotting.explore_convolution(IMAGE, strides=1),
            "'strides' is none of the knobs filter, kernel_size, stride, padding, dilation, row, ",
        ),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)


# --- explorers --------------------------------------------------------------------------------


def test_every_knob_of_the_explorer_redraws_the_picture():
    explorer = plotting.explore_convolution(IMAGE, row=1)
    box = explorer.widget()
    knobs, screen = box.children
    names = [knob.description for knob in knobs.children]
    assert names == ["filter", "kernel size", "stride", "padding", "dilation", "row", "column"]
    for knob in knobs.children:
        opened, before = knob.value, screen.value
        knob.value = next(value for value in knob.options if value != opened)
        assert screen.value != before, knob.description
        knob.value = opened
        assert screen.value == before, knob.description


def test_a_setting_that_cannot_be_is_told_and_the_next_one_draws_again():
    box = plotting.explore_convolution(IMAGE, padding=0).widget()
    (_, size, *_), screen = box.children[0].children, box.children[1]
    dilation = box.children[0].children[4]
    dilation.value = 3
    assert "kernel_size 3 with dilation 3 covers 7 and exceeds the padded input 6" in screen.value
    assert "<img" not in screen.value
    size.value = 2
    assert "<img" in screen.value


def test_the_explorers_filters():
    assert FILTERS["vertical edge"](3).tolist() == KERNEL.tolist()
    assert FILTERS["vertical edge"](4)[0].tolist() == [1, 1, -1, -1]
    assert FILTERS["horizontal edge"](3).tolist() == KERNEL.T.tolist()
    assert FILTERS["vertical edge"](1).tolist() == [[1]]


# --- where pictures are shown -----------------------------------------------------------------

ALT = '<one> "two" & three'
CELLS = [
    "import os, torch; from cnnlab import plotting",
    f"plotting.images({{'<a>': torch.eye(3)}}, alt={ALT!r})",
    "os.environ.pop('CNNLAB_WIDGETS', None); plotting.explore_convolution(torch.eye(4))",
    "os.environ['CNNLAB_WIDGETS'] = 'off'; plotting.explore_convolution(torch.eye(4))",
]


@pytest.fixture(scope="module")
def notebook():
    """A notebook that shows pictures, run in a real kernel."""
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120).execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
    return notebook


def test_a_shown_picture_carries_its_words_to_nbval_and_to_screen_readers(notebook):
    image, words = notebook.cells[1].outputs
    assert image.data["text/plain"] == ALT
    assert image.metadata["image/png"]["alt"] == ALT
    folded = BeautifulSoup(words.data["text/html"], "html.parser").details
    assert folded.summary.extract().text == "In words"
    assert folded.text == ALT


def test_the_html_of_nbconvert_has_the_words_as_alt_text(notebook):
    exporter = HTMLExporter(
        template_name="cnnlab", extra_template_basedirs=[str(ROOT / "docs" / "nbconvert")]
    )
    page = BeautifulSoup(exporter.from_notebook_node(notebook)[0], "html.parser")
    first, *_ = page.find_all("img")
    assert first["alt"] == ALT
    assert first["src"].startswith("data:image/png;base64,")


def test_an_explorer_is_live_where_widgets_run_and_a_picture_elsewhere(notebook):
    live, still = (cell.outputs for cell in notebook.cells[2:])
    widget = "application/vnd.jupyter.widget-view+json"
    assert set(live[0].data) == {widget, "image/png", "text/plain"}
    assert set(still[0].data) == {"image/png", "text/plain"}
    assert live[0].data["text/plain"] == still[0].data["text/plain"]
    assert live[1] == still[1]  # the words, so that nbval sees no difference
