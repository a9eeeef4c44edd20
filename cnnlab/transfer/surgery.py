"""Operations on a trained network: another head, frozen layers, learning rates by depth."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import nn

from cnnlab.device import draw_into

__all__ = ["freeze", "head_of", "parameter_groups", "replace_head", "units"]


def head_of(model: nn.Module, prefix: str = "") -> tuple[nn.Module, str, nn.Module]:
    """The last layer with weights: the module that has it, its name there, and the layer.

    Of those whose path begins with ``prefix``, in lower case.
    """
    last = None
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and path.lower().startswith(prefix):
            last = path
    if last is None:
        raise ValueError(f"{type(model).__name__} has no linear or convolutional layer to replace")
    parent, _, name = last.rpartition(".")
    parent = model.get_submodule(parent)
    return parent, name, getattr(parent, name)


def replace_head(
    model: nn.Module, classes: int, generator: torch.Generator | None = None
) -> nn.Module:
    """Give a network another last layer, for so many classes; the model is changed and returned.

    Works on the networks of `cnnlab.models` and of torchvision. The last layer is the last
    `nn.Linear` or, in fully convolutional networks, `nn.Conv2d`. Auxiliary heads (modules whose
    names begin with ``aux``) get a new last layer too.

    Parameters
    ----------
    model
        The network.
    classes
        Outputs of the new layer.
    generator
        Draws its weights: normal with a standard deviation of 0.01, biases 0.

    Raises
    ------
    ValueError
        If the network has no layer that could be a head, or ``classes`` is below 1.
    """
    if classes < 1:
        raise ValueError(f"classes {classes} is below 1")
    auxiliary = [name for name, _ in model.named_children() if name.lower().startswith("aux")]
    for prefix in ["", *(name.lower() for name in auxiliary)]:
        parent, name, old = head_of(model, prefix)
        options = {"device": old.weight.device, "dtype": old.weight.dtype}
        if isinstance(old, nn.Linear):
            new = nn.Linear(old.in_features, classes, **options)
        else:
            new = nn.Conv2d(old.in_channels, classes, old.kernel_size, old.stride, **options)
        small = partial(nn.init.normal_, std=0.01)
        draw_into(new.weight, small, generator or torch.default_generator)
        nn.init.zeros_(new.bias)
        setattr(parent, name, new)
    return model


def units(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The parts with parameters that a network is stacked from, from the input to the head.

    They are the children of the network, of its `nn.Sequential`s and of its `nn.ModuleList`s: a
    residual block or an Inception module counts as one. A norm belongs to the unit before it.
    """
    return [(names[0], nn.ModuleList(modules)) for names, modules in _units(model)]


def _units(model: nn.Module) -> list[tuple[list[str], list[nn.Module]]]:
    found: list[tuple[list[str], list[nn.Module]]] = []
    for name, module in _flat(model, ""):
        is_norm = not any(p.ndim > 1 for p in module.parameters())
        if is_norm and found:
            found[-1][0].append(name)
            found[-1][1].append(module)
        else:
            found.append(([name], [module]))
    return found


def _flat(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        here = f"{path}{name}"
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from _flat(child, f"{here}.")
        elif any(True for _ in child.parameters()):
            yield here, child


def freeze(model: nn.Module, trainable: int | None) -> list[str]:
    """Train only the last ``trainable`` units of a network; None thaws all of it.

    ``1`` leaves only the head. `cnnlab.training.fit` does not change frozen parameters, nor the
    running statistics of frozen batch norms.

    Returns
    -------
    list of str
        Names of the units that train, from the first to the head.

    Raises
    ------
    ValueError
        If the network has fewer units.
    """
    parts = units(model)
    trainable = len(parts) if trainable is None else trainable
    if not 0 <= trainable <= len(parts):
        raise ValueError(f"{trainable} units cannot train: the network has {len(parts)}")
    first = len(parts) - trainable
    for index, (_, part) in enumerate(parts):
        part.requires_grad_(index >= first)
    return [name for name, _ in parts[first:]]


def parameter_groups(
    model: nn.Module, learning_rate: float, decay: float = 0.7
) -> list[dict[str, object]]:
    """Optimizer groups in which each unit learns ``decay`` times as fast as the one above it.

    The head has ``learning_rate``. Frozen parameters are left out. For `fit`'s ``parameters``.

    Raises
    ------
    ValueError
        If ``decay`` is not within 0 to 1, or nothing is left to train.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"decay {decay} is not within 0 to 1")
    groups = []
    for height, (_, part) in enumerate(reversed(units(model))):
        trained = [p for p in part.parameters() if p.requires_grad]
        if trained:
            groups.append({"params": trained, "lr": learning_rate * decay**height})
    if not groups:
        raise ValueError("all parameters are frozen: there is nothing to train")
    return groups[::-1]
