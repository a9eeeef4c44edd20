"""AlexNet, the network that won ImageNet 2012 by eleven points.

Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
Networks", NeurIPS 2012.
https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks

Many networks bear its name. ``alexnet_two_gpu`` is the paper's; ``alexnet`` is torchvision's,
with the 64 filters of the one-column network of https://arxiv.org/abs/1404.5997.
"""

import torch
from torch import Tensor, nn

from cnnlab.layers import LocalResponseNorm
from cnnlab.models._classifier import fully_connected
from cnnlab.models._init import normal
from cnnlab.models._network import Network
from cnnlab.models._registry import register


class AlexNet(Network):
    """Five convolutions and three fully connected layers, ``(N, 3, 227, 227)`` to scores.

    Parameters
    ----------
    channels : tuple of int
        Of the five convolutions.
    padding : int
        Of the first convolution, 11×11 with stride 4.
    groups : int
        2 cuts convolutions 2, 4 and 5 in halves that don't see each other, one for each GPU.
    local_response_norm : bool
        Normalize across channels after the first two convolutions.
    side : int
        Of the last map; an average pool makes other input sizes fit.
    dropout_first : bool
        Drop inputs of the hidden layers (torchvision) instead of their outputs (paper).
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        channels: tuple[int, ...] = (96, 256, 384, 384, 256),
        padding: int = 0,
        groups: int = 1,
        local_response_norm: bool = False,
        side: int = 6,
        dropout: float = 0.5,
        dropout_first: bool = False,
        device=None,
        dtype=None,
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        a, b, c, d, e = channels
        norm = [LocalResponseNorm()] if local_response_norm else []

        def conv(*args, **options):
            return nn.Conv2d(*args, **options, **kw), nn.ReLU(inplace=True)

        self.features = nn.Sequential(
            *conv(in_channels, a, 11, stride=4, padding=padding),
            *norm,
            nn.MaxPool2d(3, 2),
            *conv(a, b, 5, padding=2, groups=groups),
            *norm,
            nn.MaxPool2d(3, 2),
            *conv(b, c, 3, padding=1),
            *conv(c, d, 3, padding=1, groups=groups),
            *conv(d, e, 3, padding=1, groups=groups),
            nn.MaxPool2d(3, 2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(side)
        self.classifier = fully_connected(
            e * side**2, num_classes, dropout, dropout_first=dropout_first, **kw
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _paper_init(network: nn.Module, generator: torch.Generator | None = None) -> None:
    """Normal with deviation 0.01; biases 1 in convolutions 2, 4, 5 and the hidden layers, else 0.

    Section 5: a positive bias wakes the ReLUs at the start.
    """
    normal(0.01)(network, generator)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for index in (1, 3, 4, 5, 6):
        nn.init.ones_(layers[index].bias)


_paper = {"input_size": (3, 227, 227), "paper_init": _paper_init}

register(
    "alexnet",
    AlexNet,
    "AlexNet of torchvision: one column, 64 filters first, no response norm",
    paper_init=_paper_init,
    channels=(64, 192, 384, 256, 256),
    padding=2,
    dropout_first=True,
)
register(
    "alexnet_96",
    AlexNet,
    "AlexNet with 96 filters first in one ungrouped column, with response norm",
    **_paper,
    local_response_norm=True,
)
register(
    "alexnet_two_gpu",
    AlexNet,
    "AlexNet of the paper: 96 filters first, halves on two GPUs as groups=2",
    **_paper,
    local_response_norm=True,
    groups=2,
)
register(
    "alexnet_d2l",
    AlexNet,
    "AlexNet of Dive into Deep Learning: 96 filters, last map 5×5 instead of 6×6",
    paper_init=_paper_init,
    padding=1,
    side=5,
)
