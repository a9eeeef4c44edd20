"""The networks of the slides as small modules, and the words in which facts are recomputed.

`NAMESPACE` is what an expression in ``tests/facts/slides.csv`` (column ``how``) may use. The
networks are stated here on their own, so that the facts do not lean on ``cnnlab.models``.
"""

import re
from collections import OrderedDict
from functools import cache
from itertools import pairwise
from math import prod

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from scipy.signal import convolve2d
from torch import nn

from cnnlab.cost import summary
from cnnlab.shapes import output_size, pool_output_size, receptive_field
from tests import facts

# --- building blocks --------------------------------------------------------------------------


def named(**layers):
    return nn.Sequential(OrderedDict(layers))


def conv(c_in, c_out, k, stride=1, padding=0, groups=1, bias=True):
    return nn.Conv2d(c_in, c_out, k, stride, padding, groups=groups, bias=bias)


def classifier(*sizes, first="fc1"):
    start = int(first[2:])
    pairs = pairwise(sizes)
    return {f"fc{start + i}": nn.Linear(*pair) for i, pair in enumerate(pairs)}


class Branches(nn.Module):
    """Branches side by side, joined along the channels."""

    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


class Inception(nn.Module):
    """1×1, 3×3, 5×5 and pool branch; ``reduce`` and ``project`` are 0 in the naive module."""

    def __init__(self, c_in, c1, reduce3, c3, reduce5, c5, project):
        super().__init__()
        self.branch1 = conv(c_in, c1, 1)
        self.reduce3 = conv(c_in, reduce3, 1) if reduce3 else nn.Identity()
        self.branch3 = conv(reduce3 or c_in, c3, 3, padding=1)
        self.reduce5 = conv(c_in, reduce5, 1) if reduce5 else nn.Identity()
        self.branch5 = conv(reduce5 or c_in, c5, 5, padding=2)
        self.pool = nn.MaxPool2d(3, 1, 1)
        self.project = conv(c_in, project, 1) if project else nn.Identity()

    def forward(self, x):
        branches = (
            self.branch1(x),
            self.branch3(self.reduce3(x)),
            self.branch5(self.reduce5(x)),
            self.project(self.pool(x)),
        )
        return torch.cat(branches, 1)


class Residual(nn.Module):
    """Basic or bottleneck block; stride in the first convolution, as in the paper (v1)."""

    def __init__(self, c_in, width, stride, bottleneck, option):
        super().__init__()
        c_out = width * (4 if bottleneck else 1)
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        channels = (c_in, width, width, c_out) if bottleneck else (c_in, width, c_out)
        layers = []
        for i, k in enumerate(kernels):
            s = stride if i == 0 else 1
            layers += [conv(channels[i], channels[i + 1], k, s, k // 2, bias=False)]
            layers += [nn.BatchNorm2d(channels[i + 1])]
        self.residual = nn.Sequential(*layers)
        self.stride, self.extra = stride, c_out - c_in
        self.shortcut = None
        if (stride > 1 or c_in != c_out) and option == "B":
            shortcut = conv(c_in, c_out, 1, stride, bias=False)
            self.shortcut = nn.Sequential(shortcut, nn.BatchNorm2d(c_out))

    def forward(self, x):
        y = self.residual(x)
        if self.shortcut is not None:
            return F.relu(y + self.shortcut(x))
        x = x[:, :, :: self.stride, :: self.stride]
        return F.relu(y + F.pad(x, (0, 0, 0, 0, 0, self.extra)))


BLOCKS = {
    18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3),
}  # fmt: skip


def resnet(depth, option="B"):
    bottleneck, channels, stages = depth >= 50, 64, {}
    for i, count in enumerate(BLOCKS[depth]):
        blocks = []
        for j in range(count):
            stride = 2 if i and not j else 1
            blocks.append(Residual(channels, 64 * 2**i, stride, bottleneck, option))
            channels = 64 * 2**i * (4 if bottleneck else 1)
        stages[f"layer{i + 1}"] = nn.Sequential(*blocks)
    return named(
        conv1=conv(3, 64, 7, 2, 3, bias=False),
        bn1=nn.BatchNorm2d(64),
        maxpool=nn.MaxPool2d(3, 2, 1),
        **stages,
        avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(channels, 1000),
    )


def alexnet(filters, padding, groups=1, first_pool=3):
    f = filters
    return named(
        conv1=conv(3, f[0], 11, 4, padding), relu1=nn.ReLU(), pool1=nn.MaxPool2d(first_pool, 2),
        conv2=conv(f[0], f[1], 5, 1, 2, groups), relu2=nn.ReLU(), pool2=nn.MaxPool2d(3, 2),
        conv3=conv(f[1], f[2], 3, 1, 1), relu3=nn.ReLU(),
        conv4=conv(f[2], f[3], 3, 1, 1, groups), relu4=nn.ReLU(),
        conv5=conv(f[3], f[4], 3, 1, 1, groups), relu5=nn.ReLU(), pool5=nn.MaxPool2d(3, 2),
        flatten=nn.Flatten(), **classifier(f[4] * f[5] ** 2, 4096, 4096, 1000, first="fc6"),
    )  # fmt: skip


def vgg(counts, linear=True):
    layers, channels = {}, 3
    for stage, count in enumerate(counts, 1):
        width = min(64 * 2 ** (stage - 1), 512)
        for i in range(1, count + 1):
            layers[f"conv{stage}_{i}"] = conv(channels, width, 3, 1, 1)
            channels = width
        layers[f"pool{stage}"] = nn.MaxPool2d(2, 2)
    if linear:
        layers["flatten"] = nn.Flatten()
        layers |= classifier(512 * 7 * 7, 4096, 4096, 1000, first="fc6")
    return named(**layers)


def googlenet_stem():
    return named(
        conv1=conv(3, 64, 7, 2, 3), pool1=nn.MaxPool2d(3, 2, 1), conv2=conv(64, 64, 1),
        conv3=conv(64, 192, 3, 1, 1), pool2=nn.MaxPool2d(3, 2, 1),
    )  # fmt: skip


GOOGLENET = {  # Szegedy et al. 2015, table 1
    "3a": (192, 64, 96, 128, 16, 32, 32), "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64), "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64), "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128), "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}  # fmt: skip


