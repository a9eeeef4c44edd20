"""All of torchvision's classification networks against torch's own counter."""

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

from cnnlab.cost import summary


class WithoutWeights(TorchFunctionMode):
    """Weights on the meta device, everything else, which a builder may compute with, on the CPU."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def build(name):
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with WithoutWeights():
        return models.get_model(name, weights=None, **options).to("meta")


def assert_equal_to_torch(model, size):
    x = torch.empty(2, *size, device="meta")
    with FlopCounterMode(display=False) as counter:
        output = model(x)
    result = summary(model, size, batch_size=2)
    assert result.total_flops == counter.get_total_flops()
    assert result.total_macs == counter.get_total_flops() // 2
    assert result.total_params == sum(parameter.numel() for parameter in model.parameters())
    assert result.not_counted == []
    if model.training and isinstance(output, tuple):
        assert result.output_shape == tuple(tuple(part.shape) for part in output)
    else:
        assert result.output_shape == tuple(output.shape)


def test_there_are_eighty():
    assert len(models.list_models(module=models)) >= 80


@pytest.mark.parametrize("name", models.list_models(module=models))
def test_counts_equal_torch(name):
    size = 299 if name == "inception_v3" else 224
    assert_equal_to_torch(build(name).eval(), (3, size, size))


@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "densenet121", "vit_b_16"])
def test_counts_equal_torch_in_training(name):
    size = 299 if name == "inception_v3" else 224
    assert_equal_to_torch(build(name).train(), (3, size, size))


@pytest.mark.parametrize(
    ("module", "name", "size"),
    [
        (models.segmentation, "fcn_resnet50", (3, 65, 65)),
        (models.segmentation, "deeplabv3_mobilenet_v3_large", (3, 64, 96)),
        (models.video, "r3d_18", (3, 8, 56, 56)),
        (models.video, "mvit_v1_b", (3, 16, 224, 224)),
    ],
)
def test_other_tasks(module, name, size):
    weights = {"weights_backbone": None} if module is models.segmentation else {}
    with WithoutWeights():
        model = models.get_model(name, weights=None, **weights).to("meta").eval()
    x = torch.empty(1, *size, device="meta")
    with FlopCounterMode(display=False) as counter:
        model(x)
    assert summary(model, size).total_macs == counter.get_total_flops() // 2
