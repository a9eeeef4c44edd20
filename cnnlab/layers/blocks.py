"""Convolutions as networks use them: with norm and activation, grouped, separable, shuffled."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = [
    "ChannelShuffle",
    "ConvNormAct",
    "DepthwiseSeparableConv2d",
    "Residual",
    "channel_shuffle",
    "grouped_conv2d",
]


class ConvNormAct(nn.Sequential):
    """Convolution, normalization, activation: ``(N, C_in, H, W)`` to ``(N, C_out, H', W')``.

    Padding defaults to "half" (the size divides by the stride), and the convolution has a bias
    only where no norm follows that would cancel it. ``norm=None`` or ``act=None`` leaves that
    part out. Unpack it (``nn.Sequential(*ConvNormAct(...), ...)``) for a flat list of layers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | tuple[int, int] | None = None,
        groups: int = 1,
        *,
        norm: Callable[..., nn.Module] | None = nn.BatchNorm2d,
        act: Callable[..., nn.Module] | None = nn.ReLU,
        device=None,
        dtype=None,
    ):
        kw = {"device": device, "dtype": dtype}
        if padding is None:
            padding = (kernel_size - 1) // 2
        layers = [
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size,
                stride,
                padding,
                groups=groups,
                bias=norm is None,
                **kw,
            )
        ]
        if norm is not None:
            layers.append(norm(out_channels, **kw))
        if act is not None:
            layers.append(act(inplace=True))
        super().__init__(*layers)


def grouped_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, groups: int = 1, **options
) -> Tensor:
    """Grouped convolution as what it is: ``groups`` convolutions side by side.

    Each sees ``C_in / groups`` channels of ``x (N, C_in, H, W)`` and makes ``C_out / groups``, so
    parameters and multiply-adds fall by the factor ``groups``. ``options`` are those of
    `torch.nn.functional.conv2d`.
    """
    if x.shape[1] % groups or weight.shape[0] % groups:
        raise ValueError(
            f"groups={groups} must divide both the input's {x.shape[1]} channels and the "
            f"{weight.shape[0]} filters"
        )
    biases = [None] * groups if bias is None else bias.chunk(groups)
    parts = zip(x.chunk(groups, 1), weight.chunk(groups), biases, strict=True)
    return torch.cat([nn.functional.conv2d(*part, **options) for part in parts], dim=1)


class DepthwiseSeparableConv2d(nn.Module):
    """One filter per channel, then a 1×1 convolution that mixes them.

    ``(N, C_in, H, W)`` to ``(N, C_out, H', W')`` for ``k² C_in + C_in C_out`` weights instead of
    ``k² C_in C_out`` (Chollet 2017, https://arxiv.org/abs/1610.02357).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        bias: bool = True,
        device=None,
        dtype=None,
    ):
        super().__init__()
        kw = {"bias": bias, "device": device, "dtype": dtype}
        self.depthwise = nn.Conv2d(
            in_channels,
            in_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups=in_channels,
            **kw,
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, **kw)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Deal the channels of ``x (N, C, H, W)`` out, one of each group in turn.

    A grouped convolution that follows then sees channels of all groups (Zhang et al. 2018,
    https://arxiv.org/abs/1707.01083, figure 1).
    """
    if x.shape[1] % groups:
        raise ValueError(f"groups={groups} must divide the {x.shape[1]} channels")
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


class ChannelShuffle(nn.Module):
    """`channel_shuffle` as a layer."""

    def __init__(self, groups: int):
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return channel_shuffle(x, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class Residual(nn.Module):
    """A branch and a shortcut, added and rectified: ``relu(branch(x) + shortcut(x))``.

    The shortcut is the identity unless it is told (He et al. 2016, figure 2). Both have to give the
    same shape.
    """

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None):
        super().__init__()
        self.branch = branch
        self.shortcut = nn.Identity() if shortcut is None else shortcut

    def forward(self, x: Tensor) -> Tensor:
        return (self.branch(x) + self.shortcut(x)).relu()
