"""What `summary` says of networks whose numbers are known, and that it leaves them alone."""

import csv
import doctest
import gc
import io
import json
import math
import sys
import weakref
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune
import torchvision
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import cnnlab
from cnnlab import cost
from cnnlab.cost import CostWarning, summary, summary_text
from tests.slide_networks import module, net, resnet

IMAGE = (3, 224, 224)
GOLDEN = {
    row["network"]: row
    for row in csv.DictReader((Path(__file__).parent / "data" / "golden_totals.csv").open())
}
TORCHVISION = {
    "AlexNet 64f torchvision 224": "alexnet",
    "VGG11": "vgg11",
    "VGG13": "vgg13",
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "ResNet-18 v1 (stride first), option B": "resnet18",
    "ResNet-34 v1 (stride first), option B": "resnet34",
    "ResNet-50 v1.5 (=torchvision)": "resnet50",
    "ResNet-101 v1.5 (=torchvision)": "resnet101",
    "ResNet-152 v1.5 (=torchvision)": "resnet152",
    "WRN-50-2 bottleneck": "wide_resnet50_2",
    "ResNeXt-50 32x4d": "resnext50_32x4d",
    "ResNeXt-101 64x4d": "resnext101_64x4d",
    "DenseNet-121 (torchvision)": "densenet121",
    "DenseNet-161 (torchvision)": "densenet161",
    "DenseNet-169 (torchvision)": "densenet169",
    "DenseNet-201 (torchvision)": "densenet201",
    "SqueezeNet 1.0 (tv, 224)": "squeezenet1_0",
    "SqueezeNet 1.1 (tv)": "squeezenet1_1",
    "MobileNetV2 (tv)": "mobilenet_v2",
    "ShuffleNetV2 1.0 (tv)": "shufflenet_v2_x1_0",
    **{f"EfficientNet-B{i} (tv, {size})": f"efficientnet_b{i}"
       for i, size in enumerate((224, 240, 260, 300, 380, 456, 528, 600))},
}  # fmt: skip
STATED = {
    "LeNet (002 slide 20-50-500, 28x28)": "lenet_slides",
    "LeNet-5 dense C3 (32x32)": "lenet5",
    "MNIST CNN (004)": "mnist_cnn",
    "AlexNet slide 64f 227 pad2": "alexnet_slides",
    "AlexNet 96f ungrouped 227 (001)": "alexnet_one_column",
    "AlexNet 2-GPU grouped 227 (003/paper)": "alexnet_two_gpu",
    "AlexNet d2l 224 pad1 (000: 5x5x256)": "alexnet_d2l",
    "ZFNet paper 224": "zfnet",
    "VGG16 slide-error (2 conv in stage 3)": "vgg16_twelve_convs",
    "Inception naive (128/192/96, 256in, 28x28)": "inception_naive",
    "Inception reduced (+64 bottlenecks)": "inception_reduced",
    "GoogLeNet paper (5x5, bias, no BN, no aux)": "googlenet_paper",
    **{f"ResNet-{depth} v1 (stride first), option B": f"resnet{depth}_v1"
       for depth in (18, 34, 50, 101, 152)},
    "ResNet-34 v1 option A": "resnet34_v1_a",
}  # fmt: skip


def on_meta(name, **options):
    with torch.device("meta"):
        return torchvision.models.get_model(name, weights=None, **options).eval()


def assert_golden(result, row):
    assert result.total_params == int(row["params"])
    assert result.total_macs == int(row["macs_conv_fc"])
    assert result.total_macs_with_pools == int(row["flop_slide_with_pools"])
    mib = f"{result.total_memory / 2**20:.2f}", f"{result.total_memory_with_pools / 2**20:.2f}"
    assert mib == (row["conv_fc_outputs_mib"], row["with_pool_outputs_mib"])


@pytest.mark.parametrize("network", TORCHVISION)
def test_golden_totals_of_torchvision(network):
    row = GOLDEN[network]
    size = tuple(map(int, row["input"].split("x")))
    assert_golden(summary(on_meta(TORCHVISION[network]), size), row)


def test_golden_totals_of_googlenet():
    network = on_meta("googlenet", aux_logits=False, init_weights=False)
    row = dict(GOLDEN["GoogLeNet BN 3x3-for-5x5 no aux (=torchvision)"])
    # torchvision's last max pool has 2×2 windows, the paper's, which the golden total has, 3×3
    difference = 832 * 7 * 7 * (3 * 3 - 2 * 2)
    row["flop_slide_with_pools"] = int(row["flop_slide_with_pools"]) - difference
    assert_golden(summary(network, IMAGE), row)


