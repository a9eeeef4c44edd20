"""What operations are: one record for each, and the rules that work them out.

A `Record` says once what an operation is: its kind, the rule for shape and MACs, how positions
move (for the receptive field), and what autograd keeps of it. `RECORDS` has them by the name of the
function; the modules of torch whose forward is one such operation (`LEAVES`) point to the same
record. A rule gets the `Trace`, a `How`, and the operation's own arguments, and returns shape
tensors, or NotImplemented for arguments that it leaves to torch's meta device.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from cnnlab import shapes
from cnnlab.tracing.receptive import Dims, Over, Placed, Resize, Slice, Window
from cnnlab.tracing.trace import (
    CostError,
    NeedsValues,
    ShapeTensor,
    Trace,
    dimensions,
    in_order,
    inside,
    is_tensor,
    storage,
)

COUNTED = ("conv", "linear", "matmul")  # the kinds in the first total; "pool" joins the second


class Record(NamedTuple):
    """What one operation is.

    ``reach`` is where a unit's receptive field comes from when the rule gives no geometry: "same"
    place of every input, "all" places, or "unknown". ``keeps`` is what autograd keeps for the
    backward pass: "inputs", "output", "nothing", or a word that `cnnlab.cost.memory` explains.
    """

    kind: str
    rule: Callable | None = None
    reach: str = "unknown"
    keeps: str = "inputs"
    geometry: Callable | None = None
    single: bool = False  # autocast runs it in float32


class How(NamedTuple):
    """A record with the words under which an operation is written down."""

    record: Record
    name: str
    label: str
    path: str | None = None
    in_place: bool = False
    makes: bool = False  # a tensor out of nothing

    def as_(self, record: Record) -> How:
        return How(record, self.name, self.label, self.path)

    def is_free(self) -> bool:
        """Whether it has a rule, or no MACs by definition."""
        return self.record is not UNKNOWN


class Handler(How):
    """What runs for a function of torch."""

    __slots__ = ()

    def __call__(self, trace: Trace, func, args, kwargs):
        """What the function returns for shape tensors."""
        rule = self.record.rule
        result = NotImplemented if rule is None else rule(trace, self, *args, **kwargs)
        return from_meta(trace, self, func, args, kwargs) if result is NotImplemented else result

    def observed(self, trace: Trace, func, args, kwargs):
        """What the function really returns; the operation is written down with these shapes."""
        if self.in_place and is_tensor(args[0]):
            old = trace.node(args[0])
        result = func(*args, **kwargs)
        outputs = tensors_in(result)
        tensors = tensors_in((args, kwargs))
        if not outputs or all(trace.node(t).root.role == "constant" for t in tensors):
            return result
        written = len(trace.ops)
        guess = NotImplemented
        if self.record.rule is not None and not self.in_place:
            guess = self.record.rule(trace, self, *args, **kwargs)
        if guess is NotImplemented:
            guess = self._as_seen(trace, args, kwargs, tensors, outputs)
        nodes = [leaf.node for leaf in tree_leaves(guess) if type(leaf) is ShapeTensor]
        if self.in_place and nodes:
            nodes[0].over = old.root
            old.root.role = old.root.role.replace("constant", "")
        for node, output in zip(nodes, outputs, strict=False):
            node.shape, node.dtype = output.shape, output.dtype
            trace.put(output, node)
        for op in trace.ops[written:]:
            op.inputs[:] = [node for node in op.inputs if node not in op.outputs]
        return result

    def _as_seen(self, trace, args, kwargs, tensors, outputs):
        """Shape tensors like these outputs, written down as one operation."""
        roots = {t.untyped_storage()._cdata: trace.node(t).root for t in tensors if is_plain(t)}
        made = []
        for output in outputs:
            root = roots.get(output.untyped_storage()._cdata) if is_plain(output) else None
            made.append(trace.tensor(output.shape, output.dtype, output.device, root))
        views, macs = None, 0
        if not self.in_place and all(t.node.over for t in made):
            source = next(filter(is_plain, tensors))
            views = [dimensions(source, t.stride(), t.shape) for t in outputs]
        if self.name in RECURRENT:  # every weight meets every element of the sequences once
            weights = [t for t in tensors if trace.node(t).root.number is not None and t.dim() == 2]
            macs = prod(tensors[0].shape[:-1]) * sum(weight.numel() for weight in weights)
        _write_down(trace, self, args, kwargs, tensors, made, macs, views)
        return made


# --- convolution, linear, matrix products -----------------------------------------------------


def conv(trace, how, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *extra):
    """A convolution; with ``extra``, the output padding, a transposed one."""
    x, w = input.shape, weight.shape
    given = x, w, stride, padding, dilation, groups, *extra
    if list in map(type, given):
        given = [tuple(n) if type(n) is list else n for n in given]
    try:
        made = _convolved(*given)
    except (ValueError, ZeroDivisionError) as error:
        raise trace.error(how, f"cannot slide over {brackets(x)}: {error}") from None
    if made is None:
        raise _wrong_map(trace, how, input, w[0] if extra else w[1] * groups, len(w) - 2)
    shape, macs, geometry = made
    dtype = _multiplied(trace, how, input, weight)
    return trace.new(how, (input, weight, bias), shape, input, macs, geometry, dtype)


@functools.lru_cache(4096)  # a network has few that differ
def _convolved(x, w, stride, padding, dilation, groups, *extra):
    """Shape, MACs and geometry of a convolution; None when it has other channels than the map."""
    axes = len(w) - 2
    channels, out_channels = (w[0], w[1] * groups) if extra else (w[1] * groups, w[0])
    if len(x) - axes not in (1, 2) or x[-axes - 1] != channels:
        return None
    sizes, kernel = tuple(x[-axes:]), tuple(w[2:])
    stride, padding, dilation = (_each(n, axes) for n in (stride, padding, dilation))
    if extra:
        extra, left = _each(*extra, axes), padding
        out = shapes.conv_transpose_output_size(sizes, kernel, stride, padding, extra, dilation)
    else:
        if isinstance(padding[0], str):
            padding = padding[0]
        sides = zip(kernel, stride, _each(padding, axes), dilation, strict=True)
        left = tuple(shapes._sides(*axis)[0] for axis in sides)
        out = shapes.output_size(sizes, kernel, stride, padding, dilation)
    shape = torch.Size((*x[: -axes - 1], out_channels, *out))
    macs = prod(x if extra else shape) * w[1] * prod(kernel)
    return shape, macs, Window(kernel, stride, left, dilation, groups, bool(extra))


def conv_transpose(
    trace, how, input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1,
    dilation=1,
):  # fmt: skip
    return conv(trace, how, input, weight, bias, stride, padding, dilation, groups, output_padding)


def deformed_conv(trace, how, input, weight, offset, mask, bias, *sizes):
    """A convolution whose taps lie where the offsets say, one for each place of the output."""
    w, shape = weight.shape, (input.shape[0], weight.shape[0], *offset.shape[-2:])
    return trace.new(
        how, (input, weight, offset, mask, bias), shape, input, prod(shape) * prod(w[1:])
    )


def quantized(trace, how, input, packed, *scales, **options):
    """A convolution or linear layer of whole numbers, whose weights only its library reads."""
    weight = packed.unpack()[0]
    weight = trace.tensor(weight.shape, input.dtype, input.device, None, "constant")
    if len(weight.shape) == 2:
        return linear(trace, how, input, weight)
    numbers = packed.stride(), packed.padding(), packed.dilation()
    if how.label.startswith("conv_transpose"):
        numbers = *numbers[:2], packed.output_padding(), packed.groups(), numbers[2]
        return conv_transpose(trace, how, input, weight, None, *numbers)
    return conv(trace, how, input, weight, None, *numbers, packed.groups())


def linear(trace, how, input, weight, bias=None):
    x, w = input.shape, weight.shape
    if not x or x[-1] != w[-1]:
        got = x[-1] if x else 1
        flat = len(x) > 2 and prod(x[1:]) == w[-1]
        hint = "flatten what comes before it, nn.Flatten() does" if flat else (
            f"set in_features={got}"
        )  # fmt: skip
        got = _factors(trace, input, got)
        raise trace.error(how, f"expects {w[-1]} features, gets {got}: {hint}")
    shape, dtype = (*x[:-1], *w[:-1]), _multiplied(trace, how, input, weight)
    return trace.new(how, (input, weight, bias), shape, input, prod(shape) * w[-1], None, dtype)


def matmul(trace, how, input, other, **kwargs):
    a, b = input.shape, other.shape
    if kwargs:
        return NotImplemented
    if len(a) == 0 or len(b) == 0 or a[-1] != b[-2 if len(b) > 1 else 0]:
        both = f"{brackets(a)} by {brackets(b)}"
        raise trace.error(how, f"cannot multiply {both}: the inner sizes disagree")
    batch = _broadcast(trace, how, [a[:-2], b[:-2]])
    shape = (*batch, *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))
    macs, dtype = prod(shape) * a[-1], _low(input) or input.dtype
    return trace.new(how, (input, other), shape, _first(input, other), macs, None, dtype)


def attention(
    trace, how, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None,
    enable_gqa=False,
):  # fmt: skip
    q, k, v = query.shape, key.shape, value.shape
    if q[-1] != k[-1] or k[-2] != v[-2]:
        text = f"sizes of query {brackets(q)}, key {brackets(k)}, value {brackets(v)} disagree"
        raise trace.error(how, text)
    batch = q[:-2] if enable_gqa else _broadcast(trace, how, [q[:-2], k[:-2], v[:-2]])
    macs, shape = prod(batch) * q[-2] * k[-2] * (q[-1] + v[-1]), (*batch, q[-2], v[-1])
    return trace.new(how, (query, key, value, attn_mask), shape, query, macs, None, _low(query))


def bilinear(trace, how, input1, input2, weight, bias=None):
    a, b, w = input1.shape, input2.shape, weight.shape
    if a[:-1] != b[:-1]:
        return NotImplemented
    if (a[-1], b[-1]) != (w[1], w[2]):
        text = f"expects {w[1]} and {w[2]} features, gets {a[-1]} and {b[-1]}"
        raise trace.error(how, text)
    macs = prod(a[:-1]) * w[0] * w[1] * (w[2] + 1)  # x₁ᵀA, then its product with x₂
    return trace.new(how, (input1, input2, weight, bias), (*a[:-1], w[0]), input1, macs)


def vector_product(trace, how, input, other):
    """Inner and outer products of vectors."""
    a, b = input.shape, other.shape
    shape = (*a, *b) if how.name in ("outer", "ger") else ()
    macs = prod(a) * (prod(b) if shape else 1)
    return trace.new(how, (input, other), shape, _first(input, other), macs)


def sparse_product(trace, how, input, other):
    """A sparse matrix by a dense one: one MAC for each stored element and column."""
    if type(input) is ShapeTensor or not (input.is_sparse or input.layout != torch.strided):
        return matmul(trace, how, input, other)
    shape = (input.shape[0], other.shape[-1])
    return trace.new(how, (input, other), shape, other, input._nnz() * shape[1])


# --- pooling ----------------------------------------------------------------------------------


def pool(
    trace, how, input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False,
    return_indices=False,
):  # fmt: skip
    x, axes = input.shape, _axes(how.name)
    if len(x) - axes not in (1, 2):
        raise trace.error(how, rank(axes, "C", input, how))
    kernel = _each(kernel_size, axes)
    stride = kernel if stride is None or stride == [] else _each(stride, axes)
    padding, dilation = _each(padding, axes), _each(dilation, axes)
    try:
        out = shapes.pool_output_size(
            tuple(x[-axes:]), kernel, stride, padding, dilation, ceil_mode
        )
    except ValueError as error:
        raise trace.error(how, f"cannot slide over {brackets(x)}: {error}") from None
    geometry = Window(kernel, stride, padding, dilation)
    shape = (*x[:-axes], *out)
    return _pooled(trace, how, input, shape, prod(shape) * prod(kernel), geometry, return_indices)


def average_pool(
    trace, how, input, kernel_size, stride=None, padding=0, ceil_mode=False,
    count_include_pad=True, divisor_override=None,
):  # fmt: skip
    if _axes(how.name) == 3:  # of torch's average pools only this one does not count the padding
        kernel, sizes = _each(kernel_size, 3), input.shape[-3:]
        if any(n < k for n, k in zip(sizes, kernel, strict=False)):
            raise trace.error(how, f"has a kernel {brackets(kernel)} larger than {brackets(sizes)}")
    return pool(trace, how, input, kernel_size, stride, padding, 1, ceil_mode)


def adaptive_pool(trace, how, input, output_size, return_indices=False):
    x, axes = input.shape, _axes(how.name)
    is_mean = axes > 1 and "avg" in how.name and set(_each(output_size, axes)) == {1}
    if len(x) < axes or (len(x) - axes not in (1, 2) and not is_mean):  # torch's mean takes any
        raise trace.error(how, rank(axes, "C", input, how))
    sizes = tuple(x[-axes:])
    pairs = list(zip(sizes, _each(output_size, axes), strict=True))
    pairs = [(n, n if wanted is None else wanted) for n, wanted in pairs]
    out = tuple(m for _, m in pairs)
    shape = (*x[:-axes], *out)
    if min(sizes) < 1 or min(out) < 0:
        raise trace.error(how, f"cannot bring {brackets(x)} to {brackets(out)}")
    if sizes == out:  # every window is one element
        return _pooled(trace, how.as_(SAME), input, shape, 0, None, return_indices)
    # window i of an axis reaches from floor(i*n/out) to ceil((i + 1)*n/out)
    spans = [sum(-(-(i + 1) * n // m) - i * n // m for i in range(m)) for n, m in pairs]
    geometry = None  # windows of different sizes
    if set(out) == {1} or all(m and n % m == 0 for n, m in pairs):
        geometry = _tiles([n // m for n, m in pairs])
    return _pooled(trace, how, input, shape, prod(x[:-axes]) * prod(spans), geometry,
                   return_indices)  # fmt: skip


def _tiles(sizes) -> Window:
    """Windows side by side."""
    return Window(tuple(sizes), tuple(sizes), (0,) * len(sizes), (1,) * len(sizes))


def _pooled(trace, how, input, shape, macs, geometry, return_indices):
    if not return_indices and not how.name.endswith("_with_indices"):
        return trace.new(how, (input,), shape, input, macs, geometry)
    output, indices = (
        trace.tensor(shape, dtype, input.device) for dtype in (input.dtype, torch.int64)
    )
    trace.emit(how, (input,), (output, indices), macs, geometry)
    return output, indices


def mean(trace, how, input, dim=None, keepdim=False, **kwargs):
    """A mean over all positions of a map is a global average pool; other means count nothing."""
    x = input.shape
    axes = len(x) - 2
    dims = {d % len(x) for d in _tuple(dim)} if dim is not None and x else set()
    if axes not in (2, 3) or dims != set(range(2, len(x))) or kwargs:
        return NotImplemented
    if trace.node(input).root.number is not None:
        return NotImplemented
    shape = (*x[:2], *(1,) * axes) if keepdim else x[:2]
    return trace.new(how.as_(GLOBAL_MEAN), (input,), shape, input, prod(x), _tiles(x[2:]))


# --- element by element -----------------------------------------------------------------------


def same_shape(trace, how, input, *args, inplace=False, **kwargs):
    """Activations and normalizations: what comes out has the shape of what goes in."""
    operands = [one for one in (input, *args, *kwargs.values()) if is_tensor(one)]
    dtype = kwargs.get("dtype") or input.dtype
    if how.record.single and _low(input) and dtype.is_floating_point:
        dtype = torch.float32
    return _alike(trace, how, input, inplace, dtype, operands)


def activation(trace, how, input, inplace=False):
    """The same for a module, or a function that is given one tensor."""
    return _alike(trace, how, input, inplace, input.dtype, (input,))


def _alike(trace, how, input, inplace, dtype, operands):
    if inplace or how.in_place:
        before = trace.changed(input)
        operands = [before if operand is input else operand for operand in operands]
        if type(input) is ShapeTensor:
            trace.emit(how, operands, (input,), fresh=False)
            return input
    return trace.new(how, operands, input.shape, input, dtype=dtype)


def batch_norm(
    trace, how, input, running_mean=None, running_var=None, weight=None, bias=None,
    training=False, momentum=0.1, eps=1e-5,
):  # fmt: skip
    x, vector = input.shape, running_mean if weight is None else weight
    if vector is not None:
        _expects(trace, how, input, vector, "num_features")
        if input.device != vector.device:
            _same_place(trace, how, input, vector)
    if training and prod(x[:1] + x[2:]) == 1:
        text = f"in training mode needs more than one value a channel, gets {brackets(x)}"
        raise trace.error(how, f"{text}: take batch_size=2, or model.eval()")
    return trace.new(how, (input, weight, bias), x, input)


def _expects(trace, how, input, vector, setting: str) -> int:
    """The channels of a map, which are those of this vector."""
    channels = input.shape[1] if len(input.shape) > 1 else 0
    if vector is not None and vector.shape[0] != channels:
        got = f"expects {vector.shape[0]} channels, gets {channels} in {brackets(input.shape)}"
        raise trace.error(how, f"{got}: set {setting}={channels}")
    return channels


def layer_norm(trace, how, input, normalized_shape, weight=None, bias=None, *rest, **kwargs):
    wanted, x = _tuple(normalized_shape), input.shape
    if tuple(x[-len(wanted) :]) != wanted:
        text = f"expects inputs that end in {brackets(wanted)}, gets {brackets(x)}"
        raise trace.error(how, text)
    dtype = torch.float32 if _low(input) else input.dtype
    return trace.new(how, (input, weight, bias), x, input, 0, Over(len(wanted)), dtype)


def group_norm(trace, how, input, num_groups, weight=None, bias=None, eps=1e-5):
    channels = _expects(trace, how, input, weight, "num_channels")
    if channels % num_groups or prod(input.shape) == input.shape[0] * num_groups:
        return NotImplemented
    return same_shape(trace, how, input, weight, bias)


def dropout(trace, how, input, p=0.5, training=True, inplace=False):
    if training and p:
        return activation(trace, how, input, inplace)
    output = trace.tensor(input.shape, input.dtype, input.device, trace.node(input).root)
    trace.emit(how.as_(VIEW), (input,), (output,), fresh=False)
    return output


def reshaped(trace, how, input, *size, **kwargs):
    """The same elements in another shape, where they lie in order; torch knows the rest."""
    x = input.shape
    if kwargs or type(input) is not ShapeTensor or input.strides or 0 in x or not x:
        return NotImplemented
    if how.name == "flatten":
        ends = (*size, *(0, -1)[len(size) :])
        start, end = (n % len(x) for n in ends)
        if start > end or not all(-len(x) <= n < len(x) for n in ends):
            return NotImplemented
        size = *x[:start], -1, *x[end + 1 :]
    elif len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = size[0]
    if not all(type(n) is int and (n > 0 or n == -1) for n in size) or [*size].count(-1) > 1:
        return NotImplemented
    rest = prod(x) // abs(prod(size))
    shape = tuple(rest if n == -1 else n for n in size)
    if prod(shape) != prod(x):
        return NotImplemented
    output = trace.tensor(shape, input.dtype, input.device, input.node.root)
    geometry = Dims([dimensions(input, in_order(shape), shape)])
    trace.emit(how.as_(VIEW), (input,), (output,), 0, geometry, fresh=False)
    return output


def elementwise(trace, how, input, other=None, *args, **kwargs):
    """Sums, products and the like of tensors that broadcast."""
    values = (input, other, *args)
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    first, *others = tensors
    shape, dtype = first.shape, first.dtype
    if (kwargs and kwargs.keys() - {"alpha"}) or any(one.dtype is not dtype for one in others):
        return NotImplemented
    if not dtype.is_floating_point and (
        "div" in how.name or any(isinstance(value, float) for value in values)
    ):
        return NotImplemented
    for one in others:
        if one.shape != shape:
            shape = _broadcast(trace, how, [tensor.shape for tensor in tensors])
        if one.device != first.device:
            _same_devices(trace, how, tensors)
    if how.in_place:
        if shape is not input.shape and tuple(shape) != tuple(input.shape):
            text = f"cannot write {brackets(shape)} in place into {brackets(input.shape)}"
            raise trace.error(how, text)
        return _alike(trace, how, input, True, input.dtype, tensors)
    return trace.new(how, tensors, shape, _first(*tensors))


def concat(trace, how, tensors, dim=0, **kwargs):
    sizes = [tensor.shape for tensor in tensors]
    if (0,) in sizes:  # torch leaves these out
        tensors = [tensor for tensor in tensors if tensor.shape != (0,)] or list(tensors)
        sizes = [tensor.shape for tensor in tensors]
    first, count = sizes[0], len(sizes)
    dim, axes = kwargs.pop("axis", dim) if kwargs else dim, len(first)
    if kwargs or type(dim) is not int or not -axes <= dim < axes:
        return NotImplemented
    shape, dim = list(first), dim % axes
    alike = [*map(len, sizes)].count(axes) == count
    for place, each in enumerate(zip(*sizes)):  # noqa: B905 - other lengths are told below
        if place == dim:
            shape[dim] = sum(each)
        elif each.count(each[0]) != count:
            alike = False
    if not alike:
        other = next(s for s in sizes if (s[:dim], s[dim + 1 :]) != (first[:dim], first[dim + 1 :]))
        both = f"{brackets(first)} and {brackets(other)} along dimension {dim}"
        raise trace.error(how, f"cannot join {both}: {_disagreement(first, other, dim)}")
    dtype, device = tensors[0].dtype, tensors[0].device
    for tensor in tensors:
        if tensor.dtype is not dtype:
            return NotImplemented
        if tensor.device is not device and tensor.device != device:
            _same_devices(trace, how, tensors)
    return trace.new(how, tensors, shape, _first(*tensors))


def to(trace, how, input, *args, **kwargs):
    """Another type or device."""
    dtype, device, name = input.dtype, input.device, how.name
    if name in ("cpu", "cuda"):
        device = torch.device(name, *args)
    elif name == "type_as" or (args and is_tensor(args[0])):
        dtype, device = args[0].dtype, args[0].device
    elif name == "to":
        kwargs.pop("copy", None)
        new_device, new_dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        dtype, device = new_dtype or dtype, new_device or device
    else:
        dtype = CASTS[name]
    if dtype == input.dtype and device == input.device:
        return input
    output = trace.tensor(input.shape, dtype, device)
    trace.emit(how, (input,), (output,))
    return output


CASTS = {
    "float": torch.float32, "double": torch.float64, "half": torch.float16,
    "bfloat16": torch.bfloat16, "int": torch.int32, "long": torch.int64, "bool": torch.bool,
}  # fmt: skip


def setitem(trace, how, input, index, value):
    """A part of a tensor is overwritten; the rest is what it was."""
    masks = [i for i in tensors_in(index) if i.dtype == torch.bool]
    if any(type(i) is ShapeTensor for i in masks):
        raise _no_values(trace, "an assignment under a mask")
    geometry = Placed(_slices(input, index))
    before = trace.changed(input)
    trace.emit(how, [before, *tensors_in((index, value))], (input,), 0, geometry, fresh=False)


# --- how positions move, for what has no rule -------------------------------------------------


def _slices(input, index):
    """First element and step of each dimension, None unless the index has only slices."""
    index = list(index) if isinstance(index, tuple) else [index]
    axes = len(input.shape)
    if not all(type(item) in (slice, int, type(...)) for item in index):
        return None
    if ... in index:
        place = index.index(...)
        index[place : place + 1] = [slice(None)] * (axes - len(index) + 1)
    index += [slice(None)] * (axes - len(index))
    pairs = zip(index, input.shape, strict=True)
    return tuple((i, 0) if isinstance(i, int) else i.indices(n)[::2] for i, n in pairs)


def _sliced(output, input, index):
    slices = _slices(input, index)
    return Slice(slices) if slices and all(step for _, step in slices) else None


def _padded(output, input, pad, *_, **__):
    left = [*pad[0::2], *[0] * len(input.shape)][: len(input.shape)]
    return Slice(tuple((-n, 1) for n in reversed(left)))


def _interpolated(
    output, input, size=None, scale_factor=None, mode="nearest", align_corners=None, *_,
    antialias=False, **__
):  # fmt: skip
    old, new = tuple(input.shape[2:]), tuple(output.shape[2:])
    return Resize(mode, old, new, bool(align_corners), antialias)


def _unpooled(output, input, indices, kernel_size, stride=None, padding=0, *_, **__):
    """Where windows do not overlap, each value goes somewhere into its own window."""
    axes = len(output.shape) - 2
    kernel, old = _each(kernel_size, axes), tuple(input.shape[2:])
    if _each(stride or kernel, axes) != kernel or set(_each(padding, axes)) != {0}:
        return None
    new = tuple(n * k for n, k in zip(old, kernel, strict=True))
    return Resize("nearest", old, new, False, False)


def _shuffled(output, input, factor):
    return Resize("nearest", tuple(input.shape[-2:]), tuple(output.shape[-2:]), False, False)


def _unshuffled(output, input, factor):
    return _tiles((factor, factor))


def _reduced(output, input, *args, **kwargs):
    """The dimensions that a sum, a norm or a maximum leaves."""
    dim = kwargs.get("dim", kwargs.get("axis"))
    if dim is None:
        dim = next((a for a in args if isinstance(a, (int, tuple, list)) and a is not True), None)
    n = len(input.shape)
    gone = range(n) if dim is None else {d % n for d in _tuple(dim)}
    if len(output.shape) == n:
        return Dims([tuple(None if i in gone else i for i in range(n))])
    return Dims([tuple(i for i in range(n) if i not in gone)])


def _stacked(output, tensors, dim=0, **_):
    n = len(output.shape)
    kept = list(range(n - 1))
    return Dims([(*kept[: dim % n], None, *kept[dim % n :])])


def _rolled(output, input, shifts, dims=None):
    n = len(input.shape)
    dims = range(n) if dims is None else _tuple(dims)
    return Dims([tuple(range(n))], lost={d % n for d in dims})


# --- the table --------------------------------------------------------------------------------

UNKNOWN = Record("other")  # by identity: no rule knows what it costs
VIEW = Record("view", keeps="nothing")
SAME = Record("other", reach="same", keeps="nothing")
GLOBAL_MEAN = Record("pool", mean, keeps="nothing")
_COUNTED = Record("matmul", None, "all", "product")
FACTORIES = {"zeros", "ones", "full", "empty", "rand", "randn", "randint", "arange", "linspace"}
FOURIER = [name for name in dir(torch.fft) if "fft" in name]
RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}
VALUES = {  # operations whose result depends on values
    "item", "tolist", "numpy", "nonzero", "unique", "unique_consecutive", "_unique2",
    "masked_select", "bincount", "equal", "allclose", "is_nonzero", "__bool__", "__int__",
    "__float__", "__index__", "__complex__", "__array__", "__contains__", "argwhere",
}  # fmt: skip
ITSELF = {"requires_grad_", "detach_", "retain_grad", "share_memory_", "pin_memory", "rename"}

_ACT = Record("activation", same_shape, "same")
_MOVED = Record("other", None, "unknown", "nothing")
_SAME_PLACE = Record("other", None, "same")
_REDUCED = Record("other", None, "unknown", "inputs", _reduced)
_TABLE = (  # record, names of functions; {} stands for 1, 2 and 3
    (Record("conv", conv, keeps="weight"), "conv{}d"),
    (Record("conv", conv_transpose, keeps="weight"), "conv_transpose{}d"),
    (Record("conv", deformed_conv), "deform_conv2d"),
    (Record("linear", linear, keeps="weight"), "linear"),
    (Record("matmul", matmul, "all", "product"), "matmul mm bmm mv"),
    (Record("matmul", sparse_product, "all", "product"), "_sparse_mm sparse_mm"),
    (Record("matmul", attention, "all", "attention"), "scaled_dot_product_attention"),
    (Record("linear", bilinear, "same"), "bilinear"),
    (Record("matmul", vector_product, "all", "product"), "outer ger dot vdot inner"),
    (Record("conv", quantized, keeps="weight"), """quantized.conv{}d quantized.conv{}d_relu
        quantized.conv_transpose{}d"""),
    (Record("linear", quantized, keeps="weight"), """quantized.linear quantized.linear_relu
        quantized.linear_dynamic quantized.linear_relu_dynamic"""),
    (Record("pool", pool, keeps="max"), "max_pool{}d max_pool{}d_with_indices"),
    (Record("pool", average_pool), "avg_pool{}d"),
    (Record("pool", adaptive_pool, keeps="mean"), "adaptive_avg_pool{}d"),
    (Record("pool", adaptive_pool, keeps="max"),
     "adaptive_max_pool{}d adaptive_max_pool{}d_with_indices"),
    (Record("other", mean, "unknown", "nothing", _reduced), "mean"),
    (Record("norm", batch_norm, "same", "batch norm"), "batch_norm"),
    (Record("norm", layer_norm, "same", "layer norm"), "layer_norm"),
    (Record("norm", group_norm, "all", single=True), "group_norm"),
    (Record("norm", same_shape, "all"), "instance_norm"),
    (Record("norm", same_shape, "same"), "rms_norm local_response_norm normalize"),
    (_ACT._replace(keeps="output"), "relu sigmoid tanh"),
    (_ACT._replace(keeps="output", single=True), "exp sqrt rsqrt reciprocal"),
    (_ACT._replace(keeps="output in place"), "leaky_relu elu celu rrelu"),
    (_ACT._replace(keeps="nothing"), "neg"),
    (_ACT, """relu6 selu gelu silu mish hardsigmoid hardswish hardtanh softplus softsign logsigmoid
        threshold tanhshrink hardshrink softshrink log log1p abs sin cos erf square clamp clamp_min
        clamp_max clip"""),
    (_ACT._replace(rule=None), "prelu glu logit"),
    (_ACT._replace(rule=None, keeps="output", single=True), "softmax log_softmax softmin"),
    (_ACT._replace(rule=dropout, keeps="mask"), """dropout dropout{}d alpha_dropout feature_dropout
        feature_alpha_dropout"""),
    (Record("add", elementwise, "same", "nothing"), "add sub rsub subtract"),
    (Record("elementwise", elementwise, "same", "product"),
     "mul multiply div divide true_divide rdiv maximum minimum"),
    (Record("concat", concat, "same", "nothing"), "cat concat concatenate"),
    (_SAME_PLACE._replace(rule=to, keeps="nothing"), " ".join(("to type_as cpu cuda", *CASTS))),
    (_SAME_PLACE._replace(rule=setitem, keeps="nothing"), "setitem"),
    # without a rule: torch's meta device has the shape, and there are no MACs by definition
    (_MOVED._replace(geometry=_sliced), "getitem"),
    (_MOVED._replace(geometry=_padded), "pad constant_pad_nd"),
    (_MOVED._replace(geometry=_interpolated), "interpolate upsample"),
    (_MOVED._replace(geometry=_unpooled, keeps="inputs"), "max_unpool{}d"),
    (_MOVED._replace(geometry=_shuffled), "pixel_shuffle"),
    (_MOVED._replace(geometry=_unshuffled), "pixel_unshuffle"),
    (_MOVED._replace(geometry=_stacked), "stack"),
    (_MOVED._replace(geometry=_rolled), "roll"),
    (_REDUCED._replace(keeps="nothing"), "sum"),
    (_REDUCED, """amax amin max min prod norm vector_norm linalg_vector_norm linalg_norm logsumexp
        var std argmax argmin any all median"""),
    (_SAME_PLACE._replace(keeps="nothing"), """contiguous clone type copy masked_fill where sign
        floor ceil round trunc zeros_like ones_like full_like empty_like rand_like randn_like
        quantize_per_tensor quantize_per_tensor_dynamic quantize_per_channel dequantize
        channel_shuffle native_channel_shuffle eq ne lt gt le ge isnan isinf isfinite logical_and
        logical_or logical_not and or xor invert fill zero bernoulli nan_to_num"""),
    (_SAME_PLACE, """pow lerp addcmul addcdiv float_power remainder fmod floor_divide frac exp2
        expm1 log2 log10 erfinv sinh cosh tan asin acos atan atan2 native_dropout"""),
    (_MOVED._replace(rule=reshaped), "view reshape flatten"),
    (_MOVED, """flip fliplr flipud rot90 repeat tile repeat_interleave vstack hstack
        dstack column_stack gather scatter scatter_add index_select take take_along_dim embedding
        one_hot unfold im2col fold col2im new_zeros new_ones new_full new_empty new_tensor tril triu
        meshgrid diagonal diag_embed zeros ones full empty rand randn _pack_padded_sequence
        _pad_packed_sequence"""),
    (_MOVED._replace(keeps="inputs"), """aminmax std_mean var_mean cumsum cumprod mode quantile topk
        sort argsort logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor masked_scatter rpow
        sgn dist renorm _weight_norm index_add index_copy index_put embedding_bag randint_like
        uniform normal random grid_sample affine_grid grid_sampler combinations split chunk unbind
        roi_align ps_roi_align roi_pool ps_roi_pool nms fft_fftshift fft_ifftshift _is_all_true
        view_as_real view_as_complex polar complex fractional_max_pool2d fractional_max_pool3d
        lp_pool{}d searchsorted bucketize histc cross kron_ pdist cosine_similarity
        pairwise_distance"""),
    (Record("other", None, "all", "nothing"), " ".join(FOURIER)),
)  # fmt: skip
RECORDS: dict[str, Record] = {
    name.format(n): record for record, names in _TABLE for name in names.split() for n in (1, 2, 3)
}


# --- functions --------------------------------------------------------------------------------


def handler(func):
    """What runs for this function: it is called with trace, func, args and kwargs."""
    name = _name(func)
    if name in ("__get__", "__set__", "__delete__"):
        return _Special(_property)
    if name in VALUES:
        return _Special(_value)
    if name == "__iter__":
        return _Special(lambda trace, func, args, kwargs: iter(args[0].unbind(0)))
    if name in ITSELF:
        return _Special(lambda trace, func, args, kwargs: args[0])
    label = name.strip("_") if name.startswith("__") else name.rstrip("_")
    label = label.removeprefix("fft_") if label not in RECORDS else label
    record = RECORDS.get(label)
    if getattr(func, "__module__", "") == "torch._ops.quantized":
        record = RECORDS.get(f"quantized.{label}", record)
    if record is None and getattr(func, "__module__", "") in (
        "torch.nn.functional", "torch.functional", "torch._jit_internal",
    ) and hasattr(func, "__globals__"):  # fmt: skip
        return _Special(_followed, _followed)
    in_place = name.endswith("_") and not name.startswith("_")
    return Handler(record or UNKNOWN, name, label, None, in_place, name in FACTORIES)


class _Special:
    """A function that is no operation of its own."""

    in_place = makes = False

    def __init__(
        self, with_shapes, with_values=lambda trace, func, args, kwargs: func(*args, **kwargs)
    ):
        self.with_shapes, self.observed = with_shapes, with_values

    def __call__(self, trace, func, args, kwargs):
        return self.with_shapes(trace, func, args, kwargs)


def _followed(trace, func, args, kwargs):
    """A function of torch that is made of others."""
    with trace:
        return inside(func)(*args, **kwargs)


def _name(func) -> str:
    """``add`` for ``__add__`` and ``__radd__``, ``add_`` for ``__iadd__``."""
    name = func.__name__.split(".")[0]  # "mul.default" is an overload of torch.ops
    if name == "__setitem__":
        return "setitem_"
    match = _OPERATOR.fullmatch(name)
    if match is None:
        return name
    mode, word = match[1], _WORDS.get(match[2], match[2])
    if mode == "i":
        return word + "_"
    return "r" + word if mode == "r" and word in ("sub", "pow", "div") else word


_OPERATOR = re.compile(
    "__([ri]?)(add|sub|mul|truediv|floordiv|mod|pow|matmul|and|or|xor|lshift|rshift)__"
)
_WORDS = {"truediv": "div", "floordiv": "floor_divide", "mod": "remainder"}


def _no_values(trace, label: str):
    text = "needs the values of a tensor, and there are only shapes"
    return trace.error(label, text, NeedsValues)


def _value(trace, func, args, kwargs):
    raise _no_values(trace, func.__name__.strip("_"))


def _property(trace, func, args, kwargs):
    """Attributes that a shape tensor does not hold itself."""
    tensor, name = args[0], func.__self__.__name__
    if func.__name__ != "__get__":
        return None
    if name == "data":
        return tensor
    if name in vars(ShapeTensor) and name != "node":
        return getattr(tensor, name)
    if name.startswith("is_"):
        return tensor.device.type == name[3:]
    return from_meta(trace, How(RECORDS.get(name, UNKNOWN), name, name), func, args, kwargs)


def from_meta(trace, how, func, args, kwargs):
    """An operation without a rule: shape from the meta device, MACs from torch's counter."""
    tensors = tensors_in((args, kwargs))
    try:
        result, outputs, views, macs = trace.run(func, args, kwargs, count=not how.is_free())
    except Exception as error:
        if isinstance(error, (NotImplementedError, RecursionError)):
            raise _no_values(trace, how.label) from error
        text = " ".join(str(error).split("\n")[0].split())
        if "scalar types: Long" in text:
            text = "its indices are whole numbers: give dtype=torch.long, or a tensor"
        text = f"cannot take {', '.join(brackets(tensor.shape) for tensor in tensors)}: {text}"
        raise trace.error(how, text, NeedsValues if "meta" in text else CostError) from error
    if not outputs:
        return result
    if how.in_place and type(args[0]) is ShapeTensor:
        before = trace.changed(args[0])
        tensors = [before if tensor is args[0] else tensor for tensor in tensors]
        result, outputs, views = args[0], [args[0]], None
        args[0].shape = args[0].node.shape
    _write_down(trace, how, args, kwargs, tensors, outputs, macs, views)
    return result


