"""LeNet, the first convolutional networks to read handwriting, and its descendants.

LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition",
Proceedings of the IEEE 1998. http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf
"""

from functools import partial

import torch
from torch import Tensor, nn

from cnnlab.device import draw_into
from cnnlab.models._network import Network
from cnnlab.models._registry import register

# Table I of the paper: which maps of S2 each of the sixteen maps of C3 sees.
C3_TABLE = (
    [[(i + j) % 6 for j in range(3)] for i in range(6)]
    + [[(i + j) % 6 for j in range(4)] for i in range(6)]
    + [[0, 1, 3, 4], [1, 2, 4, 5], [0, 2, 3, 5]]
    + [[0, 1, 2, 3, 4, 5]]
)


class ScaledTanh(nn.Module):
    """``1.7159 tanh(2x / 3)``: passes through (±1, ±1), the targets (appendix A)."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(x * (2 / 3))


class Subsampling(nn.Module):
    """Sum of 2×2, times a coefficient, plus a bias: two parameters a channel."""

    def __init__(self, channels: int, device=None, dtype=None):
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), 0.25, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(channels, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        total = 4 * nn.functional.avg_pool2d(x, 2)
        return total * self.weight[:, None, None] + self.bias[:, None, None]


class SparseConv2d(nn.Module):
    """One convolution for each output map, over the input maps that ``table`` lists for it."""

    def __init__(self, table: list[list[int]], kernel_size: int, device=None, dtype=None):
        super().__init__()
        self.table = table
        self.maps = nn.ModuleList(
            nn.Conv2d(len(seen), 1, kernel_size, device=device, dtype=dtype) for seen in table
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(
            [conv(x[:, seen]) for conv, seen in zip(self.maps, self.table, strict=True)], dim=1
        )


class RadialBasis(nn.Module):
    """Minus the squared distance of ``(N, features)`` to a fixed ±1 code for each class.

    The paper draws its codes as 7×12 pictures of the digits and remarks that they could have
    been chosen at random; these are, from a fixed seed, so any number of classes has them.
    """

    def __init__(self, in_features: int, num_classes: int, device=None, dtype=None):
        super().__init__()
        bits = torch.randint(
            2,
            (num_classes, in_features),
            generator=torch.Generator().manual_seed(0),
            device="cpu",
        )
        self.register_buffer("codes", (2 * bits - 1).to(device, dtype or torch.get_default_dtype()))

    def forward(self, x: Tensor) -> Tensor:
        return -(x.unsqueeze(1) - self.codes).square().sum(2)


class LeNet5Original(Network):
    """The network of 1998, exactly: 60,000 trainable parameters, ``(N, 1, 32, 32)`` to scores."""

    def __init__(self, num_classes: int = 10, *, in_channels: int = 1, device=None, dtype=None):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        self.c1 = nn.Conv2d(in_channels, 6, 5, **kw)
        self.s2 = Subsampling(6, **kw)
        self.c3 = SparseConv2d(C3_TABLE, 5, **kw)
        self.s4 = Subsampling(16, **kw)
        self.c5 = nn.Conv2d(16, 120, 5, **kw)
        self.f6 = nn.Linear(120, 84, **kw)
        self.output = RadialBasis(84, num_classes, **kw)
        self.squash = ScaledTanh()

    def forward(self, x: Tensor) -> Tensor:
        x = self.squash(self.s2(self.squash(self.c1(x))))
        x = self.squash(self.s4(self.squash(self.c3(x))))
        x = self.squash(self.c5(x)).flatten(1)
        return self.output(self.squash(self.f6(x)))


class LeNet(Network):
    """Two convolutions 5×5, each with a 2×2 pool, then fully connected layers.

    Parameters
    ----------
    channels : tuple of int
        Of the two convolutions.
    hidden : tuple of int
        Widths of the hidden fully connected layers.
    padding : int
        Of both convolutions.
    side : int
        Of the input image, which fixes the first fully connected layer.
    activation, pool, norm : callable
        Make the layers of that kind.
    activate_convolutions : bool
        Whether an activation follows the convolutions too.
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        in_channels: int = 1,
        channels: tuple[int, int] = (6, 16),
        hidden: tuple[int, ...] = (120, 84),
        padding: int = 0,
        side: int = 32,
        activation=nn.Tanh,
        pool=nn.AvgPool2d,
        norm=None,
        activate_convolutions: bool = True,
        device=None,
        dtype=None,
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        layers = []
        for width in channels:
            layers += [
                nn.Conv2d(in_channels, width, 5, padding=padding, **kw),
                *([] if norm is None else [norm(width, **kw)]),
                *([activation()] if activate_convolutions else []),
                pool(2),
            ]
            in_channels, side = width, (side + 2 * padding - 4) // 2
        self.features = nn.Sequential(*layers)
        layers, width = [], in_channels * side**2
        for out_features in hidden:
            layers += [nn.Linear(width, out_features, **kw), activation()]
            width = out_features
        self.classifier = nn.Sequential(*layers, nn.Linear(width, num_classes, **kw))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


def _uniform_by_fan_in(network: nn.Module, generator: torch.Generator | None = None) -> None:
    """Uniform within ±2.4 / fan-in (appendix A), biases too."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = 2.4 / layer.weight[0].numel()
            draw = partial(nn.init.uniform_, a=-bound, b=bound)
            draw_into(layer.weight, draw, generator)
            draw_into(layer.bias, draw, generator)


_mnist = {"input_size": (1, 28, 28), "num_classes": 10}
_slide = {"channels": (20, 50), "hidden": (500,), "side": 28, "pool": nn.MaxPool2d}
_1998 = {"input_size": (1, 32, 32), "num_classes": 10, "paper_init": _uniform_by_fan_in}

register("lenet5_1998", LeNet5Original, "LeNet-5 of 1998: sparse C3, trained pools, RBF", **_1998)
register(
    "lenet5", LeNet, "LeNet-5 with a dense C3, plain average pools and a linear output", **_1998
)
register(
    "lenet_slide",
    LeNet,
    "LeNet of the slides: 20 and 50 padded filters, ReLU, max pooling, 500 units",
    **_mnist,
    **_slide,
    padding=2,
    activation=nn.ReLU,
)
register(
    "lenet_caffe",
    LeNet,
    "Caffe's LeNet: 20 and 50 filters without padding, one ReLU after 500 units",
    **_mnist,
    **_slide,
    activation=nn.ReLU,
    activate_convolutions=False,
)
register(
    "mnist_cnn",
    LeNet,
    "Conv-BN-ReLU-pool twice and one linear layer: the PyTorch example of the slides",
    **_mnist,
    channels=(16, 32),
    hidden=(),
    side=28,
    padding=2,
    activation=nn.ReLU,
    pool=nn.MaxPool2d,
    norm=nn.BatchNorm2d,
)
