"""Wide ResNet: fewer layers with k times the channels.

Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016. https://arxiv.org/abs/1605.07146
``init="paper"`` is the ResNet paper's.
"""

from cnnlab.models._init import he
from cnnlab.models._registry import register
from cnnlab.models.preact_resnet import PreActBlock, PreActResNet
from cnnlab.models.resnet import CONFIGURATIONS, ResNet

# Table 1: three stages of n pre-activation blocks with 16k, 32k and 64k channels make 6n + 4
# layers. ``dropout=0.3`` is the paper's where it uses dropout (section 3.3).
for _depth, _k in ((16, 8), (28, 10), (40, 4)):
    register(
        f"wide_resnet{_depth}_{_k}_cifar",
        PreActResNet,
        f"Wide ResNet-{_depth}-{_k} for CIFAR: {_depth} layers, {_k} times as wide",
        input_size=(3, 32, 32),
        num_classes=10,
        paper_init=he,
        block=PreActBlock,
        layers=((_depth - 4) // 6,) * 3,
        width=16 * _k,
        stem="cifar",
    )

# Section 3.5: a ResNet whose bottlenecks have 3×3 convolutions twice as wide.
for _depth in (50, 101):
    register(
        f"wide_resnet{_depth}_2",
        ResNet,
        f"ResNet-{_depth} with 3×3 convolutions twice as wide",
        paper_init=he,
        block=CONFIGURATIONS[_depth][0],
        layers=CONFIGURATIONS[_depth][1],
        base_width=128,
    )