@pytest.mark.parametrize("network", STATED)
def test_golden_totals_of_the_slides(network):
    assert_golden(net(STATED[network]), GOLDEN[network])


def test_rows_of_alexnet():
    """Corrected rows of the 64-filter network: KB, parameters, MACs."""
    rows = {
        "conv1": (784, 23_296, 72_855_552), "pool1": (182.25, 0, 419_904),
        "conv2": (546.75, 307_392, 223_948_800), "pool2": (126.75, 0, 292_032),
        "conv3": (253.5, 663_936, 112_140_288), "conv4": (169, 884_992, 149_520_384),
        "conv5": (169, 590_080, 99_680_256), "pool5": (36, 0, 82_944),
        "fc6": (16, 37_752_832, 37_748_736), "fc7": (16, 16_781_312, 16_777_216),
        "fc8": (3.90625, 4_097_000, 4_096_000),
    }  # fmt: skip
    result = net("alexnet_slides")
    got = {name: result[name] for name in rows}
    assert {n: (row.memory / 1024, row.params, row.macs) for n, row in got.items()} == rows
    assert [got[n].receptive_field for n in rows][:8] == [11, 19, 51, 67, 99, 131, 163, 195]
    conv2 = result["conv2"]
    assert (conv2.input_channels, conv2.input_size, conv2.filters) == (64, (27, 27), 192)
    assert (conv2.kernel_size, conv2.stride, conv2.padding, conv2.groups) == (
        (5, 5),
        (1, 1),
        (2, 2),
        1,
    )
    assert (conv2.output_channels, conv2.output_size, conv2.flops) == (192, (27, 27), 447_897_600)
    assert (result["fc6"].input_channels, result["fc6"].filters) == (9216, 4096)


