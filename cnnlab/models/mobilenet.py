"""MobileNet v1 and v2: networks of depthwise separable convolutions, for telephones.

Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", 2017. https://arxiv.org/abs/1704.04861
Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
https://arxiv.org/abs/1801.04381
"""

from functools import partial

from torch import Tensor, nn

from cnnlab.layers import ConvNormAct
from cnnlab.models._network import Network
from cnnlab.models._registry import register


def round_channels(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of ``divisor`` that doesn't lose more than a tenth."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


class MobileNetV1(Network):
    """Table 1: a 3×3 convolution, 13 pairs of depthwise 3×3 and 1×1, pool, one linear layer.

    ``(N, 3, H, W)`` to ``(N, num_classes)``.

    Parameters
    ----------
    width : float
        The paper's α: factor on the channels of all layers.
    """

    # Output channels and stride of each pair.
    PAIRS = (
        *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
        *((512, 1),) * 5,
        *((1024, 2), (1024, 1)),
    )

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        width: float = 1.0,
        device=None,
        dtype=None,
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        channels = int(32 * width)
        layers = [ConvNormAct(in_channels, channels, 3, stride=2, **kw)]
        for base, stride in self.PAIRS:
            out_channels = int(base * width)
            layers.append(ConvNormAct(channels, channels, 3, stride, groups=channels, **kw))
            layers.append(ConvNormAct(channels, out_channels, 1, **kw))
            channels = out_channels
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes, **kw)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class InvertedResidual(nn.Module):
    """1×1 up to ``expand`` times the channels, depthwise 3×3, 1×1 down without activation.

    The shortcut joins the narrow ends, the opposite of a bottleneck: figure 3 of the v2 paper.
    """

    def __init__(self, in_channels, out_channels, stride, expand, device=None, dtype=None):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        conv = partial(ConvNormAct, act=nn.ReLU6, **kw)
        width = in_channels * expand
        self.conv = nn.Sequential(
            *([conv(in_channels, width, 1)] if expand != 1 else []),
            conv(width, width, 3, stride, groups=width),
            *ConvNormAct(width, out_channels, 1, act=None, **kw),
        )
        self.adds = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(Network):
    """Table 2: a 3×3 convolution, 17 inverted residuals, 1×1 to 1280, pool, one linear layer.

    ``(N, 3, H, W)`` to ``(N, num_classes)``.

    Parameters
    ----------
    width : float
        Factor on the channels, which are then rounded to a multiple of 8.
    """

    # Expansion, output channels, number, stride of the first.
    STAGES = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        width: float = 1.0,
        dropout: float = 0.2,
        device=None,
        dtype=None,
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        channels = round_channels(32 * width)
        last = round_channels(1280 * max(1.0, width))
        layers = [ConvNormAct(in_channels, channels, 3, stride=2, act=nn.ReLU6, **kw)]
        for expand, base, count, first_stride in self.STAGES:
            out_channels = round_channels(base * width)
            for index in range(count):
                stride = first_stride if index == 0 else 1
                layers.append(InvertedResidual(channels, out_channels, stride, expand, **kw))
                channels = out_channels
        layers.append(ConvNormAct(channels, last, 1, act=nn.ReLU6, **kw))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes, **kw))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


register("mobilenet_v1", MobileNetV1, "MobileNet v1: 13 depthwise separable convolutions")
register("mobilenet_v2", MobileNetV2, "MobileNet v2: inverted residuals, linear bottlenecks")
