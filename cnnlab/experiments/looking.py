"""Lecture 17's experiments: a shortcut that a network takes, and what maps owe to the weights."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.data import mnist, photograph
from cnnlab.models import get_model
from cnnlab.models.efficientnet_lite0 import preprocess
from cnnlab.seeing import grad_cam, guided_backprop, saliency

__all__ = ["sanity", "shortcut"]

HELD = 500  # test digits
FAINT = 0.2  # of their ink


def marked(images: Tensor, classes: Tensor) -> Tensor:
    """Faint digits (N, 1, 28, 28) with a bright square above (0 to 4) or below (5 to 9) each.

    Its place says a class; digits leave the four uppermost and lowest rows empty.
    """
    images = FAINT * images
    for image, k in zip(images, classes.tolist(), strict=True):
        row, column = (0 if k < 5 else 25), 2 + 5 * (k % 5)
        image[:, row : row + 3, column : column + 3] = 1
    return images


def reader() -> nn.Sequential:
    """Two convolutions and one linear layer: (N, 1, 28, 28) to (N, 10)."""
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(16 * 4 * 4, 10)),
    )


@cache
def _trained(mark: str, seed: int, device: torch.device) -> nn.Module:
    """A reader of digits whose marks say their class (``"telling"``) or any (``"random"``)."""
    data, generator = mnist("train"), torch.Generator().manual_seed(seed)
    images, labels = data.images[:1000], data.labels[:1000]
    any_class = torch.randint(10, (len(labels),), generator=generator)
    images = marked(images, labels if mark == "telling" else any_class)
    torch.manual_seed(seed)
    model = reader().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(4):
        for chosen in torch.randperm(len(labels), generator=generator).split(50):
            loss = F.cross_entropy(model(images[chosen].to(device)), labels[chosen].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def shortcut(seed: int, bench) -> dict[str, float]:
    test, values = mnist("test"), {}
    images, labels = test.images[:HELD], test.labels[:HELD]
    shown = {
        "right mark": marked(images, labels),
        "no mark": FAINT * images,
        "wrong mark": marked(images, (labels + 1) % 10),
    }
    for mark in ("telling", "random"):
        model = _trained(mark, seed, bench.device)
        with torch.no_grad():
            for name, inputs in shown.items():
                right = model(inputs.to(bench.device)).argmax(1).cpu() == labels
                values[f"trained with {mark} marks, {name}"] = right.float().mean().item()
    return values


PHOTOGRAPHS = ("chelsea", "coffee", "motorcycle")
SIDE = 28  # maps are compared after averaging to so many positions a side


def _ranks(heat: Tensor) -> Tensor:
    """The ranks of a map's values, centred and of norm 1, so that a product is a correlation."""
    coarse = F.adaptive_avg_pool2d(heat[None, None].cpu(), SIDE).flatten()
    ranks = coarse.argsort().argsort().float()
    return F.normalize(ranks - ranks.mean(), dim=0)


def _maps(model: nn.Module, image: Tensor, target: int) -> dict[str, Tensor]:
    return {
        "saliency": _ranks(saliency(model, image, target)),
        "guided backprop": _ranks(guided_backprop(model, image, target).abs().amax(0)),
        "Grad-CAM": _ranks(grad_cam(model, image, "top", target)),
    }


def _edges(image: Tensor) -> Tensor:
    """How much each pixel differs from its right and lower neighbours: no network in it."""
    right, down = image.diff(dim=2)[:, :-1].abs(), image.diff(dim=1)[:, :, :-1].abs()
    return (right + down).amax(0)


@cache
def _of_the_trained(device: torch.device) -> dict[str, tuple[Tensor, int, dict[str, Tensor]]]:
    model = get_model("efficientnet_lite0", weights="imagenet").to(device).eval()
    found = {}
    for name in PHOTOGRAPHS:
        image = preprocess(photograph(name))[0]
        target = model(image[None].to(device)).argmax().item()
        found[name] = image, target, _maps(model, image, target)
    return found


def sanity(seed: int, bench) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    fresh = get_model("efficientnet_lite0", generator=generator).eval().to(bench.device)
    head = get_model("efficientnet_lite0", weights="imagenet").eval().to(bench.device)
    head.fc = fresh.fc
    values: dict[str, list[float]] = {}
    for image, target, trained in _of_the_trained(bench.device).values():
        for name, model in (("a random head", head), ("all weights random", fresh)):
            for method, ranks in _maps(model, image, target).items():
                likeness = (ranks @ trained[method]).item()
                values.setdefault(f"{method}, {name}", []).append(likeness)
        edges = _ranks(_edges(image))
        for method, ranks in trained.items():
            values.setdefault(f"{method}, edges of the image", []).append((edges @ ranks).item())
    return {name: sum(parts) / len(parts) for name, parts in values.items()}
