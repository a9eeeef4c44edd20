"""What each operation returns and costs: one rule a kind, looked up by the operation's name.

A rule gets the `Trace`, the name, and the operation's own arguments, and returns shape tensors.
Operations without arithmetic worth counting (`FREE`) and views get their shapes from torch's meta
device; so does every other operation, whose MACs then come from torch's own counter, or, where
that knows nothing either, are marked as not counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import nn

from cnnlab import shapes
from cnnlab.cost.trace import ShapeTensor, inside

COUNTED = ("conv", "linear", "matmul")  # the kinds in the first total; "pool" joins the second


class Geometry(NamedTuple):
    """How a window moves: one entry an axis; ``padding`` on the left."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    transposed: bool = False


# --- convolution, linear, matrix products -----------------------------------------------------


def conv(
    trace, name, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1,
    path=None, label=None,
):  # fmt: skip
    x, w = input.shape, weight.shape
    axes = len(w) - 2
    label = label or name
    if len(x) - axes not in (1, 2):
        raise trace.error(path, label, _rank(axes, w[1] * groups, x))
    if x[-axes - 1] != w[1] * groups:
        raise trace.error(
            path,
            label,
            f"expects {w[1] * groups} input channels, gets {_factors(input, x[-axes - 1])}"
            f" in {_sizes(x)}: set in_channels={x[-axes - 1]}",
        )
    _same_place(trace, path, label, input, weight)
    kernel, sizes = tuple(w[2:]), x[-axes:]
    stride, dilation = _each(stride, axes), _each(dilation, axes)
    try:
        if isinstance(padding, str):
            left = tuple(
                shapes._sides(k, s, padding, d)[0]
                for k, s, d in zip(kernel, stride, dilation, strict=True)
            )
            out = [
                shapes.output_size(n, k, s, padding, d)
                for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True)
            ]
        else:
            left = padding = _each(padding, axes)
            out = [
                (n + 2 * p - d * (k - 1) - 1) // s + 1
                for n, k, s, p, d in zip(sizes, kernel, stride, padding, dilation, strict=True)
            ]
            if min(out) < 1 or min(stride) < 1 or min(padding) < 0 or min(dilation) < 1:
                shapes.output_size(tuple(sizes), kernel, stride, padding, dilation)
    except (ValueError, ZeroDivisionError) as error:
        raise trace.error(path, label, f"cannot slide over {_sizes(x)}: {error}") from None
    output = trace.tensor((*x[: -axes - 1], w[0], *out), input.dtype, input.device)
    trace.emit(
        "conv", label, (input,), (output,), prod(output.shape) * w[1] * prod(kernel),
        trace.take(weight, bias), Geometry(kernel, stride, left, dilation, groups), path,
    )  # fmt: skip
    return output


def conv_transpose(
    trace, name, input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1,
    dilation=1,
):  # fmt: skip
    x, w = input.shape, weight.shape
    axes = len(w) - 2
    if len(x) - axes not in (1, 2):
        raise trace.error(None, name, _rank(axes, w[0], x))
    if x[-axes - 1] != w[0]:
        raise trace.error(
            None,
            name,
            f"expects {w[0]} input channels, gets {x[-axes - 1]}: set in_channels={x[-axes - 1]}",
        )
    _same_place(trace, None, name, input, weight)
    kernel = tuple(w[2:])
    stride, padding, dilation = (_each(v, axes) for v in (stride, padding, dilation))
    try:
        out = shapes.conv_transpose_output_size(
            tuple(x[-axes:]), kernel, stride, padding, _each(output_padding, axes), dilation
        )
    except ValueError as error:
        raise trace.error(None, name, f"cannot take {_sizes(x)}: {error}") from None
    output = trace.tensor((*x[: -axes - 1], w[1] * groups, *out), input.dtype, input.device)
    trace.emit(
        "conv", name, (input,), (output,), prod(x) * w[1] * prod(kernel),
        trace.take(weight, bias), Geometry(kernel, stride, padding, dilation, groups, True),
    )  # fmt: skip
    return output


