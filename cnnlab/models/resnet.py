"""ResNet: layers learn a residual, a shortcut carries the rest; 18 to 1202 layers deep.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
https://arxiv.org/abs/1512.03385

``resnet50`` and deeper are torchvision's "v1.5", whose bottleneck puts the stride on the 3×3
convolution; ``resnet50_v1`` is the paper's, with the stride on the first 1×1.
"""

from torch import Tensor, nn

from cnnlab.models._init import he
from cnnlab.models._network import Network
from cnnlab.models._registry import register
from cnnlab.models.residual import BasicBlock, Bottleneck


class ResNet(Network):
    """Stem, stages of residual blocks, global average pool, one linear layer.

    ``(N, 3, H, W)`` to ``(N, num_classes)``.

    Parameters
    ----------
    block : type
        `BasicBlock` or `Bottleneck`.
    layers : tuple of int
        Blocks in each stage. Channels double and the map halves from stage to stage.
    width : int
        Channels of the first stage.
    stem : {"imagenet", "cifar"}
        7×7 with stride 2 and a max pool, or one 3×3 convolution for 32×32 images.
    drop : float
        Probability that the last block is dropped in training; it rises linearly from the first
        (stochastic depth).
    **block_options
        Of every block: ``shortcut``, ``attention``, and for bottlenecks ``groups``,
        ``base_width``, ``stride_on``.
    """

    def __init__(
        self,
        block: type[nn.Module],
        layers: tuple[int, ...],
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        width: int = 64,
        stem: str = "imagenet",
        drop: float = 0.0,
        device=None,
        dtype=None,
        **block_options,
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        stem_channels = width if stem == "imagenet" else 16
        window = (7, 2, 3) if stem == "imagenet" else (3, 1, 1)
        self.conv1 = nn.Conv2d(in_channels, stem_channels, *window, bias=False, **kw)
        self.bn1 = nn.BatchNorm2d(stem_channels, **kw)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem == "imagenet" else nn.Identity()
        self.stages, channels, built = [], stem_channels, 0
        for stage, count in enumerate(layers):
            blocks = []
            for index in range(count):
                built += 1
                options = {**block_options, "drop": drop * built / sum(layers), **kw}
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(block(channels, width * 2**stage, stride, **options))
                channels = width * 2**stage * block.expansion
            self.stages.append(f"layer{stage + 1}")
            self.add_module(self.stages[-1], nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes, **kw)

    def run_stages(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(self.avgpool(self.run_stages(x)).flatten(1))


# Table 1.
CONFIGURATIONS = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}

for _depth, (_block, _layers) in CONFIGURATIONS.items():
    _config = {"paper_init": he, "block": _block, "layers": _layers}
    register(f"resnet{_depth}", ResNet, f"ResNet with {_depth} layers", **_config)
    if _block is Bottleneck:
        register(
            f"resnet{_depth}_v1",
            ResNet,
            f"ResNet-{_depth} of the paper: stride on the bottleneck's first 1×1",
            **_config,
            stride_on="1x1",
        )
    else:
        register(
            f"plain{_depth}",
            ResNet,
            f"ResNet-{_depth} without its shortcuts: the paper's plain network",
            **_config,
            shortcut="none",
        )

# Section 4.2: three stages of n blocks with 16, 32 and 64 channels make 6n + 2 layers.
for _depth in (20, 32, 44, 56, 110, 1202):
    _config = {
        "input_size": (3, 32, 32),
        "num_classes": 10,
        "paper_init": he,
        "block": BasicBlock,
        "layers": ((_depth - 2) // 6,) * 3,
        "width": 16,
        "stem": "cifar",
    }
    register(
        f"resnet{_depth}_cifar",
        ResNet,
        f"ResNet with {_depth} layers for CIFAR, zero-padded shortcuts (option A)",
        **_config,
        shortcut="A",
    )
    if _depth <= 56:
        register(
            f"plain{_depth}_cifar",
            ResNet,
            f"Plain network with {_depth} layers for CIFAR: no shortcuts",
            **_config,
            shortcut="none",
        )
