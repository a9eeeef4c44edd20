"""Right answers to assignment 5, independent of its references and of each other."""

from functools import cache

import torch
from torch import nn

from cnnlab.assignments.authoring import trained
from cnnlab.layers import Residual


def join_clamped(x, branch):
    return (x + branch).clamp(min=0)


def join_where(x, branch):
    total = torch.add(x, branch)
    return torch.where(total > 0, total, torch.zeros_like(total))


def shortcut_filled(x, out_channels, stride):
    height = (x.shape[2] + stride - 1) // stride
    width = (x.shape[3] + stride - 1) // stride
    out = torch.zeros(x.shape[0], out_channels, height, width)
    for i in range(height):
        for j in range(width):
            out[:, : x.shape[1], i, j] = x[:, :, i * stride, j * stride]
    return out


def shortcut_concatenated(x, out_channels, stride):
    picked = nn.functional.max_pool2d(x, 1, stride)
    zeros = torch.zeros(len(x), out_channels - x.shape[1], *picked.shape[2:])
    return torch.cat([picked, zeros], dim=1)


def shortcut_convolved(x, out_channels, stride):
    kernels = torch.eye(out_channels, x.shape[1])[:, :, None, None]
    return nn.functional.conv2d(x, kernels, stride=stride)


class BasicLayers(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(
            in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False
        )
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.out_channels, self.stride = out_channels, stride

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + shortcut_concatenated(x, self.out_channels, self.stride))


class BasicInPlace(nn.Module):
    """The input is added to the first channels of the branch only: the others get zeros."""

    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding="same", bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(out_channels), nn.BatchNorm2d(out_channels)
        self.step = stride

    def forward(self, x):
        out = nn.Sequential(self.conv1, self.bn1, nn.ReLU(), self.conv2, self.bn2)(x)
        out[:, : x.shape[1]] += x[:, :, :: self.step, :: self.step]
        return out.relu()


class BottleneckLayers(nn.Module):
    def __init__(self, in_channels, width, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.changes = stride > 1 or in_channels != out_channels
        if self.changes:
            self.pool = nn.AvgPool2d(stride)
            self.projection = nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False)
            self.projection_bn = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        out = torch.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.changes:
            x = self.projection_bn(self.projection(self.pool(x)))
        return torch.relu(x + out)


class BottleneckPooledLate(nn.Module):
    """Averages after the projection: both are linear, so the order does not matter."""

    def __init__(self, in_channels, width, out_channels, stride=1):
        super().__init__()
        for number, (i, o, k, s) in enumerate(
            [(in_channels, width, 1, 1), (width, width, 3, stride), (width, out_channels, 1, 1)]
        ):
            conv = nn.Conv2d(i, o, k, s, padding=k // 2, bias=False)
            setattr(self, f"conv{number + 1}", conv)
            setattr(self, f"bn{number + 1}", nn.BatchNorm2d(o))
        self.projection = None
        if (stride, in_channels) != (1, out_channels):
            self.projection = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.projection_bn = nn.BatchNorm2d(out_channels)
        self.stride = stride

    def forward(self, x):
        direct = x
        if self.projection is not None:
            averaged = nn.functional.avg_pool2d(self.projection(x), self.stride)
            direct = self.projection_bn(averaged)
        for number in (1, 2, 3):
            x = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x))
            if number < 3:
                x = x.clamp(min=0)
        return (x + direct).clamp(min=0)


class PreActivationLayers(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.gain = nn.Parameter(torch.zeros(1))
        self.same = stride == 1 and in_channels == out_channels
        if not self.same:
            self.projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x):
        ready = torch.relu(self.bn1(x))
        out = self.conv1(ready)
        out = self.conv2(torch.relu(self.bn2(out)))
        if self.same:
            return x + self.gain * out
        return self.projection(ready) + self.gain * out


class PreActivationFolded(nn.Module):
    """The gain goes into the kernel of the last convolution."""

    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(in_channels), nn.BatchNorm2d(out_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, bias=False)
        self.gain = nn.Parameter(torch.zeros(1))
        if stride > 1 or in_channels != out_channels:
            self.projection = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.stride = stride

    def forward(self, x):
        first = self.bn1(x).clamp(min=0)
        second = self.bn2(self.conv1(first)).clamp(min=0)
        branch = nn.functional.conv2d(second, self.gain * self.conv2.weight, padding=1)
        if hasattr(self, "projection"):
            x = self.projection(first[:, :, :: self.stride, :: self.stride])
        return branch + x


