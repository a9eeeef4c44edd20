"""The building blocks of convolutional networks, as modules and as functions.

Where torch has the part, networks use torch's; what stands here shows how the part works and is
proved equal to it, or is something that torch lacks. Shapes are ``(N, C, H, W)``; every layer with
parameters takes ``device=None, dtype=None``.
"""

from cnnlab.layers.activations import (
    ACTIVATIONS,
    elu,
    elu_prime,
    leaky_relu,
    leaky_relu_prime,
    prelu,
    prelu_prime,
    relu,
    relu_prime,
    selu,
    selu_prime,
    sigmoid,
    sigmoid_prime,
    tanh,
    tanh_prime,
)
from cnnlab.layers.attention import CBAM, EfficientChannelAttention, SqueezeExcitation
from cnnlab.layers.blocks import (
    ChannelShuffle,
    ConvNormAct,
    DepthwiseSeparableConv2d,
    Residual,
    channel_shuffle,
    grouped_conv2d,
)
from cnnlab.layers.conv import Conv2d, conv2d
from cnnlab.layers.normalization import (
    BatchNorm2d,
    LocalResponseNorm,
    batch_norm,
    local_response_norm,
)
from cnnlab.layers.pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d, avg_pool2d, max_pool2d
from cnnlab.layers.regularization import (
    Dropout,
    DropPath,
    StochasticDepth,
    dropout,
    stochastic_depth,
)

__all__ = [
    "ACTIVATIONS",
    "CBAM",
    "AvgPool2d",
    "BatchNorm2d",
    "ChannelShuffle",
    "Conv2d",
    "ConvNormAct",
    "DepthwiseSeparableConv2d",
    "DropPath",
    "Dropout",
    "EfficientChannelAttention",
    "GlobalAvgPool2d",
    "LocalResponseNorm",
    "MaxPool2d",
    "Residual",
    "SqueezeExcitation",
    "StochasticDepth",
    "avg_pool2d",
    "batch_norm",
    "channel_shuffle",
    "conv2d",
    "dropout",
    "elu",
    "elu_prime",
    "grouped_conv2d",
    "leaky_relu",
    "leaky_relu_prime",
    "local_response_norm",
    "max_pool2d",
    "prelu",
    "prelu_prime",
    "relu",
    "relu_prime",
    "selu",
    "selu_prime",
    "sigmoid",
    "sigmoid_prime",
    "stochastic_depth",
    "tanh",
    "tanh_prime",
]
