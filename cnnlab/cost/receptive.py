"""Receptive fields of every operation of a trace, along every path from the input.

For each axis of the image a `Span` says which input pixels output unit ``i`` sees. Stretches that
repeat (behind a transposed convolution, an upsampling) are kept phase by phase, so that the
result is exact there too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import gcd, inf, lcm
from typing import NamedTuple

from cnnlab.cost.trace import traced

GLOBAL = "all"  # every unit sees the whole image
POOLED = "pooled"  # the image has been gathered into one vector
UNKNOWN = "unknown"  # behind an operation whose reach is not known
LOCAL = {"norm", "activation", "add", "elementwise", "concat"}  # every unit stays where it is
LOCAL_LABELS = {
    "where", "masked_fill", "clone", "contiguous", "to", "float", "half", "double", "bfloat16",
    "type_as", "pow", "lerp", "addcmul", "addcdiv", "sign", "floor", "ceil", "round", "copy",
}  # fmt: skip
RESIZING = {"interpolate", "pixel_shuffle", "pad"}
REDUCING = {"mean", "sum", "amax", "max"}
GLOBAL_NORMS = ("group_norm", "GroupNorm", "instance_norm", "InstanceNorm")


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
            start = -padding * self.jump
            reach = dilation * (kernel_size - 1) * self.jump
            return Span(
                (self.first[0] + start,), (self.last[0] + start + reach,), self.jump * stride
            )
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

    def enlarged(self, factor: int, linear: bool) -> Span:
        """After an upsampling, nearest or linear."""
        taps = []
        for o in range(factor * len(self.first)):
            if linear:  # the centre of o lies at (o + 1/2)/factor - 1/2
                place, rest = divmod(2 * o + 1 - factor, 2 * factor)
                taps.append([place, place + (rest > 0)])
            else:
                taps.append([o // factor])
        return self.gather(taps, self.jump)

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


State = Field | str | None  # None: nothing of the image is in it


def receptive_fields(inputs: Iterable, ops: Sequence) -> list[State]:
    """The state after each operation; ``inputs`` are the tensors that the model was given."""
    states: dict[int, State] = {}
    for tensor in inputs:
        axes = len(tensor.shape) - 2
        if axes > 0:
            states[id(tensor)] = Field((Span((0,), (0,), 1),) * axes, tuple(range(-axes, 0)))
    result = []
    for op in ops:
        before = []
        for tensor in traced(op):
            key = id(tensor if tensor.now is None else tensor.now)
            if key in states:
                before.append((tensor, states[key]))
        state = None
        for index, output in enumerate(op.outputs):
            state = _after(op, before, output, index) if before else None
            if state is not None:
                states[id(output)] = state
        result.append(state)
    return result


def _after(op, before: list, output, index: int) -> State:
    """The state of one output, from the inputs that have one."""
    tensor, state = before[0]
    if op.kind == "matmul":
        return GLOBAL
    if op.kind in LOCAL or op.label in LOCAL_LABELS or not isinstance(state, Field):
        joined = _joined([state for _, state in before])
        is_global_norm = op.label.startswith(GLOBAL_NORMS) and isinstance(joined, Field)
        return GLOBAL if is_global_norm else joined
    if op.kind == "view":
        return _viewed(op.geometry, index, state, tensor, output)
    if op.kind in ("conv", "pool"):
        return _windowed(op, state, tensor, output)
    if op.kind == "linear":
        return GLOBAL if -1 in state.dims else state
    if op.label in RESIZING:
        return _resized(op.geometry, state)
    if op.label in REDUCING:
        return _reduced(state, tensor, output)
    return state if op.label == "AdaptiveAvgPool2d" else UNKNOWN


def _viewed(geometry, index: int, state: Field, tensor, output) -> State:
    if geometry is None:  # dropout that is off
        return state
    if isinstance(geometry, tuple):
        spans = [
            span.window(1, step, -start, 1)
            for span, (start, step) in zip(
                state.spans, [geometry[dim] for dim in state.dims], strict=True
            )
        ]
        return Field(tuple(spans), state.dims)
    sources, dims = geometry[index], []
    for dim in state.dims:
        source = len(tensor.shape) + dim
        if source in sources:
            dims.append(sources.index(source) - len(sources))
        elif tensor.shape[dim] == 1 and len(sources) == len(tensor.shape):
            dims.append(dim)  # torch may put a dimension of size 1 anywhere
        else:
            return POOLED if len(sources) <= 2 else UNKNOWN
    return Field(state.spans, tuple(dims))


def _windowed(op, state: Field, tensor, output) -> State:
    geometry, axes = op.geometry, len(state.dims)
    if state.dims != tuple(range(-axes, 0)):
        return UNKNOWN
    if op.kind == "pool" and (
        len(output.shape) < len(tensor.shape)
        or set(output.shape[-axes:]) == {1} != set(tensor.shape[-axes:])
    ):
        return POOLED
    if geometry is None or len(geometry.kernel_size) != axes:
        return UNKNOWN
    step = Span.transposed if geometry.transposed else Span.window
    numbers = (geometry.kernel_size, geometry.stride, geometry.padding, geometry.dilation)
    spans = (step(span, *axis) for span, *axis in zip(state.spans, *numbers, strict=True))
    return Field(tuple(spans), state.dims)


def _resized(geometry, state: Field) -> State:
    if geometry is None or state.dims != tuple(range(-len(geometry[1]), 0)):
        return UNKNOWN
    how, numbers = geometry
    pairs = zip(state.spans, numbers, strict=True)
    if how == "pad":
        return Field(tuple(span.window(1, 1, left, 1) for span, left in pairs), state.dims)
    return Field(tuple(span.enlarged(n, how == "linear") for span, n in pairs), state.dims)


def _reduced(state: Field, tensor, output) -> State:
    sizes = [output.shape[dim] if len(output.shape) >= -dim else 1 for dim in state.dims]
    if sizes == [tensor.shape[dim] for dim in state.dims]:
        return state
    return POOLED if len(output.shape) <= 2 or set(sizes) == {1} else UNKNOWN


def _joined(states: list) -> State:
    if GLOBAL in states:
        return GLOBAL
    if UNKNOWN in states:
        return UNKNOWN
    fields = [state for state in states if isinstance(state, Field)]
    if not fields:
        return POOLED
    if POOLED in states:  # a gate: what was gathered acts on every place again
        return GLOBAL
    if len(fields) == 1 or all(field is fields[0] for field in fields):
        return fields[0]
    if len({field.dims for field in fields}) > 1:
        return UNKNOWN
    spans = tuple(map(Span.joined, zip(*(field.spans for field in fields), strict=True)))
    return UNKNOWN if None in spans else Field(spans, fields[0].dims)
