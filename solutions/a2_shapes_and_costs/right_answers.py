"""Right answers to assignment 2, independent of its references and of each other."""

from math import ceil, floor, prod

import torch
from torch import nn


def memory_by_hand(channels, height, width):
    return channels * height * width * 4 / 1024


def memory_by_torch(channels, height, width):
    maps = torch.zeros(channels, height, width)
    return maps.numel() * maps.element_size() / 2**10


def side_by_formula(n, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
    reach = dilation * (kernel_size - 1) + 1
    steps = (n + 2 * padding - reach) / stride
    size = (ceil(steps) if ceil_mode else floor(steps)) + 1
    if ceil_mode and (size - 1) * stride >= n + padding:
        size -= 1
    return size


def side_counted(n, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
    windows, end, seen = 0, n + padding, 0
    for start in range(-padding, end, stride):
        behind = start + dilation * (kernel_size - 1) + 1
        if behind <= end:
            windows, seen = windows + 1, behind
        elif ceil_mode and seen < end and start < n:
            windows, seen = windows + 1, end
    return windows


def side_by_torch(n, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
    row = nn.functional.pad(torch.zeros(1, 1, n), [padding, padding])
    if not ceil_mode:
        return nn.functional.conv1d(
            row, torch.zeros(1, 1, kernel_size), stride=stride, dilation=dilation
        ).shape[-1]
    pool = nn.MaxPool1d(kernel_size, stride, padding, dilation, ceil_mode=True)
    return pool(torch.zeros(1, 1, n)).shape[-1]


def parameters_by_formula(in_channels, filters, kernel_size, groups=1, bias=True):
    weights = filters * in_channels * kernel_size[0] * kernel_size[1] // groups
    return weights + filters if bias else weights


def parameters_by_groups(in_channels, filters, kernel_size, groups=1, bias=True):
    height, width = kernel_size
    total = 0
    for _ in range(groups):
        for _ in range(filters // groups):
            total += in_channels // groups * height * width
            if bias:
                total += 1
    return total


def parameters_by_torch(in_channels, filters, kernel_size, groups=1, bias=True):
    conv = nn.Conv2d(in_channels, filters, kernel_size, groups=groups, bias=bias, device="meta")
    return sum(p.numel() for p in conv.parameters())


def macs_by_formula(
    in_channels, height, width, filters, kernel_size, stride=1, padding=0, groups=1
):
    rows = (height + 2 * padding - kernel_size) // stride + 1
    columns = (width + 2 * padding - kernel_size) // stride + 1
    return rows * columns * filters * in_channels * kernel_size**2 // groups


def macs_by_torch(in_channels, height, width, filters, kernel_size, stride=1, padding=0, groups=1):
    conv = nn.Conv2d(
        in_channels, filters, kernel_size, stride, padding, groups=groups, device="meta"
    )
    maps = conv(torch.zeros(1, in_channels, height, width, device="meta"))
    return maps.numel() * conv.weight[0].numel()


def table_by_formula(layers, channels, height, width):
    rows = []
    for layer in layers:
        parameters = macs = 0
        if layer[0] == "linear":
            inputs = channels * height * width
            channels, height, width = layer[1], 1, 1
            macs = inputs * channels
            parameters = macs + channels
        elif layer[0] == "conv":
            _, filters, k, stride, padding = layer
            weights = filters * channels * k * k
            channels = filters
            height = (height + 2 * padding - k) // stride + 1
            width = (width + 2 * padding - k) // stride + 1
            parameters = weights + filters
            macs = weights * height * width
        else:
            _, k, stride = layer
            height, width = (height - k) // stride + 1, (width - k) // stride + 1
        rows.append(
            {
                "size": (channels, height, width),
                "memory": 4 * channels * height * width,
                "parameters": parameters,
                "MACs": macs,
            }
        )
    return rows


def table_by_torch(layers, channels, height, width):
    x = torch.zeros(1, channels, height, width, device="meta")
    rows = []
    for kind, *numbers in layers:
        if kind == "conv":
            layer = nn.Conv2d(x.shape[1], *numbers, device="meta")
        elif kind == "pool":
            layer = nn.MaxPool2d(*numbers)
        else:
            x = x.flatten(1)
            layer = nn.Linear(x.shape[1], *numbers, device="meta")
        x = layer(x)
        weights = [p for p in layer.parameters() if p.ndim > 1]
        size = [*x.shape[1:], 1, 1][:3]
        rows.append(
            {
                "size": size,
                "memory": x.element_size() * prod(size),
                "parameters": sum(p.numel() for p in layer.parameters()),
                "MACs": sum(w.numel() for w in weights) * prod(size[1:]),
            }
        )
    return rows


def alexnet_by_hand():
    return {
        "conv1": {
            "side": 64,
            "memory": 4 * 48 * 64 * 64,
            "parameters": 48 * (3 * 11 * 11 + 1),
            "MACs": 48 * 64 * 64 * 3 * 11 * 11,
        },
        "pool2": {"side": 15, "memory": 4 * 160 * 15 * 15, "parameters": 0, "MACs": 0},
        "conv4": {
            "side": 15,
            "memory": 4 * 240 * 15 * 15,
            "parameters": 240 * (320 * 3 * 3 + 1),
            "MACs": 240 * 15 * 15 * 320 * 3 * 3,
        },
        "pool5": {"side": 7, "memory": 4 * 240 * 7 * 7, "parameters": 0, "MACs": 0},
        "fc6": {
            "side": 1,
            "memory": 4 * 3072,
            "parameters": 240 * 7 * 7 * 3072 + 3072,
            "MACs": 240 * 7 * 7 * 3072,
        },
    }


def alexnet_by_table():
    layers = [
        ("conv", 48, 11, 4, 2),
        ("pool", 3, 2),
        ("conv", 160, 5, 1, 2),
        ("pool", 3, 2),
        ("conv", 320, 3, 1, 1),
        ("conv", 240, 3, 1, 1),
        ("conv", 240, 3, 1, 1),
        ("pool", 3, 2),
        ("linear", 3072),
    ]
    rows = table_by_torch(layers, 3, 259, 259)
    for row in rows:
        row["side"] = row.pop("size")[-1]
    return {"conv1": rows[0], "pool2": rows[3], "conv4": rows[5], "pool5": rows[7], "fc6": rows[8]}


def vgg_by_table():
    layers = []
    for convs, filters in [(2, 48), (2, 96), (3, 192), (3, 384), (3, 384)]:
        layers += [("conv", filters, 3, 1, 1)] * convs + [("pool", 2, 2)]
    rows = table_by_formula(
        [*layers, ("linear", 2048), ("linear", 2048), ("linear", 150)], 3, 192, 320
    )
    stages = {"stage 1": rows[:3], "stage 3": rows[6:10], "stage 5": rows[14:18]}
    stages["classifier"] = rows[18:]
    return {
        name: {
            column: sum(row[column] for row in own) for column in ("memory", "parameters", "MACs")
        }
        for name, own in stages.items()
    }


def vgg_by_hand():
    def stage(convs, before, filters, height, width):
        first, other = 9 * before * filters, 9 * filters * filters
        weights = first + (convs - 1) * other
        outputs = filters * height * width
        return {
            "memory": 4 * (convs * outputs + outputs // 4),
            "parameters": weights + convs * filters,
            "MACs": weights * height * width,
        }

    weights = 384 * 6 * 10 * 2048 + 2048 * 2048 + 2048 * 150
    return {
        "stage 1": stage(2, 3, 48, 192, 320),
        "stage 3": stage(3, 96, 192, 48, 80),
        "stage 5": stage(3, 384, 384, 12, 20),
        "classifier": {
            "memory": 4 * (2048 + 2048 + 150),
            "parameters": weights + 2048 + 2048 + 150,
            "MACs": weights,
        },
    }


def sees_step_by_step(layers):
    size, jump, start = 1, 1, 0
    for kernel_size, stride, padding, dilation in layers:
        size += dilation * (kernel_size - 1) * jump
        start -= padding * jump
        jump *= stride
    return size, jump, start


def sees_backwards(layers):
    def window(output):
        first = last = output
        for kernel_size, stride, padding, dilation in layers[::-1]:
            first = first * stride - padding
            last = last * stride - padding + dilation * (kernel_size - 1)
        return first, last

    (first, last), (second, _) = window(0), window(1)
    return [last - first + 1, second - first, first]


def needed_backwards(layers, outputs):
    for kernel_size, stride, padding in layers[::-1]:
        outputs = stride * (outputs - 1) + kernel_size - 2 * padding
    return outputs


def needed_tried(layers, outputs):
    for image in range(1, 3000):
        n = image
        for kernel_size, stride, padding in layers:
            n = max(0, n + 2 * padding - kernel_size + stride) // stride
        if n == outputs:
            return image
    return None


def training_by_hand(parameters, activations, batch, optimizer):
    numbers = 2 * parameters + batch * activations
    if optimizer == "momentum":
        numbers += parameters
    elif optimizer == "adam":
        numbers += 2 * parameters
    return 4 * numbers


def training_by_tensors(parameters, activations, batch, optimizer):
    tensors = {"sgd": 2, "momentum": 3, "adam": 4}[optimizer]
    held = torch.zeros(tensors, parameters, device="meta")
    kept = torch.zeros(batch, activations, device="meta")
    return held.nbytes + kept.nbytes


def errata_by_hand():
    inside = 288 * (96 + 72 + 24 + 64) + 9 * 72 * 144 + 25 * 24 * 56
    return {
        "side of conv1": 59,
        "parameters of fc6": 5 * 5 * 320 * 3072 + 3072,
        "weights of the first layer": 3 * 200 * 300 * 1500,
        "MACs of the module": 18 * 18 * inside,
        "parameters of fc8": 2048 * 150 + 150,
    }


def errata_by_torch():
    def parameters(inputs, outputs):
        layer = nn.Linear(inputs, outputs, device="meta")
        return layer.weight.numel() + layer.bias.numel()

    rows = [(288, 96, 1), (288, 72, 1), (72, 144, 3), (288, 24, 1), (24, 56, 5), (288, 64, 1)]
    conv = nn.Conv2d(3, 1, 11, 4, 2, device="meta")
    return {
        "side of conv1": conv(torch.zeros(1, 3, 240, 240, device="meta")).shape[-1],
        "parameters of fc6": parameters(320 * 5 * 5, 3072),
        "weights of the first layer": prod([3, 200, 300, 1500]),
        "MACs of the module": sum(18 * 18 * i * o * k**2 for i, o, k in rows),
        "parameters of fc8": parameters(2048, 150),
    }


ANSWERS = {
    "a2-memory": (memory_by_hand, memory_by_torch),
    "a2-side": (side_by_formula, side_counted, side_by_torch),
    "a2-parameters": (parameters_by_formula, parameters_by_groups, parameters_by_torch),
    "a2-macs": (macs_by_formula, macs_by_torch),
    "a2-table": (table_by_formula, table_by_torch),
    "a2-alexnet": (alexnet_by_hand, alexnet_by_table),
    "a2-vgg": (vgg_by_table, vgg_by_hand),
    "a2-receptive": (sees_step_by_step, sees_backwards),
    "a2-needed": (needed_backwards, needed_tried),
    "a2-training": (training_by_hand, training_by_tensors),
    "a2-errata": (errata_by_hand, errata_by_torch),
}
