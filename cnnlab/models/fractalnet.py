"""FractalNet: very deep without residuals, by a rule that repeats itself.

Larsson, Maire and Shakhnarovich, "FractalNet: Ultra-Deep Neural Networks without Residuals",
ICLR 2017. https://arxiv.org/abs/1605.07648

The paper prints 38.6 M parameters for the 20-layer network of its table 1. Five blocks of three
columns with 64, 128, 256, 512 and 512 channels, as section 4 has them, hold 33,770,788 with 100
classes: seven 3×3 convolutions a block without biases, their norms, one linear layer. What makes
up the rest the paper doesn't tell.
"""

import torch
from torch import Tensor, nn

from cnnlab.layers import ConvNormAct, DropPath
from cnnlab.models._init import xavier
from cnnlab.models._network import Network
from cnnlab.models._registry import register


class Fractal(nn.Module):
    """``f(x) = join(conv(x), g(g(x)))`` where g is the fractal of one column less: figure 1.

    With C columns, the longest path has ``2^(C - 1)`` convolutions and the shortest one.
    """

    def __init__(self, columns: int, in_channels: int, channels: int, drop: float, **kw):
        super().__init__()
        self.conv = ConvNormAct(in_channels, channels, 3, **kw)
        self.join = DropPath(drop)
        self.inner = nn.ModuleList()
        if columns > 1:
            self.inner.append(Fractal(columns - 1, in_channels, channels, drop, **kw))
            self.inner.append(Fractal(columns - 1, channels, channels, drop, **kw))

    def paths(self, x: Tensor, column: Tensor | None) -> list[Tensor]:
        """The outputs of all columns, shortest first, which the enclosing join merges."""
        shortest = self.conv(x)
        if not self.inner:
            return [shortest]
        first, second = self.inner
        # Without this column, the ones within count from 0 again.
        inner = None if column is None else column - 1
        return [shortest, *second.paths(first(x, inner), inner)]

    def forward(self, x: Tensor, column: Tensor | None = None) -> Tensor:
        return self.join(self.paths(x, column), column)


class FractalNet(Network):
    """Fractal blocks with a max pool behind each, then one linear layer.

    ``(N, 3, 32, 32)`` to ``(N, num_classes)``. Training drops paths: for half of the images at
    random joins, for the other half all but one column (section 3).

    Parameters
    ----------
    columns : int
        C; with B blocks, B · 2^(C - 1) convolutions lie on the longest path.
    channels : tuple of int
        Of each block.
    drop : float
        Probability that a join loses an input.
    dropout : tuple of float
        Behind each block.
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        in_channels: int = 3,
        columns: int = 3,
        channels: tuple[int, ...] = (64, 128, 256, 512, 512),
        drop: float = 0.15,
        dropout: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4),
        device=None,
        dtype=None,
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        self.columns, self.drop = columns, drop
        self.blocks, self.pools = nn.ModuleList(), nn.ModuleList()
        for width, p in zip(channels, dropout, strict=True):
            self.blocks.append(Fractal(columns, in_channels, width, drop, **kw))
            self.pools.append(nn.Sequential(nn.MaxPool2d(2), nn.Dropout(p)))
            in_channels = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)  # does nothing to a 32×32 input
        self.fc = nn.Linear(in_channels, num_classes, **kw)

    def forward(self, x: Tensor) -> Tensor:
        column = None
        if self.training and self.drop:
            n = x.shape[0]
            chosen = torch.randint(self.columns, (n,), device=x.device)
            local = torch.rand(n, device=x.device) < 0.5
            column = torch.where(local, -self.columns, chosen)  # negative at every depth
        for block, pool in zip(self.blocks, self.pools, strict=True):
            x = pool(block(x, column))
        return self.fc(self.avgpool(x).flatten(1))


register(
    "fractalnet20_cifar",
    FractalNet,
    "FractalNet with 20 layers for CIFAR: 5 blocks of 3 columns, paths dropped in training",
    input_size=(3, 32, 32),
    num_classes=10,
    paper_init=xavier,
)
