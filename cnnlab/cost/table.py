"""The result of a trace: rows, totals, groups of rows, and what they are as text."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

from torch import nn
from torch.utils._pytree import tree_map_only

from cnnlab.cost import memory, render
from cnnlab.cost.receptive import GLOBAL, POOLED, Field, receptive_fields
from cnnlab.cost.rules import COUNTED, Geometry
from cnnlab.cost.trace import Op, ShapeTensor, Trace


@dataclass(slots=True)
class Row:
    """One operation of the forward pass, or a group of them.

    Attributes
    ----------
    name : str
        Path of the module, with the operation behind it where the module does several.
    type : str
        Class of the module or name of the operation: ``"Conv2d"``, ``"add"``.
    kind : str
        ``"conv"``, ``"linear"``, ``"matmul"``, ``"pool"``, ``"norm"``, ``"activation"``, ``"add"``,
        ``"elementwise"``, ``"concat"``, ``"view"``, ``"other"``, or ``"group"``.
    input_shape, output_shape : tuple of int
        With the batch, ``(N, C, H, W)``; the first input's where there are several.
    kernel_size, stride, padding, dilation : tuple of int or None
        One entry an axis, padding per side.
    groups : int or None
    memory : int
        Bytes of the output; 0 for a view, and for an operation in place.
    params : int
        Parameters that this operation is the first to use.
    macs : int
        Multiply-adds without biases; for a pool one for each element of a window.
    counted : bool
        False where the MACs are not known.
    """

    name: str
    type: str
    kind: str
    path: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    kernel_size: tuple[int, ...] | None
    stride: tuple[int, ...] | None
    padding: tuple[int, ...] | None
    dilation: tuple[int, ...] | None
    groups: int | None
    memory: int
    params: int
    macs: int
    counted: bool
    _fields: object = field(repr=False)
    _index: int = field(repr=False)

    @property
    def flops(self) -> int:
        """Twice the MACs: a multiplication and an addition each."""
        return 2 * self.macs

    @property
    def filters(self) -> int | None:
        """Filters of a convolution, units of a linear layer."""
        if self.kind == "linear":
            return self.output_shape[-1]
        return self.output_shape[1] if self.kind == "conv" else None

    @property
    def input_channels(self) -> int | None:
        return _channels(self.input_shape, self.kind)

    @property
    def input_size(self) -> tuple[int, ...]:
        """Height and width."""
        return _size(self.input_shape, self.kind)

    @property
    def output_channels(self) -> int | None:
        return _channels(self.output_shape, self.kind)

    @property
    def output_size(self) -> tuple[int, ...]:
        """Height and width."""
        return _size(self.output_shape, self.kind)

    @property
    def receptive_field(self) -> int | tuple[int, ...] | float | None:
        """Input pixels on a side that one output unit sees; inf: all of them, None: no image."""
        return _pixels(self._fields()[self._index])


class Summary(render.Table):
    """What a network costs, operation by operation.

    Attributes
    ----------
    rows : list of Row
    total_params : int
        All of the model's parameters, used in this forward pass or not.
    total_macs, total_flops : int
        Of convolutions, linear layers and matrix products ("conv + linear").
    total_memory : int
        Bytes of their outputs, one copy, forward only.
    total_macs_with_pools, total_memory_with_pools : int
        With pooling layers ("with pools"), as some slides count.
    input_shape, output_shape
        Tuple of int, or a list or dict of them where there are several.
    receptive_field : int, tuple, float or None
        Of one unit of the last spatial layer, in input pixels; inf when it sees the whole image.
    not_counted : list of str
        Operations whose MACs are not in the totals.
    """

    def __init__(self, model: nn.Module, trace: Trace, inputs, output=None):
        self.model_name = type(model).__name__
        self.training = model.training
        self._ops = trace.ops
        self._inputs = _leaves(inputs)
        self._held = [  # so that nothing of the model stays alive with its summary
            (kind, tensor.numel(), trace.itemsize(tensor), tensor.requires_grad)
            for kind in ("parameters", "buffers")
            for tensor in getattr(trace, kind).values()
        ]
        self.input_shape = tree_map_only(ShapeTensor, lambda t: tuple(t.shape), inputs)
        self.output_shape = tree_map_only(ShapeTensor, lambda t: tuple(t.shape), output)
        if isinstance(self.input_shape, list) and len(self.input_shape) == 1:
            self.input_shape = self.input_shape[0]
        self.rows = _rows(trace.ops, self._states)
        self.not_counted = sorted({op.label for op in trace.ops if not op.counted})

    # --- totals -------------------------------------------------------------------------------

    @property
    def total_params(self) -> int:
        return sum(number for kind, number, *_ in self._held if kind == "parameters")

    @property
    def trainable_params(self) -> int:
        """Parameters that require a gradient."""
        return sum(number for _, number, _, trained in self._held if trained)

    @property
    def unused_params(self) -> int:
        """Parameters that this forward pass did not touch, such as auxiliary heads'."""
        return self.total_params - sum(row.params for row in self.rows)

    @property
    def total_macs(self) -> int:
        return self._total("macs", COUNTED)

    @property
    def total_flops(self) -> int:
        return 2 * self.total_macs

    @property
    def total_memory(self) -> int:
        return self._total("memory", COUNTED)

    @property
    def total_macs_with_pools(self) -> int:
        return self._total("macs", (*COUNTED, "pool"))

    @property
    def total_memory_with_pools(self) -> int:
        return self._total("memory", (*COUNTED, "pool"))

    @property
    def receptive_field(self):
        for state in reversed(self._states()):
            if state is not None and state != POOLED:
                return _pixels(state)
        return _pixels(POOLED) if POOLED in self._states() else None

    def forward_memory(self) -> dict[str, int]:
        """Bytes of a forward pass without gradients: what is stored, and the peak of the rest."""
        stored = self._stored()
        activations = memory.peak(self._inputs, self._ops)
        return {**stored, "activations": activations, "total": sum(stored.values()) + activations}

    def training_memory(self, optimizer: str = "sgd") -> dict[str, int]:
        """Bytes of a training step, estimated: parameters, gradients, optimizer, activations kept.

        Activations are those that autograd keeps for the backward pass, which depends on what is
        trained: frozen layers keep less. Workspaces of the libraries are not in it.

        Parameters
        ----------
        optimizer : {"sgd", "momentum", "adam"}
            Keeps 0, 1 or 2 numbers for each parameter that is trained.
        """
        if optimizer not in memory.OPTIMIZERS:
            raise ValueError(
                f"optimizer must be one of {', '.join(memory.OPTIMIZERS)}, got {optimizer!r}"
            )
        stored = self._stored()
        gradients = sum(number * size for _, number, size, trained in self._held if trained)
        parts = {
            **stored,
            "gradients": gradients,
            "optimizer": gradients * memory.OPTIMIZERS[optimizer],
            "activations": memory.kept(self._inputs, self._ops),
        }
        return {**parts, "total": sum(parts.values())}

    # --- rows ---------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Row:
        """The row with this name, or everything inside the module with this path as one row."""
        if name in self._by_name:
            return self._by_name[name]
        inside = [row for row in self.rows if row.path == name or row.path.startswith(name + ".")]
        if not inside:
            near = difflib.get_close_matches(name, self._by_name, n=3)
            hint = f": did you mean {' or '.join(near)}?" if near else ""
            raise KeyError(f"no operation or module is called {name!r}{hint}")
        return _group(name, inside)

    def by_depth(self, depth: int) -> render.Table:
        """The same with everything below this depth of the module tree as one row.

        ``depth=1`` has one row for each child of the model.
        """
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            parts = row.path.split(".")
            key = ".".join(parts[:depth]) if row.path and len(parts) >= depth else row.name
            groups.setdefault(key, []).append(row)
        rows = [
            members[0] if len(members) == 1 else _group(key, members)
            for key, members in groups.items()
        ]
        return render.Table(rows, self)

    @property
    def sources(self) -> list[list[int]]:
        """For each row the rows whose outputs it takes, in their order; -1 is the model's input."""
        index = {id(op): number for number, op in enumerate(self._ops)}
        given = {id(tensor) for tensor in self._inputs}
        return [
            [
                index.get(id(tensor.op), -1)
                for tensor in op.inputs
                if tensor.op is not None or id(tensor.base) in given
            ]
            for op in self._ops
        ]

    @property
    def summary(self) -> Summary:
        return self

    @cached_property
    def _by_name(self) -> dict[str, Row]:
        return {row.name: row for row in self.rows}

    def _total(self, what: str, kinds: Sequence[str]) -> int:
        return sum(getattr(row, what) for row in self.rows if row.kind in kinds)

    def _states(self) -> list:
        if self.__dict__.get("_fields") is None:
            self._fields = receptive_fields(self._inputs, self._ops)
        return self._fields

    def _stored(self) -> dict[str, int]:
        return {
            name: sum(number * size for kind, number, size, _ in self._held if kind == name)
            for name in ("parameters", "buffers")
        }


