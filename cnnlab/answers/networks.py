"""Trained networks as plain data: layers, their settings and their weights cross, and no code."""

import inspect

from torch import nn

from cnnlab.answers.observe import Refused
from cnnlab.layers import Residual

__all__ = ["KINDS", "told"]

# What a network may be made of: torch's layers of these names, and `Residual` around them.
KINDS = {
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "Dropout",
    "Dropout2d",
    "ELU",
    "Flatten",
    "GELU",
    "GroupNorm",
    "Identity",
    "LeakyReLU",
    "Linear",
    "MaxPool2d",
    "PReLU",
    "ReLU",
    "Sigmoid",
    "SiLU",
    "Tanh",
}


def told(network: object) -> dict:
    """A network in plain values: ``layers``, a list, and ``weights`` by name.

    A layer is what its class is called with, ``("Conv2d", 1, 8, 3, {"padding": 1})``, and a
    shortcut ``("Residual", [layers of the branch], [layers of the shortcut])``. Weights have the
    names that they have in an `nn.Sequential` of the layers. A network may be told like that
    already, as ``(layers, weights)``.

    Raises
    ------
    Refused
        If it is no network, or has a part that is not known here.
    """
    if isinstance(network, (tuple, list)):
        if len(network) != 2 or not isinstance(network[1], dict):
            raise Refused("expected a list of layers and a dict of weights, in this order")
        return {"layers": network[0], "weights": network[1]}
    if not isinstance(network, nn.Module):
        what = "a class" if isinstance(network, type) else f"of type {type(network).__name__}"
        raise Refused(f"expected a trained nn.Module, and this is {what}")
    layers, chain = _in_order(network)
    return {"layers": layers, "weights": dict(chain.state_dict())}


def _in_order(module: nn.Module, path: str = "") -> tuple[list, nn.Sequential]:
    """The layers that a module calls one after the other, told and as they are."""
    kind = type(module)
    names = [f"{path}.{name}".removeprefix(".") for name in module._modules]
    parts = map(_in_order, module._modules.values(), names)
    if isinstance(module, nn.Sequential) and kind.forward is nn.Sequential.forward:
        parts = list(parts)
        layers = [layer for told, _ in parts for layer in told]
        return layers, nn.Sequential(*(layer for _, chain in parts for layer in chain))
    if kind is Residual:
        ways, chains = zip(*parts, strict=True)
        return [("Residual", *ways)], nn.Sequential(Residual(*chains))
    if kind.__name__ in KINDS and kind is getattr(nn, kind.__name__):
        return [(kind.__name__, _settings(module))], nn.Sequential(module)
    raise Refused(
        f"{f'its part `{path}`' if path else 'it'} is of type {kind.__name__}: build the network "
        "of nn.Sequential, Residual and PyTorch's own layers"
    )


def _settings(layer: nn.Module) -> dict:
    """The arguments that a layer was made with."""
    names = set(inspect.signature(type(layer)).parameters) - {"device", "dtype"}
    found = {name: getattr(layer, name) for name in sorted(names) if hasattr(layer, name)}
    return found | ({"bias": layer.bias is not None} if "bias" in found else {})
