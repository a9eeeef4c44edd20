"""Cells that a search can find: data that says what to compute, and the module that computes it.

Zoph, Vasudevan, Shlens and Le, "Learning Transferable Architectures for Scalable Image
Recognition", CVPR 2018, section 3. https://arxiv.org/abs/1707.07012
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from cnnlab.layers import ConvNormAct, DepthwiseSeparableConv2d

__all__ = ["OPERATIONS", "Block", "Cell", "Cells", "SearchedCell"]

OPERATIONS = (
    "identity",
    "separable 3×3",
    "separable 5×5",
    "separable 7×7",
    "average 3×3",
    "max 3×3",
)


class Block(NamedTuple):
    """``left(results[left_input]) + right(results[right_input])``.

    Result 0 is the previous cell's output, 1 that of the cell before it, 2 the cell's own first
    block, and so on.
    """

    left: str
    left_input: int
    right: str
    right_input: int


class Cell(NamedTuple):
    """Blocks, and which of the results are concatenated at the end."""

    blocks: tuple[Block, ...]
    output: tuple[int, ...]


class Cells(NamedTuple):
    """What a search finds: a cell that keeps the map's size and one that halves it."""

    normal: Cell
    reduction: Cell


def relu_conv_norm(in_channels: int, channels: int, stride: int = 1, **kw) -> nn.Sequential:
    """ReLU, 1×1 convolution, norm: brings an input to a cell's width."""
    return nn.Sequential(nn.ReLU(), *ConvNormAct(in_channels, channels, 1, stride, act=None, **kw))


def operation(name: str, in_channels: int, channels: int, stride: int, **kw) -> nn.Module:
    """One of `OPERATIONS`, ``(N, in_channels, H, W)`` to ``(N, channels, H', W')``."""
    if name not in OPERATIONS:
        raise ValueError(f"an operation is one of {', '.join(OPERATIONS)}, got {name!r}")
    if name == "identity":
        same = stride == 1 and in_channels == channels
        return nn.Identity() if same else relu_conv_norm(in_channels, channels, stride, **kw)
    kind, size = name.split()
    k = int(size[0])
    if kind == "separable":  # twice; the first has the stride
        layers = []
        for c_in, s in ((in_channels, stride), (channels, 1)):
            layers += [
                nn.ReLU(),
                DepthwiseSeparableConv2d(c_in, channels, k, s, k // 2, bias=False, **kw),
                nn.BatchNorm2d(channels, **kw),
            ]
        return nn.Sequential(*layers)
    if kind == "average":
        pool = nn.AvgPool2d(k, stride, k // 2, count_include_pad=False)
    else:
        pool = nn.MaxPool2d(k, stride, k // 2)
    if in_channels == channels:
        return pool
    return nn.Sequential(pool, relu_conv_norm(in_channels, channels, **kw))


class FactorizedReduction(nn.Module):
    """Halve a map without losing every other pixel: two 1×1 convolutions, one of them shifted."""

    def __init__(self, in_channels: int, channels: int, **kw):
        super().__init__()
        self.even = nn.Conv2d(in_channels, channels // 2, 1, 2, bias=False, **kw)
        self.odd = nn.Conv2d(in_channels, channels - channels // 2, 1, 2, bias=False, **kw)
        self.norm = nn.BatchNorm2d(channels, **kw)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        shifted = nn.functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        return self.norm(torch.cat([self.even(x), self.odd(shifted)], 1))


class SearchedCell(nn.Module):
    """Build a `Cell`: ``(N, in_channels, H, W)`` and the input before it to the cell's output.

    Parameters
    ----------
    before_channels : int, optional
        Of the second input; None in the first cell, which takes its input twice.
    stride : int
        2 in a reduction cell; operations on the cell's two inputs have it.
    halve_before : bool
        Whether the second input's map is twice as large as the first's.
    """

    def __init__(
        self, cell: Cell, in_channels, before_channels, channels, stride, halve_before, **kw
    ):
        super().__init__()
        self.cell = cell
        self.current = relu_conv_norm(in_channels, channels, **kw)
        self.before = nn.Identity()
        if halve_before:
            self.before = FactorizedReduction(before_channels, channels, **kw)
        elif before_channels not in (None, channels):
            self.before = relu_conv_norm(before_channels, channels, **kw)
        widths = [channels, in_channels if before_channels is None else channels]
        self.left, self.right = nn.ModuleList(), nn.ModuleList()
        for block in cell.blocks:
            for side, name, index in (
                (self.left, block.left, block.left_input),
                (self.right, block.right, block.right_input),
            ):
                step = stride if index < 2 else 1
                side.append(operation(name, widths[index], channels, step, **kw))
            widths.append(channels)
        self.out_channels = sum(widths[index] for index in cell.output)

    def forward(self, x: Tensor, before: Tensor | None = None) -> Tensor:
        results = [self.current(x), x if before is None else self.before(before)]
        for block, left, right in zip(self.cell.blocks, self.left, self.right, strict=True):
            results.append(left(results[block.left_input]) + right(results[block.right_input]))
        return torch.cat([results[index] for index in self.cell.output], 1)
