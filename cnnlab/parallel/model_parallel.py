"""One network on two devices: AlexNet as its paper drew it."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cnnlab.layers import LocalResponseNorm

__all__ = ["TwoDeviceAlexNet"]


class TwoDeviceAlexNet(nn.Module):
    """The halves of ``alexnet_two_gpu``, one on each device; same outputs as the whole.

    Krizhevsky et al. 2012, figure 2: each device has half of the maps of every convolution and
    half of the units of every fully connected layer. Convolutions 2, 4 and 5 see only the maps of
    their own device. Convolution 3 and the fully connected layers see all, so before them the
    devices exchange what they have. So do, in the whole network that this one equals, the
    response norms: at the seam between the halves a map has neighbours on the other device, two
    on each side.

    Parameters
    ----------
    whole
        ``get_model("alexnet_two_gpu")``, whose weights are copied.
    devices
        Two devices. Without GPUs ``("cpu", "cpu")``: the same steps in one memory.

    Attributes
    ----------
    exchanged : int
        Bytes that crossed from one device to the other in the last forward pass, both ways.

    Raises
    ------
    ValueError
        If there are not two devices, or the network has no two halves.

    Examples
    --------
    >>> from cnnlab.models import get_model
    >>> parts = TwoDeviceAlexNet(get_model("alexnet_two_gpu"), ("cpu", "cpu"))
    >>> parts(torch.zeros(2, 3, 227, 227)).shape
    torch.Size([2, 1000])
    """

    def __init__(self, whole: nn.Module, devices: Sequence[torch.device | str]):
        super().__init__()
        if len(devices) != 2:
            raise ValueError(f"two devices are needed, got {len(devices)}")
        groups = [m.groups for m in whole.modules() if isinstance(m, nn.Conv2d)]
        if groups != [1, 2, 1, 2, 2]:
            raise ValueError(
                f"its convolutions have {groups} groups, not the [1, 2, 1, 2, 2] of "
                "alexnet_two_gpu, whose halves go on two devices"
            )
        self.devices = [torch.device(device) for device in devices]
        self.halves = nn.ModuleList(
            nn.ModuleList(
                _half(layer, side) for layer in [*whole.features, whole.avgpool, *whole.classifier]
            ).to(device)
            for side, device in enumerate(self.devices)
        )
        self.exchanged = 0

    def forward(self, x: Tensor) -> Tensor:
        """``(N, 3, 227, 227)`` to scores ``(N, classes)`` on the first device."""
        self.exchanged = 0
        parts, convolutions = [x.to(device) for device in self.devices], 0
        for layers in zip(*self.halves, strict=True):
            if isinstance(layers[0], LocalResponseNorm):
                parts = self._norm(layers, parts)
                continue
            if isinstance(layers[0], nn.Conv2d):
                convolutions += 1
                if convolutions == 3:
                    parts = self._all_of(parts)
            if isinstance(layers[0], nn.Linear):
                parts = self._all_of([part.flatten(1) for part in parts])
            parts = [layer(part) for layer, part in zip(layers, parts, strict=True)]
        return torch.cat([parts[0], self._send(parts[1], 0)], 1)

    def _send(self, part: Tensor, to: int) -> Tensor:
        self.exchanged += part.nbytes
        return part.to(self.devices[to], non_blocking=True)

    def _all_of(self, parts: list[Tensor]) -> list[Tensor]:
        """Both halves on both devices."""
        return [
            torch.cat([parts[0], self._send(parts[1], 0)], 1),
            torch.cat([self._send(parts[0], 1), parts[1]], 1),
        ]

    def _norm(self, layers: Sequence[LocalResponseNorm], parts: list[Tensor]) -> list[Tensor]:
        """Normalize each half with the maps beyond the seam as neighbours."""
        reach = layers[0].size // 2
        left = torch.cat([parts[0], self._send(parts[1][:, :reach], 0)], 1)
        right = torch.cat([self._send(parts[0][:, -reach:], 1), parts[1]], 1)
        return [layers[0](left)[:, :-reach], layers[1](right)[:, reach:]]


def _half(layer: nn.Module, side: int) -> nn.Module:
    """What a device has of a layer: half of the outputs; all inputs, unless they are grouped."""
    half = copy.deepcopy(layer)
    if isinstance(layer, nn.Conv2d | nn.Linear):
        outputs = len(layer.weight) // 2
        own = slice(0, outputs) if side == 0 else slice(outputs, None)
        half.weight = nn.Parameter(layer.weight.detach()[own].clone())
        half.bias = nn.Parameter(layer.bias.detach()[own].clone())
        if isinstance(layer, nn.Conv2d):
            half.out_channels = len(half.weight)
            half.in_channels, half.groups = layer.in_channels // layer.groups, 1
        else:
            half.out_features = len(half.weight)
    return half
