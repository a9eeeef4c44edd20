"""A filter that slides over an image: one step, a strip of steps, an animation."""

from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cnnlab.plotting.grids import board, draw_matrix, in_words, number, plane
from cnnlab.plotting.picture import Picture
from cnnlab.plotting.style import COLOURS, style
from cnnlab.shapes import output_size

__all__ = ["Slide", "convolution_animation", "convolution_step", "convolution_strip"]

HERE = COLOURS["vermillion"]
GAP, MARGIN, HEAD = 1.3, 0.35, 1.1  # in cells


class Slide:
    """One filter on its way over one image: everything that the pictures are drawn from.

    The image (H, W) and the kernel (k, k) are cross-correlated as `torch.nn.functional.conv2d`
    does it: no flip.

    Attributes
    ----------
    padded : torch.Tensor
        The image with its frame of zeros, shape (H + 2·padding, W + 2·padding).
    output : torch.Tensor
        The result.
    cells : list of (int, int)
        The output cells ``(row, column)`` in the order in which the filter visits them.

    Raises
    ------
    ValueError
        If image or kernel is no matrix, or `cnnlab.shapes.output_size` refuses the sizes.
    """

    def __init__(self, image, kernel, stride: int = 1, padding: int = 0, dilation: int = 1):
        self.image, self.kernel = plane(image), plane(kernel)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        rows, columns = output_size(
            tuple(self.image.shape), tuple(self.kernel.shape), stride, padding, dilation
        )
        self.cells = list(product(range(rows), range(columns)))
        self.padded = F.pad(self.image, (padding,) * 4)
        self.output = F.conv2d(
            self.padded[None, None], self.kernel[None, None], stride=stride, dilation=dilation
        )[0, 0]

    def under_filter(self, row: int, column: int) -> tuple[list[int], list[int]]:
        """Rows and columns of the padded image that output cell ``(row, column)`` looks at."""
        height, width = self.kernel.shape
        return (
            [row * self.stride + self.dilation * i for i in range(height)],
            [column * self.stride + self.dilation * i for i in range(width)],
        )

    def pixels(self, row: int, column: int) -> torch.Tensor:
        """The pixels under the filter, shape (k, k)."""
        rows, columns = self.under_filter(row, column)
        return self.padded[rows][:, columns]

    def products(self, row: int, column: int) -> torch.Tensor:
        """Pixel times weight under the filter, shape (k, k); their sum is the output cell."""
        return self.pixels(row, column) * self.kernel

    def step(self, row: int, column: int) -> int:
        """At which step the filter writes this cell, counted from 1."""
        return self.cells.index((row, column)) + 1

    def sum(self, row: int, column: int) -> str:
        """What it writes there, as text."""
        return number(float(self.output[row, column]))

    def output_until(self, row: int, column: int) -> torch.Tensor:
        """The output as it is when ``(row, column)`` has just been written: NaN after it."""
        written = self.output.clone().flatten()
        written[self.step(row, column) :] = float("nan")
        return written.reshape(self.output.shape)

    def arithmetic(self, row: int, column: int) -> str:
        """The sum written out: ``8·1 + 8·0 + 0·(−1) + … = 24``."""
        pixels, weights = self.pixels(row, column), self.kernel
        pairs = zip(pixels.flatten().tolist(), weights.flatten().tolist(), strict=True)
        terms = " + ".join(f"{_factor(pixel)}·{_factor(weight)}" for pixel, weight in pairs)
        exact = bool((torch.stack([pixels, weights]) % 1 == 0).all())
        return f"{terms} {'=' if exact else '≈'} {self.sum(row, column)}"

    def in_words(self, row: int, column: int) -> str:
        """One step as a text equivalent."""
        rows, columns = self.under_filter(row, column)
        frame = f", framed by zeros {self.padding} wide," if self.padding else ""
        return (
            f"Step {self.step(row, column)} of {len(self.cells)}. "
            f"The filter ({in_words(self.kernel)}) lies on rows {_list(rows)} and columns "
            f"{_list(columns)} of the {_size(self.image)} image{frame} on the pixels "
            f"({in_words(self.pixels(row, column))}). The products "
            f"({in_words(self.products(row, column))}) add up to "
            f"{self.sum(row, column)}, which is written into row {row}, "
            f"column {column} of the {_size(self.output)} output."
        )


def convolution_step(
    image, kernel, at: tuple[int, int] = (0, 0), *, stride=1, padding=0, dilation=1
) -> Picture:
    """One step: the window, the products, their sum, and the output filled up to there.

    Parameters
    ----------
    image, kernel
        Matrices (H, W) and (k, k), cross-correlated.
    at
        Row and column of the output cell, counted from 0.
    stride, padding, dilation
        As in `torch.nn.functional.conv2d`.

    Raises
    ------
    ValueError
        If the sizes do not fit or the output has no such cell.
    """
    slide = Slide(image, kernel, stride, padding, dilation)
    if tuple(at) not in slide.cells:
        raise ValueError(f"at {tuple(at)} is outside the {_size(slide.output)} output")
    return Picture.from_figure(draw_step(slide, *at), slide.in_words(*at))


def convolution_animation(
    image, kernel, *, stride=1, padding=0, dilation=1, seconds: float = 0.8
) -> Picture:
    """Every step after the other, each shown for ``seconds``, as an animated PNG."""
    slide = Slide(image, kernel, stride, padding, dilation)
    words = (
        f"Animation in {len(slide.cells)} steps: the filter ({in_words(slide.kernel)}) "
        f"slides over the {_size(slide.image)} image ({in_words(slide.image)}) from left "
        f"to right and from top to bottom. At each step the products are added up and the sum "
        f"is written into the next cell of the {_size(slide.output)} output, which in the end "
        f"is ({in_words(slide.output)})."
    )
    return Picture.from_frames((draw_step(slide, *cell) for cell in slide.cells), words, seconds)


