"""Tasks of assignment 2: shapes and costs, derived by hand and then by a program of one's own."""

from math import ceil, floor

from cnnlab.assignments.authoring import between
from cnnlab.assignments.variant import Variant
from cnnlab.checks.task import Case, Misconception, Task

# What does this arithmetic already: writing it is the assignment.
CALCULATORS = (
    "output_size",
    "pool_output_size",
    "conv_transpose_output_size",
    "receptive_field",
    "explain",
    "summary",
    "summary_text",
)


# --- the warm-up: the memory of a feature map ---


def _kilobytes(channels, height, width):
    return 4 * channels * height * width / 1024


def _kilobytes_cases(rng):
    for _ in range(2):
        side = between(rng, 9, 60)
        yield Case("square maps", (between(rng, 3, 200), side, side))
    yield Case("square maps", (3, 5, 5), note="a small one")
    for _ in range(2):
        height = between(rng, 9, 60)
        yield Case("maps that are not square", (between(rng, 3, 200), height, height + 7))
    yield Case("maps that are not square", (64, 1, 17), note="a single row")


MEMORY = Task(
    id="a2-memory",
    kind="function",
    entry="kilobytes",
    points={"square maps": 3, "maps that are not square": 3},
    reference=_kilobytes,
    cases=_kilobytes_cases,
    misconceptions=(
        Misconception(
            "bytes",
            lambda c, h, w: 1024 * _kilobytes(c, h, w),
            "Return kilobytes: one of them is 1024 bytes.",
        ),
        Misconception(
            "numbers, not bytes",
            lambda c, h, w: c * h * w / 1024,
            "A float32 takes 32 bits, and a byte has 8.",
        ),
        Misconception(
            "bits",
            lambda c, h, w: 8 * _kilobytes(c, h, w),
            "32 is the number of bits; memory is counted in bytes of 8 bits.",
        ),
        Misconception(
            "eight bytes a number",
            lambda c, h, w: 2 * _kilobytes(c, h, w),
            "Eight bytes are a float64; feature maps are float32.",
        ),
        Misconception(
            "a thousand bytes",
            lambda c, h, w: 1.024 * _kilobytes(c, h, w),
            "A kilobyte has 1024 bytes in this course, not 1000.",
        ),
        Misconception(
            "megabytes",
            lambda c, h, w: _kilobytes(c, h, w) / 1024,
            "Divide by 1024 once: twice gives megabytes.",
        ),
        Misconception(
            "channels forgotten",
            lambda c, h, w: _kilobytes(1, h, w),
            "Every channel is a map of its own: count them all.",
        ),
        Misconception(
            "square maps",
            lambda c, h, w: _kilobytes(c, h, h),
            "Height and width may differ.",
        ),
        Misconception(
            "rounded down",
            lambda c, h, w: 4 * c * h * w // 1024,
            "Do not round: `/` keeps the fraction, `//` cuts it off.",
        ),
        Misconception(
            "rounded",
            lambda c, h, w: round(_kilobytes(c, h, w)),
            "Do not round: tables do that when they are printed.",
        ),
    ),
    forbidden=CALCULATORS,
)


# --- the side of a map ---


