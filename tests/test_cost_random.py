"""Random layers and random networks: the same shapes, the same refusals, the same gradients."""

import math

import torch
import torch.nn.functional as F
from hypothesis import assume, event, example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cnnlab.cost import CostError, ops, summary
from cnnlab.tracing.receptive import Pooled
from cnnlab.tracing.trace import Trace

small = st.integers(1, 4)


# --- single layers: any arguments, right or wrong ---------------------------------------------


@st.composite
def layers(draw):
    """A layer that torch can build, which need not fit its input."""
    c_in, c_out, k = draw(small), draw(small), draw(small)
    stride, padding, dilation = draw(st.integers(0, 3)), draw(st.integers(0, 3)), draw(small)
    groups, axes = draw(st.sampled_from([1, 1, 1, 2])), draw(st.sampled_from([1, 2, 2, 3]))
    ceil_mode = draw(st.booleans())
    kind = draw(
        st.sampled_from(
            ["Conv", "ConvTranspose", "MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool",
             "BatchNorm", "Linear", "Flatten", "GroupNorm", "Same", "Unflatten"]
        )
    )  # fmt: skip
    try:
        if kind == "Conv":
            return nn.__dict__[f"Conv{axes}d"](
                c_in, c_out, k, stride, padding, dilation, groups,
                padding_mode=draw(st.sampled_from(["zeros", "zeros", "circular", "reflect"])),
            )  # fmt: skip
        if kind == "Same":
            return nn.__dict__[f"Conv{axes}d"](c_in, c_out, k, padding="same", dilation=dilation)
        if kind == "ConvTranspose":
            extra = draw(st.integers(0, 2))
            return nn.__dict__[f"ConvTranspose{axes}d"](
                c_in, c_out, k, stride, padding, extra, groups, dilation=dilation
            )
        if kind == "MaxPool":
            return nn.__dict__[f"MaxPool{axes}d"](
                k, stride or None, padding, dilation, ceil_mode=ceil_mode
            )
        if kind == "AvgPool":
            return nn.__dict__[f"AvgPool{axes}d"](k, stride or None, padding, ceil_mode)
        if kind.startswith("Adaptive"):
            return nn.__dict__[f"{kind}{axes}d"](draw(small))
        if kind == "BatchNorm":
            return nn.__dict__[f"BatchNorm{axes}d"](c_in).train(draw(st.booleans()))
        if kind == "GroupNorm":
            return nn.GroupNorm(groups, c_in)
        if kind == "Unflatten":
            return nn.Unflatten(1, (draw(small), draw(small)))
        return nn.Linear(c_in, c_out) if kind == "Linear" else nn.Flatten(draw(st.integers(0, 2)))
    except ValueError:  # groups that do not divide, reflection without padding ...
        assume(False)


def forward(model, *inputs):
    """What torch gives, or "raises"; grown maps are kept small."""
    try:
        return model(*inputs)
    except (RuntimeError, ValueError, IndexError):
        return "raises"


