"""Right answers to assignment 4, independent of its references and of each other."""

from functools import cache
from itertools import pairwise

import torch
from torch import nn

from cnnlab.assignments.authoring import trained


def pool_loops(maps):
    out = torch.zeros(maps.shape[0], maps.shape[1])
    for n in range(maps.shape[0]):
        for c in range(maps.shape[1]):
            out[n, c] = maps[n, c].sum() / (maps.shape[2] * maps.shape[3])
    return out


def pool_flattened(maps):
    return maps.flatten(2).mean(dim=-1)


def pool_library(maps):
    return nn.functional.adaptive_avg_pool2d(maps, 1).squeeze(3).squeeze(2)


def per_pixel_loops(x, weight, bias):
    out = torch.zeros(x.shape[0], weight.shape[0], x.shape[2], x.shape[3])
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            out[:, :, i, j] = x[:, :, i, j] @ weight.T + bias
    return out


def per_pixel_linear(x, weight, bias):
    return nn.functional.linear(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)


def per_pixel_einsum(x, weight, bias):
    return torch.einsum("oc,nchw->nohw", weight, x) + bias.reshape(-1, 1, 1)


class MLPLoop(nn.Module):
    def __init__(self, in_channels, widths, kernel_size, final=False):
        super().__init__()
        self.final = final
        self.convs = nn.ModuleList()
        for number, width in enumerate(widths):
            size = kernel_size if number == 0 else 1
            self.convs.append(nn.Conv2d(in_channels, width, size, padding="same"))
            in_channels = width

    def forward(self, x):
        for number, conv in enumerate(self.convs):
            x = conv(x)
            if number < len(self.convs) - 1 or not self.final:
                x = x.clamp(min=0)
        return x


