"""Closed-form sizes against what torch does, and the arithmetic that is shown."""

import doctest

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import cnnlab
from cnnlab import shapes
from cnnlab.shapes import (
    Layer,
    ReceptiveField,
    conv_transpose_output_size,
    explain,
    output_size,
    pool_output_size,
    receptive_field,
    same_padding,
)

# Wrong values are drawn too: where torch raises, so must the calculator.
sizes, kernels = st.integers(0, 12), st.integers(0, 6)
strides, paddings, dilations = st.integers(0, 4), st.integers(-1, 4), st.integers(0, 3)


def outcome(call):
    """The value, or the word "raises"."""
    try:
        return call()
    except (RuntimeError, ValueError):
        return "raises"


def zeros(*shape):
    return torch.zeros(shape)  # not meta, which lets some wrong values through


@given(sizes, kernels, strides, paddings | st.sampled_from(["same", "valid"]), dilations)
def test_convolution_like_torch(n, k, s, p, d):
    expected = outcome(lambda: F.conv1d(zeros(1, 1, n), zeros(1, 1, k), None, s, p, d).shape[-1])
    assert outcome(lambda: output_size(n, k, s, p, d)) == expected


@given(sizes, kernels, strides, paddings, dilations, st.booleans())
def test_max_pooling_like_torch(n, k, s, p, d, ceil_mode):
    expected = outcome(
        lambda: F.max_pool2d(zeros(1, 1, n, n), k, s, p, d, ceil_mode=ceil_mode).shape[-1]
    )
    assert outcome(lambda: pool_output_size(n, k, s, p, d, ceil_mode)) == expected


@given(sizes, kernels, strides, paddings, st.booleans())
def test_average_pooling_like_torch(n, k, s, p, ceil_mode):
    expected = outcome(
        lambda: F.avg_pool2d(zeros(1, 1, n, n), k, s, p, ceil_mode=ceil_mode).shape[-1]
    )
    assert outcome(lambda: pool_output_size(n, k, s, p, ceil_mode=ceil_mode)) == expected


@given(sizes, kernels, strides, paddings, st.integers(0, 4), dilations)
def test_transposed_convolution_like_torch(n, k, s, p, extra, d):
    expected = outcome(
        lambda: F.conv_transpose1d(zeros(1, 1, n), zeros(1, 1, k), None, s, p, extra, 1, d).shape[
            -1
        ]
    )
    assert outcome(lambda: conv_transpose_output_size(n, k, s, p, extra, d)) == expected


@given(st.integers(1, 20), st.integers(1, 9), st.integers(1, 4))
def test_same_padding_keeps_the_size(n, k, d):
    if d * (k - 1) % 2:
        with pytest.raises(ValueError, match=f"kernel_size {k} with dilation {d} needs"):
            same_padding(k, d)
    else:
        assert output_size(n, k, padding=same_padding(k, d), dilation=d) == n


stacks = st.lists(
    st.builds(
        Layer,
        kernel_size=st.integers(1, 4),
        stride=st.integers(1, 3),
        padding=st.integers(0, 2),
        dilation=st.integers(1, 2),
    ),
    min_size=1,
    max_size=4,
)


