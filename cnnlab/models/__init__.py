"""Every network of the lectures, by name, as code to read: one file for each family.

>>> from cnnlab.models import get_model, list_models
>>> network = get_model("resnet18", num_classes=10)
>>> list_models("vgg16*")
{'vgg16': 'VGG with 16 layers', 'vgg16_bn': 'VGG with 16 layers, batch norm after each convolution'}

A network is a `torch.nn.Module` in training mode, as torch builds it; call ``.eval()`` to use it.
Its ReLUs work in place, as torchvision's do: a hook that keeps the output of the layer before one
must clone it, or will find it rectified.
"""

from importlib import import_module

from cnnlab.models._network import InputSizeError, Network, smallest_input
from cnnlab.models._registry import get_model, list_models

__all__ = ["InputSizeError", "Network", "get_model", "list_models", "smallest_input"]

for _family in (  # by year; each registers its networks when imported
    "lenet",
    "alexnet",
    "zfnet",
    "nin",
    "vgg",
    "googlenet",
    "inception_v3",
    "resnet",
    "preact_resnet",
    "stochastic_depth",
    "wide_resnet",
    "squeezenet",
    "xception",
    "fractalnet",
    "densenet",
    "resnext",
    "mobilenet",
    "shufflenet",
    "nasnet",
    "attention_resnet",
    "efficientnet",
    "efficientnet_lite0",
):
    import_module(f"cnnlab.models.{_family}")
