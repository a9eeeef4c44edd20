"""Trained networks: the judge builds its own copy of what crossed, and looks at that."""

import inspect
import math
from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import nn

from cnnlab.answers import KINDS, Refused
from cnnlab.checks.compare import describe
from cnnlab.layers import Residual

__all__ = ["classes", "figures", "hint", "rebuilt"]

MOST_LAYERS = 200
MOST_WEIGHTS = 200_000
MOST_NUMBERS = 2**16  # that a layer makes of an image
MOST_WORK = 50_000_000  # multiplications, and looks of pools, for an image
_WIDTHS = ("channels", "features", "groups", "dim", "num_parameters")
LARGE = 1000  # weights of a linear layer
HUGE = 1e6  # a weight


def _chain(layers: object, left: Iterator) -> nn.Sequential:
    """The layers of a list, in their order, as many as are ``left``."""
    if not isinstance(layers, (tuple, list)):
        raise Refused(f"expected a list of layers, and got one of type {type(layers).__name__}")
    return nn.Sequential(*(_layer(layer, left) for layer in layers))


def _layer(layer: object, left: Iterator) -> nn.Module:
    if not isinstance(layer, (tuple, list)) or not layer or not isinstance(layer[0], str):
        raise Refused(f'a layer is written as ("ReLU",), and this is {describe(layer)}')
    if next(left, None) is None:
        raise Refused(f"it has more than {MOST_LAYERS} parts")
    kind, *arguments = layer
    if kind not in KINDS | {"Residual"}:
        raise Refused(f"it has a layer of kind {kind!r:.80}, and that is none that may be used")
    settings = arguments.pop() if isinstance(layer[-1], dict) else {}
    try:
        if kind == "Residual":
            return Residual(*(_chain(way, left) for way in arguments), **settings)
        make = getattr(nn, kind)
        for name, setting in inspect.signature(make).bind(*arguments, **settings).arguments.items():
            if name in ("device", "dtype"):
                raise ValueError(f"a layer takes no {name} here")
            most = 4096 if any(word in name for word in _WIDTHS) else 32
            numbers = setting if isinstance(setting, (list, tuple)) else [setting]
            if any(isinstance(n, int) and abs(n) > most for n in numbers):
                raise Refused(f"`{kind}` has {name}={setting}, and {most} is the most")
        return make(*arguments, **settings)
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"its layer {layer!r:.80} cannot be made: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def rebuilt(value: object, shape: tuple[int, ...], structure: tuple[str, ...]) -> nn.Module:
    """The judge's own copy of the network that `told` told of, in evaluation mode.

    Parameters
    ----------
    shape : tuple of int
        Of an image.
    structure : tuple of str
        What it must be, beside a network: ``"convolutions"`` (at least two, with kernels larger
        than a pixel and smaller than their maps), ``"no large linear layer"`` (none of more than
        1,000 weights, under whatever name), ``"shortcut"`` (around a convolution).

    Raises
    ------
    Refused
        If it is too large, is not of that structure, or does not fit together.
    """
    try:
        layers = value["layers"]
        weights = {name: torch.as_tensor(given) for name, given in value["weights"].items()}
        if sum(tensor.numel() for tensor in weights.values()) > MOST_WEIGHTS:
            raise Refused(f"it has more than {MOST_WEIGHTS:,} weights")
        with torch.device("meta"):  # where nothing is stored: sizes are not trusted yet
            network = _chain(layers, iter(range(1, MOST_LAYERS + 1))).eval()
            calls = _calls(network, shape)
        _must_be(structure, calls)
        network.load_state_dict(_fitting(weights, network), assign=True)
        with torch.no_grad():
            network(torch.zeros(1, *shape))
        return network
    except Refused:
        raise
    except Exception as error:  # it comes from where nothing is trusted
        raise Refused(
            f"it does not work on an image of {'×'.join(map(str, shape))}: {_reason(error)}"
        ) from None


def _fitting(weights: dict, network: nn.Module) -> dict:
    """The weights: each of the network's own and nothing beside them, of its size, and finite."""
    wanted = network.state_dict()
    for name in [*wanted, *weights]:
        if name not in wanted:
            raise Refused(f"there are weights `{name:.80}`, and no layer has any of that name")
        if name not in weights:
            raise Refused(f"the weights `{name}` are missing")
    found = {}
    for name, own in wanted.items():
        given = weights[name]
        if own.is_floating_point() != given.is_floating_point() or given.is_complex():
            raise Refused(f"`{name}` is of type {given.dtype}, expected {own.dtype}")
        if own.shape != given.shape:
            raise Refused(f"`{name}` is {tuple(given.shape)}, and its layer has {tuple(own.shape)}")
        if not (given.abs() <= HUGE).all():  # nor is NaN
            raise Refused(f"`{name}` holds NaN, or a number beyond {HUGE:,.0f}")
        found[name] = given.to(own.dtype)
    return found