def googlenet():
    modules = {f"inception{name}": Inception(*sizes) for name, sizes in GOOGLENET.items()}
    layers = {}
    for name, module in modules.items():
        layers[name] = module
        if name in ("inception3b", "inception4e"):
            layers[f"pool{name[9]}"] = nn.MaxPool2d(3, 2, ceil_mode=True)
    return named(
        stem=googlenet_stem(), **layers, avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(),
        fc=nn.Linear(1024, 1000),
    )  # fmt: skip


def lenet(c1, c2, hidden, padding):
    side = 7 if padding else 5
    return named(
        conv1=conv(1, c1, 5, 1, padding), pool1=nn.MaxPool2d(2),
        conv2=conv(c1, c2, 5, 1, padding), pool2=nn.MaxPool2d(2), flatten=nn.Flatten(),
        **classifier(c2 * side * side, *hidden, 10),
    )  # fmt: skip


def mnist_cnn():
    return named(
        conv1=conv(1, 16, 5, 1, 2), bn1=nn.BatchNorm2d(16), relu1=nn.ReLU(), pool1=nn.MaxPool2d(2),
        conv2=conv(16, 32, 5, 1, 2), bn2=nn.BatchNorm2d(32), relu2=nn.ReLU(), pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(), fc=nn.Linear(7 * 7 * 32, 10),
    )  # fmt: skip


