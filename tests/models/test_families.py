"""What the lectures say of single families, as facts of the networks."""

import itertools

import pytest
import torch
from torch import nn

from cnnlab import summary
from cnnlab.models import get_model
from cnnlab.models.fractalnet import Fractal
from cnnlab.models.inception import Inception, NaiveInception
from cnnlab.models.lenet import C3_TABLE
from cnnlab.models.mobilenet import round_channels
from cnnlab.models.preact_resnet import PreActBlock, PreActBottleneck
from cnnlab.models.residual import BasicBlock, Bottleneck, ZeroPadShortcut


def count(module):
    return sum(p.numel() for p in module.parameters())


def zero_branch(block):
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.weight)
    return block.eval()


class TestLeNet:
    def test_table_1_of_the_paper(self):
        assert [len(seen) for seen in C3_TABLE] == [3] * 6 + [4] * 9 + [6]
        assert len({tuple(sorted(seen)) for seen in C3_TABLE}) == 16
        for source in range(6):  # each map of S2 feeds ten maps of C3
            assert sum(source in seen for seen in C3_TABLE) == 10

    def test_sparse_c3_sees_only_its_maps(self):
        network = get_model("lenet5_1998")
        x = torch.zeros(1, 6, 14, 14)
        silent = network.c3(x)
        for source in range(6):
            x.zero_()[:, source] = 1
            moved = (network.c3(x) - silent).abs().amax((0, 2, 3)) > 0
            assert moved.tolist() == [source in seen for seen in C3_TABLE]

    def test_layer_sizes_of_the_paper(self):
        network = get_model("lenet5_1998")
        sizes = [count(part) for part in (network.c1, network.s2, network.c3, network.s4,
                                          network.c5, network.f6)]  # fmt: skip
        assert sizes == [156, 12, 1516, 32, 48120, 10164]
        assert summary(network, (1, 32, 32))["c3"].macs == 60 * 25 * 10 * 10

    def test_a_code_word_is_its_class(self):
        network = get_model("lenet5_1998")
        scores = network.output(network.output.codes)
        assert scores.argmax(1).tolist() == list(range(10))
        assert scores.diagonal().abs().max() == 0

    def test_squash_meets_its_targets(self):
        squash = get_model("lenet5_1998").squash
        torch.testing.assert_close(
            squash(torch.tensor([-1.0, 1.0])), torch.tensor([-1.0, 1.0]), atol=1e-4, rtol=0
        )