def _write_down(trace, how, args, kwargs, tensors, outputs, macs, views) -> None:
    """Write down what has been run; ``views`` are the dimensions of outputs that are views."""
    geometry, counted = None, bool(views or macs or how.is_free())
    fresh = not (how.in_place or views)
    if how.record.geometry is not None and len(outputs) == 1:
        geometry = how.record.geometry(outputs[0], *args, **kwargs)
    if views:
        how, geometry = how.as_(VIEW), geometry or Dims(views)
    elif macs:
        how = how.as_(_COUNTED)
    trace.emit(how, tensors, outputs, macs, geometry, counted, fresh)


# --- modules ----------------------------------------------------------------------------------


def leaf(trace: Trace, module: nn.Module, path: str) -> Callable | None:
    """What a call of this module runs if its forward is one operation."""
    kind = type(module)
    found = trace.leaves.get(kind)
    if found is None:
        found = LEAVES.get(kind) or LEAVES.get(f"{kind.__module__}.{kind.__name__}", ())
        trace.leaves[kind] = found
    if not found:
        return None
    name, rule, weights, attributes = found
    how = tuple.__new__(How, (RECORDS[name], name, kind.__name__, path, False, False))
    return functools.partial(_leaf, trace, module, how, rule, weights, attributes)


def _leaf(trace, module, how, rule, weights, attributes, *args, **kwargs):
    """One call of such a module, which is followed inside where anything about it is unusual."""
    own = module.__dict__
    parameters = own["_parameters"]
    if (
        kwargs
        or len(args) != 1
        or type(args[0]) is not ShapeTensor
        or own["_forward_hooks"]
        or own["_forward_pre_hooks"]
        or [*parameters] != weights  # one comes from elsewhere
        or "forward" in own
        or own.get("padding_mode", "zeros") != "zeros"
    ):
        return trace.call(module, how.path, *args, **kwargs)
    given = map(own.get, attributes)
    if not weights:
        return rule(trace, how, args[0], *given)
    (weight, bias), held = parameters.values(), trace.held_of
    return rule(trace, how, args[0], held.get(id(weight), weight), held.get(id(bias), bias), *given)