def linear(trace, name, input, weight, bias=None, path=None, label=None):
    x, w = input.shape, weight.shape
    label = label or name
    if not x or x[-1] != w[-1]:
        raise trace.error(
            path,
            label,
            f"expects {w[-1]} features, gets {_factors(input, x[-1] if x else 1)}: "
            + (
                "flatten what comes before it, nn.Flatten() does"
                if len(x) > 2 and prod(x[1:]) == w[-1]
                else f"set in_features={x[-1] if x else 1}"
            ),
        )
    _same_place(trace, path, label, input, weight)
    output = trace.tensor((*x[:-1], *w[:-1]), input.dtype, input.device)
    macs = prod(output.shape) * w[-1]
    trace.emit("linear", label, (input,), (output,), macs, trace.take(weight, bias), None, path)
    return output


def matmul(trace, name, input, other):
    a, b = input.shape, other.shape
    if len(a) == 0 or len(b) == 0 or a[-1] != b[-2 if len(b) > 1 else 0]:
        raise trace.error(
            None, name, f"cannot multiply {_sizes(a)} by {_sizes(b)}: the inner sizes disagree"
        )
    batch = _broadcast(trace, name, [a[:-2], b[:-2]])
    shape = (*batch, *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))
    output = trace.tensor(shape, input.dtype, _device(input, other))
    trace.emit(
        "matmul", name, _activations((input, other)), (output,), prod(shape) * a[-1],
        trace.take(input, other),
    )  # fmt: skip
    return output


def attention(
    trace, name, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None,
    enable_gqa=False,
):  # fmt: skip
    q, k, v = query.shape, key.shape, value.shape
    if q[-1] != k[-1] or k[-2] != v[-2]:
        raise trace.error(
            None, name, f"sizes of query {_sizes(q)}, key {_sizes(k)}, value {_sizes(v)} disagree"
        )
    batch = q[:-2] if enable_gqa else _broadcast(trace, name, [q[:-2], k[:-2], v[:-2]])
    output = trace.tensor((*batch, q[-2], v[-1]), query.dtype, query.device)
    macs = prod(batch) * q[-2] * k[-2] * (q[-1] + v[-1])
    trace.emit("matmul", name, (query, key, value), (output,), macs)
    return output


# --- pooling ----------------------------------------------------------------------------------


def pool(
    trace, name, input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False,
    return_indices=False, path=None, label=None,
):  # fmt: skip
    x = input.shape
    axes = _axes(name)
    label = label or name
    if len(x) - axes not in (1, 2):
        raise trace.error(path, label, _rank(axes, "C", x))
    kernel = _each(kernel_size, axes)
    no_stride = stride is None or (isinstance(stride, list) and not stride)
    stride = kernel if no_stride else _each(stride, axes)
    padding, dilation = _each(padding, axes), _each(dilation, axes)
    try:
        out = shapes.pool_output_size(
            tuple(x[-axes:]), kernel, stride, padding, dilation, ceil_mode
        )
    except ValueError as error:
        raise trace.error(path, label, f"cannot slide over {_sizes(x)}: {error}") from None
    output = trace.tensor((*x[:-axes], *out), input.dtype, input.device)
    geometry = Geometry(kernel, stride, padding, dilation)
    macs = prod(output.shape) * prod(kernel)
    if return_indices or name.endswith("_with_indices"):
        indices = trace.tensor(output.shape, torch.int64, input.device)
        trace.emit("pool", label, (input,), (output, indices), macs, 0, geometry, path)
        return output, indices
    trace.emit("pool", label, (input,), (output,), macs, 0, geometry, path)
    return output


def average_pool(
    trace, name, input, kernel_size, stride=None, padding=0, ceil_mode=False,
    count_include_pad=True, divisor_override=None, path=None, label=None,
):  # fmt: skip
    x, label = input.shape, label or name
    if _axes(name) == 3 and any(n < k for n, k in zip(x[-3:], _each(kernel_size, 3), strict=False)):
        raise trace.error(  # of torch's average pools only this one does not count the padding
            path,
            label,
            f"has a kernel {_sizes(_each(kernel_size, 3))} larger than {_sizes(x[-3:])}",
        )
    return pool(
        trace, name, input, kernel_size, stride, padding, 1, ceil_mode, path=path, label=label
    )


