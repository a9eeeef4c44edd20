"""EfficientNet: one searched network scaled in depth, width and resolution together.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019.
https://arxiv.org/abs/1905.11946

Compound scaling (equation 3) takes depth 1.2^φ, width 1.1^φ and resolution 1.15^φ, whose cost
grows by about 2^φ. The networks use these rounded factors.
"""

import math
from functools import partial

from torch import Tensor, nn

from cnnlab.layers import ConvNormAct, SqueezeExcitation, StochasticDepth
from cnnlab.models._network import Network
from cnnlab.models._registry import register
from cnnlab.models.mobilenet import round_channels

# Table 1, B0: expansion, kernel_size, stride of the first, output channels, number.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
# B0 to B7: width, depth, resolution, dropout.
SCALES = (
    (1.0, 1.0, 224, 0.2),
    (1.0, 1.1, 240, 0.2),
    (1.1, 1.2, 260, 0.3),
    (1.2, 1.4, 300, 0.3),
    (1.4, 1.8, 380, 0.4),
    (1.6, 2.2, 456, 0.4),
    (1.8, 2.6, 528, 0.5),
    (2.0, 3.1, 600, 0.5),
)


class MBConv(nn.Module):
    """MobileNet v2's inverted residual with squeeze-and-excitation in its wide part.

    ``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``.

    Parameters
    ----------
    drop : float
        Probability that training skips the convolutions of an image (stochastic depth).
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride, expand, drop, norm, **kw):
        super().__init__()
        conv = partial(ConvNormAct, norm=norm, act=nn.SiLU, **kw)
        width = in_channels * expand
        self.block = nn.Sequential(
            *([conv(in_channels, width, 1)] if expand != 1 else []),
            conv(width, width, kernel_size, stride, groups=width),
            SqueezeExcitation(width, max(1, in_channels // 4), nn.SiLU, **kw),
            conv(width, out_channels, 1, act=None),
        )
        self.stochastic_depth = StochasticDepth(drop, mode="row")
        self.adds = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return self.stochastic_depth(self.block(x)) + x if self.adds else self.block(x)


class EfficientNet(Network):
    """A 3×3 convolution, seven stages of `MBConv`, a 1×1 convolution, pool, one linear layer.

    ``(N, 3, H, W)`` to ``(N, num_classes)``.

    Parameters
    ----------
    width, depth : float
        Factors on the channels (then rounded to a multiple of 8) and on the blocks of a stage.
    drop : float
        Of the last block, rising linearly from the first.
    norm : callable
        Makes the normalization layers.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        width: float = 1.0,
        depth: float = 1.0,
        dropout: float = 0.2,
        drop: float = 0.2,
        norm=nn.BatchNorm2d,
        device=None,
        dtype=None,
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        conv = partial(ConvNormAct, norm=norm, act=nn.SiLU, **kw)
        channels = round_channels(32 * width)
        counts = [math.ceil(count * depth) for *_, count in STAGES]
        layers, built = [conv(in_channels, channels, 3, stride=2)], 0
        for count, (expand, kernel_size, first_stride, base, _) in zip(counts, STAGES, strict=True):
            blocks, out_channels = [], round_channels(base * width)
            for index in range(count):
                stride = first_stride if index == 0 else 1
                rate = drop * built / sum(counts)
                blocks.append(
                    MBConv(channels, out_channels, kernel_size, stride, expand, rate, norm, **kw)
                )
                channels, built = out_channels, built + 1
            layers.append(nn.Sequential(*blocks))
        layers.append(conv(channels, 4 * channels, 1))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(4 * channels, num_classes, **kw)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


for _number, (_width, _depth, _side, _dropout) in enumerate(SCALES):
    # Torchvision keeps TensorFlow's batch norm constants in B5 to B7, whence their weights came.
    _norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01) if _number >= 5 else nn.BatchNorm2d
    register(
        f"efficientnet_b{_number}",
        EfficientNet,
        f"EfficientNet-B{_number}: width × {_width}, depth × {_depth}, images of {_side}×{_side}",
        input_size=(3, _side, _side),
        width=_width,
        depth=_depth,
        dropout=_dropout,
        norm=_norm,
    )
