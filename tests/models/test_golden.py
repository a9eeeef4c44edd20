"""Parameters, MACs and memory of all networks of the lectures, by `cnnlab.summary`.

``tests/data/golden_totals.csv`` was counted without this package. The three figures are
independent: a stride on the wrong convolution, for example, leaves the parameters as they are.
"""

import csv
from pathlib import Path

import pytest
from torch import nn

import cnnlab.models
from cnnlab import summary
from cnnlab.layers import SqueezeExcitation
from cnnlab.models import get_model
from cnnlab.models.inception import Inception, NaiveInception


def gate_without_bias(channels, **kw):
    return SqueezeExcitation(channels, channels // 16, bias=False, **kw)


GOLDEN = Path(__file__).parents[1] / "data" / "golden_totals.csv"

# Our name for each row, and the options that make it that row's network.
OURS = {
    "LeNet (002 slide 20-50-500, 28x28)": ("lenet_slide", {}),
    "LeNet Caffe 20-50-500 no pad 28x28": ("lenet_caffe", {}),
    "LeNet-5 dense C3 (32x32)": ("lenet5", {}),
    "MNIST CNN (004)": ("mnist_cnn", {}),
    "AlexNet slide 64f 227 pad2": ("alexnet", {}),
    "AlexNet 64f torchvision 224": ("alexnet", {}),
    "AlexNet 96f ungrouped 227 (001)": ("alexnet_96", {}),
    "AlexNet 2-GPU grouped 227 (003/paper)": ("alexnet_two_gpu", {}),
    "AlexNet d2l 224 pad1 (000: 5x5x256)": ("alexnet_d2l", {}),
    "ZFNet paper 224": ("zfnet", {}),
    "ZFNet slide 512-1024-512": ("zfnet_slide", {}),
    "VGG16 slide-error (2 conv in stage 3)": ("vgg16", {"stages": (2, 2, 2, 3, 3)}),
    "NiN d2l 1000cls 224": ("nin_d2l", {}),
    "NiN d2l 10cls (1x224)": ("nin_d2l", {"num_classes": 10, "in_channels": 1}),
    "NiN ImageNet (Caffe zoo) 227": ("nin", {}),
    "NiN CIFAR-10": ("nin_cifar", {}),
    "GoogLeNet paper (5x5, bias, no BN, no aux)": ("googlenet_paper", {"aux_logits": False}),
    "GoogLeNet paper + 2 aux": ("googlenet_paper", {}),
    "GoogLeNet BN 5x5 no aux": ("googlenet", {"kernel_size": 5, "aux_logits": False}),
    "GoogLeNet BN 3x3-for-5x5 no aux (=torchvision)": ("googlenet", {"aux_logits": False}),
    "CIFAR plain-20": ("plain20_cifar", {}),
    "CIFAR plain-56": ("plain56_cifar", {}),
    "CIFAR ResNet-20 option B": ("resnet20_cifar", {"shortcut": "B"}),
    "WRN-28-10 CIFAR": ("wide_resnet28_10_cifar", {}),
    "WRN-16-8 CIFAR": ("wide_resnet16_8_cifar", {}),
    "WRN-40-4 CIFAR": ("wide_resnet40_4_cifar", {}),
    "WRN-50-2 bottleneck": ("wide_resnet50_2", {}),
    "ResNeXt-50 32x4d": ("resnext50_32x4d", {}),
    "ResNeXt-101 32x4d": ("resnext101_32x4d", {}),
    "ResNeXt-101 64x4d": ("resnext101_64x4d", {}),
    "SE-ResNet-50 r16 (v1)": ("se_resnet50", {}),
    "SE-ResNet-50 r16 fc no bias": ("resnet50_v1", {"attention": gate_without_bias}),
    "CBAM-ResNet-50 r16": ("cbam_resnet50", {}),
    "ECA-ResNet-50": ("eca_resnet50", {}),
    "DenseNet-40 k12 CIFAR": ("densenet40_cifar", {}),
    "DenseNet-BC-100 k12 CIFAR": ("densenet_bc100_cifar", {}),
    "SqueezeNet 1.0 (tv, 224)": ("squeezenet1_0", {}),
    "SqueezeNet 1.1 (tv)": ("squeezenet1_1", {}),
    "MobileNetV1 1.0": ("mobilenet_v1", {}),
    "MobileNetV2 (tv)": ("mobilenet_v2", {}),
    "ShuffleNetV2 1.0 (tv)": ("shufflenet_v2_x1_0", {}),
    **{f"VGG{n}": (f"vgg{n}", {}) for n in (11, 13, 16, 19)},
    **{f"Plain-{n}": (f"plain{n}", {}) for n in (18, 34)},
    **{f"ResNet-{n} v1 (stride first), option B": (f"resnet{n}", {}) for n in (18, 34)},
    **{f"ResNet-{n} v1 option A": (f"resnet{n}", {"shortcut": "A"}) for n in (18, 34)},
    **{f"ResNet-{n} v1 (stride first), option B": (f"resnet{n}_v1", {}) for n in (50, 101, 152)},
    **{f"ResNet-{n} v1 option A": (f"resnet{n}_v1", {"shortcut": "A"}) for n in (50, 101, 152)},
    **{f"ResNet-{n} v1.5 (=torchvision)": (f"resnet{n}", {}) for n in (50, 101, 152)},
    **{f"PreAct ResNet-{n}": (f"preact_resnet{n}", {}) for n in (18, 34, 50, 101, 152, 200)},
    **{f"CIFAR ResNet-{n} option A": (f"resnet{n}_cifar", {}) for n in (20, 32, 44, 56, 110, 1202)},
    **{f"DenseNet-{n} (torchvision)": (f"densenet{n}", {}) for n in (121, 161, 169, 201)},
    **{f"ShuffleNetV1 1x g={g}": ("shufflenet_v1", {"groups": g}) for g in (1, 2, 3, 4, 8)},
    **{
        f"EfficientNet-B{n} (tv, {side})": (f"efficientnet_b{n}", {})
        for n, side in enumerate((224, 240, 260, 300, 380, 456, 528, 600))
    },
}
MODULES = {
    "Inception naive (128/192/96, 256in, 28x28)": NaiveInception(256, 128, 192, 96),
    "Inception reduced (+64 bottlenecks)": Inception(256, 128, 64, 192, 64, 96, 64),
}


def golden():
    with GOLDEN.open(encoding="utf-8", newline="") as file:
        return {row["network"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("row", golden().values(), ids=lambda row: row["network"])
def test_totals(row):
    if row["network"] in MODULES:
        network = MODULES[row["network"]]
    else:
        name, options = OURS[row["network"]]
        network = get_model(name, device="meta", **options).eval()
    network.train("+ 2 aux" in row["network"])  # the auxiliary heads run while training only
    costs = summary(network, tuple(int(n) for n in row["input"].split("x")))
    assert costs.total_params == int(row["params"])
    assert costs.total_macs == int(row["macs_conv_fc"])
    assert round(costs.total_memory / 2**20, 2) == float(row["conv_fc_outputs_mib"])


def test_every_row_is_tested():
    assert golden().keys() == OURS.keys() | MODULES.keys()


@pytest.mark.parametrize(
    ("name", "num_classes", "params"),
    [
        # LeCun et al. 1998, section II-B: 156 + 12 + 1,516 + 32 + 48,120 + 10,164.
        ("lenet5_1998", 10, 60_000),
        # Ours. The paper prints 38.6 M for its network of 20 layers; see fractalnet.py.
        ("fractalnet20_cifar", 100, 33_770_788),
        # As https://github.com/osmr/imgclsmob counts them.
        ("xception", 1000, 22_855_952),
        ("nasnet_a_mobile", 1000, 5_289_978),
        ("se_resnet101", 1000, 49_326_872),
        ("se_resnet152", 1000, 66_821_848),
        ("se_resnext50_32x4d", 1000, 27_559_896),
        ("se_resnext101_32x4d", 1000, 48_955_416),
    ],
)
def test_published_parameter_counts(name, num_classes, params):
    network = get_model(name, num_classes=num_classes, device="meta")
    assert sum(p.numel() for p in network.parameters()) == params


def test_nasnet_costs_what_its_paper_prints():
    network = get_model("nasnet_a_mobile", device="meta").eval()
    assert round(summary(network, (3, 224, 224)).total_macs / 1e6) == 564  # table 3


DEPTHS = {
    "alexnet": 8,
    **{f"vgg{n}": n for n in (11, 13, 16, 19)},
    **{f"resnet{n}": n for n in (18, 34, 50, 101, 152)},
    **{f"preact_resnet{n}": n for n in (18, 34, 50, 101, 152, 200)},
    **{f"plain{n}": n for n in (18, 34)},
    **{f"resnet{n}_cifar": n for n in (20, 32, 44, 56, 110, 1202)},
    **{f"densenet{n}": n for n in (121, 161, 169, 201)},
    "densenet40_cifar": 40,
    "densenet_bc100_cifar": 100,
}


@pytest.mark.parametrize("name", DEPTHS)
def test_a_network_is_as_deep_as_its_name_says(name):
    """Convolutions and linear layers, without the projections in shortcuts."""
    layers = [
        path
        for path, module in get_model(name, device="meta").named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
        and not {"downsample", "shortcut"} & set(path.split("."))
    ]
    assert len(layers) == DEPTHS[name]


def test_googlenet_has_22_layers():
    network = get_model("googlenet_paper", device="meta")
    modules = [m for m in network.modules() if isinstance(m, Inception)]
    stem = [network.conv1, network.conv2, network.conv3]
    assert len(stem) + 2 * len(modules) + 1 == 22


def test_no_file_is_longer_than_one_sitting():
    files = sorted(Path(cnnlab.models.__file__).parent.glob("*.py"))
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert max(lengths.values()) <= 220, lengths