def adaptive_pool(trace, name, input, output_size, return_indices=False, path=None, label=None):
    x = input.shape
    axes = _axes(name)
    label = label or name
    is_mean = "avg" in name.lower() and set(_each(output_size, axes)) == {1}
    if len(x) < axes or (len(x) - axes not in (1, 2) and not is_mean):  # torch's mean takes any
        raise trace.error(path, label, _rank(axes, "C", x))
    sizes = x[-axes:]
    out = tuple(
        n if wanted is None else wanted
        for n, wanted in zip(sizes, _each(output_size, axes), strict=True)
    )
    if min(sizes) < 1 or min(out) < 0:
        raise trace.error(path, label, f"cannot bring {_sizes(x)} to {_sizes(out)}")
    output = trace.tensor((*x[:-axes], *out), input.dtype, input.device)
    if tuple(sizes) == out:  # every window is one element
        trace.emit("other", label, (input,), (output,), path=path)
    else:
        # window i of an axis reaches from floor(i*n/out) to ceil((i + 1)*n/out)
        spans = [
            sum(-(-(i + 1) * n // m) - i * n // m for i in range(m))
            for n, m in zip(sizes, out, strict=True)
        ]
        geometry = None  # windows of different sizes
        if all(m and n % m == 0 for n, m in zip(sizes, out, strict=True)):
            window = tuple(n // m for n, m in zip(sizes, out, strict=True))
            geometry = Geometry(window, window, (0,) * axes, (1,) * axes)
        trace.emit(
            "pool", label, (input,), (output,), prod(x[:-axes]) * prod(spans), 0, geometry, path
        )
    if return_indices or name.endswith("_with_indices"):
        return output, trace.tensor(output.shape, torch.int64, input.device)
    return output


def mean(trace, name, input, dim=None, keepdim=False, **kwargs):
    """A mean over all positions of a map is a global average pool; other means count nothing."""
    x = input.shape
    axes = len(x) - 2
    dims = {d % len(x) for d in _tuple(dim)} if dim is not None else set()
    if axes not in (2, 3) or dims != set(range(2, len(x))) or kwargs or input.base.origin:
        return NotImplemented
    shape = (*x[:2], *(1,) * axes) if keepdim else x[:2]
    output = trace.tensor(shape, input.dtype, input.device)
    geometry = Geometry(tuple(x[2:]), tuple(x[2:]), (0,) * axes, (1,) * axes)
    trace.emit("pool", name, (input,), (output,), prod(x), 0, geometry)
    return output


# --- element by element -----------------------------------------------------------------------


def same_shape(trace, name, input, *args, inplace=False, **kwargs):
    """Activations and normalizations: what comes out has the shape of what goes in."""
    tensors = [v for v in (input, *args, *kwargs.values()) if isinstance(v, torch.Tensor)]
    kind = "norm" if "norm" in name else "activation"
    dtype = kwargs.get("dtype") or input.dtype
    return _in_or_out_of_place(
        trace, kind, _plain(name), input, inplace or _in_place(name), dtype,
        trace.take(*tensors),
    )  # fmt: skip


def batch_norm(
    trace, name, input, running_mean=None, running_var=None, weight=None, bias=None,
    training=False, momentum=0.1, eps=1e-5, path=None, label=None,
):  # fmt: skip
    x = input.shape
    label = label or name
    channels = x[1] if len(x) > 1 else 0
    for vector in (weight, running_mean):
        if vector is not None:
            if vector.shape[0] != channels:
                raise trace.error(
                    path,
                    label,
                    f"expects {vector.shape[0]} channels, gets {channels} in {_sizes(x)}: "
                    f"set num_features={channels}",
                )
            _same_place(trace, path, label, input, vector, dtype=False)
            break
    if training and prod(x) == channels:
        raise trace.error(
            path,
            label,
            f"in training mode needs more than one value a channel, gets {_sizes(x)}: "
            "take batch_size=2, or model.eval()",
        )
    output = trace.tensor(x, input.dtype, input.device)
    trace.emit("norm", label, (input,), (output,), 0, trace.take(weight, bias), None, path)
    return output


def layer_norm(trace, name, input, normalized_shape, weight=None, bias=None, *rest, **kwargs):
    wanted = _tuple(normalized_shape)
    if tuple(input.shape[-len(wanted) :]) != wanted:
        raise trace.error(
            None, name, f"expects inputs that end in {_sizes(wanted)}, gets {_sizes(input.shape)}"
        )
    return same_shape(trace, name, input, weight, bias)


def dropout(trace, name, input, p=0.5, training=True, inplace=False, path=None, label=None):
    label = label or _plain(name)
    if not training or not p:
        output = trace.tensor(input.shape, input.dtype, input.device, input.base)
        trace.emit("view", label, (input,), (output,), path=path, fresh=False)
        return output
    inplace = inplace or _in_place(name)
    return _in_or_out_of_place(trace, "activation", label, input, inplace, input.dtype, 0, path)


def elementwise(trace, name, input, other=None, *args, **kwargs):
    """Sums, products and the like of tensors that broadcast."""
    tensors = [v for v in (input, other, *args) if isinstance(v, torch.Tensor)]
    dtypes = {tensor.dtype for tensor in tensors}
    floats = any(isinstance(v, float) for v in (input, other, *args))
    if (
        kwargs.keys() - {"alpha"}
        or len(dtypes) > 1
        or (not input_is_float(tensors) and (floats or "div" in name))
    ):
        return NotImplemented
    shape = tensors[0].shape
    if len(tensors) > 1 and any(tensor.shape != shape for tensor in tensors):
        shape = _broadcast(trace, _plain(name), [tensor.shape for tensor in tensors])
    _same_devices(trace, _plain(name), tensors)
    kind = "add" if name.startswith(("add", "sub", "rsub")) else "elementwise"
    inplace = _in_place(name)
    params = trace.take(*tensors)
    if inplace and tuple(shape) != tuple(input.shape):
        raise trace.error(
            None, name, f"cannot write {_sizes(shape)} in place into {_sizes(input.shape)}"
        )
    inputs = _activations(tensors)
    if inplace:
        inputs = tuple(_before(trace, t) if t is input else t for t in inputs)
        output = input
    else:
        output = trace.tensor(shape, tensors[0].dtype, _device(*tensors))
    trace.emit(kind, _plain(name), inputs, (output,), 0, params, fresh=not inplace)
    return output


def input_is_float(tensors) -> bool:
    return tensors[0].dtype.is_floating_point


def concat(trace, name, tensors, dim=0, **kwargs):
    tensors = [tensor for tensor in tensors if tuple(tensor.shape) != (0,)] or list(tensors)
    first = tensors[0]
    dim, axes = kwargs.pop("axis", dim), len(first.shape)
    if kwargs or not -axes <= dim < axes:
        return NotImplemented
    dim %= axes
    before, after, total = first.shape[:dim], first.shape[dim + 1 :], 0
    for tensor in tensors:
        shape = tensor.shape
        if shape[:dim] != before or shape[dim + 1 :] != after:
            raise trace.error(
                None,
                name,
                f"cannot join {_sizes(first.shape)} and {_sizes(shape)} along dimension {dim}: "
                f"{_disagreement(first.shape, shape, dim)}",
            )
        if tensor.dtype != first.dtype:
            return NotImplemented
        total += shape[dim]
    _same_devices(trace, name, tensors)
    inputs = _activations(tensors)
    params = trace.take(*tensors) if len(inputs) < len(tensors) else 0
    output = trace.tensor((*before, total, *after), first.dtype, _device(*tensors))
    trace.emit("concat", name, inputs, (output,), 0, params)
    return output


def _in_or_out_of_place(trace, kind, label, input, inplace, dtype, params=0, path=None):
    if inplace:
        before = _before(trace, input)
        inputs = _activations((before,))
        trace.emit(kind, label, inputs, (input,), 0, params, None, path, fresh=False)
        return input
    output = trace.tensor(input.shape, dtype, input.device)
    trace.emit(kind, label, _activations((input,)), (output,), 0, params, None, path)
    return output


def _before(trace, tensor):
    """What a tensor was before an operation that changes it in place."""
    before = trace.tensor(tensor.shape, tensor.dtype, tensor.device, tensor.base)
    before.op, before.now = tensor.op, tensor
    return before


# --- everything else --------------------------------------------------------------------------


def from_meta(trace, func, args, kwargs, name, free):
    """An operation without a rule: shape from the meta device, MACs from torch's counter."""
    tensors = _tensors((args, kwargs))
    try:
        result, outputs, views, macs = trace.on_meta(func, args, kwargs, count=not free)
    except Exception as error:
        if isinstance(error, NotImplementedError) or "data-dependent" in str(error).lower():
            raise trace.error(None, _plain(name), _NO_VALUES) from error
        message = " ".join(str(error).split("\n")[0].split())
        sizes = ", ".join(_sizes(tensor.shape) for tensor in tensors)
        raise trace.error(None, _plain(name), f"cannot take {sizes}: {message}") from error
    if not outputs:
        return result
    fresh = True
    if _in_place(name) and isinstance(args[0], ShapeTensor):
        inputs = tuple(_before(trace, t) if t is args[0] else t for t in _activations(tensors))
        result, outputs, views, fresh = args[0], [args[0]], None, False
    else:
        inputs = _activations(tensors)
    label = _plain(name)
    geometry = None
    if label in _GEOMETRIES and len(outputs) == 1:
        geometry = _GEOMETRIES[label](outputs[0], *args, **kwargs)
    if views:
        trace.emit("view", label, inputs, tuple(outputs), geometry=geometry or views, fresh=False)
        return result
    trace.emit(
        "matmul" if macs else KINDS.get(label, "other"), label, inputs, tuple(outputs), macs,
        trace.take(*tensors), geometry, counted=free or macs > 0, fresh=fresh,
    )  # fmt: skip
    return result


def _slice_geometry(output, input, index):
    """First element and step of each dimension, None unless the index has only slices."""
    index = list(index) if isinstance(index, tuple) else [index]
    axes = len(input.shape)
    if not all(isinstance(item, slice) or item is Ellipsis for item in index):
        return None
    if Ellipsis in index:
        place = index.index(Ellipsis)
        index[place : place + 1] = [slice(None)] * (axes - len(index) + 1)
    index += [slice(None)] * (axes - len(index))
    ranges = (item.indices(size) for item, size in zip(index, input.shape, strict=True))
    return tuple((start, step) for start, _, step in ranges)


def _pad_geometry(output, input, pad, *args, **kwargs):
    axes = len(input.shape) - 2
    left = [*pad[0::2], *[0] * axes][:axes]
    return "pad", tuple(left[::-1])


def _interpolate_geometry(
    output, input, size=None, scale_factor=None, mode="nearest", align_corners=None, *_, **__
):
    sizes = zip(output.shape[2:], input.shape[2:], strict=True)
    factors = [divmod(new, old) for new, old in sizes]
    how = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "trilinear": "linear"}
    if align_corners or mode not in how or any(rest or not factor for factor, rest in factors):
        return None
    return how[mode], tuple(factor for factor, _ in factors)


_GEOMETRIES = {
    "getitem": _slice_geometry,
    "pad": _pad_geometry,
    "interpolate": _interpolate_geometry,
    "pixel_shuffle": lambda output, input, factor: ("nearest", (factor, factor)),
}


def has_no_value(trace, func, args, kwargs):
    raise trace.error(None, _name(func).strip("_"), _NO_VALUES)


_NO_VALUES = (
    "needs the values of a tensor, and a trace has only shapes: the forward pass decides by its "
    "data"
)


def property_of(trace, func, args, kwargs):
    """Attributes that a shape tensor does not hold itself."""
    (tensor, *_), name = args, func.__self__.__name__
    if name in ("T", "mT", "H", "mH", "real", "imag"):
        return from_meta(trace, func, args, kwargs, name, True)
    if name == "data":
        return tensor
    if name.startswith("is_"):
        return tensor.device.type == name[3:]
    if name in ("itemsize", "nbytes"):
        return tensor.dtype.itemsize * (tensor.numel() if name == "nbytes" else 1)
    return None


def to(trace, name, input, *args, **kwargs):
    """Another type or device."""
    dtype, device = input.dtype, input.device
    if name in ("cpu", "cuda"):
        device = torch.device(name, *args)
    elif name == "type_as" or (args and isinstance(args[0], torch.Tensor)):
        dtype, device = args[0].dtype, args[0].device
    elif name == "to":
        kwargs = {key: value for key, value in kwargs.items() if key != "copy"}
        new_device, new_dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        dtype, device = new_dtype or dtype, new_device or device
    else:
        dtype = _CASTS[name]
    if dtype == input.dtype and device == input.device:
        return input
    output = trace.tensor(input.shape, dtype, device)
    trace.emit("other", name, _activations((input,)), (output,), 0, trace.take(input))
    return output


_CASTS = {
    "float": torch.float32, "double": torch.float64, "half": torch.float16,
    "bfloat16": torch.bfloat16, "int": torch.int32, "long": torch.int64, "bool": torch.bool,
}  # fmt: skip


def handler(func) -> Callable:
    """What runs for this function: a function of trace, func, args, kwargs."""
    name = _name(func)
    if name in ("__get__", "__set__"):
        return property_of
    if name in VALUES:
        return has_no_value
    if name == "__iter__":
        return lambda trace, func, args, kwargs: iter(args[0].unbind(0))
    rule = RULES.get(_plain(name))
    free = _plain(name) in FREE
    if rule is not None:

        def run(trace, func, args, kwargs):
            result = rule(trace, name, *args, **kwargs)
            if result is NotImplemented:
                return from_meta(trace, func, args, kwargs, name, True)
            return result

        return run
    if not free and getattr(func, "__module__", "") in ("torch.nn.functional", "torch.functional"):
        body = inside(func)
        return lambda trace, func, args, kwargs: body(*args, **kwargs)
    return lambda trace, func, args, kwargs: from_meta(trace, func, args, kwargs, name, free)


def _name(func) -> str:
    """``add`` of ``__add__`` and ``__radd__``, ``add_`` of ``add_`` and ``__iadd__``."""
    name = func.__name__
    match = re.fullmatch(r"__(r|i)?(\w+?)__", name)
    if not match or name in _PLAIN_DUNDERS:
        return name
    mode, word = match.groups()
    if (mode or "") + word in _WORDS:  # "__rshift__" is not a reflected "shift"
        mode, word = None, (mode or "") + word
    word = _WORDS.get(word, word)
    if mode == "i":
        return word + "_"
    return "r" + word if mode == "r" and word in ("sub", "pow", "div") else word


def _plain(name: str) -> str:
    """``add`` of ``add_``, ``getitem`` of ``__getitem__``."""
    return name.strip("_") if name.startswith("__") else name.rstrip("_")


def _in_place(name: str) -> bool:
    return name == "__setitem__" or (name.endswith("_") and not name.startswith("__"))


_PLAIN_DUNDERS = {
    "__get__", "__set__", "__bool__", "__int__", "__float__", "__index__", "__getitem__",
    "__setitem__", "__len__", "__iter__", "__array__", "__contains__", "__invert__", "__reversed__",
    "__complex__", "__format__",
}  # fmt: skip
_WORDS = {"truediv": "div", "floordiv": "floor_divide", "mod": "remainder"}

VALUES = {
    "item", "tolist", "numpy", "nonzero", "unique", "masked_select", "__bool__", "__int__",
    "__float__", "__index__", "__array__", "__contains__", "__complex__", "equal", "allclose",
    "is_nonzero", "unique_consecutive", "_unique2", "bincount",
}  # fmt: skip

RULES: dict[str, Callable] = {
    "linear": linear,
    "scaled_dot_product_attention": attention,
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), conv),
    **dict.fromkeys(
        ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), conv_transpose
    ),
    **dict.fromkeys(("matmul", "mm", "bmm", "mv"), matmul),
    **dict.fromkeys((f"max_pool{n}d{w}" for n in "123" for w in ("", "_with_indices")), pool),
    **dict.fromkeys((f"avg_pool{n}d" for n in "123"), average_pool),
    **dict.fromkeys(
        (f"adaptive_{how}_pool{n}d{w}" for how in ("avg", "max") for n in "123"
         for w in ("", "_with_indices")),
        adaptive_pool,
    ),
    **dict.fromkeys(
        """relu relu6 leaky_relu elu selu celu gelu silu mish sigmoid hardsigmoid hardswish
        hardtanh tanh softplus softsign logsigmoid threshold rrelu
        tanhshrink hardshrink softshrink exp log log1p sqrt rsqrt abs neg sin cos erf square
        reciprocal clamp clamp_min clamp_max clip normalize""".split(),  # noqa: SIM905
        same_shape,
    ),
    **dict.fromkeys(
        ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout",
         "feature_alpha_dropout"),
        dropout,
    ),
    **dict.fromkeys(
        ("add", "sub", "rsub", "mul", "multiply", "div", "divide", "true_divide", "rdiv", "maximum",
         "minimum"),
        elementwise,
    ),
    **dict.fromkeys(("cat", "concat", "concatenate"), concat),
    "mean": mean,
    **dict.fromkeys(("to", "type_as", "cpu", "cuda", *_CASTS), to),
}  # fmt: skip

