"""A model's double: the same modules and attributes, in objects of their own.

What a forward pass does to a model, it does to the double. Modules, containers, plain objects and
the variables that functions close over are copied at any depth, each once, so that the double
refers to itself wherever the model does. Tensors are handed to a function of the caller's.
"""

from __future__ import annotations

import array
import collections
import copy
import copyreg
import enum
import functools
import operator
import random
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

_AS_THEY_ARE = {
    type(None), bool, int, float, complex, str, bytes, type, range, slice, type(Ellipsis),
    torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format, types.ModuleType,
    types.BuiltinFunctionType, types.GetSetDescriptorType, types.MethodDescriptorType, property,
}  # fmt: skip
_EMPTY = {OrderedDict, dict, set, list}
_HOOKS = (
    "_backward_hooks", "_backward_pre_hooks", "_forward_hooks", "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)  # fmt: skip
_hooks = operator.itemgetter(*_HOOKS)
_new, _set = object.__new__, object.__setattr__
_CONTAINERS = (list, dict, set, collections.deque, bytearray, np.ndarray)
_LOOKUP = ("__getattribute__", "__getattr__", "__setattr__", "__delattr__")
_classes: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # what `_of_class` has found


class Double:
    """Copies values; a value that was copied before comes out as the same copy.

    ``known`` is the number of attributes of modules that hold plain numbers beside their tensors.
    ``direct``: children are attributes, too, which Python finds without asking the module for them.
    """

    def __init__(self, tensor: Callable, known: dict[type, int], direct: bool = False):
        self.tensor, self.known, self.direct = tensor, known, direct
        self._direct: list[tuple[dict, list[str]]] = []  # attributes, and those that are children
        self._copies: dict[int, object] = {}
        self._shared = {name: OrderedDict() for name in _HOOKS}
        self._alive: list = []  # so that no id is used twice

    def __call__(self, value):
        kind = type(value)
        if kind in _AS_THEY_ARE:
            return value
        if kind is tuple and all(type(item) in _AS_THEY_ARE for item in value):
            return value
        if id(value) in self._copies:
            return self._copies[id(value)]
        self._alive.append(value)
        if isinstance(value, nn.Module):
            return self.modules([value])[0]
        if isinstance(value, torch.Tensor):
            return self._keep(value, self.tensor(value))
        copier = next((_COPIERS[base] for base in kind.__mro__ if base in _COPIERS), None)
        return copier(self, value) if copier else self._plain(value)

    def modules(self, modules: Sequence[nn.Module]) -> list[nn.Module]:
        """Doubles of the modules: of the same classes, with their own attributes."""
        self._alive += modules
        doubles = [_new(type(module)) for module in modules]
        self._copies.update(zip(map(id, modules), doubles, strict=True))
        known, shared = self.known, self._shared
        for module, double in zip(modules, doubles, strict=True):
            own = module.__dict__
            free = {} if any(_hooks(own)) else shared  # hooks go by numbers that are given once
            attributes = own | free
            if free:
                attributes["_forward_hooks"] = OrderedDict()
                attributes["_forward_pre_hooks"] = OrderedDict()
            if free and len(own) == known.get(type(module)) and not own["_modules"]:
                attributes["_modules"] = {}
                attributes["_parameters"] = own["_parameters"].copy()
                attributes["_buffers"] = own["_buffers"].copy()
                name = "_non_persistent_buffers_set"
                attributes[name] = own[name].copy()
            else:
                self._fill(module, attributes, free)
            _set(double, "__dict__", attributes)
        return doubles

    def _fill(self, module: nn.Module, attributes: dict, free: dict) -> None:
        """Put doubles in the place of the module's attributes, but for those that are free."""
        own = module.__dict__
        copies = self._copies
        for name, value in own.items():
            kind = type(value)
            if kind in _AS_THEY_ARE or name in free:
                continue
            if kind in _EMPTY and not value:
                attributes[name] = copies.setdefault(id(value), kind())
            elif name == "_modules" and kind in _EMPTY:
                attributes[name] = children = copies[id(value)] = kind(value)
                for place, child in value.items():
                    children[place] = copies[id(child)] if id(child) in copies else self(child)
            else:
                attributes[name] = self(value)
        shared, taken = _of_class(type(module))
        for name, value in shared:
            if name not in attributes:
                attributes[name] = self(value)
        if self.direct and taken is not None:
            children = attributes["_modules"]
            if taken.isdisjoint(children):
                attributes.update(children)
                self._direct.append((attributes, [*children]))

    def rearranged(self) -> bool:
        """Whether a module has other children than its attributes say."""
        return any(
            [*map(attributes.get, names)] != [*attributes["_modules"].values()]
            for attributes, names in self._direct
        )

    def _keep(self, value, double):
        self._copies[id(value)] = double
        return double

    def _plain(self, value):
        """An instance of a class that says nothing of how it is copied."""
        kind = type(value)
        own = any(
            getattr(kind, n) is not getattr(object, n) for n in ("__reduce_ex__", "__reduce__")
        )
        if own or isinstance(value, (enum.Enum, type)) or hasattr(kind, "__deepcopy__"):
            return self._keep(value, value)
        try:
            double = self._keep(value, object.__new__(kind))
        except TypeError:  # it is made in C
            return self._keep(value, value)
        for name in copyreg._slotnames(kind):
            if hasattr(value, name):
                object.__setattr__(double, name, self(getattr(value, name)))
        self._attributes(value, double)
        return double

    def _attributes(self, value, double):
        own = getattr(value, "__dict__", None)
        if own:
            double.__dict__.update({name: self(item) for name, item in own.items()})
        return double

    def _list(self, value):
        double = self._keep(value, type(value).__new__(type(value)))
        list.extend(double, map(self, value))
        return self._attributes(value, double)

    def _dict(self, value):
        double = self._keep(value, type(value).__new__(type(value)))
        put = dict.__setitem__
        if isinstance(value, OrderedDict):
            put = OrderedDict.__setitem__
        for key, item in list(dict.items(value)):
            put(double, self(key), self(item))
        if isinstance(value, collections.defaultdict):
            double.default_factory = self(value.default_factory)
        return self._attributes(value, double)

    def _tuple(self, value):
        items = [self(item) for item in value]
        same = all(a is b for a, b in zip(items, value, strict=True))
        return self._keep(value, value if same else tuple.__new__(type(value), items))

    def _set(self, value):
        items = [self(item) for item in value]
        return self._keep(value, type(value)(items) if type(value) in (set, frozenset) else value)

    def _deque(self, value):
        double = self._keep(value, type(value)(maxlen=value.maxlen))
        double.extend(map(self, value))
        return double

    def _function(self, value):
        self._keep(value, value)
        closure = value.__closure__ or ()
        cells = [self._cell(cell) for cell in closure]
        defaults, named = self(value.__defaults__), self(value.__kwdefaults__)
        same = all(a is b for a, b in zip(cells, closure, strict=True))
        if same and defaults is value.__defaults__ and not named:
            return value
        double = types.FunctionType(
            value.__code__, value.__globals__, value.__name__, defaults, tuple(cells) or None
        )
        double.__kwdefaults__, double.__dict__ = named, value.__dict__.copy()
        return self._keep(value, double)

    def _cell(self, cell):
        try:
            content = cell.cell_contents
        except ValueError:  # empty
            return cell
        double = self(content)
        return cell if double is content else self._keep(cell, types.CellType(double))

    def _method(self, value):
        return types.MethodType(self(value.__func__), self(value.__self__))

    def _partial(self, value):
        given = {name: self(item) for name, item in value.keywords.items()}
        return functools.partial(self(value.func), *map(self, value.args), **given)

    def _reference(self, value):
        target = value()
        return value if target is None else weakref.ref(self(target))

    def _state(self, value):
        return self._keep(value, copy.copy(value) if value is not None else None)


_COPIERS = {
    list: Double._list,
    dict: Double._dict,
    tuple: Double._tuple,
    set: Double._set,
    frozenset: Double._set,
    collections.deque: Double._deque,
    types.FunctionType: Double._function,
    types.MethodType: Double._method,
    functools.partial: Double._partial,
    weakref.ReferenceType: Double._reference,
    bytearray: Double._state,
    array.array: Double._state,
    np.ndarray: Double._state,
    random.Random: Double._state,
}  # fmt: skip


def _of_class(kind: type) -> tuple[list[tuple[str, object]], set[str] | None]:
    """Containers that all instances of a class share, and names that its children must not have.

    None in their place where the class looks children up in its own way, reads its own attributes,
    or has its children by number.
    """
    found = _classes.get(kind)
    if found is None:
        bases = [base for base in kind.__mro__ if base.__module__.split(".")[0] != "torch"]
        items = [item for base in bases for item in vars(base).items()]
        containers = [
            name for name, value in items
            if isinstance(value, _CONTAINERS) and not name.startswith("__")
        ]  # fmt: skip
        codes = [value.__code__ for _, value in items if isinstance(value, types.FunctionType)]
        own = (
            issubclass(kind, (nn.Sequential, nn.ModuleList, nn.ModuleDict))
            or any(getattr(kind, name) is not getattr(nn.Module, name) for name in _LOOKUP)
            or any("vars" in code.co_names or "__dict__" in code.co_names for code in codes)
        )
        found = _classes[kind] = containers, None if own else set(dir(kind))
    containers, taken = found
    return [(name, getattr(kind, name)) for name in containers], taken
