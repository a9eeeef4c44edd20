"""Lecture 5, AlexNet and ZFNet: the slides' numbers, from the package's networks."""

from cnnlab import summary
from cnnlab.models import get_model
from cnnlab.shapes import output_size


def costs(name: str, size: tuple[int, ...] | None = None):
    """What a network costs, on its own input size or another."""
    model = get_model(name, device="meta")
    return summary(model, size or model.input_size)


def hwc(row) -> list[int]:
    _, channels, height, width = row.output_shape
    return [height, width, channels]


def two_columns(row) -> list[int]:
    """(2, H, W, channels of one GPU)."""
    height, width, channels = hwc(row)
    return [2, height, width, channels // 2]


def table() -> dict:
    """The slides' table of torchvision's network, which they feed 227×227 with padding 2."""
    ours = costs("alexnet", (3, 227, 227))
    conv1, pool1 = ours["features.0"], ours["features.2"]
    ids = {
        "features.0": "S002-030 S002-031 S002-032 S002-033",
        "features.2": "S002-034 S002-035 S002-036 S002-037",
        "features.3": "S002-038 S002-039 S002-040 S002-041",
        "features.5": "S002-042 S002-043 S002-044 S002-045",
        "features.6": "S002-046 S002-047 S002-048 S002-049",
        "features.8": "S002-050 S002-051 S002-052 S002-053",
        "features.10": "S002-054 S002-055 S002-056 S002-057",
        "features.12": "S002-058 S002-059 S002-060 S002-061",
        "classifier.1": "S002-064 S002-065 S002-066",
        "classifier.4": "S002-067 S002-068 S002-069",
        "classifier.6": "S002-070 S002-071 S002-072",
    }
    cells = {}
    for name, facts in ids.items():
        row = ours[name]
        numbers = [*row.output_size[:1], row.memory, row.params, row.macs]
        cells |= dict(zip(facts.split(), numbers, strict=True))
    flat, fc6 = ours["flatten"].output_shape[1], ours["classifier.1"]
    return cells | {
        "S002-019": [227, 227],
        "S002-021": conv1.output_size[0],
        "S002-022": output_size(227, 11, stride=4),
        "S002-023": conv1.memory // 4,
        "S002-024": conv1.memory,
        "S002-025": conv1.params,
        "S002-026": conv1.macs,
        "S002-027": pool1.output_size[0],
        "S002-028": pool1.macs,
        "S002-029": pool1.macs,
        "S002-062": flat,
        "S002-063": 4 * flat,
        "S002-073": fc6.params,
        "S002-074": fc6.macs,
        "S002-075": ours.total_memory,
        "S002-076": ours.total_params,
        "S002-077": ours.total_macs,
    }


def two_gpus() -> dict:
    """The paper's network."""
    sheet = costs("alexnet_two_gpu")
    names = ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5"]
    layer = dict(zip(names, (r for r in sheet.rows if r.kind in ("conv", "pool")), strict=True))
    first, second = layer["conv1"], layer["conv2"]
    ids = "S003-008 S003-009 S003-010 S003-011 S003-012 S003-013 S003-014 S003-015"
    halves = ids.split()
    return {fact: two_columns(layer[name]) for fact, name in zip(halves, names, strict=True)} | {
        "S003-001": output_size(224, 11, stride=4, padding=2),
        "S003-002": first.output_size[0],
        "S003-003": [*first.output_size, first.filters],
        "S003-004": first.params - first.filters,
        "S003-005": layer["pool1"].output_size[0],
        "S003-006": second.output_size[0],
        "S003-007": second.params - second.filters,
        "S003-016 S004-040": sheet.total_params,
        "S002-014": 224 * 224 * 3,
        "S002-015": first.memory // 4,
        "S002-016": second.memory // 4,
        "S002-017": layer["conv3"].memory // 4,
        "S002-018": layer["conv5"].memory // 4,
        "S004-042": [layer[f"conv{i}"].kernel_size[0] for i in range(1, 6)],
        "S000-005": layer["pool5"].output_size,
    }


def one_column() -> dict:
    """96 filters first and no groups; and the network whose last map is 5×5."""
    sheet = costs("alexnet_96")
    layers = [row for row in sheet.rows if row.kind in ("conv", "pool")]
    ids = "S001-002 S001-004 S001-007 S001-008 S001-009 S001-010 S001-011 S001-012"
    shown = ids.split()
    return {fact: hwc(row) for fact, row in zip(shown, layers, strict=True)} | {
        "S001-003": layers[0].params - layers[0].filters,
        "S001-005": layers[1].params,
        "S001-013": sheet.total_params,
        "S000-004": costs("alexnet_d2l")["classifier.0"].params - 4096,
    }


def numbers() -> dict:
    """By the slides' ids (several with blanks between): what our networks give."""
    zfnet = [row.filters for row in costs("zfnet").rows if row.kind == "conv"]
    return table() | two_gpus() | one_column() | {"S003-023 S002-085": zfnet[2:]}


# ImageNet's size and errors, the order of norm and pool, the recipe of the paper.
QUOTED = """S004-038 S004-039 S001-006 S003-017 S003-018 S003-019 S003-020 S003-021 S001-014
S001-015 S001-016 S001-017 S001-018 S001-019 S004-041 S002-020 S001-020 S002-084 S001-001"""