class DenseList(nn.Module):
    def __init__(self, in_channels, growth, layers):
        super().__init__()
        self.bns, self.convs = nn.ModuleList(), nn.ModuleList()
        for number in range(layers):
            width = in_channels + number * growth
            self.bns.append(nn.BatchNorm2d(width))
            self.convs.append(nn.Conv2d(width, growth, 3, padding=1, bias=False))

    def forward(self, x):
        features = [x]
        for number in range(len(self.convs)):
            seen = torch.cat(features, dim=1)
            features.append(self.convs[number](torch.relu(self.bns[number](seen))))
        return torch.cat(features, dim=1)


class DenseFilled(nn.Module):
    """All maps in one tensor from the start, filled layer by layer."""

    def __init__(self, in_channels, growth, layers):
        super().__init__()
        widths = list(range(in_channels, in_channels + layers * growth, growth))
        self.bns = nn.ModuleList([nn.BatchNorm2d(width) for width in widths])
        self.convs = nn.ModuleList(
            [nn.Conv2d(width, growth, 3, padding="same", bias=False) for width in widths]
        )
        self.total = in_channels + layers * growth

    def forward(self, x):
        n, start, h, w = x.shape
        out = x.new_empty(n, self.total, h, w)
        out[:, :start] = x
        for bn, conv in zip(self.bns, self.convs, strict=True):
            new = conv(bn(out[:, :start].clone()).clamp(min=0))
            out[:, start : start + new.shape[1]] = new
            start += new.shape[1]
        return out


def dense_parameters_loop(in_channels, growth, layers):
    total = 0
    for _ in range(layers):
        total += 2 * in_channels + 3 * 3 * in_channels * growth
        in_channels += growth
    return total


def dense_parameters_closed(in_channels, growth, layers):
    channels = layers * in_channels + growth * layers * (layers - 1) // 2
    return channels * (9 * growth + 2)


def dense_parameters_torch(in_channels, growth, layers):
    block = DenseList(in_channels, growth, layers)
    return sum(parameter.numel() for parameter in block.parameters())


