"""Pre-activation ResNet: norm and ReLU move before the convolutions, the shortcut stays clean.

He, Zhang, Ren and Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016.
https://arxiv.org/abs/1603.05027
"""

from torch import Tensor, nn

from cnnlab.layers import StochasticDepth
from cnnlab.models._init import he
from cnnlab.models._registry import register
from cnnlab.models.residual import make_shortcut
from cnnlab.models.resnet import CONFIGURATIONS, ResNet


class PreActBlock(nn.Module):
    """``x + convolutions(relu(norm(x)))``, figure 1b; a subclass lists the convolutions.

    ``(N, in_channels, H, W)`` to ``(N, channels * expansion, H / stride, W / stride)``. With all
    weights zero the block is exactly the identity, where the original gives ``relu(x)``.

    Parameters
    ----------
    shortcut : str
        As in `make_shortcut`. One that changes the shape starts from the activated input.
    dropout : float
        Between the convolutions (Wide ResNet).
    drop : float
        Probability that training skips the convolutions (stochastic depth).
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        shortcut: str = "B",
        dropout: float = 0.0,
        drop: float = 0.0,
        **kw,
    ):
        super().__init__()
        out_channels = channels * self.expansion
        plan = self.plan(in_channels, channels, stride)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c_in, **kw) for c_in, *_ in plan)
        self.convs = nn.ModuleList(
            nn.Conv2d(c_in, c_out, k, s, padding=k // 2, bias=False, **kw)
            for c_in, c_out, k, s in plan
        )
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.shortcut = make_shortcut(shortcut, in_channels, out_channels, stride, norm=None, **kw)
        self.drop = StochasticDepth(drop) if drop else nn.Identity()

    @staticmethod
    def plan(in_channels, channels, stride) -> list[tuple[int, int, int, int]]:
        """``(in_channels, out_channels, kernel_size, stride)`` of each convolution."""
        return [(in_channels, channels, 3, stride), (channels, channels, 3, 1)]

    def forward(self, x: Tensor) -> Tensor:
        activated = out = self.relu(self.norms[0](x))
        for index, conv in enumerate(self.convs):
            if index > 0:
                out = self.dropout(self.relu(self.norms[index](out)))
            out = conv(out)
        identity = isinstance(self.shortcut, nn.Identity)
        return self.drop(out) + self.shortcut(x if identity else activated)


class PreActBottleneck(PreActBlock):
    """1×1 to a quarter of the channels (with the stride), 3×3, 1×1 back."""

    expansion = 4

    @staticmethod
    def plan(in_channels, channels, stride) -> list[tuple[int, int, int, int]]:
        return [
            (in_channels, channels, 1, stride),
            (channels, channels, 3, 1),
            (channels, 4 * channels, 1, 1),
        ]


class PreActResNet(ResNet):
    """A `ResNet` of pre-activation blocks, with one more norm and ReLU behind the last.

    Parameters are those of `ResNet`. The CIFAR stem has no norm: the first block brings one.
    """

    def __init__(self, *args, stem: str = "imagenet", device=None, dtype=None, **options):
        kw = {"device": device, "dtype": dtype}
        super().__init__(*args, stem=stem, **kw, **options)
        if stem == "cifar":
            self.bn1 = None
        self.norm = nn.BatchNorm2d(self.fc.in_features, **kw)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        if self.bn1 is not None:
            x = self.maxpool(self.relu(self.bn1(x)))
        x = self.relu(self.norm(self.run_stages(x)))
        return self.fc(self.avgpool(x).flatten(1))


_BLOCKS = {depth: PreActBlock if depth < 50 else PreActBottleneck for depth in CONFIGURATIONS}
for _depth, _block in {**_BLOCKS, 200: PreActBottleneck}.items():
    register(
        f"preact_resnet{_depth}",
        PreActResNet,
        f"Pre-activation ResNet with {_depth} layers",
        paper_init=he,
        block=_block,
        layers=(3, 24, 36, 3) if _depth == 200 else CONFIGURATIONS[_depth][1],
    )