def _rows(ops: Sequence[Op], fields) -> list[Row]:
    rows, seen = [], {}
    for index, op in enumerate(ops):
        name, label, output = op.path, op.label, op.outputs[0]
        if op.frame is not None:
            if op.frame.ops == 1 and name and not op.frame.has_children:
                label = op.frame.kind
            else:
                name = f"{name}.{label}" if name else label
        times = seen[name] = seen.get(name, 0) + 1
        if times > 1:
            name = f"{name} #{times}"
        geometry = op.geometry if type(op.geometry) is Geometry else _NO_WINDOW
        size = 0
        if op.fresh:
            size = prod(output.shape) * output.dtype.itemsize
            for other in op.outputs[1:]:
                size += prod(other.shape) * other.dtype.itemsize
        shape = tuple(op.inputs[0].shape) if op.inputs else ()
        rows.append(Row(
            name, label, op.kind, op.path, shape, tuple(output.shape), *geometry[:5], size,
            op.params, op.macs, op.counted, fields, index,
        ))  # fmt: skip
    return rows


def _group(name: str, rows: list[Row]) -> Row:
    first, last = rows[0], rows[-1]
    return Row(
        name, f"{len(rows)} operations", "group", name, first.input_shape, last.output_shape,
        *_NO_WINDOW[:5], sum(row.memory for row in rows), sum(row.params for row in rows),
        sum(row.macs for row in rows), all(row.counted for row in rows), last._fields, last._index,
    )  # fmt: skip


def _channels(shape: tuple[int, ...], kind: str) -> int | None:
    if len(shape) < 2:
        return None
    return shape[-1] if kind == "linear" else shape[1]


def _size(shape: tuple[int, ...], kind: str) -> tuple[int, ...]:
    return shape[1:-1] if kind == "linear" else shape[2:]


def _pixels(state):
    if isinstance(state, Field):
        return state.size
    return math.inf if state in (GLOBAL, POOLED) else None


def _leaves(tree) -> list[ShapeTensor]:
    found = []
    tree_map_only(ShapeTensor, found.append, tree)
    return found


_NO_WINDOW = (None,) * 6