@given(stacks)
def test_receptive_field_is_what_gradients_reach(layers):
    field = receptive_field(layers)
    n = field.size + 6 * field.jump + 20  # room for units whose field lies inside the input
    x = torch.zeros(1, 1, n, requires_grad=True)
    y = x
    for layer in layers:
        ones = torch.ones(1, 1, layer.kernel_size)
        y = F.conv1d(y, ones, None, layer.stride, layer.padding, layer.dilation)
    unit = -(field.start // field.jump) + 1  # the first whose field does not begin in the padding
    y[0, 0, unit].backward()
    seen = x.grad[0, 0].nonzero().flatten()
    first = field.start + unit * field.jump
    assert (seen.min(), seen.max()) == (first, first + field.size - 1)


@pytest.mark.parametrize(
    ("layers", "size"),
    [([3, 3], 5), ([3, 3, 3], 7), ([(5, 1, 2), (2, 2), (5, 1, 2), (2, 2)], 16)],
    ids=["two 3x3", "three 3x3", "LeNet"],
)
def test_published_receptive_fields(layers, size):
    assert receptive_field(layers).size == size


ALEXNET = [  # Krizhevsky et al. 2012, one column
    Layer(11, 4, name="conv1"),
    Layer(3, 2, name="pool1"),
    Layer(5, 1, 2, name="conv2"),
    Layer(3, 2, name="pool2"),
    Layer(3, 1, 1, name="conv3"),
    Layer(3, 1, 1, name="conv4"),
    Layer(3, 1, 1, name="conv5"),
    Layer(3, 2, name="pool5"),
]


def test_alexnet_layer_by_layer():
    fields = [receptive_field(ALEXNET[: i + 1]) for i in range(len(ALEXNET))]
    assert [field.size for field in fields] == [11, 19, 51, 67, 99, 131, 163, 195]
    assert fields[-1].jump == 32
    size, seen = 227, []
    for layer in ALEXNET:
        size = layer.output_size(size)
        seen.append(size)
    assert seen == [55, 27, 27, 13, 13, 13, 13, 6]


def test_receptive_field_takes_every_way_to_name_a_layer():
    ways = [[(3, 2, 1)], [Layer(3, 2, 1)], [{"kernel_size": 3, "stride": 2, "padding": 1}]]
    assert [receptive_field(way) for way in ways] == [ReceptiveField(3, 2, -1)] * 3


def test_axes_may_differ():
    assert output_size((32, 48), (3, 5), (1, 2), (1, 0)) == (32, 22)
    assert output_size(32, (3, 5)) == (30, 28)
    assert output_size(np.array([32, 48]), np.int64(3)) == (30, 46)
    assert output_size((3, 9, 9), (3, 3, 3)) == (1, 7, 7)
    assert pool_output_size((7, 9), 2, ceil_mode=True) == (4, 5)
    assert same_padding((3, 5)) == (1, 2)
    assert receptive_field([((3, 5), 2), 3]) == ReceptiveField((7, 9), (2, 2), (0, 0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: output_size(2, 5, padding=1),
            "kernel_size 5 exceeds the padded input 4 (input 2, padding 1)",
        ),
        (
            lambda: output_size(4, 3, dilation=2),
            "kernel_size 3 with dilation 2 covers 5 and exceeds the padded input 4 "
            "(input 4, padding 0)",
        ),
        (
            lambda: output_size((9, 2), 5, padding=1),
            "width: kernel_size 5 exceeds the padded input 4 (input 2, padding 1)",
        ),
        (lambda: output_size(0, 3), "input_size must be at least 1, got 0"),
        (lambda: output_size(8, 3, stride=0), "stride must be at least 1, got 0"),
        (lambda: output_size(8, 3, padding=-1), "padding must be at least 0, got -1"),
        (lambda: output_size(8, 2.5), "sizes must be whole numbers, got 2.5"),
        (lambda: output_size(8, 3, padding="full"), "got 'full'"),
        (lambda: output_size("224", 3), "sizes must be whole numbers, got '224'"),
        (lambda: output_size(True, 3), "sizes must be whole numbers, got True"),
        (lambda: output_size((), 3), "one entry for each axis, got ()"),
        (
            lambda: output_size((3, 224, 224), 3),
            "the size (3, 224, 224) looks like (channels, height, width): give (224, 224)",
        ),
        (
            lambda: receptive_field(["conv"]),
            "a layer is its kernel_size, a tuple or a dict, got 'conv'",
        ),
        (
            lambda: receptive_field(torch.nn.Conv2d(1, 1, 3)),
            "got Conv2d: for a network, cnnlab.summary",
        ),
        (lambda: receptive_field([{"kernel": 3}]), "with kernel_size given; got {'kernel': 3}"),
        (lambda: receptive_field([(3, 1, 1, 1, 1)]), "or the beginning of it, got (3, 1, 1, 1, 1)"),
        (lambda: receptive_field([3, (3, 0)]), "layer 2: stride must be at least 1, got 0"),
        (
            lambda: explain(9, [Layer(3, name="conv1"), Layer(9, name="conv2")]),
            "conv2: kernel_size 9 exceeds the padded input 7",
        ),
        (lambda: output_size(8, 3, 2, "same"), "padding='same' needs stride 1, got stride 2"),
        (lambda: output_size((8, 8), (3, 3, 3)), "one entry for each axis, got (8, 8), (3, 3, 3)"),
        (lambda: pool_output_size(8, 3, padding=2), "padding 2 exceeds half the pooling kernel"),
        (lambda: pool_output_size(8, 3, padding="same"), "pooling takes a number as padding"),
        (
            lambda: conv_transpose_output_size(1, 2, 2, 1),
            "(1 - 1)*2 - 2*1 + 1*(2 - 1) + 0 + 1 = 0: nothing is left",
        ),
        (
            lambda: conv_transpose_output_size(4, 3, 2, output_padding=2),
            "output_padding 2 must be smaller than the stride 2 or the dilation 1",
        ),
        (lambda: receptive_field([0]), "kernel_size must be at least 1, got 0"),
        (lambda: explain(2, 5, padding=1), "kernel_size 5 exceeds the padded input 4"),
    ],
)
def test_errors_show_the_values(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_explain_prints_the_arithmetic():
    assert "(227 - 11 + 2*2)/4 + 1 = 56" in explain(227, 11, stride=4, padding=2)
    assert "floor((224 - 11)/4) + 1 = floor(53.25) + 1 = 54" in explain(224, 11, stride=4)
    assert explain(7, 3, dilation=2).splitlines() == [
        "reach  = dilation*(kernel_size - 1) + 1 = 2*(3 - 1) + 1 = 5",
        "output = (input - reach)/stride + 1",
        "       = (7 - 5)/1 + 1 = 3",
    ]
    assert explain(6, 4, padding="same").endswith("(6 - 4 + 3)/1 + 1 = 6")
    assert explain((5, 9), 3).splitlines()[0] == "height:"
    assert repr(explain(5, 3)) == str(explain(5, 3))  # a notebook shows lines, not quotes


def test_explain_shows_the_window_that_is_dropped():
    text = explain(4, 2, stride=3, padding=1, ceil_mode=True)
    assert output_size(4, 2, 3, 1, ceil_mode=True) == 2
    assert text.endswith("- 1 (window 3 would start in the padding on the right) = 2")


@given(sizes, kernels, strides, paddings | st.just("same"), dilations, st.booleans())
def test_explain_ends_with_the_output_size(n, k, s, p, d, ceil_mode):
    expected = outcome(lambda: output_size(n, k, s, p, d, ceil_mode))
    text = outcome(lambda: explain(n, k, s, p, d, ceil_mode))
    assert text == "raises" if expected == "raises" else text.endswith(f" = {expected}")


def test_examples_in_the_docstrings():
    assert doctest.testmod(shapes).failed == 0


def test_package_shows_the_everyday_names():
    assert cnnlab.output_size is output_size
    assert cnnlab.receptive_field is receptive_field
