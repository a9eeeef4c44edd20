"""Each convolution algorithm against torch's, over shapes and options drawn by hypothesis."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from cnnlab.layers import Conv2d, conv2d

GENERAL = ["direct", "im2col", "fft"]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def case(seed, n, c_in, c_out, groups, height, width, kernel, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, c_in * groups, height, width, generator=generator, dtype=dtype)
    weight = torch.randn(c_out * groups, c_in, *kernel, generator=generator, dtype=dtype)
    bias = torch.randn(c_out * groups, generator=generator, dtype=dtype)
    return x, weight, bias


small = st.integers(1, 3)


@pytest.mark.parametrize("algorithm", GENERAL)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_equals_torch(algorithm, data):
    kernel = data.draw(st.tuples(small, small))
    dilation = data.draw(st.tuples(small, small))
    padding = data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    stride = data.draw(st.tuples(small, small))
    size = [
        data.draw(st.integers(max(1, d * (k - 1) + 1 - 2 * p), 9))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    ]
    groups = data.draw(small)
    x, w, b = case(
        data.draw(st.integers(0, 99)), data.draw(small), data.draw(small), data.draw(small),
        groups, *size, kernel,
    )  # fmt: skip
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    expected = F.conv2d(x, w, b, **options)
    torch.testing.assert_close(conv2d(x, w, b, **options, algorithm=algorithm), expected)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 99),
    n=small,
    channels=st.tuples(small, small),
    groups=small,
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    padding=st.integers(1, 3),
)
def test_winograd_equals_torch(seed, n, channels, groups, size, padding):
    x, w, b = case(seed, n, *channels, groups, *size, (3, 3))
    expected = F.conv2d(x, w, b, padding=padding, groups=groups)
    got = conv2d(x, w, b, padding=padding, groups=groups, algorithm="winograd")
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("algorithm", [*GENERAL, "winograd"])
@pytest.mark.parametrize("device", DEVICES)
def test_gradients(algorithm, device):
    x, w, b = case(0, 2, 2, 2, 1, 5, 4, (3, 3))
    inputs = [t.to(device).requires_grad_() for t in (x, w, b)]
    assert gradcheck(lambda *t: conv2d(*t, padding=1, algorithm=algorithm), inputs)


@pytest.mark.parametrize("algorithm", ["torch", *GENERAL, "winograd"])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"padding": "same", "groups": 2},
        {"padding": "valid"},
        {"padding": 2, "padding_mode": "reflect"},
    ],
)
def test_layer_drops_in(algorithm, device, options):
    torch.manual_seed(0)
    theirs = torch.nn.Conv2d(4, 6, 3, **options, device=device)
    ours = Conv2d(4, 6, 3, **options, algorithm=algorithm, device=device)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 4, 7, 8, device=device)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
    channels_last = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(ours(channels_last), theirs(x), atol=1e-5, rtol=1e-5)
    with torch.autocast(device, torch.bfloat16):
        half = ours(x)
    torch.testing.assert_close(half.float(), theirs(x), atol=0.1, rtol=0.05)


def test_vertical_edge_of_the_lecture():
    image = torch.tensor([[10.0] * 3 + [0.0] * 3] * 6)[None, None]
    edge = torch.tensor([[1.0, 0.0, -1.0]] * 3)[None, None]
    for algorithm in [*GENERAL, "winograd"]:
        out = conv2d(image, edge, algorithm=algorithm)[0, 0]
        torch.testing.assert_close(out, torch.tensor([[0.0, 30.0, 30.0, 0.0]] * 4))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"algorithm": "strassen"}, "strassen"),
        ({"algorithm": "winograd", "stride": 2}, r"stride \(2, 2\)"),
        ({"padding": "same", "stride": 2}, r"stride \(2, 2\)"),
        ({"groups": 3}, "groups=3"),
        ({"dilation": 4}, "kernel_size 3 with dilation 4 exceeds the padded height 5"),
    ],
)
def test_refuses_in_one_sentence(call, words):
    x, w, b = case(0, 1, 2, 2, 1, 5, 5, (3, 3))
    with pytest.raises(ValueError, match=words):
        conv2d(x, w, b, **call)


def test_layer_refuses_unknown_algorithm():
    with pytest.raises(ValueError, match="strassen"):
        Conv2d(1, 1, 3, algorithm="strassen")
