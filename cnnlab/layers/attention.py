"""Attention over channels and positions: gates in (0, 1) that multiply a feature map.

Each maps ``(N, C, H, W)`` to the same shape and fits at the end of any block.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["CBAM", "EfficientChannelAttention", "SqueezeExcitation"]


class SqueezeExcitation(nn.Module):
    """Squeeze to one number per channel, excite through a bottleneck, scale the channels.

    Hu et al. 2018, https://arxiv.org/abs/1709.01507. The two fully connected layers are written
    as 1×1 convolutions, as in torchvision (whose parameter names they bear): same arithmetic.

    Parameters
    ----------
    channels, squeeze_channels : int
        C, and the width of the bottleneck (C / 16 in the paper).
    activation : callable
        Makes the layer between the two.
    """

    def __init__(
        self,
        channels: int,
        squeeze_channels: int,
        activation: Callable[..., nn.Module] = nn.ReLU,
        bias: bool = True,
        device=None,
        dtype=None,
    ):
        super().__init__()
        kw = {"bias": bias, "device": device, "dtype": dtype}
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeeze_channels, 1, **kw)
        self.activation = activation(inplace=True)
        self.fc2 = nn.Conv2d(squeeze_channels, channels, 1, **kw)
        self.scale_activation = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        gate = self.fc2(self.activation(self.fc1(self.avgpool(x))))
        return x * self.scale_activation(gate)


class CBAM(nn.Module):
    """Channel attention, then spatial attention, each from the maximum and the mean.

    Woo et al. 2018, https://arxiv.org/abs/1807.06521, equations 2 and 3.

    Parameters
    ----------
    channels : int
        C.
    reduction : int
        The shared bottleneck of the channel gate has C / reduction units.
    kernel_size : int
        Of the convolution that makes the spatial gate (normalized, as in the authors' code).
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        kernel_size: int = 7,
        device=None,
        dtype=None,
    ):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        self.mlp = nn.Sequential(
            nn.Linear(channels, channels // reduction, **kw),
            nn.ReLU(inplace=True),
            nn.Linear(channels // reduction, channels, **kw),
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False, **kw),
            nn.BatchNorm2d(1, **kw),
        )

    def forward(self, x: Tensor) -> Tensor:
        channel = self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3)))
        x = x * torch.sigmoid(channel)[:, :, None, None]
        maps = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.spatial(maps))


class EfficientChannelAttention(nn.Module):
    """Gate each channel by a one-dimensional convolution over its neighbours' means.

    Wang et al. 2020, https://arxiv.org/abs/1910.03151. Without ``kernel_size``, equation 12
    chooses it from C: ``|log2(C) / 2 + 1 / 2|``, cut to an integer, plus one if that is even.
    """

    def __init__(self, channels: int, kernel_size: int | None = None, device=None, dtype=None):
        super().__init__()
        if kernel_size is None:
            kernel_size = int(abs(math.log2(channels) / 2 + 0.5)) | 1
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        self.conv = nn.Conv1d(
            1, 1, kernel_size, padding=kernel_size // 2, bias=False, device=device, dtype=dtype
        )

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3)).unsqueeze(1)  # (N, 1, C)
        return x * torch.sigmoid(self.conv(means)).squeeze(1)[:, :, None, None]