FREE = set(  # operations that have no MACs by definition, and no rule for their shape
    """mean sum prod max min amax amin aminmax argmax argmin std var std_mean var_mean norm
    vector_norm linalg_vector_norm logsumexp cumsum cumprod any all median mode topk sort argsort
    eq ne lt gt le ge isnan isinf isfinite logical_and logical_or logical_not logical_xor
    bitwise_and bitwise_or bitwise_not bitwise_xor and or xor invert
    where masked_fill masked_scatter lerp addcmul addcdiv pow rpow float_power remainder fmod
    floor_divide floor ceil round trunc sign sgn frac exp2 expm1 log2 log10 erfinv sinh cosh tan
    asin acos atan atan2 logit glu
    stack vstack hstack dstack column_stack pad constant_pad_nd roll flip fliplr flipud rot90
    interpolate upsample upsample_nearest1d upsample_nearest2d upsample_nearest3d
    upsample_bilinear2d upsample_bicubic2d upsample_linear1d upsample_trilinear3d
    _upsample_bilinear2d_aa _upsample_bicubic2d_aa
    pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle
    gather scatter scatter_add index_select index_add index_copy take take_along_dim embedding
    embedding_bag one_hot repeat tile repeat_interleave clone contiguous type copy fill
    zero new_zeros new_ones new_full new_empty new_tensor zeros_like ones_like full_like empty_like
    rand_like randn_like randint_like bernoulli uniform normal random tril triu unfold fold im2col
    col2im grid_sample
    affine_grid grid_sampler meshgrid combinations split chunk unbind getitem setitem
    reshape flatten index_put max_unpool1d max_unpool2d max_unpool3d native_dropout quantile renorm
    dist _weight_norm group_norm instance_norm rms_norm local_response_norm prelu softmax
    log_softmax softmin""".split()  # noqa: SIM905
)


