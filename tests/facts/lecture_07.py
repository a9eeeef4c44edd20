"""Lecture 7, NiN: the slides' numbers on linear layers and 1×1 convolutions."""

from torch import nn

from cnnlab import summary
from cnnlab.models import get_model
from cnnlab.shapes import output_size


def first_linear(name: str) -> tuple[int, list[int]]:
    """Weights of the first linear layer, and H and W of the map before it."""
    model = get_model(name, device="meta")
    rows = summary(model, model.input_size).rows
    layer = next(row for row in rows if row.kind == "linear")
    maps = [row.output_size for row in rows if len(row.output_shape) == 4]
    return layer.input_channels * layer.filters, list(maps[-1])


def numbers() -> dict:
    """By the slides' ids (several with blanks between): what our networks give."""
    convolution = nn.Conv2d(64, 192, kernel_size=3, bias=False, device="meta")
    pointwise = nn.Conv2d(64, 32, kernel_size=1, device="meta")
    filters, depth, height, width = pointwise.weight.shape
    return {
        "S000-001": convolution.weight.numel(),
        "S000-002": nn.Linear(512 * 7 * 7, 4096, bias=False, device="meta").weight.numel(),
        "S000-003": first_linear("lenet5")[0],
        "S000-004": first_linear("alexnet_d2l")[0],
        "S000-005": first_linear("alexnet")[1],
        "S000-006": first_linear("vgg16")[0],
        "S000-007": (64 / output_size(64, 2, stride=2)) ** 2,
        "S000-050": [filters, height, width, depth],
        "S003-045": pointwise.weight.numel(),
    }


QUOTED = ""
