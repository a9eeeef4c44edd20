"""What a network says to an input that it can't take."""

import pytest
import torch
from torch import nn

from cnnlab.models import InputSizeError, get_model, smallest_input


@pytest.mark.parametrize(
    ("name", "side", "words"),
    [
        ("vgg16", 16, "VGG takes images of at least 32×32: features.30 (MaxPool2d) got 1×1 from "
                      "an input of 16×16"),
        ("alexnet", 32, "at least 63×63: features.12 (MaxPool2d) got 1×1"),
        ("densenet121", 20, "at least 29×29: features.transition3.pool (AvgPool2d) got 1×1"),
        ("lenet5", 28, "LeNet takes images of 32×32: classifier.0 (Linear) got 256 features"),
        ("lenet5", 40, "takes images of 32×32: classifier.0 (Linear) got 784 features"),
        ("googlenet_paper", 16, "at least 31×31: maxpool4 (MaxPool2d)"),
        ("squeezenet1_0", 12, "at least 21×21: features.6 (MaxPool2d)"),
    ],
)  # fmt: skip
def test_an_input_of_the_wrong_size(name, side, words):
    network = get_model(name, num_classes=10).eval()
    with pytest.raises(InputSizeError) as error:
        network(torch.zeros(1, network.input_size[0], side, side))
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.__suppress_context__  # torch's own traceback would only distract


@pytest.mark.parametrize("name", ["alexnet", "squeezenet1_1", "googlenet_paper", "nin_cifar"])
def test_the_smallest_input_works_and_one_less_does_not(name):
    network = get_model(name, num_classes=10).eval()
    side = smallest_input(network)
    assert network(torch.zeros(2, 3, side, side)).shape == (2, 10)
    with pytest.raises(InputSizeError, match=f"at least {side}×{side}"):
        network(torch.zeros(2, 3, side - 1, side - 1))


def test_training_needs_more_than_one_value_for_each_norm():
    network = get_model("resnet18", num_classes=10)
    assert smallest_input(network.eval(), batch_size=1) == 1
    assert smallest_input(network.train(), batch_size=1) == 33
    with pytest.raises(InputSizeError, match=r"at least 33×33: layer4\.0\.bn1 \(BatchNorm2d\)"):
        network(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((3, 32, 32), r"a batch of images \(N, 3, H, W\), got a tensor of shape \(3, 32, 32\)"),
        ((2, 1, 32, 32), r"images of 3 channels, got 1 in \(2, 1, 32, 32\)"),
    ],
)
def test_what_is_no_batch_of_images(shape, words):
    with pytest.raises(InputSizeError, match=words):
        get_model("resnet20_cifar")(torch.zeros(shape))


def test_other_errors_stay_what_they_are():
    network = get_model("resnet20_cifar")
    with pytest.raises(RuntimeError, match=r"dtype|type"):
        network(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    network.fc.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("mine")))
    with pytest.raises(RuntimeError, match="mine"):
        network(torch.zeros(2, 3, 32, 32))


def test_explaining_leaves_no_trace():
    network, seen = get_model("alexnet", num_classes=10), []
    network.features[0].register_forward_hook(lambda *_: seen.append(1))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(InputSizeError):
        network(torch.zeros(2, 3, 32, 32))
    assert len(seen) == 1  # the failed call itself
    assert len(network.features[0]._forward_hooks) == 1
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_network_within_a_network():
    outer = nn.Sequential(nn.Identity(), get_model("alexnet", num_classes=10))
    with pytest.raises(InputSizeError, match="AlexNet takes images of at least 63×63"):
        outer(torch.zeros(2, 3, 32, 32))
