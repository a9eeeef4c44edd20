"""Tasks of assignment 3: the classic networks, from LeNet to VGG."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.assignments.authoring import altered, between, digits_task, draw
from cnnlab.assignments.variant import Variant
from cnnlab.checks.task import Case, Misconception, Task

# --- the warm-up: how often is a classifier right? ---


def _accuracy(scores, labels):
    return (scores.argmax(1) == labels).float().mean().item()


def _accuracy_cases(rng):
    for part, images, classes in [
        ("ten classes", 25, 10),
        ("ten classes", 30, 10),
        ("other numbers of classes", 5, 5),
        ("other numbers of classes", 24, 3),
        ("other numbers of classes", 30, 7),
    ]:
        scores = draw(rng, images, classes)
        # Labels that right and wrong readings of the scores meet differently often.
        readings = [
            scores.argmax(1),
            scores.argmin(1),
            scores.argmax(1) + 1,
            scores.abs().argmax(1),
        ]
        chosen = torch.from_numpy(rng.choice(4, size=images, p=[0.4, 0.3, 0.2, 0.1]))
        labels = torch.stack(readings)[chosen, torch.arange(images)] % classes
        labels[0] = scores[0].argmax()
        note = "as many images as classes" if images == classes else ""
        yield Case(part, (scores, labels), note=note)


def _accuracy_by_class(scores, labels):
    right = (scores.argmax(1) == labels).float()
    return torch.stack([right[labels == c].mean() for c in labels.unique()]).mean().item()


ACCURACY = Task(
    id="a3-accuracy",
    kind="function",
    entry="accuracy",
    points={"ten classes": 1, "other numbers of classes": 1},
    reference=_accuracy,
    cases=_accuracy_cases,
    misconceptions=(
        Misconception(
            "percent",
            lambda scores, labels: 100 * _accuracy(scores, labels),
            "Return a share from 0 to 1, not a percentage.",
        ),
        Misconception(
            "number for share",
            lambda scores, labels: _accuracy(scores, labels) * len(labels),
            "Divide the number of right answers by the number of images.",
        ),
        Misconception(
            "error rate",
            lambda scores, labels: 1 - _accuracy(scores, labels),
            "This is the share of wrong answers; the accuracy is the share of right ones.",
        ),
        Misconception(
            "smallest score",
            lambda scores, labels: _accuracy(-scores, labels),
            "The network's answer is the class with the largest score.",
        ),
        Misconception(
            "size of the score without its sign",
            lambda scores, labels: _accuracy(scores.abs(), labels),
            "A strongly negative score speaks against a class: keep the sign.",
        ),
        Misconception(
            "classes counted from one",
            lambda scores, labels: (scores.argmax(1) + 1 == labels).float().mean().item(),
            "Classes count from 0: the position of the largest score is the class.",
        ),
        Misconception(
            "one of the best two",
            lambda scores, labels: (
                (scores.topk(2).indices == labels[:, None]).any(1).float().mean().item()
            ),
            "Only the class with the largest score counts here (top-1), not the best two.",
        ),
        Misconception(
            "mean over the classes",
            _accuracy_by_class,
            "Each image counts alike: take the mean over images, not over classes.",
        ),
        Misconception(
            "best image of each class",
            lambda scores, labels: (scores.argmax(0) == labels).float().mean().item(),
            "Look for the largest score along the classes (the second axis), image by image.",
        ),
        Misconception(
            "all or nothing",
            lambda scores, labels: float((scores.argmax(1) == labels).all()),
            "Count the images that are right one by one; not all of them have to be.",
        ),
    ),
)


# --- LeNet for 16×16 digits ---


class _LeNet(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 12, 3)
        self.fc1 = nn.Linear(12 * 3 * 3, 40)
        self.fc2 = nn.Linear(40, classes)

    def forward(self, x):
        return self.run(x)

    def run(self, x, act=torch.tanh, pool=F.avg_pool2d, second=None, third=None, flat=None):
        """The network, or one that differs from it in one of its steps."""
        x = pool(act(self.conv1(x)), 2)
        x = pool((second or act)(self.conv2(x)), 2)
        x = (flat or (lambda t: t.flatten(1)))(x)
        return self.fc2((third or act)(self.fc1(x)))


def _lenet_cases(rng):
    yield Case("a batch of images", (10,), inputs=(draw(rng, 3, 1, 16, 16),))
    yield Case("a batch of images", (10,), inputs=(draw(rng, 2, 1, 16, 16),), training=True)
    yield Case("a single image", (10,), inputs=(draw(rng, 1, 1, 16, 16),))
    yield Case("other numbers of classes", (2,), inputs=(draw(rng, 4, 1, 16, 16),))
    classes = between(rng, 3, 9)
    yield Case("other numbers of classes", (classes,), inputs=(draw(rng, 2, 1, 16, 16),))


def _as_is(x):
    return x


def _pooled_before_tanh(m, x):
    x = torch.tanh(F.avg_pool2d(m.conv1(x), 2))
    x = torch.tanh(F.avg_pool2d(m.conv2(x), 2))
    return m.fc2(torch.tanh(m.fc1(x.flatten(1))))


LENET = Task(
    id="a3-lenet",
    kind="module",
    entry="LeNet16",
    points={"a batch of images": 5, "a single image": 2, "other numbers of classes": 3},
    reference=_LeNet,
    cases=_lenet_cases,
    misconceptions=(
        Misconception(
            "ReLU for tanh",
            altered(_LeNet, lambda m, x: m.run(x, act=torch.relu)),
            "In 1998 the activation was tanh, and this network keeps to it.",
        ),
        Misconception(
            "sigmoid for tanh",
            altered(_LeNet, lambda m, x: m.run(x, act=torch.sigmoid)),
            "Use tanh, whose values lie around 0; a sigmoid's lie around 0.5.",
        ),
        Misconception(
            "maximum pooled",
            altered(_LeNet, lambda m, x: m.run(x, pool=F.max_pool2d)),
            "LeNet pools the average of each 2×2 window; maxima came later.",
        ),
        Misconception(
            "pooled before tanh",
            altered(_LeNet, _pooled_before_tanh),
            "The order matters for averages: activation first, pooling second.",
        ),
        Misconception(
            "second convolution not activated",
            altered(_LeNet, lambda m, x: m.run(x, second=_as_is)),
            "There is a tanh after each of the two convolutions.",
        ),
        Misconception(
            "hidden layer not activated",
            altered(_LeNet, lambda m, x: m.run(x, third=_as_is)),
            "Without a tanh between fc1 and fc2 the two are one linear layer.",
        ),
        Misconception(
            "tanh on the scores",
            altered(_LeNet, lambda m, x: torch.tanh(m.run(x))),
            "The last layer gives scores: no activation follows it.",
        ),
        Misconception(
            "probabilities for scores",
            altered(_LeNet, lambda m, x: m.run(x).softmax(1)),
            "Return the scores themselves: the loss takes the softmax.",
        ),
        Misconception(
            "log-probabilities for scores",
            altered(_LeNet, lambda m, x: m.run(x).log_softmax(1)),
            "Return the scores themselves: the loss takes the log-softmax.",
        ),
        Misconception(
            "channels last when flattened",
            altered(_LeNet, lambda m, x: m.run(x, flat=lambda t: t.permute(0, 2, 3, 1).flatten(1))),
            "Flatten in PyTorch's order: channel by channel, `x.flatten(1)`.",
        ),
        Misconception(
            "batch of one squeezed",
            altered(_LeNet, lambda m, x: m.run(x).squeeze()),
            "A batch of one stays a batch: its scores have shape (1, classes).",
        ),
        Misconception(
            "second convolution padded",
            altered(_LeNet, fc1=lambda classes: nn.Linear(12 * 4 * 4, 40)),
            "The second convolution has no padding: 8×8 becomes 6×6, and 3×3 after pooling.",
        ),
        Misconception(
            "first convolution not padded",
            altered(_LeNet, fc1=lambda classes: nn.Linear(12 * 2 * 2, 40)),
            "The first convolution is padded by 2 and keeps 16×16.",
        ),
    ),
)


# --- AlexNet's normalization, as the paper has it ---


def _squares(x, size):
    """Sums of squares over windows of channels around each channel."""
    padded = F.pad(x**2, [0, 0, 0, 0, size // 2, size // 2])
    return padded.unfold(1, size, 1).sum(-1)


def _lrn(x, size, alpha, beta, k):
    return x / (k + alpha * _squares(x, size)) ** beta


def _lrn_cases(rng):
    paper = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0}
    yield Case("the paper's numbers", (60 * draw(rng, 1, 8, 2, 3),), paper)
    yield Case("the paper's numbers", (90 * draw(rng, 2, 6, 3, 2),), paper)
    for size, alpha, beta, k in [(3, 0.5, 0.5, 1.0), (7, 0.2, 1.25, 1.5), (1, 0.4, 0.6, 3.0)]:
        numbers = {"size": size, "alpha": alpha, "beta": beta, "k": k}
        yield Case("other numbers", (draw(rng, 1, 9, 2, 2),), numbers)
    few = {"size": 5, "alpha": 0.3, "beta": 0.75, "k": 1.5}
    yield Case("few channels", (draw(rng, 2, 2, 3, 2),), few, "fewer channels than the window")
    yield Case("few channels", (draw(rng, 1, 1, 2, 3),), few, "one channel")


def _lrn_shifted(shift):
    """A window of channels that lies on one side."""

    def answer(x, size, alpha, beta, k):
        before, after = (size - 1, 0) if shift < 0 else (0, size - 1)
        padded = F.pad(x**2, [0, 0, 0, 0, before, after])
        return x / (k + alpha * padded.unfold(1, size, 1).sum(-1)) ** beta

    return answer


def _lrn_wrapped(x, size, alpha, beta, k):
    total = sum((x**2).roll(s, 1) for s in range(-(size // 2), size // 2 + 1))
    return x / (k + alpha * total) ** beta


def _lrn_in_space(x, size, alpha, beta, k):
    total = F.avg_pool2d(x**2, size, 1, size // 2) * size**2
    return x / (k + alpha * total) ** beta


LRN = Task(
    id="a3-lrn",
    kind="function",
    entry="local_response_norm",
    points={"the paper's numbers": 3, "other numbers": 3, "few channels": 4},
    reference=_lrn,
    cases=_lrn_cases,
    misconceptions=(
        Misconception(
            "alpha divided by the size",
            lambda x, size, alpha, beta, k: _lrn(x, size, alpha / size, beta, k),
            "PyTorch's layer divides alpha by the size of the window; the paper does not.",
        ),
        Misconception(
            "window in space",
            _lrn_in_space,
            "The window runs over neighbouring channels at one pixel, not over pixels.",
        ),
        Misconception(
            "only the channels before",
            _lrn_shifted(-1),
            "The window has the channel in its middle: size // 2 on either side.",
        ),
        Misconception(
            "only the channels after",
            _lrn_shifted(1),
            "The window is centred: it reaches back to earlier channels as well.",
        ),
        Misconception(
            "wrapped around",
            _lrn_wrapped,
            "The first channel has no neighbour before it: the window ends there.",
        ),
        Misconception(
            "not squared",
            lambda x, size, alpha, beta, k: (
                x / (k + alpha * _squares(x.abs().sqrt(), size)) ** beta
            ),
            "Sum the squares of the channels, not their absolute values.",
        ),
        Misconception(
            "beta forgotten",
            lambda x, size, alpha, beta, k: _lrn(x, size, alpha, 1.0, k),
            "The bracket is raised to the power beta before you divide by it.",
        ),
        Misconception(
            "square root for beta",
            lambda x, size, alpha, beta, k: _lrn(x, size, alpha, beta / 2, k),
            "No square root on top: the power is beta itself.",
        ),
        Misconception(
            "k forgotten",
            lambda x, size, alpha, beta, k: _lrn(x, size, alpha, beta, 1.0),
            "The bracket starts at k, not at 1.",
        ),
        Misconception(
            "multiplied",
            lambda x, size, alpha, beta, k: _lrn(x, size, alpha, -beta, k),
            "Divide by the bracket: strong neighbours weaken a response.",
        ),
        Misconception(
            "all channels",
            lambda x, size, alpha, beta, k: _lrn(x, 2 * x.shape[1] - 1, alpha, beta, k),
            "Only `size` neighbouring channels count, not all of them.",
        ),
        Misconception(
            "the channel itself left out",
            lambda x, size, alpha, beta, k: x / (k + alpha * (_squares(x, size) - x**2)) ** beta,
            "The channel itself belongs to its window.",
        ),
        Misconception(
            "one channel too many on each side",
            lambda x, size, alpha, beta, k: _lrn(x, size + 2, alpha, beta, k),
            "A window of 5 reaches two channels to either side: size // 2.",
        ),
    ),
    forbidden=("local_response_norm", "LocalResponseNorm", "CrossMapLRN2d"),
)


# --- AlexNet's block: two towers and overlapping pools ---


class _AlexBlock(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, groups):
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, groups=groups
        )

    def forward(self, x):
        return F.max_pool2d(self.conv(x).relu(), 3, 2)


def _alex_cases(rng):
    def images(batch, channels, height, width):
        return (draw(rng, batch, channels, height, width),)

    yield Case("two groups", (4, 6, 5, 2), inputs=images(2, 4, 9, 9))
    yield Case("two groups", (2, 4, 3, 2), inputs=images(1, 2, 8, 8), note="an even side")
    yield Case("other numbers of groups", (3, 5, 3, 1), inputs=images(2, 3, 7, 7))
    yield Case("other numbers of groups", (6, 6, 3, 3), inputs=images(1, 6, 6, 6))
    yield Case("images that are not square", (4, 4, 3, 2), inputs=images(1, 4, 6, 11))
    yield Case("images that are not square", (2, 2, 1, 1), inputs=images(3, 2, 12, 5))


def _alex_conv(padding=None, **changes):
    def make(i, o, k, groups):
        options = {"padding": k // 2 if padding is None else padding, "groups": groups}
        return nn.Conv2d(i, o, k, **options | changes)

    return make


def _alex_pool(*args, pool=F.max_pool2d, **kwargs):
    return altered(_AlexBlock, lambda m, x: pool(m.conv(x).relu(), *args, **kwargs))


def _interleaved(m, x):
    n, c, h, w = x.shape
    groups = m.conv.groups
    shuffled = x.reshape(n, c // groups, groups, h, w).transpose(1, 2).reshape(x.shape)
    return F.max_pool2d(m.conv(shuffled).relu(), 3, 2)


ALEXNET_BLOCK = Task(
    id="a3-alexnet-block",
    kind="module",
    entry="AlexBlock",
    points={"two groups": 3, "other numbers of groups": 3, "images that are not square": 2},
    reference=_AlexBlock,
    cases=_alex_cases,
    misconceptions=(
        Misconception(
            "groups forgotten",
            altered(_AlexBlock, conv=_alex_conv(groups=1)),
            "Each group sees its own share of the input channels: pass `groups` on.",
        ),
        Misconception(
            "padding forgotten",
            altered(_AlexBlock, conv=_alex_conv(padding=0)),
            "Pad the convolution by kernel_size // 2, so that it keeps height and width.",
        ),
        Misconception(
            "padded by one whatever the kernel",
            altered(_AlexBlock, conv=_alex_conv(padding=1)),
            "A padding of 1 keeps the size for 3×3 only; in general it is kernel_size // 2.",
        ),
        Misconception(
            "stride in the convolution",
            altered(_AlexBlock, conv=_alex_conv(stride=2)),
            "The convolution has stride 1: only the pooling makes the map smaller.",
        ),
        Misconception(
            "bias left out",
            altered(_AlexBlock, conv=_alex_conv(bias=False)),
            "AlexNet has no batch normalization: its convolutions keep their biases.",
        ),
        Misconception(
            "ReLU missing",
            altered(_AlexBlock, lambda m, x: F.max_pool2d(m.conv(x), 3, 2)),
            "A ReLU follows the convolution.",
        ),
        Misconception(
            "ReLU on the input",
            altered(_AlexBlock, lambda m, x: F.max_pool2d(m.conv(x.relu()), 3, 2)),
            "The ReLU comes after the convolution, not before it.",
        ),
        Misconception(
            "windows that do not overlap",
            _alex_pool(2, 2),
            "AlexNet's pools overlap: windows of 3×3 that move by 2.",
        ),
        Misconception(
            "stride of the pool forgotten",
            _alex_pool(3),
            "Without a stride a pool moves by its own width, 3; here it moves by 2.",
        ),
        Misconception(
            "average pooled",
            _alex_pool(3, 2, pool=F.avg_pool2d),
            "AlexNet pools maxima, not averages.",
        ),
        Misconception(
            "pool padded",
            _alex_pool(3, 2, padding=1),
            "The pooling has no padding.",
        ),
        Misconception(
            "rounded up",
            _alex_pool(3, 2, ceil_mode=True),
            "A last window that would leave the map is not taken (ceil_mode stays False).",
        ),
        Misconception(
            "groups interleaved",
            altered(_AlexBlock, _interleaved),
            "A group is a run of neighbouring channels, not every second one.",
        ),
    ),
)


# --- VGG's block, also as in configuration C ---


class _VGGBlock(nn.Module):
    def __init__(self, in_channels, out_channels, convs, last_kernel_size=3):
        super().__init__()
        channels = [in_channels] + [out_channels] * convs
        sizes = [3] * (convs - 1) + [last_kernel_size]
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, k, padding=k // 2)
            for i, o, k in zip(channels[:-1], channels[1:], sizes, strict=True)
        )

    def forward(self, x):
        for conv in self.convs:
            x = conv(x).relu()
        return F.max_pool2d(x, 2)


def _vgg_cases(rng):
    def images(batch, channels, height, width):
        return (draw(rng, batch, channels, height, width),)

    yield Case("one convolution", (3, 4, 1), inputs=images(2, 3, 6, 8))
    yield Case("one convolution", (2, 2, 1), inputs=images(1, 2, 5, 7), note="odd sides")
    yield Case("several convolutions", (2, 5, 2), inputs=images(2, 2, 8, 6))
    yield Case("several convolutions", (4, 3, 4), inputs=images(1, 4, 7, 4))
    one = {"last_kernel_size": 1}
    yield Case("a 1×1 at the end", (3, 4, 3), one, inputs=images(2, 3, 6, 6))
    yield Case("a 1×1 at the end", (2, 3, 2), one, inputs=images(1, 2, 9, 4))
    yield Case("a 1×1 at the end", (3, 2, 1), one, inputs=images(2, 3, 5, 6), note="the only one")


def _vgg_convs(plan):
    """The convolutions of ``plan(in_channels, out_channels, convs, last)`` in place of VGG's."""

    def make(in_channels, out_channels, convs, last_kernel_size=3):
        rows = plan(in_channels, out_channels, convs, last_kernel_size)
        return nn.ModuleList(nn.Conv2d(i, o, k, padding=p) for i, o, k, p in rows)

    return altered(_VGGBlock, convs=make)


