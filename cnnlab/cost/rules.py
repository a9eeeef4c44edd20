"""What operations return and cost: the rules.

A rule gets the `Trace`, the operation's name and its own arguments, and returns shape tensors;
``path`` and ``label`` are given where it runs in the place of a module's forward. It returns
NotImplemented for arguments that it leaves to torch's meta device. `cnnlab.cost.dispatch` chooses
the rule.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch

from cnnlab import shapes
from cnnlab.cost.trace import ShapeTensor

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
        raise trace.error(path, label, rank(axes, w[1] * groups, x))
    if x[-axes - 1] != w[1] * groups:
        raise trace.error(
            path,
            label,
            f"expects {w[1] * groups} input channels, gets {_factors(input, x[-axes - 1])}"
            f" in {brackets(x)}: set in_channels={x[-axes - 1]}",
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
        raise trace.error(path, label, f"cannot slide over {brackets(x)}: {error}") from None
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
        raise trace.error(None, name, rank(axes, w[0], x))
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
        raise trace.error(None, name, f"cannot take {brackets(x)}: {error}") from None
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
            None, name, f"cannot multiply {brackets(a)} by {brackets(b)}: the inner sizes disagree"
        )
    batch = _broadcast(trace, name, [a[:-2], b[:-2]])
    shape = (*batch, *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))
    output = trace.tensor(shape, input.dtype, _device(input, other))
    trace.emit(
        "matmul", name, activations((input, other)), (output,), prod(shape) * a[-1],
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
            None,
            name,
            f"sizes of query {brackets(q)}, key {brackets(k)}, value {brackets(v)} disagree",
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
        raise trace.error(path, label, rank(axes, "C", x))
    kernel = _each(kernel_size, axes)
    no_stride = stride is None or (isinstance(stride, list) and not stride)
    stride = kernel if no_stride else _each(stride, axes)
    padding, dilation = _each(padding, axes), _each(dilation, axes)
    try:
        out = shapes.pool_output_size(
            tuple(x[-axes:]), kernel, stride, padding, dilation, ceil_mode
        )
    except ValueError as error:
        raise trace.error(path, label, f"cannot slide over {brackets(x)}: {error}") from None
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
            f"has a kernel {brackets(_each(kernel_size, 3))} larger than {brackets(x[-3:])}",
        )
    return pool(
        trace, name, input, kernel_size, stride, padding, 1, ceil_mode, path=path, label=label
    )


def adaptive_pool(trace, name, input, output_size, return_indices=False, path=None, label=None):
    x = input.shape
    axes = _axes(name)
    label = label or name
    is_mean = axes > 1 and "avg" in name.lower() and set(_each(output_size, axes)) == {1}
    if len(x) < axes or (len(x) - axes not in (1, 2) and not is_mean):  # torch's mean takes any
        raise trace.error(path, label, rank(axes, "C", x))
    sizes = x[-axes:]
    out = tuple(
        n if wanted is None else wanted
        for n, wanted in zip(sizes, _each(output_size, axes), strict=True)
    )
    if min(sizes) < 1 or min(out) < 0:
        raise trace.error(path, label, f"cannot bring {brackets(x)} to {brackets(out)}")
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
    if (
        axes not in (2, 3)
        or dims != set(range(2, len(x)))
        or kwargs
        or input.base.origin is not None
    ):
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
    return in_or_out_of_place(
        trace, kind, plain(name), input, inplace or is_in_place(name), dtype,
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
                    f"expects {vector.shape[0]} channels, gets {channels} in {brackets(x)}: "
                    f"set num_features={channels}",
                )
            _same_place(trace, path, label, input, vector, dtype=False)
            break
    if training and prod(x) == channels:
        raise trace.error(
            path,
            label,
            f"in training mode needs more than one value a channel, gets {brackets(x)}: "
            "take batch_size=2, or model.eval()",
        )
    output = trace.tensor(x, input.dtype, input.device)
    trace.emit("norm", label, (input,), (output,), 0, trace.take(weight, bias), None, path)
    return output


def layer_norm(trace, name, input, normalized_shape, weight=None, bias=None, *rest, **kwargs):
    wanted = _tuple(normalized_shape)
    if tuple(input.shape[-len(wanted) :]) != wanted:
        raise trace.error(
            None,
            name,
            f"expects inputs that end in {brackets(wanted)}, gets {brackets(input.shape)}",
        )
    return same_shape(trace, name, input, weight, bias)


def dropout(trace, name, input, p=0.5, training=True, inplace=False, path=None, label=None):
    label = label or plain(name)
    if type(input) is not ShapeTensor:  # a constant
        return input
    if not training or not p:
        output = trace.tensor(input.shape, input.dtype, input.device, input.base)
        trace.emit("view", label, (input,), (output,), path=path, fresh=False)
        return output
    inplace = inplace or is_in_place(name)
    return in_or_out_of_place(trace, "activation", label, input, inplace, input.dtype, 0, path)


def elementwise(trace, name, input, other=None, *args, **kwargs):
    """Sums, products and the like of tensors that broadcast."""
    tensors = [v for v in (input, other, *args) if isinstance(v, torch.Tensor)]
    dtypes = {tensor.dtype for tensor in tensors}
    floats = "div" in name or any(isinstance(v, float) for v in (input, other, *args))
    if kwargs.keys() - {"alpha"} or len(dtypes) > 1:
        return NotImplemented
    if floats and not tensors[0].dtype.is_floating_point:
        return NotImplemented
    shape = tensors[0].shape
    if len(tensors) > 1 and any(tensor.shape != shape for tensor in tensors):
        shape = _broadcast(trace, plain(name), [tensor.shape for tensor in tensors])
    _same_devices(trace, plain(name), tensors)
    kind = "add" if name.startswith(("add", "sub", "rsub")) else "elementwise"
    inplace = is_in_place(name)
    params = trace.take(*tensors)
    if inplace and tuple(shape) != tuple(input.shape):
        raise trace.error(
            None, name, f"cannot write {brackets(shape)} in place into {brackets(input.shape)}"
        )
    inputs = activations(tensors)
    if inplace:
        inputs = tuple(as_it_was(trace, t) if t is input else t for t in inputs)
        output = input
    else:
        output = trace.tensor(shape, tensors[0].dtype, _device(*tensors))
    trace.emit(kind, plain(name), inputs, (output,), 0, params, fresh=not inplace)
    return output


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
                f"cannot join {brackets(first.shape)} and {brackets(shape)} along dimension {dim}: "
                f"{_disagreement(first.shape, shape, dim)}",
            )
        if tensor.dtype != first.dtype:
            return NotImplemented
        total += shape[dim]
    _same_devices(trace, name, tensors)
    inputs = activations(tensors)
    params = trace.take(*tensors) if len(inputs) < len(tensors) else 0
    output = trace.tensor((*before, total, *after), first.dtype, _device(*tensors))
    trace.emit("concat", name, inputs, (output,), 0, params)
    return output


def in_or_out_of_place(trace, kind, label, input, inplace, dtype, params=0, path=None):
    """One tensor in, one of the same shape out, which may be the same."""
    if type(input) is not ShapeTensor:  # a constant
        input = trace.tensor(input.shape, input.dtype, input.device)
    if inplace:
        inputs = activations((as_it_was(trace, input),))
        trace.emit(kind, label, inputs, (input,), 0, params, None, path, fresh=False)
        return input
    output = trace.tensor(input.shape, dtype, input.device)
    trace.emit(kind, label, activations((input,)), (output,), 0, params, None, path)
    return output


def as_it_was(trace, tensor):
    """What a tensor was before an operation that changes it in place."""
    before = trace.tensor(tensor.shape, tensor.dtype, tensor.device, tensor.base)
    before.op, before.now = tensor.op, tensor
    return before


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
        dtype = CASTS[name]
    if dtype == input.dtype and device == input.device:
        return input
    output = trace.tensor(input.shape, dtype, device)
    trace.emit("other", name, activations((input,)), (output,), 0, trace.take(input))
    return output


CASTS = {
    "float": torch.float32, "double": torch.float64, "half": torch.float16,
    "bfloat16": torch.bfloat16, "int": torch.int32, "long": torch.int64, "bool": torch.bool,
}  # fmt: skip


# --- words and small sums ---------------------------------------------------------------------


def plain(name: str) -> str:
    """``add`` for ``add_``, ``getitem`` for ``__getitem__``."""
    return name.strip("_") if name.startswith("__") else name.rstrip("_")


def is_in_place(name: str) -> bool:
    return name == "__setitem__" or (name.endswith("_") and not name.startswith("__"))


def _axes(name: str) -> int:
    return int(re.search(r"(\d)d", name)[1])


def _each(value, axes: int) -> tuple[int, ...]:
    if isinstance(value, (tuple, list)):
        return tuple(value) * axes if len(value) == 1 else tuple(value)
    return (value,) * axes


def _tuple(value) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def brackets(shape: Sequence[int]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"


def rank(axes: int, channels, shape) -> str:
    names = ", ".join(["L"] if axes == 1 else ["D", "H", "W"][-axes:])
    text = f"expects an input (N, {channels}, {names}), gets {brackets(shape)}"
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
                    f"cannot combine {' and '.join(map(brackets, all_shapes))}: "
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


def tensors_in(tree) -> list:
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


def activations(tensors) -> tuple:
    """The tensors that come from the input, neither parameters nor constants."""
    return tuple(t for t in tensors if type(t) is ShapeTensor and t.base.origin is None)
