"""Tasks of assignment 9: the smallest network that reads digits."""

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.assignments.authoring import between, draw
from cnnlab.checks.task import Case, Misconception, Task
from cnnlab.data import mnist
from cnnlab.layers import Residual

# --- the shape after a layer ---


def _side(n, kernel, stride, padding, dilation):
    return (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _told(layer):
    """A layer's kind, its numbers, and its settings."""
    kind, *numbers = layer
    settings = numbers.pop() if numbers and isinstance(numbers[-1], dict) else {}
    return kind, numbers, settings


def _shape_after(layer, shape, side=_side):
    kind, numbers, settings = _told(layer)
    if kind == "Residual":
        for each in numbers[0]:
            shape = _shape_after(each, shape, side)
        return shape
    if kind == "Linear":
        return (numbers[1],)
    if kind == "Flatten":
        return (math.prod(shape),)
    if kind == "AdaptiveAvgPool2d":
        return (shape[0], numbers[0], numbers[0])
    if kind not in ("Conv2d", "MaxPool2d", "AvgPool2d"):
        return shape
    channels, kernel = (numbers[1], numbers[2]) if kind == "Conv2d" else (shape[0], numbers[0])
    stride = settings.get("stride", 1 if kind == "Conv2d" else kernel)
    more = settings.get("padding", 0), settings.get("dilation", 1)
    return (channels, *(side(n, kernel, stride, *more) for n in shape[1:]))


def _maps(rng, channels):
    """The shape of oblong maps, with an even and an odd side."""
    return (channels, 2 * between(rng, 6, 8), 2 * between(rng, 9, 11) + 1)


def _shape_after_cases(rng):
    yield Case("convolutions", (("Conv2d", 3, between(rng, 4, 9), 5), _maps(rng, 3)))
    for settings in ({"stride": 2, "padding": 1}, {"padding": 3}, {"stride": 3}):
        layer = ("Conv2d", 3, between(rng, 4, 9), 5, settings)
        yield Case("convolutions", (layer, _maps(rng, 3)))
    layer = ("Conv2d", 4, 8, 3, {"groups": 4, "dilation": 2, "padding": 1, "stride": 2})
    yield Case("convolutions", (layer, _maps(rng, 4)))
    for layer in (
        ("MaxPool2d", 2),
        ("AvgPool2d", 3),
        ("MaxPool2d", 3, {"stride": 2}),
        ("AvgPool2d", 3, {"stride": 2, "padding": 1}),
        ("AdaptiveAvgPool2d", 1),
    ):
        # More channels than any stride, so that one cannot be taken for the other.
        yield Case("pools", (layer, _maps(rng, between(rng, 6, 9))))
    maps = _maps(rng, between(rng, 2, 5))
    for layer in (("BatchNorm2d", maps[0]), ("ReLU",), ("Flatten",)):
        yield Case("the others", (layer, maps))
    yield Case("the others", (("Linear", 40, between(rng, 5, 9)), (40,)))
    branch = (("Conv2d", 3, 6, 3, {"stride": 2, "padding": 1}), ("BatchNorm2d", 6))
    shortcut = (("Conv2d", 3, 6, 1, {"stride": 2}),)
    yield Case("the others", (("Residual", branch, shortcut), _maps(rng, 3)), note="a shortcut")


def _sided(side):
    return lambda layer, shape: _shape_after(layer, shape, side)


def _at(kind, wrong):
    """Right, but for layers of one kind: ``wrong`` gets the right shape, the layer, the old one."""

    def answer(layer, shape):
        right = _shape_after(layer, shape)
        return wrong(right, layer, shape) if layer[0] == kind else right

    return answer


def _pools_striding(stride):
    """Pools with another stride; ``stride(kernel, told)``."""

    def answer(layer, shape):
        kind, numbers, settings = _told(layer)
        if kind in ("MaxPool2d", "AvgPool2d"):
            told = stride(numbers[0], settings.get("stride"))
            layer = (kind, *numbers, {**settings, "stride": told})
        return _shape_after(layer, shape)

    return answer


def _order(layer, shape):
    right = _shape_after(layer, shape)
    return (*right[1:], right[0])


BEHIND = Task(
    id="a9-shape",
    kind="function",
    entry="shape_after",
    points={"convolutions": 3, "pools": 2, "the others": 3},
    reference=_shape_after,
    cases=_shape_after_cases,
    forbidden=("convolution", "Conv2d", "MaxPool2d", "AvgPool2d", "max_pool2d", "avg_pool2d"),
    misconceptions=(
        Misconception(
            "dilation ignored",
            _sided(lambda n, k, s, p, d: _side(n, k, s, p, 1)),
            "A dilated kernel is as long as dilation · (kernel - 1) + 1.",
        ),
        Misconception(
            "padding on one side",
            _sided(lambda n, k, s, p, d: (n + p - d * (k - 1) - 1) // s + 1),
            "The padding is added on both sides: twice for each axis.",
        ),
        Misconception(
            "padding ignored",
            _sided(lambda n, k, s, p, d: _side(n, k, s, 0, d)),
            "The padding makes the map larger before the window moves over it.",
        ),
        Misconception(
            "stride ignored",
            _sided(lambda n, k, s, p, d: _side(n, k, 1, p, d)),
            "Divide by the stride before you add 1.",
        ),
        Misconception(
            "rounded up",
            _sided(lambda n, k, s, p, d: -(-(n + 2 * p - d * (k - 1) - 1) // s) + 1),
            "A window that does not fit is left out: round down.",
        ),
        Misconception(
            "without the first window",
            _sided(lambda n, k, s, p, d: _side(n, k, s, p, d) - 1),
            "There is a window before the first step: add 1.",
        ),
        Misconception(
            "pools move by one",
            _pools_striding(lambda kernel, told: told or 1),
            "A pool that is told no stride moves by its own size.",
        ),
        Misconception(
            "pools always move by their size",
            _pools_striding(lambda kernel, told: kernel),
            "A pool moves by its `stride` where it has one.",
        ),
        Misconception(
            "groups divide the filters",
            _at("Conv2d", lambda r, x, s: (r[0] // _told(x)[2].get("groups", 1), *r[1:])),
            "With groups each filter sees fewer channels; there are as many filters as before.",
        ),
        Misconception(
            "channels stay",
            _at("Conv2d", lambda r, x, s: (s[0], *r[1:])),
            "Behind a convolution there are as many channels as it has filters.",
        ),
        Misconception(
            "one side for both",
            lambda layer, shape: _shape_after(layer, (*shape[:2], *shape[1:2])[: len(shape)]),
            "Maps may be oblong: compute both sides.",
        ),
        Misconception(
            "flattened channel by channel",
            _at("Flatten", lambda r, x, s: (s[0], math.prod(s[1:]))),
            "Flatten makes one row of all numbers of an image, its channels included.",
        ),
        Misconception(
            "a shortcut changes nothing",
            _at("Residual", lambda r, x, s: s),
            "The shape is that of the branch, which may stride and have other channels.",
        ),
        Misconception(
            "channels last",
            _order,
            "Shapes are (channels, height, width), as PyTorch has them.",
        ),
    ),
)


# --- how many multiplications ---


def _in_conv(inputs, outputs, kernel, groups, dilation, places):
    return outputs * places * (inputs // groups) * kernel**2


def _macs(
    layers,
    shape,
    conv=_in_conv,
    pool=lambda window, outputs: window * outputs,
    linear=lambda inputs, outputs: inputs * outputs,
    norm=lambda shape: 0,
    join=lambda branch, shortcut, shape: branch + shortcut,
    before=False,
    walk=_shape_after,
):
    knobs = (conv, pool, linear, norm, join, before, walk)
    total = 0
    for layer in layers:
        kind, numbers, settings = _told(layer)
        came, shape = shape, walk(layer, shape)
        if kind == "Conv2d":
            groups, dilation = settings.get("groups", 1), settings.get("dilation", 1)
            places = math.prod((came if before else shape)[1:])
            total += conv(*numbers, groups, dilation, places)
        elif kind == "Linear":
            total += linear(*numbers)
        elif kind == "AdaptiveAvgPool2d":
            total += pool(math.prod(came[1:]), came[0])
        elif "Pool" in kind:
            total += pool(numbers[0] ** 2, math.prod(shape))
        elif kind == "BatchNorm2d":
            total += norm(shape)
        elif kind == "Residual":
            ways = [_macs(way, came, *knobs) for way in (*numbers, ())[:2]]
            total += join(*ways, shape)
    return total


def _macs_cases(rng):
    a, b, maps = between(rng, 3, 6), between(rng, 7, 10), _maps(rng, 2)
    chain = [("Conv2d", 2, a, 3, {"padding": 1}), ("BatchNorm2d", a), ("ReLU",)]
    chain += [("Conv2d", a, b, 5, {"stride": 2})]
    yield Case("convolutions and linear layers", (chain, maps))
    flat = math.prod(_shape_after(chain[3], _shape_after(chain[0], maps)))
    chain = [*chain, ("Flatten",), ("Linear", flat, between(rng, 5, 9))]
    yield Case("convolutions and linear layers", (chain, maps))
    a = 2 * between(rng, 2, 4)
    grouped = [
        ("Conv2d", a, a, 3, {"groups": a, "padding": 1}),
        ("Conv2d", a, 3 * a, 1, {"groups": 2}),
    ]
    yield Case("groups and dilation", (grouped, _maps(rng, a)))
    dilated = [("Conv2d", 3, a, 3, {"dilation": 2, "padding": 2}), ("Conv2d", a, 4, 1)]
    yield Case("groups and dilation", (dilated, _maps(rng, 3)))
    pools = [("MaxPool2d", 2), ("Conv2d", 3, a, 3), ("AvgPool2d", 3, {"stride": 2})]
    yield Case("pools", (pools, _maps(rng, 3)))
    yield Case("pools", ([*pools, ("AdaptiveAvgPool2d", 1), ("Flatten",)], _maps(rng, 3)))
    branch = [("Conv2d", 3, 5, 3, {"stride": 2, "padding": 1}), ("BatchNorm2d", 5), ("ReLU",)]
    branch += [("Conv2d", 5, 5, 3, {"padding": 1})]
    way = [("Conv2d", 3, 5, 1, {"stride": 2})]
    yield Case("shortcuts", ([("Residual", branch, way)], _maps(rng, 3)))
    same = ("Residual", [("Conv2d", 5, 5, 3, {"padding": 1})])
    yield Case("shortcuts", ([("Residual", branch, way), same], _maps(rng, 3)))


def _count(**knobs):
    return lambda layers, shape: _macs(layers, shape, **knobs)


def _times(factor):
    return lambda i, o, k, g, d, places: factor(i, o, k, g, d) * places


def _first_shape(layers, shape):
    """Every layer is taken to see the image."""
    return sum(_macs([layer], shape) for layer in layers)


MACS = Task(
    id="a9-macs",
    kind="function",
    entry="count_macs",
    points={
        "convolutions and linear layers": 5,
        "groups and dilation": 3,
        "pools": 3,
        "shortcuts": 3,
    },
    reference=_macs,
    cases=_macs_cases,
    forbidden=("summary",),
    misconceptions=(
        Misconception(
            "FLOPs",
            lambda layers, shape: 2 * _macs(layers, shape),
            "One MAC is a multiplication and an addition: do not count it twice.",
        ),
        Misconception(
            "groups ignored",
            _count(conv=_times(lambda i, o, k, g, d: o * i * k * k)),
            "A filter of a grouped convolution sees in_channels / groups channels.",
        ),
        Misconception(
            "groups divided out twice",
            _count(conv=_times(lambda i, o, k, g, d: (o // g) * (i // g) * k * k)),
            "All filters are there, each with in_channels / groups channels.",
        ),
        Misconception(
            "map before the convolution",
            _count(before=True),
            "A convolution multiplies once for each place of its output.",
        ),
        Misconception(
            "every layer on the image",
            _first_shape,
            "The shape changes from layer to layer: take it along.",
        ),
        Misconception(
            "biases counted",
            _count(conv=_times(lambda i, o, k, g, d: o * (i // g * k * k + 1))),
            "A bias is an addition without a multiplication: it counts nothing.",
        ),
        Misconception(
            "pools left out",
            _count(pool=lambda window, outputs: 0),
            "Here a pool counts one for each element of each window.",
        ),
        Misconception(
            "pools once for each output",
            _count(pool=lambda window, outputs: outputs),
            "A pool looks at every element of its window: each counts.",
        ),
        Misconception(
            "shortcut's layers left out",
            _count(join=lambda branch, shortcut, shape: branch),
            "A convolution on the shortcut multiplies, too.",
        ),
        Misconception(
            "sums counted",
            _count(join=lambda branch, shortcut, shape: branch + shortcut + math.prod(shape)),
            "The addition at the end of a shortcut counts nothing.",
        ),
        Misconception(
            "norms counted",
            _count(norm=math.prod),
            "A batch norm counts nothing: part 4 shows where its multiplication goes.",
        ),
        Misconception(
            "dilated kernel taken for a large one",
            _count(conv=_times(lambda i, o, k, g, d: o * (i // g) * (d * (k - 1) + 1) ** 2)),
            "Between the points of a dilated kernel there is nothing to multiply by.",
        ),
        Misconception(
            "kernel not squared",
            _count(conv=_times(lambda i, o, k, g, d: o * (i // g) * k)),
            "A kernel has kernel · kernel points in each channel.",
        ),
        Misconception(
            "linear layers left out",
            _count(linear=lambda inputs, outputs: 0),
            "A linear layer has a MAC for each weight.",
        ),
    ),
)


# --- a network from its list ---


def _build(layers, make=lambda kind, numbers, settings: getattr(nn, kind)(*numbers, **settings)):
    made = []
    for layer in layers:
        kind, numbers, settings = _told(layer)
        if kind == "Residual":
            made.append(Residual(*(_build(way, make) for way in numbers)))
        else:
            made.append(make(kind, numbers, settings))
    return nn.Sequential(*made)


def _build_cases(rng):
    a, b = 2 * between(rng, 2, 4), between(rng, 5, 9)
    chain = [
        ("Conv2d", 1, a, 3, {"stride": 2, "padding": 1, "bias": False}),
        ("BatchNorm2d", a),
        ("ReLU",),
        ("AvgPool2d", 2, {"stride": 1}),
        ("Conv2d", a, 2 * a, 3, {"groups": 2, "dilation": 2}),
        ("ReLU",),
    ]
    end = [("AdaptiveAvgPool2d", 1), ("Flatten",), ("Linear", 2 * a, b)]
    yield Case("a chain", ([*chain, *end],), inputs=(draw(rng, 3, 1, 16, 14),))
    yield Case("a chain", (chain,), inputs=(draw(rng, 2, 1, 15, 16),), training=True)
    branch = [("Conv2d", a, b, 3, {"stride": 2, "padding": 1}), ("BatchNorm2d", b)]
    way = [("Conv2d", a, b, 1, {"stride": 2})]
    same = ("Residual", [("Conv2d", b, b, 3, {"padding": 1}), ("BatchNorm2d", b)])
    blocks = [("Conv2d", 1, a, 3), ("Residual", branch, way), same]
    yield Case("shortcuts", (blocks,), inputs=(draw(rng, 2, 1, 9, 10),))
    yield Case("shortcuts", ([*blocks, *end[:2]],), inputs=(draw(rng, 2, 1, 11, 9),), training=True)


def _without(*names):
    """A builder that leaves some settings out."""

    def make(kind, numbers, settings):
        kept = {name: value for name, value in settings.items() if name not in names}
        return getattr(nn, kind)(*numbers, **kept)

    return lambda layers: _build(layers, make)


def _instead(**kinds):
    def make(kind, numbers, settings):
        return getattr(nn, kinds.get(kind, kind))(*numbers, **settings)

    return lambda layers: _build(layers, make)


def _joined(forward):
    """A builder whose shortcuts do something else with their two ways."""

    class Joined(Residual):
        def forward(self, x):
            return forward(self.branch(x), self.shortcut(x))

    def build(layers):
        made = []
        for layer in layers:
            ways = layer[1:] if layer[0] == "Residual" else None
            made.append(Joined(*map(build, ways)) if ways else _build([layer])[0])
        return nn.Sequential(*made)

    return build


BUILD = Task(
    id="a9-build",
    kind="module",
    entry="build",
    points={"a chain": 6, "shortcuts": 4},
    reference=_build,
    cases=_build_cases,
    misconceptions=(
        Misconception(
            "stride left out",
            _without("stride"),
            "Hand all settings on: `getattr(nn, kind)(*numbers, **settings)`.",
        ),
        Misconception(
            "padding left out",
            _without("padding"),
            "Hand all settings on: `getattr(nn, kind)(*numbers, **settings)`.",
        ),
        Misconception(
            "dilation left out",
            _without("dilation"),
            "Hand all settings on: `getattr(nn, kind)(*numbers, **settings)`.",
        ),
        Misconception(
            "groups left out",
            _without("groups"),
            "Hand all settings on: `getattr(nn, kind)(*numbers, **settings)`.",
        ),
        Misconception(
            "no settings",
            _without("stride", "padding", "dilation", "groups", "bias"),
            "The dict at the end of a layer holds keyword arguments: hand them on with `**`.",
        ),
        Misconception(
            "largest for mean",
            _instead(AvgPool2d="MaxPool2d", AdaptiveAvgPool2d="AdaptiveMaxPool2d"),
            "The name says which pool: `getattr(nn, kind)` finds it.",
        ),
        Misconception(
            "last layer missing",
            lambda layers: _build(layers[:-1]),
            "Every layer of the list belongs into the network, the last one as well.",
        ),
        Misconception(
            "no ReLU after the sum",
            _joined(lambda branch, shortcut: branch + shortcut),
            "The sum of a shortcut goes through a ReLU: `Residual` does it.",
        ),
        Misconception(
            "ReLU before the sum",
            _joined(lambda branch, shortcut: branch.relu() + shortcut),
            "Add first, then rectify: `Residual` does both.",
        ),
        Misconception(
            "nothing added",
            _joined(lambda branch, shortcut: branch.relu()),
            "What the branch gives and what the shortcut gives are added.",
        ),
        Misconception(
            "laid over instead of added",
            _joined(lambda branch, shortcut: torch.maximum(branch, shortcut).relu()),
            "What the branch gives and what the shortcut gives are added.",
        ),
    ),
)


# --- a batch norm that costs nothing ---


def _fold(weight, bias, gamma, beta, mean, var, eps):
    scale = gamma / (var + eps).sqrt()
    return weight * scale[:, None, None, None], (bias - mean) * scale + beta


def _fold_cases(rng):
    def question(inputs, outputs, kernel, eps):
        vectors = [draw(rng, outputs) for _ in range(4)]
        var = draw(rng, outputs).abs() + 0.25
        return (draw(rng, outputs, inputs, kernel, kernel), *vectors, var, eps)

    yield Case("a convolution", question(2, 3, 3, 1e-5))
    yield Case("a convolution", question(3, 3, 2, 1e-5))
    yield Case("a depthwise convolution", question(1, 4, 3, 1e-5))
    for eps in (0.5, 2.0):
        yield Case("another epsilon", question(between(rng, 1, 3), 3, 1, eps))


def _folded(scale=None, bias=None):
    """Another factor, or another bias: ``bias(b, scale, beta, mean)``."""

    def answer(weight, b, gamma, beta, mean, var, eps):
        found = scale(gamma, var, eps) if scale else gamma / (var + eps).sqrt()
        made = bias(b, found, beta, mean) if bias else (b - mean) * found + beta
        return weight * found[:, None, None, None], made

    return answer


FOLD = Task(
    id="a9-fold",
    kind="function",
    entry="fold",
    points={"a convolution": 6, "a depthwise convolution": 2, "another epsilon": 2},
    reference=_fold,
    cases=_fold_cases,
    misconceptions=(
        Misconception(
            "variance for deviation",
            _folded(lambda gamma, var, eps: gamma / (var + eps)),
            "Divide by the standard deviation: the root of the variance.",
        ),
        Misconception(
            "epsilon left out",
            _folded(lambda gamma, var, eps: gamma / var.sqrt()),
            "Epsilon is added to the variance, and is not always small: take what you are given.",
        ),
        Misconception(
            "epsilon outside of the root",
            _folded(lambda gamma, var, eps: gamma / (var.sqrt() + eps)),
            "Epsilon is added to the variance, under the root.",
        ),
        Misconception(
            "gamma left out",
            _folded(lambda gamma, var, eps: (var + eps).rsqrt()),
            "The normalized value is multiplied by gamma: so are the weights.",
        ),
        Misconception(
            "beta left out",
            _folded(bias=lambda b, scale, beta, mean: (b - mean) * scale),
            "Beta is added at the end: it is a part of the new bias.",
        ),
        Misconception(
            "mean left out",
            _folded(bias=lambda b, scale, beta, mean: b * scale + beta),
            "The norm subtracts the mean: the new bias has to.",
        ),
        Misconception(
            "old bias left out",
            _folded(bias=lambda b, scale, beta, mean: beta - mean * scale),
            "The convolution's own bias goes through the norm as well.",
        ),
        Misconception(
            "old bias not scaled",
            _folded(bias=lambda b, scale, beta, mean: b - mean * scale + beta),
            "The convolution's own bias goes through the norm as well: it is scaled, too.",
        ),
        Misconception(
            "mean not scaled",
            _folded(bias=lambda b, scale, beta, mean: b * scale - mean + beta),
            "The mean is subtracted before the division.",
        ),
        Misconception(
            "mean added",
            _folded(bias=lambda b, scale, beta, mean: (b + mean) * scale + beta),
            "The norm subtracts the mean.",
        ),
        Misconception(
            "weights not scaled",
            lambda weight, *rest: (weight.clone(), _fold(weight, *rest)[1]),
            "The filters themselves are multiplied by gamma / deviation.",
        ),
        Misconception(
            "columns of the kernel scaled",
            lambda weight, b, gamma, beta, mean, var, eps: (
                weight * (gamma / (var + eps).sqrt()),
                _fold(weight, b, gamma, beta, mean, var, eps)[1],
            ),
            "One factor for each *filter*, the first axis: reshape it to (O, 1, 1, 1).",
        ),
    ),
)


# --- which results count ---


def _frontier(results):
    best = []
    for accuracy, macs in sorted(results, key=lambda result: (result[1], -result[0])):
        if not best or accuracy > best[-1][0]:
            best.append((accuracy, macs))
    return best


def _frontier_cases(rng):
    for count in (6, 9):
        macs = [1000 * int(n) for n in rng.permutation(range(20, 90))[:count]]
        accuracies = [int(n) / 1000 for n in rng.permutation(range(940, 990))[:count]]
        # On the frontier lie the first, the second and the last; the third is beaten.
        macs[:3], macs[-1] = (15_000, 19_000, 19_500), 95_000
        accuracies[:3], accuracies[-1] = (0.92, 0.935, 0.93), 0.995
        order = rng.permutation(count)
        yield Case("no two alike", ([(accuracies[i], macs[i]) for i in order],))
    yield Case("no two alike", ([(0.97, 1000 * between(rng, 20, 90))],), note="one result")
    for _ in range(2):
        low, high = 1000 * between(rng, 20, 40), 1000 * between(rng, 50, 90)
        alike = [(0.96, low), (0.97, low), (0.98, high), (0.98, high + 5000), (0.975, high)]
        alike += [(0.95, low + 3000), (0.955, low + 4000)]
        alike = [alike[i] for i in rng.permutation(7)]
        yield Case("ties", (alike,), note="equally good, or equally dear")


def _kept(beaten, ordered=lambda found: sorted(found, key=lambda result: result[1])):
    """Those that no other beats: ``beaten(a, m, other a, other m)``."""

    def answer(results):
        return ordered([r for r in results if not any(beaten(*r, *o) for o in results if o != r)])

    return answer


def _is_beaten(a, m, other, cost):
    return other >= a and cost <= m


def _rising(results):
    ordered = sorted(results, key=lambda result: (result[1], -result[0]))
    pairs = zip([(0, 0), *ordered], ordered, strict=False)
    return [one for before, one in pairs if one[0] > before[0]]


FRONTIER = Task(
    id="a9-frontier",
    kind="function",
    entry="frontier",
    points={"no two alike": 5, "ties": 3},
    reference=_frontier,
    cases=_frontier_cases,
    misconceptions=(
        Misconception(
            "only the most accurate",
            lambda results: [max(results, key=lambda result: (result[0], -result[1]))],
            "A cheaper one that is less accurate is on the frontier, too, if nothing beats it.",
        ),
        Misconception(
            "only the cheapest",
            lambda results: [min(results, key=lambda result: (result[1], -result[0]))],
            "A dearer one that is more accurate is on the frontier, too.",
        ),
        Misconception(
            "beaten in both only",
            _kept(lambda a, m, other, cost: other > a and cost < m),
            "What is equally accurate and dearer, or equally dear and less accurate, is beaten.",
        ),
        Misconception(
            "equally dear ones stay",
            _kept(lambda a, m, other, cost: other >= a and cost < m),
            "Of two with the same MACs the less accurate is beaten.",
        ),
        Misconception(
            "equally accurate ones stay",
            _kept(lambda a, m, other, cost: other > a and cost <= m),
            "Of two with the same accuracy the dearer one is beaten.",
        ),
        Misconception(
            "dearer is better",
            _kept(lambda a, m, other, cost: other >= a and cost >= m),
            "Fewer MACs are better.",
        ),
        Misconception(
            "in the order of the list",
            _kept(_is_beaten, lambda found: found),
            "Return them from the cheapest to the dearest.",
        ),
        Misconception(
            "dearest first",
            lambda results: _frontier(results)[::-1],
            "Return them from the cheapest to the dearest.",
        ),
        Misconception(
            "all of them",
            lambda results: sorted(results, key=lambda result: result[1]),
            "What another one beats is left out.",
        ),
        Misconception(
            "better than the one before",
            _rising,
            "Compare with the best so far, not with the one before.",
        ),
        Misconception(
            "places instead of results",
            lambda results: [list(results).index(r) for r in _frontier(results)],
            "Return the results themselves, (accuracy, MACs).",
        ),
    ),
)


# --- the smallest network ---


def _nudged(images, generator=None):
    """Each image turned, scaled and shifted a little; the notebook has the same function."""
    u = 2 * torch.rand(len(images), 4, generator=generator) - 1
    turn, scale = 0.06 * u[:, 0], 1 + 0.03 * u[:, 1]
    cos, sin = turn.cos() * scale, turn.sin() * scale
    rows = (cos, -sin, 0.04 * u[:, 2]), (sin, cos, 0.04 * u[:, 3])
    places = torch.stack([torch.stack(row, 1) for row in rows], 1)
    grid = F.affine_grid(places, images.shape, align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _golf_cases(rng):
    test, generator = mnist("test"), torch.Generator().manual_seed(int(rng.integers(2**62)))
    images = torch.cat([_nudged(test.images, generator) for _ in range(2)])
    # In 32 shades: the student's edition has to hold them.
    yield Case("97 %", ((32 * images).round() / 32, test.labels.repeat(2)))


def conv(inputs, outputs, kernel, **settings):
    """A convolution with its norm and ReLU, as layers of a list."""
    settings = {"padding": kernel // 2, "bias": False, **settings}
    return [("Conv2d", inputs, outputs, kernel, settings), ("BatchNorm2d", outputs), ("ReLU",)]


def separable(inputs, outputs):
    """A 3×3 convolution in two steps: each channel by itself, then all of them at each place."""
    return [*conv(inputs, inputs, 3, groups=inputs)[:2], *conv(inputs, outputs, 1)]


LAYERS = [
    *conv(1, 8, 3, stride=2),
    *separable(8, 24),
    ("MaxPool2d", 2),
    *separable(24, 32),
    *separable(32, 32),
    ("MaxPool2d", 2),
    *(("Flatten",), ("Linear", 288, 10)),
]


def _bent(images, by):
    """Turned, scaled, sheared and shifted at random, and bent."""
    u = by * (2 * torch.rand(len(images), 6) - 1)
    cos, sin = (0.2 * u[:, 0]).cos(), (0.2 * u[:, 0]).sin()
    wide, high, shear = 1 + 0.12 * u[:, 1], 1 + 0.12 * u[:, 2], 0.2 * u[:, 3]
    rows = (
        (cos * wide, (shear - sin) * wide, 0.1 * u[:, 4]),
        (sin * high, cos * high, 0.1 * u[:, 5]),
    )
    places = torch.stack([torch.stack(row, 1) for row in rows], 1)
    grid = F.affine_grid(places, images.shape, align_corners=False)
    bend = 0.06 * by * torch.randn(len(images), 2, 6, 6)
    bend = F.interpolate(bend, images.shape[2:], mode="bicubic", align_corners=False)
    return F.grid_sample(images, grid + bend.permute(0, 2, 3, 1), align_corners=False)


ROUNDS = ((60, 0.02, 1.0), (30, 0.01, 0.6))  # epochs, rate, how much bent


def trained(layers, rounds=ROUNDS, seed=0):
    """A list's network, trained on bent images."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network, train = _build(layers), mnist("train")
        for epochs, rate, by in rounds:
            optimizer = torch.optim.AdamW(network.parameters(), rate)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=40 * epochs)
            for _ in range(epochs):
                images = _bent(train.images, by)
                for batch in torch.randperm(len(images)).split(100):
                    optimizer.zero_grad()
                    F.cross_entropy(network(images[batch]), train.labels[batch]).backward()
                    optimizer.step()
                    schedule.step()
    return network.eval()


@cache
def _golf():
    return LAYERS, trained(LAYERS).state_dict()


LADDER = (1_000_000, 500_000, 300_000, 200_000)
RUNGS = {f"98 % with at most {macs:,} MACs": macs for macs in LADDER}

GOLF = Task(
    id="a9-golf",
    kind="weights",
    entry="golf",
    points={"97 %": 8, "98 %": 8, "98.5 %": 6, **dict.fromkeys(RUNGS, 4)},
    bands={"97 %": 0.97, "98 %": 0.98, "98.5 %": 0.985, **dict.fromkeys(RUNGS, 0.98)},
    limits={part: {"MACs": macs} for part, macs in RUNGS.items()},
    reference=_golf,
    cases=_golf_cases,
)

TASKS = (BEHIND, BUILD, MACS, FOLD, FRONTIER, GOLF)