def _vgg_plan(i, o, convs, last, padding=lambda k: k // 2):
    inputs = [i] + [o] * (convs - 1)
    kernels = [3] * (convs - 1) + [last]
    return [(c, o, k, padding(k)) for c, k in zip(inputs, kernels, strict=True)]


def _vgg_forward(activate=torch.relu, last=torch.relu, finish=lambda x: F.max_pool2d(x, 2)):
    def forward(m, x):
        for conv in m.convs[:-1]:
            x = activate(conv(x))
        return finish(last(m.convs[-1](x)))

    return altered(_VGGBlock, forward)


VGG_BLOCK = Task(
    id="a3-vgg-block",
    kind="module",
    entry="VGGBlock",
    points={"one convolution": 3, "several convolutions": 3, "a 1×1 at the end": 4},
    reference=_VGGBlock,
    cases=_vgg_cases,
    misconceptions=(
        Misconception(
            "ReLU at the end only",
            _vgg_forward(activate=_as_is),
            "A ReLU follows every convolution; without it two of them are one linear map.",
        ),
        Misconception(
            "ReLU missing after the last",
            _vgg_forward(last=_as_is),
            "The last convolution has its ReLU too, before the pooling.",
        ),
        Misconception(
            "no ReLU at all",
            _vgg_forward(activate=_as_is, last=_as_is),
            "A ReLU follows every convolution.",
        ),
        Misconception(
            "pooling forgotten",
            _vgg_forward(finish=_as_is),
            "The block ends with a 2×2 max pool that halves height and width.",
        ),
        Misconception(
            "average pooled",
            _vgg_forward(finish=lambda x: F.avg_pool2d(x, 2)),
            "VGG pools maxima, not averages.",
        ),
        Misconception(
            "overlapping pool",
            _vgg_forward(finish=lambda x: F.max_pool2d(x, 3, 2)),
            "VGG's pools do not overlap: 2×2 windows that move by 2.",
        ),
        Misconception(
            "pool rounded up",
            _vgg_forward(finish=lambda x: F.max_pool2d(x, 2, ceil_mode=True)),
            "With an odd side the last row or column is dropped (ceil_mode stays False).",
        ),
        Misconception(
            "pooled after every convolution",
            _vgg_forward(
                activate=lambda x: F.max_pool2d(x.relu(), 2, ceil_mode=True),
                finish=lambda x: F.max_pool2d(x, 2, ceil_mode=True),
            ),
            "Only the block as a whole is pooled, once, at its end.",
        ),
        Misconception(
            "padding forgotten",
            _vgg_convs(lambda i, o, convs, last: _vgg_plan(i, o, convs, last, lambda k: 0)),
            "Each 3×3 is padded by 1, so that it keeps height and width.",
        ),
        Misconception(
            "1×1 padded as well",
            _vgg_convs(lambda i, o, convs, last: _vgg_plan(i, o, convs, last, lambda k: 1)),
            "A 1×1 needs no padding: with it the map grows.",
        ),
        Misconception(
            "1×1 first",
            _vgg_convs(
                lambda i, o, convs, last: [
                    (c, o, k, k // 2)
                    for (c, *_), k in zip(
                        _vgg_plan(i, o, convs, last), [last] + [3] * (convs - 1), strict=True
                    )
                ]
            ),
            "`last_kernel_size` belongs to the last convolution of the block.",
        ),
        Misconception(
            "3×3 to the end",
            _vgg_convs(lambda i, o, convs, last: _vgg_plan(i, o, convs, 3)),
            "The last convolution has kernels of `last_kernel_size`.",
        ),
        Misconception(
            "channels change at the end",
            _vgg_convs(
                lambda i, o, convs, last: [
                    (i, i if n < convs - 1 else o, k, k // 2)
                    for n, (_, _, k, _) in enumerate(_vgg_plan(i, o, convs, last))
                ]
            ),
            "The first convolution brings the channels to `out_channels`, the others keep them.",
        ),
        Misconception(
            "one convolution too few",
            lambda i, o, convs, last_kernel_size=3: _VGGBlock(i, o, convs - 1, last_kernel_size),
            "The block has `convs` convolutions, counting the last.",
        ),
    ),
)


# --- several kernels in one ---


def _full(first, second):
    """The kernel of cross-correlation with ``first`` and then with ``second``."""
    h, w = second.shape
    padded = F.pad(first, [w - 1, w - 1, h - 1, h - 1])
    return F.conv2d(padded[None, None], second.flip(0, 1)[None, None])[0, 0]


def _fold(join, kernels):
    merged = kernels[0]
    for kernel in kernels[1:]:
        merged = join(merged, kernel)
    return merged


def _merged(kernels):
    return _fold(_full, kernels)


def _merged_cases(rng):
    yield Case("two 3×3", ([draw(rng, 3, 3) for _ in range(2)],))
    yield Case("two 3×3", ([draw(rng, 3, 3) for _ in range(2)],))
    yield Case("three 3×3", ([draw(rng, 3, 3) for _ in range(3)],))
    yield Case("other sizes", ([draw(rng, 1, 4), draw(rng, 3, 1)],), note="a row and a column")
    yield Case("other sizes", ([draw(rng, 3, 3), draw(rng, 5, 5)],))
    yield Case("other sizes", ([draw(rng, 2, 4)],), note="a single kernel")
    many = [draw(rng, 2, 3), draw(rng, 3, 1), draw(rng, 1, 2), draw(rng, 2, 2), draw(rng, 2, 1)]
    yield Case("other sizes", (many,), note="five kernels")


def _centre(merged, kernels):
    (h, w), (rows, cols) = kernels[0].shape, merged.shape
    top, left = (rows - h) // 2, (cols - w) // 2
    return merged[top : top + h, left : left + w]


MERGED_KERNEL = Task(
    id="a3-merged-kernel",
    kind="function",
    entry="merged_kernel",
    points={"two 3×3": 3, "three 3×3": 2, "other sizes": 3},
    reference=_merged,
    cases=_merged_cases,
    misconceptions=(
        Misconception(
            "kernels added",
            lambda kernels: _fold(torch.add, kernels),
            "One after the other is not side by side: the merged kernel is larger than each.",
        ),
        Misconception(
            "kernels multiplied number by number",
            lambda kernels: _fold(torch.mul, kernels),
            "Every number of one kernel meets every number of the other, not only its twin.",
        ),
        Misconception(
            "product of matrices",
            lambda kernels: _fold(torch.matmul, kernels),
            "A kernel slides; it is not a matrix that multiplies the image.",
        ),
        Misconception(
            "kernel flipped",
            lambda kernels: _fold(lambda a, b: _full(a, b.flip(0, 1)), kernels),
            "The offsets of the two kernels add up: m[a + b] takes first[a] · second[b].",
        ),
        Misconception(
            "centre only",
            lambda kernels: _centre(_merged(kernels), kernels),
            "Two 3×3 see 5×5 pixels: the merged kernel is that large.",
        ),
        Misconception(
            "first two only",
            lambda kernels: _merged(kernels[:2]),
            "All kernels of the list count, not only the first two.",
        ),
        Misconception(
            "first kernel only",
            lambda kernels: kernels[0],
            "Every kernel of the list counts.",
        ),
        Misconception(
            "Kronecker product",
            lambda kernels: _fold(torch.kron, kernels),
            "Neighbouring windows overlap, so two 3×3 see 5×5 pixels, not 9×9.",
        ),
        Misconception(
            "transposed",
            lambda kernels: _merged(kernels).T,
            "Rows stay rows: nothing has to be transposed.",
        ),
        Misconception(
            "turned by half",
            lambda kernels: _merged(kernels).flip(0, 1),
            "The merged kernel slides as it is: put it the right way round.",
        ),
        Misconception(
            "averaged",
            lambda kernels: _merged(kernels) / len(kernels),
            "Nothing is averaged: the responses are weighted by products.",
        ),
    ),
)


# --- why 7×7: the numbers ---

# Channels in and out, the side of the maps; VGG-16 on images of so many pixels.
V = Variant(
    lambda v: [
        f"All layers here have {v.channels} channels\nin and {v.channels} out, work on maps of "
        f"{v.side}×{v.side} and are padded so that the maps stay {v.side}×{v.side}.",
        f"What if the images are **{v.pixels}×{v.pixels}**?",
        f": 7 * 7 * {v.channels} * {v.channels},",
        f": 3 * (3 * 3 * {v.channels} * {v.channels}),",
        f": 3 * (3 * 3 * {v.channels} * {v.channels}) * {v.side} * {v.side},",
        f"{v.pixels} // 2**5",
        f"{v.pixels // 32} * {v.pixels // 32} * 512 * 4096",
    ],
    channels=(96, 80, 112, 160),
    side=(28, 32, 36, 40),
    pixels=(288, 320, 352, 384),
)
_C, _M, _P = V.channels, V.side, V.pixels
_S = _P // 32
_COSTS = {
    "weights of one 7×7": 7 * 7 * _C * _C,
    "weights of three 3×3": 3 * 3 * 3 * _C * _C,
    "MACs of three 3×3": 3 * 3 * 3 * _C * _C * _M * _M,
    "side of the last map": _P // 32,
    "weights of the first fully connected layer": _S * _S * 512 * 4096,
}
_SEVEN, _THREE, _MACS, _SIDE, _FIRST = _COSTS


def _miscounted(name, hint, **wrong):
    keys = {"seven": _SEVEN, "three": _THREE, "macs": _MACS, "side": _SIDE, "first": _FIRST}
    return Misconception(name, lambda: _COSTS | {keys[k]: v for k, v in wrong.items()}, hint)


COSTS = Task(
    id="a3-costs",
    kind="value",
    entry="costs",
    points=dict.fromkeys(_COSTS, 2),
    reference=lambda: dict(_COSTS),
    misconceptions=(
        _miscounted(
            "one input channel",
            f"Each of the {_C} filters reaches through all {_C} input channels.",
            seven=7 * 7 * _C,
            three=3 * 3 * 3 * _C,
            macs=3 * 3 * 3 * _C * _M * _M,
        ),
        _miscounted(
            "biases counted",
            "Weights only: the biases are left out here.",
            seven=7 * 7 * _C * _C + _C,
            three=3 * (3 * 3 * _C * _C + _C),
        ),
        _miscounted(
            "side for area",
            "A 7×7 kernel has 49 weights for each channel, not 7.",
            seven=7 * _C * _C,
            three=3 * 3 * _C * _C,
            macs=3 * 3 * _C * _C * _M * _M,
        ),
        _miscounted(
            "every position has its own weights",
            "The same weights serve every position of the map.",
            seven=7 * 7 * _C * _C * _M * _M,
            three=3 * 3 * 3 * _C * _C * _M * _M,
        ),
        _miscounted(
            "one 3×3 only",
            "Three layers stand in for the one: count all three.",
            three=3 * 3 * _C * _C,
            macs=3 * 3 * _C * _C * _M * _M,
        ),
        _miscounted(
            "MACs doubled",
            "One MAC is a multiplication and an addition together; doubled, it counts FLOPs.",
            macs=2 * 3 * 3 * 3 * _C * _C * _M * _M,
        ),
        _miscounted(
            "MACs of one position",
            f"The filters are applied at each of the {_M}×{_M} positions.",
            macs=3 * 3 * 3 * _C * _C,
        ),
        _miscounted(
            "maps shrink",
            f"The layers are padded: each of the three keeps {_M}×{_M}.",
            macs=3 * 3 * _C * _C * ((_M - 2) ** 2 + (_M - 4) ** 2 + (_M - 6) ** 2),
        ),
        _miscounted(
            "one pool forgotten",
            "VGG has five pools, and each halves the side.",
            side=_P // 16,
            first=2 * _S * 2 * _S * 512 * 4096,
        ),
        _miscounted(
            "images of 224×224",
            f"7×7 is what 224 leaves; these images have a side of {_P}.",
            side=7,
            first=7 * 7 * 512 * 4096,
        ),
        _miscounted(
            "side for area in the classifier",
            "All positions of the map are flattened: side times side, times the channels.",
            first=_S * 512 * 4096,
        ),
        _miscounted(
            "positions forgotten",
            "The map is flattened, not averaged: each of its positions has weights of its own.",
            first=512 * 4096,
        ),
    ),
)


# --- a fully connected layer that slides ---


def _slide(maps, weight, bias, side, **options):
    kernels = weight.reshape(len(weight), -1, side, side)
    return F.conv2d(maps, kernels, bias, **options)


def _slide_cases(rng):
    for part, batch, channels, side, height, width in [
        ("maps of just that size", 2, 3, 2, 2, 2),
        ("maps of just that size", 1, 2, 3, 3, 3),
        ("larger maps", 1, 2, 2, 4, 5),
        ("larger maps", 2, 3, 3, 6, 4),
        ("larger maps", 1, 4, 1, 2, 3),
    ]:
        classes = between(rng, 2, 4)
        maps = draw(rng, batch, channels, height, width)
        weight = draw(rng, classes, channels * side**2)
        yield Case(part, (maps, weight, draw(rng, classes), side))


def _slide_channels_last(maps, weight, bias, side):
    kernels = weight.reshape(len(weight), side, side, -1).permute(0, 3, 1, 2)
    return F.conv2d(maps, kernels, bias)


SLIDE = Task(
    id="a3-slide",
    kind="function",
    entry="slide_classifier",
    points={"maps of just that size": 2, "larger maps": 4},
    reference=_slide,
    cases=_slide_cases,
    misconceptions=(
        Misconception(
            "channels last",
            _slide_channels_last,
            "`flatten(1)` writes channel after channel: reshape to (classes, C, side, side).",
        ),
        Misconception(
            "rows and columns swapped",
            lambda maps, weight, bias, side: _slide(maps.mT, weight, bias, side).mT,
            "Within a channel the rows come one after the other: do not transpose.",
        ),
        Misconception(
            "bias forgotten",
            lambda maps, weight, bias, side: _slide(maps, weight, None, side),
            "Each class has its bias, at every position.",
        ),
        Misconception(
            "first window only",
            lambda maps, weight, bias, side: _slide(maps[:, :, :side, :side], weight, bias, side),
            "Apply the layer at every place where its window fits, not only at the first.",
        ),
        Misconception(
            "windows that do not overlap",
            lambda maps, weight, bias, side: _slide(maps, weight, bias, side, stride=side),
            "The window moves on by one position, not by its own width.",
        ),
        Misconception(
            "averaged over the positions",
            lambda maps, weight, bias, side: _slide(maps, weight, bias, side).mean(
                (2, 3), keepdim=True
            ),
            "Return the map of scores; averaging it would be the next step.",
        ),
        Misconception(
            "kernel flipped",
            lambda maps, weight, bias, side: _slide(maps.flip(2, 3), weight, bias, side).flip(2, 3),
            "The weights lie on the window as they are, without a flip.",
        ),
        Misconception(
            "classes last",
            lambda maps, weight, bias, side: _slide(maps, weight, bias, side).permute(0, 2, 3, 1),
            "The classes are the channels of the result: (N, classes, rows, columns).",
        ),
        Misconception(
            "without the batch",
            lambda maps, weight, bias, side: _slide(maps, weight, bias, side)[0],
            "Keep the batch: every image of it gets its own map of scores.",
        ),
        Misconception(
            "rectified",
            lambda maps, weight, bias, side: _slide(maps, weight, bias, side).relu(),
            "Scores may be negative: no ReLU follows them.",
        ),
    ),
)


# --- what a loss should say before a long training ---

# Two numbers of classes, and what the true class of the wrong image gets.
L = Variant(
    lambda v: [
        f"with {v.few} classes (few), and with {v.many} (many)",
        f"the fourth one gets {v.little}",
        f"among {v.few} classes",
        f'"untrained, few classes": math.log({v.few}),',
        f'"untrained, many classes": math.log({v.many}),',
        f"-math.log({v.little}) / 4",
        f"math.log(1 + {v.few - 1} / math.e)",
    ],
    many=(1000, 365, 200, 500),
    few=(10, 8, 12, 20),
    little=(0.01, 0.02, 0.03, 0.05),
)
_MANY, _FEW, _LITTLE = L.many, L.few, L.little
_LOSSES = {
    "untrained, few classes": math.log(_FEW),
    "untrained, many classes": math.log(_MANY),
    "one image of four wrong": -math.log(_LITTLE) / 4,
    "lowest after a softmax": math.log(1 + (_FEW - 1) / math.e),
}
_TEN, _UNTRAINED, _FOURTH, _LOWEST = _LOSSES


def _misread(name, hint, ten=None, many=None, fourth=None, lowest=None):
    given = {_TEN: ten, _UNTRAINED: many, _FOURTH: fourth, _LOWEST: lowest}
    wrong = {key: value for key, value in given.items() if value is not None}
    return Misconception(name, lambda: _LOSSES | wrong, hint)


LOSSES = Task(
    id="a3-losses",
    kind="value",
    entry="losses",
    points=dict.fromkeys(_LOSSES, 1),
    reference=lambda: dict(_LOSSES),
    misconceptions=(
        _misread(
            "logarithm to the base of 10",
            "The cross-entropy has the natural logarithm: `math.log`.",
            ten=math.log10(_FEW),
            many=math.log10(_MANY),
            fourth=-math.log10(_LITTLE) / 4,
        ),
        _misread(
            "logarithm to the base of 2",
            "The cross-entropy has the natural logarithm: `math.log`.",
            ten=math.log2(_FEW),
            many=math.log2(_MANY),
            fourth=-math.log2(_LITTLE) / 4,
        ),
        _misread(
            "minus forgotten",
            "The loss is *minus* the logarithm of a probability: it is never below 0.",
            ten=-math.log(_FEW),
            many=-math.log(_MANY),
            fourth=math.log(_LITTLE) / 4,
        ),
        _misread(
            "probability for loss",
            "This is the probability of the true class; the loss is minus its logarithm.",
            ten=1 / _FEW,
            many=1 / _MANY,
            lowest=math.e / (math.e + _FEW - 1),
        ),
        _misread(
            "one minus the probability",
            "The loss is minus the logarithm of the true class's probability.",
            ten=1 - 1 / _FEW,
            many=1 - 1 / _MANY,
            fourth=(1 - _LITTLE) / 4,
        ),
        _misread(
            "as many classes for both",
            f"With {_MANY} classes each gets a probability of 1 / {_MANY}.",
            many=math.log(_FEW),
        ),
        _misread(
            "loss of one image",
            "The loss of a batch is the mean over its images, and the other three add 0.",
            fourth=-math.log(_LITTLE),
        ),
        _misread(
            "mean probability",
            "Take the loss of each image first, then the mean: not the other way round.",
            fourth=-math.log((3 + _LITTLE) / 4),
        ),
        _misread(
            "the softmax changes nothing",
            "After the first softmax no score is above 1, and the second one is taken of these.",
            lowest=0.0,
        ),
        _misread(
            "true class counted twice",
            f"Of {_FEW} scores one is 1, and the {_FEW - 1} others are 0.",
            lowest=math.log(1 + _FEW / math.e),
        ),
        _misread(
            "exponentials of the others forgotten",
            "The scores of the others are 0, and the exponential of 0 is 1: they count.",
            lowest=math.log(1 + 1 / math.e),
        ),
    ),
)


# --- a training loop with five faults ---


class _Loop:
    """A loop that trains, with some faults: each of them changes one of the methods."""

    shuffled = True

    def order(self, count):
        return torch.randperm(count) if self.shuffled else torch.arange(count)

    def labels(self, labels, order):
        return labels[order]

    def batches(self, count, size):
        return -(-count // size)

    def loss(self, scores, labels):
        return F.cross_entropy(scores, labels)

    def step(self, network, rate):
        """As SGD: PyTorch's optimizers take seconds to import, which the grader would pay."""
        with torch.no_grad():
            for weight in network.parameters():
                weight -= 0 if weight.grad is None else rate * weight.grad

    def forget(self, network, when):
        """Called at the beginning of a step, and once its gradient is there."""
        if when == "step":
            network.zero_grad()

    def before(self, network, when):
        """Called at the beginning of it all, of an epoch, of a step, of the validation."""
        network.train(when != "validation")

    def __call__(self, network, train, validation, batch_size, epochs, rate):
        losses, shares = [], []
        self.before(network, "beginning")
        for _ in range(epochs):
            self.before(network, "epoch")
            order = self.order(len(train[0]))
            images, labels = train[0][order], self.labels(train[1], order)
            for i in range(self.batches(len(images), batch_size)):
                batch = slice(i * batch_size, (i + 1) * batch_size)
                self.forget(network, "step")
                loss = self.loss(network(images[batch]), labels[batch])
                loss.backward()
                self.forget(network, "gradient")
                self.step(network, rate)
                losses.append(loss.item())
            self.before(network, "validation")
            with torch.no_grad():
                right = network(validation[0]).argmax(1) == validation[1]
            shares.append(right.float().mean().item())
        return losses, shares


def trial_of(fit):
    """As the notebook has it: what a loop does to one linear layer."""

    def trial(asked, weight, train, validation, batch_size, epochs, rate):
        torch.manual_seed(0)
        classes, inputs = weight.shape
        layer, batches = nn.Linear(inputs, classes, bias=False), []
        layer.weight = nn.Parameter(weight.clone())
        norm = [nn.BatchNorm1d(inputs, affine=False)] if asked == "the validation" else []
        network = nn.Sequential(*norm, layer)
        network.register_forward_pre_hook(lambda _, x: batches.append(x[0]))
        losses, shares = fit(network, train, validation, batch_size, epochs, rate)
        step = (layer.weight - weight).detach()
        seen = [image.argmax().item() for image in torch.cat(batches) if image.any()]
        half = len(seen) // 2
        return {
            "the loss": losses,
            "the labels": (step.argmax(0), seen[:half] != seen[half:]),
            "the images": [seen.count(i) for i in range(inputs)],
            "the steps": step.abs().amax(0) / step.abs().max(),
            "the validation": shares,
        }[asked]

    return trial


def _mend_cases(rng):
    def one_hot(count, classes):
        """As many images of one bright pixel each, and one of none to validate by."""
        labels = torch.from_numpy(rng.permutation(count) % classes)
        return (torch.eye(count), labels), (torch.zeros(1, count), labels[:1])

    # Each part is blind to the other faults: one step, or equal images, or one class, or a rate of
    # 0, or gradients of which the direction alone counts.
    for classes in (3, 4):
        images, label = draw(rng, 4, 5), torch.full((4,), between(rng, 0, classes - 1))
        data = (images, label), (images[:1], label[:1])
        note = "one step, with all images in one batch"
        yield Case("the loss", ("the loss", draw(rng, classes, 5), *data, 4, 1, 0.1), note=note)
    alike = draw(rng, 1, 5).repeat(6, 1), torch.full((6,), between(rng, 0, 2))
    note = "three equal batches in each of two epochs, at a rate of 0"
    asked = ("the loss", draw(rng, 3, 5), alike, (alike[0][:1], alike[1][:1]), 2, 2, 0.0)
    yield Case("the loss", asked, note=note)
    for classes in (3, 4):
        data = one_hot(12, classes)
        note = "each image's bright pixel should become a sign of its own label"
        asked = ("the labels", torch.zeros(classes, 12), *data, 12, 2, 0.1)
        yield Case("the labels", asked, note=note)
    for count, size in ((5, 3), (3, 8), (7, 2)):
        data = one_hot(count, 3)
        note = "how often each image was seen in two epochs"
        asked = ("the images", torch.zeros(3, count), *data, size, 2, 0.1)
        yield Case("the images", asked, note=note)
    for count, size in ((6, 2), (12, 3)):
        note = "what each image moves, as a share of the largest"
        asked = ("the steps", torch.zeros(3, count), *one_hot(count, 3), size, 1, 0.1)
        yield Case("the steps", asked, note=note)
    for mean in (between(rng, 2, 5), between(rng, 6, 9)):
        noise = draw(rng, 8, 1)
        train = (noise - noise.mean() + mean, torch.from_numpy(rng.permutation(8) % 2))
        # The running mean goes 0.1, 0.19, 0.271, 0.344 of the way from 0, from epoch to epoch.
        images = mean * torch.tensor([[0.05], [0.15], [0.16], [0.23], [0.31], [0.4]])
        validation = (images, torch.ones(6, dtype=torch.long))
        weight = torch.tensor([[-1.0], [1.0]])
        note = "after each of four epochs, at a rate of 0"
        asked = ("the validation", weight, train, validation, 8, 4, 0.0)
        yield Case("the validation", asked, note=note)


def _mended_but(**faults):
    return trial_of(type("Faulty", (_Loop,), faults)())


def _once_an_epoch(*args):
    losses, shares = _Loop()(*args)
    return losses[:: len(losses) // len(shares)], shares


def _never(self, *args):
    pass


def _as_before(self, labels, order):
    return labels


def _rounded_down(self, count, size):
    return count // size


def _of_probabilities(self, scores, labels):
    return F.cross_entropy(scores.softmax(1), labels)


def _too_early(self, network, when):
    if when == "gradient":
        network.zero_grad()


def _modes(**modes):
    """The network is put into other modes, at other times."""

    def before(self, network, when):
        if when in modes:
            network.train(modes[when])

    return before


# What the loop in the notebook has, by the part that goes wrong by it.
FAULTS = {
    "the loss": {"loss": _of_probabilities},
    "the labels": {"labels": _as_before},
    "the images": {"batches": _rounded_down},
    "the steps": {"forget": _never},
    "the validation": {"before": _modes(beginning=True)},
}


def mended_but(*parts):
    """The notebook's loop with some of its faults left."""
    return _mended_but(**{name: method for p in parts for name, method in FAULTS[p].items()})


MEND = Task(
    id="a3-mend",
    kind="function",
    entry="trial",
    points=dict.fromkeys(FAULTS, 2),
    reference=mended_but(),
    cases=_mend_cases,
    misconceptions=(
        Misconception(
            "nothing mended",
            mended_but(*FAULTS),
            "These are the five faults of the loop as you found it. Take one part after the other.",
        ),
        Misconception(
            "softmax before the loss",
            mended_but("the loss"),
            "`F.cross_entropy` takes scores. What does it do with them first?",
        ),
        Misconception(
            "loss of probabilities",
            _mended_but(loss=lambda self, s, y: F.nll_loss(s.softmax(1), y)),
            "`F.nll_loss` takes logarithms of probabilities.",
        ),
        Misconception(
            "one loss an epoch",
            trial_of(_once_an_epoch),
            "The loss of *every* batch is asked: append it within the loop over the batches.",
        ),
        Misconception(
            "labels not shuffled",
            mended_but("the labels"),
            "After the shuffle, which label lies beside which image?",
        ),
        Misconception(
            "labels shuffled by themselves",
            _mended_but(labels=lambda self, labels, order: labels[torch.randperm(len(labels))]),
            "Images and labels have to be put into the *same* order.",
        ),
        Misconception(
            "nothing shuffled",
            _mended_but(shuffled=False),
            "The images should come in a new order in every epoch, each with its label.",
        ),
        Misconception(
            "last batch dropped",
            mended_but("the images"),
            "How many batches are there, if the images do not fill the last one?",
        ),
        Misconception(
            "gradients never forgotten",
            mended_but("the steps"),
            "`backward` adds to the gradients that are there. Which are there at the second step?",
        ),
        Misconception(
            "gradients forgotten before they are used",
            _mended_but(forget=_too_early),
            "Between `backward` and `step` the gradients are needed.",
        ),
        Misconception(
            "validation in training mode",
            mended_but("the validation"),
            "A batch norm in training mode normalizes by the images at hand. Should it, here?",
        ),
        Misconception(
            "never back to training mode",
            _mended_but(before=_modes(beginning=True, validation=False)),
            "After the first validation the network stays in evaluation mode.",
        ),
        Misconception(
            "training in evaluation mode",
            _mended_but(before=_modes(beginning=False)),
            "The network has to learn in training mode: its batch norms measure then.",
        ),
    ),
)


# --- training ---


def _small_vgg():
    def layer(inputs, outputs):
        conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2))

    return nn.Sequential(
        *(layer(1, 8), layer(8, 16), layer(16, 32), nn.Flatten(), nn.Linear(128, 10))
    )


TRAIN = digits_task(
    "a3-train",
    _small_vgg,
    points=(4, 4, 4),
    accuracies=(0.7, 0.8, 0.86),
    structure=("convolutions",),
)

TASKS = (
    ACCURACY,
    LENET,
    LRN,
    ALEXNET_BLOCK,
    VGG_BLOCK,
    MERGED_KERNEL,
    COSTS,
    SLIDE,
    LOSSES,
    MEND,
    TRAIN,
)