def _side(n, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
    spare = n + 2 * padding - dilation * (kernel_size - 1) - 1
    size = (-(-spare // stride) if ceil_mode else spare // stride) + 1
    in_padding = ceil_mode and (size - 1) * stride >= n + padding
    return size - 1 if in_padding else size


def _side_cases(rng):
    yield Case("convolutions", (between(rng, 9, 40), between(rng, 3, 7)))
    for stride, padding in [(1, 0), (2, 0), (3, 1), (4, 2)]:
        k = between(rng, 3, 11)
        n = k - 2 * padding + stride * between(rng, 4, 20)
        yield Case("convolutions", (n, k), {"stride": stride, "padding": padding})
        if stride > 2:
            late = {"stride": stride, "padding": padding}
            yield Case("convolutions", (n + stride - 1, k), late, "the last step is cut")
    for stride, dilation in [(1, 2), (2, 3), (3, 2), (1, 4)]:
        padding, k = between(rng, 1, 3), between(rng, 3, 5)
        n = dilation * (k - 1) + 1 - 2 * padding + stride * between(rng, 4, 20)
        options = {"stride": stride, "padding": padding, "dilation": dilation}
        yield Case("dilation", (n + stride - 1, k), options)
        yield Case("dilation", (n, k), options)
    yield Case("dilation", (between(rng, 20, 40), 3), {"dilation": between(rng, 2, 4)})
    yield Case("rounding up", (2 * between(rng, 9, 20), 3), {"stride": 2, "ceil_mode": True})
    for stride, dilation, padding in [(2, 2, 0), (3, 2, 1)]:
        n = 2 * dilation + 1 - 2 * padding + stride * between(rng, 4, 20) + 1
        options = {"stride": stride, "dilation": dilation, "padding": padding, "ceil_mode": True}
        yield Case("rounding up", (n, 3), options, "with dilation")
    for k, stride, padding, extra in [(3, 2, 0, 0), (3, 2, 0, 1), (3, 3, 1, 2), (5, 4, 2, 1)]:
        n = k - 2 * padding + stride * between(rng, 4, 20) + extra
        options = {"stride": stride, "padding": padding, "ceil_mode": True}
        yield Case("rounding up", (n, k), options)
    for k in (2, 3):
        n = k - 2 + k * between(rng, 4, 20) + 1
        options = {"stride": k, "padding": 1, "ceil_mode": True}
        yield Case("rounding up", (n, k), options, "one window would begin in the padding")


def _side_changed(**changes):
    """The side, with some of the arguments other than they are."""

    def answer(n, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
        given = {
            "n": n,
            "kernel_size": kernel_size,
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "ceil_mode": ceil_mode,
        }
        return _side(**given | {name: change(given) for name, change in changes.items()})

    return answer


def _side_rounded(round_up, round_down=floor):
    def answer(n, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
        steps = (n + 2 * padding - dilation * (kernel_size - 1) - 1) / stride
        return (round_up if ceil_mode else round_down)(steps) + 1

    return answer


SIDE = Task(
    id="a2-side",
    kind="function",
    entry="side",
    points={"convolutions": 3, "dilation": 3, "rounding up": 2},
    reference=_side,
    cases=_side_cases,
    misconceptions=(
        Misconception(
            "always rounded up",
            _side_changed(ceil_mode=lambda given: True),
            "Without ceil_mode a window that does not fit any more is left out: round down.",
        ),
        Misconception(
            "always rounded down",
            _side_changed(ceil_mode=lambda given: False),
            "With ceil_mode=True the division is rounded up.",
        ),
        Misconception(
            "window in the padding kept",
            _side_rounded(ceil),
            "After rounding up, a window that would begin beyond the last pixel is dropped.",
        ),
        Misconception(
            "rounded to the nearest",
            _side_rounded(ceil, lambda steps: floor(steps + 0.5)),
            "Half a step is no step: without ceil_mode round down, whatever the fraction.",
        ),
        Misconception(
            "padding on one side",
            lambda n, k, stride=1, padding=0, dilation=1, ceil_mode=False: _side(
                n + padding, k, stride, 0, dilation, ceil_mode
            ),
            "The padding is added on both sides.",
        ),
        Misconception(
            "padding ignored",
            _side_changed(padding=lambda given: 0),
            "The padding makes the image larger, on both sides.",
        ),
        Misconception(
            "padding stretched",
            _side_changed(padding=lambda given: given["padding"] * given["dilation"]),
            "The dilation stretches the kernel, not the padding.",
        ),
        Misconception(
            "stride ignored",
            _side_changed(stride=lambda given: 1),
            "A stride of s takes every s-th window: divide by it.",
        ),
        Misconception(
            "dilation ignored",
            _side_changed(dilation=lambda given: 1),
            "A dilated kernel reaches further: there are gaps between its weights.",
        ),
        Misconception(
            "kernel times dilation",
            lambda n, k, stride=1, padding=0, dilation=1, ceil_mode=False: _side(
                n, k * dilation, stride, padding, 1, ceil_mode
            ),
            "k weights have k - 1 gaps between them; nothing is added after the last one.",
        ),
        Misconception(
            "gaps added to the kernel once",
            lambda n, k, stride=1, padding=0, dilation=1, ceil_mode=False: _side(
                n, k + dilation - 1, stride, padding, 1, ceil_mode
            ),
            "There are dilation - 1 pixels in *each* gap between two weights.",
        ),
        Misconception(
            "first window not counted",
            lambda *args, **kwargs: _side(*args, **kwargs) - 1,
            "The division counts the steps; the window where it all begins is one more.",
        ),
    ),
    forbidden=CALCULATORS,
)


# --- parameters of a convolution ---


def _parameters(in_channels, filters, kernel_size, groups=1, bias=True):
    height, width = kernel_size
    return filters * (in_channels // groups * height * width + bias)


def _parameters_cases(rng):
    yield Case("square kernels", (between(rng, 2, 9), between(rng, 10, 20), (3, 3)))
    for bias in (True, False):
        k = between(rng, 3, 7)
        channels = between(rng, 2, 30), between(rng, 31, 70)
        yield Case("square kernels", (*channels, (k, k)), {"bias": bias})
        yield Case("other kernels", (*channels[::-1], (k, k + 2)), {"bias": bias})
        yield Case("other kernels", (*channels, (k, 1)), {"bias": bias}, "a column")
        groups = between(rng, 2, 4)
        few, many = groups * between(rng, 2, 5), groups * between(rng, 6, 11)
        grouped = {"groups": groups, "bias": bias}
        yield Case("groups", (few, many, (k, k)), grouped)
        yield Case("groups", (many, few, (k, k + 1)), grouped)
        each = {"groups": many, "bias": bias}
        yield Case("groups", (many, many, (k, k)), each, "a group for each channel")


def _weights_and_biases(count, biases=lambda i, o, groups: o):
    """Parameters with another number of weights, or of biases."""

    def answer(in_channels, filters, kernel_size, groups=1, bias=True):
        weights = count(in_channels, filters, *kernel_size, groups)
        return weights + bias * biases(in_channels, filters, groups)

    return answer


def _weights(i, o, h, w, groups):
    return i // groups * o * h * w


PARAMETERS = Task(
    id="a2-parameters",
    kind="function",
    entry="conv_parameters",
    points={"square kernels": 2, "other kernels": 2, "groups": 4},
    reference=_parameters,
    cases=_parameters_cases,
    misconceptions=(
        Misconception(
            "biases forgotten",
            lambda i, o, kernel_size, groups=1, bias=True: _parameters(
                i, o, kernel_size, groups, False
            ),
            "With bias=True each filter has one number more.",
        ),
        Misconception(
            "biases always",
            lambda i, o, kernel_size, groups=1, bias=True: _parameters(
                i, o, kernel_size, groups, True
            ),
            "With bias=False there are weights and nothing else.",
        ),
        Misconception(
            "one bias in all",
            _weights_and_biases(_weights, lambda i, o, groups: 1),
            "Each filter has a bias of its own.",
        ),
        Misconception(
            "a bias for each input channel",
            _weights_and_biases(_weights, lambda i, o, groups: i),
            "A bias belongs to a filter, that is to an output channel.",
        ),
        Misconception(
            "a bias for each channel of each filter",
            _weights_and_biases(_weights, lambda i, o, groups: i // groups * o),
            "A filter sums over its channels and adds one bias to the sum.",
        ),
        Misconception(
            "biases split among the groups",
            _weights_and_biases(_weights, lambda i, o, groups: o // groups),
            "Every filter keeps its bias, in whichever group it is.",
        ),
        Misconception(
            "input channels forgotten",
            _weights_and_biases(lambda i, o, h, w, groups: o * h * w),
            "A filter reaches through all channels of its group: it has weights for each.",
        ),
        Misconception(
            "filters forgotten",
            _weights_and_biases(lambda i, o, h, w, groups: i // groups * h * w),
            "This is one filter: count them all.",
        ),
        Misconception(
            "square kernels",
            _weights_and_biases(lambda i, o, h, w, groups: i // groups * o * h * h),
            "kernel_size has a height and a width, and they may differ.",
        ),
        Misconception(
            "sides added",
            _weights_and_biases(lambda i, o, h, w, groups: i // groups * o * (h + w)),
            "A kernel of h rows and w columns has h · w weights for each channel.",
        ),
        Misconception(
            "groups ignored",
            _weights_and_biases(lambda i, o, h, w, groups: i * o * h * w),
            "With g groups a filter sees one g-th of the input channels only.",
        ),
        Misconception(
            "groups taken twice",
            _weights_and_biases(lambda i, o, h, w, groups: (i // groups) * (o // groups) * h * w),
            "One group has (in / g) · (filters / g) kernels; there are g such groups.",
        ),
        Misconception(
            "groups multiply",
            _weights_and_biases(lambda i, o, h, w, groups: i * groups * o * h * w),
            "Groups save weights: each filter sees fewer channels.",
        ),
    ),
    forbidden=CALCULATORS,
)


# --- multiply-adds of a convolution ---


def _macs(in_channels, height, width, filters, kernel_size, stride=1, padding=0, groups=1):
    positions = _side(height, kernel_size, stride, padding)
    positions *= _side(width, kernel_size, stride, padding)
    return positions * filters * (in_channels // groups) * kernel_size**2


def _macs_cases(rng):
    yield Case("stride 1", (between(rng, 3, 9), 8, 11, between(rng, 10, 20), 3))
    yield Case("strides", (between(rng, 3, 9), 8, 13, between(rng, 10, 20), 3), {"stride": 2})
    for part, stride, padding in [
        ("stride 1", 1, 2),
        ("strides", 2, 1),
        ("strides", 3, 2),
        ("strides", 4, 0),
    ]:
        k, steps = between(rng, 3, 7), between(rng, 4, 12)
        height = k - 2 * padding + stride * steps + stride - 1
        width = height + stride * between(rng, 2, 5)
        options = {"stride": stride, "padding": padding}
        arguments = (between(rng, 3, 20), height, width, between(rng, 21, 40), k)
        yield Case(part, arguments, options)
    groups = between(rng, 2, 4)
    yield Case("groups", (groups * 3, 9, 12, groups * 5, 3), {"padding": 1, "groups": groups})
    each = {"stride": 2, "padding": 2, "groups": 14}
    yield Case("groups", (14, between(rng, 9, 20), 21, 14, 5), each, "a group for each channel")


def _macs_with(count):
    """MACs counted from the sides of the output: ``count(i, o, k, rows, columns, groups)``."""

    def answer(i, height, width, o, k, stride=1, padding=0, groups=1):
        rows, columns = _side(height, k, stride, padding), _side(width, k, stride, padding)
        return count(i, o, k, rows, columns, groups)

    return answer


MACS = Task(
    id="a2-macs",
    kind="function",
    entry="conv_macs",
    points={"stride 1": 3, "strides": 3, "groups": 2},
    reference=_macs,
    cases=_macs_cases,
    misconceptions=(
        Misconception(
            "FLOPs",
            lambda *args, **kwargs: 2 * _macs(*args, **kwargs),
            "One MAC is a multiplication and an addition together; doubled, it counts FLOPs.",
        ),
        Misconception(
            "positions of the input",
            lambda i, height, width, o, k, stride=1, padding=0, groups=1: (
                height * width * o * (i // groups) * k**2
            ),
            "A filter is applied once for each position of the *output*.",
        ),
        Misconception(
            "one position",
            _macs_with(lambda i, o, k, rows, columns, groups: o * (i // groups) * k**2),
            "The same filters are applied at every position of the output.",
        ),
        Misconception(
            "square outputs",
            _macs_with(lambda i, o, k, rows, columns, groups: rows**2 * o * (i // groups) * k**2),
            "Height and width may differ.",
        ),
        Misconception(
            "biases counted",
            _macs_with(
                lambda i, o, k, rows, columns, groups: rows * columns * o * (i // groups * k**2 + 1)
            ),
            "A bias is an addition without a multiplication: it is not counted.",
        ),
        Misconception(
            "side for area",
            _macs_with(
                lambda i, o, k, rows, columns, groups: rows * columns * o * (i // groups) * k
            ),
            "A k×k kernel takes k · k products for each channel.",
        ),
        Misconception(
            "input channels forgotten",
            _macs_with(lambda i, o, k, rows, columns, groups: rows * columns * o * k**2),
            "Each output is a sum over all channels that its filter sees.",
        ),
        Misconception(
            "filters forgotten",
            _macs_with(lambda i, o, k, rows, columns, groups: rows * columns * i // groups * k**2),
            "Each filter makes a map of its own: count them all.",
        ),
        Misconception(
            "groups ignored",
            _macs_with(lambda i, o, k, rows, columns, groups: rows * columns * o * i * k**2),
            "With g groups a filter sees one g-th of the input channels only.",
        ),
        Misconception(
            "stride ignored",
            lambda i, height, width, o, k, stride=1, padding=0, groups=1: _macs(
                i, height, width, o, k, 1, padding, groups
            ),
            "A stride leaves positions out: compute the side of the output first.",
        ),
        Misconception(
            "padding ignored",
            lambda i, height, width, o, k, stride=1, padding=0, groups=1: _macs(
                i, height, width, o, k, stride, 0, groups
            ),
            "Padding adds positions: compute the side of the output with it.",
        ),
        Misconception(
            "divided by the stride",
            lambda i, height, width, o, k, stride=1, padding=0, groups=1: (
                (height // stride) * (width // stride) * o * (i // groups) * k**2
            ),
            "H / stride is a rule of thumb; take the exact side of the output.",
        ),
    ),
    forbidden=CALCULATORS,
)


# --- the table of a whole network ---


def _one_side(n, k, stride, padding=0):
    return _side(n + padding, k, stride)


def _table(
    layers,
    channels,
    height,
    width,
    *,
    side=_side,
    bias=1,
    size_of_number=4,
    macs=lambda weights, positions: weights * positions,
    pool_channels=lambda c: c,
    pool_weights=lambda c, k: 0,
    pool_macs=lambda c, k, positions: 0,
    flat=lambda c, h, w: c * h * w,
    linear_bias=1,
    seen=lambda c, first: c,
    held=lambda before, after: after,
):
    """The rows of a network's table; each keyword is a rule that can be got wrong."""
    rows, size = [], (channels, height, width)
    for kind, *numbers in layers:
        before = c, h, w = size
        if kind == "conv":
            filters, k, stride, padding = numbers
            size = filters, side(h, k, stride, padding), side(w, k, stride, padding)
            weights = filters * seen(c, channels) * k * k
            parameters, products = weights + bias * filters, macs(weights, size[1] * size[2])
        elif kind == "pool":
            k, stride = numbers
            size = pool_channels(c), side(h, k, stride), side(w, k, stride)
            parameters, products = pool_weights(c, k), pool_macs(c, k, size[1] * size[2])
        else:
            size = (numbers[0], 1, 1)
            weights = numbers[0] * flat(c, h, w)
            parameters, products = weights + linear_bias * numbers[0], macs(weights, 1)
        c, h, w = held(before, size)
        rows.append(
            {
                "size": size,
                "memory": size_of_number * c * h * w,
                "parameters": parameters,
                "MACs": products,
            }
        )
    return rows


def _table_cases(rng):
    def conv(low, high, k, stride=1, padding=0):
        return "conv", between(rng, low, high), k, stride, padding

    image = 3, 2 * between(rng, 10, 20), 2 * between(rng, 23, 30)
    yield Case("convolutions", ([conv(5, 9, 3, 1, 1)], *image))
    yield Case("convolutions", ([conv(5, 9, 5, 2, 2), conv(10, 20, 3)], *image))
    yield Case("convolutions", ([conv(4, 8, 1), conv(9, 12, 4, 3, 1)], 2, 30, 42))
    yield Case("pools", ([("pool", 2, 2)], between(rng, 3, 9), 21, 34), note="an odd side")
    yield Case("pools", ([conv(5, 9, 3, 1, 1), ("pool", 3, 2), conv(5, 9, 3)], *image))
    yield Case("pools", ([conv(3, 9, 3, 2, 1), ("pool", 2, 2), ("pool", 3, 3)], *image))
    linear = ("linear", between(rng, 30, 90))
    yield Case("a classifier", ([linear], between(rng, 4, 9), 3, 5))
    head = [conv(5, 9, 3, 1, 1), ("pool", 2, 2), linear, ("linear", between(rng, 5, 20))]
    yield Case("a classifier", (head, *image))


def _table_with(**rules):
    return lambda layers, channels, height, width: _table(layers, channels, height, width, **rules)


# What goes wrong in a row of a table, whichever network it is of: name, rules, sentence.
_ROW_SLIPS = {
    "biases of the convolutions forgotten": (
        {"bias": 0},
        "Each filter of a convolution has a bias, which is a parameter.",
    ),
    "biases of the linear layers forgotten": (
        {"linear_bias": 0},
        "A linear layer has a bias for each of its outputs.",
    ),
    "all biases forgotten": (
        {"bias": 0, "linear_bias": 0},
        "Biases are parameters: one for each filter, and for each output of a linear layer.",
    ),
    "FLOPs": (
        {"macs": lambda weights, positions: 2 * weights * positions},
        "One MAC is a multiplication and an addition together; doubled, it counts FLOPs.",
    ),
    "MACs of one position": (
        {"macs": lambda weights, positions: weights},
        "Each weight of a convolution is used once at every position of its output.",
    ),
    "numbers, not bytes": (
        {"size_of_number": 1},
        "Memory is in bytes: a float32 takes four.",
    ),
    "memory of the input": (
        {"held": lambda before, after: before},
        "A row's memory is that of the layer's output.",
    ),
    "one channel in": (
        {"seen": lambda c, first: 1},
        "A filter has weights for every channel of its input.",
    ),
    "channels of the image in every layer": (
        {"seen": lambda c, first: first},
        "A layer's input has the channels that the layer before it made.",
    ),
    "not flattened": (
        {"flat": lambda c, h, w: c},
        "A linear layer is connected with every number of the map: channels · height · width.",
    ),
}


TABLE = Task(
    id="a2-table",
    kind="function",
    entry="cost_table",
    points={"convolutions": 4, "pools": 4, "a classifier": 4},
    reference=_table_with(),
    cases=_table_cases,
    misconceptions=(
        *(
            Misconception(name, _table_with(**rules), hint)
            for name, (rules, hint) in _ROW_SLIPS.items()
        ),
        Misconception(
            "rounded up",
            _table_with(side=lambda n, *layer: _side(n, *layer, ceil_mode=True)),
            "A window that does not fit any more is left out: round down.",
        ),
        Misconception(
            "padding on one side",
            _table_with(side=_one_side),
            "The padding is added on both sides.",
        ),
        Misconception(
            "square maps",
            lambda layers, channels, height, width: _table(layers, channels, height, height),
            "Height and width may differ.",
        ),
        Misconception(
            "pools with weights",
            _table_with(pool_weights=lambda c, k: c * k * k),
            "A pool learns nothing: it has no parameters.",
        ),
        Misconception(
            "pools that multiply",
            _table_with(pool_macs=lambda c, k, positions: c * k * k * positions),
            "A maximum multiplies nothing: in this table a pool has 0 MACs.",
        ),
        Misconception(
            "pools that merge channels",
            _table_with(pool_channels=lambda c: 1),
            "A pool works on each channel by itself and keeps their number.",
        ),
    ),
    forbidden=CALCULATORS,
)


# --- an AlexNet, row by row ---

ALEX = Variant(
    lambda v: [
        f"**3×{v.pixels}×{v.pixels}**",
        f"| conv1 | {v.first} |",
        f"| conv2 | {v.second} |",
        f"| conv3 | {v.third} |",
        f"| conv4 | {v.fourth} |",
        f"| conv5 | {v.fourth} |",
        f"{v.units}, {v.units}, 200 outputs |",
        f'"conv1": ("conv", {v.first}, 11, 4, 2)',
        f'"conv2": ("conv", {v.second}, 5, 1, 2)',
        f'"conv3": ("conv", {v.third}, 3, 1, 1)',
        f'"conv4": ("conv", {v.fourth}, 3, 1, 1)',
        f'"conv5": ("conv", {v.fourth}, 3, 1, 1)',
        f'"fc6": ("linear", {v.units})',
        f"cost_table(layers.values(), 3, {v.pixels}, {v.pixels})",
    ],
    pixels=(259, 243, 291, 307, 323),  # each rounds up to another side than down
    first=(48, 40, 56, 72),
    second=(160, 144, 176, 200),
    third=(320, 288, 352, 304),
    fourth=(240, 208, 224, 272),
    units=(3072, 2560, 3584, 2304),
)
_ALEX_PIXELS = ALEX.pixels
_ALEX = {
    "conv1": ("conv", ALEX.first, 11, 4, 2),
    "pool1": ("pool", 3, 2),
    "conv2": ("conv", ALEX.second, 5, 1, 2),
    "pool2": ("pool", 3, 2),
    "conv3": ("conv", ALEX.third, 3, 1, 1),
    "conv4": ("conv", ALEX.fourth, 3, 1, 1),
    "conv5": ("conv", ALEX.fourth, 3, 1, 1),
    "pool5": ("pool", 3, 2),
    "fc6": ("linear", ALEX.units),
    "fc7": ("linear", ALEX.units),
    "fc8": ("linear", 200),
}
_ALEX_ASKED = ("conv1", "pool2", "conv4", "pool5", "fc6")


def _alexnet(pixels=_ALEX_PIXELS, **rules):
    rows = dict(zip(_ALEX, _table(_ALEX.values(), 3, pixels, pixels, **rules), strict=True))
    return {
        name: {"side": rows[name]["size"][1]}
        | {column: rows[name][column] for column in ("memory", "parameters", "MACs")}
        for name in _ALEX_ASKED
    }


ALEXNET = Task(
    id="a2-alexnet",
    kind="value",
    entry="alexnet",
    points=dict.fromkeys(_ALEX_ASKED, 2),
    reference=_alexnet,
    misconceptions=(
        *(
            Misconception(name, lambda rules=rules: _alexnet(**rules), hint)
            for name, (rules, hint) in _ROW_SLIPS.items()
        ),
        Misconception(
            "rounded up",
            lambda: _alexnet(side=lambda n, *layer: _side(n, *layer, ceil_mode=True)),
            "A window that does not fit any more is left out: round down.",
        ),
        Misconception(
            "padding on one side",
            lambda: _alexnet(side=_one_side),
            "The padding is added on both sides.",
        ),
        Misconception(
            "images of 224×224",
            lambda: _alexnet(224),
            "These images are not those of the lecture: read the text again.",
        ),
        Misconception(
            "convolutions not padded",
            lambda: _alexnet(side=lambda n, k, stride, padding=0: _side(n, k, stride)),
            "The convolutions are padded, as the list says.",
        ),
        Misconception(
            "pools that multiply",
            lambda: _alexnet(pool_macs=lambda c, k, positions: c * k * k * positions),
            "A maximum multiplies nothing: in this table a pool has 0 MACs.",
        ),
    ),
)


# --- a VGG, stage by stage ---


def _widths(first):
    return first, 2 * first, 4 * first, 8 * first, 8 * first


VGGS = Variant(
    lambda v: [
        f"A VGG of {v.width[1]} the usual width, for wide images: **3×{v.height}×{v.wide}**",
        "| filters of each | " + " | ".join(map(str, _widths(v.width[0]))) + " |",
        f"layers of {v.units}, {v.units} and\n{v.outputs} outputs",
        "[(1, 2, {}), (2, 2, {}), (3, 3, {}), (4, 3, {}), (5, 3, {})]".format(*_widths(v.width[0])),
        f"in ({v.units}, {v.units}, {v.outputs})",
        f"for layer in stage], 3, {v.height}, {v.wide})",
    ],
    height=(192, 160, 224, 256),
    wide=(320, 288, 352, 384),
    width=((48, "three quarters of"), (32, "half"), (40, "five eighths of")),
    units=(2048, 1536, 2560, 3072),
    outputs=(150, 120, 180, 250),
)
_VGG_IMAGE = 3, VGGS.height, VGGS.wide
_VGG_CONVS = 2, 2, 3, 3, 3
_VGG_WIDTHS = _widths(VGGS.width[0])
_VGG_HEAD = VGGS.units, VGGS.units, VGGS.outputs
_VGG_ASKED = ("stage 1", "stage 3", "stage 5", "classifier")


def _vgg(convs=_VGG_CONVS, widths=_VGG_WIDTHS, image=_VGG_IMAGE, counted=None, **rules):
    """Sums for the stages; ``counted`` chooses the rows of a stage that enter its memory."""
    stages = {
        f"stage {number}": [("conv", width, 3, 1, 1)] * count + [("pool", 2, 2)]
        for number, (count, width) in enumerate(zip(convs, widths, strict=True), 1)
    }
    stages["classifier"] = [("linear", units) for units in _VGG_HEAD]
    rows = iter(_table([layer for stage in stages.values() for layer in stage], *image, **rules))
    sums = {}
    for name, stage in stages.items():
        own = [next(rows) for _ in stage]
        sums[name] = {
            column: sum(row[column] for row in own) for column in ("memory", "parameters", "MACs")
        }
        if counted and name != "classifier":
            sums[name]["memory"] = sum(row["memory"] for row in counted(own))
    return {name: sums[name] for name in _VGG_ASKED}


VGG = Task(
    id="a2-vgg",
    kind="value",
    entry="vgg",
    points=dict.fromkeys(_VGG_ASKED, 2),
    reference=_vgg,
    misconceptions=(
        *(
            Misconception(name, lambda rules=rules: _vgg(**rules), hint)
            for name, (rules, hint) in _ROW_SLIPS.items()
        ),
        Misconception(
            "a convolution of stage 3 forgotten",
            lambda: _vgg(convs=(2, 2, 2, 3, 3)),
            "Stages 3, 4 and 5 have three convolutions each.",
        ),
        Misconception(
            "two convolutions in every stage",
            lambda: _vgg(convs=(2, 2, 2, 2, 2)),
            "Stages 3, 4 and 5 have three convolutions each.",
        ),
        Misconception(
            "one convolution a stage",
            lambda: _vgg(convs=(1, 1, 1, 1, 1)),
            "A stage is all of its convolutions: add them up.",
        ),
        Misconception(
            "channels doubled to the end",
            lambda: _vgg(widths=(*_VGG_WIDTHS[:4], 2 * _VGG_WIDTHS[4])),
            "The last stage keeps the channels of the one before it, as VGG does.",
        ),
        Misconception(
            "the widths of the lecture",
            lambda: _vgg(widths=(64, 128, 256, 512, 512)),
            "This network is not as wide as VGG-16: take the filters from the table.",
        ),
        Misconception(
            "pools not counted",
            lambda: _vgg(counted=lambda rows: rows[:-1]),
            "The pool's output takes memory too: it belongs to its stage.",
        ),
        Misconception(
            "what leaves the stage",
            lambda: _vgg(counted=lambda rows: rows[-1:]),
            "Every output of the stage takes memory, not only the last one.",
        ),
        Misconception(
            "square images",
            lambda: _vgg(image=(*_VGG_IMAGE[:2], _VGG_IMAGE[1])),
            "Height and width of these images differ.",
        ),
    ),
)


# --- receptive fields ---


def _sees(
    layers,
    reach=lambda k, d: d * (k - 1),
    step=lambda jump, stride: jump * stride,
    early=False,
    shift=lambda padding, jump: -padding * jump,
):
    size, jump, start = 1, 1, 0
    for kernel_size, stride, padding, dilation in layers:
        if early:
            jump = step(jump, stride)
        size += reach(kernel_size, dilation) * jump
        start += shift(padding, jump)
        if not early:
            jump = step(jump, stride)
    return size, jump, start


def _sees_cases(rng):
    def odd(low, high):
        return 2 * between(rng, low, high) + 1

    yield Case("stride 1", ([(odd(1, 4), 1, 0, 1)],))
    yield Case("stride 1", ([(k, 1, 0, 1) for k in (odd(1, 2), 4, odd(3, 5), 2)],))
    yield Case("strides", ([(odd(2, 5), between(rng, 2, 4), 0, 1), (odd(1, 2), 1, 0, 1)],))
    alex = [(odd(3, 5), 4, 0, 1), (3, 2, 0, 1), (5, 1, 0, 1), (3, 3, 0, 1), (odd(1, 2), 1, 0, 1)]
    yield Case("strides", (alex,))
    yield Case("strides", ([(1, 3, 0, 1), (between(rng, 2, 6), 2, 0, 1)],), note="a 1×1 first")
    yield Case("dilation", ([(3, 1, 0, between(rng, 3, 5)), (odd(1, 2), 1, 0, 2)],))
    yield Case("dilation", ([(3, 2, 0, 1), (odd(2, 3), 2, 0, 3), (3, 1, 0, 4)],))
    yield Case("padding", ([(3, 1, 1, 1), (odd(2, 3), 1, between(rng, 2, 4), 1)],))
    deep = [(odd(3, 5), between(rng, 2, 4), 3, 1), (3, 2, 1, 1), (5, 3, 2, 1), (3, 1, 2, 2)]
    yield Case("padding", (deep,))


RECEPTIVE = Task(
    id="a2-receptive",
    kind="function",
    entry="sees",
    points={"stride 1": 2, "strides": 3, "dilation": 2, "padding": 3},
    reference=_sees,
    cases=_sees_cases,
    misconceptions=(
        Misconception(
            "kernels added up",
            lambda layers: _sees(layers, reach=lambda k, d: d * (k - 1) + 1),
            "A layer adds what its kernel reaches *beyond* one pixel: k - 1 steps.",
        ),
        Misconception(
            "strides ignored",
            lambda layers: _sees(layers, step=lambda jump, stride: jump),
            "Behind a stride of s two neighbours are s times as far apart.",
        ),
        Misconception(
            "own stride counted before the kernel",
            lambda layers: _sees(layers, early=True),
            "A layer's stride sets its *outputs* apart; its own kernel still steps as its inputs "
            "lie.",
        ),
        Misconception(
            "strides added",
            lambda layers: _sees(layers, step=lambda jump, stride: jump + stride - 1),
            "Strides multiply: two strides of 3 set neighbours 9 pixels apart.",
        ),
        Misconception(
            "last stride only",
            lambda layers: _sees(layers, step=lambda jump, stride: stride),
            "The jump collects all strides so far, not only the last one.",
        ),
        Misconception(
            "sizes not scaled by the jump",
            lambda layers: (
                _sees(layers, step=lambda jump, stride: 1)[0],
                *_sees(layers)[1:],
            ),
            "A step of a later kernel is `jump` pixels of the image.",
        ),
        Misconception(
            "dilation ignored",
            lambda layers: _sees(layers, reach=lambda k, d: k - 1),
            "A dilation of d makes each step of the kernel d times as long.",
        ),
        Misconception(
            "kernel times dilation",
            lambda layers: _sees(layers, reach=lambda k, d: d * k - 1),
            "k weights have k - 1 gaps between them: the dilation stretches these.",
        ),
        Misconception(
            "padding enlarges the field",
            lambda layers: (
                _sees(layers)[0] - 2 * _sees(layers)[2],
                *_sees(layers)[1:],
            ),
            "Padding moves the first window to the left; it makes no window larger.",
        ),
        Misconception(
            "padding ignored",
            lambda layers: _sees(layers, shift=lambda padding, jump: 0),
            "With padding the first window begins before the image: its start is negative.",
        ),
        Misconception(
            "start without a sign",
            lambda layers: _sees(layers, shift=lambda padding, jump: padding * jump),
            "Pixels of the padding lie before pixel 0: the start is negative.",
        ),
        Misconception(
            "padding counted in pixels of the image",
            lambda layers: _sees(layers, shift=lambda padding, jump: -padding),
            "A later layer pads its own input, whose pixels lie `jump` apart in the image.",
        ),
        Misconception(
            "from the last layer to the first",
            lambda layers: _sees(layers[::-1]),
            "The order counts: begin at the image.",
        ),
    ),
    forbidden=CALCULATORS,
)


# --- backwards: how large must the image be? ---


def _needed(layers, outputs, back=lambda n, k, s, p: (n - 1) * s + k - 2 * p):
    for kernel_size, stride, padding in reversed(layers):
        outputs = back(outputs, kernel_size, stride, padding)
    return outputs


def _needed_cases(rng):
    yield Case("one layer", ([(between(rng, 3, 9), 1, 0)], between(rng, 2, 9)))
    yield Case("one layer", ([(between(rng, 6, 11), between(rng, 2, 4), 2)], between(rng, 3, 9)))
    yield Case("one layer", ([(3, 2, 1)], 1), note="a single output")
    alex = [(11, 4, 2), (3, 2, 0), (5, 1, 0), (2, 2, 0), (3, 1, 1), (between(rng, 2, 3), 2, 0)]
    yield Case("several layers", (alex, between(rng, 2, 7)))
    mixed = [(7, 3, 3), (between(rng, 3, 4), 2, 1), (5, 2, 0)]
    yield Case("several layers", (mixed, between(rng, 2, 7)))
    yield Case("several layers", (mixed[::-1], between(rng, 2, 7)))


def _needed_with(back):
    return lambda layers, outputs: _needed(layers, outputs, back)


NEEDED = Task(
    id="a2-needed",
    kind="function",
    entry="smallest_image",
    points={"one layer": 2, "several layers": 4},
    reference=lambda layers, outputs: _needed(layers, outputs),
    cases=_needed_cases,
    misconceptions=(
        Misconception(
            "from the first layer to the last",
            lambda layers, outputs: _needed(layers[::-1], outputs),
            "You know the last output: begin with the last layer.",
        ),
        Misconception(
            "a stride too many",
            _needed_with(lambda n, k, s, p: n * s + k - 2 * p),
            "n windows lie n - 1 steps apart.",
        ),
        Misconception(
            "size times stride",
            _needed_with(lambda n, k, s, p: n * s),
            "The windows overlap or leave gaps: count n - 1 steps and then the last kernel.",
        ),
        Misconception(
            "kernel left out",
            _needed_with(lambda n, k, s, p: (n - 1) * s + 1 - 2 * p),
            "Behind the last step there is still a whole kernel, not one pixel.",
        ),
        Misconception(
            "one pixel too many",
            _needed_with(lambda n, k, s, p: (n - 1) * s + k - 2 * p + 1),
            "Nothing has to be added: the last kernel ends at the last pixel.",
        ),
        Misconception(
            "largest image",
            _needed_with(lambda n, k, s, p: n * s + k - 2 * p - 1),
            "This is the largest image that still gives so many; asked is the smallest.",
        ),
        Misconception(
            "padding forgotten",
            _needed_with(lambda n, k, s, p: (n - 1) * s + k),
            "Pixels of the padding need not be in the image: take them off.",
        ),
        Misconception(
            "padding on one side",
            _needed_with(lambda n, k, s, p: (n - 1) * s + k - p),
            "The padding is there on both sides.",
        ),
        Misconception(
            "padding added",
            _needed_with(lambda n, k, s, p: (n - 1) * s + k + 2 * p),
            "What the padding gives the image need not have: subtract it.",
        ),
        Misconception(
            "stride ignored",
            _needed_with(lambda n, k, s, p: n - 1 + k - 2 * p),
            "Each step is `stride` pixels long.",
        ),
        Misconception(
            "one output",
            lambda layers, outputs: _needed(layers, 1),
            "The image must give `outputs` positions, not one.",
        ),
    ),
    forbidden=CALCULATORS,
)


# --- the memory of a training step ---

_STATE = {"sgd": 0, "momentum": 1, "adam": 2}


def _training(parameters, activations, batch, optimizer, copies=2, state=_STATE.get):
    held = parameters * (copies + state(optimizer))
    return 4 * (held + activations * batch)


def _training_cases(rng):
    for optimizer, part in [("sgd", "plain SGD"), ("momentum", "momentum"), ("adam", "Adam")]:
        for batch in (1, between(rng, 2, 9), 64):
            numbers = 1000 * between(rng, 100, 900) + 7, 1000 * between(rng, 10, 90) + 3
            yield Case(part, (*numbers, batch, optimizer))


def _training_changed(**rules):
    return lambda parameters, activations, batch, optimizer: _training(
        parameters, activations, batch, optimizer, **rules
    )


TRAINING = Task(
    id="a2-training",
    kind="function",
    entry="training_bytes",
    points={"plain SGD": 2, "momentum": 2, "Adam": 2},
    reference=_training,
    cases=_training_cases,
    misconceptions=(
        Misconception(
            "gradients forgotten",
            _training_changed(copies=1),
            "Each parameter has a gradient, which is stored beside it.",
        ),
        Misconception(
            "optimizer forgotten",
            _training_changed(state=lambda name: 0),
            "Momentum and Adam keep numbers of their own for each parameter.",
        ),
        Misconception(
            "one number for Adam",
            _training_changed(state=lambda name: min(_STATE[name], 1)),
            "Adam keeps two means for each parameter: of the gradient and of its square.",
        ),
        Misconception(
            "three numbers for Adam",
            _training_changed(state=lambda name: 3 if name == "adam" else _STATE[name]),
            "Adam keeps two means for each parameter; the gradient itself is counted already.",
        ),
        Misconception(
            "two numbers for momentum",
            _training_changed(state=lambda name: 2 if name == "momentum" else _STATE[name]),
            "Momentum keeps one running sum for each parameter.",
        ),
        Misconception(
            "one image",
            lambda parameters, activations, batch, optimizer: _training(
                parameters, activations, 1, optimizer
            ),
            "Every image of the batch has activations of its own.",
        ),
        Misconception(
            "parameters for each image",
            lambda parameters, activations, batch, optimizer: (
                batch * _training(parameters, activations, 1, optimizer)
            ),
            "All images of a batch share the parameters and what belongs to them.",
        ),
        Misconception(
            "gradients for each image",
            lambda parameters, activations, batch, optimizer: (
                _training(parameters, activations, batch, optimizer) + 4 * (batch - 1) * parameters
            ),
            "The gradients of a batch are summed as they come: there is one for each parameter.",
        ),
        Misconception(
            "activations forgotten",
            lambda parameters, activations, batch, optimizer: _training(
                parameters, 0, batch, optimizer
            ),
            "The backward pass needs the activations: they are kept.",
        ),
        Misconception(
            "activations twice",
            lambda parameters, activations, batch, optimizer: _training(
                parameters, 2 * activations, batch, optimizer
            ),
            "Count each activation once: its gradient is used up as soon as it is there.",
        ),
        Misconception(
            "numbers, not bytes",
            lambda *arguments: _training(*arguments) // 4,
            "A float32 takes four bytes.",
        ),
        Misconception(
            "eight bytes a number",
            lambda *arguments: 2 * _training(*arguments),
            "Everything is float32 here: four bytes.",
        ),
    ),
    forbidden=CALCULATORS,
)


# --- errata ---


def _module_of(channels, side, three=1, reduced=True, all_channels=False):
    """MACs of the module in the text; ``three`` says how often the 3×3 is counted."""
    i, one, three_in, three_out, five_in, five_out, pool = channels, 96, 72, 144, 24, 56, 64
    large = three * 9 * (i if all_channels else three_in) * three_out
    large += 25 * (i if all_channels else five_in) * five_out
    small = i * (one + pool) + reduced * i * (three_in + five_in)
    return side**2 * (small + large)


def _misprinted(number):
    """The number with two different neighbouring digits, the first such pair, exchanged."""
    digits = list(str(number))
    place = next(i for i in range(3, len(digits) - 1) if digits[i] != digits[i + 1])
    digits[place : place + 2] = digits[place + 1], digits[place]
    return int("".join(digits))


ERR = Variant(
    lambda v: [
        f'an image of {v.pixels}×{v.pixels}, a kernel of 11, stride 4, padding 2: "the side is '
        f'**{_side(v.pixels, 11, 4, 2) + 1}**"',
        f"the last map is {v.maps}×5×5, fc6 has {v.units} outputs, biases are counted: "
        f'"**{_misprinted(25 * v.maps * v.units + v.units):,}** parameters"',
        f"An image of 3×{v.height}×300, fully connected with a first layer of 1,500 units: "
        f"**{3 * v.height * 300:,}**\n",
        f"on {v.channels} channels of {v.side}×{v.side}: 96 filters",
        f"All branches keep {v.side}×{v.side}: "
        f'"**{_module_of(v.channels, v.side, three=2):,}** MACs',
        f"*fc8:* from {v.units8} to {v.outputs} outputs, in a table that counts biases: "
        f'"**{v.units8 * v.outputs:,}** parameters',
        f"module = [({v.channels}, 96, 1), ({v.channels}, 72, 1), (72, 144, 3), "
        f"({v.channels}, 24, 1), (24, 56, 5), ({v.channels}, 64, 1)]",
        f"side({v.pixels}, 11, stride=4, padding=2)",
        f"{v.maps} * 5 * 5 * {v.units} + {v.units}",
        f"3 * {v.height} * 300 * 1500",
        f"conv_macs(i, {v.side}, {v.side}, o, k, padding=k // 2)",
        f"{v.units8} * {v.outputs} + {v.outputs}",
    ],
    pixels=(240, 228, 252, 264, 276),
    maps=(320, 288, 224, 352),
    units=(3072, 2560, 3584),
    height=(200, 240, 160, 180),
    channels=(288, 224, 352, 416),
    side=(18, 16, 20, 22),
    units8=(2048, 1536, 2560),
    outputs=(150, 120, 180, 250),
)


def _module(**slips):
    return _module_of(ERR.channels, ERR.side, **slips)


_CONV1, _FC6, _FIRST, _MODULE, _FC8 = (
    "side of conv1",
    "parameters of fc6",
    "weights of the first layer",
    "MACs of the module",
    "parameters of fc8",
)
_ERRATA = {
    _CONV1: _side(ERR.pixels, 11, 4, 2),
    _FC6: 5 * 5 * ERR.maps * ERR.units + ERR.units,
    _FIRST: 3 * ERR.height * 300 * 1500,
    _MODULE: _module(),
    _FC8: ERR.units8 * ERR.outputs + ERR.outputs,
}


def _erring(name, hint, **wrong):
    keys = {"conv1": _CONV1, "fc6": _FC6, "first": _FIRST, "module": _MODULE, "fc8": _FC8}
    return Misconception(name, lambda: _ERRATA | {keys[k]: v for k, v in wrong.items()}, hint)


ERRATA = Task(
    id="a2-errata",
    kind="value",
    entry="errata",
    points=dict.fromkeys(_ERRATA, 2),
    reference=lambda: dict(_ERRATA),
    misconceptions=(
        _erring(
            "conv1 as printed",
            "The printed side counts one more window than fits on the padded image.",
            conv1=_side(ERR.pixels, 11, 4, 2) + 1,
        ),
        _erring(
            "conv1 padded on one side",
            "The image is padded by 2, on both of its sides.",
            conv1=_side(ERR.pixels + 2, 11, 4),
        ),
        _erring(
            "fc6 as printed",
            "Multiply again: two digits of the printed number have changed places.",
            fc6=_misprinted(_ERRATA[_FC6]),
        ),
        _erring(
            "biases forgotten",
            "Each output of a linear layer has a bias.",
            fc6=5 * 5 * ERR.maps * ERR.units,
            fc8=ERR.units8 * ERR.outputs,
        ),
        _erring(
            "fc8 as printed",
            "The rows above fc8 count their biases: this one has to do the same.",
            fc8=ERR.units8 * ERR.outputs,
        ),
        _erring(
            "weights of one unit",
            "Each of the 1,500 units is connected with every number of the image.",
            first=3 * ERR.height * 300,
        ),
        _erring(
            "one colour",
            "The image has three channels.",
            first=ERR.height * 300 * 1500,
        ),
        _erring(
            "module as printed",
            "Add the six products up yourself: one of them went into the sum twice.",
            module=_module(three=2),
        ),
        _erring(
            "reductions cost nothing",
            "The 1×1 reductions are convolutions too: count their MACs.",
            module=_module(reduced=False),
        ),
        _erring(
            "naive module",
            "Behind a reduction the 3×3 and the 5×5 see the reduced channels.",
            module=_module(reduced=False, all_channels=True),
        ),
        _erring(
            "module in FLOPs",
            "One MAC is a multiplication and an addition together.",
            module=2 * _module(),
        ),
    ),
)

TASKS = (
    MEMORY,
    SIDE,
    PARAMETERS,
    MACS,
    TABLE,
    ALEXNET,
    VGG,
    RECEPTIVE,
    NEEDED,
    TRAINING,
    ERRATA,
)
