"""Lecture 9, ResNet: the slides' numbers, from the package's networks and recipe."""

from itertools import pairwise

import torchvision
from torch import nn

from cnnlab import summary
from cnnlab.models import get_model
from cnnlab.models.residual import BasicBlock, Bottleneck
from cnnlab.training import get_recipe

IMAGE = (3, 224, 224)
NAMES = {
    depth: f"resnet{depth}" + ("_v1" if depth > 34 else "") for depth in (18, 34, 50, 101, 152)
}

# A row for each network: blocks and convolutions of its four stages, layers, MACs, top-5 error.
TABLE = {
    18: "S000-080 S002-138, S000-081 S002-139, S000-082 S002-140, S000-083 S002-141, "
    "S000-084 S002-142, S000-085 S002-143, S000-086 S002-144",
    34: "S000-087 S002-145, S000-088 S002-146, S000-089 S002-147, S000-090 S002-148, "
    "S000-091 S002-149, S000-092 S002-150, S000-093 S002-151",
    50: "S000-094 S002-152, S000-095 S002-153, S000-096 S002-154, S000-097 S002-155, "
    "S000-098 S002-156, S000-099 S002-157, S000-100 S002-158",
    101: "S000-101 S002-159, S000-102 S002-160, S000-103 S002-161, S000-104 S002-162, "
    "S000-105 S002-163, S000-106 S002-164, S000-107 S002-165",
    152: "S000-108 S002-166, S000-109 S002-167, S000-110 S002-168, S000-111 S002-169, "
    "S000-112 S002-170, S000-113 S002-171, S000-114 S002-172",
}


def stages(network, costs) -> list[list[int]]:
    """Blocks and convolutions of each stage; those of shortcuts don't count."""
    convs = [r.path for r in costs.rows if r.kind == "conv" and "downsample" not in r.name]
    return [
        [len(getattr(network, stage)), sum(path.startswith(stage) for path in convs)]
        for stage in network.stages
    ]


def top5_error(name: str) -> float:
    """In percent, from the card of torchvision's first weights."""
    card = torchvision.models.get_model_weights(name).IMAGENET1K_V1.meta
    return round(100 - card["_metrics"]["ImageNet-1K"]["acc@5"], 3)


def numbers() -> dict:
    """By the slides' ids (several with blanks between): what our networks give."""
    networks = {depth: get_model(name, device="meta") for depth, name in NAMES.items()}
    costs = {depth: summary(network, IMAGE) for depth, network in networks.items()}
    macs = {depth: cost.total_macs for depth, cost in costs.items()}
    parts = {depth: stages(networks[depth], costs[depth]) for depth in NAMES}
    layers = {depth: 1 + sum(convs for _, convs in part) + 1 for depth, part in parts.items()}
    errors = {depth: top5_error(f"resnet{depth}") for depth in NAMES}
    ours = {}
    for depth, ids in TABLE.items():
        row = [*parts[depth], layers[depth], macs[depth], errors[depth]]
        ours |= dict(zip(ids.split(", "), row, strict=True))

    places = ("conv1", "layer1", "layer2", "layer3", "layer4", "avgpool")
    ids = ["S000-132", "S000-133", "S000-134", "S000-135", "S000-136", "S000-137"]
    for id, place in zip(ids, places, strict=True):
        _, channels, height, width = costs[18][place].output_shape
        ours[id] = [height, width, channels]
    for depth, ids in {
        18: "S000-070 S000-071 S000-072 S000-073",
        34: "S000-075 S000-076 S000-077 S000-078",
    }.items():
        ours |= zip(ids.split(), (convs for _, convs in parts[depth]), strict=True)

    sides = [costs[18][place].output_size[0] for place in ("maxpool", *places[1:5])]
    windows = [
        sum(r.kernel_size == (3, 3) for r in costs[depth].rows if r.path.startswith("layer2.1"))
        for depth in (18, 50)
    ]
    basic = summary(BasicBlock(64, 64, device="meta"), (64, 28, 28)).total_macs
    bottleneck = summary(Bottleneck(256, 64, device="meta"), (256, 28, 28)).total_macs
    vgg19 = summary(get_model("vgg19", device="meta"), IMAGE).total_macs
    longest = summary(get_model("resnet1202_cifar", device="meta"), (3, 32, 32))
    paper = get_recipe("resnet")
    dropouts = any(isinstance(layer, nn.Dropout) for layer in networks[50].modules())
    blocks = [[count for count, _ in part] for part in parts.values()]
    rate = f"{paper.learning_rate:g}, /{1 / paper.factor:g} on {paper.schedule}"
    return ours | {
        "S000-069": [6 * n + 2 for n in (3, 9)],
        "S001-091": 6 * 9 + 2,
        "S000-138": [512, costs[18]["fc"].filters],
        "S004-066": (sides[1] / sides[2]) ** 2,
        "S002-176": [before // after for before, after in pairwise(sides)],
        "S002-177": basic / (28**2 * 64**2),
        "S002-178": bottleneck / (28**2 * 64**2),
        "S000-118": bottleneck,
        "S000-074": layers[18],
        "S000-079": layers[34],
        "S001-089 S004-064": layers[152],
        "S000-140 S003-051": blocks,
        "S002-191": blocks[2],
        "S000-139 S003-050": list(macs.values()),
        "S000-117": [macs[18], macs[34]],
        "S000-148": list(errors.values()),
        "S000-116": [errors[18], errors[34]],
        "S002-173": [errors[18], macs[18] / 1e9],
        "S002-174": [errors[34], macs[34] / 1e9],
        "S001-094": list(layers.values()),
        "S001-092": windows,
        "S001-093": sum(row.kind == "linear" for row in costs[50].rows),
        "S000-130": 152 / 19,
        "S000-131": [macs[152], vgg19],
        "S004-067": sum(row.kind in ("conv", "linear") for row in longest.rows),
        "S000-119 S001-096 S003-053": paper.momentum,
        "S003-054": paper.learning_rate,
        "S000-121 S001-098 S003-055": paper.batch_size,
        "S000-122 S001-099 S003-056": paper.weight_decay,
        "S000-120 S001-097": "0.1, /10 on plateau"
        if rate == "0.1, times 0.1 on a plateau"
        else rate,
        "S000-123 S001-100 S003-057": "some" if dropouts else "none",
    }


# Shifted headings, initializations, the year, prizes, and the second paper's errors.
QUOTED = (
    "S000-115 S000-124 S001-095 S003-052 S000-125 S001-090 S004-065 S000-126 S000-127 S000-128 "
    "S000-129 S002-179 S002-180 S002-181 S002-182 S000-141 S000-142 S002-183 S002-184"
)
