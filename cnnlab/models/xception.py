"""Xception: Inception taken to its limit, depthwise separable convolutions in residual blocks.

Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017.
https://arxiv.org/abs/1610.02357
"""

from torch import Tensor, nn

from cnnlab.layers import ConvNormAct, DepthwiseSeparableConv2d
from cnnlab.models._network import Network
from cnnlab.models._registry import register


def separable(in_channels: int, out_channels: int, **kw) -> list[nn.Module]:
    """Separable 3×3 convolution and norm, no activation between its two halves (section 4.7)."""
    return [
        DepthwiseSeparableConv2d(in_channels, out_channels, 3, padding=1, bias=False, **kw),
        nn.BatchNorm2d(out_channels, **kw),
    ]


class XceptionBlock(nn.Module):
    """ReLU and separable convolution for each width, then a pool if it strides; plus a shortcut.

    Parameters
    ----------
    widths : tuple of int
        Output channels of the convolutions.
    first_relu : bool
        Whether an activation stands before the first.
    """

    def __init__(self, in_channels, widths, stride=2, first_relu=True, device=None, dtype=None):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        layers, channels = [], in_channels
        for width in widths:
            layers += [nn.ReLU(), *separable(channels, width, **kw)]
            channels = width
        if stride == 2:
            layers.append(nn.MaxPool2d(3, 2, 1))
        self.layers = nn.Sequential(*(layers if first_relu else layers[1:]))
        self.shortcut = nn.Identity()
        if stride == 2:
            self.shortcut = ConvNormAct(in_channels, channels, 1, stride, act=None, **kw)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + self.shortcut(x)


class Xception(Network):
    """Figure 5: entry flow, middle flow eight times, exit flow; ``(N, 3, 299, 299)`` to scores."""

    input_size = (3, 299, 299)

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        dropout: float = 0.5,
        device=None,
        dtype=None,
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        self.entry = nn.Sequential(
            ConvNormAct(in_channels, 32, 3, stride=2, padding=0, **kw),
            ConvNormAct(32, 64, 3, padding=0, **kw),
            XceptionBlock(64, (128, 128), first_relu=False, **kw),
            XceptionBlock(128, (256, 256), **kw),
            XceptionBlock(256, (728, 728), **kw),
        )
        self.middle = nn.Sequential(
            *(XceptionBlock(728, (728, 728, 728), stride=1, **kw) for _ in range(8))
        )
        self.exit = nn.Sequential(
            XceptionBlock(728, (728, 1024), **kw),
            *separable(1024, 1536, **kw),
            nn.ReLU(inplace=True),
            *separable(1536, 2048, **kw),
            nn.ReLU(inplace=True),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(2048, num_classes, **kw)

    def forward(self, x: Tensor) -> Tensor:
        x = self.exit(self.middle(self.entry(x)))
        return self.fc(self.dropout(self.avgpool(x).flatten(1)))


register(
    "xception",
    Xception,
    "Xception: 34 depthwise separable convolutions in residual blocks, images of 299×299",
    input_size=(3, 299, 299),
)
