"""Lecture 16's experiments: what EfficientNet-Lite0 learned from ImageNet, put to use elsewhere."""

import copy
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.data import mnist, photographs, textures
from cnnlab.models import get_model
from cnnlab.models.efficientnet_lite0 import preprocess

__all__ = ["borrowed_features", "calibration", "forgetting", "transfer"]

CELLS = {  # images a class, and of what
    "little, similar": (5, "textures"),
    "little, different": (5, "digits"),
    "much, similar": (30, "textures"),
    "much, different": (30, "digits"),
}
# The first part that learns: of the stem, 16 blocks, the last convolution, the pool, a flattening.
FIRST = {"linear probe": 20, "fine-tuning": 15}
WAYS = ("scratch", *FIRST)
SIZE = 48  # pixels


def _parts() -> nn.Sequential:
    """The trained network without its head, as one list."""
    net = get_model("efficientnet_lite0", weights="imagenet").eval()
    return nn.Sequential(net.stem, *net.blocks, net.top, net.avgpool, nn.Flatten())


@cache
def _images(kind: str, split: str) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 48, 48) in [-1, 1] and labels; the digits enlarged, with three channels."""
    data = textures(split) if kind == "textures" else mnist(split)
    count = 450 if split == "train" else 240
    images = data.images[:count].expand(-1, 3, -1, -1)
    images = F.interpolate(images, (SIZE, SIZE), mode="bilinear", antialias=True)
    return (images - 0.5) / 0.5, data.labels[:count]


@cache
@torch.no_grad()
def _maps(kind: str, split: str, first: int, device: torch.device) -> Tensor:
    """What the frozen parts below ``first`` make of the images: the same for every seed."""
    start = max((depth for depth in FIRST.values() if depth < first), default=0)
    if start:
        images = _maps(kind, split, start, device)
    elif kind == "photographs":
        images = torch.cat([preprocess(photograph.image) for photograph in photographs().values()])
    else:
        images, _ = _images(kind, split)
    parts = _parts()[start:first].to(device)
    return torch.cat([parts(some.to(device)) for some in images.split(64)])


def _chosen(cell: str, seed: int) -> Tensor:
    """Which training images a seed learns from: so many of each class."""
    each, kind = CELLS[cell]
    labels = _images(kind, "train")[1]
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return torch.cat([order[labels[order] == i][:each] for i in labels.unique()])


def _train(model: nn.Module, x: Tensor, y: Tensor, groups, steps: int, batch: int, seed: int):
    """So many steps of Adam, each on images drawn anew."""
    optimizer = torch.optim.Adam(groups)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    for _ in range(steps):
        drawn = torch.randint(len(y), (batch,), generator=generator).to(y.device)
        loss = F.cross_entropy(model(x[drawn]), y[drawn])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@cache
def _adapted(cell: str, way: str, seed: int, device: torch.device) -> nn.Module:
    """What learns in one of the `WAYS`, trained; the experiments share it."""
    kind, chosen = CELLS[cell][1], _chosen(cell, seed)
    y = _images(kind, "train")[1][chosen].to(device)
    torch.manual_seed(seed)
    classes = int(y.max()) + 1
    if way == "scratch":
        layers, channels = [], 3
        for width in (16, 32, 64):
            layers += [nn.Conv2d(channels, width, 5, 2, 2), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, classes)]
        model, x = nn.Sequential(*layers).to(device), _images(kind, "train")[0][chosen].to(device)
        groups = [{"params": model.parameters(), "lr": 0.003}]
        return _train(model, x, y, groups, steps=60, batch=32, seed=seed)
    if way == "linear probe":
        head = nn.Linear(1280, classes).to(device)
        groups = [{"params": head.parameters(), "lr": 0.01, "weight_decay": 0.01}]
        features = _maps(kind, "train", FIRST[way], device)[chosen]
        return nn.Sequential(_train(head, features, y, groups, steps=200, batch=64, seed=seed))
    head = copy.deepcopy(_adapted(cell, "linear probe", seed, device)[-1])
    body = _parts()[FIRST[way] :].to(device)
    model = nn.Sequential(*body, head)
    groups = [
        {"params": head.parameters(), "lr": 0.001},
        {"params": body.parameters(), "lr": 0.0003},
    ]
    x = _maps(kind, "train", FIRST[way], device)[chosen]
    return _train(model, x, y, groups, steps=20, batch=32, seed=seed)


@cache
def _probabilities(cell: str, way: str, seed: int, device: torch.device) -> Tensor:
    """What it says of the cell's test images."""
    kind = CELLS[cell][1]
    if way == "scratch":
        x = _images(kind, "test")[0].to(device)
    else:
        x = _maps(kind, "test", FIRST[way], device)
    model = _adapted(cell, way, seed, device)
    with torch.no_grad():
        return model(x).softmax(1).cpu()


