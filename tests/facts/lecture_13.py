"""Lecture 13, comparing networks: the slides' numbers, from the package's table and networks."""

import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from cnnlab import summary
from cnnlab.models import get_model
from cnnlab.models.published import published_accuracies

RIVALS = ["googlenet", "resnet18", "resnet50", "inception_v3", "alexnet", "vgg16", "vgg19"]
LEFT_OUT = ("ResNet152", "SqueezeNet1_0")
# The rows of the slides' table, from the best to AlexNet.
ROWS = """
S004-068 S004-069 S004-070 S004-071 S004-072 S004-073 S004-074 S004-075 S004-076 S004-077 S004-078
S004-079 S004-080 S004-081 S004-082 S004-083 S004-084 S004-085 S004-086 S004-087 S004-088 S004-089
S004-090 S004-091 S004-092 S004-093 S004-094 S004-095 S004-096 S004-097 S004-098 S004-099 S004-100
S004-101 S004-102 S004-103 S004-104 S004-105 S004-106 S004-107 S004-108 S004-109 S004-110 S004-111
S004-112
"""


def points_per_parameter(name: str) -> float:
    meta = torchvision.models.get_model_weights(name).IMAGENET1K_V1.meta
    return meta["_metrics"]["ImageNet-1K"]["acc@1"] / meta["num_params"]


def costs(name: str) -> dict[str, int]:
    network = get_model(name, device="meta").eval()
    table = summary(network, network.input_size)
    return {"params": table.total_params, "macs": table.total_macs}


def backward_over_forward() -> float:
    with torch.device("meta"):
        network, image = get_model("vgg16", device="meta"), torch.zeros(1, 3, 224, 224)
        with FlopCounterMode(display=False) as forward:
            output = network(image)
        with FlopCounterMode(display=False) as backward:
            output.sum().backward()
    return backward.get_total_flops() / forward.get_total_flops()


def numbers() -> dict:
    """By the slides' ids (several with blanks between): what ours give."""
    rows = published_accuracies()
    on_slide = [row for row in rows if row.name not in LEFT_OUT]
    left_out = [row for row in rows if row.name in LEFT_OUT]
    alexnet, vgg19 = costs("alexnet"), costs("vgg19")
    return {
        **{id: [row.top1, row.top5] for id, row in zip(ROWS.split(), on_slide, strict=True)},
        "S004-113": " and ".join(f"{r.name} {r.top1:.3f} / {r.top5:.3f}" for r in left_out),
        "S004-114": sorted(on_slide, key=lambda row: -row.top1) == on_slide,
        "S000-146": max(RIVALS, key=points_per_parameter),
        "S000-147": [alexnet["macs"], alexnet["params"]],
        "S002-190": [vgg19["params"], vgg19["macs"]],
        "S001-104": round(backward_over_forward()),
    }


# Citation counts, which grow while one reads.
QUOTED = """
S002-185 S002-186 S002-187 S002-188 S002-189 S003-062 S003-063 S003-064 S003-065 S003-066 S003-067
S003-068 S003-069 S003-070 S003-071 S003-072 S003-073 S003-074 S003-075 S003-076
"""
