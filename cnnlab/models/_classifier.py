"""The two hidden layers of 4096 units that AlexNet, ZFNet and VGG end with."""

from torch import nn

__all__ = ["fully_connected"]


def fully_connected(
    in_features: int,
    num_classes: int,
    dropout: float = 0.5,
    *,
    dropout_first: bool = False,
    device=None,
    dtype=None,
) -> nn.Sequential:
    """``(N, in_features)`` through 4096 and 4096 units to ``(N, num_classes)``.

    Dropout acts on the outputs of the hidden layers, or with ``dropout_first`` on their inputs.
    """
    kw = {"device": device, "dtype": dtype}
    layers = []
    for width in (in_features, 4096):
        hidden = [nn.Linear(width, 4096, **kw), nn.ReLU(inplace=True)]
        drop = [nn.Dropout(dropout)]
        layers += drop + hidden if dropout_first else hidden + drop
    return nn.Sequential(*layers, nn.Linear(4096, num_classes, **kw))