def wrapped(module: nn.Module) -> nn.Module | None:
    """The module inside torch.compile, DataParallel or DistributedDataParallel."""
    return module._modules.get(_WRAPPERS.get(type(module).__name__))


_WRAPPERS = {
    "OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module",
}  # fmt: skip


def _batch_norm(trace, how, input, weight, bias, channels, training, buffers):
    axes, mean = int(how.label[-2]), buffers.get("running_mean")
    if len(input.shape) != axes + 2 and (axes > 1 or len(input.shape) != 2):
        raise trace.error(how, rank(axes, channels, input, how))
    return batch_norm(trace, how, input, mean, None, weight, bias, training or mean is None)


def _itself(trace, how, input):
    return input


_WEIGHTS = ["weight", "bias"]
# class (or its name): function, its rule, parameters, the attributes that it is given behind them
LEAVES: dict[type | str, tuple[str, Callable, list[str], list[str]]] = {
    nn.Linear: ("linear", linear, _WEIGHTS, []),
    nn.Identity: ("to", _itself, [], []),
    "cnnlab.layers.normalization.LocalResponseNorm": ("local_response_norm", activation, [], []),
    **{
        getattr(nn, kind): (function or kind.lower(), rule, weights, attributes.split())
        for kinds, function, rule, weights, attributes in (
            ("ReLU ReLU6 ELU SiLU Mish Hardsigmoid Hardswish", "", activation, [], "inplace"),
            ("LeakyReLU", "leaky_relu", activation, [], "inplace"),
            ("GELU Sigmoid Tanh", "", activation, [], ""),
            ("LocalResponseNorm CrossMapLRN2d", "local_response_norm", activation, [], ""),
            ("Dropout Dropout2d", "", dropout, [], "p training inplace"),
        )
        for kind in kinds.split()
    },
    **{
        getattr(nn, f"{kind}{n}d"): (function.format(n), rule, weights, attributes.split())
        for kind, function, rule, weights, attributes in (
            ("Conv", "conv{}d", conv, _WEIGHTS, "stride padding dilation groups"),
            ("MaxPool", "max_pool{}d", pool, [],
             "kernel_size stride padding dilation ceil_mode return_indices"),
            ("AvgPool", "avg_pool{}d", average_pool, [], "kernel_size stride padding ceil_mode"),
            ("AdaptiveAvgPool", "adaptive_avg_pool{}d", adaptive_pool, [], "output_size"),
            ("BatchNorm", "batch_norm", _batch_norm, _WEIGHTS, "num_features training _buffers"),
        )
        for n in (1, 2, 3)
    },
}  # fmt: skip