class SELayers(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        self.down = nn.Linear(channels, channels // reduction)
        self.up = nn.Linear(channels // reduction, channels)
        self.squeeze = nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        squeezed = self.squeeze(x).flatten(1)
        gate = 2 * torch.sigmoid(self.up(torch.relu(self.down(squeezed))))
        return x * gate.unsqueeze(-1).unsqueeze(-1)


class SETanh(nn.Module):
    """Twice the sigmoid is one plus the tanh of half the argument."""

    def __init__(self, channels, reduction):
        super().__init__()
        waist = int(channels / reduction)
        self.down, self.up = nn.Linear(channels, waist), nn.Linear(waist, channels)

    def forward(self, x):
        hidden = self.down(x.flatten(2).mean(2)).clamp(min=0)
        gate = 1 + torch.tanh(self.up(hidden) / 2)
        return torch.einsum("nchw,nc->nchw", x, gate)


class DeepLoop(nn.Module):
    def __init__(self, depth, width, residual):
        super().__init__()
        self.stem = nn.Conv2d(1, width, kernel_size=3, padding=1)
        self.layers = nn.ModuleList()
        for _ in range(depth):
            self.layers.append(nn.Conv2d(width, width, kernel_size=3, padding=1))
        self.head = nn.Linear(width, 10)
        self.residual = residual

    def forward(self, x):
        x = torch.relu(self.stem(x))
        for layer in self.layers:
            out = torch.relu(layer(x))
            if self.residual:
                out = out + x
            x = out
        pooled = nn.functional.adaptive_avg_pool2d(x, 1)
        return self.head(pooled.flatten(1))


class DeepSwitched(nn.Module):
    def __init__(self, depth, width, residual):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding="same")
        self.layers = nn.Sequential(
            *[nn.Conv2d(width, width, 3, padding="same") for _ in range(depth)]
        )
        self.head = nn.Linear(width, 10)
        self.keep = float(residual)

    def forward(self, x):
        x = self.stem(x).clamp(min=0)
        for layer in self.layers:
            x = self.keep * x + layer(x).clamp(min=0)
        return self.head(x.flatten(2).mean(dim=2))


def _norm(inputs, outputs, stride=1):
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)


class Basic(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.downsample = None
        if (i, stride) != (o, 1):
            self.downsample = nn.Sequential(
                nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNetChained(nn.Module):
    def __init__(self, blocks, width, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        stages, inputs = [], width
        for stage, count in enumerate(blocks):
            outputs = width << stage
            chain = [Basic(inputs, outputs, 2 if stage > 0 else 1)]
            chain += [Basic(outputs, outputs, 1) for _ in range(count - 1)]
            stages.append(nn.Sequential(*chain))
            self.add_module(f"layer{stage + 1}", stages[-1])
            inputs = outputs
        self.fc = nn.Linear(inputs, classes)
        self.start = nn.Sequential(self.conv1, self.bn1, nn.ReLU(), nn.MaxPool2d(3, 2, padding=1))
        self.chain = nn.Sequential(self.start, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x):
        return self.fc(self.chain(x))


class ResNetOfDicts(nn.Module):
    """Blocks are dicts of layers; what they do stands in the network."""

    def __init__(self, blocks, width, classes):
        super().__init__()
        widths = [width] + [width * 2**s for s in range(len(blocks))]
        pairs = zip(widths, widths[1:], blocks, strict=False)
        stages = [self.stage(i, o, count) for i, o, count in pairs]
        self.stages = [f"layer{n + 1}" for n in range(len(stages))]
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        for name, stage in zip(self.stages, stages, strict=True):
            setattr(self, name, stage)
        self.fc = nn.Linear(widths[-1], classes)

    def stage(self, i, o, count):
        blocks = []
        for inputs in [i] + [o] * (count - 1):
            stride = o // inputs
            layers = {"conv1": nn.Conv2d(inputs, o, 3, stride, 1, bias=False)}
            layers |= {"bn1": nn.BatchNorm2d(o), "bn2": nn.BatchNorm2d(o)}
            layers |= {"conv2": nn.Conv2d(o, o, 3, padding="same", bias=False)}
            if stride == 2:
                conv = nn.Conv2d(inputs, o, 1, 2, bias=False)
                layers |= {"downsample": nn.Sequential(conv, nn.BatchNorm2d(o))}
            blocks.append(nn.ModuleDict(layers))
        return nn.ModuleList(blocks)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).clamp(min=0)
        x = nn.functional.pad(x, [1] * 4)
        x = x.unfold(2, 3, 2).unfold(3, 3, 2).amax((4, 5))
        for name in self.stages:
            for block in getattr(self, name):
                y = block["bn2"](block["conv2"](block["bn1"](block["conv1"](x)).relu()))
                x = (block["downsample"](x) if "downsample" in block else x).add(y).relu()
        return self.fc(x.flatten(2).mean(2))


@cache
def read_by_identities():
    return trained(
        nn.Sequential(
            *(*_norm(1, 24, 2), nn.ReLU()),
            Residual(nn.Sequential(*_norm(24, 24), nn.ReLU(), *_norm(24, 24))),
            nn.MaxPool2d(2),
            Residual(nn.Sequential(*_norm(24, 24), nn.ReLU(), *_norm(24, 24))),
            *(nn.Flatten(), nn.Linear(24 * 16, 10)),
        )
    )


@cache
def read_by_pooled_shortcuts():
    shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(16, 32, 1), nn.BatchNorm2d(32))
    return trained(
        nn.Sequential(
            *(*_norm(1, 16, 2), nn.ReLU()),
            Residual(nn.Sequential(*_norm(16, 32, 2), nn.ReLU(), *_norm(32, 32)), shortcut),
            *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32 * 4, 10)),
        )
    )


ANSWERS = {
    "a5-join": (join_clamped, join_where),
    "a5-shortcut": (shortcut_filled, shortcut_concatenated, shortcut_convolved),
    "a5-basic": (BasicLayers, BasicInPlace),
    "a5-bottleneck": (BottleneckLayers, BottleneckPooledLate),
    "a5-preactivation": (PreActivationLayers, PreActivationFolded),
    "a5-dense": (DenseList, DenseFilled),
    "a5-dense-parameters": (
        dense_parameters_loop,
        dense_parameters_closed,
        dense_parameters_torch,
    ),
    "a5-squeeze-excite": (SELayers, SETanh),
    "a5-deep": (DeepLoop, DeepSwitched),
    "a5-resnet": (ResNetChained, ResNetOfDicts),
    "a5-train": (read_by_identities, read_by_pooled_shortcuts),
}
