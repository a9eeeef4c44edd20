"""Memory estimates against what autograd really keeps."""

import pytest
import torch
import torchvision
from torch import nn

from cnnlab.cost import summary

OPTIONS = {"googlenet": {"init_weights": False}}


def kept_by_autograd(model, x):
    """Bytes of the distinct storages that a forward pass saves, parameters and buffers aside."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    sizes, alive = {id(x): x.nbytes}, [x]
    sizes = {x.untyped_storage().data_ptr(): x.nbytes}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)  # so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        alive.append(model(x))
    return sum(sizes.values())


@pytest.mark.parametrize(
    "name",
    [
        "alexnet", "vgg11_bn", "resnet18", "resnet50", "densenet121", "googlenet", "squeezenet1_1",
        "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "shufflenet_v2_x1_0",
        "regnet_y_400mf", "mnasnet1_0",
    ],
)  # fmt: skip
def test_activations_kept_for_training(name):
    model = torchvision.models.get_model(name, weights=None, **OPTIONS.get(name, {})).train()
    for module in model.modules():  # a mask is one byte on a GPU and four on a CPU
        if hasattr(module, "p"):
            module.p = 0.0
    x = torch.zeros(2, 3, 64, 64)
    estimate = summary(model, x).training_memory()["activations"]
    assert estimate == kept_by_autograd(model, x)


def test_frozen_layers_keep_less():
    model = torchvision.models.resnet18().train()
    everything = summary(model, (3, 64, 64), batch_size=2).training_memory("adam")
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.fc = nn.Linear(512, 10)
    x = torch.zeros(2, 3, 64, 64)
    head = summary(model, x).training_memory("adam")
    assert head["activations"] == kept_by_autograd(model, x) < everything["activations"]
    assert head["gradients"] == 4 * (512 * 10 + 10)
    assert head["optimizer"] == 2 * head["gradients"]
    assert everything["parameters"] == everything["gradients"] == 4 * 11_689_512
    parts = ("parameters", "buffers", "gradients", "optimizer", "activations")
    assert everything["total"] == sum(everything[part] for part in parts)


def test_types_and_optimizers():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    single = summary(model, (1, 8, 8))
    half = summary(model, (1, 8, 8), dtype=torch.float16)
    assert half.forward_memory()["parameters"] * 2 == single.forward_memory()["parameters"] == 96
    assert single.forward_memory()["buffers"] == 2 * 2 * 4 + 8  # and the counter, an int64
    totals = [single.training_memory(name)["total"] for name in ("sgd", "momentum", "adam")]
    assert totals[1] - totals[0] == totals[2] - totals[1] == 96
    with pytest.raises(ValueError, match="one of sgd, momentum, adam, got 'lion'"):
        single.training_memory("lion")


def test_peak_of_a_forward_pass():
    """Input and output of the widest layer are alive at once, and a shortcut stays alive."""

    class Shortcut(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 8, 1), nn.Conv2d(8, 1, 1)

        def forward(self, x):
            return x + self.b(self.a(x))

    kilobyte = 16 * 16 * 4
    assert summary(Shortcut(), (1, 16, 16)).forward_memory()["activations"] == 10 * kilobyte
    chain = nn.Sequential(nn.Conv2d(1, 8, 1), nn.ReLU(), nn.Conv2d(8, 1, 1))
    assert summary(chain, (1, 16, 16)).forward_memory()["activations"] == 16 * kilobyte
    chain[1].inplace = True
    assert summary(chain, (1, 16, 16)).forward_memory()["activations"] == 9 * kilobyte
