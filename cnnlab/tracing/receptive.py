"""Receptive fields of every operation of a trace, along every path from the input.

For each axis of the image a `Span` says which input pixels output unit ``i`` sees. Stretches that
repeat (behind a transposed convolution, an upsampling) are kept phase by phase, so that the
result is exact there too. How an operation moves positions is its geometry: one of the small
classes below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from math import gcd, inf, lcm
from typing import NamedTuple

GLOBAL = "all"  # every unit sees the whole image
UNKNOWN = "unknown"  # behind an operation whose reach is not known
_MOST_PHASES = 4096


class Window(NamedTuple):
    """A window that moves, with one entry an axis; ``padding`` on the left."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    transposed: bool = False


class Dims:
    """For each output the dimension of the input that each of its dimensions is, if any."""

    def __init__(self, sources: Sequence[tuple], lost=()):
        self.sources, self.lost = list(sources), lost


class Slice(NamedTuple):
    """First element and step of each dimension; padding begins before the first, at -1 or less."""

    parts: tuple[tuple[int, int], ...]


class Placed(NamedTuple):
    """Where in the first input the second is written; None: where nobody knows."""

    parts: tuple[tuple[int, int], ...] | None


class Over(NamedTuple):
    """An operation over the last ``dims`` dimensions, as layer normalization."""

    dims: int


class Resize(NamedTuple):
    """Interpolation from one size to another."""

    mode: str
    old: tuple[int, ...]
    new: tuple[int, ...]
    align_corners: bool
    antialias: bool


