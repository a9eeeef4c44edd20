"""Two models side by side, and what fits into a memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial

import torch

from cnnlab.cost import render
from cnnlab.cost.table import Summary

_TOTALS = {
    "parameters": "total_params", "trainable": "trainable_params", "MACs": "total_macs",
    "MACs with pools": "total_macs_with_pools", "memory of outputs": "total_memory",
    "operations": "__len__",
}  # fmt: skip
_WHAT = ("kind", "input_shape", "output_shape", "kernel_size", "stride", "padding", "dilation",
         "groups", "params", "macs")  # fmt: skip


class Comparison:
    """What differs between two summaries; shows itself as text.

    Attributes
    ----------
    totals : dict
        Name: value in the first, in the second.
    rows : list of (str, Row or None, Row or None)
        Name and the two rows, where they differ or only one has it.
    """

    def __init__(self, a: Summary, b: Summary):
        self.a, self.b = a, b
        self.totals = {}
        for name, attribute in _TOTALS.items():
            values = [getattr(s, attribute) for s in (a, b)]
            self.totals[name] = tuple(v() if callable(v) else v for v in values)
        first, second = a._by_name, b._by_name
        self.rows = [
            (name, first.get(name), second.get(name))
            for name in dict.fromkeys([*first, *second])
            if _facts(first.get(name)) != _facts(second.get(name))
        ]

    def __str__(self) -> str:
        names = [self.a.model_name, self.b.model_name]
        lines = [["", *names, "difference"]]
        for name, both in self.totals.items():
            x, y = both
            change = f" ({y / x - 1:+.1%})" if x else ""
            shown = [render.human(v, "B") if "memory" in name else f"{v:,}" for v in both]
            lines.append([name, *shown, f"{y - x:+,}{change}"])
        fields = [s.receptive_field for s in (self.a, self.b)]
        lines.append(["receptive field", *map(str, fields), "" if fields[0] == fields[1] else "≠"])
        text = _aligned(lines)
        if not self.rows:
            return f"{text}\n\nEvery operation is the same."
        shown = [["differs", *names, "MACs"]]
        for name, x, y in self.rows[:40]:
            change = (y.macs if y else 0) - (x.macs if x else 0)
            shown.append([name, _words(x, y), _words(y, x), f"{change:+,}" if change else ""])
        text = f"{text}\n\n{_aligned(shown)}"
        more = len(self.rows) - 40
        return f"{text}\n… and {more} more of .rows" if more > 0 else text

    __repr__ = __str__


def _facts(row):
    return row and tuple(getattr(row, name) for name in _WHAT)


def _words(row, other) -> str:
    if row is None:
        return "-"
    parts = [row.type]
    for key, word in (("kernel_size", ""), ("stride", "/"), ("groups", "groups ")):
        value = getattr(row, key)
        if value in (None, 1, (1, 1)) or (other is not None and getattr(other, key) == value):
            continue
        if key == "stride":
            value = render.short(value)
        parts.append(f"{word}{render.by(value) if isinstance(value, tuple) else value}")
    return f"{' '.join(parts)} -> {render.by(row.output_shape)}"


def _aligned(lines) -> str:
    first, *others = (max(map(len, cells)) for cells in zip(*lines, strict=True))
    return "\n".join(
        "  ".join([name.ljust(first), *map(str.rjust, cells, others)]).rstrip()
        for name, *cells in lines
    )


def compare(a, b, input_size=None, **options) -> Comparison:
    """Two models, or two summaries: totals, and the operations that differ.

    Parameters
    ----------
    a, b : nn.Module or Summary
    input_size
        Of both, as `cnnlab.summary` takes it; not needed for summaries.
    **options
        For `cnnlab.summary`.
    """
    from cnnlab.cost import summary

    if input_size is None and not all(isinstance(one, Summary) for one in (a, b)):
        raise TypeError("compare takes two summaries, or two models and an input_size")
    both = [one if isinstance(one, Summary) else summary(one, input_size, **options)
            for one in (a, b)]  # fmt: skip
    return Comparison(*both)


@dataclass(frozen=True)
class Fit:
    """The largest batches that fit; 0 where not even one image does.

    ``training_bytes`` and ``inference_bytes`` are what these batches need (of one image where
    none fits).
    """

    memory: int
    training: int
    inference: int
    training_bytes: int
    inference_bytes: int

    def __str__(self) -> str:
        lines = [f"in {render.human(self.memory, 'B')}:"]
        for name in ("training", "inference"):
            batch, need = getattr(self, name), render.human(getattr(self, f"{name}_bytes"), "B")
            fits = f"a batch of {batch:,}" if batch else "not even one image"
            lines.append(f"{name}: {fits} ({need})")
        return "\n".join(lines)


def fits(
    model,
    input_size,
    memory: str | int,
    *,
    optimizer: str = "momentum",
    most: int = 2**20,
    **options,
) -> Fit:
    """The largest batch with which a model can be trained, and with which it can be used.

    By the arithmetic of `Summary.training_memory` and `Summary.forward_memory`; what the libraries
    need beside (a CUDA context, workspaces, fragments) is not in it: leave a tenth free.

    Parameters
    ----------
    model, input_size
        As for `cnnlab.summary`; sizes, not tensors, since the batch is what is looked for.
    memory : str or int
        ``"8 GB"`` (1 GB = 1024³ bytes), or bytes.
    optimizer : {"sgd", "momentum", "adam"}
    most : int
        Batches above are not tried.
    **options
        For `cnnlab.summary`.
    """
    from cnnlab.cost import _followed, check_model

    check_model(model, "fits")
    if isinstance(input_size, torch.Tensor) or "batch_size" in options:
        raise TypeError("fits looks for the batch itself: give input_size without it, as a size")
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise ValueError(f"most must be a positive whole number, got {most!r}")
    room, dtype = _bytes(memory), options.pop("dtype", None)

    def need(training: bool, batch: int) -> int:
        table = _followed(model, input_size, batch, dtype, options, training=training)
        parts = table.training_memory(optimizer) if training else table.forward_memory()
        return parts["total"]

    (training, its_bytes), (inference, bytes_of_it) = (
        _largest(partial(need, training), room, most) for training in (True, False)
    )
    return Fit(room, training, inference, its_bytes, bytes_of_it)


def _largest(need, room: int, most: int) -> tuple[int, int]:
    """The largest batch for whose need there is room, and that need."""
    two = need(2)  # in training a norm over one value a channel takes no batch of one
    slope = max(need(4) - two, 2) // 2
    batch = max(2, min(most, 2 + (room - two) // slope))
    while batch > 2 and need(batch) > room:
        batch = max(2, batch - 1 - (need(batch) - room) // slope)
    while batch < most and need(batch + 1) <= room:
        batch += 1
    if batch > 2 or two <= room:
        return batch, need(batch)
    one = two - slope
    return int(one <= room), one


def _bytes(memory: str | int) -> int:
    """Bytes of ``"8 GB"``."""
    text = f"memory must be like '8 GB', or a number of bytes, got {memory!r}"
    if isinstance(memory, bool) or not isinstance(memory, (str, int)):
        raise TypeError(text)
    match = re.fullmatch(r"\s*(\d*\.?\d+)\s*([KMGT]?)(I?B)?\s*", str(memory), re.IGNORECASE)
    if match is None or float(match[1]) <= 0:
        raise ValueError(text)
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))
