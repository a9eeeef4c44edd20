"""The experiments of lecture 16, on EfficientNet-Lite0 and real images."""

import copy
import math
from functools import cache

import torch
from torch import nn

from cnnlab.data import photographs
from cnnlab.models import get_model
from cnnlab.models.efficientnet_lite0 import preprocess
from cnnlab.training import Recipe, fit, predict
from cnnlab.transfer import CELLS, adapt_imagenet, cell_data, extract_features

__all__ = ["borrowed_features", "calibration", "calibration_error", "forgetting", "transfer"]


WAYS = ("scratch", "linear probe", "fine-tune a few layers", "fine-tune more layers")


@cache
def _adapted(cell: str, way: str, seed: int, device: torch.device) -> nn.Module:
    """A network that several experiments look at, trained once."""
    train, _ = cell_data(cell, seed)
    if way != "scratch":
        return adapt_imagenet(way, train, seed=seed, device=device)
    torch.manual_seed(seed)
    layers, channels = [], 3
    for width in (16, 32, 64):
        layers += [nn.Conv2d(channels, width, 5, 2, 2), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    pool = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, len(train.classes))]
    model = nn.Sequential(*layers, *pool)
    epochs = round(100 / math.ceil(len(train) / 32))
    recipe = Recipe(epochs, 32, learning_rate=0.003, optimizer="adam", warmup=1, seed=seed)
    fit(model, train, recipe, device=device)
    return model


@cache
def _probabilities(cell: str, way: str, seed: int, device: torch.device) -> torch.Tensor:
    """What it says of the cell's test images."""
    return predict(_adapted(cell, way, seed, device), cell_data(cell, seed)[1], device=device)


def transfer(seed: int, bench) -> dict[str, float]:
    values = {}
    for cell in CELLS:
        labels = cell_data(cell, seed)[1].labels
        for way in WAYS:
            named = _probabilities(cell, way, seed, bench.device).argmax(1)
            values[f"{cell}: {way}"] = (named == labels).float().mean().item()
    return values


def calibration_error(probabilities: torch.Tensor, labels: torch.Tensor, bins: int = 10) -> float:
    """How far confidence and accuracy are apart, averaged over bins of confidence: the ECE.

    Guo et al. 2017, https://arxiv.org/abs/1706.04599, equation 3. ``probabilities`` (N, classes),
    ``labels`` (N,); 0 is perfect.
    """
    confidence, named = probabilities.max(1)
    right = (named == labels).float()
    bin_of = (confidence * bins).long().clamp(max=bins - 1)
    gaps = [(confidence[bin_of == b] - right[bin_of == b]).sum().abs() for b in range(bins)]
    return (torch.stack(gaps).sum() / len(labels)).item()


def borrowed_features(seed: int, bench) -> dict[str, float]:
    """A linear layer that reads from four things, 5 patches a class."""
    train, test = cell_data("little, similar", seed)
    generator = torch.Generator().manual_seed(seed)
    networks = {
        "features of an untrained network": get_model("efficientnet_lite0", generator=generator),
        "features learned from ImageNet": get_model("efficientnet_lite0", weights="imagenet"),
    }
    inputs = {
        "mean and deviation of each colour": [_colours(data.images) for data in (train, test)],
        "pixels": [data.images.flatten(1) for data in (train, test)],
    }
    for name, network in networks.items():
        data = [extract_features(network, part, device=bench.device) for part in (train, test)]
        inputs[name] = [part.tensors[0] for part in data]
    return {name: linear_probe(*x, train.labels, test.labels) for name, x in inputs.items()}


def _colours(images: torch.Tensor) -> torch.Tensor:
    return torch.cat([images.mean((2, 3)), images.std((2, 3))], 1)


def linear_probe(train, test, train_labels, test_labels) -> float:
    """Test accuracy of logistic regression on features (N, F), all scaled to a mean norm of 10."""
    from sklearn.linear_model import LogisticRegression

    center = train.mean(0)
    scale = (train - center).norm(dim=1).mean() / 10
    model = LogisticRegression(max_iter=1000)
    model.fit(((train - center) / scale).numpy(), train_labels.numpy())
    return model.score(((test - center) / scale).numpy(), test_labels.numpy())


def calibration(seed: int, bench) -> dict[str, float]:
    """Confidence and accuracy of four networks in one cell."""
    labels, values = cell_data("little, similar", seed)[1].labels, {}
    for way in WAYS:
        p = _probabilities("little, similar", way, seed, bench.device)
        values[f"{way}: accuracy"] = (p.argmax(1) == labels).float().mean().item()
        values[f"{way}: mean confidence"] = p.amax(1).mean().item()
        values[f"{way}: calibration error"] = calibration_error(p, labels)
    return values


def forgetting(seed: int, bench) -> dict[str, float]:
    """Does the old head still name the photographs on the backbone that learned something else?"""
    images = torch.cat([preprocess(photograph.image) for photograph in photographs().values()])
    images = images.to(bench.device)
    old = get_model("efficientnet_lite0", weights="imagenet").to(bench.device).eval()
    named = _names(old, images)
    values = {}
    for cell in ("much, similar", "much, different"):
        for way in WAYS[1:]:
            model = copy.deepcopy(_adapted(cell, way, seed, bench.device))
            model.fc = old.fc
            same = _names(model, images) == named
            values[f"{cell}: {way}"] = same.float().mean().item()
    return values


@torch.no_grad()
def _names(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return model.eval()(images).argmax(1)
