import random

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from cnnlab.device import draw_into, get_device, seed_everything
from cnnlab.layers import dropout, stochastic_depth
from cnnlab.models import get_model
from cnnlab.transfer import replace_head


def test_the_environment_chooses_the_device(monkeypatch):
    monkeypatch.setenv("CNNLAB_DEVICE", "cpu")
    assert get_device() == torch.device("cpu")


@pytest.mark.parametrize("wrong", ["cuda:99", "gpu", "toaster"])
def test_a_device_that_is_not_there_is_refused_in_a_sentence(monkeypatch, wrong):
    monkeypatch.setenv("CNNLAB_DEVICE", wrong)
    with pytest.raises(RuntimeError, match=f"CNNLAB_DEVICE='{wrong}' is not usable here .*; unset"):
        get_device()


def test_without_a_wish_the_best_device_is_taken(monkeypatch):
    monkeypatch.delenv("CNNLAB_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert get_device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert get_device().type == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert get_device().type == "cpu"


def test_a_seed_repeats_every_source_of_chance():
    def draw():
        generator = seed_everything(7)
        drawn = random.random(), np.random.rand()  # noqa: NPY002
        return *drawn, torch.rand(1), torch.rand(1, generator=generator)

    assert draw() == draw()
    seed_everything(8)
    assert random.random() != draw()[0]


NAMES = ["lenet5_1998", "lenet_slide", "alexnet", "zfnet", "vgg11", "nin_cifar", "googlenet",
         "resnet20_cifar", "densenet40_cifar", "squeezenet1_1", "mobilenet_v1", "shufflenet_v1",
         "fractalnet20_cifar", "efficientnet_b0", "se_resnet18"]  # fmt: skip


class OneDevice(TorchFunctionMode):
    """Random numbers only where their generator is, as CUDA wants it; large ones are not drawn."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        generator = kwargs.get("generator")
        if generator is None:
            return function(*args, **kwargs)
        drawn = kwargs.get("tensor", args[0] if args else None)
        if not isinstance(drawn, torch.Tensor):
            drawn = function(*args, **kwargs)
        assert drawn.device == generator.device, f"{function.__name__} on {drawn.device}"
        return drawn


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("init", ["he", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_a_network_on_another_device_than_its_generator(name, init, generator):
    with OneDevice():
        try:
            get_model(name, generator=generator, init=init, device="meta")
        except ValueError as error:
            assert "states no initialization" in str(error)
        with torch.device("meta"):
            replace_head(get_model(name, generator=generator), 3, generator)


def test_layers_and_experiments_on_another_device(generator):
    from cnnlab.experiments.networks import ConvStack  # draws, which the GPU's tests do without

    x = torch.empty(4, 3, device="meta")
    with OneDevice(), torch.device("meta"):
        dropout(x, 0.5, generator)
        stochastic_depth(x, 0.5, "row", generator)
        ConvStack(3, generator=generator)


def test_every_device_gets_the_generator_s_numbers(generator):
    class Elsewhere(torch.Tensor):  # as a tensor of another device
        device = torch.device("cuda", 7)

    want = torch.empty(5).normal_(generator=generator)
    got = torch.zeros(5).as_subclass(Elsewhere)
    draw_into(got, torch.nn.init.normal_, generator.manual_seed(0))
    assert got.tolist() == want.tolist()


@pytest.mark.gpu
def test_a_gpu_is_taken_and_seeded(monkeypatch):
    monkeypatch.delenv("CNNLAB_DEVICE", raising=False)
    assert get_device().type == "cuda"
    seed_everything(7)
    first = torch.rand(3, device="cuda")
    seed_everything(7)
    assert torch.equal(first, torch.rand(3, device="cuda"))
