"""Lecture 8, GoogLeNet: the slides' numbers, from the package's networks."""

from cnnlab import summary
from cnnlab.models import get_model
from cnnlab.models.inception import Inception, NaiveInception

IMAGE, MAP = (3, 224, 224), (256, 28, 28)


def costs(model, size=IMAGE):
    """What a network costs when it evaluates."""
    return summary(model.eval(), size)


def branch(sheet, name: str) -> tuple[int, int]:
    """Weights (without biases) and MACs of a convolution."""
    row = sheet[f"{name}.conv"]
    return row.params - row.filters, row.macs


def stem(googlenet) -> dict:
    """Five rows, their sum, and VGG-16's way to the same size."""
    ids = {
        "conv1": "S000-008 S002-093, S000-009 S002-094, S000-010 S002-095, S000-011 S002-096",
        "maxpool1": "S000-012 S002-097, S000-013 S002-098, S000-014 S002-099, S000-015 S002-100",
        "conv2": "S000-016 S002-101, S000-017 S002-102, S000-018 S002-103, S000-019 S002-104",
        "conv3": "S000-020 S002-105, S000-021 S002-106, S000-022 S002-107, S000-023 S002-108",
        "maxpool2": "S000-024 S002-109, S000-025 S002-110, S000-026 S002-111, S000-027 S002-112",
    }
    rows, cells = {name: googlenet[name] for name in ids}, {}
    for name, facts in ids.items():
        row = rows[name]
        values = [row.output_size[0], row.memory, row.params, row.macs]
        cells |= dict(zip(facts.split(", "), values, strict=True))
    memory, params, macs = (
        sum(getattr(row, key) for row in rows.values()) for key in ("memory", "params", "macs")
    )
    front = summary(get_model("vgg16", device="meta").features[:17], IMAGE)
    return cells | {
        "S000-028 S002-113": memory,
        "S000-029 S002-114": params,
        "S000-030 S002-115": macs,
        "S002-116": 224 / rows["maxpool2"].output_size[0],
        "S002-117": front.total_memory,
        "S002-118": front.total_memory_with_pools / memory,
        "S002-119": front.total_params,
        "S002-120": front.total_params / params,
        "S002-121": front.total_macs,
        "S002-122": front.total_macs_with_pools / macs,
    }


def modules() -> dict:
    """The naive module and the reduced one, on a map of 28×28 with 256 channels."""
    naive = costs(NaiveInception(256, 128, 192, 96, device="meta"), MAP)
    reduced = costs(Inception(256, 128, 64, 192, 64, 96, 64, device="meta"), MAP)
    _, channels, height, width = naive.output_shape
    large = {"branch1": "S003-031", "branch2": "S003-032", "branch3": "S003-033"}
    thick = {fact: branch(naive, name)[0] for name, fact in large.items()}
    parts = {
        "branch2.0": "S000-042 S001-077 S004-055",
        "branch3.0": "S000-043 S001-078 S004-056",
        "branch1": "S000-044 S001-079 S004-057",
        "branch2.1": "S000-045 S001-080 S004-058",
        "branch3.1": "S000-046 S001-081 S004-059",
        "branch4.1": "S000-047 S001-082 S004-060",
    }
    letters = ("S003-035", "S003-036", "S003-037", "S003-038", "S003-039", "S003-040")
    thin = {fact: branch(reduced, name)[0] for fact, name in zip(letters, parts, strict=True)}
    projected = reduced["branch4.1.conv"]
    return (
        {ids: branch(reduced, name)[1] for name, ids in parts.items()}
        | thick
        | thin
        | {
            "S000-036": channels,
            "S000-037 S001-072 S003-030": [height, width, channels],
            "S000-038 S001-073 S004-051": branch(naive, "branch1")[1],
            "S000-039 S001-074 S004-052": branch(naive, "branch2")[1],
            "S000-040 S001-075 S004-053": branch(naive, "branch3")[1],
            "S000-041 S001-076 S004-054": naive.total_macs,
            "S003-034": sum(thick.values()),
            "S000-048 S001-083 S004-061": reduced.total_macs,
            "S000-049 S001-084 S004-062": naive.total_macs / reduced.total_macs,
            "S004-063": [reduced.output_shape[1], channels],
            "S003-043": [*reduced.output_shape[2:], reduced.output_shape[1]],
            "S003-044": [*projected.output_size, projected.filters],
            "S003-041": sum(thin.values()),
            "S003-042": sum(thick.values()) / sum(thin.values()),
        }
    )


def whole(googlenet) -> dict:
    """Layers and parameters of the network, without the heads that only training uses."""
    network, vgg = get_model("googlenet_paper", device="meta"), get_model("vgg16", device="meta")
    heads = sum(p.numel() for head in (network.aux1, network.aux2) for p in head.parameters())
    parameters = googlenet.total_params - heads
    longest = [
        row.name
        for row in googlenet.rows
        if row.kind in ("conv", "linear")
        and not any(f"branch{number}" in row.name for number in (1, 3, 4))
    ]
    alexnet = summary(get_model("alexnet_two_gpu", device="meta"), (3, 227, 227)).total_params
    return {
        "S000-031 S001-085 S003-046 S004-046": len(longest),
        "S000-032 S001-086 S004-047": sum(row.kind == "linear" for row in googlenet.rows),
        "S000-033 S004-048": parameters,
        "S000-034 S001-087 S003-047 S004-049": alexnet / parameters,
        "S003-048": costs(vgg).total_params / parameters,
    }


def last_layers(googlenet) -> dict:
    """The average and one linear layer, beside VGG-16's three."""
    vgg = costs(get_model("vgg16", device="meta"))
    average, fc, flat = googlenet["avgpool"], googlenet["fc"], vgg["flatten"].output_shape[1]
    fc6, fc7, fc8 = [row for row in vgg.rows if row.kind == "linear"]
    return {
        "S000-051": average.output_size[0],
        "S000-052": average.memory,
        "S000-053": average.macs,
        "S002-123": [average.memory, average.macs],
        "S000-054 S002-124": fc.memory,
        "S000-055": fc.params,
        "S000-056": fc.macs,
        "S002-125": fc.output_shape[1] // fc.filters,
        "S002-126": [fc.params, fc.macs],
        "S000-057 S002-127": flat,
        "S000-058 S002-128": 4 * flat,
        "S000-059 S002-129": fc6.memory,
        "S000-060 S002-130": fc6.params,
        "S000-061 S002-131": fc6.macs,
        "S000-062 S002-132": fc7.memory,
        "S000-063 S002-133": fc7.params,
        "S000-064 S002-134": fc7.macs,
        "S000-065 S002-135": fc8.memory,
        "S000-066 S002-136": fc8.params,
        "S000-067 S002-137": fc8.macs,
    }


def numbers() -> dict:
    """By the slides' ids (several with blanks between): what our networks give."""
    googlenet = costs(get_model("googlenet_paper", device="meta"))
    return stem(googlenet) | modules() | whole(googlenet) | last_layers(googlenet)


# A cell that got lost in a sparse matrix; the challenge's error.
QUOTED = "S003-029 S000-035 S001-088 S003-049 S004-050"