def test_two_gpus_meet_in_the_third_convolution_only():
    network = get_model("alexnet_two_gpu", num_classes=10).eval()
    convs = [m for m in network.features if isinstance(m, nn.Conv2d)]
    assert [conv.groups for conv in convs] == [1, 2, 1, 2, 2]
    assert [conv.out_channels // 2 for conv in convs] == [48, 128, 192, 192, 128]


def test_inception_modules_of_the_slides():
    x = torch.randn(1, 256, 28, 28)
    assert NaiveInception(256, 128, 192, 96)(x).shape == (1, 672, 28, 28)
    assert Inception(256, 128, 64, 192, 64, 96, 64)(x).shape == (1, 480, 28, 28)


def test_auxiliary_heads_run_while_training_only():
    network = get_model("googlenet_paper", num_classes=10)
    x = torch.randn(1, 3, 224, 224)
    outputs = network.train()(x)
    assert outputs._fields == ("logits", "aux_logits2", "aux_logits1")
    assert [tuple(logits.shape) for logits in outputs] == [(1, 10)] * 3
    assert network.eval()(x).shape == (1, 10)
    assert get_model("googlenet_paper", aux_logits=False).train()(x).shape == (1, 1000)


class TestResidual:
    @pytest.mark.parametrize("block", [BasicBlock(8, 8), Bottleneck(32, 8)])
    def test_without_weights_the_original_block_is_a_relu(self, block):
        x = torch.randn(2, 8 if isinstance(block, BasicBlock) else 32, 6, 6)
        torch.testing.assert_close(zero_branch(block)(x), x.relu())

    @pytest.mark.parametrize("block", [PreActBlock(8, 8), PreActBottleneck(32, 8)])
    def test_without_weights_the_pre_activation_block_is_the_identity(self, block):
        x = torch.randn(2, 8 if type(block) is PreActBlock else 32, 6, 6)
        torch.testing.assert_close(zero_branch(block)(x), x)

    def test_option_a_has_no_parameters_and_keeps_every_other_pixel(self):
        x = torch.randn(1, 3, 6, 6)
        shortcut = ZeroPadShortcut(stride=2, new_channels=2)
        out = shortcut(x)
        assert count(shortcut) == 0
        assert torch.equal(out[:, :3], x[:, :, ::2, ::2])
        assert torch.equal(out[:, 3:], torch.zeros(1, 2, 3, 3))

    def test_options(self):
        sizes = {
            option: count(get_model("resnet34", shortcut=option, device="meta"))
            for option in ("none", "A", "B", "C")
        }
        assert sizes["none"] == sizes["A"] < sizes["B"] < sizes["C"]
        assert sizes["B"] - sizes["A"] == 173_824

    def test_a_plain_network_adds_nothing(self):
        block = BasicBlock(4, 4, shortcut="none")
        x = torch.randn(1, 4, 5, 5)
        assert torch.equal(zero_branch(block)(x), torch.zeros_like(x))

    def test_a_gate_of_ones_own(self):
        network = get_model("resnet18", attention=lambda c, **kw: nn.Dropout2d(0.5), device="meta")
        assert sum(isinstance(m, nn.Dropout2d) for m in network.modules()) == 8

    def test_stochastic_depth_rises_linearly_to_a_half(self):
        network = get_model("stochastic_resnet110_cifar", device="meta")
        rates = [m.drop.p for m in network.modules() if isinstance(m, BasicBlock)]
        assert rates == pytest.approx([0.5 * block / 54 for block in range(1, 55)])


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("lenet_slide", 16),
        ("alexnet", 195),
        ("vgg16", 212),
        ("vgg19", 268),
        ("googlenet_paper", 715),  # so says the gradient of its middle output, too
        ("googlenet", 379),
        ("resnet18", 435),
        ("resnet34", 899),
        ("resnet50_v1", 483),
        ("resnet50", 427),
        ("resnet152_v1", 1507),
        ("resnet20_cifar", 81),
        ("resnet110_cifar", 501),
        ("densenet121", 2071),
        ("mobilenet_v1", 315),
        ("mobilenet_v2", 491),
        ("squeezenet1_0", 155),
    ],
)
def test_receptive_fields(name, field):
    """Of the last map, before what makes the field the whole image."""
    network = get_model(name, device="meta").eval()
    rows = summary(network, network.input_size).rows
    spatial = [row for row in rows if len(row.output_shape) == 4 and row.output_size[0] > 1]
    assert spatial[-1].receptive_field == field


class TestFractalNet:
    @pytest.mark.parametrize("columns", [1, 2, 3, 4])
    def test_columns_double_in_depth(self, columns):
        def depths(fractal):
            if not fractal.inner:
                return [1]
            first, second = (depths(inner) for inner in fractal.inner)
            return [1, *(a + b for a, b in zip(first, second, strict=True))]

        fractal = Fractal(columns, 3, 4, 0.0)
        assert depths(fractal) == [2**c for c in range(columns)]
        assert len(fractal.paths(torch.randn(1, 3, 8, 8), None)) == columns

    def test_a_single_column_is_a_plain_network(self):
        """Global sampling: what the other columns hold doesn't matter."""
        fractal, x = Fractal(3, 3, 4, 0.15), torch.randn(4, 3, 8, 8)
        shortest = torch.zeros(4, dtype=torch.long)
        torch.testing.assert_close(fractal(x, shortest), fractal.conv(x))
        deepest = shortest + 2
        expected = x
        for half in fractal.inner:
            for quarter in half.inner:
                expected = quarter.conv(expected)
        torch.testing.assert_close(fractal(x, deepest), expected)

    def test_training_draws_and_evaluation_does_not(self):
        network, x = get_model("fractalnet20_cifar"), torch.randn(4, 3, 32, 32)
        with torch.no_grad():
            assert torch.equal(network.eval()(x), network(x))
            assert not torch.equal(network.train()(x), network(x))


def test_channels_round_to_multiples_of_eight_within_a_tenth():
    assert [round_channels(c) for c in (32 * 1.1, 16 * 0.35, 12, 3)] == [32, 8, 16, 8]
    assert all(round_channels(c) >= 0.9 * c for c in range(4, 400))


def test_compound_scaling_doubles_the_cost_step_by_step():
    costs = []
    for number in range(8):
        network = get_model(f"efficientnet_b{number}", device="meta").eval()
        costs.append(summary(network, network.input_size).total_macs)
    steps = [b / a for a, b in itertools.pairwise(costs)]
    assert all(1.4 < step < 2.5 for step in steps)
