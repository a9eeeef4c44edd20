"""ShuffleNet v1 and v2: cheap 1×1 convolutions, and a shuffle so that all channels meet.

Zhang, Zhou, Lin and Sun, "ShuffleNet: An Extremely Efficient Convolutional Neural Network for
Mobile Devices", CVPR 2018. https://arxiv.org/abs/1707.01083
Ma, Zhang, Zheng and Sun, "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture
Design", ECCV 2018. https://arxiv.org/abs/1807.11164
"""

import torch
from torch import Tensor, nn

from cnnlab.layers import ChannelShuffle, ConvNormAct
from cnnlab.models._network import Network
from cnnlab.models._registry import register


class ShuffleUnit(nn.Module):
    """Grouped 1×1, shuffle, depthwise 3×3, grouped 1×1; added, or with stride 2 concatenated.

    Figure 2b and c of the first paper: ``(N, in_channels, H, W)`` to
    ``(N, out_channels, H / stride, W / stride)``.
    """

    def __init__(
        self, in_channels, out_channels, stride, groups, first_groups, device=None, dtype=None
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        width = out_channels // 4
        self.pool = nn.AvgPool2d(3, 2, padding=1) if stride == 2 else None
        made = out_channels - in_channels if stride == 2 else out_channels
        self.branch = nn.Sequential(
            ConvNormAct(in_channels, width, 1, groups=first_groups, **kw),
            ChannelShuffle(groups),
            ConvNormAct(width, width, 3, stride, groups=width, act=None, **kw),
            ConvNormAct(width, made, 1, groups=groups, act=None, **kw),
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x)
        return self.relu(x + out if self.pool is None else torch.cat([self.pool(x), out], 1))


class ShuffleNetV1(Network):
    """Table 1 of the first paper: stem, three stages of 4, 8 and 4 units, pool, linear layer.

    ``(N, 3, H, W)`` to ``(N, num_classes)``.

    Parameters
    ----------
    groups : {1, 2, 3, 4, 8}
        Of the 1×1 convolutions; more groups afford more channels at the same cost.
    """

    CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # noqa: RUF012

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        groups: int = 3,
        device=None,
        dtype=None,
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        if groups not in self.CHANNELS:
            raise ValueError(f"groups must be one of {sorted(self.CHANNELS)}, got {groups}")
        self.conv1 = ConvNormAct(in_channels, 24, 3, stride=2, **kw)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        units, channels, out_channels = [], 24, self.CHANNELS[groups]
        for count in (4, 8, 4):
            for index in range(count):
                first_groups = groups if units else 1  # too few channels to split in the first
                stride = 2 if index == 0 else 1
                units.append(
                    ShuffleUnit(channels, out_channels, stride, groups, first_groups, **kw)
                )
                channels = out_channels
            out_channels *= 2
        self.units = nn.Sequential(*units)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes, **kw)

    def forward(self, x: Tensor) -> Tensor:
        x = self.units(self.maxpool(self.conv1(x)))
        return self.fc(self.avgpool(x).flatten(1))


class SplitUnit(nn.Module):
    """Half the channels pass, half are convolved; with stride 2 both halves are: then shuffle.

    Figure 3c and d of the second paper: no grouped 1×1, equal widths, no addition.
    """

    def __init__(self, in_channels, out_channels, stride, device=None, dtype=None):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        half = out_channels // 2
        branch_in = in_channels if stride == 2 else half
        self.branch1 = nn.Sequential()
        if stride == 2:
            self.branch1 = nn.Sequential(
                *ConvNormAct(in_channels, in_channels, 3, 2, groups=in_channels, act=None, **kw),
                *ConvNormAct(in_channels, half, 1, **kw),
            )
        self.branch2 = nn.Sequential(
            *ConvNormAct(branch_in, half, 1, **kw),
            *ConvNormAct(half, half, 3, stride, groups=half, act=None, **kw),
            *ConvNormAct(half, half, 1, **kw),
        )
        self.shuffle = ChannelShuffle(2)
        self.splits = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1) if self.splits else (x, x)
        return self.shuffle(torch.cat([self.branch1(left), self.branch2(right)], 1))


class ShuffleNetV2(Network):
    """Table 5 of the second paper: stem, three stages of 4, 8 and 4 units, 1×1, pool, linear.

    ``(N, 3, H, W)`` to ``(N, num_classes)``.

    Parameters
    ----------
    channels : tuple of int
        Of the three stages and of the last convolution.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        channels: tuple[int, int, int, int] = (116, 232, 464, 1024),
        device=None,
        dtype=None,
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        *stages, last = channels
        self.conv1 = ConvNormAct(in_channels, 24, 3, stride=2, **kw)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        width = 24
        for number, (out_channels, count) in enumerate(zip(stages, (4, 8, 4), strict=True), 2):
            units = [SplitUnit(width, out_channels, 2, **kw)]
            units += [SplitUnit(out_channels, out_channels, 1, **kw) for _ in range(count - 1)]
            self.add_module(f"stage{number}", nn.Sequential(*units))
            width = out_channels
        self.conv5 = ConvNormAct(width, last, 1, **kw)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(last, num_classes, **kw)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage4(self.stage3(self.stage2(self.maxpool(self.conv1(x)))))
        return self.fc(self.avgpool(self.conv5(x)).flatten(1))


register("shufflenet_v1", ShuffleNetV1, "ShuffleNet v1: 1×1 convolutions in 3 groups, shuffled")
for _width, _channels in {
    "0.5": (48, 96, 192, 1024),
    "1.0": (116, 232, 464, 1024),
    "1.5": (176, 352, 704, 1024),
    "2.0": (244, 488, 976, 2048),
}.items():
    register(
        f"shufflenet_v2_x{_width.replace('.', '_')}",
        ShuffleNetV2,
        f"ShuffleNet v2, {_width} times the channels: half pass, half are convolved, shuffled",
        channels=_channels,
    )
