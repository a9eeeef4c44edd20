"""A wrong call is answered with one sentence, in the words of whoever calls."""

import re

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from cnnlab.cost import compare, explain, fits, summary, summary_text

IMAGE = (3, 32, 32)


class F(nn.Module):
    """A module whose forward pass is this function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 30 * 30, 10))


def of(function):
    return summary(F(function), IMAGE)


def table():
    return summary(net(), IMAGE)


def forever(x):
    return forever(x)


def asserts(x):
    assert x.shape[1] == 1


BUILT = "takes an nn.Module that has been built, got"
WHOLE = "input_size must hold positive whole numbers, got"
SIZED = "a tensor, or a list or dict of them, got a"
BATCH = "batch_size must be a positive whole number, got"
MEMORY = "memory must be like '8 GB', or a number of bytes, got"
MODELS = {
    "None": (lambda: summary(None, IMAGE), f"{BUILT} NoneType"),
    "name": (lambda: summary("resnet18", IMAGE), f"{BUILT} str"),
    "list": (lambda: summary([nn.ReLU()], IMAGE), f"{BUILT} list"),
    "builder": (lambda: summary(torchvision.models.resnet18, IMAGE), f"{BUILT} function"),
    "weights": (lambda: summary(net().state_dict(), IMAGE), f"{BUILT} OrderedDict"),
    "compared": (lambda: compare(net(), "resnet34", IMAGE), f"{BUILT} str"),
    "fitted": (lambda: fits("resnet18", IMAGE, "8 GB"), f"fits {BUILT} str"),
    "no size": (lambda: compare(table(), net()), "two models and an input_size"),
    "explained": (lambda: explain(net(), "0"), "returns, got a Sequential"),
}
INPUTS = {
    "word": (lambda: summary(net(), IMAGE, batch_size="4"), f"{BATCH} '4'"),
    "float": (lambda: summary(net(), IMAGE, batch_size=2.0), f"{BATCH} 2.0"),
    "negative": (lambda: summary(net(), IMAGE, batch_size=-1), f"{BATCH} -1"),
    "None": (lambda: summary(net(), IMAGE, batch_size=None), f"{BATCH} None"),
    "tuple": (lambda: summary(net(), IMAGE, batch_size=(4,)), f"{BATCH} (4,)"),
    "bits": (lambda: summary(net(), IMAGE, dtype=16), "such as torch.float16, got 16"),
    "numpy's type": (lambda: summary(net(), IMAGE, dtype=np.float32), "<class 'numpy.float32'>"),
    "types": (lambda: summary(net(), [IMAGE], dtype=["int"]), "got 'int' (torch.int)"),
    "type of none": (lambda: summary(net(), IMAGE, dtype={"y": torch.long}), "'y', which is no"),
    "type of 3": (lambda: summary(net(), [IMAGE], dtype={3: torch.long}), "3, which is no input"),
    "empty": (lambda: summary(net(), ()), f"{WHOLE} ()"),
    "empty dict": (lambda: summary(net(), {}), WHOLE + " {}"),
    "word in size": (lambda: summary(net(), (3, "32", 32)), f"{WHOLE} (3, '32', 32)"),
    "nan": (lambda: summary(net(), (3, float("nan"), 32)), f"{WHOLE} (3, nan, 32)"),
    "frozenset": (lambda: summary(net(), frozenset(IMAGE)), f"{SIZED} frozenset"),
    "range": (lambda: summary(net(), range(3)), f"{SIZED} range"),
    "function": (lambda: summary(net(), len), f"{SIZED} builtin_function"),
    "one float": (lambda: summary(net(), 3.5), f"{WHOLE} 3.5"),
    "letters": (lambda: summary(net(), np.array(["a"])), "an array of numbers is an input, got"),
    "two inputs": (lambda: summary(net(), [IMAGE, IMAGE]), "takes 2 positional arguments but 3"),
    "a dict": (lambda: summary(net(), {"y": IMAGE}), "a dict stands where it takes a tensor"),
    "as text": (lambda: summary(net(), "3,32,32"), f"{WHOLE} '3,32,32'"),
    "values": (lambda: summary(net(), IMAGE, values="no"), "values must be True, False or None"),
    "unknown": (lambda: summary(net(), IMAGE, mask=None), "unexpected keyword argument 'mask'"),
    "no batch": (lambda: summary(net(), torch.zeros(3)), "expects an input (N, 3, H, W), gets (3)"),
    "whole numbers": (
        lambda: summary(net(), torch.zeros(1, 3, 32, 32, dtype=torch.long)),
        "Conv2d '0' has weights of torch.float32, gets an input of torch.int64",
    ),
}
LAYERS = {
    "transposed": (lambda: summary(nn.ConvTranspose2d(4, 2, 3), IMAGE), "4 input channels, gets 3"),
    "all padded": (lambda: summary(nn.ConvTranspose2d(3, 2, 1, padding=20), IMAGE), "nothing is"),
    "Conv1d": (lambda: summary(nn.Conv1d(3, 4, 3), IMAGE), "take Conv2d"),
    "Conv3d": (lambda: summary(nn.Conv3d(3, 4, 3), IMAGE), "take Conv2d"),
    "clip": (lambda: summary(nn.Conv2d(3, 4, 3), (8, *IMAGE)), "input_size without the batch"),
    "wide pool": (lambda: summary(nn.MaxPool2d(40), IMAGE), "kernel_size 40 exceeds the padded"),
    "padded pool": (lambda: summary(nn.MaxPool2d(2, padding=2), IMAGE), "half the pooling kernel"),
    "deep pool": (lambda: summary(nn.AvgPool3d(9), (3, 8, 8, 8)), "larger than (8, 8, 8)"),
    "vector": (lambda: summary(nn.AdaptiveAvgPool2d(2), (5,)), "(N, C, H, W), gets (1, 5)"),
    "layer norm": (lambda: summary(nn.LayerNorm(16), (3, 8)), "end in (16), gets (1, 3, 8)"),
    "BatchNorm3d": (lambda: summary(nn.BatchNorm3d(4), (4, 8, 8)), "take BatchNorm2d"),
    "LSTM": (lambda: summary(nn.LSTM(8, 4), (5, 7)), "Expected 8, got 7"),
    "attention": (lambda: summary(nn.MultiheadAttention(8, 2), (5, 8)), "'key' and 'value'"),
    "linear": (lambda: summary(nn.Linear(8, 4), (5, 7)), "set in_features=7"),
    "bilinear": (lambda: summary(nn.Bilinear(3, 4, 2), [(3,), (5,)]), "3 and 4 features, gets 3"),
    "unflatten": (lambda: summary(nn.Unflatten(1, (2, 2)), (5,)), "don't multiply up"),
    "shuffle": (lambda: summary(nn.PixelShuffle(2), IMAGE), "upscale_factor = 2"),
    "upsample": (lambda: summary(nn.Upsample(), IMAGE), "either size or scale_factor"),
    "reflection": (lambda: summary(nn.ReflectionPad2d(40), IMAGE), "Padding size should be less"),
    "GLU": (lambda: summary(nn.GLU(), (3, 32, 33)), "must be even, but dimension 3 is size 33"),
}
FORWARDS = {
    "cat": (lambda: of(lambda x: torch.cat([x, x[0]])), "4 and 3 dimensions"),
    "stack": (lambda: of(lambda x: torch.stack([x, x[:, :1]])), "tensor to be equal size"),
    "index": (lambda: of(lambda x: x[5]), "index 5 is out of bounds for dimension 0 with size 1"),
    "permute": (lambda: of(lambda x: x.permute(0, 1)), "permute in F cannot take (1, 3, 32, 32)"),
    "squeeze": (lambda: of(lambda x: x.squeeze(9)), "but got 9"),
    "split": (lambda: of(lambda x: x.split([1, 1], 1)), "sum exactly to 3"),
    "sum": (lambda: of(lambda x: x + torch.ones(5)), "32 and 5 in dimension 3 disagree"),
    "in place": (lambda: of(lambda x: x.add_(torch.ones(2, 1, 1, 1))), "cannot write (2, 3, 32"),
    "einsum": (lambda: of(lambda x: torch.einsum("ab,bc->ac", x, x)), "einsum in F cannot take"),
    "attribute": (lambda: of(lambda x: x.nothing()), "'Tensor' object has no attribute 'nothing'"),
    "division": (lambda: of(lambda x: 1 / 0), "F cannot be followed: ZeroDivisionError"),
    "a word": (lambda: of(lambda x: "done"), "the forward pass in F returns 'done', and no tensor"),
    "no layer": (lambda: of(lambda x: nn.Module().fc(x)), "'Module' object has no attribute 'fc'"),
    "asserts": (lambda: of(asserts), "F cannot be followed: AssertionError"),
    "forever": (lambda: of(forever), "maximum recursion depth exceeded"),
    "decides": (
        lambda: summary(F(lambda x: x if x.sum() > 0 else -x), IMAGE, values=False),
        "bool in F needs the values of a tensor, and there are only shapes",
    ),
}
RESULTS = {
    "units": (lambda: fits(net(), IMAGE, "8 XB"), f"{MEMORY} '8 XB'"),
    "words": (lambda: fits(net(), IMAGE, "eight"), f"{MEMORY} 'eight'"),
    "nothing": (lambda: fits(net(), IMAGE, 0), f"{MEMORY} 0"),
    "less": (lambda: fits(net(), IMAGE, "-5 GB"), f"{MEMORY} '-5 GB'"),
    "True": (lambda: fits(net(), IMAGE, True), f"{MEMORY} True"),
    "float": (lambda: fits(net(), IMAGE, 8.0), f"{MEMORY} 8.0"),
    "optimizer": (lambda: fits(net(), IMAGE, "8 GB", optimizer="lion"), "one of sgd, momentum,"),
    "most": (lambda: fits(net(), IMAGE, "8 GB", most=0), "most must be a positive whole number"),
    "batch": (lambda: fits(net(), IMAGE, "8 GB", batch_size=3), "looks for the batch itself"),
    "tensor": (lambda: fits(net(), torch.zeros(1, *IMAGE), "8 GB"), "looks for the batch itself"),
    "no row": (lambda: table()["4"], "no operation or module is called '4'"),
    "99": (lambda: table()[99], "there are 4 rows, counted from 0: no row 99"),
    "explain": (lambda: explain(table(), "conv"), "no operation or module is called 'conv'"),
    "depth": (lambda: table().by_depth("1"), "depth must be at least 1, got '1'"),
    "yes": (lambda: table().by_depth(True), "depth must be at least 1, got True"),
    "tree": (lambda: table().tree(0), "depth must be at least 1, got 0"),
    "slice": (lambda: table()[0:2], "found by its name or its place, got slice(0, 2, None)"),
    "explain None": (lambda: explain(table(), None), "by its name or its place, got None"),
    "columns": (lambda: table().text(columns=3), "columns must be a list of names, got 3"),
    "wide": (lambda: table().text(True), "width must be a positive whole number, got True"),
    "first": (lambda: table().sorted("macs", True), "count must be a whole number, got True"),
    "fits": (lambda: fits(net(), (5, 32, 32), "1 GB"), "expects 3 input channels, gets 5"),
    "column": (lambda: table().text(columns=["parms"]), "'parms': did you mean params?"),
    "width": (lambda: table().text("80"), "width must be a positive whole number, got '80'"),
    "no width": (lambda: table().text(0), "width must be a positive whole number, got 0"),
    "sorted": (lambda: table().sorted("mac"), "no column is called 'mac': did you mean macs?"),
    "count": (lambda: table().sorted("macs", "3"), "count must be a whole number, got '3'"),
    "training": (lambda: table().training_memory(None), "one of sgd, momentum, adam, got None"),
}
COMMANDS = {
    "near": (lambda: summary_text("resnet5"), "did you mean resnet50 or"),
    "no name": (lambda: summary_text(""), "your own is 'module:attribute'"),
    "format": (lambda: summary_text("resnet18", format="xml"), "html, got 'xml'"),
    "x": (lambda: summary_text("resnet18", "3x224x224"), "must look like 3,224,224, got '3x224"),
    "commas": (lambda: summary_text("resnet18", "3,,4"), "must look like 3,224,224, got '3,,4'"),
    "negative": (lambda: summary_text("resnet18", "3,-1,4"), f"{WHOLE} (3, -1, 4)"),
    "dtype": (lambda: summary_text("resnet18", dtype="float17"), "such as float16, got 'float17'"),
    "columns": (lambda: summary_text("resnet18", columns="nam"), "did you mean name?"),
    "depth": (lambda: summary_text("resnet18", depth=0), "depth must be at least 1, got 0"),
    "compare": (lambda: summary_text("resnet18", compare="resnet"), "did you mean resnet50 or"),
    "file": (lambda: summary_text("nofile.py:Net"), "'nofile.py' cannot be imported"),
    "module": (lambda: summary_text("nothing_here:Net"), "No module named 'nothing_here'"),
    "attribute": (lambda: summary_text("json:dump_"), "has no 'dump_', did you mean dump"),
    "arguments": (lambda: summary_text("json:dumps"), "must build without arguments"),
    "None": (lambda: summary_text(None), "a model goes by a name such as 'resnet50', got None"),
    "sort": (lambda: summary_text("resnet18", sort="speed"), "no column is called 'speed'; there"),
    "csv": (lambda: summary_text("resnet18", format="csv", columns="name"), "tree, not of csv"),
    "number": (lambda: summary_text("math:pi"), "'math:pi' is a float, not an nn.Module"),
}
CALLS = {
    f"{name}: {what}": call
    for name, calls in {
        "model": MODELS, "input": INPUTS, "layer": LAYERS, "forward": FORWARDS, "result": RESULTS,
        "command": COMMANDS,
    }.items()
    for what, call in calls.items()
}  # fmt: skip
JARGON = re.compile(r"ShapeTensor|\btrace\b|\bmeta\b|torch_function|Traceback|\bHeld\b|\bNode\b")


@pytest.mark.parametrize(("call", "words"), CALLS.values(), ids=CALLS)
def test_a_wrong_call_gets_one_sentence(call, words):
    with pytest.raises((ValueError, TypeError, LookupError)) as error:
        call()
    message = str(error.value.args[0])
    sentence = message.split("\n\nUp to there:")[0]  # below it the command shows the table
    assert words in sentence
    assert "\n" not in sentence and not JARGON.search(sentence)
