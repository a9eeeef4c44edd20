"""Network in Network: 1×1 convolutions between the layers, global average pooling at the end.

Lin, Chen and Yan, "Network In Network", ICLR 2014. https://arxiv.org/abs/1312.4400
"""

from functools import partial

from torch import Tensor, nn

from cnnlab.models._network import Network
from cnnlab.models._registry import register


def mlpconv(in_channels, channels, kernel_size, stride=1, padding=0, **kw) -> nn.Sequential:
    """A convolution and two 1×1 convolutions, each with ReLU: a small MLP slid over the image.

    ``channels`` are the widths of the three.
    """
    first, second, third = channels
    return nn.Sequential(
        nn.Conv2d(in_channels, first, kernel_size, stride, padding, **kw),
        nn.ReLU(inplace=True),
        nn.Conv2d(first, second, 1, **kw),
        nn.ReLU(inplace=True),
        nn.Conv2d(second, third, 1, **kw),
        nn.ReLU(inplace=True),
    )


class NiN(Network):
    """Blocks of `mlpconv` with pools between, one map for each class, averaged to its score.

    Parameters
    ----------
    blocks : tuple
        For each block its three widths, kernel_size, stride and padding. The width ``None``
        stands for ``num_classes``.
    pools : tuple of callable
        Make the layers that stand between the blocks.
    drops : int
        Behind how many of the pools, counted from the last, dropout stands.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        blocks=(
            ((96, 96, 96), 11, 4, 0),
            ((256, 256, 256), 5, 1, 2),
            ((384, 384, 384), 3, 1, 1),
            ((1024, 1024, None), 3, 1, 1),
        ),
        pools=(nn.MaxPool2d,) * 3,
        drops: int = 1,
        dropout: float = 0.5,
        device=None,
        dtype=None,
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        layers = []
        for index, (widths, *window) in enumerate(blocks):
            widths = [num_classes if width is None else width for width in widths]
            layers.append(mlpconv(in_channels, widths, *window, **kw))
            in_channels = widths[-1]
            if index < len(pools):
                layers.append(pools[index](3, 2))
                if index >= len(pools) - drops:
                    layers.append(nn.Dropout(dropout))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.avgpool(self.features(x)).flatten(1)


register(
    "nin",
    NiN,
    "Network in Network for ImageNet, as in Caffe's model zoo",
    input_size=(3, 227, 227),
)
register(
    "nin_cifar",
    NiN,
    "Network in Network for CIFAR-10, of the paper",
    input_size=(3, 32, 32),
    num_classes=10,
    blocks=(
        ((192, 160, 96), 5, 1, 2),
        ((192, 192, 192), 5, 1, 2),
        ((192, 192, None), 3, 1, 1),
    ),
    pools=(partial(nn.MaxPool2d, ceil_mode=True), partial(nn.AvgPool2d, ceil_mode=True)),
    drops=2,
)
register(
    "nin_d2l",
    NiN,
    "Network in Network of Dive into Deep Learning, with AlexNet's filter sizes",
    blocks=(
        ((96, 96, 96), 11, 4, 0),
        ((256, 256, 256), 5, 1, 2),
        ((384, 384, 384), 3, 1, 1),
        ((None, None, None), 3, 1, 1),
    ),
)
