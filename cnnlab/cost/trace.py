"""Following a forward pass with tensors that have a shape and nothing else.

`ShapeTensor` is a tensor subclass on the meta device that holds no elements. Passed through an
unmodified ``nn.Module`` it hands every operation to the active `Trace`, which works out the shape
of the result, what it costs, and writes one `Op` down. Nothing is computed and nothing is
allocated. While a model is traced, its modules borrow a copy of their ``__dict__`` in which
parameters and buffers are shape tensors too; the copy is thrown away afterwards, so no counter,
buffer, cache or hook of the model changes.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import types
from math import prod

import torch
from torch import nn
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

_ONE_AT_A_TIME = threading.RLock()  # the borrowed __dict__s are visible to every thread
_active: Trace | None = None


class CostError(ValueError):
    """A forward pass that cannot be followed: one sentence with the layer and the values.

    ``table`` is the text of the table up to the layer that failed, which is also shown below the
    message in a traceback.
    """

    table = ""


class ShapeTensor(torch.Tensor):
    """A tensor with ``shape``, ``dtype`` and ``device``, without elements.

    ``op`` is the `Op` that made it, None for inputs and parameters. ``base`` is the tensor whose
    memory it shares (itself unless it is a view), ``strides`` are None when its elements lie in
    order, ``origin`` is the parameter or buffer that it stands for.
    """

    shape = dtype = device = base = None  # set on each instance by `Trace.tensor`
    op = strides = origin = None
    now = None  # of the copy that stands for a tensor before it was changed in place: the tensor
    requires_grad = is_sparse = is_quantized = is_nested = False
    grad = grad_fn = None
    is_leaf = True
    layout = torch.strided

    @classmethod
    def __torch_function__(cls, func, _types, args=(), kwargs=None):
        return _active.run(func, args, kwargs or {})

    def size(self, dim=None):
        return self.shape if dim is None else self.shape[dim]

    def dim(self):
        return len(self.shape)

    ndim = property(dim)

    def numel(self):
        return prod(self.shape)

    def requires_grad_(self, requires_grad=True):
        return self

    def is_floating_point(self):
        return self.dtype.is_floating_point

    def __repr__(self, **_):
        return f"<tensor of shape {tuple(self.shape)}: a trace has no values>"

    __hash__ = object.__hash__


class Op:
    """One operation of the forward pass, as the rules write it down."""

    __slots__ = (
        "counted", "frame", "fresh", "geometry", "inputs", "kind", "label", "macs", "outputs",
        "params", "path", "trains",
    )  # fmt: skip

    def __init__(
        self, kind, label, path, frame, inputs, outputs, macs, params, geometry, counted, fresh,
        trains,
    ):  # fmt: skip
        self.kind = kind  # "conv", "linear", "matmul", "pool", "view", ... (see `dispatch`)
        self.label = label  # "Conv2d", "add", ...
        self.path = path  # of the module, "layer1.0.conv1"
        self.frame = frame  # the call it belongs to; None when it is all that a leaf module does
        self.inputs = inputs
        self.outputs = outputs
        self.macs = macs
        self.params = params
        self.geometry = geometry  # how a window moves over the input (see `rules.Geometry`)
        self.counted = counted  # False: the operation has MACs or may have, and no rule
        self.fresh = fresh  # False: the output takes no new memory, it is a view or in place
        self.trains = trains  # whether it uses parameters that require a gradient


def traced(op: Op) -> list[ShapeTensor]:
    """The inputs of an operation, without constants that the forward pass makes itself."""
    return [tensor for tensor in op.inputs if type(tensor) is ShapeTensor]


class Frame:
    """One call of a module that is followed inside."""

    __slots__ = ("has_children", "kind", "ops", "path")

    def __init__(self, path: str, module: nn.Module):
        self.path, self.kind = path, type(module).__name__
        self.has_children = bool(module._modules)
        self.ops = 0


class Trace:
    """Follows one forward pass and collects its operations.

    ``dispatch`` is the module that says what runs for a function and for a module
    (`cnnlab.cost.dispatch`).
    """

    def __init__(self, model: nn.Module, dispatch, dtype=None):
        self.dispatch = dispatch
        self.dtype = dtype  # of floating-point parameters, None: as they are
        self.ops: list[Op] = []
        self.frame = Frame("", model)
        self.failed: Frame | None = None  # the innermost call that raised
        self.modules = list(_modules(model))
        for path, module in self.modules:
            if isinstance(module, torch.jit.ScriptModule):
                raise self.error(path, type(module).__name__, "is TorchScript, give its source")
        self.parameters = self._own("_parameters")
        self.buffers = self._own("_buffers")
        self.used: set[int] = set()  # ids of the parameters that a row has counted
        self.trains = False  # whether the next operation has taken a parameter to be trained
        self._stand_ins: dict[int, ShapeTensor] = {}

    def _own(self, kind: str) -> dict[int, torch.Tensor]:
        """The model's parameters or buffers by id, each once."""
        return {
            id(tensor): tensor
            for _, module in self.modules
            for tensor in module.__dict__[kind].values()
            if tensor is not None
        }

    # --- tensors ------------------------------------------------------------------------------

    def tensor(self, shape, dtype, device, base=None) -> ShapeTensor:
        tensor = _new(ShapeTensor, _NOTHING)
        tensor.shape = torch.Size(shape)
        tensor.dtype = dtype
        tensor.device = device
        tensor.base = tensor if base is None else base
        return tensor

    def stand_in(self, origin: torch.Tensor) -> ShapeTensor:
        """The shape tensor that takes the place of a parameter or buffer."""
        tensor = self._stand_ins.get(id(origin))
        if tensor is None:
            dtype = origin.dtype
            if self.dtype is not None and dtype.is_floating_point:
                dtype = self.dtype
            tensor = self.tensor(origin.shape, dtype, origin.device)
            tensor.origin = origin
            tensor._is_param = isinstance(origin, nn.Parameter)
            self._stand_ins[id(origin)] = tensor
        return tensor

    def itemsize(self, tensor: torch.Tensor) -> int:
        """Bytes of an element of this parameter or buffer."""
        recast = self.dtype is not None and tensor.dtype.is_floating_point
        return (self.dtype if recast else tensor.dtype).itemsize

    def release(self) -> None:
        """Let go of the model; the operations stay."""
        for tensor in self._stand_ins.values():
            tensor.origin = True
        self.modules = self.parameters = self.buffers = self._stand_ins = None

    def take(self, *tensors) -> int:
        """Number of parameters among these tensors that no earlier row has counted."""
        count = 0
        for tensor in tensors:
            if type(tensor) is ShapeTensor:
                tensor = tensor.base.origin
            key = id(tensor)
            if key in self.parameters:
                self.trains = self.trains or tensor.requires_grad
                if key not in self.used:
                    self.used.add(key)
                    count += tensor.numel()
        return count

    # --- operations ---------------------------------------------------------------------------

    def emit(
        self, kind, label, inputs, outputs, macs=0, params=0, geometry=None, path=None,
        counted=True, fresh=True,
    ) -> None:  # fmt: skip
        """Write one operation down; ``path`` is given when it is all that a leaf module does."""
        frame = None
        if path is None:
            frame = self.frame
            frame.ops += 1
            path = frame.path
        op = Op(
            kind, label, path, frame, inputs, outputs, macs, params, geometry, counted, fresh,
            self.trains,
        )  # fmt: skip
        self.trains = False
        self.ops.append(op)
        for output in outputs:
            output.op = op

    def run(self, func, args, kwargs):
        """What an operation on shape tensors returns."""
        handler = _HANDLERS.get(func)
        if handler is None:
            handler = _HANDLERS[func] = self.dispatch.handler(func)
        return handler(self, func, args, kwargs)

    def call(self, module: nn.Module, path: str, *args, **kwargs):
        """Call a module from the inside, without its hooks."""
        frame, before, first = Frame(path, module), self.frame, len(self.ops)
        self.frame = frame
        try:
            result = module.forward(*args, **kwargs)
            if module._forward_pre_hooks and len(self.ops) > first:
                # what a hook would have made the weights of (weight norm, pruning) counts here
                self.ops[first].params += self.take(*module._parameters.copy().values())
                self.ops[first].trains, self.trains = self.ops[first].trains or self.trains, False
            return result
        except Exception:
            if self.failed is None:
                self.failed = frame
            raise
        finally:
            self.frame = before

    def error(self, path: str | None, label: str, text: str) -> CostError:
        """An error that names the layer; ``path`` is None for an operation inside a forward."""
        if path is None:
            frame = self.frame
            where = f" '{frame.path}'" if frame.path else ""
            return CostError(f"{label} in {frame.kind}{where} {text}")
        return CostError(f"{label} '{path}' {text}" if path else f"{label} {text}")

    def on_meta(self, func, args, kwargs, count):
        """Run an operation on torch's meta device.

        Returns its result as shape tensors, these in a list, the way their dimensions come from
        the one tensor that they are views of (None when they aren't), and torch's MACs if they
        are to be counted.
        """
        shapes: dict[int, ShapeTensor] = {}  # by the storage of their meta tensor
        first = None

        def to_meta(value):
            nonlocal first
            if not isinstance(value, torch.Tensor):
                return _META if isinstance(value, torch.device) else value
            if type(value) is not ShapeTensor:
                return torch.empty_like(value, device="meta")
            first = value if first is None else first
            if value.strides is None:
                meta = torch.empty(value.shape, dtype=value.dtype, device="meta")
            else:
                meta = torch.empty_strided(
                    value.shape, value.strides, dtype=value.dtype, device="meta"
                )
            shapes[meta.untyped_storage()._cdata] = value
            return meta

        meta_args, meta_kwargs = tree_map(to_meta, (args, kwargs))
        if "device" in kwargs:
            meta_kwargs["device"] = _META
        counter = FlopCounterMode(display=False) if count else None
        with torch.no_grad(), counter or contextlib.nullcontext():
            result = func(*meta_args, **meta_kwargs)
        outputs, views = [], []

        def to_shape(value):
            if not isinstance(value, torch.Tensor):
                return value
            source = shapes.get(value.untyped_storage()._cdata)
            base = None if source is None else source.base
            output = self.tensor(value.shape, value.dtype, first.device, base)
            if not value.is_contiguous():
                output.strides = value.stride()
            outputs.append(output)
            if source is not None:
                views.append(_dimensions(source, value))
            return output

        result = tree_map(to_shape, result)
        macs = counter.get_total_flops() // 2 if count else 0
        return result, outputs, views if len(views) == len(outputs) else None, macs

    # --- the model ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def borrowed(self):
        """The model with its calls led through this trace, and as it was afterwards."""
        global _active
        lent: list[tuple[nn.Module, dict]] = []
        with _ONE_AT_A_TIME:
            before, _active = _active, self
            try:
                for path, module in self.modules:
                    own = module.__dict__
                    copy = own.copy()
                    copy["_parameters"] = _Lent(own["_parameters"])
                    copy["_buffers"] = _Lent(own["_buffers"])
                    copy["_modules"] = own["_modules"].copy()
                    copy["_compiled_call_impl"] = functools.partial(
                        self.dispatch.module_call(module), self, module, path
                    )
                    object.__setattr__(module, "__dict__", copy)
                    lent.append((module, own))
                yield
            finally:
                _active = before
                for module, own in lent:
                    object.__setattr__(module, "__dict__", own)


