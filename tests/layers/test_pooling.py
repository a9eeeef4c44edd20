import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from cnnlab.layers import AvgPool2d, GlobalAvgPool2d, MaxPool2d, avg_pool2d, max_pool2d

small = st.integers(1, 4)


@st.composite
def pools(draw):
    kernel = draw(st.tuples(small, small))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    size = tuple(
        draw(st.integers(max(1, k - 2 * p), 9)) for k, p in zip(kernel, padding, strict=True)
    )
    x = torch.randn(
        2, 2, *size, generator=torch.Generator().manual_seed(draw(st.integers(0, 99)))
    ).double()
    stride = draw(st.none() | st.tuples(small, small))
    return x, (kernel, stride, padding, draw(st.booleans()))


@settings(deadline=None, max_examples=150)
@given(pools())
def test_max_equals_torch(case):
    x, (kernel, stride, padding, ceil_mode) = case
    expected = F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode)
    torch.testing.assert_close(max_pool2d(x, kernel, stride, padding, ceil_mode), expected)


@settings(deadline=None, max_examples=150)
@given(pools(), st.booleans())
def test_average_equals_torch(case, count_include_pad):
    x, window = case
    expected = F.avg_pool2d(x, *window, count_include_pad)
    assume(torch.isfinite(expected).all())
    torch.testing.assert_close(avg_pool2d(x, *window, count_include_pad), expected)


def test_ceil_mode_of_the_slide():
    x = torch.arange(49.0).view(1, 1, 7, 7)
    assert max_pool2d(x, 2, 2).shape[2:] == (3, 3)
    assert max_pool2d(x, 2, 2, ceil_mode=True).shape[2:] == (4, 4)


@pytest.mark.parametrize("layer", [MaxPool2d(3, 2, 1), AvgPool2d(3, 2, 1), GlobalAvgPool2d()])
def test_gradients(layer):
    x = torch.randn(2, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert gradcheck(layer, (x,))


def test_layers_drop_in():
    x = torch.randn(2, 3, 9, 8)
    for ours, theirs in (
        (MaxPool2d(3, 2, 1, ceil_mode=True), torch.nn.MaxPool2d(3, 2, 1, ceil_mode=True)),
        (AvgPool2d(3, 2, 1, count_include_pad=False),
         torch.nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
    ):  # fmt: skip
        torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(GlobalAvgPool2d()(x), F.adaptive_avg_pool2d(x, 1).flatten(1))


@pytest.mark.parametrize("pool", [max_pool2d, avg_pool2d])
def test_refuses_in_one_sentence(pool):
    x = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="kernel_size 5 exceeds the padded input 4"):
        pool(x, 5)
    with pytest.raises(ValueError, match="padding 2 exceeds half of kernel_size 3"):
        pool(x, 3, padding=2)
    with pytest.raises(ValueError, match=r"\(4, 4\)"):
        pool(x[0, 0], 2)
