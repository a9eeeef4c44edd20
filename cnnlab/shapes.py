"""Sizes by arithmetic: what comes out of a convolution or a pooling layer, and what it sees.

Plain Python, no torch. Every size is an ``int`` for one axis or a tuple with one entry an axis
(height, width); an ``int`` stands for the same value on every axis, as in ``torch.nn``.

>>> output_size(227, kernel_size=11, stride=4, padding=2)
56
>>> explain(227, kernel_size=11, stride=4, padding=2)
output = (input - kernel_size + 2*padding)/stride + 1
       = (227 - 11 + 2*2)/4 + 1 = 56
>>> receptive_field([3, 3, 3])
ReceptiveField(size=7, jump=1, start=0)
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

Size = int | tuple[int, ...]
_AXIS_FIELDS = ("kernel_size", "stride", "padding", "dilation")


class Explanation(str):
    """Text that a notebook shows as it is: several lines, no quotes."""

    __repr__ = str.__str__


class ReceptiveField(NamedTuple):
    """What one output unit sees of the input.

    Output unit ``i`` sees the input pixels ``start + i*jump`` up to, not including,
    ``start + i*jump + size``; pixels below 0 or beyond the last one are padding.
    """

    size: Size
    jump: Size
    start: Size


def output_size(
    input_size: Size,
    kernel_size: Size,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Size:
    """Output size of a convolution, ``floor((n + 2p - d(k-1) - 1)/s) + 1``, as torch computes it.

    Parameters
    ----------
    padding : int, tuple, "same" or "valid"
        Per side, as in PyTorch. ``"same"`` keeps the size and needs stride 1.
    ceil_mode : bool
        Round up instead of down, as pooling layers can; a window that would start in the padding
        on the right is dropped.

    Raises
    ------
    ValueError
        Where torch raises: a size, stride, kernel or dilation below 1, negative padding, a kernel
        that exceeds the padded input, ``"same"`` with a stride.
    """
    _no_channels(input_size, kernel_size)
    return _each_axis(
        _windows, input_size, kernel_size, stride, padding, dilation, ceil_mode=ceil_mode
    )


def pool_output_size(
    input_size: Size,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Size:
    """Output size of max or average pooling; the stride is the kernel size unless it is given.

    Raises ValueError where torch does, which is also when the padding exceeds half the kernel.
    """
    _no_channels(input_size, kernel_size)
    stride = kernel_size if stride is None else stride
    return _each_axis(
        _pool_windows, input_size, kernel_size, stride, padding, dilation, ceil_mode=ceil_mode
    )


def conv_transpose_output_size(
    input_size: Size,
    kernel_size: Size,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    dilation: Size = 1,
) -> Size:
    """Output size of a transposed convolution, ``(n - 1)s - 2p + d(k-1) + output_padding + 1``.

    Raises ValueError where torch does: the result is below 1, or ``output_padding`` is not
    smaller than the stride or the dilation.
    """
    return _each_axis(
        _transposed, input_size, kernel_size, stride, padding, dilation, output_padding
    )


def same_padding(kernel_size: Size, dilation: Size = 1) -> Size:
    """Padding per side that keeps the size at stride 1: ``dilation*(kernel_size - 1)/2``.

    Raises ValueError for a kernel that would need more padding on one side than on the other.
    """

    def one_axis(kernel_size: int, dilation: int) -> int:
        _at_least(1, kernel_size=kernel_size, dilation=dilation)
        total = dilation * (kernel_size - 1)
        if total % 2:
            raise ValueError(
                f"kernel_size {kernel_size} with dilation {dilation} needs {total} pixels of "
                f"padding in all, {total // 2} on one side and {total - total // 2} on the other: "
                "take an odd kernel, or padding='same'"
            )
        return total // 2

    return _each_axis(one_axis, kernel_size, dilation)


@dataclass(frozen=True)
class Layer:
    """One convolution or pooling layer of a stack, as `receptive_field` and `explain` take it."""

    kernel_size: Size
    stride: Size = 1
    padding: Size | str = 0
    dilation: Size = 1
    ceil_mode: bool = False
    name: str = ""

    def output_size(self, input_size: Size) -> Size:
        """Output size for an input of this size."""
        return output_size(
            input_size, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        )


def receptive_field(layers: Iterable[Layer | Mapping | tuple | int]) -> ReceptiveField:
    """Receptive field of one unit after a stack of layers, with its jump and its start.

    Parameters
    ----------
    layers : iterable
        Each a `Layer`, a dict of its arguments, a tuple ``(kernel_size, stride, padding,
        dilation)`` that may stop early, or an int: the kernel size of a layer with stride 1.

    Returns
    -------
    ReceptiveField
        ``size`` and ``jump`` (distance between the fields of two neighbours) in input pixels,
        ``start``: the first pixel that unit 0 sees, negative where it reaches into the padding.
        For a branching network take `cnnlab.summary`, which follows every path.

    Examples
    --------
    >>> receptive_field([(11, 4, 2), (3, 2)])
    ReceptiveField(size=19, jump=8, start=-2)
    """
    size, jump, start = 1, 1, 0
    for place, layer in enumerate(_as_layers(layers)):
        with _naming(layer, place):
            size, jump, start = _each_axis(
                _grow, size, jump, start, layer.kernel_size, layer.stride, layer.padding,
                layer.dilation,
            )  # fmt: skip
    return ReceptiveField(size, jump, start)


def explain(
    input_size: Size,
    kernel_size: Size | list[Layer | Mapping],
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Explanation:
    """The arithmetic of `output_size`, line by line, with the numbers in it.

    A list of layers in the place of ``kernel_size`` gives one line a layer, with the receptive
    field next to the size.

    >>> explain(7, kernel_size=2, stride=2, ceil_mode=True)
    output = ceil((input - kernel_size)/stride) + 1
           = ceil((7 - 2)/2) + 1 = ceil(2.5) + 1 = 4
    >>> explain(227, [Layer(11, 4, name="conv1"), Layer(3, 2, name="pool1")])
    conv1  (227 - 11)/4 + 1 = 55  sees 1 + (11 - 1)*1 = 11  jump 1*4 = 4
    pool1  (55 - 3)/2 + 1 = 27    sees 11 + (3 - 1)*4 = 19  jump 4*2 = 8
    """
    if isinstance(kernel_size, list):
        layers, one_axis = _as_layers(kernel_size), _explain_stack
    else:
        layers, one_axis = [Layer(kernel_size, stride, padding, dilation, ceil_mode)], _explain_one
    axes = _split(input_size, *(getattr(layer, f) for layer in layers for f in _AXIS_FIELDS))
    width = len(_AXIS_FIELDS)
    texts = []
    for size, *values in axes:
        rows = [values[i : i + width] for i in range(0, len(values), width)]
        texts.append(
            one_axis(
                size,
                [
                    replace(layer, **dict(zip(_AXIS_FIELDS, row, strict=True)))
                    for layer, row in zip(layers, rows, strict=True)
                ],
            )
        )
    if len(set(texts)) == 1:
        return Explanation(texts[0])
    named = zip(_axis_names(len(texts)), texts, strict=True)
    return Explanation("\n".join(f"{name}:\n{text}" for name, text in named))


def _explain_one(input_size: int, layers: list[Layer]) -> str:
    (layer,) = layers
    lines = []
    kernel = "kernel_size"
    if layer.dilation > 1:
        kernel = "reach"
        lines.append(
            f"reach  = dilation*(kernel_size - 1) + 1 = {layer.dilation}*({layer.kernel_size} - 1)"
            f" + 1 = {_reach(layer.kernel_size, layer.dilation)}"
        )
    arithmetic = _arithmetic(input_size, layer)
    left, right = _sides(layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    pad = " + 2*padding" if left == right != 0 else " + padding" if left + right else ""
    formula = f"(input - {kernel}{pad})/stride"
    rounding = arithmetic.split("(")[0]
    lines.append(f"output = {rounding}({formula}) + 1" if rounding else f"output = {formula} + 1")
    lines.append(f"       = {arithmetic}")
    return "\n".join(lines)


def _explain_stack(input_size: int, layers: list[Layer]) -> str:
    rows = []
    size, jump, start = 1, 1, 0
    for place, layer in enumerate(layers):
        with _naming(layer, place):
            arithmetic = _arithmetic(input_size, layer)
        input_size = layer.output_size(input_size)
        reach = _reach(layer.kernel_size, layer.dilation)
        before, step = size, jump
        size, jump, start = _grow(
            size, jump, start, layer.kernel_size, layer.stride, layer.padding, layer.dilation
        )
        sees = f"sees {before} + ({reach} - 1)*{step} = {size}"
        rows.append((layer.name, arithmetic, sees, f"jump {step}*{layer.stride} = {jump}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{n}}" for cell, n in zip(row, widths, strict=True) if n).rstrip()
        for row in rows
    )


def _arithmetic(input_size: int, layer: Layer) -> str:
    """``(227 - 11 + 2*2)/4 + 1 = 56`` for one axis."""
    size = layer.output_size(input_size)  # raises what is wrong
    stride = layer.stride
    left, right = _sides(layer.kernel_size, stride, layer.padding, layer.dilation)
    reach = _reach(layer.kernel_size, layer.dilation)
    pad = f" + 2*{left}" if left == right != 0 else f" + {left + right}" if left + right else ""
    spare = input_size + left + right - reach
    text = f"({input_size} - {reach}{pad})/{stride}"
    if spare % stride == 0:
        return f"{text} + 1 = {size}"
    rounding = "ceil" if layer.ceil_mode else "floor"
    text = f"{rounding}({text}) + 1 = {rounding}({round(spare / stride, 2):g}) + 1"
    if layer.ceil_mode and size == spare // stride + 1:
        return f"{text} - 1 (window {size + 1} would start in the padding on the right) = {size}"
    return f"{text} = {size}"


# --- one axis ---------------------------------------------------------------------------------


def _windows(
    input_size: int,
    kernel_size: int,
    stride: int,
    padding: int | str,
    dilation: int,
    *,
    ceil_mode: bool,
) -> int:
    _at_least(1, input_size=input_size, kernel_size=kernel_size, stride=stride, dilation=dilation)
    left, right = _sides(kernel_size, stride, padding, dilation)
    effective, padded = _reach(kernel_size, dilation), input_size + left + right
    spare = padded - effective
    size = (-(-spare // stride) if ceil_mode else spare // stride) + 1
    if ceil_mode and (size - 1) * stride >= input_size + left:
        size -= 1  # torch: no window may start in the padding on the right
    if size < 1:
        kernel = f"kernel_size {kernel_size}"
        if dilation > 1:
            kernel += f" with dilation {dilation} covers {effective} and"
        raise ValueError(
            f"{kernel} exceeds the padded input {padded} (input {input_size}, padding {padding})"
        )
    return size


def _pool_windows(input_size, kernel_size, stride, padding, dilation, *, ceil_mode) -> int:
    if padding == "same" or padding == "valid":
        raise ValueError(f"pooling takes a number as padding, not {padding!r}")
    size = _windows(input_size, kernel_size, stride, padding, dilation, ceil_mode=ceil_mode)
    if padding > kernel_size // 2:
        raise ValueError(
            f"padding {padding} exceeds half the pooling kernel ({kernel_size}//2 = "
            f"{kernel_size // 2}): a window could lie entirely in the padding"
        )
    return size


def _transposed(input_size, kernel_size, stride, padding, dilation, output_padding) -> int:
    _at_least(1, input_size=input_size, kernel_size=kernel_size, stride=stride, dilation=dilation)
    _at_least(0, padding=padding, output_padding=output_padding)
    if output_padding >= max(stride, dilation):
        raise ValueError(
            f"output_padding {output_padding} must be smaller than the stride {stride} "
            f"or the dilation {dilation}"
        )
    reach = dilation * (kernel_size - 1)
    size = (input_size - 1) * stride - 2 * padding + reach + output_padding + 1
    if size < 1:
        raise ValueError(
            f"a transposed convolution would give ({input_size} - 1)*{stride} - 2*{padding} + "
            f"{dilation}*({kernel_size} - 1) + {output_padding} + 1 = {size}: nothing is left"
        )
    return size


def _grow(size, jump, start, kernel_size, stride, padding, dilation) -> tuple[int, int, int]:
    _at_least(1, kernel_size=kernel_size, stride=stride, dilation=dilation)
    left, _ = _sides(kernel_size, stride, padding, dilation)
    return size + dilation * (kernel_size - 1) * jump, jump * stride, start - left * jump


def _sides(kernel_size: int, stride: int, padding: int | str, dilation: int) -> tuple[int, int]:
    """Padding on the left and on the right."""
    if padding == "valid":
        return 0, 0
    if padding == "same":
        if stride != 1:
            raise ValueError(f"padding='same' needs stride 1, got stride {stride}")
        total = dilation * (kernel_size - 1)
        return total // 2, total - total // 2
    _at_least(0, padding=padding)
    return padding, padding


def _reach(kernel_size: int, dilation: int) -> int:
    return dilation * (kernel_size - 1) + 1


# --- checking and axes ------------------------------------------------------------------------


def _at_least(least: int, **values: int) -> None:
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")


def _no_channels(input_size: Size, kernel_size: Size) -> None:
    """Raise for ``(C, H, W)`` where ``(H, W)`` is meant."""
    sizes = isinstance(input_size, (tuple, list)) and len(input_size) == 3
    if sizes and not isinstance(kernel_size, (tuple, list)) and input_size[0] in (1, 3):
        height_width = f"({input_size[1]}, {input_size[2]})"
        raise ValueError(
            f"the size {tuple(input_size)} looks like (channels, height, width): give "
            f"{height_width}; for a volume give kernel_size three entries too"
        )


@contextmanager
def _naming(layer: Layer, place: int) -> Iterator[None]:
    """Name the layer of a stack in what it raises."""
    try:
        yield
    except ValueError as error:
        name = layer.name or f"layer {place + 1}"
        raise ValueError(f"{name}: {error}") from None


def _whole(value) -> int | str:
    if isinstance(value, str) and value in ("same", "valid"):
        return value
    if isinstance(value, bool):
        raise ValueError(f"sizes must be whole numbers, got {value!r}")
    try:
        return operator.index(value)
    except TypeError:
        raise ValueError(f"sizes must be whole numbers, got {value!r}") from None


def _split(*values) -> list[tuple]:
    """The arguments of each axis: ints count for every axis, tuples have one entry an axis."""
    tuples = [tuple(value) for value in values if isinstance(value, (tuple, list))]
    if () in tuples:
        raise ValueError("sizes must have one entry for each axis, got ()")
    lengths = {len(value) for value in tuples} or {1}
    if len(lengths) > 1:
        raise ValueError(
            f"sizes must have one entry for each axis, got {', '.join(map(str, tuples))}"
        )
    (axes,) = lengths
    columns = [v if isinstance(v, (tuple, list)) else (v,) * axes for v in values]
    return [tuple(map(_whole, axis)) for axis in zip(*columns, strict=True)]


def _axis_names(axes: int) -> list[str]:
    return (
        ["depth", "height", "width"][-axes:]
        if 1 < axes <= 3
        else [f"axis {i}" for i in range(axes)]
    )


def _each_axis(one_axis: Callable, *values, **options):
    """``one_axis`` for the values of each axis; a tuple comes back when a tuple came in."""
    values = [v.tolist() if hasattr(v, "tolist") else v for v in values]  # numpy's
    axes = _split(*values)
    if not any(isinstance(value, (tuple, list)) for value in values):
        return one_axis(*axes[0], **options)
    results = []
    for name, axis in zip(_axis_names(len(axes)), axes, strict=True):
        try:
            results.append(one_axis(*axis, **options))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if isinstance(results[0], tuple):
        return tuple(zip(*results, strict=True))
    return tuple(results)


def _as_layers(layers: Iterable[Layer | Mapping | tuple | int]) -> list[Layer]:
    if isinstance(layers, (str, Mapping)) or not isinstance(layers, Iterable) or hasattr(
        layers, "forward"
    ):  # fmt: skip
        raise ValueError(
            f"layers must be a list such as [(11, 4), (3, 2)], got {type(layers).__name__}: for a "
            "network, cnnlab.summary(network, input_size).receptive_field"
        )
    result = []
    for layer in layers:
        if isinstance(layer, Mapping):
            wrong = [key for key in layer if key not in Layer.__dataclass_fields__]
            if wrong or "kernel_size" not in layer:
                known = ", ".join(Layer.__dataclass_fields__)
                raise ValueError(f"a layer has {known}, with kernel_size given; got {layer!r}")
            layer = Layer(**layer)
        elif isinstance(layer, tuple):
            if not 1 <= len(layer) <= 4:
                words = "(kernel_size, stride, padding, dilation)"
                raise ValueError(f"a layer is {words} or the beginning of it, got {layer!r}")
            layer = Layer(*layer)
        elif isinstance(layer, str) or hasattr(layer, "forward"):
            name = type(layer).__name__ if hasattr(layer, "forward") else repr(layer)
            raise ValueError(f"a layer is its kernel_size, a tuple or a dict, got {name}")
        elif not isinstance(layer, Layer):
            layer = Layer(layer)
        result.append(layer)
    return result
