"""The 2×2 table of transfer learning: little or much data, similar or different, on real images."""

import math
from collections.abc import Iterable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

from cnnlab.data import ImageSet, mnist, textures
from cnnlab.device import get_device
from cnnlab.models import get_model
from cnnlab.training import Recipe, fit
from cnnlab.transfer.features import extract_features
from cnnlab.transfer.pretrained import load_trunk, new_trunk
from cnnlab.transfer.surgery import freeze, head_of, parameter_groups, replace_head

__all__ = ["ADVICE", "CELLS", "STRATEGIES", "adapt", "adapt_imagenet", "cell_data"]

STRATEGIES = ("scratch", "linear probe", "fine-tune the top", "fine-tune all")
LITTLE, MUCH = 5, 30  # images a class
CELLS = {
    "little, similar": (LITTLE, textures),
    "little, different": (LITTLE, mnist),
    "much, similar": (MUCH, textures),
    "much, different": (MUCH, mnist),
}
ADVICE = {  # deck S003: what the slides say to do
    "little, similar": "finetune linear classifier on top layer",
    "little, different": "you're in trouble",
    "much, similar": "finetune a few layers",
    "much, different": "finetune a larger number of layers",
}
SIZE = 48  # pixels


def cell_data(cell: str, seed: int = 0) -> tuple[ImageSet, ImageSet]:
    """Training and test images of one of the four `CELLS`, (N, 3, 48, 48) in [-1, 1].

    *Similar* to ImageNet's photographs are `cnnlab.data.textures`, *different* are the digits of
    `cnnlab.data.mnist`, enlarged, with three equal channels. *Little* is 5 images a class, *much*
    is 30; the seed says which. All 360 test patches and the first 500 test digits judge.

    Raises
    ------
    ValueError
        If there is no such cell.
    """
    if cell not in CELLS:
        raise ValueError(f"cell {cell!r} is none of {'; '.join(CELLS)}")
    each, load = CELLS[cell]
    train, test = load("train"), load("test")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    chosen = [order[train.labels[order] == i][:each] for i in range(len(train.classes))]
    # Their turns again, so that each batch holds all classes.
    return _prepared(train, torch.stack(chosen, 1).flatten()), _prepared(test, slice(500))


def _prepared(data: ImageSet, index) -> ImageSet:
    images = data.images[index].expand(-1, 3, -1, -1)
    images = F.interpolate(images, (SIZE, SIZE), mode="bilinear", antialias=True)
    return ImageSet((images - 0.5) / 0.5, data.labels[index], data.classes, data.name)


RECIPE = Recipe(batch_size=32, learning_rate=0.02, weight_decay=1e-4, warmup=1)
STEPS = 150  # of every strategy that trains a small trunk's network


def adapt(
    strategy: str,
    train: ImageSet,
    trunk: str = "patterns",
    *,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> nn.Module:
    """A network for the classes of ``train``, made from a small trunk by one of the `STRATEGIES`.

    - ``"scratch"``: the trunk's network with fresh weights; all of it learns.
    - ``"linear probe"``: a new head on the frozen trunk, trained on features computed once.
    - ``"fine-tune the top"``: the new head and the last residual block learn.
    - ``"fine-tune all"``: everything learns, the lower the unit the slower.

    All take the same number of steps, so that with little data the epochs are more.

    Raises
    ------
    ValueError
        If there is no such strategy or trunk.
    """
    _check(strategy)
    classes, generator = len(train.classes), torch.Generator().manual_seed(seed)
    gentle = replace(RECIPE, epochs=_epochs(STEPS, train, RECIPE), seed=seed)
    brisk = replace(gentle, learning_rate=0.1)  # for weights that know nothing yet
    if strategy == "scratch":
        model = new_trunk(classes, generator)
        fit(model, train, brisk, device=device)
        return model
    model = load_trunk(trunk, classes, generator)
    if strategy == "linear probe":
        return _probe(model, train, brisk, device)
    freeze(model, 2 if strategy == "fine-tune the top" else None)
    groups = parameter_groups(model, gentle.learning_rate)
    fit(model, train, gentle, parameters=groups, device=device)
    return model


PROBE = Recipe(100, 32, learning_rate=0.1, weight_decay=1e-4)
TUNE = Recipe(batch_size=32, learning_rate=0.001, optimizer="adam", warmup=1)
TUNE_STEPS = 30
DEPTHS = {"linear probe": None, "fine-tune a few layers": 14, "fine-tune more layers": 5}


def adapt_imagenet(
    strategy: str, train: ImageSet, *, seed: int = 0, device: torch.device | str | None = None
) -> nn.Module:
    """A network for the classes of ``train`` from EfficientNet-Lite0 with its ImageNet weights.

    - ``"linear probe"``: a new head on the frozen backbone.
    - ``"fine-tune a few layers"``: the head, the last convolution and the last 2 blocks learn.
    - ``"fine-tune more layers"``: the same and 9 blocks more.

    Both kinds of fine-tuning begin where the linear probe ended (Kumar et al. 2022,
    https://arxiv.org/abs/2202.10054) and take 30 steps of Adam, the head at a rate of 0.001, what
    is below it at 0.0003. What is frozen runs once, on images that are not augmented.

    Raises
    ------
    ValueError
        If there is no such strategy.
    """
    _check(strategy, DEPTHS)
    device = get_device() if device is None else torch.device(device)
    model = get_model("efficientnet_lite0", weights="imagenet").to(device)
    replace_head(model, len(train.classes), torch.Generator().manual_seed(seed))
    _probe(model, train, PROBE, device)
    if (first := DEPTHS[strategy]) is None:
        return model
    below = nn.Sequential(model.stem, model.blocks[:first]).eval()
    body = nn.Sequential(model.blocks[first:], model.top)
    with torch.no_grad():
        maps = torch.cat([below(x.to(device)).cpu() for x in train.images.split(64)])
    groups = [
        {"params": model.fc.requires_grad_().parameters(), "lr": 0.001},
        {"params": body.requires_grad_().parameters(), "lr": 0.0003},
    ]
    upper = nn.Sequential(body, model.avgpool, nn.Flatten(), model.dropout, model.fc)
    recipe = replace(TUNE, epochs=_epochs(TUNE_STEPS, train, TUNE), seed=seed)
    fit(upper, TensorDataset(maps, train.labels), recipe, parameters=groups, device=device)
    return model


def _check(strategy: str, known: Iterable[str] = STRATEGIES) -> None:
    if strategy not in known:
        raise ValueError(f"strategy {strategy!r} is none of {', '.join(known)}")


def _epochs(steps: int, train: ImageSet, recipe: Recipe) -> int:
    return max(1, round(steps / math.ceil(len(train) / recipe.batch_size)))


def _probe(model: nn.Module, train: ImageSet, recipe: Recipe, device) -> nn.Module:
    """Train the head only, on features computed once."""
    freeze(model, 1)
    *_, head = head_of(model)
    fit(head, extract_features(model, train, device=device), recipe, device=device)
    return model
