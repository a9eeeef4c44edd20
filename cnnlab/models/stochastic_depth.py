"""Stochastic depth: training drops random residual blocks, testing uses all of them.

Huang, Sun, Liu, Sedra and Weinberger, "Deep Networks with Stochastic Depth", ECCV 2016.
https://arxiv.org/abs/1603.09382

Block l of L survives with probability ``1 - l / L * (1 - p_L)``, p_L = 0.5 (equation 4). Any
ResNet here does so when asked: ``get_model("resnet50", drop=0.5)`` with ``drop`` = 1 - p_L.
``init="paper"`` is the ResNet paper's.
"""

from cnnlab.models._init import he
from cnnlab.models._registry import register
from cnnlab.models.residual import BasicBlock
from cnnlab.models.resnet import CONFIGURATIONS, ResNet

for _depth in (110, 1202):
    register(
        f"stochastic_resnet{_depth}_cifar",
        ResNet,
        f"ResNet with {_depth} layers for CIFAR that drops up to half of its blocks in training",
        input_size=(3, 32, 32),
        num_classes=10,
        paper_init=he,
        block=BasicBlock,
        layers=((_depth - 2) // 6,) * 3,
        width=16,
        stem="cifar",
        shortcut="A",
        drop=0.5,
    )

register(
    "stochastic_resnet152",
    ResNet,
    "ResNet-152 of the paper that drops up to half of its blocks in training",
    paper_init=he,
    block=CONFIGURATIONS[152][0],
    layers=CONFIGURATIONS[152][1],
    stride_on="1x1",
    drop=0.5,
)
