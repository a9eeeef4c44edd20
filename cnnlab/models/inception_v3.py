"""Inception v3: large filters factored into small and into one-dimensional ones.

Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the Inception Architecture for Computer
Vision", CVPR 2016. https://arxiv.org/abs/1512.00567
"""

from collections import namedtuple

import torch
from torch import Tensor, nn

from cnnlab.models._network import Network
from cnnlab.models._registry import register
from cnnlab.models.googlenet import shift_to_half, without_aux
from cnnlab.models.inception import Branches, conv_relu

InceptionOutputs = namedtuple("InceptionOutputs", ["logits", "aux_logits"])

# Filters by height × width; they keep the size of the map, but for those with stride 2.
WINDOWS = {
    "1×1": {"kernel_size": 1},
    "3×3": {"kernel_size": 3, "padding": 1},
    "5×5": {"kernel_size": 5, "padding": 2},
    "1×3": {"kernel_size": (1, 3), "padding": (0, 1)},
    "3×1": {"kernel_size": (3, 1), "padding": (1, 0)},
    "1×7": {"kernel_size": (1, 7), "padding": (0, 3)},
    "7×1": {"kernel_size": (7, 1), "padding": (3, 0)},
    "3×3/2": {"kernel_size": 3, "stride": 2},
}


def conv(in_channels: int, channels: int, window: str, **kw) -> nn.Sequential:
    return conv_relu(in_channels, channels, **WINDOWS[window], **kw)


def chain(name: str, in_channels: int, *layers: tuple[int, str], **kw) -> dict[str, nn.Module]:
    """Convolutions in a row, given as channels and window, named ``name_1``, ``name_2``, ..."""
    convs = {}
    for i, (channels, window) in enumerate(layers, start=1):
        convs[f"{name}_{i}"] = conv(in_channels, channels, window, **kw)
        in_channels = channels
    return convs


class InceptionA(Branches):
    """Figure 5, on 35×35: the 5×5 of GoogLeNet also as two 3×3."""

    def __init__(self, c: int, pool_channels: int, **kw):
        super().__init__(
            {"branch1x1": conv(c, 64, "1×1", **kw)},
            chain("branch5x5", c, (48, "1×1"), (64, "5×5"), **kw),
            chain("branch3x3dbl", c, (64, "1×1"), (96, "3×3"), (96, "3×3"), **kw),
            {
                "pool": nn.AvgPool2d(3, 1, padding=1),
                "branch_pool": conv(c, pool_channels, "1×1", **kw),
            },
        )


class InceptionB(Branches):
    """Figure 10: 35×35 to 17×17, by strided convolutions beside a pool."""

    def __init__(self, c: int, **kw):
        super().__init__(
            {"branch3x3": conv(c, 384, "3×3/2", **kw)},
            chain("branch3x3dbl", c, (64, "1×1"), (96, "3×3"), (96, "3×3/2"), **kw),
            {"pool": nn.MaxPool2d(3, 2)},
        )


class InceptionC(Branches):
    """Figure 6, on 17×17: 7×7 as 1×7 and 7×1, ``w`` channels within."""

    def __init__(self, c: int, w: int, **kw):
        twice = (w, "1×1"), (w, "7×1"), (w, "1×7"), (w, "7×1"), (192, "1×7")
        super().__init__(
            {"branch1x1": conv(c, 192, "1×1", **kw)},
            chain("branch7x7", c, (w, "1×1"), (w, "1×7"), (192, "7×1"), **kw),
            chain("branch7x7dbl", c, *twice, **kw),
            {
                "pool": nn.AvgPool2d(3, 1, padding=1),
                "branch_pool": conv(c, 192, "1×1", **kw),
            },
        )


class InceptionD(Branches):
    """17×17 to 8×8, like `InceptionB`."""

    def __init__(self, c: int, **kw):
        factored = (192, "1×1"), (192, "1×7"), (192, "7×1"), (192, "3×3/2")
        super().__init__(
            chain("branch3x3", c, (192, "1×1"), (320, "3×3/2"), **kw),
            chain("branch7x7x3", c, *factored, **kw),
            {"pool": nn.MaxPool2d(3, 2)},
        )