class _Lent(dict):
    """A module's parameters or buffers that come out as shape tensors."""

    __slots__ = ()

    def __getitem__(self, name: str):
        tensor = super().__getitem__(name)
        if tensor is None or type(tensor) is ShapeTensor:
            return tensor
        return _active.stand_in(tensor)


def _dimensions(source: ShapeTensor, view: torch.Tensor) -> tuple[int | None, ...]:
    """For each dimension of a view the dimension of its source that it is, if any."""
    strides = source.strides
    if strides is None:
        strides = [prod(source.shape[i + 1 :]) for i in range(len(source.shape))]
    found = {
        (stride, size): dimension
        for dimension, (stride, size) in enumerate(zip(strides, source.shape, strict=True))
        if size > 1
    }
    return tuple(
        found.get((stride, size)) for stride, size in zip(view.stride(), view.shape, strict=True)
    )


def _modules(model: nn.Module):
    """Every module with its path, each once, parents first."""
    seen, stack = {id(model)}, [("", model)]
    while stack:
        path, module = stack.pop()
        yield path, module
        prefix = path + "." if path else ""
        children = module._modules
        if children:
            for name, child in reversed(children.items()):
                if child is not None and id(child) not in seen:
                    seen.add(id(child))
                    stack.append((prefix + name, child))


@functools.cache
def inside(func):
    """A Python function of torch that does not hand shape tensors on but runs its own body."""
    never = {name: _no for name in func.__globals__ if name.startswith("has_torch_function")}
    copy = types.FunctionType(
        func.__code__, {**func.__globals__, **never}, func.__name__, func.__defaults__,
        func.__closure__,
    )  # fmt: skip
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy


def _no(*_) -> bool:
    return False


_HANDLERS: dict = {}
_META = torch.device("meta")
_NOTHING = torch.empty(0, device="meta")
_new = torch.Tensor._make_subclass
