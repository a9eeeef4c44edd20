"""NASNet: a search chose the cell, a person stacked it.

Zoph, Vasudevan, Shlens and Le, "Learning Transferable Architectures for Scalable Image
Recognition", CVPR 2018. https://arxiv.org/abs/1707.07012

`NASNET_A` writes down the cells that the search found (figure 4).
"""

from torch import Tensor, nn

from cnnlab.layers import ConvNormAct
from cnnlab.models._network import Network
from cnnlab.models._registry import register
from cnnlab.models.searched_cell import Block, Cell, Cells, SearchedCell

NASNET_A = Cells(
    normal=Cell(
        blocks=(
            Block("separable 5×5", 0, "separable 3×3", 1),
            Block("separable 5×5", 1, "separable 3×3", 1),
            Block("average 3×3", 0, "identity", 1),
            Block("average 3×3", 1, "average 3×3", 1),
            Block("separable 3×3", 0, "identity", 0),
        ),
        output=(1, 2, 3, 4, 5, 6),
    ),
    reduction=Cell(
        blocks=(
            Block("separable 5×5", 0, "separable 7×7", 1),
            Block("max 3×3", 0, "separable 7×7", 1),
            Block("average 3×3", 0, "separable 5×5", 1),
            Block("average 3×3", 2, "identity", 3),
            Block("separable 3×3", 2, "max 3×3", 0),
        ),
        output=(3, 4, 5, 6),
    ),
)


class NASNet(Network):
    """A convolution, cells in three stages with a reduction cell between them, a linear layer.

    ``(N, 3, H, W)`` to ``(N, num_classes)``.

    Parameters
    ----------
    cells : Cells
        What the search found.
    channels : int
        Of a cell in the first stage; they double with each reduction.
    repeats : int
        Normal cells in each stage.
    stem : {"imagenet", "cifar"}
        A strided convolution and two more reduction cells, or one convolution.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        cells: Cells = NASNET_A,
        channels: int = 44,
        repeats: int = 4,
        stem: str = "imagenet",
        stem_channels: int = 32,
        device=None,
        dtype=None,
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        window = {"stride": 2, "padding": 0} if stem == "imagenet" else {}
        self.stem = ConvNormAct(in_channels, stem_channels, 3, **window, act=None, **kw)
        plan = [(1, channels)] * repeats
        for factor in (2, 4):
            plan += [(2, channels * factor)] + [(1, channels * factor)] * repeats
        if stem == "imagenet":
            plan = [(2, channels // 4), (2, channels // 2), *plan]
        self.cells = nn.ModuleList()
        width, before, halve_before = stem_channels, None, False
        for stride, cell_channels in plan:
            cell = cells.normal if stride == 1 else cells.reduction
            self.cells.append(
                SearchedCell(cell, width, before, cell_channels, stride, halve_before, **kw)
            )
            width, before, halve_before = self.cells[-1].out_channels, width, stride == 2
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, num_classes, **kw)

    def forward(self, x: Tensor) -> Tensor:
        before, x = None, self.stem(x)
        for cell in self.cells:
            before, x = x, cell(x, before)
        return self.fc(self.avgpool(self.relu(x)).flatten(1))


register(
    "nasnet_a_mobile", NASNet, "NASNet-A (4 @ 1056): the searched cell, stacked for telephones"
)