IMAGE, SMALL = (3, 224, 224), (1, 28, 28)
NETWORKS = {
    "alexnet_slides": (lambda: alexnet((64, 192, 384, 256, 256, 6), 2), (3, 227, 227)),
    "alexnet_torchvision": (lambda: alexnet((64, 192, 384, 256, 256, 6), 2), IMAGE),
    "alexnet_one_column": (lambda: alexnet((96, 256, 384, 384, 256, 6), 0), (3, 227, 227)),
    "alexnet_two_gpu": (lambda: alexnet((96, 256, 384, 384, 256, 6), 0, 2), (3, 227, 227)),
    "alexnet_d2l": (lambda: alexnet((96, 256, 384, 384, 256, 5), 1), IMAGE),
    "zfnet": (
        lambda: named(
            conv1=conv(3, 96, 7, 2, 1), pool1=nn.MaxPool2d(3, 2, 1), conv2=conv(96, 256, 5, 2),
            pool2=nn.MaxPool2d(3, 2, 1), conv3=conv(256, 384, 3, 1, 1),
            conv4=conv(384, 384, 3, 1, 1), conv5=conv(384, 256, 3, 1, 1), pool5=nn.MaxPool2d(3, 2),
            flatten=nn.Flatten(), **classifier(256 * 6 * 6, 4096, 4096, 1000, first="fc6"),
        ),
        IMAGE,
    ),
    "vgg16": (lambda: vgg((2, 2, 3, 3, 3)), IMAGE),
    "vgg19": (lambda: vgg((2, 2, 4, 4, 4)), IMAGE),
    "vgg16_twelve_convs": (lambda: vgg((2, 2, 2, 3, 3)), IMAGE),
    "vgg16_to_28": (lambda: vgg((2, 2, 3), linear=False), IMAGE),
    "googlenet_stem": (googlenet_stem, IMAGE),
    "googlenet_paper": (googlenet, IMAGE),
    "inception_naive": (lambda: Inception(256, 128, 0, 192, 0, 96, 0), (256, 28, 28)),
    "inception_reduced": (lambda: Inception(256, 128, 64, 192, 64, 96, 64), (256, 28, 28)),
    "lenet_slides": (lambda: lenet(20, 50, (500,), 2), SMALL),
    "lenet5": (lambda: lenet(6, 16, (120, 84), 0), (1, 32, 32)),
    "mnist_cnn": (mnist_cnn, SMALL),
    "squeezenet1_0": (torchvision.models.squeezenet1_0, IMAGE),
    "resnet34_v1_a": (lambda: resnet(34, "A"), IMAGE),
    **{f"resnet{d}_v1": (lambda d=d: resnet(d), IMAGE) for d in BLOCKS},
    "conv1x1": (lambda: named(conv=conv(64, 32, 1)), (64, 56, 56)),
    **{
        f"conv{k}x{k}": (lambda k=k: named(conv=conv(64, 64, k, 1, k // 2)), (64, 56, 56))
        for k in (3, 5, 7)
    },
    "conv3x3_128": (lambda: named(conv=conv(128, 128, 3, 1, 1)), (128, 28, 28)),
    "conv3x3_128_groups32": (lambda: named(conv=conv(128, 128, 3, 1, 1, 32)), (128, 28, 28)),
    "basic_block_64": (lambda: Residual(64, 64, 1, False, "B"), (64, 56, 56)),
    "bottleneck_256": (lambda: Residual(256, 64, 1, True, "B"), (256, 28, 28)),
    "resnext_block": (
        lambda: named(a=conv(256, 128, 1), b=conv(128, 128, 3, 1, 1, 32), c=conv(128, 256, 1)),
        (256, 56, 56),
    ),
}  # fmt: skip

# --- the words --------------------------------------------------------------------------------


@cache
def module(name):
    with torch.device("meta"):
        return NETWORKS[name][0]().eval()


@cache
def net(name):
    return summary(module(name), NETWORKS[name][1])


def weights(name, layer=None):
    """Weights without biases, of one layer or of all."""
    tensors = module(name).named_parameters()
    return sum(p.numel() for n, p in tensors if p.ndim > 1 and layer in (None, n.split(".")[0]))


def filter_shape(name, layer=None):
    tensors = module(name).state_dict()
    return list(tensors[f"{layer or 'conv'}.weight"].shape)


def elements(name, row):
    shape = net(name).input_shape if row == "input" else net(name)[row].output_shape
    return prod(shape)


def hwc(name, row=None):
    _, c, h, w = net(name)[row].output_shape if row else net(name).output_shape
    return [h, w, c]


def two_columns(name, row):
    h, w, c = hwc(name, row)
    return [2, h, w, c // 2]


def linear_layers(name):
    return sum(row.kind == "linear" for row in net(name).rows)


def weighted_depth(name):
    """Layers with weights on the longest path, shortcuts and parallel branches counted once."""
    names = [row.name for row in net(name).rows if row.kind in ("conv", "linear")]
    side = ("shortcut", "branch1", "reduce5", "branch5", "project")
    return sum(not any(word in name for word in side) for name in names)


def stage_blocks(name):
    return [len(getattr(module(name), f"layer{i}")) for i in range(1, 5)]


def stage_depth(name, stage):
    """Blocks and convolutions of a stage, shortcuts left out."""
    rows = [row for row in net(name).rows if row.path.startswith(f"layer{stage}.")]
    convs = sum(row.kind == "conv" and "shortcut" not in row.name for row in rows)
    return [stage_blocks(name)[stage - 1], convs]


def stage_convs(name, stage):
    return sum(row.name.startswith(f"conv{stage}_") for row in net(name).rows)


def stage_strides(name):
    sizes = [net(name)[row].output_shape[-1] for row in ("maxpool", *stage_names())]
    return [before // after for before, after in pairwise(sizes)]


def stage_names():
    return [f"layer{i}" for i in range(1, 5)]


def convs_3x3_per_block(name):
    rows = [row for row in net(name).rows if row.path.startswith("layer1.0.residual")]
    return sum(row.kernel_size == (3, 3) for row in rows)


def vgg16_to_28():
    return net("vgg16_to_28")


def conv_coefficients(times_size, times_channels, h=14, c=32):
    """Memory in HWC, parameters in C², MACs in HWC² of a 3×3 convolution of ever so many."""
    size, channels = h * times_size, c * times_channels
    result = summary(
        nn.Conv2d(channels, channels, 3, padding=1, bias=False), (channels, size, size)
    )
    return [
        result.total_memory / 4 / (h * h * c),
        result.total_params / c**2,
        result.total_macs / (h * h * c * c),
    ]


def metadata(name):
    return torchvision.models.get_model_weights(name).IMAGENET1K_V1.meta


def top1(name, also=None):
    value = metadata(name)["_metrics"]["ImageNet-1K"]["acc@1"]
    return (value, metadata(name)[also]) if also else value


def top5_error(name):
    return round(100 - metadata(name)["_metrics"]["ImageNet-1K"]["acc@5"], 3)


def vertical_edge():
    image = torch.tensor([[10.0] * 3 + [0.0] * 3] * 6)
    return response(image * 0.8, [[1, 0, -1]] * 3)


def response(image, kernel):
    kernel = torch.tensor(kernel, dtype=image.dtype)
    return F.conv2d(image[None, None], kernel[None, None])[0, 0].tolist()


def filter_of_true_convolution(kernel):
    """The filter whose cross-correlation is the true convolution with this one."""
    impulse = np.zeros((5, 5))
    impulse[2, 2] = 1
    seen = convolve2d(impulse, kernel, mode="valid")  # cross-correlation shows its filter flipped
    return seen[::-1, ::-1].astype(int).tolist()


FEATURES = {
    "diagonal": [[1, -1, -1], [-1, 1, -1], [-1, -1, 1]],
    "cross": [[1, -1, 1], [-1, 1, -1], [1, -1, 1]],
    "anti-diagonal": [[-1, -1, 1], [-1, 1, -1], [1, -1, -1]],
}


def feature_map(name):
    image = torch.full((9, 9), -1.0)
    for i in range(1, 8):
        image[i, i] = image[i, 8 - i] = 1
    return (torch.tensor(response(image, FEATURES[name])) / 9).tolist()


def pooled_map(name):
    features = torch.tensor(feature_map(name))[None, None]
    return F.max_pool2d(features, 2, ceil_mode=True)[0, 0].tolist()


def batch_norm(values):
    x = torch.tensor(values, dtype=torch.float64)[:, None]
    return F.batch_norm(x, None, None, training=True).flatten().tolist()


def batch_norm_variances():
    x = torch.tensor([[0.0], [2.0]])
    norm = nn.BatchNorm1d(1, eps=1e-12, momentum=1)
    biased = norm(x).abs().flatten().tolist() == [1, 1]
    unbiased = norm.running_var.item() == 2
    words = "normalizes with 1/m, stores running_var with 1/(m-1)"
    return words if biased and unbiased else "otherwise"


def relu_slope_at_zero():
    x = torch.zeros(1, requires_grad=True)
    torch.relu(x).backward()
    return x.grad


def accuracy_table_is_sorted():
    rows = [fact.value[0] for fact in facts.all_facts() if fact.quantity.endswith("Acc@1 / Acc@5")]
    return len(rows) == 45 and rows == sorted(rows, reverse=True)


NAMESPACE = {
    name: value for name, value in globals().items() if callable(value) and not name.startswith("_")
} | {"re": re, "torch": torch, "output_size": output_size}
NAMESPACE |= {"pool_output_size": pool_output_size, "receptive_field": receptive_field}