def figures(network: nn.Module, shape: tuple[int, ...]) -> dict[str, float]:
    """What a network costs an image: ``MACs``, those of pools included, and ``parameters``."""
    from cnnlab.cost import summary  # which other tasks do without

    cost = summary(network, shape)
    return {"MACs": cost.total_macs_with_pools, "parameters": cost.total_params}


def _calls(network: nn.Module, shape: tuple[int, ...]) -> list[tuple]:
    """The layers in the order in which an image reaches them, with the shapes of their inputs."""
    calls: list[tuple] = []
    work = 0

    def note(layer, inputs, output):
        nonlocal work
        calls.append((layer, tuple(inputs[0].shape)))
        work += output.numel() * _cost(layer)
        if work > MOST_WORK:
            raise Refused(
                f"it takes more than {MOST_WORK / 1e6:.0f} million multiplications an image"
            )
        if output.numel() > MOST_NUMBERS:
            raise Refused(f"a layer makes more than {MOST_NUMBERS:,} numbers of an image")

    hooks = [module.register_forward_hook(note) for module in network.modules()]
    scores = network(torch.empty(1, *shape))
    for hook in hooks:
        hook.remove()
    if scores.ndim != 2 or len(scores) != 1:
        given = tuple(scores.shape)
        raise Refused(f"of one image it makes {given}: expected scores (1, classes)")
    return calls


def _cost(layer: nn.Module) -> int:
    """How many numbers a layer looks at for each that it makes."""
    if isinstance(layer, (nn.Conv2d, nn.Linear)):
        return layer.weight[0].numel()
    sides = getattr(layer, "kernel_size", 1)
    return math.prod(sides) if isinstance(sides, tuple) else sides**2


def _must_be(structure: tuple[str, ...], calls: list[tuple]) -> None:
    convolutions, linear = [], []
    for layer, came in calls:
        if isinstance(layer, nn.Conv2d):
            whole = all(k >= side for k, side in zip(layer.kernel_size, came[2:], strict=True))
            if whole and came[2:] != (1, 1):
                linear.append(layer)  # in disguise
            elif max(layer.kernel_size) > 1 and not whole:
                convolutions.append(layer)
        elif isinstance(layer, nn.Linear):
            linear.append(layer)
    if "convolutions" in structure and len(convolutions) < 2:
        raise Refused(
            f"it has {len(convolutions)} convolutions whose kernels are larger than a pixel and "
            "smaller than their maps, and 2 are asked for"
        )
    if "no large linear layer" in structure:
        for layer in linear:
            if (size := layer.weight.numel()) > LARGE:
                raise Refused(f"a linear layer has {size:,} weights, and {LARGE:,} is the most")
    shortcuts = [layer for layer, _ in calls if isinstance(layer, Residual)]
    if "shortcut" in structure and not any(
        isinstance(part, nn.Conv2d) for layer in shortcuts for part in layer.branch.modules()
    ):
        raise Refused("it has no shortcut around a convolution (see `Residual`)")


@torch.no_grad()
def classes(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The class of each image, which does not depend on the others.

    Raises
    ------
    Refused
        If it does.
    """
    scores = network(images)
    alone = torch.cat([network(image[None]) for image in images[:8]])
    if scores.shape[1:] != alone.shape[1:] or not torch.allclose(scores[:8], alone, 1e-3, 1e-3):
        raise Refused("an image alone gets other scores than the same image in a batch")
    return scores.argmax(1)


@torch.no_grad()
def hint(network: nn.Module, images: torch.Tensor, truth: torch.Tensor) -> str:
    """Why a network does worse than it could, where that can be seen."""

    def share(seen: torch.Tensor) -> float:
        return (network(seen).argmax(1) == truth).double().mean().item()

    own = share(images)
    centred = (images - images.mean()) / images.std()
    for seen, what in ((255 * images, "0 to 255"), (centred, "mean 0 and deviation 1")):
        if share(seen) > own + 0.1:
            return (
                f"It does better on images of {what}: was it trained on images like these? What is "
                "done to them before must be a part of the network, or be left out."
            )
    network = deepcopy(network).train()
    if share(images) > own + 0.1:
        return (
            "In training mode it does better: the running statistics of its batch norms are not "
            "those of these images. Was it trained on images like these, and for enough batches?"
        )
    return ""
