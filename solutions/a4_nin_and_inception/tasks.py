"""Tasks of assignment 4: networks in networks, and Inception."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.assignments.authoring import altered, between, digits_task, draw
from cnnlab.assignments.variant import Variant
from cnnlab.checks.task import Case, Misconception, Task


def _as_is(x):
    return x


# --- the warm-up: global average pooling ---


def _pooled(maps):
    return maps.mean((2, 3))


def _pooled_cases(rng):
    yield Case("square maps", (draw(rng, 2, 3, 4, 4),))
    yield Case("square maps", (draw(rng, 1, 2, 3, 3),), note="a batch of one")
    yield Case("maps that are not square", (draw(rng, 3, 2, 2, 5),))
    yield Case("maps that are not square", (draw(rng, 2, 4, 6, 1),))


POOL = Task(
    id="a4-pool",
    kind="function",
    entry="global_average",
    compared=("gradients",),
    points={"square maps": 3, "maps that are not square": 3},
    reference=_pooled,
    cases=_pooled_cases,
    misconceptions=(
        Misconception(
            "sum for mean",
            lambda maps: maps.sum((2, 3)),
            "Divide by the number of positions: this is an average.",
        ),
        Misconception(
            "maximum",
            lambda maps: maps.amax((2, 3)),
            "Take the mean of each map; its maximum would be global max pooling.",
        ),
        Misconception(
            "axes of length one kept",
            lambda maps: maps.mean((2, 3), keepdim=True),
            "The result has shape (N, C): height and width are gone.",
        ),
        Misconception(
            "over the columns only",
            lambda maps: maps.mean(3),
            "Average over the rows as well as over the columns.",
        ),
        Misconception(
            "over the rows only",
            lambda maps: maps.mean(2),
            "Average over the columns as well as over the rows.",
        ),
        Misconception(
            "over the channels",
            lambda maps: maps.mean(1),
            "Each channel keeps its own mean: average over height and width.",
        ),
        Misconception(
            "over channels and positions",
            lambda maps: maps.mean((1, 2, 3)),
            "Each channel keeps its own mean: one number a channel, not one an image.",
        ),
        Misconception(
            "over the batch too",
            lambda maps: maps.mean((0, 2, 3)),
            "Every image keeps its own means: do not average over the batch.",
        ),
        Misconception(
            "divided by one side squared",
            lambda maps: maps.sum((2, 3)) / maps.shape[2] ** 2,
            "A map has height times width positions, and the two may differ.",
        ),
        Misconception(
            "first position",
            lambda maps: maps[:, :, 0, 0],
            "All positions count, not only the corner.",
        ),
        Misconception(
            "sizes for signs",
            lambda maps: maps.abs().mean((2, 3)),
            "Average the values as they are, with their signs.",
        ),
    ),
)


# --- a 1×1 convolution is a linear layer at every pixel ---


def _per_pixel(x, weight, bias):
    return F.conv2d(x, weight[:, :, None, None], bias)


def _per_pixel_cases(rng):
    for part, batch, inputs, outputs, height, width in [
        ("one pixel", 1, 3, 2, 1, 1),
        ("one pixel", 4, 2, 5, 1, 1),
        ("whole images", 2, 3, 4, 3, 5),
        ("whole images", 1, 4, 4, 4, 4),
        ("whole images", 3, 1, 2, 5, 2),
    ]:
        weight = draw(rng, outputs, inputs)
        yield Case(part, (draw(rng, batch, inputs, height, width), weight, draw(rng, outputs)))


PER_PIXEL = Task(
    id="a4-per-pixel",
    kind="function",
    entry="conv1x1",
    points={"one pixel": 3, "whole images": 5},
    reference=_per_pixel,
    cases=_per_pixel_cases,
    misconceptions=(
        Misconception(
            "bias forgotten",
            lambda x, weight, bias: _per_pixel(x, weight, None),
            "Each output channel has a bias, which is added at every pixel.",
        ),
        Misconception(
            "bias subtracted",
            lambda x, weight, bias: _per_pixel(x, weight, -bias),
            "The bias is added.",
        ),
        Misconception(
            "mean over the input channels",
            lambda x, weight, bias: _per_pixel(x, weight / x.shape[1], bias),
            "Weight the input channels and add them up; do not average.",
        ),
        Misconception(
            "rectified",
            lambda x, weight, bias: _per_pixel(x, weight, bias).relu(),
            "The layer is linear: an activation is a step of its own.",
        ),
        Misconception(
            "channels last",
            lambda x, weight, bias: _per_pixel(x, weight, bias).permute(0, 2, 3, 1),
            "The channels stay the second axis: (N, outputs, H, W).",
        ),
        Misconception(
            "rows and columns swapped",
            lambda x, weight, bias: _per_pixel(x, weight, bias).mT,
            "Every pixel stays where it is: height before width.",
        ),
        Misconception(
            "same answer everywhere",
            lambda x, weight, bias: _per_pixel(
                x.mean((2, 3), keepdim=True).expand_as(x), weight, bias
            ),
            "Each pixel has its own answer: do not average over the image first.",
        ),
        Misconception(
            "first channel only",
            lambda x, weight, bias: _per_pixel(x[:, :1], weight[:, :1], bias),
            "All input channels of a pixel count.",
        ),
        Misconception(
            "channels in reverse",
            lambda x, weight, bias: _per_pixel(x.flip(1), weight, bias),
            "weight[o, c] belongs to input channel c.",
        ),
        Misconception(
            "reshaped, not moved",
            lambda x, weight, bias: (x.reshape(-1, x.shape[1]) @ weight.T + bias).reshape(
                x.shape[0], -1, *x.shape[2:]
            ),
            "A reshape does not move the channels last: use permute or movedim before it.",
        ),
        Misconception(
            "weight transposed",
            lambda x, weight, bias: _per_pixel(x, weight.T, bias),
            "weight has shape (outputs, inputs): row o belongs to output o.",
        ),
    ),
    forbidden=("convolution",),
)


# --- the block of Network in Network ---


class _MLPConv(nn.Module):
    def __init__(self, in_channels, widths, kernel_size, final=False):
        super().__init__()
        channels = [in_channels, *widths]
        sizes = [kernel_size] + [1] * (len(widths) - 1)
        self.final = final
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, k, padding=k // 2)
            for (i, o), k in zip(pairwise(channels), sizes, strict=True)
        )

    def forward(self, x):
        return self.run(x)

    def run(self, x, between=torch.relu, last=torch.relu, final=_as_is):
        for conv in self.convs[:-1]:
            x = between(conv(x))
        return (final if self.final else last)(self.convs[-1](x))


def _mlpconv_cases(rng):
    def images(batch, channels, height, width):
        return (draw(rng, batch, channels, height, width),)

    yield Case("three layers", (3, [5, 4, 4], 3), inputs=images(2, 3, 5, 6))
    yield Case("three layers", (2, [4, 3, 5], 5), inputs=images(1, 2, 6, 5))
    yield Case("other depths", (2, [6, 3], 3), inputs=images(1, 2, 4, 7))
    yield Case("other depths", (3, [4], 3), inputs=images(2, 3, 4, 4), note="no 1×1 at all")
    yield Case("other depths", (1, [4, 5, 3, 6], 3), inputs=images(2, 1, 5, 3))
    last = {"final": True}
    yield Case("the last block", (2, [5, 4, 3], 3), last, inputs=images(2, 2, 4, 5))
    yield Case("the last block", (2, [6, 10], 1), last, inputs=images(3, 2, 3, 4))
    yield Case("the last block", (3, [4], 3), last, "no 1×1 at all", inputs=images(2, 3, 3, 5))
    equal = "the layers before the last are as wide"
    yield Case("the last block", (2, [4, 4, 4], 3), last, equal, inputs=images(2, 2, 4, 3))


def _mlp_convs(plan):
    def make(in_channels, widths, kernel_size, final=False):
        channels = [in_channels, *widths]
        rows = [
            (i, o, *plan(number, len(widths), kernel_size))
            for number, (i, o) in enumerate(pairwise(channels))
        ]
        return nn.ModuleList(nn.Conv2d(i, o, k, padding=p) for i, o, k, p in rows)

    return altered(_MLPConv, convs=make)


MLPCONV = Task(
    id="a4-mlpconv",
    kind="module",
    entry="MLPConv",
    points={"three layers": 4, "other depths": 3, "the last block": 3},
    reference=_MLPConv,
    cases=_mlpconv_cases,
    misconceptions=(
        Misconception(
            "ReLU between the layers missing",
            altered(_MLPConv, lambda m, x: m.run(x, between=_as_is)),
            "A ReLU follows every layer; without them the 1×1 layers add nothing.",
        ),
        Misconception(
            "ReLU at the end missing",
            altered(_MLPConv, lambda m, x: m.run(x, last=_as_is)),
            "The last layer of an ordinary block has its ReLU too.",
        ),
        Misconception(
            "scores rectified",
            altered(_MLPConv, lambda m, x: m.run(x, final=torch.relu)),
            "With final=True the block gives scores: no ReLU after its last layer.",
        ),
        Misconception(
            "no ReLU in the last block",
            altered(_MLPConv, lambda m, x: m.run(x, between=_as_is if m.final else torch.relu)),
            "final=True leaves out the very last ReLU only, not those between the layers.",
        ),
        Misconception(
            "final the wrong way round",
            altered(_MLPConv, lambda m, x: m.run(x, last=_as_is, final=torch.relu)),
            "The last ReLU is left out when `final` is True, and is there otherwise.",
        ),
        Misconception(
            "probabilities for scores",
            altered(_MLPConv, lambda m, x: m.run(x, final=lambda t: t.softmax(1))),
            "Return the scores themselves: the loss takes the softmax.",
        ),
        Misconception(
            "scores averaged already",
            altered(_MLPConv, lambda m, x: m.run(x, final=lambda t: t.mean((2, 3), keepdim=True))),
            "The block returns maps; global average pooling comes after it.",
        ),
        Misconception(
            "padding forgotten",
            _mlp_convs(lambda n, layers, k: (k if n == 0 else 1, 0)),
            "Pad the first convolution by kernel_size // 2: the block keeps height and width.",
        ),
        Misconception(
            "1×1 padded",
            _mlp_convs(lambda n, layers, k: (k if n == 0 else 1, k // 2)),
            "A 1×1 needs no padding: with it the map grows.",
        ),
        Misconception(
            "the kernel in every layer",
            _mlp_convs(lambda n, layers, k: (k, k // 2)),
            "Only the first layer looks at neighbours; the others are 1×1.",
        ),
        Misconception(
            "1×1 first",
            _mlp_convs(lambda n, layers, k: (k, k // 2) if n == layers - 1 else (1, 0)),
            "The first layer has the large kernel, and the 1×1 layers follow.",
        ),
        Misconception(
            "tanh for ReLU",
            altered(_MLPConv, lambda m, x: m.run(x, torch.tanh, torch.tanh)),
            "The activation is the ReLU.",
        ),
    ),
)


# --- what an Inception module costs ---


def _inception_weights(in_channels, plan, area=lambda k: k * k, reduced=True, project=True):
    """(in, out, kernel area) of each convolution of a module."""
    rows = [(in_channels, plan["1x1"], 1)]
    for k in (3, 5):
        width = plan[f"{k}x{k} reduce"] if reduced else 0
        if width:
            rows.append((in_channels, width, 1))
        rows.append((width or in_channels, plan[f"{k}x{k}"], area(k)))
    if plan["pool"] and project:
        rows.append((in_channels, plan["pool"], 1))
    return rows


def _macs(in_channels, height, width, plan, **changes):
    rows = _inception_weights(in_channels, plan, **changes)
    return height * width * sum(i * o * k for i, o, k in rows)


def _macs_cases(rng):
    def plan(reduced):
        widths = {
            "1x1": 8 * between(rng, 4, 9),
            "3x3 reduce": between(rng, 5, 12) if reduced else 0,
            "3x3": 4 * between(rng, 8, 15),
            "5x5 reduce": between(rng, 13, 20) if reduced else 0,
            "5x5": 2 * between(rng, 6, 12) + 1,
            "pool": between(rng, 21, 30) if reduced else 0,
        }
        return widths

    for part in ("naive", "reduced"):
        reduced = part == "reduced"
        side = between(rng, 7, 28)
        yield Case(part, (16 * between(rng, 6, 12), side, side, plan(reduced)))
        yield Case(part, (between(rng, 65, 99), side, side + 3, plan(reduced)), note="not square")
    mixed = plan(True) | {"3x3 reduce": 1, "5x5 reduce": 0}
    yield Case("reduced", (between(rng, 32, 64), 9, 9, mixed), note="one reduction, to one channel")


def _reductions_left_out(in_channels, height, width, plan):
    total = _macs(in_channels, height, width, plan)
    left_out = in_channels * (plan["3x3 reduce"] + plan["5x5 reduce"])
    return total - height * width * left_out


def _not_fed_by_reductions(in_channels, height, width, plan):
    naive = _macs(in_channels, height, width, plan, reduced=False)
    added = in_channels * (plan["3x3 reduce"] + plan["5x5 reduce"])
    return naive + height * width * added


INCEPTION_MACS = Task(
    id="a4-inception-macs",
    kind="function",
    entry="inception_macs",
    points={"naive": 5, "reduced": 7},
    reference=_macs,
    cases=_macs_cases,
    misconceptions=(
        Misconception(
            "MACs doubled",
            lambda c, height, width, plan: 2 * _macs(c, height, width, plan),
            "One MAC is a multiplication and an addition together; doubled, it counts FLOPs.",
        ),
        Misconception(
            "one position",
            lambda c, height, width, plan: _macs(c, 1, 1, plan),
            "The filters are applied at each of the height × width positions.",
        ),
        Misconception(
            "square maps",
            lambda c, height, width, plan: _macs(c, height, height, plan),
            "Height and width may differ.",
        ),
        Misconception(
            "side for area",
            lambda c, height, width, plan: _macs(c, height, width, plan, area=lambda k: k),
            "A 3×3 has 9 weights for each input channel and a 5×5 has 25.",
        ),
        Misconception(
            "kernels ignored",
            lambda c, height, width, plan: _macs(c, height, width, plan, area=lambda k: 1),
            "Each output takes k·k products for every input channel.",
        ),
        Misconception(
            "5×5 taken as 3×3",
            lambda c, height, width, plan: _macs(c, height, width, plan, area=lambda k: 9),
            "The 5×5 branch has 25 weights for each input channel.",
        ),
        Misconception(
            "reductions never used",
            lambda c, height, width, plan: _macs(c, height, width, plan, reduced=False),
            "With a reduction the large kernel sees its few channels, and it costs MACs itself.",
        ),
        Misconception(
            "reductions do not feed the kernels",
            _not_fed_by_reductions,
            "After a reduction the 3×3 and the 5×5 see the reduced channels, not all of them.",
        ),
        Misconception(
            "reductions cost nothing",
            _reductions_left_out,
            "The 1×1 reductions are convolutions too: count their MACs.",
        ),
        Misconception(
            "projection of the pool forgotten",
            lambda c, height, width, plan: _macs(c, height, width, plan, project=False),
            "The pooling branch ends with a 1×1 convolution: count it where pool is not 0.",
        ),
        Misconception(
            "1×1 branch forgotten",
            lambda c, height, width, plan: _macs(c, height, width, plan | {"1x1": 0}),
            "The first branch is a convolution as well: its 1×1 filters have MACs.",
        ),
        Misconception(
            "biases counted",
            lambda c, height, width, plan: (
                _macs(c, height, width, plan)
                + height * width * sum(o for _, o, _ in _inception_weights(c, plan))
            ),
            "Adding a bias counts nothing here.",
        ),
    ),
)


# --- one module in numbers ---

V = Variant(
    lambda v: [
        f"{v.channels} channels of {v.side}×{v.side} enter a module with {v.one} filters of 1×1, "
        f"{v.three} of 3×3 and {v.five} of 5×5.",
        f"reductions to\n{v.reduce3} channels before the 3×3 and to {v.reduce5} before the 5×5, "
        f"and projects the pool to {v.pool}.",
        f'naive = {{"1x1": {v.one}, "3x3 reduce": 0, "3x3": {v.three}, "5x5 reduce": 0, '
        f'"5x5": {v.five}, "pool": 0}}',
        f'naive | {{"3x3 reduce": {v.reduce3}, "5x5 reduce": {v.reduce5}, "pool": {v.pool}}}',
        f"{v.one} + {v.three} + {v.five} + {v.channels},",
        f"{v.one} + {v.three} + {v.five} + {v.pool},",
        f"inception_macs({v.channels}, {v.side}, {v.side}, naive)",
        f"inception_macs({v.channels}, {v.side}, {v.side}, reduced)",
    ],
    channels=(320, 288, 352, 416),
    side=(20, 18, 22, 24),
    one=(96, 112, 88, 104),
    three=(160, 176, 144, 192),
    five=(48, 56, 40, 72),
    reduce3=(80, 84, 76, 92),
    reduce5=(24, 20, 28, 36),
    pool=(64, 60, 68, 52),
)
_NAIVE = {"1x1": V.one, "3x3 reduce": 0, "3x3": V.three, "5x5 reduce": 0, "5x5": V.five, "pool": 0}
_REDUCED = _NAIVE | {"3x3 reduce": V.reduce3, "5x5 reduce": V.reduce5, "pool": V.pool}
_NUMBERS = {
    "channels, naive": V.one + V.three + V.five + V.channels,
    "channels, reduced": V.one + V.three + V.five + V.pool,
    "MACs, naive": _macs(V.channels, V.side, V.side, _NAIVE),
    "MACs, reduced": _macs(V.channels, V.side, V.side, _REDUCED),
}


def _misread(name, hint, **wrong):
    keys = dict(zip(("naive", "reduced", "naive_macs", "reduced_macs"), _NUMBERS, strict=True))
    return Misconception(name, lambda: _NUMBERS | {keys[k]: v for k, v in wrong.items()}, hint)


INCEPTION_NUMBERS = Task(
    id="a4-inception-numbers",
    kind="value",
    entry="numbers",
    points=dict.fromkeys(_NUMBERS, 2),
    reference=lambda: dict(_NUMBERS),
    misconceptions=(
        _misread(
            "pool forgotten",
            "The naive module concatenates the pooled input too, with all of its channels.",
            naive=V.one + V.three + V.five,
        ),
        _misread(
            "pool forgotten in both",
            "The pooling branch gives channels as well: all of the input's, or its projection's.",
            naive=V.one + V.three + V.five,
            reduced=V.one + V.three + V.five,
        ),
        _misread(
            "projection in the naive module",
            "The naive module does not project: its pool hands on every input channel.",
            naive=V.one + V.three + V.five + V.pool,
        ),
        _misread(
            "largest branch",
            "Concatenated channels are counted together, not the widest branch alone.",
            naive=V.channels,
            reduced=V.three,
        ),
        _misread(
            "reductions concatenated",
            "A reduction is a step inside its branch: its channels do not leave the module.",
            reduced=V.one + V.reduce3 + V.three + V.reduce5 + V.five + V.pool,
        ),
        _misread(
            "pool not projected",
            f"The reduced module projects the pooled input to {V.pool} channels.",
            reduced=V.one + V.three + V.five + V.channels,
        ),
        _misread(
            "MACs doubled",
            "One MAC is a multiplication and an addition together; doubled, it counts FLOPs.",
            naive_macs=2 * _NUMBERS["MACs, naive"],
            reduced_macs=2 * _NUMBERS["MACs, reduced"],
        ),
        _misread(
            "one position",
            f"The filters are applied at each of the {V.side}×{V.side} positions.",
            naive_macs=_macs(V.channels, 1, 1, _NAIVE),
            reduced_macs=_macs(V.channels, 1, 1, _REDUCED),
        ),
        _misread(
            "projection counted in the naive module",
            "The naive module has no projection.",
            naive_macs=_macs(V.channels, V.side, V.side, _NAIVE | {"pool": V.pool}),
        ),
        _misread(
            "reductions cost nothing",
            "The 1×1 reductions are convolutions too: count their MACs.",
            reduced_macs=_reductions_left_out(V.channels, V.side, V.side, _REDUCED),
        ),
        _misread(
            "projection costs nothing",
            "The projection of the pool is a convolution too: count its MACs.",
            reduced_macs=_macs(V.channels, V.side, V.side, _REDUCED, project=False),
        ),
    ),
)


# --- an Inception module with a cross in place of the 5×5 ---


class _Inception(nn.Module):
    def __init__(self, in_channels, one, reduce, three, cross, pool):
        super().__init__()
        self.one = nn.Conv2d(in_channels, one, 1)
        self.three_reduce = nn.Conv2d(in_channels, reduce, 1)
        self.three = nn.Conv2d(reduce, three, 3, padding=1)
        self.cross_reduce = nn.Conv2d(in_channels, reduce, 1)
        self.row = nn.Conv2d(reduce, cross, (1, 5), padding=(0, 2))
        self.column = nn.Conv2d(cross, cross, (5, 1), padding=(2, 0))
        self.pool = nn.Conv2d(in_channels, pool, 1)

    def branches(self, x, inner=torch.relu, row=torch.relu, pooled=None):
        pooled = pooled or (lambda t: F.max_pool2d(t, 3, 1, 1))
        return [
            self.one(x),
            self.three(inner(self.three_reduce(x))),
            self.column(row(self.row(inner(self.cross_reduce(x))))),
            self.pool(pooled(x)),
        ]

    def forward(self, x):
        return torch.cat(self.branches(x), 1).relu()


def _inception_cases(rng):
    def images(batch, channels, height, width):
        return (draw(rng, batch, channels, height, width),)

    yield Case("branches of different widths", (4, 2, 3, 5, 4, 3), inputs=images(2, 4, 6, 6))
    yield Case("branches of different widths", (3, 5, 4, 2, 3, 6), inputs=images(1, 3, 7, 7))
    yield Case("branches of equal width", (4, 4, 4, 4, 4, 4), inputs=images(2, 4, 6, 6))
    below = (-images(2, 3, 5, 5)[0].abs(),)
    yield Case("branches of equal width", (3, 3, 3, 3, 3, 3), note="nothing above 0", inputs=below)
    yield Case("images that are not square", (3, 2, 4, 3, 5, 2), inputs=images(2, 3, 4, 8))
    yield Case("images that are not square", (2, 3, 2, 4, 3, 5), inputs=images(1, 2, 9, 2))


def _inception(order=(0, 1, 2, 3), join=lambda maps: torch.cat(maps, 1), end=torch.relu, **steps):
    def forward(m, x):
        maps = m.branches(x, **steps)
        return end(join([maps[i] for i in order]))

    return altered(_Inception, forward)


INCEPTION = Task(
    id="a4-inception",
    kind="module",
    entry="CrossInception",
    points={
        "branches of different widths": 5,
        "branches of equal width": 4,
        "images that are not square": 5,
    },
    reference=_Inception,
    cases=_inception_cases,
    misconceptions=(
        Misconception(
            "branches added",
            _inception(join=sum),
            "Branches are laid side by side as channels (torch.cat), not added.",
        ),
        Misconception(
            "concatenated along the batch",
            _inception(join=lambda maps: torch.cat(maps, 0)),
            "Concatenate along the channels, the second axis: dim=1.",
        ),
        Misconception(
            "concatenated along the height",
            _inception(join=lambda maps: torch.cat(maps, 2)),
            "Concatenate along the channels, the second axis: dim=1.",
        ),
        Misconception(
            "concatenated along the width",
            _inception(join=lambda maps: torch.cat(maps, -1)),
            "Concatenate along the channels, the second axis: dim=1.",
        ),
        Misconception(
            "pool first",
            _inception(order=(3, 0, 1, 2)),
            "The order of the branches: one, three, cross, pool.",
        ),
        Misconception(
            "branches in reverse",
            _inception(order=(3, 2, 1, 0)),
            "The order of the branches: one, three, cross, pool.",
        ),
        Misconception(
            "three and cross exchanged",
            _inception(order=(0, 2, 1, 3)),
            "The order of the branches: one, three, cross, pool.",
        ),
        Misconception(
            "last ReLU missing",
            _inception(end=_as_is),
            "A ReLU follows every convolution, also the last one of each branch.",
        ),
        Misconception(
            "reductions not activated",
            _inception(inner=_as_is),
            "A ReLU follows the 1×1 reductions too.",
        ),
        Misconception(
            "row not activated",
            _inception(row=_as_is),
            "A ReLU stands between the 1×5 and the 5×1.",
        ),
        Misconception(
            "average pooled",
            _inception(pooled=lambda t: F.avg_pool2d(t, 3, 1, 1)),
            "The pooling branch takes maxima.",
        ),
        Misconception(
            "not pooled",
            _inception(pooled=_as_is),
            "The last branch pools the input (3×3, stride 1, padding 1) before its 1×1.",
        ),
        Misconception(
            "three without padding",
            altered(
                _Inception, three=lambda c, one, reduce, three, *_: nn.Conv2d(reduce, three, 3)
            ),
            "All branches keep height and width, or they cannot be laid side by side: pad by 1.",
        ),
        Misconception(
            "row and column exchanged",
            altered(
                _Inception,
                row=lambda c, one, reduce, three, cross, pool: nn.Conv2d(
                    reduce, cross, (5, 1), padding=(2, 0)
                ),
                column=lambda c, one, reduce, three, cross, pool: nn.Conv2d(
                    cross, cross, (1, 5), padding=(0, 2)
                ),
            ),
            "`row` looks along a row: its kernel has height 1 and width 5.",
        ),
        Misconception(
            "fed by the input, not by the reduction",
            altered(
                _Inception,
                three=lambda c, one, reduce, three, *_: nn.Conv2d(c, three, 3, padding=1),
            ),
            "The 3×3 sees the reduced channels: `reduce` of them, not all of the input's.",
        ),
    ),
)


# --- convolving what was concatenated ---


def _convolve(maps, weight, bias):
    return F.conv2d(torch.cat(maps, 1), weight[:, :, None, None], bias)


def _convolve_cases(rng):
    for part, widths, outputs in [
        ("two branches", (2, 3), 4),
        ("two branches", (3, 3), 2),
        ("more branches", (2, 1, 3), 3),
        ("more branches", (3, 2, 4, 1), 5),
        ("more branches", (4,), 2),
    ]:
        maps = [draw(rng, 2, width, 3, 4) for width in widths]
        note = "a single branch" if len(maps) == 1 else ""
        yield Case(part, (maps, draw(rng, outputs, sum(widths)), draw(rng, outputs)), note=note)


def _branch_by_branch(maps, weight, bias, start=None, biases=1):
    offset, total = 0, 0
    for number, branch in enumerate(maps):
        width = branch.shape[1]
        begin = offset if start is None else start(number, offset, width)
        total = total + F.conv2d(branch, weight[:, begin : begin + width, None, None])
        offset += width
    return total + biases * bias[:, None, None]


CONCATENATED = Task(
    id="a4-concatenated",
    kind="function",
    entry="convolve_branches",
    compared=("gradients",),
    points={"two branches": 4, "more branches": 4},
    reference=_convolve,
    cases=_convolve_cases,
    misconceptions=(
        Misconception(
            "same weights for every branch",
            lambda maps, weight, bias: _branch_by_branch(maps, weight, bias, lambda *_: 0),
            "Each branch has its own columns of the weight: begin where the last one ended.",
        ),
        Misconception(
            "weights taken from the end",
            lambda maps, weight, bias: _convolve(maps, weight.flip(1), bias),
            "The columns of the weight follow the order of the branches.",
        ),
        Misconception(
            "branches in reverse",
            lambda maps, weight, bias: _convolve(maps[::-1], weight, bias),
            "The first columns of the weight belong to the first branch.",
        ),
        Misconception(
            "bias for every branch",
            lambda maps, weight, bias: _branch_by_branch(maps, weight, bias, biases=len(maps)),
            "The bias is added once, not once a branch.",
        ),
        Misconception(
            "bias forgotten",
            lambda maps, weight, bias: _branch_by_branch(maps, weight, bias, biases=0),
            "Add the bias, once.",
        ),
        Misconception(
            "branches averaged",
            lambda maps, weight, bias: _convolve(maps, weight / len(maps), bias),
            "The branches' contributions are added up, not averaged.",
        ),
        Misconception(
            "first branch only",
            lambda maps, weight, bias: _branch_by_branch(maps[:1], weight, bias),
            "Every branch contributes.",
        ),
        Misconception(
            "last branch only",
            lambda maps, weight, bias: _branch_by_branch(
                maps[-1:], weight[:, -maps[-1].shape[1] :], bias
            ),
            "Add the branches' contributions up; the last one overwrites the others.",
        ),
        Misconception(
            "rectified branch by branch",
            lambda maps, weight, bias: _branch_by_branch([m.relu() for m in maps], weight, bias),
            "No activation here: the layer is linear.",
        ),
        Misconception(
            "shifted by one column for each branch",
            lambda maps, weight, bias: _branch_by_branch(
                maps,
                weight,
                bias,
                lambda number, offset, width: min(number, weight.shape[1] - width),
            ),
            "A branch takes as many columns as it has channels: move on by that width.",
        ),
        Misconception(
            "results side by side",
            lambda maps, weight, bias: torch.cat(
                [_branch_by_branch([m], weight, bias) for m in maps], 1
            ),
            "The contributions of the branches are added: the result has one map an output.",
        ),
    ),
    forbidden=("joining",),
)


# --- an auxiliary head ---


class _TwoHeads(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1)
        self.aux = nn.Linear(4 * width, classes)
        self.body = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.main = nn.Linear(2 * width, classes)

    def forward(self, x):
        main, aux = self.heads(x)
        return (main, aux) if self.training else main

    def heads(self, x, act=torch.relu, body=torch.relu, pool=F.adaptive_avg_pool2d):
        low = act(self.stem(x))
        high = body(self.body(low))
        main = self.main(high.mean((2, 3)))
        return main, self.aux(pool(low, 2).flatten(1))


def _heads_cases(rng):
    for part, training in [("training", True), ("evaluation", False)]:
        for arguments, batch, height, width in [
            ((1, 3, 4), 2, 8, 8),
            ((3, 4, 2), 1, 6, 10),
            ((2, 5, 5), 3, 4, 4),
            ((2, 3, 4), 2, 7, 5),
        ]:
            images = draw(rng, batch, arguments[0], height, width)
            yield Case(part, arguments, inputs=(images,), training=training)


def _heads(forward=None, **steps):
    def usual(m, x):
        main, aux = m.heads(x, **steps)
        return (main, aux) if m.training else main

    return altered(_TwoHeads, forward or usual)


AUXILIARY = Task(
    id="a4-auxiliary",
    kind="module",
    entry="TwoHeads",
    points={"training": 7, "evaluation": 5},
    reference=_TwoHeads,
    cases=_heads_cases,
    misconceptions=(
        Misconception(
            "both heads always",
            _heads(lambda m, x: m.heads(x)),
            "In evaluation (self.training is False) only the main scores are returned.",
        ),
        Misconception(
            "main head always",
            _heads(lambda m, x: m.heads(x)[0]),
            "In training (self.training is True) the auxiliary scores are returned as well.",
        ),
        Misconception(
            "modes exchanged",
            _heads(lambda m, x: m.heads(x)[0] if m.training else m.heads(x)),
            "Both heads answer in training, the main one alone in evaluation.",
        ),
        Misconception(
            "auxiliary scores first",
            _heads(lambda m, x: m.heads(x)[::-1] if m.training else m.heads(x)[0]),
            "The order is (main, auxiliary).",
        ),
        Misconception(
            "auxiliary scores in evaluation",
            _heads(lambda m, x: m.heads(x) if m.training else m.heads(x)[1]),
            "The auxiliary head helps training only: evaluation returns the main scores.",
        ),
        Misconception(
            "heads added",
            _heads(lambda m, x: sum(m.heads(x)) if m.training else m.heads(x)[0]),
            "Return the two heads as a pair: their losses are weighted, not their scores.",
        ),
        Misconception(
            "stem not activated",
            _heads(act=_as_is),
            "A ReLU follows the stem, before either way goes on.",
        ),
        Misconception(
            "body not activated",
            _heads(body=_as_is),
            "A ReLU follows the body as well.",
        ),
        Misconception(
            "auxiliary maps maximum-pooled",
            _heads(pool=F.adaptive_max_pool2d),
            "The auxiliary head averages the maps down to 2×2.",
        ),
        Misconception(
            "auxiliary head on the input of the ReLU",
            _heads(
                lambda m, x: (
                    (m.heads(x)[0], m.heads(x, act=_as_is)[1]) if m.training else m.heads(x)[0]
                )
            ),
            "The auxiliary head starts after the stem's ReLU.",
        ),
        Misconception(
            "auxiliary head pooled to one value a map",
            altered(_TwoHeads, aux=lambda c, width, classes: nn.Linear(width, classes)),
            "The auxiliary head keeps 2×2 values of each map: 4·width inputs.",
        ),
        Misconception(
            "auxiliary probabilities",
            _heads(
                lambda m, x: (
                    (m.heads(x)[0], m.heads(x)[1].softmax(1)) if m.training else m.heads(x)[0]
                )
            ),
            "Both heads give scores: the loss takes the softmax.",
        ),
    ),
)


# --- the loss of both heads ---


def _loss(main, aux, labels, weight=0.3, reduction="mean"):
    own = F.cross_entropy(main, labels, reduction=reduction)
    return own + weight * F.cross_entropy(aux, labels, reduction=reduction)


def _loss_cases(rng):
    def scores(images, classes):
        return 2 * draw(rng, images, classes), 2 * draw(rng, images, classes)

    for part, images, classes in [
        ("a batch", 6, 4),
        ("a batch", 5, 10),
        ("a single image", 1, 3),
    ]:
        main, aux = scores(images, classes)
        labels = torch.from_numpy(rng.integers(0, classes, images))
        if images > 1:
            yield Case(part, (main, aux, labels))
            yield Case(part, (50 * main, 50 * aux, labels), note="scores of some hundreds")
        yield Case(part, (main, aux, labels), {"weight": 0.7})


LOSS = Task(
    id="a4-loss",
    kind="function",
    entry="loss_of_both",
    compared=("gradients",),
    points={"a batch": 4, "a single image": 2},
    reference=_loss,
    cases=_loss_cases,
    misconceptions=(
        Misconception(
            "a number without gradients",
            lambda main, aux, labels, weight=0.3: _loss(main, aux, labels, weight).item(),
            "Return the tensor itself: from a plain number `backward()` cannot begin.",
        ),
        Misconception(
            "main loss only",
            lambda main, aux, labels, weight=0.3: _loss(main, aux, labels, 0.0),
            "The auxiliary loss is added, times its weight.",
        ),
        Misconception(
            "weight forgotten",
            lambda main, aux, labels, weight=0.3: _loss(main, aux, labels, 1.0),
            "The auxiliary loss counts `weight` times.",
        ),
        Misconception(
            "weight on the main loss",
            lambda main, aux, labels, weight=0.3: _loss(aux, main, labels, weight),
            "The main loss counts in full; the auxiliary one is weighted.",
        ),
        Misconception(
            "mixed",
            lambda main, aux, labels, weight=0.3: (
                (1 - weight) * _loss(main, aux, labels, 0.0)
                + weight * _loss(aux, main, labels, 0.0)
            ),
            "The main loss keeps its full weight: loss(main) + weight · loss(auxiliary).",
        ),
        Misconception(
            "weight always 0.3",
            lambda main, aux, labels, weight=0.3: _loss(main, aux, labels, 0.3),
            "Use the argument `weight`; 0.3 is only its default.",
        ),
        Misconception(
            "summed over the batch",
            lambda main, aux, labels, weight=0.3: _loss(main, aux, labels, weight, "sum"),
            "Take the mean over the batch, as cross_entropy does by itself.",
        ),
        Misconception(
            "softmax taken twice",
            lambda main, aux, labels, weight=0.3: _loss(
                main.softmax(1), aux.softmax(1), labels, weight
            ),
            "cross_entropy takes the softmax itself: give it the scores as they are.",
        ),
        Misconception(
            "loss of the added scores",
            lambda main, aux, labels, weight=0.3: _loss(main + weight * aux, aux, labels, 0.0),
            "Add the losses of the two heads, not their scores.",
        ),
        Misconception(
            "auxiliary head taught by the main head",
            lambda main, aux, labels, weight=0.3: (
                _loss(main, aux, labels, 0.0) + weight * _loss(aux, aux, main.argmax(1), 0.0)
            ),
            "Both heads learn from the labels.",
        ),
        Misconception(
            "auxiliary loss subtracted",
            lambda main, aux, labels, weight=0.3: _loss(main, aux, labels, -weight),
            "The auxiliary loss is added.",
        ),
    ),
)


# --- training ---


def _small_nin():
    def layer(inputs, outputs, side):
        conv = nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())

    return nn.Sequential(
        *(layer(1, 16, 5), layer(16, 16, 1), nn.MaxPool2d(2)),
        *(layer(16, 24, 3), layer(24, 24, 1), nn.MaxPool2d(2)),
        *(layer(24, 32, 3), nn.Conv2d(32, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


TRAIN = digits_task(
    "a4-train",
    _small_nin,
    points=(3, 3, 2),
    accuracies=(0.7, 0.8, 0.86),
    structure=("convolutions", "no large linear layer"),
)

TASKS = (
    POOL,
    PER_PIXEL,
    MLPCONV,
    INCEPTION_MACS,
    INCEPTION_NUMBERS,
    INCEPTION,
    CONCATENATED,
    AUXILIARY,
    LOSS,
    TRAIN,
)
