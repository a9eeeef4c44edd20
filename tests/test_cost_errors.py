"""What is wrong is said in one sentence that names the layer and the values."""

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from cnnlab.cost import CostError, CostWarning, summary


def named(**layers):
    return nn.Sequential(OrderedDict(layers))


class Function(nn.Module):
    """A module whose forward pass is this function."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *inputs):
        return self.function(self, *inputs)


class Block(Function):
    pass


IMAGE = (3, 32, 32)
BAD = {
    "features": (
        named(conv=nn.Conv2d(3, 256, 3), pool=nn.AdaptiveAvgPool2d(6), flat=nn.Flatten(),
              fc=nn.Linear(400, 10)),
        IMAGE,
        "Linear 'fc' expects 400 features, gets 256*6*6 = 9216: set in_features=9216",
    ),
    "no flatten": (
        named(conv=nn.Conv2d(3, 4, 3), fc=nn.Linear(4 * 30 * 30, 10)),
        IMAGE,
        "Linear 'fc' expects 3600 features, gets 30: flatten what comes before it, nn.Flatten() "
        "does",
    ),
    "channels": (
        named(a=nn.Conv2d(3, 16, 3), b=nn.Conv2d(32, 8, 3)),
        IMAGE,
        "Conv2d 'b' expects 32 input channels, gets 16 in (1, 16, 30, 30): set in_channels=16",
    ),
    "norm": (
        named(a=nn.Conv2d(3, 16, 3), bn=nn.BatchNorm2d(8)),
        IMAGE,
        "BatchNorm2d 'bn' expects 8 channels, gets 16 in (1, 16, 30, 30): set num_features=16",
    ),
    "one value a channel": (
        named(fc=nn.Linear(5, 4), bn=nn.BatchNorm1d(4)),
        (5,),
        "BatchNorm1d 'bn' in training mode needs more than one value a channel, gets (1, 4): "
        "take batch_size=2, or model.eval()",
    ),
    "kernel": (
        named(conv=nn.Conv2d(3, 4, 7, padding=1)),
        (3, 4, 4),
        "Conv2d 'conv' cannot slide over (1, 3, 4, 4): height: kernel_size 7 exceeds the padded "
        "input 6 (input 4, padding 1)",
    ),
    "pool": (
        named(a=nn.Conv2d(3, 4, 3), pool=nn.MaxPool2d(3)),
        (3, 4, 4),
        "MaxPool2d 'pool' cannot slide over (1, 4, 2, 2): height: kernel_size 3 exceeds the padded "
        "input 2 (input 2, padding 0)",
    ),
    "rank": (
        named(conv=nn.Conv2d(3, 4, 3)),
        (32,),
        "Conv2d 'conv' expects an input (N, 3, H, W), gets (1, 32)",
    ),
    "batch given": (
        named(conv=nn.Conv2d(3, 4, 3)),
        (1, 3, 32, 32),
        "Conv2d 'conv' expects an input (N, 3, H, W), gets (1, 1, 3, 32, 32): "
        "give input_size without the batch",
    ),
    "residual": (
        nn.Sequential(Block(lambda m, x: x + m.conv(x), conv=nn.Conv2d(3, 3, 3, stride=2))),
        IMAGE,
        "add in Block '0' cannot combine (1, 3, 32, 32) and (1, 3, 15, 15): 32 and 15 in dimension "
        "2, 32 and 15 in dimension 3 disagree; give both branches the same stride and padding",
    ),
    "residual channels": (
        nn.Sequential(Block(lambda m, x: x + m.conv(x), conv=nn.Conv2d(3, 6, 1))),
        IMAGE,
        "add in Block '0' cannot combine (1, 3, 32, 32) and (1, 6, 32, 32): 3 and 6 in dimension 1 "
        "disagree; a 1×1 convolution makes the channels equal",
    ),
    "join": (
        Block(lambda m, x: torch.cat([x, m.conv(x)], 1), conv=nn.Conv2d(3, 3, 3)),
        IMAGE,
        "cat in Block cannot join (1, 3, 32, 32) and (1, 3, 30, 30) along dimension 1: 32 and 30 "
        "in dimension 2, 32 and 30 in dimension 3 disagree; give both branches the same stride and "
        "padding=kernel_size//2, which keeps the size",
    ),
    "reshape": (
        Block(lambda m, x: x.view(1, 400)),
        IMAGE,
        "view in Block cannot take (1, 3, 32, 32): shape '[1, 400]' is invalid for input of size "
        "3072",
    ),
    "matrix product": (
        Block(lambda m, x: x @ x),
        (3, 4, 5),
        "matmul in Block cannot multiply (1, 3, 4, 5) by (1, 3, 4, 5): the inner sizes disagree",
    ),
    "own mistake": (
        nn.Sequential(Block(lambda m, x: m.nothing(x))),
        IMAGE,
        "Block '0' cannot be followed: AttributeError: 'Block' object has no attribute 'nothing'",
    ),
    "own check": (
        torchvision.models.vit_b_32(),
        (3, 32, 32),
        "VisionTransformer cannot be followed: AssertionError: Wrong image height! Expected 224 "
        "but got 32!",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("model", "size", "message"), BAD.values(), ids=BAD)
def test_says_what_is_wrong(model, size, message):
    with pytest.raises(CostError) as error:
        summary(model, size)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (
            named(conv=nn.Conv2d(3, 4, 3, device="meta")),
            torch.zeros(1, 3, 8, 8),
            "Conv2d 'conv' has its weights on meta, gets an input on cpu: move the input with "
            ".to('meta')",
        ),
        (
            named(a=nn.Conv2d(3, 4, 3), fc=nn.Linear(6, 2, device="meta")),
            torch.zeros(1, 3, 8, 8),
            "Linear 'fc' has its weights on meta, gets an input on cpu",
        ),
        (
            named(conv=nn.Conv2d(3, 4, 3)),
            torch.zeros(1, 3, 8, 8, dtype=torch.float64),
            "Conv2d 'conv' has weights of torch.float32, gets an input of torch.float64",
        ),
        (
            Block(lambda m, x: x + torch.zeros(3, device="meta")),
            torch.zeros(1, 3),
            "add in Block gets tensors on cpu and meta: move one with .to()",
        ),
    ],
)
def test_an_input_in_the_wrong_place(model, x, message):
    with pytest.raises(CostError) as error:
        summary(model, x)
    text = str(error.value).replace("meta and cpu", "cpu and meta")
    assert text.startswith(message)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((3, 0, 32), "input_size must hold positive whole numbers, got (3, 0, 32)"),
        ((3, -1, 32), "input_size must hold positive whole numbers, got (3, -1, 32)"),
        ((3, 2.5, 32), "input_size must hold positive whole numbers, got (3, 2.5, 32)"),
        ("3,32,32", "input_size must hold positive whole numbers, got '3,32,32'"),
        (None, "input_size must hold positive whole numbers, got None"),
    ],
)
def test_bad_sizes(size, message):
    with pytest.raises(ValueError) as error:
        summary(nn.Conv2d(3, 4, 3), size)
    assert str(error.value) == message


def test_bad_models_and_options():
    with pytest.raises(TypeError, match="has been built, got the class Conv2d"):
        summary(nn.Conv2d, IMAGE)
    with pytest.raises(TypeError, match="has been built, got builtin_function_or_method"):
        summary(torch.relu, IMAGE)
    with pytest.raises(ValueError, match="batch_size must be a positive whole number, got 0"):
        summary(nn.Conv2d(3, 4, 3), IMAGE, batch_size=0)


def test_the_table_up_to_the_failing_row():
    model = BAD["features"][0]
    with pytest.raises(CostError) as error:
        summary(model, IMAGE)
    lines = error.value.table.splitlines()
    rows = [line.split()[0] for line in lines[4:7]]
    assert rows == ["conv", "pool", "flat"]
    assert any("256×6×6" in line or "6×6" in line for line in lines)
    assert error.value.table in "".join(error.value.__notes__)  # shown below the message


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: nn.Sequential(nn.LazyConv2d(4, 3)),
            "LazyConv2d '0' cannot be followed: it is lazy",
        ),
        (
            lambda: nn.Sequential(torch.jit.script(nn.Conv2d(3, 4, 3))),
            "RecursiveScriptModule '0' is TorchScript, give its source",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")
def test_what_cannot_be_followed(build, message):
    with pytest.raises(CostError) as error:
        summary(build(), IMAGE)
    assert str(error.value).startswith(message)


class NotSetUp(nn.Module):
    def __init__(self):
        pass


@pytest.mark.parametrize(
    ("model", "size", "options", "message"),
    [
        (nn.Conv2d(3, 8, 3), (224, 224, 3), {}, "the channels come first, as in (3, 224, 224)"),
        (named(a=nn.Conv2d(3, 8, 3), b=nn.BatchNorm1d(8)), IMAGE, {}, "take BatchNorm2d"),
        (named(a=nn.Conv2d(3, 8, 3), b=nn.Conv1d(8, 8, 3)), IMAGE, {}, "take Conv2d"),
        (nn.Conv2d(3, 8, 3), IMAGE, {"dtype": "float16"}, "got 'float16' (torch.float16)"),
        (nn.Conv2d(3, 8, 3), IMAGE, {"batch_size": True}, "whole number, got True"),
        (nn.Conv2d(3, 8, 3), {1, 2}, {}, "an input size is a tuple, which has an order"),
        (nn.Conv2d(3, 8, 3), [], {}, "must hold positive whole numbers, got []"),
        (nn.Conv2d(3, 8, 3), nn.ReLU(), {}, "a tensor, or a list or dict of them, got a ReLU"),
        (nn.GroupNorm(2, 4), (6, 8, 8), {}, "gets 6 in (1, 6, 8, 8): set num_channels=6"),
        (nn.Embedding(10, 4), (5,), {}, "give dtype=torch.long, or a tensor"),
        (NotSetUp(), (3,), {}, "NotSetUp was not set up: call super().__init__() first"),
        (Block(lambda m, x: None), (3,), {}, "returns None: is its return missing?"),
    ],
)
def test_advice_is_right(model, size, options, message):
    with pytest.raises((ValueError, TypeError)) as error:
        summary(model, size, **options)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_errors_keep_their_cause():
    class Mistake(nn.Module):
        def forward(self, x):
            return x.nothing_like_it

    with pytest.raises(CostError) as error:
        summary(Mistake(), IMAGE)
    assert isinstance(error.value.__cause__, AttributeError)


def test_many_unknown_operations_make_one_warning():
    def forward(_, x):
        return torch.linalg.inv(x) + torch.linalg.matrix_exp(x)

    with pytest.warns(CostWarning) as caught:
        summary(Block(forward), (4, 4))
    assert len(caught) == 1
    assert "linalg_inv, linalg_matrix_exp" in str(caught[0].message)


def test_frames_do_not_leak_between_calls():
    """After an error the next summary starts clean."""
    for _ in range(2):
        with pytest.raises(CostError, match="'fc' expects"):
            summary(BAD["features"][0], IMAGE)
    x = torch.zeros(1, 3, 4, 4)
    assert F.relu(x).shape == x.shape  # torch is its own again
    assert summary(nn.Conv2d(3, 4, 3), IMAGE).total_macs == 4 * 30 * 30 * 27