class Span(NamedTuple):
    """Unit ``q*len(first) + r`` sees pixels ``first[r] + q*jump`` to ``last[r] + q*jump``."""

    first: tuple[float, ...]
    last: tuple[float, ...]
    jump: int

    @property
    def size(self) -> float:
        """Pixels that a unit sees, at most."""
        return max(1 + last - first for first, last in zip(self.first, self.last, strict=True))

    def gather(self, taps: Sequence[Sequence[int]], jump: int) -> Span:
        """Units that see the units ``taps``, one list a phase."""
        seen = [[divmod(position, len(self.first)) for position in positions] for positions in taps]
        return Span(
            tuple(min((self.first[r] + q * self.jump for q, r in s), default=inf) for s in seen),
            tuple(max((self.last[r] + q * self.jump for q, r in s), default=-inf) for s in seen),
            jump,
        )

    def window(self, kernel_size: int, stride: int, padding: int, dilation: int) -> Span:
        """After a convolution or a pooling layer."""
        period = len(self.first)
        if period == 1:
            (first,), (last,), jump = self
            last += (dilation * (kernel_size - 1) - padding) * jump
            return Span((first - padding * jump,), (last,), jump * stride)
        steps = period // gcd(period, stride)
        taps = [
            [o * stride - padding + dilation * k for k in range(kernel_size)] for o in range(steps)
        ]
        return self.gather(taps, self.jump * stride * steps // period)

    def transposed(self, kernel_size: int, stride: int, padding: int, dilation: int) -> Span:
        """After a transposed convolution."""
        taps = []
        for o in range(stride * len(self.first)):
            places = (o + padding - dilation * k for k in range(kernel_size))
            taps.append([place // stride for place in places if place % stride == 0])
        return self.gather(taps, self.jump)

    def resized(self, mode: str, old: int, new: int, align_corners: bool) -> Span | None:
        """After an interpolation from ``old`` to ``new`` elements."""
        ends = align_corners and mode != "nearest"
        p, q = (new - 1, old - 1) if ends else (new, old)
        if p < 1 or q < 1:
            return None
        p, q = p // gcd(p, q), q // gcd(p, q)  # o*q/p is where output o lies
        period = len(self.first)
        count = p * period // gcd(period, q)
        if count > _MOST_PHASES:
            return None
        taps = []
        for o in range(count):
            if mode == "nearest":
                taps.append([o * q // p])
            elif mode == "nearest-exact":
                taps.append([(2 * o + 1) * q // (2 * p)])
            else:
                place, rest = divmod(o * q, p) if ends else divmod((2 * o + 1) * q - p, 2 * p)
                wide = 1 if "cubic" in mode else 0
                taps.append([place - wide * (rest > 0), place + (rest > 0) * (1 + wide)])
        return self.gather(taps, self.jump * q // gcd(period, q))

    @staticmethod
    def joined(spans: Sequence[Span]) -> Span | None:
        """What a unit sees that combines one of each; None when they step differently."""
        period = lcm(*{len(span.first) for span in spans})
        spans = [span._repeated(period) for span in spans]
        if len({span.jump for span in spans}) > 1:
            return None
        return Span(
            tuple(map(min, zip(*(span.first for span in spans), strict=True))),
            tuple(map(max, zip(*(span.last for span in spans), strict=True))),
            spans[0].jump,
        )

    def _repeated(self, period: int) -> Span:
        times = period // len(self.first)
        if times == 1:
            return self
        return Span(
            tuple(x + q * self.jump for q in range(times) for x in self.first),
            tuple(x + q * self.jump for q in range(times) for x in self.last),
            self.jump * times,
        )


class Field(NamedTuple):
    """The spans of a tensor, and which of its dimensions they belong to, counted from the end."""

    spans: tuple[Span, ...]
    dims: tuple[int, ...]

    @property
    def size(self):
        sizes = {span.size for span in self.spans}
        return sizes.pop() if len(sizes) == 1 else tuple(span.size for span in self.spans)


class Pooled(NamedTuple):
    """The image has been gathered into a vector; a unit before that saw ``field``."""

    field: Field | None


State = Field | Pooled | str | None  # None: nothing of the image is in it


def seen(state: State, last_map: bool = False):
    """Input pixels on a side: inf for all of them, None when there is no image.

    ``last_map``: behind a gathered image what a unit of the last map saw.
    """
    if last_map and isinstance(state, Pooled) and state.field is not None:
        return state.field.size
    if isinstance(state, Field):
        return state.size
    return math.inf if state == GLOBAL or isinstance(state, Pooled) else None


class Fields:
    """The states of a trace, worked out when one is asked for; ``inputs`` are nodes."""

    def __init__(self, inputs: Sequence, ops: Sequence):
        self.inputs, self.ops = inputs, ops

    def __reduce__(self):
        return Fields, (self.inputs, self.ops)

    @cached_property
    def after(self) -> list[State]:
        """After each operation."""
        return [self.of.get(id(op.outputs[-1])) for op in self.ops]

    @cached_property
    def of(self) -> dict[int, State]:
        """Of each node that has one, by its id."""
        states: dict[int, State] = {}
        for node in self.inputs:
            axes = len(node.shape) - 2
            if axes > 0 and node.dtype.is_floating_point:
                states[id(node)] = Field((Span((0,), (0,), 1),) * axes, tuple(range(-axes, 0)))
        for op in self.ops:
            before = [(node, states[id(node)]) for node in op.inputs if id(node) in states]
            for index, output in enumerate(op.outputs if before else ()):
                state = _after(op, before, output, index)
                if state is not None:
                    states[id(output)] = state
        return states


def _after(op, before: list, output, index: int) -> State:
    """The state of one output, from the inputs that have one."""
    node, state = before[0]
    record, geometry = op.record, op.geometry
    kind = type(geometry)
    if kind is Placed:
        return _placed(op, geometry, before)
    if len(before) > 1 and (kind is not Dims or op.label == "stack"):
        state = joined([state for _, state in before])
    if record.reach == "all":
        return GLOBAL if record.kind == "matmul" or isinstance(state, Field) else state
    if not isinstance(state, Field):
        return state
    if kind is Window:
        return _windowed(op, state, node, output)
    if kind is Dims:
        return _viewed(geometry, index, state, node, output)
    if kind is Slice:
        moves = zip(state.spans, [geometry.parts[dim] for dim in state.dims], strict=True)
        return Field(tuple(s.window(1, step, -start, 1) for s, (start, step) in moves), state.dims)
    if kind is Resize:
        return _resized(geometry, state)
    if kind is Over:
        return GLOBAL if any(dim >= -geometry.dims for dim in state.dims) else state
    if record.kind == "linear":
        return GLOBAL if -1 in state.dims else state
    if record.kind == "view":
        return state  # dropout that is off
    same = all(
        len(output.shape) >= -dim and output.shape[dim] == node.shape[dim] for dim in state.dims
    )
    return state if record.reach == "same" and same else UNKNOWN


def _placed(op, geometry: Placed, before: list) -> State:
    """A part of a tensor that was overwritten: what was there, and what was put there."""
    states = []
    for node, state in before:
        if isinstance(state, Field) and op.inputs and node is not op.inputs[0]:
            if geometry.parts is None:
                return UNKNOWN
            parts = [geometry.parts[dim] for dim in state.dims]
            if any(step != 1 for _, step in parts):
                return UNKNOWN
            pairs = zip(state.spans, parts, strict=True)
            state = Field(tuple(s.window(1, 1, start, 1) for s, (start, _) in pairs), state.dims)
        states.append(state)
    return joined(states)


def _viewed(geometry: Dims, index: int, state: Field, node, output) -> State:
    sources, dims = geometry.sources[min(index, len(geometry.sources) - 1)], []
    for dim in state.dims:
        source = len(node.shape) + dim
        if source in geometry.lost:
            return UNKNOWN
        if source in sources:
            dims.append(sources.index(source) - len(sources))
        elif node.shape[dim] == 1 and len(sources) == len(node.shape):
            dims.append(dim)  # torch may put a dimension of size 1 anywhere
    if len(dims) == len(state.dims):
        return Field(state.spans, tuple(dims))
    new = [size for size, source in zip(output.shape, sources, strict=True) if source is None]
    gathered = not dims and (len(sources) <= 2 or set(new) <= {1})
    return Pooled(state) if gathered else UNKNOWN


def _windowed(op, state: Field, node, output) -> State:
    geometry, axes = op.geometry, len(state.dims)
    if state.dims != tuple(range(-axes, 0)):
        return UNKNOWN
    if op.record.kind == "pool" and (
        len(output.shape) < len(node.shape)
        or set(output.shape[-axes:]) == {1} != set(node.shape[-axes:])
    ):
        return Pooled(state)
    if len(geometry.kernel_size) != axes:
        return UNKNOWN
    step = Span.transposed if geometry.transposed else Span.window
    numbers = (geometry.kernel_size, geometry.stride, geometry.padding, geometry.dilation)
    spans = (step(span, *axis) for span, *axis in zip(state.spans, *numbers, strict=True))
    return Field(tuple(spans), state.dims)


def _resized(geometry: Resize, state: Field) -> State:
    axes = len(state.dims)
    mode = geometry.mode
    if state.dims != tuple(range(-len(geometry.old), 0)) or geometry.antialias:
        return UNKNOWN
    if mode not in ("nearest", "nearest-exact", "bicubic") and "linear" not in mode:
        return UNKNOWN
    pairs = zip(state.spans, geometry.old[-axes:], geometry.new[-axes:], strict=True)
    spans = tuple(s.resized(mode, old, new, geometry.align_corners) for s, old, new in pairs)
    return UNKNOWN if None in spans else Field(spans, state.dims)


def joined(states: list) -> State:
    """What a unit sees that is made of several."""
    if GLOBAL in states:
        return GLOBAL
    if UNKNOWN in states:
        return UNKNOWN
    fields = [state for state in states if isinstance(state, Field)]
    pooled = [state for state in states if isinstance(state, Pooled)]
    if pooled and fields:  # a gate: what was gathered acts on every place again
        return GLOBAL
    if pooled:
        return max(pooled, key=lambda state: _extent(state.field))
    if len(fields) == 1 or all(field is fields[0] for field in fields):
        return fields[0] if fields else None
    if len({field.dims for field in fields}) > 1:
        return UNKNOWN
    spans = tuple(map(Span.joined, zip(*(field.spans for field in fields), strict=True)))
    return UNKNOWN if None in spans else Field(spans, fields[0].dims)


def _extent(field: Field | None) -> float:
    return 0 if field is None else max(span.size for span in field.spans)
