"""Tasks of assignment 5: residual and dense networks."""

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.assignments.authoring import altered, between, digits_task, draw
from cnnlab.checks.task import Case, Misconception, Task
from cnnlab.layers import Residual


def _as_is(x):
    return x


def _batch_statistics(bn, x):
    """Batch normalization that uses the statistics of the batch in evaluation too."""
    return F.batch_norm(x, None, None, bn.weight, bn.bias, training=True)


def _both_modes(rng, part, arguments, shape, **more):
    """One question in evaluation mode, one in training mode."""
    for training in (False, True):
        yield Case(part, arguments, inputs=(draw(rng, *shape),), training=training, **more)


# --- the warm-up: where the ReLU stands ---


def _joined(x, branch):
    return (x + branch).relu()


def _joined_cases(rng):
    yield Case("small tensors", (draw(rng, 2, 3), draw(rng, 2, 3)))
    yield Case("small tensors", (draw(rng, 1, 4), draw(rng, 1, 4)))
    yield Case("images", (draw(rng, 2, 3, 4, 5), draw(rng, 2, 3, 4, 5)))
    yield Case("images", (draw(rng, 1, 1, 3, 3), draw(rng, 1, 1, 3, 3)))


JOIN = Task(
    id="a5-join",
    kind="function",
    entry="join",
    points={"small tensors": 1, "images": 1},
    reference=_joined,
    compared=("gradients",),
    cases=_joined_cases,
    misconceptions=(
        Misconception(
            "ReLU before the sum",
            lambda x, branch: x + branch.relu(),
            "Add first, then apply the ReLU: otherwise a block could only ever add.",
        ),
        Misconception(
            "ReLU on both",
            lambda x, branch: x.relu() + branch.relu(),
            "Add first, then apply the ReLU once, to the sum.",
        ),
        Misconception(
            "ReLU on the input only",
            lambda x, branch: x.relu() + branch,
            "The ReLU stands after the sum.",
        ),
        Misconception(
            "ReLU missing",
            lambda x, branch: x + branch,
            "A ReLU follows the sum.",
        ),
        Misconception(
            "input left out",
            lambda x, branch: branch.relu(),
            "Add the input to the branch: that is the shortcut.",
        ),
        Misconception(
            "branch left out",
            lambda x, branch: x.relu(),
            "Add the branch to the input.",
        ),
        Misconception(
            "mean for sum",
            lambda x, branch: _joined(x, branch) / 2,
            "The two are added, not averaged.",
        ),
        Misconception(
            "subtracted",
            lambda x, branch: (branch - x).relu(),
            "The input is added; the branch learns the difference by itself.",
        ),
        Misconception(
            "multiplied",
            lambda x, branch: (x * branch).relu(),
            "The two are added; a product would be a gate.",
        ),
        Misconception(
            "concatenated",
            lambda x, branch: torch.cat([x, branch], 1).relu(),
            "A residual block adds; a dense block, later, concatenates.",
        ),
    ),
)


# --- a shortcut without parameters ---


def _shortcut(x, out_channels, stride, start=0, value=0.0, before=False):
    new = out_channels - x.shape[1]
    sides = [new, 0] if before else [0, new]
    return F.pad(x[:, :, start::stride, start::stride], [0, 0, 0, 0, *sides], value=value)


def _shortcut_cases(rng):
    yield Case("nothing changes", (draw(rng, 2, 3, 4, 5), 3, 1))
    yield Case("more channels", (draw(rng, 1, 2, 3, 4), 5, 1))
    yield Case("more channels", (draw(rng, 2, 3, 3, 3), 4, 1))
    yield Case("a stride", (draw(rng, 1, 2, 6, 4), 2, 2))
    yield Case("a stride", (draw(rng, 1, 3, 5, 7), 3, 2), note="odd sides")
    yield Case("both", (draw(rng, 2, 2, 5, 6), 4, 2))
    yield Case("both", (draw(rng, 1, 1, 7, 4), 3, 3))


def _cut_short(x, out_channels, stride):
    height, width = x.shape[2] // stride, x.shape[3] // stride
    return _shortcut(x, out_channels, stride)[:, :, :height, :width]