KINDS = {
    **dict.fromkeys(("group_norm", "instance_norm", "rms_norm", "local_response_norm"), "norm"),
    **dict.fromkeys(("prelu", "softmax", "log_softmax", "softmin"), "activation"),
}


# --- modules whose forward is one operation ---------------------------------------------------


def leaf(module: nn.Module) -> Callable | None:
    """The rule that runs in the place of this module's forward, None: follow its forward."""
    rule = LEAVES.get(type(module))
    if rule is None or "forward" in module.__dict__:
        return None
    if rule is _conv_leaf and module.padding_mode != "zeros":
        return None
    return rule


def _conv_leaf(trace, module, path, input):
    own = module._parameters
    return conv(
        trace, "", input, own.get("weight"), own.get("bias"), module.stride, module.padding,
        module.dilation, module.groups, path, type(module).__name__,
    )  # fmt: skip


def _linear_leaf(trace, module, path, input):
    own = module._parameters
    return linear(trace, "", input, own.get("weight"), own.get("bias"), path, "Linear")


def _batch_norm_leaf(trace, module, path, input):
    label = type(module).__name__
    if len(input.shape) not in _BATCH_NORM_RANKS[label]:
        axes = int(label[-2])
        raise trace.error(path, label, _rank(axes, module.num_features, input.shape))
    own, running = module._parameters, module._buffers
    mean = running.get("running_mean")
    return batch_norm(
        trace, "", input, mean, None, own.get("weight"), own.get("bias"),
        module.training or mean is None, path=path, label=label,
    )  # fmt: skip


