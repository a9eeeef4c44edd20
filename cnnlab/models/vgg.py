"""VGG: nothing but 3×3 convolutions, two or more between pools, 11 to 19 layers deep.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
ICLR 2015. https://arxiv.org/abs/1409.1556
"""

from torch import Tensor, nn

from cnnlab.models._classifier import fully_connected
from cnnlab.models._init import normal
from cnnlab.models._network import Network
from cnnlab.models._registry import register

# Convolutions in each of the five stages: configurations A, B, D and E of table 1.
STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(Network):
    """Five stages of 3×3 convolutions, halving the map after each; three linear layers.

    ``(N, 3, 224, 224)`` to ``(N, num_classes)``. Channels double from stage to stage up to 512.

    Parameters
    ----------
    stages : tuple of int
        Number of convolutions in each of the five stages.
    batch_norm : bool
        Normalize after each convolution.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        stages: tuple[int, ...] = STAGES[16],
        batch_norm: bool = False,
        dropout: float = 0.5,
        device=None,
        dtype=None,
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        layers = []
        for count, channels in zip(stages, (64, 128, 256, 512, 512), strict=True):
            for _ in range(count):
                layers.append(nn.Conv2d(in_channels, channels, 3, padding=1, **kw))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(channels, **kw))
                layers.append(nn.ReLU(inplace=True))
                in_channels = channels
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)  # does nothing to a 224×224 input
        self.classifier = fully_connected(512 * 7 * 7, num_classes, dropout, **kw)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


for _depth, _stages in STAGES.items():
    # Section 3.1: normal with variance 0.01. Only network A learned from it; the deeper ones
    # started from A's trained layers.
    register(
        f"vgg{_depth}",
        VGG,
        f"VGG with {_depth} layers",
        paper_init=normal(0.1),
        stages=_stages,
    )
    register(
        f"vgg{_depth}_bn",
        VGG,
        f"VGG with {_depth} layers, batch norm after each convolution",
        paper_init=normal(0.1),
        stages=_stages,
        batch_norm=True,
    )
