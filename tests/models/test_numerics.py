"""One network, several ways to compute it: bfloat16, channels_last, torch.compile, a GPU."""

import pytest
import torch

from cnnlab.models import get_model

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
QUICK = ["lenet5_1998", "alexnet_two_gpu", "nin_cifar", "resnet18", "squeezenet1_1",
         "densenet40_cifar", "mobilenet_v2", "shufflenet_v1", "cbam_resnet18"]  # fmt: skip
OTHERS = ["mnist_cnn", "zfnet", "vgg11_bn", "googlenet", "googlenet_paper", "inception_v3",
          "resnet50_v1", "resnet20_cifar", "preact_resnet50", "wide_resnet16_8_cifar", "xception",
          "fractalnet20_cifar", "densenet121", "resnext50_32x4d", "shufflenet_v2_x1_0",
          "nasnet_a_mobile", "se_resnet18", "eca_resnet50", "efficientnet_b0"]  # fmt: skip


def network_and_images(name, device="cpu"):
    network = get_model(name, num_classes=10, generator=torch.Generator().manual_seed(0)).eval()
    side = network.input_size[1] if network.input_size[1] <= 32 else 80
    x = torch.randn(
        2, network.input_size[0], side, side, generator=torch.Generator().manual_seed(1)
    )
    return network.to(device), x.to(device)


def difference(got, expected):
    return ((got.float().cpu() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
@torch.no_grad()
def test_ways_to_compute_agree(name, device):
    network, x = network_and_images(name)
    expected = network(x)
    network, x = network.to(device), x.to(device)
    exact = 1e-5 if device == "cpu" else 2e-2  # a GPU's convolutions round to TF32
    assert difference(network(x), expected) < exact
    with torch.autocast(device, torch.bfloat16):
        half = network(x)
    assert half.dtype == torch.bfloat16 or name == "lenet5_1998"  # whose distances stay float32
    assert 0 < difference(half, expected) < 0.08
    network.to(memory_format=torch.channels_last)
    assert difference(network(x.to(memory_format=torch.channels_last)), expected) < exact


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["lenet5", "nin_cifar", "resnet20_cifar"])
@torch.no_grad()
def test_compiled_by_inductor(name, device):
    network, x = network_and_images(name, device)
    expected = network(x).cpu()
    compiled = torch.compile(network, fullgraph=True)
    assert difference(compiled(x), expected) < (1e-4 if device == "cpu" else 2e-2)


# One for each class; the compiler's front end is where a network can break its graph.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lenet5_1998", {}),
        ("alexnet_two_gpu", {}),
        ("googlenet", {}),
        ("preact_resnet18", {}),
        ("stochastic_resnet110_cifar", {"layers": (2, 2, 2)}),
        ("fractalnet20_cifar", {"columns": 2, "channels": (8, 8), "dropout": (0.1, 0.1)}),
        ("densenet40_cifar", {"layers": (2, 2, 2)}),
        ("mobilenet_v2", {}),
        ("shufflenet_v1", {}),
        ("cbam_resnet18", {}),
        ("efficientnet_b0", {}),
    ],
)
def test_training_compiles_without_a_break(name, options):
    network = get_model(name, num_classes=10, **options).train()
    side = network.input_size[1] if network.input_size[1] <= 32 else 80
    x = torch.randn(2, network.input_size[0], side, side)
    torch.manual_seed(0)
    outputs = torch.compile(network, fullgraph=True, backend="aot_eager")(x)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    sum(logits.sum() for logits in outputs).backward()
    for path, parameter in network.named_parameters():
        assert torch.isfinite(parameter.grad).all(), path
