"""ResNets whose blocks end in a gate: SE, CBAM and ECA.

Hu, Shen and Sun, "Squeeze-and-Excitation Networks", CVPR 2018. https://arxiv.org/abs/1709.01507
Woo, Park, Lee and Kweon, "CBAM: Convolutional Block Attention Module", ECCV 2018.
https://arxiv.org/abs/1807.06521
Wang et al., "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks",
CVPR 2020. https://arxiv.org/abs/1910.03151

The gates are in `cnnlab.layers`; each multiplies a block's branch before the addition. Any
ResNet takes them: ``get_model("wide_resnet50_2", attention="cbam")``. ``init="paper"`` is the
ResNet paper's.
"""

from cnnlab.models._init import he
from cnnlab.models._registry import register
from cnnlab.models.residual import Bottleneck
from cnnlab.models.resnet import CONFIGURATIONS, ResNet

_GATES = {"se": "squeeze-and-excitation", "cbam": "CBAM", "eca": "efficient channel attention"}

for _gate, _long in _GATES.items():
    for _depth, (_block, _layers) in CONFIGURATIONS.items():
        register(
            f"{_gate}_resnet{_depth}",
            ResNet,
            f"ResNet-{_depth} of the paper with {_long} in each block",
            paper_init=he,
            block=_block,
            layers=_layers,
            attention=_gate,
            **({"stride_on": "1x1"} if _block is Bottleneck else {}),
        )

for _depth in (50, 101):
    register(
        f"se_resnext{_depth}_32x4d",
        ResNet,
        f"ResNeXt-{_depth} 32x4d with squeeze-and-excitation in each block",
        paper_init=he,
        block=Bottleneck,
        layers=CONFIGURATIONS[_depth][1],
        attention="se",
        groups=32,
        base_width=4,
    )
