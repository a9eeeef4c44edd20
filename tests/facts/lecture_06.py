"""Lecture 6, VGG: the slides' numbers, from the package's networks."""

from torch import nn

from cnnlab import receptive_field, summary
from cnnlab.models import get_model

C, H, W = 64, 28, 28

# VGG-16 row by row: elements and weights.
ROWS = """S001-026 S001-027 S001-028 S001-029 S001-030 S001-031 S001-032 S001-033 S001-034 S001-035
S001-036 S001-037 S001-038 S001-039 S001-040 S001-041 S001-042 S001-043 S001-044 S001-045
S001-046 S001-047 S001-048 S001-049 S001-050 S001-051 S001-052 S001-053 S001-054 S001-055
S001-056 S001-057 S001-058 S001-059 S001-060 S001-061 S001-062 S001-063 S001-064 S001-065
S001-066 S001-067"""


def costs(name: str, size: tuple[int, ...] | None = None):
    """What a network costs, on its own input size or another."""
    model = get_model(name, device="meta")
    return summary(model, size or model.input_size)


def stages(sheet) -> tuple[list[int], list[int]]:
    """How many convolutions and how many channels each stage has."""
    counts, channels = [0], []
    for row in sheet.rows:
        if row.kind == "conv":
            counts[-1] += 1
        if row.type == "MaxPool2d":
            channels.append(row.output_channels)
            counts.append(0)
    return counts[:-1], channels


def depth(sheet) -> int:
    """Layers with weights."""
    return sum(row.kind in ("conv", "linear") for row in sheet.rows)


def stack(*kernel_sizes: int):
    """Convolutions from C to C channels, one after the other, that keep the map's size."""
    layers = [nn.Conv2d(C, C, k, padding=k // 2, bias=False, device="meta") for k in kernel_sizes]
    return summary(nn.Sequential(*layers), (C, H, W))


def per_unit(sheet) -> list[float]:
    """Weights in C², MACs in HWC²."""
    return [sheet.total_params / C**2, sheet.total_macs / (H * W * C**2)]


def coefficients(scale: int, factor: int) -> list[int]:
    """Memory, weights and MACs in HWC, C² and HWC², for a map of scale·H and factor·C channels."""
    conv = nn.Conv2d(factor * C, factor * C, 3, padding=1, bias=False, device="meta")
    sheet = summary(conv, (factor * C, scale * H, scale * W))
    units = H * W * C, C**2, H * W * C**2
    totals = sheet.total_memory / 4, sheet.total_params, sheet.total_macs
    return [round(number / unit) for number, unit in zip(totals, units, strict=True)]


def table(vgg16) -> dict:
    """The whole of VGG-16."""
    rows = [row for row in vgg16.rows if row.kind in ("conv", "pool", "linear") and row.memory]
    cells = []
    for row in rows:
        if row.type != "AdaptiveAvgPool2d":
            cells += [row.memory // 4, row.params - (row.filters or 0)]
    elements = 3 * 224 * 224 + sum(cells[0::2])
    return dict(zip(ROWS.split(), cells, strict=True)) | {
        "S001-024": 3 * 224 * 224,
        "S001-025": 0,
        "S001-068": 4 * elements,
        "S001-069": 24_000_000 * 4,
        "S001-070": sum(cells[1::2]),
    }


def numbers() -> dict:
    """By the slides' ids (several with blanks between): what our networks give."""
    vgg16, vgg19 = costs("vgg16"), costs("vgg19")
    alexnet = costs("alexnet", (3, 227, 227))
    counts, channels = stages(vgg16)
    large, small = stack(5), stack(3, 3)
    seven, three = stack(7), stack(3, 3, 3)
    return table(vgg16) | {
        "S002-086": counts[2],
        "S002-087 S003-027": depth(vgg16),
        "S002-088": channels,
        "S003-024": [depth(costs("alexnet_two_gpu")), depth(vgg16), depth(vgg19)],
        "S001-022 S003-026": [receptive_field([3, 3, 3]).size] * 2,
        "S002-089": [per_unit(large)[0], per_unit(small)[0]],
        "S002-090": [per_unit(large)[1], per_unit(small)[1]],
        "S001-023 S003-025": [per_unit(three)[0], per_unit(seven)[0]],
        "S003-028 S004-045": vgg16.total_params,
        "S000-002 S000-006": vgg16["classifier.0"].params - 4096,
        "S002-091": coefficients(2, 1),
        "S002-092": coefficients(1, 2),
        "S002-078": vgg16.total_memory,
        "S002-079": vgg16.total_memory / alexnet.total_memory,
        "S002-080": vgg16.total_params,
        "S002-081": vgg16.total_params / alexnet.total_params,
        "S002-082": vgg16.total_macs,
        "S002-083": vgg16.total_macs / alexnet.total_macs,
        "S002-175": torchvisions_error(),
    }


def torchvisions_error() -> float:
    """Top-5 error of torchvision's VGG-16, as its card says."""
    import torchvision

    card = torchvision.models.get_model_weights("vgg16").IMAGENET1K_V1.meta
    return round(100 - card["_metrics"]["ImageNet-1K"]["acc@5"], 3)


# Places and errors in the challenge.
QUOTED = "S001-021 S004-044 S001-071 S004-043"
