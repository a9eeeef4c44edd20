"""How weights start: a default that trains from scratch, and what the papers did."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from cnnlab.device import draw_into

__all__ = ["he", "normal", "skip_random_init", "xavier"]

Initialization = Callable[[nn.Module, torch.Generator | None], None]


def _weighted(network: nn.Module) -> list[nn.Module]:
    """The convolutions and fully connected layers, in order."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Linear)
    return [module for module in network.modules() if isinstance(module, kinds)]


def he(network: nn.Module, generator: torch.Generator | None = None) -> None:
    """He et al. 2015 (https://arxiv.org/abs/1502.01852), equation 10; biases 0.

    Weights are normal with variance 2 / fan-in, so that ReLU layers keep the size of their
    signal at any depth. The output layer gets a standard deviation of 0.01, for a first loss
    near the logarithm of the number of classes. Where that layer is a convolution (NiN,
    SqueezeNet) a ReLU follows it, and a bias of 1 keeps scores from being born dead.
    """
    *hidden, output = _weighted(network)
    for layer in hidden:
        draw_into(layer.weight, partial(nn.init.kaiming_normal_, nonlinearity="relu"), generator)
    draw_into(output.weight, partial(nn.init.normal_, std=0.01), generator)
    _zero_biases(network)
    if isinstance(output, nn.Conv2d):
        nn.init.ones_(output.bias)


def xavier(network: nn.Module, generator: torch.Generator | None = None) -> None:
    """Glorot and Bengio 2010 (https://proceedings.mlr.press/v9/glorot10a.html); biases 0."""
    for layer in _weighted(network):
        draw_into(layer.weight, nn.init.xavier_uniform_, generator)
    _zero_biases(network)


def normal(std: float) -> Initialization:
    """All weights normal with one standard deviation, biases 0."""

    def initialize(network: nn.Module, generator: torch.Generator | None = None) -> None:
        for layer in _weighted(network):
            draw_into(layer.weight, partial(nn.init.normal_, std=std), generator)
        _zero_biases(network)

    return initialize


def _zero_biases(network: nn.Module) -> None:
    for layer in _weighted(network):
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class skip_random_init(TorchFunctionMode):
    """Within this context layers leave their random weights unset, for someone else to set.

    Constants (biases of norms, running statistics) are set as always.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") in ("kaiming_uniform_", "uniform_", "normal_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))