class InceptionE(nn.Module):
    """Figure 7, on 8×8: branches that fork into 1×3 and 3×1, for many channels at the end."""

    def __init__(self, c: int, **kw):
        super().__init__()
        self.branch1x1 = conv(c, 320, "1×1", **kw)
        self.branch3x3_1 = conv(c, 384, "1×1", **kw)
        self.branch3x3_2a = conv(384, 384, "1×3", **kw)
        self.branch3x3_2b = conv(384, 384, "3×1", **kw)
        self.branch3x3dbl_1 = conv(c, 448, "1×1", **kw)
        self.branch3x3dbl_2 = conv(448, 384, "3×3", **kw)
        self.branch3x3dbl_3a = conv(384, 384, "1×3", **kw)
        self.branch3x3dbl_3b = conv(384, 384, "3×1", **kw)
        self.pool = nn.AvgPool2d(3, 1, padding=1)
        self.branch_pool = conv(c, 192, "1×1", **kw)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        outputs = [
            self.branch1x1(x),
            self.branch3x3_2a(single),
            self.branch3x3_2b(single),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(self.pool(x)),
        ]
        return torch.cat(outputs, 1)


class AuxiliaryHead(nn.Sequential):
    """A second classifier on the last 17×17 map, used while training."""

    def __init__(self, in_channels: int, num_classes: int, **kw):
        super().__init__()
        self.pool = nn.AvgPool2d(5, 3)
        self.conv0 = conv_relu(in_channels, 128, 1, **kw)
        self.conv1 = conv_relu(128, 768, 5, **kw)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(768, num_classes, **kw)


class Inception3(Network):
    """``(N, 3, 299, 299)`` to ``(N, num_classes)``; while training, to `InceptionOutputs`.

    Parameters
    ----------
    aux_logits : bool
        Build the auxiliary head, which runs while training only.
    transform_input : bool
        Turn the normalization of torchvision's data into the one that its weights expect.
    """

    input_size = (3, 299, 299)

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        aux_logits: bool = True,
        dropout: float = 0.5,
        transform_input: bool = False,
        device=None,
        dtype=None,
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        self.aux_logits, self.transform_input = aux_logits, transform_input
        self.Conv2d_1a_3x3 = conv_relu(in_channels, 32, 3, stride=2, **kw)
        self.Conv2d_2a_3x3 = conv_relu(32, 32, 3, **kw)
        self.Conv2d_2b_3x3 = conv_relu(32, 64, 3, padding=1, **kw)
        self.maxpool1 = nn.MaxPool2d(3, 2)
        self.Conv2d_3b_1x1 = conv_relu(64, 80, 1, **kw)
        self.Conv2d_4a_3x3 = conv_relu(80, 192, 3, **kw)
        self.maxpool2 = nn.MaxPool2d(3, 2)
        self.Mixed_5b = InceptionA(192, 32, **kw)
        self.Mixed_5c = InceptionA(256, 64, **kw)
        self.Mixed_5d = InceptionA(288, 64, **kw)
        self.Mixed_6a = InceptionB(288, **kw)
        self.Mixed_6b = InceptionC(768, 128, **kw)
        self.Mixed_6c = InceptionC(768, 160, **kw)
        self.Mixed_6d = InceptionC(768, 160, **kw)
        self.Mixed_6e = InceptionC(768, 192, **kw)
        if aux_logits:
            self.AuxLogits = AuxiliaryHead(768, num_classes, **kw)
        self.Mixed_7a = InceptionD(768, **kw)
        self.Mixed_7b = InceptionE(1280, **kw)
        self.Mixed_7c = InceptionE(2048, **kw)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(2048, num_classes, **kw)

    def forward(self, x: Tensor) -> Tensor | InceptionOutputs:
        if self.transform_input:
            x = shift_to_half(x)
        x = self.maxpool1(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = self.maxpool2(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))
        aux = self.AuxLogits(x) if self.training and self.aux_logits else None
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        logits = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        return logits if aux is None else InceptionOutputs(logits, aux)


register(
    "inception_v3",
    Inception3,
    "Inception v3: factored filters, one auxiliary head, images of 299×299",
    input_size=(3, 299, 299),
    adapt=without_aux,
    published={"transform_input": True},
)