class Tour(nn.Module):
    """One of everything that hides from hooks: sums, joins, functional calls, a free parameter."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, groups=1)
        self.bn = nn.BatchNorm2d(8)
        self.scale = nn.Parameter(torch.ones(8, 1, 1))
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        y = F.relu(self.bn(self.conv(x)))
        y = y + self.conv(x)
        y *= self.scale
        y = torch.cat([y, F.max_pool2d(y, 3, 1, 1)], 1)
        return self.head(F.adaptive_avg_pool2d(y, 1).flatten(1))


def test_every_operation_has_a_row():
    result = summary(Tour(), (3, 16, 16), batch_size=2)
    rows = [(row.name, row.type, row.kind) for row in result.rows]
    assert rows == [
        ("conv", "Conv2d", "conv"),
        ("bn", "BatchNorm2d", "norm"),
        ("relu", "relu", "activation"),
        ("conv #2", "Conv2d", "conv"),
        ("add", "add", "add"),
        ("mul", "mul", "elementwise"),
        ("max_pool2d", "max_pool2d", "pool"),
        ("cat", "cat", "concat"),
        ("adaptive_avg_pool2d", "adaptive_avg_pool2d", "pool"),
        ("flatten", "flatten", "view"),
        ("head", "Linear", "linear"),
    ]
    kilobytes = [row.memory / 1024 for row in result.rows]
    assert kilobytes == [16, 16, 16, 16, 16, 0, 16, 32, 0.125, 0, 10 * 2 * 4 / 1024]
    params = {row.name: row.params for row in result.rows if row.params}
    assert params == {"conv": 224, "bn": 16, "mul": 8, "head": 170}  # a second use counts nothing
    assert result.total_params == sum(params.values()) and result.unused_params == 0
    assert result.output_shape == (2, 10)
    assert result["cat"].output_shape == (2, 16, 16, 16)


def test_attention_is_counted():
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    x = torch.zeros(2, 10, 32)
    with FlopCounterMode(display=False) as counter:
        layer(x)
    result = summary(layer, (10, 32), batch_size=2)
    assert result.total_macs == counter.get_total_flops() // 2
    kinds = {row.kind for row in result.rows}
    assert {"linear", "matmul", "norm", "add"} <= kinds and result.unused_params == 0


class Products(nn.Module):
    def forward(self, x, y):
        a = torch.einsum("bij,bkj->bik", x, y)
        return torch.baddbmm(a, x, y.mT), x[0] @ y[0].T, torch.matmul(x, y[0, 0])


def test_products_of_matrices():
    x, y = torch.zeros(2, 5, 7), torch.zeros(2, 3, 7)
    result = summary(Products(), [(5, 7), (3, 7)], batch_size=2)
    with FlopCounterMode(display=False) as counter:
        Products()(x, y)
    matrix_by_vector = 2 * 5 * 7  # which torch's counter leaves out
    assert result.total_macs == counter.get_total_flops() // 2 + matrix_by_vector
    assert result.output_shape == ((2, 5, 3), (5, 3), (2, 5))


@pytest.mark.parametrize("rnn", [nn.LSTM, nn.GRU])
def test_recurrent_layers_count_as_torch_does(rnn):
    layer = rnn(6, 8, num_layers=2, batch_first=True)
    result = summary(layer, (5, 6), batch_size=2)
    with FlopCounterMode(display=False) as counter:  # which sees nothing of the fused CPU kernel
        layer.to("meta")(torch.zeros(2, 5, 6, device="meta"))
    assert result.total_macs == counter.get_total_flops() // 2 > 0
    assert result.unused_params == 0


def test_an_unknown_operation_is_named_not_silent():
    class Exponential(nn.Module):
        def forward(self, x):
            return torch.matrix_exp(x) + 1

    with pytest.warns(CostWarning, match="MACs of matrix_exp are not counted"):
        result = summary(Exponential(), (3, 8, 8))
    row = result.rows[0]
    assert (row.output_shape, row.counted) == ((1, 3, 8, 8), False)
    assert result.not_counted == ["matrix_exp"]
    assert "not counted" in str(result) and "NOT COUNTED: the MACs of matrix_exp" in str(result)


def test_totals_follow_the_mode():
    network = on_meta("googlenet", init_weights=False)
    evaluated, trained = summary(network, IMAGE), summary(network.train(), IMAGE)
    assert evaluated.total_macs == 1_498_376_192 < trained.total_macs
    assert evaluated.unused_params == 6_379_984 and trained.unused_params == 0
    assert "not used in this forward pass" in evaluated.text()
    assert evaluated.output_shape == (1, 1000)
    assert isinstance(trained.output_shape, tuple) and trained.output_shape.aux_logits1 == (1, 1000)


def test_batch_and_type_scale_what_they_should():
    network = net("resnet18_v1")
    batch = summary(module("resnet18_v1"), IMAGE, batch_size=4)
    half = summary(module("resnet18_v1"), IMAGE, dtype=torch.float16)
    assert batch.total_macs == 4 * network.total_macs
    assert batch.total_memory == 4 * network.total_memory == 8 * half.total_memory
    assert batch.total_params == half.total_params == network.total_params


def test_inputs_in_every_form():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.bilinear = nn.Linear(8, 4)

        def forward(self, image, vector=None):
            return self.bilinear(image.mean((2, 3))) + (0 if vector is None else vector)

    model, expected = Two(), (3, 4)
    tensors = [torch.zeros(3, 8, 5, 5), torch.zeros(3, 4)]
    assert summary(model, (8, 5, 5), batch_size=3).output_shape == expected
    assert summary(model, tensors[0]).output_shape == expected
    assert summary(model, [(8, 5, 5), (4,)], batch_size=3).output_shape == expected
    assert summary(model, tensors).output_shape == expected
    named = summary(model, {"vector": (4,), "image": (8, 5, 5)}, batch_size=3)
    assert named.output_shape == expected and "vector 3×4" in str(named)
    assert summary(nn.Linear(5, 2), 5).output_shape == (1, 2)
    tokens = torch.zeros(2, 6, dtype=torch.long)
    assert summary(nn.Embedding(10, 4), tokens).output_shape == (2, 6, 4)


def test_nothing_is_allocated_or_computed():
    """One map of this network alone would take 2.4 terabytes."""
    network = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
    assert summary(network, (3, 200_000, 200_000)).total_memory == 16 * 200_000**2 * 4


class Restless(nn.Module):
    """Changes itself in every way a forward pass can."""

    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(3)
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("average", torch.zeros(3))
        self.parametrized = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 1))

    def forward(self, x):
        self.calls += 1
        self.average.mul_(0.9).add_(x.mean((0, 2, 3)))
        self.last = self.average = x.mean((0, 2, 3))
        return self.parametrized(self.bn(x))


def test_the_model_is_as_it_was():
    model = Restless().train()
    seen = []
    hooks = [
        model.register_forward_hook(lambda *_: seen.append(1)),
        model.bn.register_forward_pre_hook(lambda *_: seen.append(2)),
    ]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    versions = [t._version for t in model.state_dict(keep_vars=True).values()]
    attributes = {path: dict(m.__dict__) for path, m in model.named_modules()}
    summary(model, (3, 4, 4), batch_size=2)
    with pytest.raises(ValueError):
        summary(model, (4, 4, 4))
    after = model.state_dict()
    assert after.keys() == before.keys() and all(map(torch.equal, after.values(), before.values()))
    assert [t._version for t in model.state_dict(keep_vars=True).values()] == versions
    for path, m in model.named_modules():
        assert m.__dict__.keys() == attributes[path].keys()
        assert all(m.__dict__[key] is value for key, value in attributes[path].items())
    assert not seen and len(model._forward_hooks) == 1 and model.training
    assert all(type(p) is nn.Parameter for p in model.parameters())
    model(torch.zeros(2, 3, 4, 4))
    assert seen == [2, 1] and [hook.remove() for hook in hooks]


def small():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: model.to("meta"),
        torch.compile,
        nn.DataParallel,
        nn.Sequential,
        lambda model: nn.Sequential(torch.compile(model)),
        lambda model: model.compile() or model,
    ],
    ids=["meta", "compiled", "DataParallel", "nested", "compiled child", "compile()"],
)
def test_works_on_every_device_and_wrapper(wrap):
    result, expected = summary(wrap(small()), (3, 8, 8)), summary(small(), (3, 8, 8))
    for what in ("type", "output_shape", "macs", "params", "receptive_field"):
        assert [getattr(row, what) for row in result.rows] == [
            getattr(row, what) for row in expected.rows
        ]


@pytest.mark.parametrize(
    "change",
    [
        nn.utils.weight_norm,
        nn.utils.parametrizations.weight_norm,
        lambda layer: nn.utils.prune.l1_unstructured(layer, "weight", 0.5),
    ],
    ids=["weight_norm with a hook", "weight_norm", "pruning"],
)
def test_weights_that_are_computed(change):
    layer = change(nn.Conv2d(3, 4, 3))
    result = summary(nn.Sequential(layer), (3, 8, 8))
    assert result.total_macs == 4 * 6 * 6 * 27
    assert result.total_params == sum(p.numel() for p in layer.parameters())
    assert result.unused_params == 0


def test_own_functions_and_checkpoints():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return 2 * x

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            x = checkpoint(self.conv, Double.apply(x), use_reentrant=False)
            return checkpoint(self.conv, x, use_reentrant=True)

    result = summary(Net(), (3, 8, 8))
    assert [row.type for row in result.rows] == ["mul", "Conv2d", "Conv2d"]
    assert result.output_shape == (1, 3, 8, 8)


def test_a_summary_does_not_keep_its_model():
    model = small()
    reference, result = weakref.ref(model), summary(model, (3, 8, 8))
    del model
    gc.collect()
    assert reference() is None
    assert result.total_params == 112 and result.receptive_field == 3
    assert result.training_memory()["gradients"] == 448


def test_groups_by_depth():
    result = summary(on_meta("resnet18"), IMAGE)
    stages = result.by_depth(1)
    names = [row.name for row in stages.rows]
    assert names == [
        "conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool",
        "flatten", "fc",
    ]  # fmt: skip
    for what in ("memory", "params", "macs", "flops"):
        totals = {sum(getattr(r, what) for r in table.rows) for table in (result, stages)}
        assert len(totals) == 1
    layer2 = result["layer2"]
    assert layer2 == stages.rows[5]
    assert (layer2.output_shape, layer2.kind) == ((1, 128, 28, 28), "group")
    assert layer2.macs == sum(r.macs for r in result.rows if r.name.startswith("layer2"))
    assert [row.name for row in result.by_depth(99).rows] == [row.name for row in result.rows]


def test_text_has_every_row_and_total():
    text = net("alexnet_slides").text()
    lines = text.splitlines()
    assert lines[0] == "Sequential, input 1×3×227×227, evaluation mode"
    (conv4,) = [line.split() for line in lines if line.strip().startswith("conv4")]
    assert " ".join(conv4) == (
        "conv4 Conv2d 384 13×13 256 3×3 1 1 256 13×13 169 884,992 149,520,384 299,040,768 131"
    )
    assert "61,100,840 parameters" in text
    assert "conv + linear: 716,767,232 MACs = 1,433,534,464 FLOPs" in text
    assert "with pools: 717,562,112 MACs" in text


@pytest.mark.parametrize("terminal", [False, True])
def test_only_a_terminal_narrows_the_text(monkeypatch, terminal):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    table = net("alexnet_slides")
    assert str(table) == repr(table) == table.text(80 if terminal else None)
    assert (max(map(len, str(table).splitlines())) <= 80) == terminal


def test_exports_hold_the_same_numbers(tmp_path):
    result = summary(resnet(18), (3, 64, 64))
    rows = list(csv.DictReader(io.StringIO(result.to_csv(tmp_path / "table.csv"))))
    assert (tmp_path / "table.csv").read_text() == result.to_csv()
    plain = json.loads(json.dumps(result.to_dict()))
    assert len(rows) == len(plain["rows"]) == len(result)
    for name in ("macs", "params", "memory_bytes"):
        attribute = name.removesuffix("_bytes")
        expected = [getattr(row, attribute) for row in result.rows]
        assert [int(row[name]) for row in rows] == expected
        assert [row[name] for row in plain["rows"]] == expected
    assert plain["total_macs"] == result.total_macs and plain["input_shape"] == [1, 3, 64, 64]
    assert plain["rows"][-1]["receptive_field"] == "all"
    markdown, latex = result.to_markdown(), result.to_latex()
    assert sum(line.startswith("| ") for line in markdown.splitlines()) == len(result) + 1
    assert latex.count(r"\\") == len(result) + 1 and r"layer1.0.bn\_" not in latex
    html = result._repr_html_()
    assert html.count("<tr>") == len(result) + 1 and "linear-gradient" in html


def test_lookup_by_name():
    result = net("resnet18_v1")
    with pytest.raises(KeyError, match="did you mean conv1"):
        result["cnv1"]
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        result.by_depth(0)


def test_receptive_field_of_a_gated_network_is_the_image():
    assert summary(on_meta("efficientnet_b0"), IMAGE).receptive_field == math.inf
    assert summary(nn.Linear(4, 2), 4).receptive_field is None


def test_command_formats():
    table = summary_text("resnet18", "3,224,224", depth=1)
    assert "1,814,073,344 MACs" in table and "evaluation mode" in table
    plain = json.loads(summary_text("resnet18", (3, 224, 224), "json"))
    assert plain["total_macs"] == 1_814_073_344
    assert summary_text("resnet18", "3,224,224", "csv").startswith("name,type,input_channels")
    assert summary_text("resnet18", "3,224,224", "markdown").startswith("| name | type |")
    assert "regnet" in summary_text("regnet_x_400mf", "3,32,32").lower()  # not built on meta


def test_command_takes_your_own_code(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Conv2d(3, 4, 3))\n"
        "net = Net()\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    expected = "972 MACs".replace("972", f"{4 * 6 * 6 * 27:,}")
    for name in ("mine:Net", "mine:net", "mine.py:Net", f"{tmp_path}/mine.py:net"):
        assert expected in summary_text(name, "3,8,8")
    assert "(2, 4)" not in summary_text("mine:Net", "3,8,8", batch_size=2)
    with pytest.raises(ValueError, match="has no 'Nat', did you mean Net"):
        summary_text("mine:Nat", "3,8,8")
    with pytest.raises(ValueError, match=r"is a int, not an nn\.Module"):
        summary_text("mine:number", "3,8,8")
    with pytest.raises(ValueError, match="'nowhere' cannot be imported"):
        summary_text("nowhere:Net", "3,8,8")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: summary_text("resnet5", "3,8,8"), "no model is called 'resnet5': did you mean"),
        (lambda: summary_text("resnet18", "3x8x8"), "must look like 3,224,224, got '3x8x8'"),
        (
            lambda: summary_text("resnet18", "3,8,8", "pdf"),
            "format must be one of table, tree, csv",
        ),
        (lambda: summary_text("torch.nn:Linear", "3"), "must build without arguments"),
    ],
)
def test_command_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_examples_and_names():
    assert doctest.testmod(cost).failed == 0
    assert cnnlab.summary is cost.summary


# --- the face ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["alexnet", "resnet50", "densenet201", "vit_b_16"])
def test_text_fits_its_page(name):
    result = summary(on_meta(name), IMAGE)
    for width in (60, 80, 120):
        lines = result.text(width).splitlines()
        assert max(map(len, lines)) <= width
        assert len([line for line in lines if line.startswith(tuple("abcdefghlmnprs…"))]) >= len(
            result
        )
    heading = result.text(120).splitlines()[2]
    for word in ("name", "type", "H×W out", "params", "MACs", "RF"):
        assert word in heading
    assert len(result._repr_html_()) < 200 * 1024


def test_text_on_request():
    result = summary(on_meta("resnet50"), IMAGE)
    text = result.text(columns=["name", "params", "macs"], units=True)
    assert text.splitlines()[2].split() == ["name", "params", "MACs"]
    assert "2.05 M" in text and "2,048,000" not in text.split("\n\n")[1]
    with pytest.raises(ValueError, match="no column is called 'mac': did you mean macs"):
        result.text(columns=["mac"])
    assert [row.name for row in result.sorted("params", 2).rows] == [
        "layer4.0.conv2",
        "layer4.1.conv2",
    ]


def test_the_tree_has_classes_and_shares():
    model = on_meta("resnet18")
    model.layer1.requires_grad_(False)
    tree = summary(model, IMAGE).tree(2)
    lines = [" ".join(line.split()) for line in tree.text().splitlines()]
    assert "layer1 Sequential 1×64×56×56 147,968 0 6,272 462,422,016 25.5%" in lines
    assert "0 BasicBlock 1×512×7×7 3,673,088 3,673,088 588 179,830,784 9.9%" in lines
    assert tree.rows[0].share == 1 and tree.rows[0].trainable == 11_689_512 - 147_968


def test_the_arithmetic_of_a_row():
    result = summary(resnet(18), (3, 64, 64))
    text = str(cost.explain(result, "conv1"))
    assert "floor((64 - 7 + 2*3)/2) + 1 = floor(31.5) + 1 = 32" in text
    assert "64*3*7*7 = 9,408" in text
    assert "1*64*32*32 outputs * 3*7*7 = 9,633,792" in text
    assert "sees      1 + (7 - 1)*1 = 7, jump 1*2 = 2" in text
    assert "512*7*7" not in str(result.explain("fc")) and "outputs * 512 =" in result.explain("fc")
    for row in result.rows:
        assert row.name in result.explain(row.name)


def test_two_models_side_by_side():
    a, b = on_meta("resnet18"), on_meta("resnet34")
    found = cost.compare(a, b, IMAGE)
    assert found.totals["parameters"] == (11_689_512, 21_797_672)
    assert {name for name, x, y in found.rows if x is None} and "layer1.2.conv1" in str(found)
    assert "Every operation is the same" in str(cost.compare(a, a, IMAGE))
    with pytest.raises(TypeError, match="two summaries, or two models and an input_size"):
        cost.compare(a, b)


def test_the_largest_batch_that_fits():
    model = on_meta("resnet50")
    fit = cost.fits(model, IMAGE, "8 GB")
    model.train()
    need = [
        summary(model, IMAGE, batch_size=n).training_memory("momentum")["total"]
        for n in (fit.training, fit.training + 1)
    ]
    assert need[0] == fit.training_bytes <= 8 * 2**30 < need[1]
    assert fit.inference > fit.training and model.training
    assert cost.fits(model, IMAGE, 1000).training == 0
    for wrong in ("8 XB", "lots", 0, -1):
        with pytest.raises(ValueError, match="like '8 GB', or a number of bytes, got"):
            cost.fits(model, IMAGE, wrong)


@pytest.mark.parametrize("name", ["alexnet", "resnet18", "vgg11_bn", "googlenet"])
def test_macs_of_the_way_back(name):
    with torch.device("meta"):
        options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
        model = torchvision.models.get_model(name, weights=None, **options)
    for parameter in list(model.parameters())[:4]:
        parameter.requires_grad = False
    x = torch.empty(2, *IMAGE, device="meta")
    assert summary(model, IMAGE, batch_size=2).backward_flops == counted_on_the_way_back(model, x)


def counted_on_the_way_back(model, x):
    with FlopCounterMode(display=False) as counter:
        output = model(x)
        forward = counter.get_total_flops()
        output.sum().backward()
    return counter.get_total_flops() - forward


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d, nn.Conv1d])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_groups_on_the_way_back(kind, groups):
    """A grouped layer costs what its groups cost one by one.

    torch's counter, which knows no groups for the gradient of the weights, takes it too high.
    """

    class OneByOne(nn.Module):
        def __init__(self):
            super().__init__()
            pairs = [(8 // groups, 16 // groups)] * groups
            self.layers = nn.ModuleList(kind(n, m, 3, stride=2) for n, m in pairs)

        def forward(self, x):
            parts = zip(self.layers, x.chunk(groups, 1), strict=True)
            return torch.cat([layer(part) for layer, part in parts], 1)

    x = torch.zeros(2, 3, *(9, 9)[: 1 if kind is nn.Conv1d else 2])
    first = (nn.Conv1d if kind is nn.Conv1d else nn.Conv2d)(3, 8, 1)  # so that maps need gradients
    grouped = nn.Sequential(first, kind(8, 16, 3, stride=2, groups=groups))
    apart = counted_on_the_way_back(nn.Sequential(first, OneByOne()), x)
    assert summary(grouped, x).backward_flops == apart
    assert (counted_on_the_way_back(grouped, x) > apart) == (groups > 1)


def test_a_forward_that_is_compiled():
    class Compiled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        @torch.compile
        def forward(self, x):
            return self.conv(x)

    assert summary(Compiled(), (3, 8, 8)).total_macs == 36 * 4 * 27


def test_a_convolution_with_offsets():
    class Deformed(nn.Module):
        def __init__(self):
            super().__init__()
            self.offset = nn.Conv2d(4, 18, 3)
            self.conv = torchvision.ops.DeformConv2d(4, 6, 3, groups=2)

        def forward(self, x):
            return self.conv(x, self.offset(x))

    result = summary(Deformed(), (4, 8, 8))
    assert result.output_shape == (1, 6, 6, 6) and result.unused_params == 0
    assert result.total_macs == 36 * 18 * 4 * 9 + 36 * 6 * 2 * 9
    assert result.receptive_field is None  # nobody knows where the taps lie
    assert "outputs * 18 = 3,888" in result.explain(1)


def test_autocast_halves_what_it_computes():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(6, 4), nn.LayerNorm(4))
    x = torch.zeros(1, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        result = summary(model, x)
        sizes = [model[:i](x).nbytes for i in (1, 2)]
    assert [row.memory for row in result.rows][:2] == sizes == [576, 384]


def test_command_options():
    text = summary_text("ResNet18", "3,64,64", "tree", depth=1, train=True, memory=True, units=True)
    assert "training mode" in text and "training step (sgd): parameters 44.6 MB" in text
    assert "difference" in summary_text("resnet18", "3,64,64", compare="resnet34")
    rows = summary_text("resnet18", "3,64,64", sort="params", columns="name,params").splitlines()
    assert rows[4].split() == ["layer4.0.conv2", "2,359,296"]


def test_command_says_where_your_code_is_wrong(tmp_path, monkeypatch):
    (tmp_path / "helpers.py").write_text("width = 4\n")
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from torch import nn\n"
        "import helpers\n"
        "@dataclass\n"
        "class Settings:\n    width: int = helpers.width\n"
        "def net():\n    return nn.Conv2d(3, Settings().width, 3)\n"
        "def broken():\n    return nn.Conv2d(3, 1 // 0, 3)\n"
    )
    (tmp_path / "syntax.py").write_text("def net(:\n")
    monkeypatch.chdir(tmp_path.parent)
    assert "112 parameters" in summary_text(f"{tmp_path}/mine.py:net", "3,8,8")
    for place, words in (("mine.py:broken", "line 11"), ("syntax.py:net", "line 1")):
        with pytest.raises(ValueError, match=words) as error:
            summary_text(f"{tmp_path}/{place}", "3,8,8")
        assert "\n" not in str(error.value)


def test_memory_does_not_grow():
    model = small()
    for _ in range(20):
        summary(model, (3, 8, 8))
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(200):
        summary(model, (3, 8, 8))
    gc.collect()
    assert len(gc.get_objects()) - before < 100
