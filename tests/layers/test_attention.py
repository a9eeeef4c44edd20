import pytest
import torch
import torchvision
from torch.autograd import gradcheck

from cnnlab.layers import CBAM, EfficientChannelAttention, SqueezeExcitation


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_squeeze_excitation_is_torchvisions():
    torch.manual_seed(0)
    theirs = torchvision.ops.SqueezeExcitation(16, 4)
    ours = SqueezeExcitation(16, 4)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 16, 5, 5)
    torch.testing.assert_close(ours(x), theirs(x))


def test_squeeze_excitation_scales_channels_and_nothing_else():
    layer, x = SqueezeExcitation(8, 2), torch.rand(2, 8, 4, 4) + 0.5
    gate = layer(x) / x
    assert torch.allclose(gate, gate[:, :, :1, :1])
    assert ((gate > 0) & (gate < 1)).all()


def test_cbam_is_a_channel_gate_then_a_spatial_gate():
    torch.manual_seed(0)
    layer, x = CBAM(32).eval(), torch.rand(2, 32, 6, 6) + 0.5
    assert count(layer) == 32 * 2 + 2 + 2 * 32 + 32 + 7 * 7 * 2 + 2
    gate = layer(x) / x
    ratio = gate / gate[:, :1]  # what is left without the spatial part
    assert torch.allclose(ratio, ratio[:, :, :1, :1], atol=1e-5)
    ratio = gate / gate[:, :, :1, :1]  # what is left without the channel part
    assert torch.allclose(ratio, ratio[:, :1], atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "kernel_size"), [(64, 3), (128, 5), (256, 5), (512, 5), (1024, 5), (2048, 7)]
)
def test_eca_chooses_its_kernel_from_the_channels(channels, kernel_size):
    layer = EfficientChannelAttention(channels)
    assert count(layer) == kernel_size
    assert layer(torch.randn(2, channels, 3, 3)).shape == (2, channels, 3, 3)


def test_eca_gates_by_neighbours():
    layer = EfficientChannelAttention(6, kernel_size=3)
    torch.nn.init.ones_(layer.conv.weight)
    x = torch.randn(1, 6, 2, 2)
    means = torch.nn.functional.pad(x.mean((2, 3)), (1, 1))
    gate = torch.sigmoid(means[:, :-2] + means[:, 1:-1] + means[:, 2:])
    torch.testing.assert_close(layer(x), x * gate[:, :, None, None])
    with pytest.raises(ValueError, match="odd, got 4"):
        EfficientChannelAttention(6, kernel_size=4)


LAYERS = {
    "se": lambda **kw: SqueezeExcitation(4, 2, **kw),
    "cbam": lambda **kw: CBAM(4, 2, 3, **kw),
    "eca": lambda **kw: EfficientChannelAttention(4, **kw),
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients(name):
    torch.manual_seed(0)
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(LAYERS[name](dtype=torch.float64), (x,))


@pytest.mark.parametrize("name", LAYERS)
def test_device_and_half_precision(name):
    assert {p.device.type for p in LAYERS[name](device="meta").parameters()} == {"meta"}
    layer, x = LAYERS[name]().eval(), torch.randn(2, 4, 5, 5)
    channels_last = layer(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(channels_last, layer(x), atol=1e-5, rtol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(x)
    torch.testing.assert_close(half.float(), layer(x), atol=0.03, rtol=0.03)