def _activation_leaf(trace, module, path, input):
    return _in_or_out_of_place(
        trace, "activation", type(module).__name__, input, getattr(module, "inplace", False),
        input.dtype, 0, path,
    )  # fmt: skip


def _dropout_leaf(trace, module, path, input):
    label = type(module).__name__
    return dropout(trace, "", input, module.p, module.training, module.inplace, path, label)


def _max_pool_leaf(trace, module, path, input):
    label = type(module).__name__
    return pool(
        trace, label, input, module.kernel_size, module.stride, module.padding, module.dilation,
        module.ceil_mode, module.return_indices, path, label,
    )  # fmt: skip


def _average_pool_leaf(trace, module, path, input):
    label = type(module).__name__
    return average_pool(
        trace, label, input, module.kernel_size, module.stride, module.padding, module.ceil_mode,
        path=path, label=label,
    )  # fmt: skip


def _adaptive_pool_leaf(trace, module, path, input):
    label = type(module).__name__
    return adaptive_pool(trace, label, input, module.output_size, False, path, label)


def _identity_leaf(trace, module, path, input, *_, **__):
    return input


_BATCH_NORM_RANKS = {"BatchNorm1d": (2, 3), "BatchNorm2d": (4,), "BatchNorm3d": (5,)}

LEAVES: dict[type, Callable] = {
    nn.Linear: _linear_leaf,
    nn.Identity: _identity_leaf,
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _conv_leaf),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), _batch_norm_leaf),
    **dict.fromkeys(
        (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid,
         nn.Hardsigmoid, nn.Hardswish, nn.Tanh),
        _activation_leaf,
    ),
    **dict.fromkeys((nn.Dropout, nn.Dropout2d), _dropout_leaf),
    **dict.fromkeys((nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d), _max_pool_leaf),
    **dict.fromkeys((nn.AvgPool2d, nn.AvgPool3d), _average_pool_leaf),
    **dict.fromkeys(
        (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d), _adaptive_pool_leaf
    ),
}  # fmt: skip


