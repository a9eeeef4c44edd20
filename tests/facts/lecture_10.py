"""Lecture 10, wider and denser: the slides' numbers, from the package's networks."""

import torchvision
from torch import nn

from cnnlab.models.residual import Bottleneck


def published(name: str, metric: str) -> float:
    """Of torchvision's first weights, in percent."""
    weights = torchvision.models.get_model_weights(name).IMAGENET1K_V1
    return weights.meta["_metrics"]["ImageNet-1K"][metric]


def weights(layer: nn.Module) -> int:
    return sum(m.weight.numel() for m in layer.modules() if isinstance(m, nn.Conv2d))


def numbers() -> dict:
    """By the slides' ids (several with blanks between): what ours give."""
    wide_and_deep = ("wide_resnet50_2", "resnet152")
    full, grouped = (nn.Conv2d(128, 128, 3, groups=groups) for groups in (1, 32))
    dense_layers = 5
    return {
        "S001-101 S003-058": [published(name, "acc@1") for name in wide_and_deep],
        "S000-143": [round(100 - published(name, "acc@5"), 3) for name in wide_and_deep],
        "S000-144": weights(full) / weights(grouped),
        "S000-145": weights(Bottleneck(256, 64, groups=32, base_width=4)),
        "S003-060": sum(range(1, dense_layers + 1)),
    }


# A sentence on shortcuts, and a claim that belongs to another paper.
QUOTED = "S003-059 S003-061"
