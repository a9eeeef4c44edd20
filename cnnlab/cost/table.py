"""The result of a trace: rows, totals, groups of rows, and what they are as text."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cached_property

from cnnlab.cost import explain, memory, render
from cnnlab.tracing.inputs import mapped, shapes, tensors_in
from cnnlab.tracing.ops import COUNTED
from cnnlab.tracing.receptive import UNKNOWN, Fields, Window, seen
from cnnlab.tracing.trace import Op, Trace, is_tensor


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
    params, trainable : int
        Parameters that this operation is the first to use, and those that require a gradient.
    macs, flops : int
        Multiply-adds without biases, for a pool one for each element of a window; twice that.
    counted : bool
        False where the MACs are not known.
    filters : int or None
        Filters of a convolution, units of a linear layer.
    input_channels, output_channels : int or None
    input_size, output_size : tuple of int
        Height and width.
    operations : int
        How many it stands for.
    """

    __slots__ = ("_fields", "_op", "index", "name", "path", "type")
    operations = 1

    def __init__(self, op: Op, name: str, label: str, index: int, fields: Fields):
        self._op, self.name, self.type, self.path = op, name, label, op.path
        self.index, self._fields = index, fields

    kind = property(lambda self: self._op.record.kind)
    params = property(lambda self: self._op.params)
    macs = property(lambda self: self._op.macs)
    flops = property(lambda self: 2 * self.macs)
    counted = property(lambda self: self._op.counted)
    memory = property(lambda self: self._op.nbytes)
    output_shape = property(lambda self: tuple(self._op.outputs[0].shape))
    kernel_size = property(lambda self: self._window(0))
    stride = property(lambda self: self._window(1))
    padding = property(lambda self: self._window(2))
    dilation = property(lambda self: self._window(3))
    groups = property(lambda self: self._window(4))
    input_channels = property(lambda self: self._channels(self.input_shape))
    output_channels = property(lambda self: self._channels(self.output_shape))
    input_size = property(lambda self: self._size(self.input_shape))
    output_size = property(lambda self: self._size(self.output_shape))

    @property
    def input_shape(self) -> tuple[int, ...]:
        inputs = self._op.inputs
        return tuple(inputs[0].shape) if inputs else ()

    @property
    def trainable(self) -> int:
        trained = [held.numel for held in self._op.held if held.trained]
        return self.params if len(trained) == len(self._op.held) else min(self.params, sum(trained))

    @property
    def filters(self) -> int | None:
        return self.output_channels if self.kind in ("conv", "linear") else None

    @property
    def receptive_field(self) -> int | tuple[int, ...] | float | None:
        """Input pixels on a side that one output unit sees; inf: all of them, None: no image."""
        return seen(self._fields.after[self.index])

    def _window(self, place: int):
        geometry = self._op.geometry
        return geometry[place] if type(geometry) is Window else None

    def _channels(self, shape: tuple[int, ...]) -> int | None:
        if len(shape) < 2:
            return None
        return shape[-1] if self.kind == "linear" else shape[1]

    def _size(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[1:-1] if self.kind == "linear" else shape[2:]

    def __eq__(self, other):
        if not isinstance(other, Row):
            return NotImplemented
        return all(column.value(self) == column.value(other) for column in render.COLUMNS)

    __hash__ = None

    def __repr__(self) -> str:
        return (
            f"Row({self.name!r}, {self.type}, {render.by(self.output_shape)}, "
            f"{self.params:,} parameters, {self.macs:,} MACs)"
        )


class Group(Row):
    """Rows that are inside one module, as one."""

    __slots__ = ("depth", "rows", "share")
    kind = "group"
    groups = kernel_size = stride = padding = dilation = None
    params = property(lambda self: sum(row.params for row in self.rows))
    trainable = property(lambda self: sum(row.trainable for row in self.rows))
    memory = property(lambda self: sum(row.memory for row in self.rows))
    macs = property(lambda self: sum(row.macs for row in self.rows))
    counted = property(lambda self: all(row.counted for row in self.rows))
    operations = property(lambda self: len(self.rows))
    input_shape = property(lambda self: self.rows[0].input_shape)
    output_shape = property(lambda self: self.rows[-1].output_shape)

    def __init__(self, name: str, label: str, rows: Sequence[Row], path: str | None = None):
        self.name, self.type, self.rows = name, label, list(rows)
        self.path = name if path is None else path
        self.index, self._fields = rows[-1].index, rows[-1]._fields


class Summary(render.Table):
    """What a network costs, operation by operation.

    Attributes
    ----------
    rows : list of Row
    total_params, trainable_params, unused_params : int
        All of the model's parameters; those that require a gradient; those that this forward pass
        did not touch, such as auxiliary heads'.
    total_macs, total_flops : int
        Of convolutions, linear layers and matrix products ("conv + linear").
    total_memory : int
        Bytes of their outputs, one copy, forward only.
    total_macs_with_pools, total_memory_with_pools : int
        With pooling layers ("with pools"), as some slides count.
    backward_macs, backward_flops : int
        Of the backward pass: gradients of the weights that are trained, and of activations.
    input_shape, output_shape
        Tuple of int, or a list or dict of them where there are several.
    receptive_field : int, tuple, float or None
        Of one unit of the last map on the way to the output, in input pixels; inf when it sees the
        whole image. For a model with several outputs one for each, in the output's structure.
    lost_field : str or None
        Name of the first row behind which it is not known.
    not_counted : list of str
        Operations whose MACs are not in the totals.
    with_values : str
        Empty, or why the model had to be run: the shapes are then those of that run.
    complete : bool
        False for the table up to an error.
    """

    def __init__(self, model, trace: Trace, inputs, output=None, complete=True, why=""):
        self.model_name = type(model).__name__
        self.training = trace.training
        self.complete, self.with_values = complete, why
        self._ops, self._classes = trace.ops, trace.classes
        self._held, self._buffer_bytes = trace.held, trace.buffer_bytes
        self._unused = trace.unused
        self._inputs = [trace.node(leaf) for leaf in tensors_in(inputs)]
        self._fields = Fields(self._inputs, self._ops)
        self._outputs = mapped(output, lambda leaf: trace.node(leaf) if is_tensor(leaf) else None)
        self.input_shape, self.output_shape = shapes(inputs), shapes(output)
        if isinstance(self.input_shape, list) and len(self.input_shape) == 1:
            self.input_shape = self.input_shape[0]
        self.not_counted = sorted({op.label for op in trace.ops if not op.counted})

    @cached_property
    def rows(self) -> list[Row]:
        rows, times, fields = [], {}, self._fields
        for index, op in enumerate(self._ops):
            name, label, frame = op.path, op.label, op.frame
            if frame is not None:
                if frame.ops == 1 and name and not frame.has_children:
                    label = frame.label
                else:
                    name = f"{name}.{label}" if name else label
            number = times[name] = times.get(name, 0) + 1
            rows.append(Row(op, name if number == 1 else f"{name} #{number}", label, index, fields))
        return rows

    # --- totals -------------------------------------------------------------------------------

    total_params = property(lambda self: sum([held.numel for held in self._held]))
    trainable_params = property(lambda self: sum([h.numel for h in self._held if h.trained]))
    unused_params = property(lambda self: sum([self._held[n].numel for n in self._unused]))
    total_macs = property(lambda self: self._total("macs", COUNTED))
    total_flops = property(lambda self: 2 * self.total_macs)
    total_memory = property(lambda self: self._total("nbytes", COUNTED))
    total_macs_with_pools = property(lambda self: self._total("macs", (*COUNTED, "pool")))
    total_memory_with_pools = property(lambda self: self._total("nbytes", (*COUNTED, "pool")))
    backward_macs = property(lambda self: memory.backward_macs(self._ops))
    backward_flops = property(lambda self: 2 * self.backward_macs)

    def _total(self, what: str, kinds: tuple[str, ...]) -> int:
        return sum([getattr(op, what) for op in self._ops if op.record.kind in kinds])

    @property
    def receptive_field(self):
        if not self.complete:
            return self.rows[-1].receptive_field if self._ops else None
        states = self._fields.of
        return mapped(
            self._outputs,
            lambda node: None if node is None else seen(states.get(id(node)), last_map=True),
        )

    @property
    def lost_field(self) -> str | None:
        """The first row behind which the receptive field is not known."""
        pairs = zip(self.rows, self._fields.after, strict=True)
        return next((row.name for row, state in pairs if state == UNKNOWN), None)

    def forward_memory(self) -> dict[str, int]:
        """Bytes of a forward pass without gradients: what is stored, and the peak of the rest."""
        return self._with_stored(activations=memory.peak(self._inputs, self._ops))

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
        gradients = sum(held.nbytes for held in self._held if held.trained)
        return self._with_stored(
            gradients=gradients,
            optimizer=gradients * memory.OPTIMIZERS[optimizer],
            activations=memory.kept(self._inputs, self._ops),
        )

    def _with_stored(self, **parts: int) -> dict[str, int]:
        parameters = sum(held.nbytes for held in self._held)
        parts = {"parameters": parameters, "buffers": self._buffer_bytes, **parts}
        return {**parts, "total": sum(parts.values())}

    # --- rows ---------------------------------------------------------------------------------

    def __getitem__(self, name: str | int) -> Row:
        """The row with this name, or everything inside the module with this path as one row."""
        if not isinstance(name, (str, int)):
            raise TypeError(f"a row is found by its name or its place, got {name!r}")
        if isinstance(name, int):
            if not -len(self) <= name < len(self):
                raise IndexError(f"there are {len(self)} rows, counted from 0: no row {name}")
            return self.rows[name]
        if name in self._by_name:
            return self._by_name[name]
        inside = [row for row in self.rows if row.path == name or row.path.startswith(f"{name}.")]
        if not inside:
            near = difflib.get_close_matches(str(name), [*self._by_name, *self._classes], n=3)
            hint = f": did you mean {' or '.join(near)}?" if near else ""
            raise KeyError(f"no operation or module is called {name!r}{hint}")
        return Group(name, self._classes.get(name, "Module"), inside)

    def by_depth(self, depth: int) -> render.Table:
        """The same with everything below this depth of the module tree as one row.

        ``depth=1`` has one row for each child of the model.
        """
        groups: dict[str, list[Row]] = {}
        depth = _deep(depth)
        for row in self.rows:
            parts = row.path.split(".")
            key = ".".join(parts[:depth]) if row.path and len(parts) >= depth else row.name
            groups.setdefault(key, []).append(row)
        return render.Table(
            [
                rows[0] if len(rows) == 1 else Group(key, self._classes.get(key, "Module"), rows)
                for key, rows in groups.items()
            ],
            self,
        )

    def tree(self, depth: int | None = None) -> render.Table:
        """The module tree: a row for each module with its class and all that is inside it.

        ``depth`` cuts the tree off. Columns: name, class, output, parameters, those that are
        trained, memory, MACs and their share of the total.
        """
        inside: dict[str, list[Row]] = {}
        deepest = len(self._ops) if depth is None else _deep(depth)
        for row in self.rows:
            parts = row.path.split(".") if row.path else []
            for end in range(min(len(parts), deepest) + 1):
                inside.setdefault(".".join(parts[:end]), []).append(row)
        rows, total = [], max(self.total_macs_with_pools, 1)
        for path, members in inside.items():
            kind = self._classes.get(path, members[0].type)
            row = Group(path.rpartition(".")[2] or self.model_name, kind, members, path)
            row.depth = path.count(".") + 1 if path else 0
            row.share = row.macs / total
            rows.append(row)
        return render.Table(rows, self, render.TREE)

    def explain(self, name: str | int):
        """The arithmetic of one row's size, parameters, MACs and receptive field."""
        return explain.explain(self, name)

    @property
    def sources(self) -> list[list[int]]:
        """For each row the rows whose outputs it takes, in their order; -1 is the model's input."""
        given = {id(node) for node in self._inputs}
        return [
            [node.op for node in op.inputs if node.op >= 0 or id(node.root) in given]
            for op in self._ops
        ]

    @property
    def summary(self) -> Summary:
        return self

    @cached_property
    def _by_name(self) -> dict[str, Row]:
        return {row.name: row for row in self.rows}


def _deep(depth) -> int:
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth!r}")
    return depth