# --- words and small sums ---------------------------------------------------------------------


def _axes(name: str) -> int:
    return int(re.search(r"(\d)d", name)[1])


def _each(value, axes: int) -> tuple[int, ...]:
    if isinstance(value, (tuple, list)):
        return tuple(value) * axes if len(value) == 1 else tuple(value)
    return (value,) * axes


def _tuple(value) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def _sizes(shape: Sequence[int]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"


def _rank(axes: int, channels, shape) -> str:
    names = ", ".join(["L"] if axes == 1 else ["D", "H", "W"][-axes:])
    text = f"expects an input (N, {channels}, {names}), gets {_sizes(shape)}"
    if len(shape) == axes + 3:
        text += ": give input_size without the batch"
    return text


def _factors(tensor, size: int) -> str:
    """``256*6*6 = 9216`` when the size comes from flattening a map, else ``9216``."""
    op = getattr(tensor, "op", None)
    if op is not None and op.kind == "view" and len(op.inputs) == 1:
        source = op.inputs[0].shape
        for start in range(1, len(source) - 1):
            if prod(source[start:]) == size and size not in source:
                return f"{'*'.join(map(str, source[start:]))} = {size}"
    return str(size)


def _disagreement(a, b, skip: int | None = None) -> str:
    if len(a) != len(b):
        return f"{len(a)} and {len(b)} dimensions"
    pairs = [
        f"{x} and {y} in dimension {i}"
        for i, (x, y) in enumerate(zip(a, b, strict=True))
        if x != y and i != skip
    ]
    hint = ""
    if len(a) == 4 and a[1] != b[1] and skip != 1:
        hint = "; a 1×1 convolution makes the channels equal"
    elif len(a) == 4 and a[2:] != b[2:]:
        hint = "; give both branches the same stride and padding"
    return f"{', '.join(pairs)} disagree{hint}"


def _broadcast(trace, name, all_shapes) -> tuple[int, ...]:
    result: list[int] = []
    for shape in all_shapes:
        short, long = sorted((list(shape), result), key=len)
        result = list(long)
        for i in range(1, len(short) + 1):
            a, b = short[-i], result[-i]
            if a != b and a != 1 and b != 1:
                raise trace.error(
                    None,
                    name,
                    f"cannot combine {' and '.join(map(_sizes, all_shapes))}: "
                    f"{_disagreement(*all_shapes[:2])}",
                )
            result[-i] = b if a == 1 else a
    return tuple(result)


def _same_place(trace, path, label, input, weight, dtype=True) -> None:
    if input.device != weight.device:
        raise trace.error(
            path,
            label,
            f"has its weights on {weight.device}, gets an input on {input.device}: "
            f"move the input with .to('{weight.device}')",
        )
    if dtype and trace.dtype is None and input.dtype != weight.dtype:
        raise trace.error(
            path, label, f"has weights of {weight.dtype}, gets an input of {input.dtype}"
        )


def _same_devices(trace, name, tensors) -> None:
    devices = {tensor.device for tensor in tensors if tensor.shape}
    if len(devices) > 1:
        raise trace.error(
            None, name, f"gets tensors on {' and '.join(map(str, devices))}: move one with .to()"
        )


def _device(*tensors):
    return next((t.device for t in tensors if type(t) is ShapeTensor), tensors[0].device)


def _tensors(tree) -> list:
    found = []

    def visit(value):
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, dict):
            for item in value.values():
                visit(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                visit(item)

    visit(tree)
    return found


def _activations(tensors) -> tuple:
    """The tensors that come from the input, neither parameters nor constants."""
    return tuple(t for t in tensors if type(t) is ShapeTensor and t.base.origin is None)
