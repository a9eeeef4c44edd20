import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradcheck

from cnnlab.layers import (
    ChannelShuffle,
    ConvNormAct,
    DepthwiseSeparableConv2d,
    Residual,
    channel_shuffle,
    grouped_conv2d,
)


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_grouped_convolution_is_convolutions_side_by_side(groups):
    torch.manual_seed(0)
    x, w, b = torch.randn(2, 6, 5, 5), torch.randn(12, 6 // groups, 3, 3), torch.randn(12)
    expected = F.conv2d(x, w, b, stride=2, padding=1, groups=groups)
    got = grouped_conv2d(x, w, b, groups, stride=2, padding=1)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_grouped_convolution_refuses_what_does_not_divide():
    with pytest.raises(ValueError, match=r"groups=4 .* 6 channels"):
        grouped_conv2d(torch.zeros(1, 6, 3, 3), torch.zeros(8, 1, 1, 1), groups=4)


def test_separable_convolution_is_two_convolutions_and_far_cheaper():
    torch.manual_seed(0)
    layer = DepthwiseSeparableConv2d(8, 16, 3, padding=1, bias=False)
    assert count(layer) == 3 * 3 * 8 + 8 * 16
    x = torch.randn(1, 8, 5, 5)
    depthwise = torch.cat(
        [F.conv2d(x[:, c : c + 1], layer.depthwise.weight[c : c + 1], padding=1) for c in range(8)],
        dim=1,
    )
    mixed = torch.einsum("nchw,oc->nohw", depthwise, layer.pointwise.weight[:, :, 0, 0])
    torch.testing.assert_close(layer(x), mixed, atol=1e-5, rtol=1e-5)


def test_shuffle_deals_one_channel_of_each_group_in_turn():
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert channel_shuffle(x, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert channel_shuffle(x, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    x = torch.randn(2, 12, 3, 3)
    assert torch.equal(ChannelShuffle(4)(x), nn.ChannelShuffle(4)(x))
    with pytest.raises(ValueError, match="groups=5 must divide the 6 channels"):
        channel_shuffle(x[:, :6], 5)


def test_conv_norm_act_leaves_out_what_is_none():
    full = ConvNormAct(3, 8, 3, stride=2)
    assert [type(m) for m in full] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert full[0].bias is None
    assert full(torch.zeros(2, 3, 8, 8)).shape == (2, 8, 4, 4)
    bare = ConvNormAct(3, 8, 5, norm=None, act=None)
    assert [type(m) for m in bare] == [nn.Conv2d]
    assert bare[0].bias is not None
    assert bare(torch.zeros(2, 3, 8, 8)).shape == (2, 8, 8, 8)


@pytest.mark.parametrize("kind", [ConvNormAct, DepthwiseSeparableConv2d])
def test_device_and_dtype_reach_every_tensor(kind):
    layer = kind(2, 4, 3, device="meta", dtype=torch.float64)
    tensors = [*layer.parameters(), *(b for b in layer.buffers() if b.is_floating_point())]
    assert {t.dtype for t in tensors} == {torch.float64}
    assert {t.device.type for t in tensors} == {"meta"}


@pytest.mark.parametrize(
    "layer",
    [
        ConvNormAct(4, 4, 3, groups=2),
        DepthwiseSeparableConv2d(4, 2, 3, padding=1),
        ChannelShuffle(2),
    ],
)
def test_gradients(layer):
    torch.manual_seed(0)
    x = torch.randn(2, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(layer.double(), (x,))


def test_a_residual_adds_its_shortcut_and_rectifies_the_sum():
    torch.manual_seed(0)
    x, conv, other = torch.randn(2, 3, 4, 4), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    assert torch.equal(Residual(conv)(x), F.relu(conv(x) + x))
    assert torch.equal(Residual(conv, other)(x), F.relu(conv(x) + other(x)))
    assert set(Residual(conv, other).state_dict()) == {
        f"{part}.{name}" for part in ("branch", "shortcut") for name in ("weight", "bias")
    }
