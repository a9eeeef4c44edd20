"""The arithmetic behind one row of a summary."""

from __future__ import annotations

import math
from math import prod

from cnnlab import shapes
from cnnlab.cost.ops import COUNTED
from cnnlab.cost.receptive import Field, Window
from cnnlab.cost.render import _pixels as pixels
from cnnlab.cost.render import by
from cnnlab.shapes import Explanation


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
    row = summary[name]
    lines = [("", f"{row.name} ({row.type}): {by(row.input_shape)} -> {by(row.output_shape)}")]
    if row.kind == "group":
        for what, label in (("params", "params"), ("macs", "MACs"), ("memory", "memory")):
            parts = [f"{getattr(r, what):,}" for r in row.rows if getattr(r, what)]
            text = " + ".join(parts[:6]) + (f" + … ({len(parts)} in all)" if len(parts) > 6 else "")
            lines.append((label, f"{text or 0} = {getattr(row, what):,}"))
        return _lines(lines)
    op = row._op
    window = op.geometry if type(op.geometry) is Window else None
    if window and row.kind in ("conv", "pool"):
        lines += _sizes(row, window)
    if row.params:
        lines.append(("params", _params(op, row)))
    if row.kind in (*COUNTED, "pool") and row.macs:
        lines.append(("MACs", _macs(op, row, window)))
    elif not row.counted:
        lines.append(("MACs", "not counted: no rule knows this operation"))
    if row.memory:
        texts = [f"{_times(n.shape)} * {n.dtype.itemsize} bytes" for n in op.outputs]
        lines.append(("memory", f"{' + '.join(texts)} = {row.memory:,}"))
    else:
        lines.append(("memory", "0: a view, or written in place"))
    lines += _field(summary, op, row, window)
    return _lines(lines)


def _lines(lines) -> Explanation:
    return Explanation("\n".join(f"{label:<10}{text}" if label else text for label, text in lines))


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


def _macs(op, row, window) -> str:
    out = f"{_times(row.output_shape)} outputs"
    if row.kind == "pool" and window:
        return f"{out} * {_times(window.kernel_size)} of a window = {row.macs:,}"
    if row.kind == "conv" and window.transposed:
        each = row.macs // prod(row.input_shape)
        return f"{_times(row.input_shape)} inputs * {each} = {row.macs:,}"
    if row.kind == "conv":
        inputs = row.input_shape[-len(window.kernel_size) - 1]
        groups = f"/{window.groups}" if window.groups > 1 else ""
        return f"{out} * {inputs}{groups}*{_times(window.kernel_size)} = {row.macs:,}"
    if row.macs % max(prod(row.output_shape), 1) == 0 and prod(row.output_shape):
        return f"{out} * {row.macs // prod(row.output_shape)} = {row.macs:,}"
    return f"{row.macs:,}"


def _field(summary, op, row, window):
    field = row.receptive_field
    if field is None:
        return
    before = [summary._all_states[1].get(id(node)) for node in op.inputs]
    known = [state for state in before if isinstance(state, Field)]
    after = summary._states()[row.index]
    if window and known and isinstance(after, Field) and not window.transposed:
        texts = []
        for old, new, k, s, d in zip(
            known[0].spans, after.spans, window.kernel_size, window.stride, window.dilation,
            strict=True,
        ):  # fmt: skip
            reach = shapes._reach(k, d)
            if len(old.first) == 1:
                texts.append(
                    f"{old.size} + ({reach} - 1)*{old.jump} = {new.size}, "
                    f"jump {old.jump}*{s} = {new.jump}"
                )
        yield "sees", texts[0] if len(set(texts)) == 1 else "; ".join(texts) or pixels(field)
    elif field == math.inf:
        yield "sees", "the whole image"
    else:
        yield "sees", pixels(field)