@settings(max_examples=250, deadline=None)
@given(layers(), st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_layers_like_torch(layer, shape):
    x = torch.zeros(shape)
    expected = forward(layer, x)
    event(f"{type(layer).__name__} {'raises' if isinstance(expected, str) else 'works'}")
    try:
        got = summary(layer, x)
    except CostError as error:
        assert isinstance(expected, str), f"{layer} takes {shape}: {error}"
        assert "\n" not in str(error)
        return
    assert not isinstance(expected, str), f"{layer} refuses {shape}"
    assert got.output_shape == tuple(expected.shape)


# --- small networks with branches -------------------------------------------------------------


class Program(nn.Module):
    """Steps that take earlier results: layers, sums, products and joins."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps
        self.layers = nn.ModuleList(layer for _, layer, _ in steps if layer is not None)

    def forward(self, x):
        results = [x]
        for kind, layer, (a, b) in self.steps:
            x, y = results[a % len(results)], results[b % len(results)]
            if kind == "layer":
                results.append(layer(x))
            elif kind == "add":
                results.append(x + y)
            elif kind == "mul":
                results.append(x * y)
            elif kind == "cat":
                results.append(torch.cat([x, y], 1))
            elif kind == "relu":
                results.append(F.relu(x))
            elif kind == "upsample":
                results.append(F.interpolate(x, scale_factor=2))
            elif kind == "slice":
                results.append(x[:, :, ::2, 1:])
            else:
                results.append(F.pad(x, (1, 0, 0, 2)))
        return results[-1]


@st.composite
def programs(draw):
    c = draw(st.integers(1, 3))
    steps = []
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(
            st.sampled_from(
                ["layer"] * 4 + ["add", "mul", "cat", "relu", "upsample", "slice", "pad"]
            )
        )
        layer = None
        if kind == "layer":
            k, s = draw(st.integers(1, 3)), draw(st.integers(1, 2))
            p, d = draw(st.integers(0, 2)), draw(st.sampled_from([1, 1, 2]))
            layer = draw(
                st.sampled_from(
                    [
                        nn.Conv2d(c, c, k, s, p, d),
                        nn.Conv2d(c, c, k, padding="same"),
                        nn.ConvTranspose2d(c, c, k, s, min(p, k // 2)),
                        nn.MaxPool2d(k, s, p // 2, ceil_mode=True),
                        nn.AvgPool2d(k, s),
                        nn.BatchNorm2d(c).eval(),
                    ]
                )
            )
        steps.append((kind, layer, (draw(st.integers(0, 9)), draw(st.integers(0, 9)))))
    return Program(steps), c


@settings(max_examples=200, deadline=None)
@given(programs(), st.integers(4, 14), st.integers(4, 14))
def test_networks_like_torch(program, height, width):
    model, channels = program
    x = torch.zeros(2, channels, height, width)
    shapes = {}

    def note(layer, _, output):
        if 0 in output.shape:  # some of torch's kernels let an empty result pass, others raise
            raise ValueError("nothing is left")
        shapes[f"layers.{list(model.layers).index(layer)}"] = tuple(output.shape)

    hooks = [layer.register_forward_hook(note) for layer in model.layers]
    with FlopCounterMode(display=False) as counter:
        expected = forward(model, x)
    for hook in hooks:
        hook.remove()
    event("raises" if isinstance(expected, str) else "works")
    try:
        got = summary(model, x)
    except CostError:
        assert isinstance(expected, str)
        return
    assert not isinstance(expected, str)
    assert got.output_shape == tuple(expected.shape)
    assert got.total_macs == counter.get_total_flops() // 2
    rows = {row.name: row.output_shape for row in got.rows}
    assert shapes.items() <= rows.items()
    assert got.total_params == sum(p.numel() for p in model.parameters())


# --- receptive fields against single pixels -------------------------------------------------------


class Line(nn.Module):
    """Layers in one dimension, each from the last result, sometimes joined with an earlier one."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps
        self.layers = nn.ModuleList(step for step in steps if isinstance(step, nn.Module))

    def forward(self, x):
        results = [x]
        for step in self.steps:
            x = results[-1]
            if isinstance(step, nn.Module):
                x = step(x)
            elif step == "nearest":
                x = F.interpolate(x, scale_factor=2)
            elif step == "linear":
                x = F.interpolate(x, scale_factor=3, mode="linear")
            elif step == "slice":
                x = x[:, :, 1::2]
            elif step == "pad":
                x = F.pad(x, (3, 1))
            else:
                same = [y for y in results[:-1] if y.shape == x.shape]
                if same:
                    x = x + same[0] if step == "add" else torch.cat([x, same[0]], 1).sum(1, True)
            results.append(x)
        return results[-1]


def ones(layer):
    """Weights of one, so that nothing cancels."""
    for parameter in layer.parameters():
        nn.init.ones_(parameter)
    return layer


steps = st.one_of(
    st.builds(
        lambda k, s, p, d: ones(nn.Conv1d(1, 1, k, s, p, d, bias=False)),
        st.integers(1, 4), st.integers(1, 3), st.integers(0, 3), st.integers(1, 2),
    ),
    st.builds(lambda k: ones(nn.Conv1d(1, 1, k, padding="same", bias=False)), st.integers(1, 5)),
    st.builds(
        lambda k, s, p: ones(nn.ConvTranspose1d(1, 1, k, s, min(p, k - 1), bias=False)),
        st.integers(1, 4), st.integers(1, 3), st.integers(0, 2),
    ),
    st.builds(lambda k, s: nn.AvgPool1d(k, s, ceil_mode=True), small, small),
    st.sampled_from(["nearest", "linear", "slice", "pad", "add", "cat"]),
)  # fmt: skip


def reached(model, n):
    """First and last input pixel that each output unit depends on; None where there is none."""
    with torch.no_grad():
        answers = model(torch.eye(n)[:, None])[:, 0]  # to each pixel alone: the model is linear
    spans = []
    for unit in answers.T > 1e-6:  # more than rounding
        seen = unit.nonzero().flatten().tolist()
        spans.append((seen[0], seen[-1]) if seen else None)
    return spans


@settings(max_examples=80, deadline=None)
@given(st.lists(steps, min_size=1, max_size=6))
@example([ones(nn.ConvTranspose1d(1, 1, 1, 3, bias=False)), ones(nn.Conv1d(1, 1, 2, bias=False))])
def test_receptive_fields_are_the_pixels_that_reach_a_unit(stack):
    model, n = Line(stack), 90
    try:
        result = summary(model, (1, n))
    except CostError:
        assume(False)
    assume(result.output_shape[-1] <= 200)
    # a pool to a single pixel counts as a global one: then the last map's field is told
    assume(not any(isinstance(state, Pooled) for state in result._fields.after))
    spans = reached(model, n)
    inside = [span for span in spans if span and span[0] > 0 and span[1] < n - 1]
    largest = max((last - first + 1 for first, last in inside), default=0)
    if result.receptive_field in (None, math.inf):
        # branches that step differently cannot be drawn: both results have the same size
        assert result.receptive_field is None and {"add", "cat"} & {s for s in stack if s in SIDE}
        return
    assume(result.receptive_field < n / 3 and largest)
    assert result.receptive_field == largest
    if not result._fields.after:  # nothing but sums: a unit sees its own pixel
        return
    (span,) = result._fields.after[-1].spans
    for unit, seen in enumerate(spans):
        q, r = divmod(unit, len(span.first))
        first, last = span.first[r] + q * span.jump, span.last[r] + q * span.jump
        if n / 3 <= first <= last < 2 * n / 3:  # nearer to the ends lie padding and what was cut
            assert seen == (first, last)
        elif first == math.inf:
            assert seen is None


SIDE = ("add", "cat")


def test_receptive_field_of_a_decoder():
    """A small U-Net: every path from the input, up and down again."""

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.down = nn.Conv2d(1, 1, 3, padding=1)
            self.bottom = nn.Conv2d(1, 1, 3, padding=1)
            self.up = nn.ConvTranspose2d(1, 1, 2, 2)
            self.out = nn.Conv2d(2, 1, 3, padding=1)

        def forward(self, x):
            x = self.down(x)
            y = self.up(self.bottom(F.max_pool2d(x, 2)))
            return self.out(torch.cat([x, y], 1))

    assert summary(UNet(), (1, 32, 32)).receptive_field == 10


# --- shortcuts: the same as torch's meta device says ------------------------------------------


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.data())
@settings(max_examples=150, deadline=None)
def test_a_new_shape_by_arithmetic_is_the_one_from_the_meta_device(shape, data):
    trace = Trace(nn.Identity(), ops)
    x = trace.tensor(shape, torch.float32, torch.device("cpu"), role="input")
    name = data.draw(st.sampled_from(["view", "reshape", "flatten"]))
    if name == "flatten":
        size = data.draw(st.lists(st.integers(-6, 6), max_size=2))
    else:
        size = data.draw(st.permutations([*shape, 1]))
        place = data.draw(st.integers(0, len(size) - 1))
        size[place : place + 2] = [data.draw(st.sampled_from([-1, 3, math.prod(size[place:][:2])]))]
    func = getattr(torch.Tensor, name)
    how = ops.handler(func)
    try:
        expected = func(torch.empty(shape), *size).shape
    except (RuntimeError, IndexError):
        expected = None
    got = ops.reshaped(trace, how, x, *size)
    event(f"{name}, right: {got is not NotImplemented}")
    if got is NotImplemented:
        assert expected is None
        return
    assert got.shape == expected and got.node.root is x.node
    ops.from_meta(trace, how, func, (x, *size), {})
    short, long = trace.ops
    assert short.geometry.sources == long.geometry.sources
    assert (short.record, short.label, short.counted, short.fresh) == (
        long.record, long.label, long.counted, long.fresh,
    )  # fmt: skip
