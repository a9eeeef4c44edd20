"""A kernel as a layer equals nn.Conv2d, forward and backward, and trains."""

import pytest
import torch
from torch import nn

from cnnlab.cuda.ladder import reference_source
from cnnlab.cuda.layer import KernelConv2d, kernel_conv2d


@pytest.mark.parametrize(
    ("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), (1, 2, 2), (3, 1, 2)]
)
def test_it_equals_torch(stride, padding, dilation):
    ours = KernelConv2d(2, 3, 3, stride, padding, dilation)
    theirs = nn.Conv2d(2, 3, 3, stride, padding, dilation)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 2, 9, 8, requires_grad=True)
    y, want = ours(x), theirs(x)
    torch.testing.assert_close(y, want, rtol=1e-4, atol=1e-5)
    g = torch.randn_like(y)
    got = torch.autograd.grad(y, [x, *ours.parameters()], g)
    torch.testing.assert_close(
        got, torch.autograd.grad(want, [x, *theirs.parameters()], g), rtol=1e-4, atol=1e-4
    )


def test_it_is_a_proper_operator():
    layer = KernelConv2d(1, 2, 3, padding=1)
    x = torch.randn(1, 1, 5, 5, requires_grad=True)
    torch.library.opcheck(
        torch.ops.cnnlab.kernel_conv2d.default,
        (x, layer.weight, layer.bias, [1, 1, 1], layer._kernel),
    )
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))
    assert kernel_conv2d is not None and "conv2d(const float* x" in repr(layer)


def test_a_students_kernel_is_what_runs():
    doubled = reference_source("channels.cu").replace("+ p] = sum", "+ p] = 2.0f * sum")
    layer = KernelConv2d(1, 1, 3, source=doubled)
    plain = nn.Conv2d(1, 1, 3)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(1, 1, 6, 6)
    torch.testing.assert_close(layer(x), 2 * plain(x), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_a_layer():
    with pytest.raises(ValueError, match="cannot be a layer"):
        KernelConv2d(1, 1, 3, source="__global__ void k(float* x) {}")
    with pytest.raises(ValueError, match=r"float32, dtype is torch\.float64"):
        KernelConv2d(1, 1, 3, dtype=torch.float64)


@pytest.mark.slow
def test_a_lenet_of_kernels_learns_digits():
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = (
        torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16,
        torch.tensor(digits.target),
    )
    torch.manual_seed(0)
    net = nn.Sequential(
        KernelConv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        KernelConv2d(6, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(5):
        for batch in torch.randperm(1400).split(100):
            loss = nn.functional.cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        assert (net(x[1400:]).argmax(1) == y[1400:]).float().mean() > 0.8