@style()
def convolution_strip(
    image,
    kernel,
    steps: Sequence[tuple[int, int]] | None = None,
    *,
    stride=1,
    padding=0,
    dilation=1,
) -> Picture:
    """Several steps side by side: above the window on the image, below the output so far.

    ``steps`` are output cells ``(row, column)``; default: the first row of the output.
    """
    slide = Slide(image, kernel, stride, padding, dilation)
    steps = list(steps) if steps else [cell for cell in slide.cells if cell[0] == 0]
    rows, columns = slide.padded.shape
    axes = board(
        len(steps) * columns + (len(steps) - 1) * GAP + 2 * MARGIN,
        rows + len(slide.output) + 2.1 * HEAD + MARGIN,
        slide.padded,
        slide.output,
    )
    for index, cell in enumerate(steps):
        left = MARGIN + index * (columns + GAP)
        _draw_image(axes, slide, cell, left, HEAD, f"step {slide.step(*cell)}")
        middle = left + (columns - slide.output.shape[1]) / 2
        _draw_output(axes, slide, cell, middle, rows + 2 * HEAD, "output so far")
    words = " ".join(
        f"Step {slide.step(*cell)} writes {slide.sum(*cell)} into row {cell[0]}, column {cell[1]}."
        for cell in steps
    )
    words = (
        f"The filter ({in_words(slide.kernel)}) on the {_size(slide.image)} image "
        f"({in_words(slide.image)}), {len(steps)} of {len(slide.cells)} steps. {words}"
    )
    return Picture.from_figure(axes.figure, words)


@style()
def draw_step(slide: Slide, row: int, column: int, footer: str = "") -> Figure:
    """The figure of one step, all steps equally large; ``footer`` is more text to put below."""
    height, width = slide.kernel.shape
    widths = [slide.padded.shape[1], width, width, slide.output.shape[1]]
    lefts = [MARGIN + sum(widths[:i]) + i * GAP for i in range(4)]
    body = max(len(slide.padded), height + 2)
    foot = 1.3 + 0.9 * len(footer.splitlines())
    products = slide.products(row, column)
    contents = [slide.padded, slide.kernel, products, slide.output]
    axes = board(sum(widths) + 3 * GAP + 2 * MARGIN, HEAD + body + foot, *contents)
    middle = HEAD + body / 2

    _draw_image(axes, slide, (row, column), lefts[0], middle - len(slide.padded) / 2, "image")
    draw_matrix(axes, slide.kernel, lefts[1], middle - height / 2, "filter")
    strongest = float(slide.padded.abs().max() * slide.kernel.abs().max())
    draw_matrix(axes, products, lefts[2], middle - height / 2, "products", limit=strongest)
    _draw_output(axes, slide, (row, column), lefts[3], middle - len(slide.output) / 2, "output")
    for left, symbol in zip(lefts[1:], "×=→", strict=True):
        axes.text(left - GAP / 2, middle, symbol, ha="center", va="center", size=24)
    total = f"sum {slide.sum(row, column)}"
    below = middle + height / 2 + 0.65
    bold = {"size": 17, "weight": "bold", "color": HERE}
    axes.text(lefts[2] + width / 2, below, total, ha="center", va="center", **bold)

    below = HEAD + body + 0.8
    if products.numel() <= 9:
        axes.text(MARGIN, below, slide.arithmetic(row, column), va="baseline", size=14)
        below += 1
    monospaced = {"family": "monospace", "size": 13, "linespacing": 1.5}
    axes.text(MARGIN, below - 0.5, footer, va="top", **monospaced)
    return axes.figure


def _draw_image(axes: Axes, slide: Slide, cell: tuple[int, int], left, top, title: str) -> None:
    """The padded image, its frame hatched, with the pixels under the filter outlined."""
    draw_matrix(axes, slide.padded, left, top, title, gray=True)
    (rows, columns), frame = slide.padded.shape, slide.padding
    for row, column in product(range(rows), range(columns)):
        if not (frame <= row < rows - frame and frame <= column < columns - frame):
            hatch = {"fill": False, "hatch": "///", "edgecolor": COLOURS["sky"], "lw": 0}
            axes.add_patch(Rectangle((left + column, top + row), 1, 1, **hatch))
    for row, column in product(*slide.under_filter(*cell)):
        at = (left + column, top + row)
        axes.add_patch(Rectangle(at, 1, 1, color=HERE, alpha=0.25, lw=0))
        axes.add_patch(Rectangle(at, 1, 1, fill=False, edgecolor=HERE, lw=3))


def _draw_output(axes: Axes, slide: Slide, cell: tuple[int, int], left, top, title: str) -> None:
    """The output so far, with the newest cell outlined."""
    limit = float(slide.output.abs().max())
    draw_matrix(axes, slide.output_until(*cell), left, top, title, limit=limit)
    at = (left + cell[1], top + cell[0])
    axes.add_patch(Rectangle(at, 1, 1, fill=False, edgecolor=HERE, lw=3.5))


def _factor(value: float) -> str:
    return number(value) if value >= 0 else f"({number(value)})"


def _size(matrix: torch.Tensor) -> str:
    return "×".join(map(str, matrix.shape))


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
