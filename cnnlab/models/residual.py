"""Residual blocks: what a layer adds to its input, and the shortcut that carries the input on.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, sections 3.2
and 3.3. https://arxiv.org/abs/1512.03385
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.layers import (
    CBAM,
    EfficientChannelAttention,
    SqueezeExcitation,
    StochasticDepth,
)

__all__ = ["BasicBlock", "Bottleneck", "ResidualBlock", "ZeroPadShortcut", "make_shortcut"]

ATTENTION = {
    "se": lambda channels, **kw: SqueezeExcitation(channels, channels // 16, **kw),
    "cbam": CBAM,
    "eca": EfficientChannelAttention,
}


class ZeroPadShortcut(nn.Module):
    """Option A: every ``stride``-th position, new channels zero. No parameters."""

    def __init__(self, stride: int, new_channels: int):
        super().__init__()
        self.stride, self.new_channels = stride, new_channels

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


def make_shortcut(
    option: str, in_channels: int, out_channels: int, stride: int, *, norm=nn.BatchNorm2d, **kw
) -> nn.Module | None:
    """Section 3.3: A pads with zeros, B projects where the shape changes, C projects always.

    ``"none"`` is no shortcut at all: a plain network. ``norm`` follows a projection.
    """
    changes = stride != 1 or in_channels != out_channels
    if option == "none":
        return None
    if option == "C" or (option == "B" and changes):
        conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False, **kw)
        return conv if norm is None else nn.Sequential(conv, norm(out_channels, **kw))
    if option == "A" and changes:
        return ZeroPadShortcut(stride, out_channels - in_channels)
    if option in ("A", "B"):
        return nn.Identity()
    raise ValueError(f"shortcut must be 'A', 'B', 'C' or 'none', got {option!r}")


class ResidualBlock(nn.Module):
    """``relu(branch(x) + shortcut(x))``, figure 2; a subclass builds and computes the branch.

    ``(N, in_channels, H, W)`` to ``(N, channels * expansion, H / stride, W / stride)``.

    Parameters
    ----------
    shortcut : str
        As in `make_shortcut`.
    attention : {"se", "cbam", "eca"} or callable, optional
        A gate for the branch's output; a callable makes one from the number of channels.
    drop : float
        Probability that training drops the branch.
    **options
        Of the branch, and ``device`` and ``dtype``.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        shortcut: str = "B",
        attention: str | Callable[..., nn.Module] | None = None,
        drop: float = 0.0,
        device=None,
        dtype=None,
        **options,
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        self.build_branch(in_channels, channels, stride, **options, **kw)
        out_channels = channels * self.expansion
        gate = ATTENTION.get(attention, attention)
        if isinstance(gate, str):
            raise ValueError(f"attention must be one of {sorted(ATTENTION)}, got {gate!r}")
        self.attention = None if gate is None else gate(out_channels, **kw)
        self.drop = StochasticDepth(drop) if drop else None
        self.downsample = make_shortcut(shortcut, in_channels, out_channels, stride, **kw)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x)
        if self.attention is not None:
            out = self.attention(out)
        if self.drop is not None:
            out = self.drop(out)
        if self.downsample is not None:
            out += self.downsample(x)
        return self.relu(out)


class BasicBlock(ResidualBlock):
    """Two 3×3 convolutions: figure 5, left. For 18 and 34 layers, and for CIFAR."""

    def build_branch(self, in_channels: int, channels: int, stride: int, **kw) -> None:
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False, **kw)
        self.bn1 = nn.BatchNorm2d(channels, **kw)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False, **kw)
        self.bn2 = nn.BatchNorm2d(channels, **kw)

    def branch(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(out))


class Bottleneck(ResidualBlock):
    """1×1 to a quarter of the channels, 3×3, 1×1 back: figure 5, right.

    Parameters
    ----------
    groups, base_width : int
        The 3×3 has ``channels * base_width / 64`` channels in each of ``groups`` groups: 1 and 64
        for ResNet, 32 and 4 for ResNeXt 32×4d, 1 and 128 for Wide ResNet-50-2.
    stride_on : {"3x3", "1x1"}
        Which convolution has the stride: the 3×3 (v1.5) or the first 1×1 (the paper).
    """

    expansion = 4

    def build_branch(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        *,
        groups: int = 1,
        base_width: int = 64,
        stride_on: str = "3x3",
        **kw,
    ) -> None:
        if stride_on not in ("1x1", "3x3"):
            raise ValueError(f"stride_on must be '1x1' or '3x3', got {stride_on!r}")
        width = channels * base_width // 64 * groups
        first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, width, 1, first, bias=False, **kw)
        self.bn1 = nn.BatchNorm2d(width, **kw)
        self.conv2 = nn.Conv2d(width, width, 3, second, 1, groups=groups, bias=False, **kw)
        self.bn2 = nn.BatchNorm2d(width, **kw)
        self.conv3 = nn.Conv2d(width, channels * self.expansion, 1, bias=False, **kw)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion, **kw)

    def branch(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.bn3(self.conv3(out))
