"""Following a forward pass with tensors that have a shape and nothing else.

A `Trace` sends a `ShapeTensor`, a tensor subclass without elements, through a double of the model
(`cnnlab.tracing.isolate`). It is a mode of torch's for its own thread: every operation comes to it,
which works out the shape of the result, what it costs, and writes one `Op` down. Nothing is
computed and nothing allocated, and the model, its hooks and whoever uses them meanwhile never meet
anything of the trace.

What the forward pass makes without its input, ranges and masks, are ordinary tensors with values.
Where it asks for a value that depends on the input there is none: `NeedsValues`. A trace
with ``values=True`` is the way out: the double gets tensors of its own and really runs, and
the same rules write down the shapes that came out.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import random
import sys
import types
import weakref
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode

from cnnlab.tracing.isolate import Double

_MOST = 2**20  # elements of a tensor that is made without the input and computed


class CostError(ValueError):
    """A forward pass that cannot be followed: one sentence with the layer and the values.

    ``table`` is the text of the table up to the layer that failed, which is also shown below the
    message in a traceback.
    """

    table = ""


class NeedsValues(CostError):
    """An operation whose result depends on the values of the input."""


class Rearranged(Exception):
    """A forward pass has exchanged modules, and may have met some that were no longer there."""


class Node:
    """What an operation knows of a tensor, and all that is left of it after the trace.

    ``root`` is the node whose memory it shares (itself unless it is a view of what it lies
    ``over``), ``op`` the place of the operation that made it. Roots have a ``role``: "" for what is
    computed from the input, "input", "held" for a parameter (``number`` is its place among the
    model's) and "constant".
    """

    __slots__ = ("dtype", "number", "op", "over", "role", "shape")

    def __init__(self, shape, dtype, over=None, role="", number=None):
        self.shape, self.dtype, self.over = shape, dtype, over
        self.role, self.number, self.op = role, number, -1

    @property
    def root(self) -> Node:
        return self.over or self

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


class Held(NamedTuple):
    """A parameter of the model, as its rows and totals know it."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device
    number: int  # its place among the model's
    numel: int
    trained: bool

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize


class ShapeTensor(torch.Tensor):
    """A tensor with ``shape``, ``dtype`` and ``device``, without elements.

    ``node`` is what the operations write down, ``strides`` are None when its elements lie in order.
    """

    __slots__ = ("device", "dtype", "node", "shape")  # which `Trace.tensor` sets
    strides = None
    requires_grad = is_sparse = is_quantized = is_nested = False
    grad = grad_fn = None
    is_leaf = True
    layout = torch.strided

    @classmethod
    def __torch_function__(cls, func, _types, args=(), kwargs=None):
        raise CostError(f"{func.__name__} got a tensor of a summary that is over: it has no values")

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


class Op(NamedTuple):
    """One operation of the forward pass, as the rules write it down."""

    record: tuple  # what kind of operation it is (`cnnlab.tracing.ops.Record`)
    label: str  # "Conv2d", "add", ...
    path: str  # of the module, "layer1.0.conv1"
    frame: Frame | None  # the call it belongs to; None when it is all that a leaf module does
    inputs: list[Node]  # without parameters and constants
    outputs: list[Node]
    macs: int
    held: list[Held]  # the parameters among its operands
    params: int  # numbers in those that no earlier operation has used
    geometry: object  # how positions move (see `cnnlab.tracing.receptive`)
    counted: bool  # False: the operation has MACs or may have, and no rule
    fresh: bool  # False: the output takes no new memory, it is a view or in place

    @property
    def nbytes(self) -> int:
        """Of new memory."""
        return sum([node.nbytes for node in self.outputs]) if self.fresh else 0


class Frame:
    """One call of a module that is followed inside."""

    __slots__ = ("has_children", "label", "ops", "path")

    def __init__(self, path: str, module: nn.Module):
        self.path, self.label = path, type(module).__name__
        self.has_children = bool(module.__dict__.get("_modules"))
        self.ops = 0


class Trace(TorchFunctionMode):
    """Follows one forward pass and collects its operations.

    ``handler`` says what runs for a function and ``leaf`` what runs for a module whose forward is
    one operation (see `cnnlab.tracing.ops`); ``known`` are the sizes that `isolate.Double` wants,
    and ``direct`` is its.
    """

    def __init__(self, model: nn.Module, rules, dtype=None, values=False, direct=False):
        super().__init__()
        self.rules, self.direct = rules, direct
        self.dtype = dtype  # of floating-point parameters, None: as they are
        self.values, self.training = values, model.training
        self.ops: list[Op] = []
        self.frame = Frame("", model)
        self.failed: Frame | None = None  # the innermost call that raised
        self.classes: dict[str, str] = {}  # of the modules by path
        self.leaves: dict = {}  # what runs for modules of a class (see `rules.leaf`)
        self.held: list[Held] = []
        self.held_of: dict[int, Held] = {}  # by the id of the parameter
        self.buffer_bytes = 0
        self.alive: list = []  # inputs with values
        self._nodes: dict = {}  # of tensors with values: a reference and the node
        self._known: dict = {}  # what stands for a tensor of the model, and the tensor
        self._made: dict = {}  # storages of what the forward pass makes by itself
        self.modules: list[tuple[str, nn.Module]] = []  # each once with its first path
        self._read(model)
        self.unused = set(range(len(self.held)))  # numbers of parameters

    def _read(self, model: nn.Module) -> None:
        """What the model holds, parents first; raises for modules that nobody can follow."""
        held, held_of, modules, classes = self.held, self.held_of, self.modules, self.classes
        buffers, seen, kinds = {}, set(), {}
        stack = [("", model)]
        while stack:
            path, module = one = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            modules.append(one)
            kind, own = type(module), module.__dict__
            label = kinds.get(kind)
            if label is None:
                if issubclass(kind, torch.jit.ScriptModule):
                    raise self.error(Frame(path, module), "is TorchScript, give its source")
                label = kinds[kind] = kind.__name__
            classes[path] = label
            if "_parameters" not in own or "_buffers" not in own:
                text = "was not set up: call super().__init__() first"
                raise self.error(Frame(path, module), text)
            for tensor in own["_parameters"].values():
                if tensor is not None and id(tensor) not in held_of:
                    if type(tensor) is not nn.Parameter and isinstance(tensor, _LAZY):
                        text = "cannot be followed: it is lazy and has no weights before its first"
                        raise self.error(Frame(path, module), f"{text} call")
                    shape, dtype = tensor.shape, tensor.dtype
                    if self.dtype is not None and dtype.is_floating_point:
                        dtype = self.dtype
                    held_of[id(tensor)] = one = _made(Held, (
                        shape, dtype, tensor.device, len(held), prod(shape), tensor.requires_grad,
                    ))  # fmt: skip
                    held.append(one)
            for tensor in own["_buffers"].values():
                if tensor is not None:
                    buffers[id(tensor)] = tensor
            children = own["_modules"]
            if children:
                prefix = path + "." if path else ""
                stack += [(prefix + name, child) for name, child in reversed(children.items())
                          if child is not None]  # fmt: skip
        for tensor in buffers.values():
            cast = self.dtype is not None and tensor.is_floating_point()
            self.buffer_bytes += tensor.numel() * self.dtype.itemsize if cast else tensor.nbytes

    # --- tensors ------------------------------------------------------------------------------

    def tensor(self, shape, dtype, device, root=None, role="", number=None) -> ShapeTensor:
        tensor = _new(ShapeTensor)  # an empty one
        tensor.shape = shape = shape if type(shape) is _Size else _Size(shape)
        tensor.dtype = dtype
        tensor.device = device
        tensor.node = Node(shape, dtype, root, role, number)
        return tensor

    def node(self, tensor) -> Node:
        """What the operations write down of a tensor."""
        if type(tensor) is ShapeTensor:
            return tensor.node
        if type(tensor) is Held:
            return Node(tensor.shape, tensor.dtype, None, "held", tensor.number)
        found = self._nodes.get(id(tensor))
        if found is not None:
            return found[1]
        held = self.held_of.get(id(tensor))
        if held is not None:
            return self.node(held)
        return Node(tensor.shape, tensor.dtype, None, "constant")

    def put(self, tensor, node: Node) -> None:
        """From now on this is what the operations write down of the tensor."""
        if type(tensor) is ShapeTensor:
            tensor.node = node
        else:
            key, nodes = id(tensor), self._nodes
            nodes[key] = weakref.ref(tensor, lambda _: nodes.pop(key, None)), node

    def changed(self, tensor) -> Node:
        """Note that a tensor has been changed in place; the node that it had before."""
        before = self.node(tensor)
        self.put(tensor, Node(tensor.shape, tensor.dtype, before.root))
        if before.root.role == "constant":
            before.root.role = ""
        return before

    def seen(self, value):
        """The argument of an operation with what stands for tensors of the model."""
        kind = type(value)
        if kind in _PLAIN:
            return value
        if isinstance(value, torch.Tensor):
            found = self._known.get(id(value))
            if found is not None:
                return found[0]
            held = self.held_of.get(id(value))
            if held is None and torch._C._functorch.is_functorch_wrapped_tensor(value):
                raise self.error("torch.vmap", "hides the shapes of what it runs", NeedsValues)
            return value if held is None else self._stand_in(value, held)
        if kind is list or kind is tuple:
            return value if _PLAIN.issuperset(map(type, value)) else kind(map(self.seen, value))
        return value

    def _stand_in(self, tensor, held: Held) -> ShapeTensor:
        stand_in = self.tensor(held.shape, held.dtype, held.device, None, "held", held.number)
        stand_in._is_param = True
        stand_in.requires_grad = held.trained
        self._known[id(tensor)] = stand_in, tensor
        return stand_in

    # --- operations ---------------------------------------------------------------------------

    def new(self, how, operands, shape, like, macs=0, geometry=None, dtype=None) -> ShapeTensor:
        """The one tensor that an operation makes, which is written down."""
        output = self.tensor(shape, dtype or like.dtype, like.device)
        self.emit(how, operands, (output,), macs, geometry)
        return output

    def emit(self, how, operands, outputs, macs=0, geometry=None, counted=True, fresh=True) -> None:
        """Write one operation down; operands are tensors of any kind, or nodes."""
        frame, path = None, how.path
        if path is None:
            frame = self.frame
            frame.ops += 1
            path = frame.path
        inputs, held, params = [], [], 0
        for operand in operands:
            kind = type(operand)
            if kind is ShapeTensor:
                node = operand.node
            elif kind is Held:
                held.append(operand)
                continue
            elif operand is None:
                continue
            else:
                node = operand if kind is Node else self.node(operand)
            root = node.over or node
            role = root.role
            if role == "" or role == "input":
                inputs.append(node)
            elif role == "held":
                held.append(self.held[root.number])
        if held and how.record.kind != "view":
            unused = self.unused
            for one in held:
                if one.number in unused:
                    unused.remove(one.number)
                    params += one.numel
        ops, nodes = self.ops, []
        place = len(ops)
        for output in outputs:
            node = output.node
            node.op = place
            nodes.append(node)
        ops.append(_made(Op, (how.record, how.label, path, frame, inputs, nodes, macs, held, params,
                              geometry, counted, fresh)))  # fmt: skip

    def __torch_function__(self, func, kinds, args=(), kwargs=None):
        kwargs = kwargs or {}
        handler = _HANDLERS.get(func)
        if handler is None:
            handler = _HANDLERS[func] = self.rules.handler(func)
        if self.values:
            return handler.observed(self, func, args, kwargs)
        args = self.seen(args)
        if kwargs:
            kwargs = {name: self.seen(value) for name, value in kwargs.items()}
        if ShapeTensor not in kinds and not any(
            type(leaf) is ShapeTensor for leaf in tree_leaves((args, kwargs))
        ):
            return self._constant(handler, func, args, kwargs)
        if handler.in_place and type(args[0]) is not ShapeTensor and is_tensor(args[0]):
            args = (self._turned(args[0]), *args[1:])
        return handler(self, func, args, kwargs)

    def _constant(self, handler, func, args, kwargs):
        """An operation without anything of the input, which is carried out."""
        is_ours = not handler.in_place or not args or not is_tensor(args[0])
        if not is_ours and storage(args[0]) not in self._made:  # it is the model's or the caller's
            copy = args[0].detach().clone()
            self._made[storage(copy)] = copy
            self._known[id(args[0])] = copy, args[0]
            args = (copy, *args[1:])
        if handler.makes:
            with torch.device("meta"):
                size = func(*args, **{**kwargs, "device": "meta"})
            if size.numel() > _MOST:
                device = kwargs.get("device") or torch.get_default_device()
                return self.tensor(size.shape, size.dtype, torch.device(device), None, "constant")
        result = func(*args, **kwargs)
        if is_tensor(result):
            place = storage(result)
            if all(storage(t) != place for t in args if is_tensor(t)):
                self._made[place] = result
        return result

    def _turned(self, tensor) -> ShapeTensor:
        """What stands for a tensor with values once something of the input goes into it."""
        turned = self.tensor(tensor.shape, tensor.dtype, tensor.device, None, "constant")
        self._known[id(tensor)] = turned, tensor
        return turned

    def call(self, module: nn.Module, path: str, *args, **kwargs):
        """Call a module, to be followed inside."""
        frame, before = Frame(path, module), self.frame
        self.frame = frame
        try:
            return module._call_impl(*args, **kwargs)
        except Exception:
            if self.failed is None:
                self.failed = frame
            raise
        finally:
            self.frame = before

    def error(self, how, text: str, kind=CostError) -> CostError:
        """An error that names the layer, or what happens inside the one that runs."""
        label = how if isinstance(how, str) else how.label
        if isinstance(how, str) or how.path is None:
            where = f" '{self.frame.path}'" if self.frame.path else ""
            return kind(f"{label} in {self.frame.label}{where} {text}")
        return kind(f"{label} '{how.path}' {text}" if how.path else f"{label} {text}")

    def run(self, func, args, kwargs, count):
        """Run an operation, on torch's meta device or, with values, as it is.

        Returns its result with shape tensors, these in a list, the way their dimensions come from
        the one tensor that they are views of (None when they aren't), and torch's MACs if they
        are to be counted.
        """
        shapes: dict[int, ShapeTensor] = {}  # by the storage of their meta tensor
        first = None

        def to_meta(value):
            nonlocal first
            if not isinstance(value, torch.Tensor):
                return _META if isinstance(value, torch.device) else value
            first = value if first is None else first
            if type(value) is not ShapeTensor:
                return torch.empty_like(value, device="meta")
            strides = value.strides or in_order(value.shape)
            meta = torch.empty_strided(value.shape, strides, dtype=value.dtype, device="meta")
            shapes[meta.untyped_storage()._cdata] = value
            return meta

        meta_args, meta_kwargs = tree_map(to_meta, (args, kwargs))
        if "device" in kwargs:
            meta_kwargs["device"] = _META
        counter = FlopCounterMode(display=False) if count else None
        with torch.no_grad(), counter or contextlib.nullcontext():
            result = func(*meta_args, **meta_kwargs)
        outputs, views = [], []
        device = kwargs.get("device") or first.device

        def to_shape(value):
            if not isinstance(value, torch.Tensor):
                return value
            source = shapes.get(value.untyped_storage()._cdata)
            root = None if source is None else source.node.root
            output = self.tensor(value.shape, value.dtype, torch.device(device), root)
            if not value.is_contiguous():
                output.strides = value.stride()
            outputs.append(output)
            if source is not None:
                views.append(dimensions(source, value.stride(), value.shape))
            return output

        result = tree_map(to_shape, result)
        macs = counter.get_total_flops() // 2 if count else 0
        return result, outputs, views if len(views) == len(outputs) else None, macs

    # --- the model ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def following(self, model: nn.Module, training: bool | None = None):
        """The double of the model, whose calls come to this trace."""
        known = {} if self.values else self.rules.KNOWN
        tensor = self._real if self.values else lambda tensor: tensor
        double = Double(tensor, known, direct=self.direct)
        states = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
        copies, collects = [], gc.isenabled()
        gc.disable()  # thousands of small objects, which all go below: nothing to collect
        try:
            modules = [module for _, module in self.modules]
            doubles = double.modules(modules)
            twin, leaf = doubles[0], self.rules.leaf
            for (path, _), copy in zip(self.modules, doubles, strict=True):
                call = None if self.values else leaf(self, copy, path)
                if call is None:
                    call = self.rules.wrapped(copy)
                if call is None:
                    call = functools.partial(self.call, copy, path)
                own = copy.__dict__
                own["_compiled_call_impl"] = call
                copies.append(own)
            if training is not None:
                twin.train(training)
            self.training, self.modules = twin.training, None
            with self, _eagerly():
                yield twin
        finally:
            rearranged = double.rearranged()
            for attributes in copies:
                attributes.clear()
            if collects:
                gc.enable()
            torch.set_rng_state(states[0])
            random.setstate(states[1])
            np.random.set_state(states[2])  # noqa: NPY002
            if rearranged:
                raise Rearranged

    def _real(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of the double, with values; from the meta device it gets small random ones."""
        if tensor.is_meta:
            copy = torch.zeros(tensor.shape, dtype=tensor.dtype)
            if tensor.is_floating_point():
                copy.uniform_(0, 0.05)
        else:
            copy = tensor.detach().clone()
        if self.dtype and copy.is_floating_point():
            copy = copy.to(self.dtype)
        if isinstance(tensor, nn.Parameter):
            copy = nn.Parameter(copy, tensor.requires_grad)
        held = self.held_of.get(id(tensor))
        if held is not None:
            self.held_of[id(copy)] = held
        return copy


def _eagerly():
    """Where a forward that torch.compile decorates runs as it was written."""
    compiling = "torch._dynamo" in sys.modules
    return torch.compiler.set_stance("force_eager") if compiling else contextlib.nullcontext()


def is_tensor(value) -> bool:
    return isinstance(value, torch.Tensor)


def storage(tensor) -> int | None:
    """Which memory a tensor lies in, None where it has none of its own."""
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):  # sparse, nested, inside vmap
        return None


def dimensions(source, strides, shape) -> tuple[int | None, ...]:
    """For each dimension of a view the dimension of its source that it is, if any."""
    before = source.strides if type(source) is ShapeTensor else source.stride()
    pairs = zip(before or in_order(source.shape), source.shape, strict=True)
    found = {(stride, size): place for place, (stride, size) in enumerate(pairs) if size > 1}
    return tuple(map(found.get, zip(strides, shape, strict=True)))


def in_order(shape) -> list[int]:
    """Strides of elements that lie one behind the other."""
    return [prod(max(n, 1) for n in shape[i + 1 :]) for i in range(len(shape))]


@functools.cache
def inside(func):
    """A Python function of torch that does not hand its tensors on but runs its own body."""
    names = [name for name in func.__globals__ if name.startswith("has_torch_function")]
    never = dict.fromkeys(names, lambda *_: False)
    copy = types.FunctionType(
        func.__code__, {**func.__globals__, **never}, func.__name__, func.__defaults__,
        func.__closure__,
    )  # fmt: skip
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy


_HANDLERS: dict = {}
_PLAIN = {ShapeTensor, int, float, bool, str, type(None), torch.Size, torch.dtype, torch.device}
_META = torch.device("meta")
_LAZY = nn.parameter.UninitializedTensorMixin
_Size = torch.Size
_new = torch.Tensor.__new__
_made = tuple.__new__
