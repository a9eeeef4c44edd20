"""ZFNet: AlexNet with a finer first layer, chosen by looking at what its filters see.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.
https://arxiv.org/abs/1311.2901
"""

from torch import Tensor, nn

from cnnlab.layers import LocalResponseNorm
from cnnlab.models._classifier import fully_connected
from cnnlab.models._init import normal
from cnnlab.models._network import Network
from cnnlab.models._registry import register


class ZFNet(Network):
    """Figure 3 of the paper: 7×7 filters with stride 2 first, ``(N, 3, 224, 224)`` to scores.

    The paper doesn't say how it normalizes contrast; this is AlexNet's response norm.

    Parameters
    ----------
    channels : tuple of int
        Of convolutions 3, 4 and 5.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        channels: tuple[int, int, int] = (384, 384, 256),
        dropout: float = 0.5,
        device=None,
        dtype=None,
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        c, d, e = channels

        def conv(*args, **options):
            return nn.Conv2d(*args, **options, **kw), nn.ReLU(inplace=True)

        self.features = nn.Sequential(
            *conv(in_channels, 96, 7, stride=2, padding=1),
            nn.MaxPool2d(3, 2, padding=1),
            LocalResponseNorm(),
            *conv(96, 256, 5, stride=2),
            nn.MaxPool2d(3, 2, padding=1),
            LocalResponseNorm(),
            *conv(256, c, 3, padding=1),
            *conv(c, d, 3, padding=1),
            *conv(d, e, 3, padding=1),
            nn.MaxPool2d(3, 2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)  # does nothing to a 224×224 input
        self.classifier = fully_connected(e * 36, num_classes, dropout, **kw)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


register("zfnet", ZFNet, "ZFNet of the paper's figure 3: 384, 384, 256", paper_init=normal(0.01))
register(
    "zfnet_slide",
    ZFNet,
    "ZFNet of the slides: 512, 1024, 512 filters in convolutions 3 to 5",
    paper_init=normal(0.01),
    channels=(512, 1024, 512),
)
