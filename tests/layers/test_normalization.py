import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from cnnlab.layers import BatchNorm2d, LocalResponseNorm, batch_norm, local_response_norm


@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 5), (2, 3, 4, 5), (2, 3, 2, 3, 2)])
def test_batch_norm_equals_torch_in_any_dimension(shape):
    torch.manual_seed(0)
    x, gamma, beta = torch.randn(shape) * 3 + 1, torch.randn(3), torch.randn(3)
    expected = F.batch_norm(x, None, None, gamma, beta, training=True)
    torch.testing.assert_close(batch_norm(x, gamma, beta)[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("momentum", [0.1, 0.5, None])
def test_layer_keeps_the_statistics_that_torch_keeps(momentum):
    torch.manual_seed(0)
    theirs, ours = torch.nn.BatchNorm2d(3, momentum=momentum), BatchNorm2d(3, momentum=momentum)
    for layer in (theirs, ours):
        torch.nn.init.uniform_(layer.weight, generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        x = torch.randn(4, 3, 5, 5) * 2 + 1
        torch.testing.assert_close(ours(x), theirs(x))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(x.bfloat16()).dtype == torch.bfloat16


def test_batch_norm_without_statistics_normalizes_when_evaluating_too():
    x = torch.randn(4, 3, 5, 5) + 2
    out = BatchNorm2d(3, track_running_stats=False).eval()(x)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-6, rtol=0)


def test_one_value_per_channel_cannot_train():
    with pytest.raises(ValueError, match=r"\(1, 3, 1, 1\)"):
        BatchNorm2d(3)(torch.zeros(1, 3, 1, 1))


@settings(deadline=None, max_examples=50)
@given(size=st.integers(1, 9), channels=st.integers(1, 12), k=st.floats(0.5, 3.0))
def test_response_norm_is_torchs_with_alpha_per_channel(size, channels, k):
    x = torch.randn(2, channels, 3, 2, generator=torch.Generator().manual_seed(channels)).double()
    expected = F.local_response_norm(x, size, alpha=0.01 * size, beta=0.75, k=k)
    torch.testing.assert_close(local_response_norm(x, size, alpha=0.01, k=k), expected)


def test_response_norm_by_hand():
    x = torch.tensor([3.0, 4.0, 0.0, 2.0]).view(1, 4, 1, 1)
    got = local_response_norm(x, size=3, alpha=1.0, beta=1.0, k=1.0).flatten()
    expected = torch.tensor([3 / 26, 4 / 26, 0.0, 2 / 5])
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("layer", [BatchNorm2d(3).double(), LocalResponseNorm(alpha=0.1)])
def test_gradients(layer):
    x = torch.randn(3, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(layer, (x,))
