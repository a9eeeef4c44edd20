"""A name that torchvision has builds torchvision's network: parameters, outputs, gradients."""

import pytest
import torch
import torchvision
from torch import nn

from cnnlab.models import get_model, list_models, smallest_input
from cnnlab.models._init import he, skip_random_init

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
TWINS = sorted(set(list_models()) & set(torchvision.models.list_models()))
ONE_PER_FAMILY = {
    "alexnet",
    "googlenet",
    "resnet18",
    "resnet50",
    "densenet121",
    "resnext50_32x4d",
    "squeezenet1_1",
    "mobilenet_v2",
    "shufflenet_v2_x1_0",
    "efficientnet_b0",
}


def build_theirs(name, device, num_classes=10):
    """Torchvision's network, every tensor of it random: weights, norms and their statistics."""
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with skip_random_init(), torch.device(device):
        network = torchvision.models.get_model(name, num_classes=num_classes, **extra)
    if device == "meta":
        return network
    generator = torch.Generator(device).manual_seed(0)
    he(network, generator)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.weight, norm.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5, generator=generator)
            for tensor in (norm.bias, norm.running_mean):
                nn.init.normal_(tensor, std=0.1, generator=generator)
    return network


def test_all_the_twins_are_here():
    assert len(TWINS) == 40
    assert set(TWINS) > ONE_PER_FAMILY


@pytest.mark.parametrize("name", TWINS)
def test_parameters_have_the_same_names_and_shapes(name):
    theirs = build_theirs(name, "meta", 1000).state_dict()
    ours = get_model(name, device="meta").state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "name",
    [n if n in ONE_PER_FAMILY else pytest.param(n, marks=pytest.mark.slow) for n in TWINS],
)
@torch.backends.cudnn.flags(deterministic=True, allow_tf32=False)
def test_outputs_and_gradients_agree(name, device):
    theirs = build_theirs(name, device)
    ours = get_model(name, num_classes=10, device=device)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    for module in [*ours.modules(), *theirs.modules()]:
        if isinstance(getattr(module, "p", None), float):  # dropout, stochastic depth
            module.p = 0.0
    side = max(64, smallest_input(ours.train()))
    x = torch.randn(
        2, 3, side, side, device=device, generator=torch.Generator(device).manual_seed(1)
    )

    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), atol=1e-5, rtol=1e-5)

    losses = []  # in float64: batch norm on small maps amplifies the rounding of float32
    for network in (ours.train().double(), theirs.train().double()):
        outputs = network(x.double())
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        losses.append(sum(logits.square().sum() for logits in outputs))
        losses[-1].backward()
    torch.testing.assert_close(*losses)
    expected = dict(theirs.named_parameters())
    for path, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[path].grad, atol=1e-6, rtol=1e-6)


def documented_minimum(name):
    return torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].meta["min_size"]


@pytest.mark.parametrize("name", [name for name in TWINS if documented_minimum(name) > (1, 1)])
def test_the_smallest_input_is_the_one_that_torchvision_documents(name):
    side = smallest_input(get_model(name, device="meta").eval())
    assert (side, side) == documented_minimum(name)
