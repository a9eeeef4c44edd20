"""The experiments of lecture 16, on EfficientNet-Lite0 and real images."""

import copy
from functools import cache

import torch

from cnnlab.data import photographs
from cnnlab.models import get_model
from cnnlab.models.efficientnet_lite0 import preprocess
from cnnlab.training import evaluate, predict
from cnnlab.transfer import CELLS, STRATEGIES, adapt_imagenet, cell_data, extract_features

__all__ = ["borrowed_features", "calibration", "calibration_error", "forgetting", "transfer"]


@cache
def _adapted(cell: str, strategy: str, seed: int, device: torch.device) -> torch.nn.Module:
    """A network that several experiments look at, trained once."""
    return adapt_imagenet(strategy, cell_data(cell, seed)[0], seed=seed, device=device)


def transfer(seed: int, bench) -> dict[str, float]:
    values = {}
    for cell in CELLS:
        _, test = cell_data(cell, seed)
        for strategy in STRATEGIES:
            model = _adapted(cell, strategy, seed, bench.device)
            values[f"{cell}: {strategy}"] = evaluate(model, test, device=bench.device).accuracy
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
    """Confidence and accuracy of the strategies in one cell."""
    _, test = cell_data("little, similar", seed)
    values = {}
    for strategy in STRATEGIES:
        model = _adapted("little, similar", strategy, seed, bench.device)
        probabilities = predict(model, test, device=bench.device)
        values[f"{strategy}: accuracy"] = (
            (probabilities.argmax(1) == test.labels).float().mean().item()
        )
        values[f"{strategy}: mean confidence"] = probabilities.amax(1).mean().item()
        values[f"{strategy}: calibration error"] = calibration_error(probabilities, test.labels)
    return values


def forgetting(seed: int, bench) -> dict[str, float]:
    """Does the old head still name the photographs on the backbone that learned something else?"""
    images = torch.cat([preprocess(photograph.image) for photograph in photographs().values()])
    images = images.to(bench.device)
    old = get_model("efficientnet_lite0", weights="imagenet").to(bench.device).eval()
    named = _names(old, images)
    values = {}
    for cell in ("much, similar", "much, different"):
        for strategy in STRATEGIES[1:]:
            model = copy.deepcopy(_adapted(cell, strategy, seed, bench.device))
            model.fc = old.fc
            same = _names(model, images) == named
            values[f"{cell}: {strategy}"] = same.float().mean().item()
    return values


@torch.no_grad()
def _names(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    return model.eval()(images).argmax(1)