class MLPSequence(nn.Module):
    def __init__(self, in_channels, widths, kernel_size, final=False):
        super().__init__()
        first = nn.Conv2d(in_channels, widths[0], kernel_size, padding=(kernel_size - 1) // 2)
        rest = [nn.Conv2d(i, o, 1) for i, o in pairwise(widths)]
        self.convs = nn.Sequential(first, *rest)
        self.last = nn.Identity() if final else nn.ReLU()

    def forward(self, x):
        *inner, last = self.convs
        for conv in inner:
            x = torch.relu(conv(x))
        return self.last(last(x))


def macs_branches(in_channels, height, width, plan):
    total = in_channels * plan["1x1"]
    for name, area in (("3x3", 9), ("5x5", 25)):
        inner = in_channels
        if plan[name + " reduce"] > 0:
            inner = plan[name + " reduce"]
            total += in_channels * inner
        total += area * inner * plan[name]
    total += in_channels * plan["pool"]
    return total * height * width


def macs_torch(in_channels, height, width, plan):
    def conv(inputs, outputs, size):
        if outputs == 0:
            return 0
        weight = nn.Conv2d(inputs, outputs, size, device="meta").weight
        return weight.numel() * height * width

    three, five = plan["3x3 reduce"], plan["5x5 reduce"]
    return sum(
        [
            conv(in_channels, plan["1x1"], 1),
            conv(in_channels, three, 1),
            conv(three or in_channels, plan["3x3"], 3),
            conv(in_channels, five, 1),
            conv(five or in_channels, plan["5x5"], 5),
            conv(in_channels, plan["pool"], 1),
        ]
    )


def numbers_by_hand():
    area = 20 * 20
    return {
        "channels, naive": 96 + 160 + 48 + 320,
        "channels, reduced": 96 + 160 + 48 + 64,
        "MACs, naive": area * 320 * (96 + 9 * 160 + 25 * 48),
        "MACs, reduced": area * (320 * (96 + 80 + 24 + 64) + 9 * 80 * 160 + 25 * 24 * 48),
    }


def numbers_by_function():
    naive = {"1x1": 96, "3x3 reduce": 0, "3x3": 160, "5x5 reduce": 0, "5x5": 48, "pool": 0}
    reduced = naive | {"3x3 reduce": 80, "5x5 reduce": 24, "pool": 64}
    outputs = ("1x1", "3x3", "5x5", "pool")
    return {
        "channels, naive": 320 + sum(naive[name] for name in outputs),
        "channels, reduced": sum(reduced[name] for name in outputs),
        "MACs, naive": macs_torch(320, 20, 20, naive),
        "MACs, reduced": macs_torch(320, 20, 20, reduced),
    }


class InceptionLayers(nn.Module):
    def __init__(self, in_channels, one, reduce, three, cross, pool):
        super().__init__()
        self.one = nn.Conv2d(in_channels, one, kernel_size=1)
        self.three_reduce = nn.Conv2d(in_channels, reduce, kernel_size=1)
        self.three = nn.Conv2d(reduce, three, kernel_size=3, padding="same")
        self.cross_reduce = nn.Conv2d(in_channels, reduce, kernel_size=1)
        self.row = nn.Conv2d(reduce, cross, kernel_size=(1, 5), padding="same")
        self.column = nn.Conv2d(cross, cross, kernel_size=(5, 1), padding="same")
        self.pool = nn.Conv2d(in_channels, pool, kernel_size=1)
        self.largest = nn.MaxPool2d(3, stride=1, padding=1)
        self.act = nn.ReLU()

    def forward(self, x):
        one = self.act(self.one(x))
        three = self.act(self.three(self.act(self.three_reduce(x))))
        cross = self.act(self.cross_reduce(x))
        cross = self.act(self.column(self.act(self.row(cross))))
        pool = self.act(self.pool(self.largest(x)))
        return torch.cat([one, three, cross, pool], dim=1)


class InceptionFilled(nn.Module):
    """The branches written into their places, and both reductions at once."""

    def __init__(self, in_channels, one, reduce, three, cross, pool):
        super().__init__()
        self.one, self.pool = nn.Conv2d(in_channels, one, 1), nn.Conv2d(in_channels, pool, 1)
        self.three_reduce = nn.Conv2d(in_channels, reduce, 1)
        self.cross_reduce = nn.Conv2d(in_channels, reduce, 1)
        self.three = nn.Conv2d(reduce, three, 3)
        self.row, self.column = nn.Conv2d(reduce, cross, (1, 5)), nn.Conv2d(cross, cross, (5, 1))

    def forward(self, x):
        pad = nn.functional.pad
        a, b = self.three_reduce(x).relu(), self.cross_reduce(x).relu()
        windows = pad(x, [1] * 4, value=-1e9).unfold(2, 3, 1).unfold(3, 3, 1)
        maps = [
            self.one(x),
            self.three(pad(a, [1] * 4)),
            self.column(pad(self.row(pad(b, [2, 2])).relu(), [0, 0, 2, 2])),
            self.pool(windows.amax((4, 5))),
        ]
        out = x.new_zeros(x.shape[0], sum(m.shape[1] for m in maps), x.shape[2], x.shape[3])
        start = 0
        for branch in maps:
            out[:, start : start + branch.shape[1]] = branch.clamp(min=0)
            start += branch.shape[1]
        return out


def branches_loop(maps, weight, bias):
    total = bias.reshape(1, -1, 1, 1)
    start = 0
    for branch in maps:
        stop = start + branch.shape[1]
        total = total + torch.einsum("oc,nchw->nohw", weight[:, start:stop], branch)
        start = stop
    return total


def branches_split(maps, weight, bias):
    shares = weight.split([branch.shape[1] for branch in maps], dim=1)
    parts = [
        nn.functional.conv2d(branch, share[..., None, None])
        for branch, share in zip(maps, shares, strict=True)
    ]
    return sum(parts) + bias[:, None, None]


class HeadsLayers(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, kernel_size=3, padding=1)
        self.body = nn.Conv2d(width, 2 * width, kernel_size=3, stride=2, padding=1)
        self.aux = nn.Linear(width * 2 * 2, classes)
        self.main = nn.Linear(2 * width, classes)
        self.small, self.one = nn.AdaptiveAvgPool2d(2), nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        low = torch.relu(self.stem(x))
        high = torch.relu(self.body(low))
        scores = self.main(self.one(high).flatten(1))
        if self.training:
            return scores, self.aux(self.small(low).flatten(1))
        return scores


class HeadsEarly(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3)
        self.body = nn.Conv2d(width, width * 2, 3, 2)
        self.main, self.aux = nn.Linear(width * 2, classes), nn.Linear(width * 4, classes)

    def forward(self, x):
        low = self.stem(nn.functional.pad(x, [1] * 4)).clamp(min=0)
        main = self.main(self.body(nn.functional.pad(low, [1] * 4)).clamp(min=0).mean((2, 3)))
        if not self.training:
            return main
        n, c, h, w = low.shape
        rows, columns = (low[:, :, : -(-h // 2)], low[:, :, h // 2 :]), (-(-w // 2), w // 2)
        quarters = [
            half.mean((2, 3))
            for row in rows
            for half in (row[..., : columns[0]], row[..., columns[1] :])
        ]
        return [main, self.aux(torch.stack(quarters, 2).reshape(n, 4 * c))]


def loss_by_hand(main, aux, labels, weight=0.3):
    total = 0.0
    for scores, share in ((main, 1.0), (aux, weight)):
        logs = scores - scores.logsumexp(dim=1, keepdim=True)
        total -= share * logs.gather(1, labels[:, None]).mean()
    return total


def loss_by_probability(main, aux, labels, weight=0.3):
    def one(scores):
        chances = scores.double().softmax(1)
        return -chances[torch.arange(len(labels)), labels].log().sum() / len(labels)

    return one(main) + weight * one(aux)


@cache
def read_by_average():
    steps = [(1, 16), (16, 32), (32, 32)]
    layers = [
        nn.Sequential(nn.Conv2d(i, o, 3, 1, 1), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2))
        for i, o in steps
    ]
    return trained(
        nn.Sequential(*layers, nn.Conv2d(32, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    )


@cache
def read_by_maximum():
    return trained(
        nn.Sequential(
            *(nn.Conv2d(1, 16, 5, 2, 2), nn.BatchNorm2d(16), nn.SiLU()),
            *(nn.Conv2d(16, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.SiLU()),
            *(nn.Conv2d(32, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.SiLU()),
            *(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
        )
    )


ANSWERS = {
    "a4-pool": (pool_loops, pool_flattened, pool_library),
    "a4-per-pixel": (per_pixel_loops, per_pixel_linear, per_pixel_einsum),
    "a4-mlpconv": (MLPLoop, MLPSequence),
    "a4-inception-macs": (macs_branches, macs_torch),
    "a4-inception-numbers": (numbers_by_hand, numbers_by_function),
    "a4-inception": (InceptionLayers, InceptionFilled),
    "a4-concatenated": (branches_loop, branches_split),
    "a4-auxiliary": (HeadsLayers, HeadsEarly),
    "a4-loss": (loss_by_hand, loss_by_probability),
    "a4-train": (read_by_average, read_by_maximum),
}
