"""What a model is given: from sizes, tensors and whatever else to the arguments of a trace."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import operator
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from torch import nn

from cnnlab.tracing.trace import Trace

_AS_IT_IS = (type(None), bool, str, float, complex, torch.dtype, torch.device)
_TREES = (torch.Tensor, np.ndarray, Mapping, set)  # no sizes, whatever is in them


def arguments(trace: Trace, model: nn.Module, input_size, batch_size, dtype, given: dict):
    """Positional and named arguments of the forward pass, of shape tensors or of real ones."""
    if not is_whole(batch_size) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive whole number, got {short(batch_size)}")
    make = _Maker(trace, operator.index(batch_size))
    types, named = _types(dtype), {key: make.plain(value) for key, value in given.items()}
    by_name = isinstance(input_size, Mapping) and _is_named(model, input_size)
    several = by_name or _several(input_size)
    if isinstance(input_size, Mapping) and not input_size:
        raise ValueError("input_size must hold positive whole numbers, got {}")
    sizes = input_size if by_name else dict(enumerate(input_size if several else [input_size]))
    made = {
        key: make(value, types.get(key, types.get(None)), several) for key, value in sizes.items()
    }
    unknown = [key for key in types if key is not None and key not in sizes]
    if unknown:
        raise ValueError(f"dtype names {short(unknown[0])}, which is no input")
    return ([], {**made, **named}) if by_name else (list(made.values()), named)


class _Maker:
    """Makes what stands for an input of a size, and walks through everything else."""

    def __init__(self, trace: Trace, batch_size: int):
        self.trace, self.batch_size = trace, batch_size
        held = next((held for held in trace.held if held.dtype.is_floating_point), None)
        tensors = (b for _, module in trace.modules for b in module._buffers.values())
        found = held or next((tensor for tensor in tensors if tensor is not None), None)
        self.device = torch.get_default_device() if found is None else found.device
        self.dtype = held.dtype if held else trace.dtype or torch.get_default_dtype()
        self.random = torch.Generator().manual_seed(0) if trace.values else None

    def __call__(self, value, dtype, among: bool = True):
        """A size becomes a tensor with the batch in front; ``among``: it is one of several."""
        size = _size(value, among)
        if size is None:
            return self._inside(value, partial(self, dtype=dtype))
        return self._new((self.batch_size, *size), dtype or self.dtype)

    def plain(self, value):
        """A value that is handed on; only tensors are looked at."""
        return self._inside(value, self.plain)

    def _inside(self, value, again: Callable):
        if isinstance(value, np.ndarray):
            if value.dtype.kind not in "biufc":
                raise ValueError(f"an array of numbers is an input, got {short(value)}")
            value = torch.from_numpy(value)
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if isinstance(value, _AS_IT_IS) or (again == self.plain and not _holds(value)):
            return value
        if isinstance(value, set):
            raise ValueError(f"an input size is a tuple, which has an order, got {short(value)}")
        return mapped(value, again, keep=True)

    def _tensor(self, tensor):
        trace = self.trace
        if trace.values:
            real = trace._real(tensor)
            real = real.detach() if isinstance(tensor, nn.Parameter) else real
            trace.put(real, trace.tensor(real.shape, real.dtype, real.device, role="input").node)
            trace.alive.append(real)
            return real
        return trace.tensor(tensor.shape, tensor.dtype, tensor.device, role="input")

    def _new(self, shape, dtype):
        trace = self.trace
        if not trace.values:
            return trace.tensor(shape, dtype, self.device, role="input")
        if dtype.is_floating_point:
            tensor = torch.rand(shape, generator=self.random).to(dtype)
        else:
            tensor = torch.ones(shape, dtype=dtype)
        return self._tensor(tensor if self.device.type == "meta" else tensor.to(self.device))


def mapped(tree, leaf: Callable, keep: bool = False):
    """Containers and dataclasses with something else for everything that is in them.

    ``keep``: in objects of their own classes; else mappings and objects come out as dicts.
    """
    again = partial(mapped, leaf=leaf, keep=keep) if not keep else leaf
    if isinstance(tree, Mapping):
        items = {key: again(value) for key, value in tree.items()}
        if not keep or type(tree) in (dict, defaultdict):
            return items
        return OrderedDict(items) if type(tree) is OrderedDict else _filled(tree, items)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return tuple.__new__(type(tree), map(again, tree))
    if isinstance(tree, (list, tuple)):
        return (list if isinstance(tree, list) else tuple)(map(again, tree))
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        items = {field.name: again(getattr(tree, field.name)) for field in dataclasses.fields(tree)}
        return _filled(tree, items) if keep else items
    if keep or isinstance(tree, (torch.Tensor, *_AS_IT_IS, int)):
        return leaf(tree) if not keep else tree
    inside = vars(tree) if hasattr(tree, "__dict__") else {}
    if _holds(inside):
        return {key: again(value) for key, value in inside.items() if _holds(value)}
    return leaf(tree)


def _filled(tree, items: dict):
    double = copy.copy(tree)
    for name, item in items.items():
        if isinstance(double, Mapping):
            double[name] = item
        if dataclasses.is_dataclass(double):
            object.__setattr__(double, name, item)
    return double


def tensors_in(tree) -> list[torch.Tensor]:
    """The tensors in a tree, in their order."""
    found: list[torch.Tensor] = []
    mapped(tree, lambda leaf: found.append(leaf) if isinstance(leaf, torch.Tensor) else None)
    return found


def shapes(tree):
    """The tree with shapes for its tensors and in plain containers."""

    def leaf(value):
        if isinstance(value, torch.Tensor):
            return tuple(value.shape)
        return value if isinstance(value, (*_AS_IT_IS, int)) else type(value).__name__

    return mapped(tree, leaf)


def _holds(tree) -> bool:
    if isinstance(tree, torch.Tensor):
        return True
    if isinstance(tree, Mapping):
        return any(map(_holds, tree.values()))
    if isinstance(tree, (list, tuple)):
        return any(map(_holds, tree))
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return any(_holds(getattr(tree, field.name)) for field in dataclasses.fields(tree))
    if type(tree).__module__ == "builtins" or not hasattr(tree, "__dict__"):
        return False
    return any(isinstance(value, (torch.Tensor, list)) and _holds(value)
               for value in vars(tree).values())  # fmt: skip


def _size(value, among: bool) -> tuple[int, ...] | None:
    """The size that a value states, None if it is something else."""
    if isinstance(value, bool) or (isinstance(value, _AS_IT_IS) and among):
        return None
    if isinstance(value, _TREES) or dataclasses.is_dataclass(value):
        return None
    value = (value,) if is_whole(value) else value
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        words = value and all(isinstance(n, (bool, type(None), str)) for n in value)
        if any(isinstance(n, (list, tuple, *_TREES)) for n in value) or (words and among):
            return None
        if value and all(is_whole(n) and n > 0 for n in value):
            return tuple(map(operator.index, value))
    elif not isinstance(value, (str, float, complex, type(None), list, tuple)):
        raise TypeError(
            f"an input is a size such as (3, 224, 224), a tensor, or a list or dict of them, got a "
            f"{type(value).__name__}"
        )
    raise ValueError(f"input_size must hold positive whole numbers, got {short(value)}")


def _several(input_size) -> bool:
    """Whether it is a list of inputs and not one size."""
    if hasattr(input_size, "_fields") or not isinstance(input_size, (list, tuple)):
        return False
    return any(not is_whole(n) and not isinstance(n, (float, str)) for n in input_size)


def _is_named(model: nn.Module, given: Mapping) -> bool:
    """Whether a dict holds inputs by name; else it is one input."""
    try:
        parameters = inspect.signature(model.forward).parameters
    except (TypeError, ValueError):
        return True
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return True
    return all(name in parameters for name in given) or len(parameters) != 1


def _types(dtype):
    if isinstance(dtype, Mapping):
        types = dict(dtype)
    elif isinstance(dtype, (list, tuple)):
        types = dict(enumerate(dtype))
    else:
        types = {None: dtype}
    for value in types.values():
        if value is not None and not isinstance(value, torch.dtype):
            known = isinstance(getattr(torch, str(value), None), torch.dtype)
            hint = f" (torch.{value})" if known else ""
            raise TypeError(
                f"dtype must be a torch.dtype such as torch.float16, got {value!r}{hint}"
            )
    return types


def is_whole(value) -> bool:
    """Whether it is a whole number, which True is not."""
    return not isinstance(value, (bool, torch.Tensor)) and hasattr(type(value), "__index__")


def short(value) -> str:
    """A value in a message."""
    text = f"{value!r}"
    return text if len(text) < 80 else f"{text[:60]}… of type {type(value).__name__}"
