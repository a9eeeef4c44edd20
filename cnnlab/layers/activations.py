"""Activation functions and their derivatives, written out.

Each is a plain function of a tensor, and ``NAME_prime`` is its derivative. In a network use the
`torch.nn` module of the same name (`torch.nn.ReLU`, ...); ``ACTIVATIONS`` pairs them for plots.

>>> function, derivative = ACTIVATIONS["leaky_relu"]
>>> derivative(torch.tensor([-2.0, 3.0]))
tensor([0.0100, 1.0000])
"""

import torch
from torch import Tensor

__all__ = [
    "ACTIVATIONS",
    "elu",
    "elu_prime",
    "leaky_relu",
    "leaky_relu_prime",
    "prelu",
    "prelu_prime",
    "relu",
    "relu_prime",
    "selu",
    "selu_prime",
    "sigmoid",
    "sigmoid_prime",
    "tanh",
    "tanh_prime",
]

# Klambauer et al. 2017 (https://arxiv.org/abs/1706.02515), equation 14: with these two numbers,
# activations drawn from N(0, 1) keep mean 0 and variance 1.
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


def relu(x: Tensor) -> Tensor:
    """``max(0, x)`` (Nair and Hinton 2010)."""
    return torch.where(x > 0, x, 0)


def relu_prime(x: Tensor) -> Tensor:
    """1 where ``x > 0``, else 0; the corner at 0 counts as 0, as in torch."""
    return (x > 0).to(x.dtype)


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """``x`` where positive, else ``negative_slope * x`` (Maas et al. 2013): never quite dead."""
    return torch.where(x > 0, x, negative_slope * x)


def leaky_relu_prime(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """1 where ``x > 0``, else ``negative_slope``."""
    return torch.where(x > 0, torch.ones_like(x), negative_slope)


def prelu(x: Tensor, weight: Tensor) -> Tensor:
    """Leaky ReLU whose slope ``weight (C,)`` is learned for each channel of ``x (N, C, ...)``.

    He et al. 2015, https://arxiv.org/abs/1502.01852.
    """
    return torch.where(x > 0, x, weight.view(1, -1, *[1] * (x.ndim - 2)) * x)


def prelu_prime(x: Tensor, weight: Tensor) -> Tensor:
    """1 where ``x > 0``, else the channel's slope; ``x (N, C, ...)``, ``weight (C,)``."""
    slope = weight.view(1, -1, *[1] * (x.ndim - 2)).expand_as(x)
    return torch.where(x > 0, torch.ones_like(x), slope)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """``x`` where positive, else ``alpha (eˣ - 1)`` (Clevert et al. 2016)."""
    return torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0)))


def elu_prime(x: Tensor, alpha: float = 1.0) -> Tensor:
    """1 where ``x > 0``, else ``alpha eˣ``."""
    return torch.where(x > 0, torch.ones_like(x), alpha * torch.exp(x.clamp(max=0)))


def selu(x: Tensor) -> Tensor:
    """ELU scaled so that activations normalize themselves (Klambauer et al. 2017)."""
    return SELU_SCALE * elu(x, SELU_ALPHA)


def selu_prime(x: Tensor) -> Tensor:
    """Derivative of `selu`."""
    return SELU_SCALE * elu_prime(x, SELU_ALPHA)


def sigmoid(x: Tensor) -> Tensor:
    """``1 / (1 + e⁻ˣ)``, computed so that neither end overflows."""
    e = torch.exp(-x.abs())
    return torch.where(x >= 0, 1, e) / (1 + e)


def sigmoid_prime(x: Tensor) -> Tensor:
    """``s (1 - s)``: at most 1/4, so each layer of sigmoids shrinks the gradient."""
    s = sigmoid(x)
    return s * (1 - s)


def tanh(x: Tensor) -> Tensor:
    """``2 sigmoid(2x) - 1``: the sigmoid stretched to (-1, 1)."""
    return 2 * sigmoid(2 * x) - 1


def tanh_prime(x: Tensor) -> Tensor:
    """``1 - tanh²``: at most 1."""
    return 1 - tanh(x).square()


ACTIVATIONS = {
    "relu": (relu, relu_prime),
    "leaky_relu": (leaky_relu, leaky_relu_prime),
    "prelu": (prelu, prelu_prime),
    "elu": (elu, elu_prime),
    "selu": (selu, selu_prime),
    "sigmoid": (sigmoid, sigmoid_prime),
    "tanh": (tanh, tanh_prime),
}
