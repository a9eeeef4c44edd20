"""DenseNet: each layer sees the outputs of all layers before it.

Huang, Liu, van der Maaten and Weinberger, "Densely Connected Convolutional Networks", CVPR 2017.
https://arxiv.org/abs/1608.06993
"""

import re
from collections import OrderedDict

import torch
from torch import Tensor, nn

from cnnlab.models._init import he
from cnnlab.models._network import Network
from cnnlab.models._registry import register


class DenseLayer(nn.Sequential):
    """Norm, ReLU, 3×3 convolution to ``growth_rate`` new channels, appended to the input.

    ``(N, C, H, W)`` to ``(N, C + growth_rate, H, W)``. With ``bottleneck`` a 1×1 convolution to
    ``4 * growth_rate`` channels comes first (DenseNet-B).
    """

    def __init__(self, in_channels, growth_rate, bottleneck, dropout, **kw):
        layers = OrderedDict()
        plan = [(growth_rate, 3)]
        if bottleneck:
            plan.insert(0, (4 * growth_rate, 1))
        for i, (channels, k) in enumerate(plan, start=1):
            layers[f"norm{i}"] = nn.BatchNorm2d(in_channels, **kw)
            layers[f"relu{i}"] = nn.ReLU(inplace=True)
            layers[f"conv{i}"] = nn.Conv2d(
                in_channels, channels, k, padding=k // 2, bias=False, **kw
            )
            in_channels = channels
        layers["dropout"] = nn.Dropout(dropout)
        super().__init__(layers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, super().forward(x)], 1)


def transition(in_channels: int, out_channels: int, **kw) -> nn.Sequential:
    """Between two blocks: norm, ReLU, 1×1 convolution, 2×2 average pool."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(in_channels, **kw),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(in_channels, out_channels, 1, bias=False, **kw),
            pool=nn.AvgPool2d(2, 2),
        )
    )


class DenseNet(Network):
    """Stem, dense blocks with transitions between them, global average pool, one linear layer.

    ``(N, 3, H, W)`` to ``(N, num_classes)``.

    Parameters
    ----------
    growth_rate : int
        Channels that each layer adds, the paper's k.
    layers : tuple of int
        Layers in each dense block.
    stem_channels : int
        Of the first convolution.
    stem : {"imagenet", "cifar"}
        7×7 with stride 2, norm, ReLU and a max pool, or one 3×3 convolution.
    bottleneck : bool
        1×1 convolutions before the 3×3 (the B of DenseNet-BC).
    compression : float
        Share of the channels that a transition keeps (0.5 is the C).
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        growth_rate: int = 32,
        layers: tuple[int, ...] = (6, 12, 24, 16),
        stem_channels: int = 64,
        stem: str = "imagenet",
        bottleneck: bool = True,
        compression: float = 0.5,
        dropout: float = 0.0,
        device=None,
        dtype=None,
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        window = (7, 2, 3) if stem == "imagenet" else (3, 1, 1)
        features = OrderedDict(
            conv0=nn.Conv2d(in_channels, stem_channels, *window, bias=False, **kw)
        )
        if stem == "imagenet":
            features["norm0"] = nn.BatchNorm2d(stem_channels, **kw)
            features["relu0"] = nn.ReLU(inplace=True)
            features["pool0"] = nn.MaxPool2d(3, 2, 1)
        channels = stem_channels
        for i, count in enumerate(layers, start=1):
            block = OrderedDict()
            for j in range(1, count + 1):
                block[f"denselayer{j}"] = DenseLayer(
                    channels, growth_rate, bottleneck, dropout, **kw
                )
                channels += growth_rate
            features[f"denseblock{i}"] = nn.Sequential(block)
            if i < len(layers):
                kept = int(channels * compression)
                features[f"transition{i}"] = transition(channels, kept, **kw)
                channels = kept
        features[f"norm{len(layers) + 1}"] = nn.BatchNorm2d(channels, **kw)
        self.features = nn.Sequential(features)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes, **kw)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.relu(self.features(x)))
        return self.classifier(x.flatten(1))


def _modern_names(state: dict[str, Tensor], network: DenseNet) -> dict[str, Tensor]:
    """Published files date from a time when ``norm1`` was named ``norm.1``."""
    return {re.sub(r"(norm|conv)\.([12])\.", r"\1\2.", name): v for name, v in state.items()}


# Table 1.
for _depth, _growth, _stem, _layers in (
    (121, 32, 64, (6, 12, 24, 16)),
    (161, 48, 96, (6, 12, 36, 24)),
    (169, 32, 64, (6, 12, 32, 32)),
    (201, 32, 64, (6, 12, 48, 32)),
):
    register(
        f"densenet{_depth}",
        DenseNet,
        f"DenseNet-BC with {_depth} layers, {_growth} new channels in each",
        paper_init=he,
        adapt=_modern_names,
        growth_rate=_growth,
        layers=_layers,
        stem_channels=_stem,
    )

_cifar = {
    "input_size": (3, 32, 32),
    "num_classes": 10,
    "paper_init": he,
    "growth_rate": 12,
    "stem": "cifar",
}
register(
    "densenet40_cifar",
    DenseNet,
    "DenseNet with 40 layers for CIFAR, 12 new channels in each",
    **_cifar,
    layers=(12, 12, 12),
    stem_channels=16,
    bottleneck=False,
    compression=1.0,
)
register(
    "densenet_bc100_cifar",
    DenseNet,
    "DenseNet-BC with 100 layers for CIFAR, 12 new channels in each",
    **_cifar,
    layers=(16, 16, 16),
    stem_channels=24,
)