def _attributes(kind: type) -> int:
    """How many attributes a module of this class has."""
    parameters = inspect.signature(kind).parameters.values()
    needed = [1 for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    with torch.device("meta"):
        return len(vars(kind(*needed)))


KNOWN = {kind: _attributes(kind) for kind in LEAVES if isinstance(kind, type)}


# --- words and small sums ---------------------------------------------------------------------


def _axes(name: str) -> int:
    return int(re.search(r"(\d)d", name)[1])


def _each(value, axes: int) -> tuple[int, ...]:
    if type(value) is tuple and len(value) == axes:
        return value
    if isinstance(value, (tuple, list)):
        return tuple(value) * axes if len(value) == 1 else tuple(value)
    return (value,) * axes


def _tuple(value) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def brackets(shape: Sequence[int]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"


def rank(axes: int, channels, input, how) -> str:
    """What is wrong with the number of dimensions, and what would be right."""
    names, shape = ", ".join(["L"] if axes == 1 else ["D", "H", "W"][-axes:]), input.shape
    text = f"expects an input (N, {channels}, {names}), gets {brackets(shape)}"
    given = type(input) is ShapeTensor and input.node.root.role == "input"
    if given and len(shape) == axes + 3 and (shape[1] == 1 or shape[2] == channels):
        return text + ": give input_size without the batch"
    if len(shape) - 2 in (1, 2, 3) and how.label[-2:-1].isdigit():
        return text + f": take {how.label[:-2]}{len(shape) - 2}d"
    return text


def _wrong_map(trace, how, input, channels, axes):
    x = input.shape
    if len(x) - axes not in (1, 2) or (len(x) - axes == 1 and x[1] == channels):
        return trace.error(how, rank(axes, channels, input, how))
    got = x[-axes - 1]
    hint = f"set in_channels={got}"
    if x[-1] == channels:
        hint = f"the channels come first, as in {brackets((x[-1], *x[-axes - 1 : -1]))}"
    got = f"gets {_factors(trace, input, got)} in {brackets(x)}"
    return trace.error(how, f"expects {channels} input channels, {got}: {hint}")


def _factors(trace, tensor, size: int) -> str:
    """``256*3*3 = 2304`` when the size comes from flattening a map, else ``2304``."""
    op = trace.ops[tensor.node.op] if type(tensor) is ShapeTensor and tensor.node.op >= 0 else None
    if op is not None and op.record.kind == "view" and len(op.inputs) == 1:
        source = op.inputs[0].shape
        for start in range(1, len(source) - 1):
            if prod(source[start:]) == size and size not in source:
                return f"{'*'.join(map(str, source[start:]))} = {size}"
    return str(size)


def _disagreement(a, b, skip: int | None = None) -> str:
    if len(a) != len(b):
        return f"{len(a)} and {len(b)} dimensions"
    apart = [i for i in range(len(a)) if a[i] != b[i] and i != skip]
    pairs = [f"{a[i]} and {b[i]} in dimension {i}" for i in apart]
    hint = ""
    if len(a) == 4:
        sizes = a[2:] != b[2:]
        strided = any(max(x, y) >= 1.5 * min(x, y) for x, y in zip(a[2:], b[2:], strict=True))
        if 1 in apart and sizes and strided:
            hint = "; a 1×1 convolution with the same stride makes channels and size equal"
        elif 1 in apart:
            hint = "; a 1×1 convolution makes the channels equal"
        elif sizes:
            hint = "; give both branches the same stride and padding"
            hint += "" if strided else "=kernel_size//2, which keeps the size"
    return f"{', '.join(pairs)} disagree{hint}"


def _broadcast(trace, how, all_shapes) -> tuple[int, ...]:
    result: list[int] = []
    for shape in all_shapes:
        short, long = sorted((list(shape), result), key=len)
        result = list(long)
        for i in range(1, len(short) + 1):
            a, b = short[-i], result[-i]
            if a != b and a != 1 and b != 1:
                both = " and ".join(map(brackets, all_shapes))
                x, y = ((*[1] * (len(result) - len(s)), *s) for s in all_shapes[:2])
                x = tuple(n if m == 1 else m for m, n in zip(x, y, strict=True))
                y = tuple(m if n == 1 else n for m, n in zip(x, y, strict=True))
                raise trace.error(how, f"cannot combine {both}: {_disagreement(x, y)}")
            result[-i] = b if a == 1 else a
    return tuple(result)


def _multiplied(trace, how, input, weight):
    """The type of a product with weights; raises where they are in another place."""
    low = _low(input)
    if low is None and trace.dtype is None and input.dtype != weight.dtype:
        text = f"has weights of {weight.dtype}, gets an input of {input.dtype}"
        raise trace.error(how, text)
    if input.device != weight.device:
        _same_place(trace, how, input, weight)
    return low or input.dtype


def _same_place(trace, how, input, weight) -> None:
    if input.device != weight.device and not trace.values:
        text = f"has its weights on {weight.device}, gets an input on {input.device}"
        raise trace.error(how, f"{text}: move the input with .to('{weight.device}')")


def _low(input) -> torch.dtype | None:
    """The type that autocast computes products in, None where it is off."""
    kind = input.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind) or not input.dtype.is_floating_point:
        return None
    return torch.get_autocast_dtype(kind)


def _same_devices(trace, how, tensors) -> None:
    devices = {tensor.device for tensor in tensors if tensor.shape}
    if len(devices) > 1 and not trace.values:
        both = " and ".join(map(str, devices))
        raise trace.error(how, f"gets tensors on {both}: move one with .to()")


def _first(*tensors):
    """The first that comes from the input."""
    return next((t for t in tensors if type(t) is ShapeTensor), tensors[0])


def is_plain(tensor) -> bool:
    """Whether it has a storage and strides to compare."""
    return type(tensor) is not ShapeTensor and storage(tensor) is not None


def tensors_in(tree) -> list:
    """The tensors in lists, tuples and dicts."""
    return [leaf for leaf in tree_leaves(tree) if is_tensor(leaf)]
