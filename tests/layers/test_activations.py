import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from cnnlab.layers import ACTIVATIONS
from cnnlab.layers.activations import elu, leaky_relu, sigmoid, sigmoid_prime, tanh_prime

SLOPES = torch.tensor([0.25, -0.5, 1.5], dtype=torch.float64)
THEIRS = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "prelu": F.prelu,
    "elu": F.elu,
    "selu": F.selu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


def arguments(name):
    return (SLOPES,) if name == "prelu" else ()


@pytest.mark.parametrize("name", ACTIVATIONS)
@settings(deadline=None, max_examples=40)
@given(values=st.lists(st.floats(-30, 30), min_size=6, max_size=6))
def test_values_and_derivatives_equal_torchs(name, values):
    function, derivative = ACTIVATIONS[name]
    x = torch.tensor(values, dtype=torch.float64).view(2, 3).requires_grad_()
    expected = THEIRS[name](x, *arguments(name))
    torch.testing.assert_close(function(x, *arguments(name)), expected)
    (gradient,) = torch.autograd.grad(expected.sum(), x)
    kink = x == 0  # torch takes one side or the other of a corner
    got = derivative(x, *arguments(name))
    torch.testing.assert_close(got[~kink], gradient[~kink])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients(name):
    x = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)
    extra = [SLOPES.clone().requires_grad_()] if name == "prelu" else []
    assert gradcheck(ACTIVATIONS[name][0], (x, *extra))


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_far_ends_stay_finite_and_keep_the_type(name, dtype):
    x = torch.tensor([[-1e4, 0.0, 1e4]], dtype=dtype)
    for part in ACTIVATIONS[name]:
        out = part(x, *(t.to(dtype) for t in arguments(name)))
        assert out.dtype == dtype
        assert torch.isfinite(out).all()


def test_parameters_are_used():
    x = torch.tensor([-2.0])
    assert leaky_relu(x, 0.5).item() == -1.0
    assert elu(x, 3.0).item() == pytest.approx(3 * (torch.e**-2 - 1))


def test_what_the_lecture_says_of_saturation():
    x = torch.linspace(-5, 5, 1001)
    assert sigmoid_prime(x).max().item() == pytest.approx(0.25)
    assert tanh_prime(x).max().item() == pytest.approx(1.0)
    assert sigmoid(torch.tensor([-200.0])).item() == 0.0
