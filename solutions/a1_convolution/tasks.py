"""Tasks of assignment 1: convolution by hand, with loops and without."""

import numpy as np
import torch
import torch.nn.functional as F

from cnnlab.assignments.authoring import between, draw
from cnnlab.assignments.variant import Variant
from cnnlab.checks.task import Case, Misconception, Task

SOBEL = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])


def _slide(image, kernel, padding=0, stride=1):
    return F.conv2d(image[None, None], kernel[None, None], padding=padding, stride=stride)[0, 0]


def _flip(kernel):
    return kernel.flip(0, 1)


# --- the warm-up: one window ---------------------------------------------------------------


def _window(image, kernel, row, col):
    height, width = kernel.shape
    return float((image[row : row + height, col : col + width] * kernel).sum())


def _window_cases(rng):
    for part, height, width in [
        ("square kernels", 2, 2),
        ("square kernels", 3, 3),
        ("square kernels", 1, 1),
        ("kernels that are not square", 3, 2),
        ("kernels that are not square", 1, 4),
    ]:
        image = draw(rng, height + between(rng, 3, 5), width + between(rng, 3, 5))
        row = between(rng, 1, 2)
        yield Case(part, (image, draw(rng, height, width), row, row + 1))


def _window_centred(image, kernel, row, col):
    (height, width), padded = kernel.shape, F.pad(image, [4, 4, 4, 4])
    return _window(padded, kernel, row + 4 - height // 2, col + 4 - width // 2)


WINDOW = Task(
    id="a1-window",
    kind="function",
    entry="window_response",
    points={"square kernels": 3, "kernels that are not square": 3},
    reference=_window,
    cases=_window_cases,
    misconceptions=(
        Misconception(
            "row and column swapped",
            lambda image, kernel, row, col: _window(image, kernel, col, row),
            "The row counts downwards and is the first index, the column is the second.",
        ),
        Misconception(
            "kernel flipped",
            lambda image, kernel, row, col: _window(image, _flip(kernel), row, col),
            "The kernel is laid on the window as it is; flipping it comes later, in part 4.",
        ),
        Misconception(
            "kernel transposed",
            lambda image, kernel, row, col: _window(image, kernel.T, row, col),
            "Rows of the kernel belong to rows of the image: nothing has to be transposed.",
        ),
        Misconception(
            "mean for sum",
            lambda image, kernel, row, col: _window(image, kernel, row, col) / kernel.numel(),
            "Add the products up; do not average them.",
        ),
        Misconception(
            "largest product",
            lambda image, kernel, row, col: float(
                (image[row:, col:][: kernel.shape[0], : kernel.shape[1]] * kernel).max()
            ),
            "Add all the products up; the largest one alone would be max pooling.",
        ),
        Misconception(
            "kernel left out",
            lambda image, kernel, row, col: _window(image, torch.ones_like(kernel), row, col),
            "Multiply each pixel by the kernel's number that lies on it before you add.",
        ),
        Misconception(
            "counted from one",
            lambda image, kernel, row, col: _window(image, kernel, row - 1, col - 1),
            "Rows and columns count from 0, as in every Python index.",
        ),
        Misconception(
            "window centred",
            _window_centred,
            "(row, col) is the window's top left corner here, not its centre.",
        ),
    ),
)


# --- how large the output is ---


def _output_size(n, k, padding=0, stride=1):
    return (n + 2 * padding - k) // stride + 1


def _output_size_cases(rng):
    for _ in range(3):
        k = between(rng, 2, 5)
        yield Case("no padding, stride 1", (k + between(rng, 4, 30), k))
    yield Case("no padding, stride 1", (4, 4), note="a kernel as large as the image")
    for padding in (1, 2, 3):
        k = between(rng, 3, 7)
        yield Case("padding", (k + between(rng, 3, 30), k), {"padding": padding})
    yield Case("padding", (between(rng, 4, 9), 1), {"padding": 4}, "a kernel of one number")
    for k in (4, 6):
        yield Case("padding", (k + between(rng, 3, 30), k), {"padding": 2}, "an even kernel")
    for stride in (2, 3, 4):
        k = between(rng, 2, 7)
        n = k + stride * between(rng, 3, 20)
        yield Case("stride", (n, k), {"stride": stride})
        cut = {"padding": stride, "stride": stride}
        yield Case("stride", (n + 1, k), cut, "the last step is cut")
        yield Case("stride", (n + stride - 1, k), cut, "the last step is cut")


OUTPUT_SIZE = Task(
    id="a1-output-size",
    kind="function",
    entry="output_size",
    points={"no padding, stride 1": 2, "padding": 3, "stride": 3},
    reference=_output_size,
    cases=_output_size_cases,
    misconceptions=(
        Misconception(
            "one position forgotten",
            lambda n, k, padding=0, stride=1: (n + 2 * padding - k) // stride,
            "Count the first position too: a kernel as large as the image fits once, not 0 times.",
        ),
        Misconception(
            "padding on one side",
            lambda n, k, padding=0, stride=1: (n + padding - k) // stride + 1,
            "Padding is added on both sides of the image.",
        ),
        Misconception(
            "padding ignored",
            lambda n, k, padding=0, stride=1: (n - k) // stride + 1,
            "The padding makes the image larger before the kernel slides over it.",
        ),
        Misconception(
            "stride ignored",
            lambda n, k, padding=0, stride=1: n + 2 * padding - k + 1,
            "With stride s the kernel takes every s-th position only.",
        ),
        Misconception(
            "ceil for floor",
            lambda n, k, padding=0, stride=1: -((k - n - 2 * padding) // stride) + 1,
            "A last step that would leave the image is not taken: round down.",
        ),
        Misconception(
            "not rounded",
            lambda n, k, padding=0, stride=1: (n + 2 * padding - k) / stride + 1,
            "A number of positions is whole: round the division down with //.",
        ),
        Misconception(
            "rounded to nearest",
            lambda n, k, padding=0, stride=1: int((n + 2 * padding - k) / stride + 0.5) + 1,
            "A last step that would leave the image is not taken, however little is missing.",
        ),
        Misconception(
            "added before dividing",
            lambda n, k, padding=0, stride=1: (n + 2 * padding - k + 1) // stride,
            "Divide first, add 1 afterwards: the first position costs no step.",
        ),
        Misconception(
            "image divided first",
            lambda n, k, padding=0, stride=1: n // stride + 2 * padding - k + 1,
            "The stride divides the way that the kernel can go, not the image.",
        ),
        Misconception(
            "input size",
            lambda n, k, padding=0, stride=1: n // stride,
            "Only a well chosen padding keeps the size; in general the kernel's width is lost.",
        ),
    ),
)


# --- a whole image ---


def _plain_cases(rng):
    yield Case("square images and kernels", (draw(rng, 3, 3), draw(rng, 2, 2)))
    yield Case("square images and kernels", (draw(rng, 6, 6), draw(rng, 3, 3)))
    yield Case("square images and kernels", (draw(rng, 4, 4), draw(rng, 1, 1)), note="1×1 kernel")
    yield Case("images that are not square", (draw(rng, between(rng, 6, 8), 4), draw(rng, 3, 3)))
    yield Case("images that are not square", (draw(rng, 5, between(rng, 7, 9)), draw(rng, 2, 2)))
    yield Case("images that are not square", (draw(rng, 2, 5), draw(rng, 2, 2)), note="one row")
    yield Case("kernels that are not square", (draw(rng, 6, 6), draw(rng, 3, 2)))
    yield Case("kernels that are not square", (draw(rng, 7, 6), draw(rng, 1, 4)))
    yield Case("kernels that are not square", (draw(rng, 4, 3), draw(rng, 4, 3)), note="one value")


def _vectorized_cases(rng):
    yield from _plain_cases(rng)
    large = (draw(rng, 24, 19), draw(rng, 13, 11))  # where a loop would take many more steps
    yield Case("kernels that are not square", large)


PLAIN_MISCONCEPTIONS = (
    Misconception(
        "kernel flipped",
        lambda image, kernel: _slide(image, _flip(kernel)),
        "This is true convolution: here the kernel slides as it is, without a flip.",
    ),
    Misconception(
        "kernel transposed",
        lambda image, kernel: _slide(image, kernel.T),
        "Rows of the kernel belong to rows of the image: nothing has to be transposed.",
    ),
    Misconception(
        "last position forgotten",
        lambda image, kernel: _slide(image, kernel)[:-1, :-1],
        "The output has H - h + 1 rows and W - w + 1 columns: the last window counts.",
    ),
    Misconception(
        "padded to the same size",
        lambda image, kernel: _slide(
            F.pad(image, [kernel.shape[1] // 2] * 2 + [kernel.shape[0] // 2] * 2), kernel
        )[: image.shape[0], : image.shape[1]],
        "No padding here: the kernel stays inside the image and the output is smaller.",
    ),
    Misconception(
        "mean for sum",
        lambda image, kernel: _slide(image, kernel) / kernel.numel(),
        "Add the products up; do not average them.",
    ),
    Misconception(
        "output transposed",
        lambda image, kernel: _slide(image, kernel).T,
        "Height comes first: out[i, j] belongs to row i and column j.",
    ),
    Misconception(
        "height used for both sides",
        lambda image, kernel: _slide(image, kernel)[:, : image.shape[0] - kernel.shape[0] + 1],
        "Height and width differ: count columns by the image's and the kernel's width.",
    ),
    Misconception(
        "first row of the kernel only",
        lambda image, kernel: _slide(image[: image.shape[0] - kernel.shape[0] + 1], kernel[:1]),
        "All rows of the kernel count, not only the first.",
    ),
    Misconception(
        "negative values cut",
        lambda image, kernel: _slide(image, kernel).relu(),
        "Negative responses are kept; cutting them off (ReLU) is a layer of its own.",
    ),
    Misconception(
        "windows that do not overlap",
        lambda image, kernel: F.conv2d(image[None, None], kernel[None, None], stride=kernel.shape)[
            0, 0
        ],
        "The window moves on by one pixel, not by its own width.",
    ),
)

PLAIN_POINTS = {
    "square images and kernels": 4,
    "images that are not square": 3,
    "kernels that are not square": 3,
}

LOOPS = Task(
    id="a1-loops",
    kind="function",
    entry="conv2d_loops",
    points=PLAIN_POINTS,
    reference=_slide,
    cases=_plain_cases,
    misconceptions=PLAIN_MISCONCEPTIONS,
    forbidden=("convolution",),
)

VECTORIZED = Task(
    id="a1-vectorized",
    kind="function",
    entry="conv2d_fast",
    points=PLAIN_POINTS,
    reference=_slide,
    cases=_vectorized_cases,
    misconceptions=PLAIN_MISCONCEPTIONS,
    forbidden=("loop", "convolution"),
)


# --- true convolution ---


def _flip_cases(rng):
    yield Case("square kernels", (draw(rng, 4, 4), draw(rng, 2, 2)))
    yield Case("square kernels", (draw(rng, 5, 7), draw(rng, 3, 3)))
    yield Case("kernels that are not square", (draw(rng, 6, 5), draw(rng, 3, 2)))
    yield Case("kernels that are not square", (draw(rng, 4, 6), draw(rng, 1, 4)))


FLIP = Task(
    id="a1-flip",
    kind="function",
    entry="true_convolution",
    points={"square kernels": 3, "kernels that are not square": 3},
    reference=lambda image, kernel: _slide(image, _flip(kernel)),
    cases=_flip_cases,
    misconceptions=(
        Misconception(
            "not flipped",
            _slide,
            "This is cross-correlation: true convolution flips the kernel before it slides.",
        ),
        Misconception(
            "transposed for flipped",
            lambda image, kernel: _slide(image, kernel.T),
            "A flip is not a transpose: reverse the order of the rows and of the columns.",
        ),
        Misconception(
            "rows only",
            lambda image, kernel: _slide(image, kernel.flip(0)),
            "Flip both axes: the columns have to be reversed as well.",
        ),
        Misconception(
            "columns only",
            lambda image, kernel: _slide(image, kernel.flip(1)),
            "Flip both axes: the rows have to be reversed as well.",
        ),
        Misconception(
            "quarter turn",
            lambda image, kernel: _slide(image, kernel.rot90()),
            "Flipping both axes is half a turn (180°), not a quarter.",
        ),
        Misconception(
            "flipped and transposed",
            lambda image, kernel: _slide(image, _flip(kernel).T),
            "Flip the kernel, and leave its rows rows: no transpose.",
        ),
        Misconception(
            "output flipped",
            lambda image, kernel: _slide(image, kernel).flip(0, 1),
            "The kernel is flipped, not the output.",
        ),
        Misconception(
            "image flipped",
            lambda image, kernel: _slide(image.flip(0, 1), kernel),
            "The kernel is flipped, not the image.",
        ),
    ),
)


# --- padding and stride ---


def _padding_cases(rng):
    yield Case("neither", (draw(rng, 4, 5), draw(rng, 2, 3)))
    yield Case("neither", (draw(rng, 3, 3), draw(rng, 3, 3)), {"padding": 0, "stride": 1})
    yield Case("padding", (draw(rng, 3, 4), draw(rng, 3, 3)), {"padding": 1})
    yield Case("padding", (draw(rng, between(rng, 4, 6), 3), draw(rng, 2, 3)), {"padding": 2})
    yield Case("padding", (draw(rng, 1, 1), draw(rng, 3, 3)), {"padding": 1}, "one pixel")
    yield Case("stride", (draw(rng, 5, 7), draw(rng, 3, 3)), {"stride": 2})
    yield Case("stride", (draw(rng, 8, 6), draw(rng, 3, 2)), {"stride": 3}, "the last step is cut")
    yield Case("stride", (draw(rng, 6, 8), draw(rng, 2, 2)), {"stride": 3})
    yield Case("both", (draw(rng, 6, 5), draw(rng, 3, 3)), {"padding": 1, "stride": 2})
    yield Case("both", (draw(rng, 4, 7), draw(rng, 2, 3)), {"padding": 2, "stride": 3})


def _padded_by(pad):
    """A convolution whose padding is made by ``pad(image, p)``."""

    def answer(image, kernel, padding=0, stride=1):
        return _slide(pad(image, padding), kernel, stride=stride)

    return answer


def _in_place_of_zeros(mode):
    def pad(image, p):
        return F.pad(image[None, None], [p] * 4, mode=mode)[0, 0] if p else image

    return pad


PADDING = Task(
    id="a1-padding",
    kind="function",
    entry="conv2d",
    points={"neither": 2, "padding": 4, "stride": 3, "both": 3},
    reference=_slide,
    cases=_padding_cases,
    misconceptions=(
        Misconception(
            "kernel flipped",
            lambda image, kernel, padding=0, stride=1: _slide(
                image, _flip(kernel), padding, stride
            ),
            "This is true convolution: here the kernel slides as it is, without a flip.",
        ),
        Misconception(
            "padding ignored",
            lambda image, kernel, padding=0, stride=1: _slide(image, kernel, 0, stride),
            "Put `padding` rows and columns of zeros around the image first.",
        ),
        Misconception(
            "stride ignored",
            lambda image, kernel, padding=0, stride=1: _slide(image, kernel, padding),
            "With stride s only every s-th row and column of windows is taken.",
        ),
        Misconception(
            "padding at the top left only",
            _padded_by(lambda image, p: F.pad(image, [p, 0, p, 0])),
            "Padding goes on all four sides, also at the bottom and on the right.",
        ),
        Misconception(
            "padding at the bottom right only",
            _padded_by(lambda image, p: F.pad(image, [0, p, 0, p])),
            "Padding goes on all four sides, also at the top and on the left.",
        ),
        Misconception(
            "rows padded only",
            _padded_by(lambda image, p: F.pad(image, [0, 0, p, p])),
            "Pad the columns as well: zeros go on the left and on the right too.",
        ),
        Misconception(
            "columns padded only",
            _padded_by(lambda image, p: F.pad(image, [p, p, 0, 0])),
            "Pad the rows as well: zeros go at the top and at the bottom too.",
        ),
        Misconception(
            "border repeated",
            _padded_by(_in_place_of_zeros("replicate")),
            "Pad with zeros; repeating the border pixels is another kind of padding.",
        ),
        Misconception(
            "padded with ones",
            _padded_by(lambda image, p: F.pad(image, [p] * 4, value=1.0)),
            "Pad with zeros, not with ones.",
        ),
        Misconception(
            "output padded",
            lambda image, kernel, padding=0, stride=1: F.pad(
                _slide(image, kernel, 0, stride), [padding] * 4
            ),
            "Pad the image before the kernel slides, not the output afterwards.",
        ),
        Misconception(
            "stride on rows only",
            lambda image, kernel, padding=0, stride=1: _slide(image, kernel, padding, (stride, 1)),
            "The stride holds for the columns as well as for the rows.",
        ),
        Misconception(
            "stride on columns only",
            lambda image, kernel, padding=0, stride=1: _slide(image, kernel, padding, (1, stride)),
            "The stride holds for the rows as well as for the columns.",
        ),
        Misconception(
            "first window skipped",
            lambda image, kernel, padding=0, stride=1: _slide(image, kernel, padding)[
                stride - 1 :: stride, stride - 1 :: stride
            ],
            "The first window is at the corner; the steps of the stride come after it.",
        ),
        Misconception(
            "stride taken as dilation",
            lambda image, kernel, padding=0, stride=1: F.conv2d(
                image[None, None], kernel[None, None], padding=padding, dilation=stride
            )[0, 0],
            "The stride spreads the windows, not the pixels within a window (that is dilation).",
        ),
    ),
    forbidden=("convolution",),
)


# --- channels and filters ---


def _channels(image, filters, bias):
    return F.conv2d(image[None], filters, bias)[0]


def _channels_cases(rng):
    zero = torch.zeros
    yield Case("one filter", (draw(rng, 2, 3, 4), draw(rng, 1, 2, 2, 2), zero(1)))
    yield Case("one filter", (draw(rng, 3, 5, 4), draw(rng, 1, 3, 3, 2), zero(1)))
    yield Case("one filter", (draw(rng, 1, 4, 4), draw(rng, 1, 1, 3, 3), zero(1)), note="grey")
    yield Case("several filters", (draw(rng, 3, 5, 6), draw(rng, 4, 3, 3, 3), zero(4)))
    yield Case("several filters", (draw(rng, 4, 3, 5), draw(rng, 2, 4, 1, 1), zero(2)), note="1×1")
    yield Case("bias", (draw(rng, 3, 4, 5), draw(rng, 2, 3, 2, 2), draw(rng, 2)))
    yield Case("bias", (draw(rng, 2, 5, 4), draw(rng, 5, 2, 3, 3), draw(rng, 5)))


CHANNELS = Task(
    id="a1-channels",
    kind="function",
    entry="conv_layer",
    points={"one filter": 4, "several filters": 4, "bias": 4},
    reference=_channels,
    cases=_channels_cases,
    misconceptions=(
        Misconception(
            "bias forgotten",
            lambda image, filters, bias: F.conv2d(image[None], filters)[0],
            "Add each filter's bias to its whole map.",
        ),
        Misconception(
            "bias once a channel",
            lambda image, filters, bias: _channels(image, filters, bias * image.shape[0]),
            "Add the bias once a filter, after the channels are summed.",
        ),
        Misconception(
            "bias subtracted",
            lambda image, filters, bias: _channels(image, filters, -bias),
            "The bias is added.",
        ),
        Misconception(
            "mean over channels",
            lambda image, filters, bias: (
                F.conv2d(image[None], filters)[0] / image.shape[0] + bias[:, None, None]
            ),
            "The responses of the channels are summed, not averaged.",
        ),
        Misconception(
            "first channel only",
            lambda image, filters, bias: _channels(image[:1], filters[:, :1], bias),
            "A filter reaches through all input channels: sum the responses of each.",
        ),
        Misconception(
            "last channel only",
            lambda image, filters, bias: _channels(image[-1:], filters[:, -1:], bias),
            "The last channel overwrites the others: start from zero and add each channel.",
        ),
        Misconception(
            "one filter for all",
            lambda image, filters, bias: _channels(image, filters[:1].expand_as(filters), bias),
            "Each output map has its own filter: use filters[f] for map f.",
        ),
        Misconception(
            "channels not summed",
            lambda image, filters, bias: F.conv2d(
                image[None], filters[0][:, None], groups=image.shape[0]
            )[0],
            "One filter gives one map: sum over the input channels.",
        ),
        Misconception(
            "channels reversed",
            lambda image, filters, bias: _channels(image.flip(0), filters, bias),
            "Channel c of the filter belongs to channel c of the image.",
        ),
        Misconception(
            "filters summed",
            lambda image, filters, bias: _channels(image, filters, bias).sum(0, keepdim=True),
            "The maps of the filters are stacked, not added up.",
        ),
        Misconception(
            "filter flipped",
            lambda image, filters, bias: _channels(image, filters.flip(2, 3), bias),
            "This is true convolution: here the filters slide as they are, without a flip.",
        ),
        Misconception(
            "filters as the last axis",
            lambda image, filters, bias: _channels(image, filters, bias).permute(1, 2, 0),
            "The output is (filters, height, width): the maps come first.",
        ),
    ),
    forbidden=("convolution",),
)


# --- edges on a photograph ---


def _gradients(photo, kernel=SOBEL):
    grey = photo.mean(0)
    return _slide(grey, kernel), _slide(grey, kernel.T)


def _edges(photo):
    across, down = _gradients(photo)
    return (across**2 + down**2).sqrt()


def _edges_cases(rng):
    step = torch.zeros(3, 5, 6)
    step[:, :, 3:] = 1.0
    yield Case("a single edge", (step,), note="dark on the left, light on the right")
    yield Case(
        "a single edge", (step.transpose(1, 2).contiguous(),), note="dark above, light below"
    )
    yield Case("a single edge", (1 - step,), note="light on the left, dark on the right")
    for height, width in [(3, 3), (5, 7), (between(rng, 12, 20), between(rng, 21, 30))]:
        photo = torch.from_numpy(rng.random((3, height, width)).round(2).astype(np.float32))
        yield Case("any photograph", (photo,))


EDGES = Task(
    id="a1-edges",
    kind="function",
    entry="edge_strength",
    points={"a single edge": 5, "any photograph": 5},
    reference=_edges,
    cases=_edges_cases,
    misconceptions=(
        Misconception(
            "vertical edges only",
            lambda photo: _gradients(photo)[0].abs(),
            "Horizontal edges count too: use the transposed Sobel kernel as well.",
        ),
        Misconception(
            "horizontal edges only",
            lambda photo: _gradients(photo)[1].abs(),
            "Vertical edges count too: use the Sobel kernel as it is as well.",
        ),
        Misconception(
            "square root forgotten",
            lambda photo: _edges(photo) ** 2,
            "The strength is the length of the gradient: take the square root of the sum.",
        ),
        Misconception(
            "gradients added",
            lambda photo: sum(_gradients(photo)),
            "Square the two responses before you add them, or opposite signs cancel.",
        ),
        Misconception(
            "absolute values added",
            lambda photo: sum(g.abs() for g in _gradients(photo)),
            "|gx| + |gy| is a cheaper relative; here the strength is sqrt(gx² + gy²).",
        ),
        Misconception(
            "larger of the two",
            lambda photo: torch.maximum(*(g.abs() for g in _gradients(photo))),
            "Both responses count together: sqrt(gx² + gy²).",
        ),
        Misconception(
            "channels summed",
            lambda photo: 3 * _edges(photo),
            "Grey is the mean of the three channels, not their sum.",
        ),
        Misconception(
            "first channel for grey",
            lambda photo: _edges(photo[:1]),
            "Grey is the mean of the three channels, not the red one.",
        ),
        Misconception(
            "equal weights in the kernel",
            lambda photo: sum(
                g**2 for g in _gradients(photo, torch.tensor([[1.0, 0.0, -1.0]] * 3))
            ).sqrt(),
            "Sobel's middle row counts twice: [2, 0, -2].",
        ),
        Misconception(
            "padded to the same size",
            lambda photo: _edges(F.pad(photo, [1] * 4)),
            "No padding here: the border would show edges that the picture does not have.",
        ),
    ),
)


# --- finding a feature ---


def _scores(image, feature):
    return _slide(image, feature) / feature.numel()


def _place(scores):
    index = int(scores.argmax())
    row, col = divmod(index, scores.shape[1])
    return float(scores.flatten()[index]), row, col


def _match(image, feature):
    return _place(_scores(image, feature))


def _signs(rng, *shape):
    return torch.from_numpy(rng.choice([-1.0, 1.0], size=shape).astype(np.float32))


def _match_cases(rng):
    made = 0
    while made < 3:
        image, feature = _signs(rng, between(rng, 7, 9), between(rng, 10, 12)), _signs(rng, 3, 2)
        row, col = between(rng, 1, 2), between(rng, 4, 6)
        if made == 2:
            row, col = image.shape[0] - 3, image.shape[1] - 2
        image[row : row + 3, col : col + 2] = feature
        scores = _scores(image, feature)
        if (scores == scores.max()).sum() == 1 and scores.min() > -1:
            made += 1
            note = "the last window" if made == 3 else ""
            yield Case("a perfect match", (image, feature), note=note)
    made = 0
    while made < 3:
        image, feature = draw(rng, between(rng, 5, 7), 9), draw(rng, 3, 4)
        scores = _scores(image, feature)
        opposite_is_stronger = scores.flatten()[scores.abs().argmax()] < 0
        if opposite_is_stronger or made == 0:
            made += 1
            yield Case("the best of imperfect ones", (image, feature))
    negative = (draw(rng, 5, 6).abs() + 0.1, -draw(rng, 3, 2).abs() - 0.1)
    yield Case("the best of imperfect ones", negative, note="all scores are negative")


def _match_centre(image, feature):
    score, row, col = _match(image, feature)
    return score, row + feature.shape[0] // 2, col + feature.shape[1] // 2


def _match_strongest(image, feature):
    scores = _scores(image, feature)
    _, row, col = _place(scores.abs())
    return float(scores[row, col]), row, col


MATCH = Task(
    id="a1-match",
    kind="function",
    entry="best_match",
    points={"a perfect match": 5, "the best of imperfect ones": 5},
    reference=_match,
    cases=_match_cases,
    misconceptions=(
        Misconception(
            "row and column swapped",
            lambda image, feature: tuple(_match(image, feature)[i] for i in (0, 2, 1)),
            "Return (score, row, column): the row counts downwards and comes first.",
        ),
        Misconception(
            "not divided",
            lambda image, feature: (
                _match(image, feature)[0] * feature.numel(),
                *_match(image, feature)[1:],
            ),
            "Divide the sum by the number of pixels of the feature, so that 1 is a perfect match.",
        ),
        Misconception(
            "centre of the window",
            _match_centre,
            "Give the window's top left corner, not its centre.",
        ),
        Misconception(
            "worst match",
            lambda image, feature: (
                -_match(image, -feature)[0],
                *_match(image, -feature)[1:],
            ),
            "The best match is where the response is largest, not smallest.",
        ),
        Misconception(
            "strongest of either sign",
            _match_strongest,
            "A strongly negative response is the opposite of the feature, not a match.",
        ),
        Misconception(
            "counted from one",
            lambda image, feature: (
                _match(image, feature)[0],
                _match(image, feature)[1] + 1,
                _match(image, feature)[2] + 1,
            ),
            "Rows and columns count from 0.",
        ),
        Misconception(
            "feature flipped",
            lambda image, feature: _match(image, _flip(feature)),
            "The feature slides as it is, without a flip.",
        ),
        Misconception(
            "position in the flattened map",
            lambda image, feature: (
                _match(image, feature)[0],
                int(_scores(image, feature).argmax()),
                0,
            ),
            "argmax counts through the flattened map: divmod(index, width) gives row and column.",
        ),
        Misconception(
            "divided by the image",
            lambda image, feature: (
                _match(image, feature)[0] * feature.numel() / image.numel(),
                *_match(image, feature)[1:],
            ),
            "Divide by the number of pixels of the feature, not of the image.",
        ),
        Misconception(
            "width of the image",
            lambda image, feature: (
                _match(image, feature)[0],
                *divmod(int(_scores(image, feature).argmax()), image.shape[1]),
            ),
            "The map is narrower than the image: divide the index by the width of the map.",
        ),
    ),
)


# --- counting ---


# A 200×150 colour photograph into 64 units, or into 64 filters of 5×5 without padding.
def _stated(v):
    rows, cols = v.height - v.k + 1, v.width - v.k + 1
    return [
        f"photograph of {v.height}×{v.width} pixels",
        f"layer of {v.units} units",
        f"of {v.units} filters of {v.k}×{v.k}",
        f"{v.height} * {v.width} * 3 * {v.units} + {v.units}",
        f"{v.k} * {v.k} * 3 * {v.units} + {v.units}",
        f"{v.units} * {rows} * {cols},\n",
        f"{v.k} * {v.k} * 3 * {v.units} * {rows} * {cols}",
    ]


V = Variant(
    _stated,
    height=(200, 160, 180, 220, 240),
    width=(150, 120, 130, 170, 190),
    units=(64, 32, 48, 80, 96),
    k=(5, 7),
)
_H, _W, _N, _K = V.height, V.width, V.units, V.k
_ROWS, _COLS = _H - _K + 1, _W - _K + 1
_COUNTS = {
    "fc parameters": _H * _W * 3 * _N + _N,
    "conv parameters": _K * _K * 3 * _N + _N,
    "conv outputs": _N * _ROWS * _COLS,
    "conv MACs": _K * _K * 3 * _N * _ROWS * _COLS,
}


def _miscounted(name, hint, **wrong):
    wrong = {key.replace("_", " "): value for key, value in wrong.items()}
    return Misconception(name, lambda: _COUNTS | wrong, hint)


COUNTS = Task(
    id="a1-counts",
    kind="value",
    entry="counts",
    points=dict.fromkeys(_COUNTS, 2),
    reference=lambda: dict(_COUNTS),
    misconceptions=(
        _miscounted(
            "biases forgotten",
            "Each unit and each filter has a bias as well.",
            fc_parameters=_H * _W * 3 * _N,
            conv_parameters=_K * _K * 3 * _N,
        ),
        _miscounted(
            "colour channels forgotten",
            "A colour image has 3 channels, and every weight has to reach each of them.",
            fc_parameters=_H * _W * _N + _N,
            conv_parameters=_K * _K * _N + _N,
            conv_MACs=_K * _K * _N * _ROWS * _COLS,
        ),
        _miscounted(
            "one unit, one filter",
            f"There are {_N} of them.",
            fc_parameters=_H * _W * 3 + 1,
            conv_parameters=_K * _K * 3 + 1,
            conv_outputs=_ROWS * _COLS,
            conv_MACs=_K * _K * 3 * _ROWS * _COLS,
        ),
        _miscounted(
            "one bias in all",
            f"There is one bias for each of the {_N}, not one in all.",
            fc_parameters=_H * _W * 3 * _N + 1,
            conv_parameters=_K * _K * 3 * _N + 1,
        ),
        _miscounted(
            "a bias for each channel",
            "A filter has one bias, whatever the number of its channels.",
            conv_parameters=(_K * _K + 1) * 3 * _N,
        ),
        _miscounted(
            "output as large as the input",
            f"Without padding a {_K}×{_K} kernel takes {_K - 1} rows and {_K - 1} columns away.",
            conv_outputs=_N * _H * _W,
            conv_MACs=_K * _K * 3 * _N * _H * _W,
        ),
        _miscounted(
            "one row too many taken away",
            f"n - k + 1: a kernel of width {_K} takes {_K - 1} away, not {_K}.",
            conv_outputs=_N * (_ROWS - 1) * (_COLS - 1),
            conv_MACs=_K * _K * 3 * _N * (_ROWS - 1) * (_COLS - 1),
        ),
        _miscounted(
            "MACs doubled",
            "One MAC is a multiplication and an addition together; doubled, it counts FLOPs.",
            conv_MACs=2 * _K * _K * 3 * _N * _ROWS * _COLS,
        ),
        _miscounted(
            "channels in the output",
            "A filter sums over the channels: it gives one map, not three.",
            conv_outputs=3 * _N * _ROWS * _COLS,
        ),
        _miscounted(
            "weights of every position",
            "The same filter is used at every position: its weights count once.",
            conv_parameters=_K * _K * 3 * _N * _ROWS * _COLS + _N,
        ),
        _miscounted(
            "one position",
            "These are the MACs of one position; the filters are applied at "
            f"{_ROWS}·{_COLS} of them.",
            conv_MACs=_K * _K * 3 * _N,
        ),
    ),
)

TASKS = (
    WINDOW,
    OUTPUT_SIZE,
    LOOPS,
    FLIP,
    VECTORIZED,
    PADDING,
    CHANNELS,
    EDGES,
    MATCH,
    COUNTS,
)
