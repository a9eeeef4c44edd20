"""The arithmetic behind one row of a summary."""

from __future__ import annotations

import math
from math import prod

from cnnlab import shapes
from cnnlab.cost.render import by, pixels
from cnnlab.shapes import Explanation
from cnnlab.tracing.ops import COUNTED
from cnnlab.tracing.receptive import Field, Window


def explain(summary, name: str | int) -> Explanation:
    """How a row of a summary comes to its size, parameters, MACs, memory and receptive field.

    Parameters
    ----------
    summary : Summary
    name : str or int
        Of the row, or its place.

    Examples
    --------
    >>> import torch
    >>> from cnnlab import summary
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5, stride=2, padding=1))
    >>> explain(summary(net, (3, 32, 32)), "0")
    0 (Conv2d): 1×3×32×32 -> 1×8×15×15
    height    floor((32 - 5 + 2*1)/2) + 1 = floor(14.5) + 1 = 15
    width     floor((32 - 5 + 2*1)/2) + 1 = floor(14.5) + 1 = 15
    params    8*3*5*5 + 8 = 608
    MACs      1*8*15*15 outputs * 3*5*5 = 135,000
    memory    1*8*15*15 * 4 bytes = 7,200
    sees      1 + (5 - 1)*1 = 5, jump 1*2 = 2
    """
    if not hasattr(summary, "_fields"):
        got = type(summary).__name__
        raise TypeError(f"explain takes what summary(model, input_size) returns, got a {got}")
    row = summary[name]
    lines = [("", f"{row.name} ({row.type}): {by(row.input_shape)} -> {by(row.output_shape)}")]
    lines += _sums(row) if row.kind == "group" else _parts(summary, row)
    return Explanation("\n".join(f"{label:<10}{text}" if label else text for label, text in lines))


def _sums(group):
    for label in ("params", "MACs", "memory"):
        values = [getattr(row, label.lower()) for row in group.rows]
        parts = [f"{value:,}" for value in values if value]
        text = " + ".join(parts[:6]) + (f" + … ({len(parts)} in all)" if len(parts) > 6 else "")
        yield label, f"{text or 0} = {sum(values):,}"


def _parts(summary, row):
    op = row._op
    window = op.geometry if type(op.geometry) is Window else None
    if window and row.kind in ("conv", "pool"):
        yield from _sizes(row, window)
    if row.params:
        yield "params", _params(op, row)
    if row.kind in (*COUNTED, "pool") and row.macs:
        yield "MACs", f"{_macs(row, window)}{row.macs:,}"
    elif not row.counted:
        yield "MACs", "not counted: no rule knows this operation"
    texts = [f"{_times(n.shape)} * {n.dtype.itemsize} bytes" for n in op.outputs]
    made = f"{' + '.join(texts)} = {row.memory:,}"
    yield "memory", made if row.memory else "0: a view, or written in place"
    if row.receptive_field is not None:
        yield "sees", _field(summary, op, row, window)


def _times(sizes) -> str:
    return "*".join(map(str, sizes)) or "1"


def _sizes(row, window: Window):
    names = shapes._axis_names(len(window.kernel_size))
    for i, name in enumerate(names if len(names) > 1 else ["length"]):
        n, out = row.input_shape[i - len(names)], row.output_shape[i - len(names)]
        k, s, p, d = (window[j][i] for j in range(4))
        if window.transposed:
            rest = out - (n - 1) * s + 2 * p - d * (k - 1) - 1
            extra = f" + {rest}" if rest else ""
            yield name, f"({n} - 1)*{s} - 2*{p} + {d}*({k} - 1){extra} + 1 = {out}"
            continue
        texts = []
        for ceil_mode in (False, True):
            try:
                layer = shapes.Layer(k, s, p, d, ceil_mode)
                if layer.output_size(n) == out:
                    texts.append(shapes._arithmetic(n, layer))
            except ValueError:
                continue
        same = f"padding='same' keeps {n}" if n == out else f"{out} windows over {n}"
        yield name, texts[0] if texts else same


def _params(op, row) -> str:
    new = sum(held.numel for held in op.held)
    text = " + ".join(_times(held.shape) for held in op.held)
    if new == row.params:
        return f"{text} = {row.params:,}"
    return f"{row.params:,} of {text} = {new:,}, the others an earlier row has used"


def _macs(row, window) -> str:
    """The factors, if the MACs are a product."""
    outputs = prod(row.output_shape)
    out = f"{_times(row.output_shape)} outputs"
    if row.kind == "pool" and window:
        return f"{out} * {_times(window.kernel_size)} of a window = "
    if row.kind == "conv" and window and window.transposed:
        return f"{_times(row.input_shape)} inputs * {row.macs // prod(row.input_shape)} = "
    if row.kind == "conv" and window:
        inputs = row.input_shape[-len(window.kernel_size) - 1]
        groups = f"/{window.groups}" if window.groups > 1 else ""
        return f"{out} * {inputs}{groups}*{_times(window.kernel_size)} = "
    return f"{out} * {row.macs // outputs} = " if row.macs % outputs == 0 else ""


def _field(summary, op, row, window) -> str:
    before = [summary._fields.of.get(id(node)) for node in op.inputs]
    known = [state for state in before if isinstance(state, Field)]
    after = summary._fields.after[row.index]
    if window and known and isinstance(after, Field) and not window.transposed:
        sizes = zip(window.kernel_size, window.stride, window.dilation, strict=True)
        texts = dict.fromkeys(
            f"{old.size} + ({shapes._reach(k, d)} - 1)*{old.jump} = {new.size}, "
            f"jump {old.jump}*{s} = {new.jump}"
            for old, new, (k, s, d) in zip(known[0].spans, after.spans, sizes, strict=True)
            if len(old.first) == 1
        )
        if texts:
            return "; ".join(texts)
    field = row.receptive_field
    return "the whole image" if field == math.inf else pixels(field)
