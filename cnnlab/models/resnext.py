"""ResNeXt: the bottleneck's 3×3 in many groups. "Cardinality" is their number.

Xie, Girshick, Dollár, Tu and He, "Aggregated Residual Transformations for Deep Neural
Networks", CVPR 2017. https://arxiv.org/abs/1611.05431

A bottleneck with g groups costs about ``9 c² / g`` for its 3×3 instead of ``9 c²``, so at equal
cost it affords more channels: 32 groups of 4 instead of one of 64.
"""

from cnnlab.models._init import he
from cnnlab.models._registry import register
from cnnlab.models.resnet import CONFIGURATIONS, ResNet

for _depth, _groups, _width in ((50, 32, 4), (101, 32, 4), (101, 32, 8), (101, 64, 4)):
    register(
        f"resnext{_depth}_{_groups}x{_width}d",
        ResNet,
        f"ResNeXt-{_depth}: {_groups} groups of {_width} channels in the first bottleneck",
        paper_init=he,
        block=CONFIGURATIONS[_depth][0],
        layers=CONFIGURATIONS[_depth][1],
        groups=_groups,
        base_width=_width,
    )
