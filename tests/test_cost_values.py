"""What needs values is run with values, and says so."""

import dataclasses
import math
import pickle
from collections import OrderedDict
from copy import deepcopy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.flop_counter import FlopCounterMode

from cnnlab.cost import CostError, summary


class Function(nn.Module):
    """A module whose forward pass is this function."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *inputs, **named):
        return self.function(self, *inputs, **named)


def conv(k=3):
    return nn.Conv2d(3, 4, k)


MACS = 4 * 6 * 6 * 27  # of this on an image of 8×8


@dataclasses.dataclass
class Batch:
    x: object
    words: str = "as it is"


class OneDict(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv()

    def forward(self, maps):
        return OrderedDict((name, self.conv(x)) for name, x in maps.items())


SIZE = (3, 8, 8)
INPUTS = {
    "None": (lambda m, x, mask=None: m.conv(x), [SIZE, None], {}),
    "flag": (lambda m, x, on: m.conv(x) if on is True else 1 / 0, {"x": SIZE, "on": True}, {}),
    "named": (lambda m, x, k, on: m.conv(x) if (k, on) == (3, None) else 1 / 0, SIZE,
              {"k": 3, "on": None}),
    "numpy's numbers": (lambda m, x: m.conv(x), tuple(np.array(SIZE)), {}),
    "array": (lambda m, x: m.conv(x), np.zeros((1, *SIZE), np.float32), {}),
    "dict": (lambda m, d: m.conv(d["a"]), [{"a": SIZE, "b": None}], {}),
    "list": (lambda m, xs: m.conv(xs[0]), [[SIZE, (5,)]], {}),
    "dataclass": (lambda m, batch: Batch(m.conv(batch.x)), [Batch(SIZE)], {}),
    "tensor among them": (lambda m, d: m.conv(d["a"][0]), [{"a": [torch.zeros(1, *SIZE)]}], {}),
}  # fmt: skip


@pytest.mark.parametrize(("function", "size", "named"), INPUTS.values(), ids=INPUTS)
def test_inputs_of_every_kind(function, size, named):
    result = summary(Function(function, conv=conv()), size, **named)
    assert result.total_macs == MACS and not result.with_values
    assert "conv" in str(result) and result.to_dict()["rows"]


def test_a_dict_that_is_one_input():
    result = summary(OneDict(), OrderedDict(a=SIZE, b=(3, 9, 9)))
    assert result.output_shape == {"a": (1, 4, 6, 6), "b": (1, 4, 7, 7)}
    assert result.receptive_field == {"a": 3, "b": 3}


def test_a_type_for_each_input():
    def forward(m, words, image):
        return m.embedding(words).sum() + m.conv(image).sum()

    model = Function(forward, embedding=nn.Embedding(5, 4), conv=conv())
    for dtype in ([torch.long, None], {0: torch.long}):
        assert summary(model, [(4,), SIZE], dtype=dtype).total_macs == MACS
    words = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2))
    result = summary(words, (5,), dtype=torch.long)
    assert result.output_shape == (1, 5, 2) and result.training_memory()["parameters"] == 50 * 4


def packed(m, x):
    sequence = pack_padded_sequence(x, torch.tensor([3, 2]), batch_first=True)
    return pad_packed_sequence(m.lstm(sequence)[0], batch_first=True)[0]


NEEDING = {  # forward pass, layers, input, output, MACs
    "control flow": (lambda m, x: x if x.mean() > 0 else -x, {}, SIZE, (1, 3, 8, 8), 0),
    "item": (lambda m, x: m.c(x * x.max().item()), {"c": conv()}, SIZE, (1, 4, 6, 6), MACS),
    "mask": (lambda m, x: x[x > -1].sum(), {}, SIZE, (), 0),
    "numpy": (lambda m, x: m.c(torch.from_numpy(x.numpy())), {"c": conv()}, SIZE, (1, 4, 6, 6),
              MACS),
    "vmap": (lambda m, x: torch.vmap(torch.sum)(m.c(x)), {"c": conv()}, SIZE, (1,), MACS),
    "packed sequence": (packed, {"lstm": nn.LSTM(4, 5, batch_first=True)},
                        torch.zeros(2, 3, 4), (2, 3, 5), 5 * (4 * 5 * (4 + 5))),
}  # fmt: skip


@pytest.mark.parametrize(
    ("function", "layers", "size", "shape", "macs"), NEEDING.values(), ids=NEEDING
)
def test_what_needs_values_is_run(function, layers, size, shape, macs):
    model = Function(function, **layers).eval()
    result = summary(model, size)
    assert (result.output_shape, result.total_macs) == (shape, macs)
    assert result.not_counted == []
    assert result.with_values and "RUN WITH VALUES" in str(result)
    with pytest.raises(CostError):
        summary(model, size, values=False)


def test_a_distribution_is_counted_with_values_or_without():
    def sample(m, x):
        return torch.distributions.Normal(m.l(x), m.l(x).exp()).rsample()

    model = Function(sample, l=nn.Linear(4, 2))
    for values in (None, True):
        result = summary(model, (4,), values=values)
        assert (result.output_shape, result.total_macs) == ((1, 2), 16)


def test_a_run_counts_what_a_trace_counts():
    model = torchvision.models.mobilenet_v2().eval()
    a, b = (summary(model, (3, 64, 64), values=values) for values in (None, True))
    assert b.with_values and not a.with_values
    assert (a.total_macs, a.unused_params) == (b.total_macs, b.unused_params)
    assert a.receptive_field == b.receptive_field
    rows = [[(row.name, row.output_shape, row.macs) for row in s.rows if row.macs] for s in (a, b)]
    assert rows[0] == rows[1]


@pytest.mark.filterwarnings("ignore")  # torch calls its quantization deprecated
def test_layers_of_whole_numbers():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 5))
    macs = summary(network, SIZE).total_macs
    dynamic = torch.ao.quantization.quantize_dynamic(network, {nn.Linear})
    static = torch.ao.quantization.QuantWrapper(network).eval()
    static.qconfig = torch.ao.quantization.get_default_qconfig("fbgemm")
    torch.ao.quantization.prepare(static, inplace=True)(torch.rand(1, *SIZE))
    torch.ao.quantization.convert(static, inplace=True)
    for model in (dynamic, static):
        result = summary(model, SIZE)
        assert (result.total_macs, result.not_counted) == (macs, [])


def test_what_is_free_by_definition_warns_of_nothing(recwarn):
    fourier = Function(lambda m, x: torch.fft.irfft2(torch.fft.rfft2(m.c(x))), c=conv())
    result = summary(fourier, SIZE)
    assert (result.total_macs, result.receptive_field) == (MACS, math.inf)
    assert summary(nn.CrossMapLRN2d(5), SIZE).total_macs == 0
    mapped = Function(lambda m, x: torch.vmap(m.c)(x[None]), c=conv())
    assert summary(mapped, SIZE).total_macs == MACS
    assert not recwarn.list


def test_a_field_that_is_lost_says_where():
    rolled = Function(lambda m, x: m.c(x.roll(1, 2)), c=conv())
    result = summary(rolled, SIZE)
    assert result.receptive_field is None and result.lost_field == "roll"
    assert "receptive field (RF): not known after roll" in str(result)
    assert summary(conv(), SIZE).lost_field is None


def test_unpooling_moves_as_upsampling_does():
    def unpooled(m, x):
        y, places = m.pool(m.c(x))
        return m.d(F.max_unpool2d(y, places, 2))

    pool = nn.MaxPool2d(2, return_indices=True)
    a = summary(Function(unpooled, c=conv(), pool=pool, d=nn.Conv2d(4, 4, 3)), SIZE)
    b = nn.Sequential(conv(), nn.MaxPool2d(2), nn.Upsample(scale_factor=2), nn.Conv2d(4, 4, 3))
    assert a.receptive_field == summary(b, SIZE).receptive_field == 6
    overlapping = Function(lambda m, x: F.max_unpool2d(x, torch.zeros(1, 3, 8, 8).long(), 3, 2, 1))
    assert summary(overlapping, SIZE).receptive_field is None


DETECTORS = torchvision.models.list_models(module=torchvision.models.detection)


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_detectors(name):
    torch.manual_seed(0)
    size = {} if name.startswith("ssd") else {"min_size": 96}
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None, **size).eval()
    twin, x = deepcopy(model), [torch.rand(3, 96, 128)]
    result = summary(model, [x])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        found = model(x)
    assert result.total_macs == counter.get_total_flops() // 2
    assert result.with_values and result.not_counted == []
    with torch.no_grad():  # unharmed
        torch.testing.assert_close(found, twin(x), rtol=0, atol=0)


def test_the_field_is_that_of_the_outputs():
    def dead(m, x):
        y = m.a(x)
        m.b(x)
        return y

    a, b = nn.Conv2d(3, 4, 7), nn.Conv2d(3, 4, 1)
    assert summary(Function(dead, a=a, b=b), (3, 16, 16)).receptive_field == 7
    heads = Function(lambda m, x: (m.a(x), m.b(x)), a=a, b=b)
    assert summary(heads, (3, 16, 16)).receptive_field == (7, 1)

    def assembled(m, x):
        out = torch.zeros(x.shape[0], 4, *x.shape[2:])
        out[:, :2] = m.a(x)[:, :2]
        return m.b(out)

    layers = {"a": nn.Conv2d(3, 4, 3, padding=1), "b": nn.Conv2d(4, 4, 3, padding=1)}
    assert summary(Function(assembled, **layers), (3, 16, 16)).receptive_field == 5
    with torch.device("meta"):
        fcn = torchvision.models.segmentation.fcn_resnet50(
            weights=None, weights_backbone=None, aux_loss=True
        ).eval()
    assert summary(fcn, (3, 224, 224)).receptive_field == {"out": 451, "aux": 291}


def test_parameters_are_found_wherever_they_stand():
    def forward(m, x):
        kernel = nn.functional.conv2d(m.image, m.kernel)
        y = nn.functional.conv2d(x, kernel.expand(2, 3, -1, -1) * m.gain)
        q = m.query.expand(x.shape[0], -1, -1)
        return nn.functional.scaled_dot_product_attention(q, y.flatten(2).mT, y.flatten(2).mT)

    shapes = {"image": (1, 1, 5, 5), "kernel": (1, 1, 3, 3), "gain": (1,), "query": (1, 6, 2)}
    layers = {name: nn.Parameter(torch.ones(shape)) for name, shape in shapes.items()}
    result = summary(Function(forward, **layers), SIZE)
    assert result.unused_params == 0
    assert sum(row.params for row in result.rows) == result.total_params == 25 + 9 + 1 + 12


def test_a_summary_can_be_pickled_and_copied():
    result = summary(torchvision.models.resnet18().eval(), (3, 64, 64))
    for copy in (pickle.loads(pickle.dumps(result)), deepcopy(result)):
        assert str(copy) == str(result)
        assert copy.training_memory() == result.training_memory()
        assert copy.sources == result.sources
