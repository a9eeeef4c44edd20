"""GoogLeNet: nine Inception modules, 22 layers, an eighth of AlexNet's parameters.

Szegedy et al., "Going Deeper with Convolutions", CVPR 2015. https://arxiv.org/abs/1409.4842

``googlenet_paper`` is the paper's network. ``googlenet`` is torchvision's, with batch norm and
without biases, whose 5×5 branch is 3×3.
"""

from collections import namedtuple
from functools import partial

from torch import Tensor, nn

from cnnlab.models._network import Network
from cnnlab.models._registry import register
from cnnlab.models.inception import Inception, conv_relu

GoogLeNetOutputs = namedtuple("GoogLeNetOutputs", ["logits", "aux_logits2", "aux_logits1"])

# Table 1: 1×1, 3×3 reduce, 3×3, 5×5 reduce, 5×5, pool projection. A pool ends stages 3 and 4.
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}

PAPER_AUX_POOL = partial(nn.AvgPool2d, 5, 3)


class AuxiliaryHead(nn.Module):
    """A second classifier halfway, which feeds gradient to the early layers while training.

    ``pool`` makes a 4×4 map of ``(N, in_channels, 14, 14)``.
    """

    def __init__(self, in_channels, num_classes, pool, dropout, batch_norm, device, dtype):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        self.pool = pool
        self.conv = conv_relu(in_channels, 128, 1, batch_norm=batch_norm, **kw)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024, **kw)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(1024, num_classes, **kw)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.pool(x)).flatten(1)
        return self.fc2(self.dropout(self.relu(self.fc1(x))))


class GoogLeNet(Network):
    """``(N, 3, 224, 224)`` to ``(N, num_classes)``; while training, to `GoogLeNetOutputs`.

    Parameters
    ----------
    aux_logits : bool
        Build the two auxiliary heads, which run while training only.
    batch_norm : bool
        Batch norm and no biases, or biases and no batch norm (the paper).
    kernel_size : int
        Of the modules' "5×5" branch.
    aux_pool : callable
        Makes the heads' pooling layer: 5×5 windows with stride 3 in the paper.
    transform_input : bool
        Turn the normalization of torchvision's data into the one that its weights expect.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        aux_logits: bool = True,
        batch_norm: bool = True,
        kernel_size: int = 5,
        aux_pool=PAPER_AUX_POOL,
        dropout: float = 0.4,
        transform_input: bool = False,
        device=None,
        dtype=None,
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        self.aux_logits, self.transform_input = aux_logits, transform_input
        conv = partial(conv_relu, batch_norm=batch_norm, **kw)
        self.conv1 = conv(in_channels, 64, 7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = conv(64, 64, 1)
        self.conv3 = conv(64, 192, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        channels = 192
        for name, widths in MODULES.items():
            module = Inception(
                channels, *widths, kernel_size=kernel_size, batch_norm=batch_norm, **kw
            )
            self.add_module(f"inception{name}", module)
            channels = widths[0] + widths[2] + widths[4] + widths[5]
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        # Torchvision's 2×2 and the paper's 3×3 both make 7×7 of 14×14.
        self.maxpool4 = nn.MaxPool2d(2 if kernel_size == 3 else 3, 2, ceil_mode=True)
        if aux_logits:
            self.aux1 = AuxiliaryHead(512, num_classes, aux_pool(), 0.7, batch_norm, **kw)
            self.aux2 = AuxiliaryHead(528, num_classes, aux_pool(), 0.7, batch_norm, **kw)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes, **kw)

    def forward(self, x: Tensor) -> Tensor | GoogLeNetOutputs:
        heads = self.training and self.aux_logits
        if self.transform_input:
            x = shift_to_half(x)
        x = self.conv3(self.conv2(self.maxpool1(self.conv1(x))))
        x = self.inception3b(self.inception3a(self.maxpool2(x)))
        x = self.inception4a(self.maxpool3(x))
        aux1 = self.aux1(x) if heads else None
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        aux2 = self.aux2(x) if heads else None
        x = self.maxpool4(self.inception4e(x))
        x = self.avgpool(self.inception5b(self.inception5a(x))).flatten(1)
        logits = self.fc(self.dropout(x))
        return GoogLeNetOutputs(logits, aux2, aux1) if heads else logits


def shift_to_half(x: Tensor) -> Tensor:
    """Re-normalize images from ImageNet's mean and deviation to mean 0.5 and deviation 0.5."""
    mean = x.new_tensor([0.485, 0.456, 0.406])[:, None, None]
    std = x.new_tensor([0.229, 0.224, 0.225])[:, None, None]
    return (x * std + mean - 0.5) / 0.5


def without_aux(state: dict[str, Tensor], network: Network) -> dict[str, Tensor]:
    """Leave a published file's auxiliary heads out, if the network was built without them."""
    if network.aux_logits:
        return state
    return {name: value for name, value in state.items() if not name.lower().startswith("aux")}


register(
    "googlenet",
    GoogLeNet,
    "GoogLeNet of torchvision: batch norm, 3×3 in the 5×5 branch (published heads untrained)",
    adapt=without_aux,
    published={"transform_input": True},
    kernel_size=3,
    aux_pool=partial(nn.AdaptiveAvgPool2d, 4),
    dropout=0.2,
)
register(
    "googlenet_paper",
    GoogLeNet,
    "GoogLeNet of the paper: 5×5 filters, biases, no batch norm, two auxiliary heads",
    batch_norm=False,
)