def transfer(seed: int, bench) -> dict[str, float]:
    values = {}
    for cell, (_, kind) in CELLS.items():
        labels = _images(kind, "test")[1]
        for way in WAYS:
            named = _probabilities(cell, way, seed, bench.device).argmax(1)
            values[f"{cell}: {way}"] = (named == labels).float().mean().item()
    return values


def calibration(seed: int, bench) -> dict[str, float]:
    """Accuracy and mean confidence on the textures."""
    labels, values = _images("textures", "test")[1], {}
    for cell in ("little, similar", "much, similar"):
        for way in WAYS:
            sure, named = _probabilities(cell, way, seed, bench.device).max(1)
            values[f"{cell}: {way}, accuracy"] = (named == labels).float().mean().item()
            values[f"{cell}: {way}, confidence"] = sure.mean().item()
    return values


def forgetting(seed: int, bench) -> dict[str, float]:
    """How many photographs the old head still names as before, on the backbone that went on."""
    old = get_model("efficientnet_lite0", weights="imagenet").fc.to(bench.device)
    with torch.no_grad():
        named = old(_maps("photographs", "", FIRST["linear probe"], bench.device)).argmax(1)
    values = {}
    for cell in ("much, similar", "much, different"):
        for way, first in FIRST.items():
            body = _adapted(cell, way, seed, bench.device)[:-1]
            with torch.no_grad():
                now = old(body(_maps("photographs", "", first, bench.device))).argmax(1)
            values[f"{cell}: {way}"] = (now == named).float().mean().item()
    return values


def borrowed_features(seed: int, bench) -> dict[str, float]:
    """A linear classifier that reads textures from four things, 5 patches a class."""
    chosen, labels = _chosen("little, similar", seed), _images("textures", "train")[1]
    train, test = _images("textures", "train")[0][chosen], _images("textures", "test")[0]
    fresh = get_model("efficientnet_lite0", generator=torch.Generator().manual_seed(seed)).eval()
    fresh.fc = nn.Identity()
    fresh.to(bench.device)
    with torch.no_grad():
        untrained = [
            torch.cat([fresh(part.to(bench.device)).cpu() for part in images.split(64)])
            for images in (train, test)
        ]
    learned = [
        _maps("textures", split, FIRST["linear probe"], bench.device).cpu()
        for split in ("train", "test")
    ]
    inputs = {
        "mean and deviation of each colour": [
            torch.cat([images.mean((2, 3)), images.std((2, 3))], 1) for images in (train, test)
        ],
        "pixels": [train.flatten(1), test.flatten(1)],
        "features of an untrained network": untrained,
        "features learned from ImageNet": [learned[0][chosen], learned[1]],
    }
    wanted = labels[chosen], _images("textures", "test")[1]
    return {name: _linear(*parts, *wanted) for name, parts in inputs.items()}


def _linear(train: Tensor, test: Tensor, train_labels: Tensor, test_labels: Tensor) -> float:
    """Test accuracy of logistic regression on (N, F), all scaled to a mean norm of 10."""
    from sklearn.linear_model import LogisticRegression

    center = train.mean(0)
    scale = (train - center).norm(dim=1).mean() / 10
    model = LogisticRegression(max_iter=1000)
    model.fit(((train - center) / scale).numpy(), train_labels.numpy())
    return model.score(((test - center) / scale).numpy(), test_labels.numpy())
