"""SqueezeNet: AlexNet's accuracy with a fiftieth of its parameters.

Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model
size", 2016. https://arxiv.org/abs/1602.07360 (the 0.5 MB need Deep Compression on top).
"""

import torch
from torch import Tensor, nn

from cnnlab.models._network import Network
from cnnlab.models._registry import register


class Fire(nn.Module):
    """Squeeze with 1×1 filters, expand with 1×1 and 3×3 side by side: figure 1.

    ``(N, in_channels, H, W)`` to ``(N, 2 * expand, H, W)``.
    """

    def __init__(self, in_channels: int, squeeze: int, expand: int, device=None, dtype=None):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        self.squeeze = nn.Conv2d(in_channels, squeeze, 1, **kw)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1, **kw)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1, **kw)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.squeeze(x))
        return torch.cat([self.relu(self.expand1x1(x)), self.relu(self.expand3x3(x))], 1)


class SqueezeNet(Network):
    """A convolution, eight fire modules, a 1×1 convolution to the classes, their mean.

    ``(N, 3, H, W)`` to ``(N, num_classes)``.

    Parameters
    ----------
    stem : tuple of int
        Channels and kernel_size of the first convolution.
    pools : tuple of int
        After which fire modules the map is halved (0 is before the first).
    """

    FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        stem: tuple[int, int] = (96, 7),
        pools: tuple[int, ...] = (0, 3, 7),
        dropout: float = 0.5,
        device=None,
        dtype=None,
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        channels, kernel_size = stem
        layers = [
            nn.Conv2d(in_channels, channels, kernel_size, stride=2, **kw),
            nn.ReLU(inplace=True),
        ]
        for index, (squeeze, expand) in enumerate(self.FIRES):
            if index in pools:
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            layers.append(Fire(channels, squeeze, expand, **kw))
            channels = 2 * expand
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Conv2d(channels, num_classes, 1, **kw),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x)).flatten(1)


register("squeezenet1_0", SqueezeNet, "SqueezeNet of the paper: fire modules, 1.2 M parameters")
register(
    "squeezenet1_1",
    SqueezeNet,
    "SqueezeNet 1.1: as accurate with 2.3 times fewer operations, by pooling earlier",
    stem=(64, 3),
    pools=(0, 2, 4),
)