SHORTCUT = Task(
    id="a5-shortcut",
    kind="function",
    entry="shortcut",
    points={"nothing changes": 1, "more channels": 1, "a stride": 2, "both": 2},
    reference=_shortcut,
    compared=("gradients",),
    cases=_shortcut_cases,
    misconceptions=(
        Misconception(
            "zeros before the channels",
            lambda x, c, stride: _shortcut(x, c, stride, before=True),
            "The input's channels come first, the channels of zeros after them.",
        ),
        Misconception(
            "padded with ones",
            lambda x, c, stride: _shortcut(x, c, stride, value=1.0),
            "The new channels are zero.",
        ),
        Misconception(
            "channels repeated",
            lambda x, c, stride: _shortcut(x, x.shape[1], stride)[:, torch.arange(c) % x.shape[1]],
            "The new channels are zero, not copies of the old ones.",
        ),
        Misconception(
            "channels not padded",
            lambda x, c, stride: _shortcut(x, x.shape[1], stride),
            "Fill up with channels of zeros until there are `out_channels`.",
        ),
        Misconception(
            "padded by out_channels",
            lambda x, c, stride: _shortcut(x, x.shape[1] + c, stride),
            "`out_channels` is what is wanted in the end, not what is added.",
        ),
        Misconception(
            "stride ignored",
            lambda x, c, stride: _shortcut(x, c, 1),
            "Take every stride-th row and column, beginning with the first.",
        ),
        Misconception(
            "stride on rows only",
            lambda x, c, stride: _shortcut(x[:, :, ::stride], c, 1),
            "The stride holds for the columns as well.",
        ),
        Misconception(
            "stride on columns only",
            lambda x, c, stride: _shortcut(x[..., ::stride], c, 1),
            "The stride holds for the rows as well.",
        ),
        Misconception(
            "average pooled",
            lambda x, c, stride: _shortcut(F.avg_pool2d(x, stride, ceil_mode=True), c, 1),
            "This shortcut only picks pixels: every stride-th one, without averaging.",
        ),
        Misconception(
            "first pixel skipped",
            lambda x, c, stride: _shortcut(x, c, stride, start=stride - 1),
            "Begin with the first row and column: x[:, :, ::stride, ::stride].",
        ),
        Misconception(
            "last pixel lost",
            _cut_short,
            "With an odd side the last row and column are picked too, as a strided layer does.",
        ),
        Misconception(
            "cropped",
            lambda x, c, stride: _shortcut(
                x[:, :, : -(-x.shape[2] // stride), : -(-x.shape[3] // stride)], c, 1
            ),
            "A stride skips pixels all over the image; it does not cut a corner out.",
        ),
    ),
)


# --- the basic block ---


class _Basic(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.stride, self.out_channels = stride, out_channels
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        return self.run(x)

    def branch(self, x, act=torch.relu, bn1=None, bn2=None):
        x = act((bn1 or self.bn1)(self.conv1(x)))
        return (bn2 or self.bn2)(self.conv2(x))

    def run(self, x, end=torch.relu, **steps):
        return end(self.branch(x, **steps) + _shortcut(x, self.out_channels, self.stride))


def _basic_cases(rng):
    yield from _both_modes(rng, "the shape stays", (3, 3), (2, 3, 5, 4))
    yield from _both_modes(rng, "the shape stays", (4, 4), (3, 4, 4, 4))
    yield from _both_modes(rng, "the shape changes", (2, 4, 2), (3, 2, 6, 5))
    yield from _both_modes(rng, "the shape changes", (3, 5, 1), (2, 3, 4, 6))
    yield from _both_modes(rng, "the shape changes", (2, 3, 3), (2, 2, 7, 8), note="a stride of 3")


def _basic(forward=None, **steps):
    return altered(_Basic, forward or (lambda m, x: m.run(x, **steps)))


def _shortcut_only_where_it_fits(m, x):
    y = m.branch(x)
    return (y + x if y.shape == x.shape else y).relu()


BASIC = Task(
    id="a5-basic",
    kind="module",
    entry="BasicBlock",
    points={"the shape stays": 5, "the shape changes": 5},
    reference=_Basic,
    cases=_basic_cases,
    misconceptions=(
        Misconception(
            "shortcut left out",
            _basic(lambda m, x: m.branch(x).relu()),
            "Add the shortcut to the branch before the last ReLU.",
        ),
        Misconception(
            "ReLU after the sum missing",
            _basic(end=_as_is),
            "A ReLU follows the sum.",
        ),
        Misconception(
            "ReLU before the sum",
            _basic(lambda m, x: m.branch(x).relu() + _shortcut(x, m.out_channels, m.stride)),
            "The second ReLU stands after the sum, not before it.",
        ),
        Misconception(
            "ReLU both before and after the sum",
            _basic(
                lambda m, x: (m.branch(x).relu() + _shortcut(x, m.out_channels, m.stride)).relu()
            ),
            "bn2 is followed by the sum at once: there is no ReLU between them.",
        ),
        Misconception(
            "first ReLU missing",
            _basic(act=_as_is),
            "A ReLU stands between bn1 and conv2.",
        ),
        Misconception(
            "shortcut only where the shape stays",
            _basic(_shortcut_only_where_it_fits),
            "Where the shape changes there is a shortcut too: the one from part 2.",
        ),
        Misconception(
            "statistics of the batch in evaluation",
            altered(
                _Basic,
                lambda m, x: m.run(
                    x,
                    bn1=lambda t: _batch_statistics(m.bn1, t),
                    bn2=lambda t: _batch_statistics(m.bn2, t),
                ),
            ),
            "In evaluation batch normalization uses its running statistics: keep nn.BatchNorm2d.",
        ),
        Misconception(
            "running statistics in training",
            altered(_Basic, lambda m, x: m.eval().run(x)),
            "In training batch normalization uses the batch: do not switch it to evaluation.",
        ),
        Misconception(
            "same normalization twice",
            _basic(lambda m, x: m.run(x, bn2=m.bn1)),
            "Each convolution has its own normalization: bn1 and bn2.",
        ),
        Misconception(
            "second normalization missing",
            _basic(bn2=_as_is),
            "Both convolutions are normalized: bn2 follows conv2.",
        ),
        Misconception(
            "convolutions with biases",
            altered(_Basic, conv1=lambda i, o, stride=1: nn.Conv2d(i, o, 3, stride, 1)),
            "The normalization has a shift of its own: the convolutions have no bias.",
        ),
        Misconception(
            "stride in the second convolution",
            altered(
                _Basic,
                conv1=lambda i, o, stride=1: nn.Conv2d(i, o, 3, 1, 1, bias=False),
                conv2=lambda i, o, stride=1: nn.Conv2d(o, o, 3, stride, 1, bias=False),
            ),
            "The stride belongs to conv1.",
        ),
        Misconception(
            "stride in both convolutions",
            altered(
                _Basic,
                conv2=lambda i, o, stride=1: nn.Conv2d(o, o, 3, stride, 1, bias=False),
            ),
            "The stride belongs to conv1 alone.",
        ),
    ),
)


# --- the bottleneck, with a shortcut that averages before it projects ---


class _Bottleneck(nn.Module):
    def __init__(self, in_channels, width, out_channels, stride=1):
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        if stride != 1 or in_channels != out_channels:
            self.projection = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.projection_bn = nn.BatchNorm2d(out_channels)
        else:
            self.projection = None

    def forward(self, x):
        return self.run(x)

    def branch(self, x, first=torch.relu, second=torch.relu, third=_as_is):
        x = first(self.bn1(self.conv1(x)))
        x = second(self.bn2(self.conv2(x)))
        return third(self.bn3(self.conv3(x)))

    def direct(self, x, pool=F.avg_pool2d, normalize=True):
        if self.projection is None:
            return x
        x = self.projection(pool(x, self.stride))
        return self.projection_bn(x) if normalize else x

    def run(self, x, end=torch.relu, **steps):
        return end(self.branch(x, **steps) + self.direct(x))


def _bottleneck_cases(rng):
    yield from _both_modes(rng, "an identity shortcut", (4, 2, 4), (3, 4, 4, 5))
    yield from _both_modes(rng, "an identity shortcut", (3, 2, 3, 1), (2, 3, 6, 3))
    yield from _both_modes(rng, "other channels", (3, 2, 6), (3, 3, 4, 4))
    yield from _both_modes(rng, "other channels", (5, 2, 3), (3, 5, 4, 4), note="fewer than before")
    yield from _both_modes(rng, "a stride", (4, 3, 6, 2), (3, 4, 6, 8))
    yield from _both_modes(
        rng, "a stride", (4, 2, 4, 2), (2, 4, 8, 4), note="channels stay, the size does not"
    )
    yield from _both_modes(rng, "a stride", (2, 3, 4, 3), (3, 2, 6, 9), note="a stride of 3")


def _bottleneck(forward=None, **steps):
    return altered(_Bottleneck, forward or (lambda m, x: m.run(x, **steps)))


def _direct(**steps):
    return altered(_Bottleneck, lambda m, x: (m.branch(x) + m.direct(x, **steps)).relu())


def _conv(inputs, outputs, size, stride=1, **options):
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, **{"bias": False} | options)


class _ProjectsAlways(_Bottleneck):
    def __init__(self, in_channels, width, out_channels, stride=1):
        super().__init__(in_channels, width, out_channels, stride)
        self.projection = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.projection_bn = nn.BatchNorm2d(out_channels)


class _ProjectsForChannelsOnly(_Bottleneck):
    def __init__(self, in_channels, width, out_channels, stride=1):
        super().__init__(in_channels, width, out_channels, stride)
        if in_channels == out_channels:
            self.projection = self.projection_bn = None

    def direct(self, x):
        return super().direct(x) if self.projection else F.avg_pool2d(x, self.stride)


BOTTLENECK = Task(
    id="a5-bottleneck",
    kind="module",
    entry="Bottleneck",
    points={"an identity shortcut": 3, "other channels": 3, "a stride": 4},
    reference=_Bottleneck,
    cases=_bottleneck_cases,
    misconceptions=(
        Misconception(
            "shortcut left out",
            _bottleneck(lambda m, x: m.branch(x).relu()),
            "Add the shortcut to the branch before the last ReLU.",
        ),
        Misconception(
            "ReLU after the sum missing",
            _bottleneck(end=_as_is),
            "A ReLU follows the sum.",
        ),
        Misconception(
            "ReLU before the sum too",
            _bottleneck(third=torch.relu),
            "bn3 is followed by the sum at once: there is no ReLU between them.",
        ),
        Misconception(
            "first ReLU missing",
            _bottleneck(first=_as_is),
            "A ReLU follows bn1.",
        ),
        Misconception(
            "second ReLU missing",
            _bottleneck(second=_as_is),
            "A ReLU follows bn2.",
        ),
        Misconception(
            "pixels picked in the shortcut",
            _direct(pool=lambda x, s: x[:, :, ::s, ::s]),
            "This shortcut averages each stride × stride window before it projects.",
        ),
        Misconception(
            "shortcut max-pooled",
            _direct(pool=F.max_pool2d),
            "This shortcut takes averages, not maxima.",
        ),
        Misconception(
            "shortcut not normalized",
            _direct(normalize=False),
            "projection_bn follows the projection.",
        ),
        Misconception(
            "projection activated",
            _bottleneck(
                lambda m, x: (
                    m.branch(x) + (m.direct(x).relu() if m.projection else m.direct(x))
                ).relu()
            ),
            "No ReLU on the projected shortcut: it is added as it is.",
        ),
        Misconception(
            "projected even where nothing changes",
            _ProjectsAlways,
            "Where neither size nor channels change the shortcut is the input itself.",
        ),
        Misconception(
            "projected for channels only",
            _ProjectsForChannelsOnly,
            "A stride changes the shape too: the shortcut projects there as well.",
        ),
        Misconception(
            "stride in the first convolution",
            altered(
                _Bottleneck,
                conv1=lambda i, w, o, stride=1: _conv(i, w, 1, stride),
                conv2=lambda i, w, o, stride=1: _conv(w, w, 3),
            ),
            "The 3×3 has the stride; a 1×1 with a stride would never look at most pixels.",
        ),
        Misconception(
            "3×3 first",
            altered(
                _Bottleneck,
                conv1=lambda i, w, o, stride=1: _conv(i, w, 3),
                conv2=lambda i, w, o, stride=1: _conv(w, w, 1, stride),
            ),
            "The order is 1×1, 3×3, 1×1.",
        ),
        Misconception(
            "convolutions with biases",
            altered(_Bottleneck, conv1=lambda i, w, o, stride=1: _conv(i, w, 1, bias=True)),
            "The normalization has a shift of its own: the convolutions have no bias.",
        ),
    ),
)


# --- pre-activation ---


class _PreActivation(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros(1))
        changes = stride != 1 or in_channels != out_channels
        self.projection = (
            nn.Conv2d(in_channels, out_channels, 1, stride, bias=False) if changes else None
        )

    def forward(self, x):
        return self.run(x)

    def run(self, x, first=torch.relu, second=torch.relu, end=_as_is, clean=None, gain=None):
        ready = first(self.bn1(x))
        branch = self.conv2(second(self.bn2(self.conv1(ready))))
        if self.projection is None:
            direct = x if clean is None else clean(self, x)
        else:
            direct = self.projection(ready)
        return end(direct + (self.gain if gain is None else gain) * branch)


def _preactivation_cases(rng):
    yield from _both_modes(rng, "an identity shortcut", (3, 3), (3, 3, 4, 5))
    yield from _both_modes(rng, "an identity shortcut", (2, 2, 1), (2, 2, 5, 3))
    yield from _both_modes(rng, "a projection", (2, 4), (3, 2, 4, 4))
    yield from _both_modes(rng, "a projection", (3, 5, 2), (3, 3, 7, 6))
    yield from _both_modes(
        rng,
        "an identity shortcut",
        (3, 3),
        (2, 3, 4, 4),
        note="with a gain of 0, as a new block has",
        state={"gain": torch.zeros(1)},
    )


def _preactivation(**steps):
    return altered(_PreActivation, lambda m, x: m.run(x, **steps))


def _projects_the_raw_input(m, x):
    branch = m.conv2(m.bn2(m.conv1(m.bn1(x).relu())).relu())
    return (m.projection(x) if m.projection else x) + m.gain * branch


def _post_activation(m, x):
    branch = m.bn2(m.conv1(m.bn1(x).relu())).relu()
    return ((m.projection(x) if m.projection else x) + m.gain * m.conv2(branch)).relu()


PREACTIVATION = Task(
    id="a5-preactivation",
    kind="module",
    entry="PreActivation",
    initial=("gain",),
    points={"an identity shortcut": 6, "a projection": 4},
    reference=_PreActivation,
    cases=_preactivation_cases,
    misconceptions=(
        Misconception(
            "ReLU after the sum",
            _preactivation(end=torch.relu),
            "Nothing follows the sum: the way of the shortcut stays clean.",
        ),
        Misconception(
            "shortcut activated",
            _preactivation(clean=lambda m, x: m.bn1(x).relu()),
            "An identity shortcut starts from the raw input, before bn1.",
        ),
        Misconception(
            "shortcut normalized",
            _preactivation(clean=lambda m, x: m.bn1(x)),
            "An identity shortcut starts from the raw input, before bn1.",
        ),
        Misconception(
            "shortcut left out",
            _preactivation(clean=lambda m, x: torch.zeros_like(x)),
            "The input is added to the branch.",
        ),
        Misconception(
            "raw input projected",
            altered(_PreActivation, _projects_the_raw_input),
            "Where there is a projection it starts from relu(bn1(x)), like the branch.",
        ),
        Misconception(
            "raw input projected, ReLU after the sum",
            altered(_PreActivation, _post_activation),
            "The projection starts from relu(bn1(x)), and nothing follows the sum.",
        ),
        Misconception(
            "first ReLU missing",
            _preactivation(first=_as_is),
            "A ReLU follows bn1.",
        ),
        Misconception(
            "second ReLU missing",
            _preactivation(second=_as_is),
            "A ReLU follows bn2.",
        ),
        Misconception(
            "gain forgotten",
            _preactivation(gain=1.0),
            "The branch is multiplied by `gain` before it is added.",
        ),
        Misconception(
            "gain on the sum",
            altered(
                _PreActivation,
                lambda m, x: m.gain * m.run(x, gain=1.0),
            ),
            "`gain` scales the branch, not the shortcut.",
        ),
        Misconception(
            "normalized after the first convolution",
            altered(
                _PreActivation, bn1=lambda i, o, stride=1: nn.BatchNorm2d(o if i != o else i + 1)
            ),
            "bn1 comes before conv1: it has as many channels as the input.",
        ),
        Misconception(
            "statistics of the batch in evaluation",
            altered(
                _PreActivation,
                lambda m, x: m.train().run(x),
            ),
            "In evaluation batch normalization uses its running statistics.",
        ),
    ),
)


# --- the dense block ---


class _Dense(nn.Module):
    def __init__(self, in_channels, growth, layers):
        super().__init__()
        widths = [in_channels + i * growth for i in range(layers)]
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.convs = nn.ModuleList(
            nn.Conv2d(width, growth, 3, padding=1, bias=False) for width in widths
        )

    def forward(self, x):
        return self.run(x)

    def run(self, x, act=torch.relu, join=lambda old, new: torch.cat([old, new], 1)):
        for bn, conv in zip(self.bns, self.convs, strict=True):
            x = join(x, conv(act(bn(x))))
        return x


def _dense_cases(rng):
    yield from _both_modes(rng, "one layer", (3, 2, 1), (3, 3, 4, 4))
    yield from _both_modes(rng, "several layers", (2, 3, 3), (3, 2, 5, 4))
    yield from _both_modes(rng, "several layers", (4, 4, 2), (2, 4, 3, 6))


def _dense(forward=None, **steps):
    return altered(_Dense, forward or (lambda m, x: m.run(x, **steps)))


def _new_features(m, x):
    return m.run(x)[:, x.shape[1] :]


def _activated_after(m, x):
    for bn, conv in zip(m.bns, m.convs, strict=True):
        x = torch.cat([x, conv(bn(x)).relu()], 1)
    return x


class _Chained(nn.Module):
    """Every layer sees only the one before it."""

    def __init__(self, in_channels, growth, layers):
        super().__init__()
        widths = [in_channels, *[growth] * (layers - 1)]
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.convs = nn.ModuleList(nn.Conv2d(w, growth, 3, padding=1, bias=False) for w in widths)

    def forward(self, x):
        everything = [x]
        for bn, conv in zip(self.bns, self.convs, strict=True):
            everything.append(conv(bn(everything[-1]).relu()))
        return torch.cat(everything, 1)


def _dense_convs(make):
    return altered(
        _Dense,
        convs=lambda inputs, growth, layers: nn.ModuleList(
            make(inputs + i * growth, growth) for i in range(layers)
        ),
    )


DENSE = Task(
    id="a5-dense",
    kind="module",
    entry="DenseBlock",
    points={"one layer": 4, "several layers": 6},
    reference=_Dense,
    cases=_dense_cases,
    misconceptions=(
        Misconception(
            "new maps first",
            _dense(join=lambda old, new: torch.cat([new, old], 1)),
            "New maps are appended after those that are there.",
        ),
        Misconception(
            "last maps only",
            _dense(lambda m, x: m.run(x)[:, -m.convs[0].out_channels :]),
            "The block returns everything: its input and the maps of all layers.",
        ),
        Misconception(
            "input left out of the result",
            _dense(_new_features),
            "The block returns everything, its input too.",
        ),
        Misconception(
            "ReLU missing",
            _dense(act=_as_is),
            "Each layer is normalization, ReLU, convolution.",
        ),
        Misconception(
            "ReLU after the convolution",
            _dense(_activated_after),
            "The ReLU stands between normalization and convolution, not after it.",
        ),
        Misconception(
            "normalization missing",
            _dense(lambda m, x: [x := torch.cat([x, conv(x.relu())], 1) for conv in m.convs][-1]),
            "Each layer begins with its normalization.",
        ),
        Misconception(
            "ReLU before the normalization",
            _dense(
                lambda m, x: [
                    x := torch.cat([x, conv(bn(x.relu()))], 1)
                    for bn, conv in zip(m.bns, m.convs, strict=True)
                ][-1]
            ),
            "The order is normalization, ReLU, convolution.",
        ),
        Misconception(
            "result activated",
            _dense(lambda m, x: m.run(x).relu()),
            "Nothing follows the last concatenation.",
        ),
        Misconception(
            "each layer sees the last one only",
            _Chained,
            "Layer i sees the input and the maps of all layers before it: "
            "in_channels + i · growth channels.",
        ),
        Misconception(
            "convolutions with biases",
            _dense_convs(lambda width, growth: nn.Conv2d(width, growth, 3, padding=1)),
            "The convolutions have no bias.",
        ),
        Misconception(
            "kernels of 1×1",
            _dense_convs(lambda width, growth: nn.Conv2d(width, growth, 1, bias=False)),
            "The convolutions are 3×3 with padding 1.",
        ),
        Misconception(
            "padding forgotten",
            _dense_convs(lambda width, growth: nn.Conv2d(width, growth, 3, bias=False)),
            "Pad by 1: maps of different sizes cannot be concatenated.",
        ),
        Misconception(
            "statistics of the batch in evaluation",
            altered(_Dense, lambda m, x: m.train().run(x)),
            "In evaluation batch normalization uses its running statistics.",
        ),
    ),
)


# --- what a dense block costs ---


def _dense_parameters(in_channels, growth, layers):
    widths = [in_channels + i * growth for i in range(layers)]
    return sum(9 * width * growth + 2 * width for width in widths)


def _dense_parameters_cases(rng):
    yield Case("one layer", (between(rng, 9, 40), between(rng, 3, 8), 1))
    yield Case("one layer", (between(rng, 3, 8), between(rng, 9, 40), 1))
    yield Case("several layers", (between(rng, 9, 40), between(rng, 3, 8), 2))
    yield Case("several layers", (between(rng, 3, 32), between(rng, 9, 40), between(rng, 4, 12)))


DENSE_PARAMETERS = Task(
    id="a5-dense-parameters",
    kind="function",
    entry="dense_parameters",
    points={"one layer": 2, "several layers": 4},
    reference=_dense_parameters,
    cases=_dense_parameters_cases,
    misconceptions=(
        Misconception(
            "normalization forgotten",
            lambda c, g, layers: sum(9 * (c + i * g) * g for i in range(layers)),
            "Every normalization has two parameters a channel: a scale and a shift.",
        ),
        Misconception(
            "one parameter a channel",
            lambda c, g, layers: sum((9 * g + 1) * (c + i * g) for i in range(layers)),
            "A normalization has two parameters a channel: a scale and a shift.",
        ),
        Misconception(
            "running statistics counted",
            lambda c, g, layers: sum((9 * g + 4) * (c + i * g) for i in range(layers)),
            "Running mean and variance are measured, not learned: they are no parameters.",
        ),
        Misconception(
            "normalization of the output",
            lambda c, g, layers: sum(9 * (c + i * g) * g + 2 * g for i in range(layers)),
            "The normalization comes first: it has the channels of the layer's input.",
        ),
        Misconception(
            "biases counted",
            lambda c, g, layers: _dense_parameters(c, g, layers) + g * layers,
            "The convolutions have no bias here.",
        ),
        Misconception(
            "growth forgotten in the input",
            lambda c, g, layers: layers * (9 * c * g + 2 * c),
            "Each layer sees `growth` channels more than the one before it.",
        ),
        Misconception(
            "one layer too many",
            lambda c, g, layers: _dense_parameters(c, g, layers + 1),
            "The block has `layers` layers: i runs from 0 to layers - 1.",
        ),
        Misconception(
            "input grows before the first layer",
            lambda c, g, layers: _dense_parameters(c + g, g, layers),
            "The first layer sees in_channels; the growth begins after it.",
        ),
        Misconception(
            "kernels of 1×1",
            lambda c, g, layers: sum((g + 2) * (c + i * g) for i in range(layers)),
            "A 3×3 kernel has 9 weights for each input channel.",
        ),
        Misconception(
            "side for area",
            lambda c, g, layers: sum((3 * g + 2) * (c + i * g) for i in range(layers)),
            "A 3×3 kernel has 9 weights for each input channel, not 3.",
        ),
        Misconception(
            "last layer only",
            lambda c, g, layers: _dense_parameters(c + (layers - 1) * g, g, 1),
            "Add the layers up.",
        ),
        Misconception(
            "convolutions keep all channels",
            lambda c, g, layers: sum(9 * (c + i * g) ** 2 + 2 * (c + i * g) for i in range(layers)),
            "Each convolution makes `growth` new maps, however many it sees.",
        ),
    ),
)


# --- squeeze and excitation ---


class _SE(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        self.down = nn.Linear(channels, channels // reduction)
        self.up = nn.Linear(channels // reduction, channels)

    def forward(self, x):
        return x * self.gate(x)[..., None, None]

    def gate(self, x, pool=lambda t: t.mean((2, 3)), act=torch.relu, end=torch.sigmoid):
        return 2 * end(self.up(act(self.down(pool(x)))))


def _se_cases(rng):
    for part, channels, reduction, batch, height, width in [
        ("one image", 4, 2, 1, 3, 3),
        ("one image", 6, 3, 1, 2, 5),
        ("a batch", 8, 4, 3, 4, 3),
        ("a batch", 4, 1, 4, 4, 4),
    ]:
        images = 2 * draw(rng, batch, channels, height, width)
        yield Case(part, (channels, reduction), inputs=(images,))


def _se(forward=None, **steps):
    return altered(_SE, forward or (lambda m, x: x * m.gate(x, **steps)[..., None, None]))


SE = Task(
    id="a5-squeeze-excite",
    kind="module",
    entry="SqueezeExcite",
    points={"one image": 5, "a batch": 5},
    reference=_SE,
    cases=_se_cases,
    misconceptions=(
        Misconception(
            "gate from 0 to 1",
            _se(lambda m, x: x * m.gate(x)[..., None, None] / 2),
            "This gate is twice the sigmoid: it can strengthen a channel too.",
        ),
        Misconception(
            "gate returned",
            _se(lambda m, x: m.gate(x)),
            "Return the maps, each multiplied by the gate of its channel.",
        ),
        Misconception(
            "gate added",
            _se(lambda m, x: x + m.gate(x)[..., None, None]),
            "The gate multiplies the channels; it is not added.",
        ),
        Misconception(
            "input added",
            _se(lambda m, x: x + x * m.gate(x)[..., None, None]),
            "No shortcut here: the maps times the gate, and nothing more.",
        ),
        Misconception(
            "ReLU missing",
            _se(act=_as_is),
            "A ReLU stands between `down` and `up`.",
        ),
        Misconception(
            "sigmoid missing",
            _se(end=_as_is),
            "The gate passes a sigmoid before it is doubled.",
        ),
        Misconception(
            "tanh for sigmoid",
            _se(end=torch.tanh),
            "The gate is a sigmoid: it never turns a channel's sign.",
        ),
        Misconception(
            "softmax for sigmoid",
            _se(end=lambda t: t.softmax(1)),
            "The channels do not compete: each has a sigmoid of its own.",
        ),
        Misconception(
            "sigmoid in both places",
            _se(act=torch.sigmoid),
            "Between `down` and `up` there is a ReLU.",
        ),
        Misconception(
            "squeezed by the maximum",
            _se(pool=lambda t: t.amax((2, 3))),
            "Squeeze by the mean of each map.",
        ),
        Misconception(
            "squeezed by the sum",
            _se(pool=lambda t: t.sum((2, 3))),
            "Squeeze by the mean of each map, not by its sum.",
        ),
        Misconception(
            "squeezed over the batch",
            _se(pool=lambda t: t.mean((2, 3)).mean(0, keepdim=True).expand(len(t), -1)),
            "Every image has its own gates: do not average over the batch.",
        ),
        Misconception(
            "layers without biases",
            altered(_SE, down=lambda channels, r: nn.Linear(channels, channels // r, bias=False)),
            "Both linear layers have biases.",
        ),
        Misconception(
            "layers without a waist",
            altered(
                _SE,
                down=lambda channels, r: nn.Linear(channels, channels),
                up=lambda channels, r: nn.Linear(channels, channels),
            ),
            "`down` has channels // reduction outputs.",
        ),
    ),
)


# --- a network of any depth, with shortcuts or without ---


class _Deep(nn.Module):
    def __init__(self, depth, width, residual):
        super().__init__()
        self.residual = residual
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        return self.run(x)

    def run(self, x, step=lambda x, y: x + y.relu(), plain=lambda y: y.relu(), act=torch.relu):
        x = act(self.stem(x))
        for layer in self.layers:
            y = layer(x)
            x = step(x, y) if self.residual else plain(y)
        return self.head(x.mean((2, 3)))


def _deep_cases(rng):
    for part, residual in [("plain", False), ("residual", True)]:
        yield Case(part, (2, 3, residual), inputs=(draw(rng, 2, 1, 4, 4),))
        yield Case(part, (5, 4, residual), inputs=(draw(rng, 3, 1, 5, 4),))
        yield Case(part, (1, 5, residual), inputs=(draw(rng, 1, 1, 6, 3),), training=True)


def _deep(forward=None, **steps):
    return altered(_Deep, forward or (lambda m, x: m.run(x, **steps)))


class _Shared(_Deep):
    """One layer, used again and again."""

    def __init__(self, depth, width, residual):
        super().__init__(1, width, residual)


def _forced(choose):
    """The network with another answer to whether it is residual."""

    def forward(m, x):
        m.residual = choose(m.residual)
        return m.run(x)

    return altered(_Deep, forward)


def _shortcut_from_the_stem(m, x):
    start = x = m.stem(x).relu()
    for layer in m.layers:
        x = layer(x).relu()
    return m.head((x + start if m.residual else x).mean((2, 3)))


DEEP = Task(
    id="a5-deep",
    kind="module",
    entry="DeepNet",
    points={"plain": 4, "residual": 4},
    reference=_Deep,
    cases=_deep_cases,
    misconceptions=(
        Misconception(
            "always residual",
            _forced(lambda residual: True),
            "With residual=False the layers have no shortcuts.",
        ),
        Misconception(
            "never residual",
            _forced(lambda residual: False),
            "With residual=True each layer's result is added to its input.",
        ),
        Misconception(
            "residual the wrong way round",
            _forced(lambda residual: not residual),
            "The shortcuts are there when `residual` is True.",
        ),
        Misconception(
            "ReLU after the sum",
            _deep(step=lambda x, y: (x + y).relu()),
            "Here each step is x + relu(layer(x)): the ReLU belongs to the branch.",
        ),
        Misconception(
            "branch not activated",
            _deep(step=lambda x, y: x + y),
            "The branch is relu(layer(x)), with its ReLU.",
        ),
        Misconception(
            "plain layers not activated",
            _deep(plain=_as_is),
            "A ReLU follows each layer of the plain network.",
        ),
        Misconception(
            "stem not activated",
            _deep(act=_as_is),
            "A ReLU follows the stem.",
        ),
        Misconception(
            "branch halved",
            _deep(step=lambda x, y: (x + y.relu()) / 2),
            "The branch is added to the input; the two are not averaged.",
        ),
        Misconception(
            "one shortcut in all",
            altered(_Deep, _shortcut_from_the_stem),
            "Every layer has its own shortcut, from its own input.",
        ),
        Misconception(
            "one layer used again and again",
            _Shared,
            "Each of the `depth` layers has weights of its own.",
        ),
        Misconception(
            "probabilities for scores",
            altered(_Deep, lambda m, x: m.run(x).softmax(1)),
            "Return the scores themselves: the loss takes the softmax.",
        ),
    ),
)


# --- a network that published weights fit ---


class _Basic(nn.Module):
    """torchvision's basic block; the bank changes its steps."""

    def __init__(self, in_channels, out_channels, stride, strided="conv1", bias=False):
        super().__init__()
        first, second = (stride, 1) if strided == "conv1" else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, first, padding=1, bias=bias)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, second, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(out_channels)
        if stride != 1 or in_channels != out_channels:
            conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(out_channels))

    def forward(self, x, inner=torch.relu, join=_joined):
        side = self.downsample(x) if hasattr(self, "downsample") else x
        return join(side, self.bn2(self.conv2(inner(self.bn1(self.conv1(x))))))


class _ResNet(nn.Module):
    def __init__(self, blocks, width, classes, block=_Basic, strides=None, padding=3):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, padding, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for stage, count in enumerate(blocks):
            made = []
            for index in range(count):
                stride = 2 if stage and not index else 1
                stride = strides(stage, index) if strides else stride
                made.append(block(channels, width * 2**stage, stride))
                channels = width * 2**stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*made))
        self.fc = nn.Linear(channels, classes)

    def forward(
        self,
        x,
        act=torch.relu,
        pool=lambda x: F.max_pool2d(x, 3, 2, 1),
        head=lambda x: x.mean((2, 3)),
    ):
        x = pool(act(self.bn1(self.conv1(x))))
        for name, stage in self.named_children():
            x = stage(x) if name.startswith("layer") else x
        return self.fc(head(x))


def _resnet_cases(rng):
    def images(batch, height, width):
        return (draw(rng, batch, 3, height, width),)

    # Few and small: the student's edition holds weights and gradients of each.
    # A low first norm, so that the first ReLU has something to cut off.
    low = {"state": {"bn1.bias": torch.tensor([-0.9, -0.2])}}
    yield Case("one stage", ([2], 2, 3), inputs=images(2, 9, 11), training=True, **low)
    yield Case("several stages", ([1, 1], 2, 3), inputs=images(2, 16, 13), training=True)
    note = "one image"
    yield Case("several stages", ([1, 2, 1], 2, 4), inputs=images(1, 18, 12), note=note, **low)


def _resnet_but(forward=None, **options):
    """A wrong network: another forward of its own, or other layers."""

    def answer(blocks, width, classes):
        network = _ResNet(blocks, width, classes, **options)
        if forward:
            network.forward = lambda x: _ResNet.forward(network, x, **forward)
        return network

    return answer


def _blocks_but(layers=None, **steps):
    """A network whose blocks are wrong."""

    def block(*arguments):
        made = _Basic(*arguments, **(layers or {}))
        made.forward = lambda x: _Basic.forward(made, x, **steps)
        return made

    return _resnet_but(block=block)


class _Averaging(_Basic):
    """Its projection sees means of 2×2 pixels."""

    def __init__(self, in_channels, out_channels, stride):
        super().__init__(in_channels, out_channels, stride)
        if stride > 1:
            self.downsample[0].stride = (1, 1)
            conv = self.downsample[0].forward
            self.downsample[0].forward = lambda x: conv(F.avg_pool2d(x, 2, ceil_mode=True))


class _Bare(_Basic):
    """Its projection is not normalized."""

    def __init__(self, in_channels, out_channels, stride):
        super().__init__(in_channels, out_channels, stride)
        if hasattr(self, "downsample"):
            self.downsample = self.downsample[:1]


RESNET = Task(
    id="a5-resnet",
    kind="module",
    entry="ResNet",
    points={"one stage": 4, "several stages": 6},
    reference=_ResNet,
    cases=_resnet_cases,
    misconceptions=(
        Misconception(
            "no pool",
            _resnet_but({"pool": _as_is}),
            "A max pool follows the first ReLU: windows of 3×3 that move by 2, padded by 1.",
        ),
        Misconception(
            "pool not padded",
            _resnet_but({"pool": lambda x: F.max_pool2d(x, 3, 2)}),
            "The max pool has a padding of 1.",
        ),
        Misconception(
            "average pooled",
            _resnet_but({"pool": lambda x: F.avg_pool2d(x, 3, 2, 1)}),
            "The first pool takes the largest of each window.",
        ),
        Misconception(
            "no ReLU before the pool",
            _resnet_but({"act": _as_is}),
            "A ReLU stands between `bn1` and the max pool.",
        ),
        Misconception(
            "largest of each map",
            _resnet_but({"head": lambda x: x.amax((2, 3))}),
            "At the end each map becomes its mean.",
        ),
        Misconception(
            "first convolution not padded",
            _resnet_but(padding=0),
            "The 7×7 convolution has a padding of 3.",
        ),
        Misconception(
            "every stage strides",
            _resnet_but(strides=lambda stage, index: 1 if index else 2),
            "The first stage keeps the size: the pool has halved it already.",
        ),
        Misconception(
            "every block strides",
            _resnet_but(strides=lambda stage, index: 2 if stage else 1),
            "Only the *first* block of a stage has the stride.",
        ),
        Misconception(
            "stride in the second convolution",
            _blocks_but({"strided": "conv2"}),
            "`conv1` of the block has the stride.",
        ),
        Misconception(
            "biases in the blocks",
            _blocks_but({"bias": True}),
            "No convolution has a bias: a batch norm follows each.",
        ),
        Misconception(
            "no ReLU in the block",
            _blocks_but(inner=_as_is),
            "A ReLU follows `bn1` of the block.",
        ),
        Misconception(
            "no ReLU after the sum",
            _blocks_but(join=lambda x, y: x + y),
            "A block ends with a ReLU, after the sum.",
        ),
        Misconception(
            "ReLU before the sum",
            _blocks_but(join=lambda x, y: x + y.relu()),
            "Add first, then apply the ReLU.",
        ),
        Misconception(
            "nothing added",
            _blocks_but(join=lambda x, y: y.relu() + 0 * x),
            "Add the block's input, or what `downsample` makes of it.",
        ),
        Misconception(
            "projection of means",
            _resnet_but(block=_Averaging),
            "`downsample` is a 1×1 convolution with the stride: this one skips pixels.",
        ),
        Misconception(
            "projection not normalized",
            _resnet_but(block=_Bare),
            "`downsample` is an `nn.Sequential` of the convolution and a batch norm.",
        ),
    ),
)


# --- training ---


def _small_resnet():
    def block(inputs, outputs):
        branch = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        shortcut = nn.Conv2d(inputs, outputs, 1, 2, bias=False)
        return Residual(branch, nn.Sequential(shortcut, nn.BatchNorm2d(outputs)))

    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(block(1, 16), block(16, 32), pool, nn.Flatten(), nn.Linear(32, 10))


TRAIN = digits_task(
    "a5-train",
    _small_resnet,
    points=(3, 3, 2),
    accuracies=(0.7, 0.8, 0.86),
    structure=("convolutions", "shortcut"),
)

TASKS = (
    JOIN,
    SHORTCUT,
    BASIC,
    BOTTLENECK,
    PREACTIVATION,
    DENSE,
    DENSE_PARAMETERS,
    SE,
    DEEP,
    RESNET,
    TRAIN,
)
