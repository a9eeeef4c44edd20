"""Inception modules: several filter sizes side by side, their outputs concatenated.

Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, figure 2.
https://arxiv.org/abs/1409.4842
"""

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn

from cnnlab.layers import ConvNormAct

__all__ = ["Branches", "Inception", "NaiveInception", "conv_relu"]


def conv_relu(*args, batch_norm: bool = True, padding: int = 0, **options) -> nn.Sequential:
    """A `ConvNormAct` without padding whose parts are named ``conv``, ``bn``, ``relu``."""
    norm = partial(nn.BatchNorm2d, eps=0.001) if batch_norm else None
    layers = ConvNormAct(*args, padding=padding, norm=norm, **options)
    names = ["conv", "bn", "relu"] if batch_norm else ["conv", "relu"]
    return nn.Sequential(OrderedDict(zip(names, layers, strict=True)))


class Branches(nn.Module):
    """Run chains of layers side by side on ``(N, C, H, W)``, concatenate their channels.

    Parameters
    ----------
    *chains : dict of str to Module
        Each chain's layers, by the name that they get in this module.
    """

    def __init__(self, *chains: dict[str, nn.Module]):
        super().__init__()
        self.chains = [list(chain) for chain in chains]
        for chain in chains:
            for name, layer in chain.items():
                self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for chain in self.chains:
            out = x
            for name in chain:
                out = getattr(self, name)(out)
            outputs.append(out)
        return torch.cat(outputs, 1)


class NaiveInception(Branches):
    """Figure 2a: 1×1, 3×3, 5×5 and a max pool, all on the full input.

    ``(N, in_channels, H, W)`` to ``ch1x1 + ch3x3 + ch5x5 + in_channels`` channels: depth can
    only grow.
    """

    def __init__(
        self,
        in_channels: int,
        ch1x1: int,
        ch3x3: int,
        ch5x5: int,
        *,
        batch_norm: bool = False,
        device=None,
        dtype=None,
    ):
        conv = partial(conv_relu, in_channels, batch_norm=batch_norm, device=device, dtype=dtype)
        super().__init__(
            {"branch1": conv(ch1x1, 1)},
            {"branch2": conv(ch3x3, 3, padding=1)},
            {"branch3": conv(ch5x5, 5, padding=2)},
            {"branch4": nn.MaxPool2d(3, stride=1, padding=1)},
        )


class Inception(Branches):
    """Figure 2b: 1×1 convolutions thin the input first, and the pool's output after.

    ``(N, in_channels, H, W)`` to ``ch1x1 + ch3x3 + ch5x5 + pool_proj`` channels.

    Parameters
    ----------
    ch3x3red, ch5x5red : int
        Channels that reach the large filters.
    pool_proj : int
        Channels kept of the pool.
    kernel_size : int
        Of the "5×5" branch: torchvision has 3 there by a slip of long standing
        (https://github.com/pytorch/vision/issues/906), with which its weights were trained.
    """

    def __init__(
        self,
        in_channels: int,
        ch1x1: int,
        ch3x3red: int,
        ch3x3: int,
        ch5x5red: int,
        ch5x5: int,
        pool_proj: int,
        *,
        kernel_size: int = 5,
        batch_norm: bool = False,
        device=None,
        dtype=None,
    ):
        conv = partial(conv_relu, batch_norm=batch_norm, device=device, dtype=dtype)
        super().__init__(
            {"branch1": conv(in_channels, ch1x1, 1)},
            {
                "branch2": nn.Sequential(
                    conv(in_channels, ch3x3red, 1),
                    conv(ch3x3red, ch3x3, 3, padding=1),
                )
            },
            {
                "branch3": nn.Sequential(
                    conv(in_channels, ch5x5red, 1),
                    conv(ch5x5red, ch5x5, kernel_size, padding=kernel_size // 2),
                )
            },
            {
                "branch4": nn.Sequential(
                    nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True),
                    conv(in_channels, pool_proj, 1),
                )
            },
        )
