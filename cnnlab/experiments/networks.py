"""Small networks in which one thing at a time can be changed."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.data import mnist
from cnnlab.device import draw_into
from cnnlab.models.residual import BasicBlock

__all__ = [
    "ConvStack",
    "gradient_norms",
    "scattered_digits",
    "small_resnet",
    "without_each_block",
]


class ConvStack(nn.Module):
    """``depth`` convolutions 3×3 of one width, an average pool to 2×2, one linear layer.

    ``(N, in_channels, H, W)`` to scores ``(N, classes)``; a 2×2 max pool stands after a third and
    after two thirds of the convolutions.

    Parameters
    ----------
    depth, width : int
        Of the convolutions.
    activation : callable
        Makes the activation after each.
    batch_norm : bool
        Normalize before each activation.
    aux : bool
        A second classifier after half of the convolutions, which runs while training only: the
        output is then a tuple.
    gain : float
        The weights' standard deviation is ``gain / sqrt(fan-in)``: sqrt(2) is He's, 1 is the
        older choice for sigmoid and tanh.
    generator : torch.Generator
        Draws the weights.
    """

    def __init__(
        self,
        depth: int,
        width: int = 16,
        in_channels: int = 1,
        classes: int = 10,
        *,
        activation: Callable[[], nn.Module] = nn.ReLU,
        batch_norm: bool = False,
        aux: bool = False,
        gain: float = 2**0.5,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(depth):
            layer = [nn.Conv2d(in_channels if index == 0 else width, width, 3, padding=1)]
            layer += [nn.BatchNorm2d(width)] if batch_norm else []
            layer += [activation()]
            if index + 1 in (depth // 3, 2 * depth // 3):
                layer.append(nn.MaxPool2d(2, ceil_mode=True))
            layers.append(nn.Sequential(*layer))
        self.layers, self.half = nn.ModuleList(layers), depth // 2
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.aux = nn.Linear(4 * width, classes) if aux else None
        self.head = nn.Linear(4 * width, classes)
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    fan_in = module.weight[0].numel()
                    draw = partial(nn.init.normal_, std=gain / fan_in**0.5)
                    draw_into(module.weight, draw, generator)
                    module.bias.zero_()

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        extra = None
        for index, layer in enumerate(self.layers):
            if index == self.half and self.aux is not None and self.training:
                extra = self.aux(self.pool(x).flatten(1))
            x = layer(x)
        scores = self.head(self.pool(x).flatten(1))
        return scores if extra is None else (scores, extra)


def gradient_norms(model: nn.Module, images: Tensor, labels: Tensor) -> list[float]:
    """Norm of the loss's gradient by each convolution's weights, from the first to the last."""
    model.train()
    output = model(images)
    scores = output[0] if isinstance(output, tuple) else output
    convolutions = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    loss = nn.functional.cross_entropy(scores, labels)
    return [gradient.norm().item() for gradient in torch.autograd.grad(loss, convolutions)]


def small_resnet(
    depth: int, width: int = 8, *, shortcut: str = "A", in_channels: int = 1
) -> nn.Sequential:
    """The paper's network for CIFAR as a list of layers, of any width: lecture 9's ``SmallNet``.

    A convolution, three stages of (depth - 2) / 6 blocks, a global average, one linear layer, with
    torch's own first weights; ``shortcut="none"`` makes it plain.
    """
    layers = [nn.Conv2d(in_channels, width, 3, padding=1, bias=False)]
    layers += [nn.BatchNorm2d(width), nn.ReLU()]
    channels = width
    for stage in range(3):
        for index in range((depth - 2) // 6):
            stride = 2 if stage > 0 and index == 0 else 1
            layers.append(BasicBlock(channels, width * 2**stage, stride, shortcut=shortcut))
            channels = width * 2**stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def without_each_block(network: nn.Sequential) -> Iterator[nn.Sequential]:
    """The network, with one residual block at a time cut out, of those that keep the shape."""
    for index, block in enumerate(network):
        if isinstance(block, BasicBlock) and block.conv1.in_channels == block.conv1.out_channels:
            network[index] = nn.Identity()
            yield network
            network[index] = block


def scattered_digits(
    split: str, count: int, *, centred: bool = False, size: int = 24, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """MNIST digits of half the size (14×14), each somewhere on a larger noisy ground.

    Parameters
    ----------
    split, count
        Of `cnnlab.data.mnist`, and how many of its images.
    centred
        All in the middle instead.
    size
        Height and width of the ground, in pixels.
    seed
        Of the places and the noise.

    Returns
    -------
    images, labels, corners : Tensor
        ``(count, 1, size, size)``, ``(count,)``, and the upper left corner ``(y, x)`` of each
        digit, ``(count, 2)``.
    """
    data, generator = mnist(split), torch.Generator().manual_seed(seed)
    free = size - 14
    small, labels = F.avg_pool2d(data.images[:count], 2), data.labels[:count]
    corners = torch.randint(free + 1, (len(small), 2), generator=generator)
    if centred:
        corners = torch.full_like(corners, free // 2)
    images = 0.4 * torch.rand(len(small), 1, size, size, generator=generator)
    for image, digit, (y, x) in zip(images, small, corners.tolist(), strict=True):
        window = image[:, y : y + 14, x : x + 14]
        window.copy_(torch.maximum(window, digit))
    return images, labels, corners
