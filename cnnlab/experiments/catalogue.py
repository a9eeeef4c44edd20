"""The experiments, each a question, a claim of the lectures, and a function of a seed."""

import copy
import itertools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from random import Random

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from cnnlab.data import ImageSet, digits, mnist
from cnnlab.device import get_device
from cnnlab.experiments.borrowing import borrowed_features, calibration, forgetting, transfer
from cnnlab.experiments.looking import sanity, shortcut
from cnnlab.experiments.networks import (
    ConvStack,
    gradient_norms,
    scattered_digits,
    small_resnet,
    without_each_block,
)
from cnnlab.layers import CBAM, DropPath, SqueezeExcitation
from cnnlab.models import get_model
from cnnlab.models.lenet import LeNet
from cnnlab.models.residual import BasicBlock
from cnnlab.training import Recipe, evaluate, fit, predict

__all__ = ["EXPERIMENTS", "Experiment"]


@dataclass(frozen=True)
class Experiment:
    """One question and how it is asked.

    Attributes
    ----------
    question : str
        What is compared.
    claim : str
        What a lecture or a paper says of it.
    measure : str
        What the values are.
    setting : str
        The network, the data and the recipe, so that a reader could repeat it.
    control : str
        What the effect is compared with, and what that does not rule out.
    run : callable
        ``run(seed, bench)`` to a dict from variant to value.
    logarithmic : bool
        Draw on a logarithmic scale.
    percent : bool
        Values are shares in 0 to 1.
    """

    question: str
    claim: str
    measure: str
    setting: str
    control: str
    run: Callable[[int, "Bench"], dict[str, float]]
    percent: bool = True
    logarithmic: bool = False

    def show(self, value: float) -> str:
        """A value as the tables print it."""
        if self.percent:
            return f"{value:.1%}"
        return f"{value:.1e}" if self.logarithmic else f"{value:.2f}"


@dataclass(frozen=True)
class Bench:
    """Where an experiment runs and how large it is.

    ``scale`` multiplies widths and epochs: 1 on a CPU.
    """

    device: torch.device
    scale: int

    @classmethod
    def here(cls) -> "Bench":
        """This machine's: twice as wide and as long on a GPU."""
        device = get_device()
        return cls(device, 1 if device.type == "cpu" else 2)

    def train(self, model: nn.Module, data: ImageSet, recipe: Recipe) -> nn.Module:
        fit(
            model,
            data,
            replace(recipe, epochs=recipe.epochs * self.scale),
            device=self.device,
            autocast=False,
            compile=False,
            progress=False,
        )
        return model

    def accuracy(self, model: nn.Module, data: ImageSet) -> float:
        return evaluate(model, data, device=self.device).accuracy


def _few(count: int) -> ImageSet:
    """So many training digits: where data is scarce, how it is used matters."""
    whole = digits("train")
    return ImageSet(
        whole.images[:count], whole.labels[:count], whole.classes, f"{count} digits (train)"
    )


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _lenet(seed: int) -> LeNet:
    """Lecture 4's network or a variant of it, with torch's own first weights."""
    torch.manual_seed(seed)
    options = {"channels": (20, 50), "hidden": (500,), "pool": nn.MaxPool2d}
    return LeNet(side=28, activation=nn.ReLU, **options)


def softmax_first(seed: int, bench: Bench) -> dict[str, float]:
    train, test, values = mnist("train"), mnist("test"), {}
    for epochs in (1, 3):
        recipe = Recipe(epochs, 64, learning_rate=0.05, seed=seed)
        for label, extra in (("scores", []), ("probabilities", [nn.Softmax(1)])):
            model = nn.Sequential(_lenet(seed), *extra)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "the network's outputs are probabilities")
                bench.train(model, train, recipe)
            plural = "epoch" if epochs == 1 else "epochs"
            values[f"{epochs} {plural}, {label}"] = bench.accuracy(model, test)
    return values


@cache
def _trained_resnet(depth: int, shortcut: str, seed: int, bench: Bench) -> nn.Sequential:
    """Two experiments look at the same networks, trained as in lecture 9."""
    recipe = Recipe(16, 64, learning_rate=0.05, weight_decay=1e-4, seed=seed)
    torch.manual_seed(seed)
    model = small_resnet(depth, 8 * bench.scale, shortcut=shortcut)
    return bench.train(model, digits("train"), recipe)


RESNETS = {
    "plain-20": (20, "none"),
    "plain-56": (56, "none"),
    "ResNet-20": (20, "A"),
    "ResNet-56": (56, "A"),
}


def _halved(images: torch.Tensor) -> torch.Tensor:
    """28×28 to 14×14: where seconds matter more than detail."""
    return F.avg_pool2d(images, 2)


def _descend(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    bench: Bench,
    rate: float,
    epochs: int,
    seed: int,
    change: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None,
    adam: bool = False,
) -> nn.Module:
    """SGD with momentum 0.9 or Adam, batches of 50, a constant rate: lectures 3 to 8."""
    model.to(bench.device).train()
    generator = _seeded(seed)
    sgd = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate) if adam else sgd
    for _ in range(epochs):
        for batch in torch.randperm(len(images), generator=generator).split(50):
            shown = change(images[batch], generator) if change else images[batch]
            loss = F.cross_entropy(model(shown.to(bench.device)), labels[batch].to(bench.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


@torch.no_grad()
def _right(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, bench: Bench) -> float:
    answers = model.eval()(images.to(bench.device)).argmax(1).cpu()
    return (answers == labels).float().mean().item()


class SixLayers(nn.Module):
    """Six convolutions of 3×3 with 16 channels, and a classifier."""

    def __init__(self, norm: bool = False, gain: float = 1.0):
        super().__init__()
        parts: list[nn.Module] = []
        for layer in range(6):
            conv = nn.Conv2d(16 if layer else 1, 16, 3, stride=1 if layer else 2, padding=1)
            nn.init.normal_(conv.weight, std=gain * (2 / (9 * conv.in_channels)) ** 0.5)
            nn.init.zeros_(conv.bias)
            parts += [conv, nn.BatchNorm2d(16) if norm else nn.Identity(), nn.ReLU()]
        self.features = nn.Sequential(*parts)
        self.classifier = nn.Linear(16 * 7 * 7, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


def starts(seed: int, bench: Bench) -> dict[str, float]:
    train, test, values = mnist("train"), mnist("test"), {}
    for gain in (0.0, 0.5, 1.0, 2.0):
        torch.manual_seed(seed)
        model = SixLayers(gain=gain)
        _descend(model, _halved(train.images), train.labels, bench, 0.02, 2, seed)
        values[f"gain {gain:g}"] = _right(model, _halved(test.images), test.labels, bench)
    return values


def rates(seed: int, bench: Bench) -> dict[str, float]:
    train, test, values = mnist("train"), mnist("test"), {}
    for norm in (True, False):
        for rate in (0.01, 0.03, 0.1, 0.3):
            torch.manual_seed(seed)
            model = SixLayers(norm)
            _descend(model, _halved(train.images), train.labels, bench, rate, 2, seed)
            name = f"{'batch norm' if norm else 'no norm'}, rate {rate:g}"
            values[name] = _right(model, _halved(test.images), test.labels, bench)
    return values


def dropout(seed: int, bench: Bench) -> dict[str, float]:
    train, test, values = mnist("train"), mnist("test"), {}
    test_pixels = test.images.flatten(1)
    for count, epochs in ((300, 60), (4000, 5)):
        for p in (0.0, 0.5):
            torch.manual_seed(seed)
            layers = [nn.Linear(784, 300), nn.ReLU(), nn.Dropout(p)]
            layers += [nn.Linear(300, 300), nn.ReLU(), nn.Dropout(p), nn.Linear(300, 10)]
            model = nn.Sequential(*layers)
            few = torch.randperm(4000, generator=_seeded(seed))[:count]
            pixels, labels = train.images[few].flatten(1), train.labels[few]
            _descend(model, pixels, labels, bench, 0.02, epochs, seed)
            name = f"{count:,} images, {f'dropout {p:g}' if p else 'no dropout'}"
            values[name] = _right(model, test_pixels, test.labels, bench)
    return values


RUNNERS = {
    "ReLU, He": (nn.ReLU, nn.init.kaiming_normal_),
    "ReLU, Xavier": (nn.ReLU, nn.init.xavier_normal_),
    "tanh, Xavier": (nn.Tanh, nn.init.xavier_normal_),
    "sigmoid, Xavier": (nn.Sigmoid, nn.init.xavier_normal_),
}


def race(seed: int, bench: Bench) -> dict[str, float]:
    train, test, values = mnist("train"), mnist("test"), {}
    for name, (activation, start) in RUNNERS.items():
        tried = []
        for rate in (0.01, 0.03):
            torch.manual_seed(seed)
            layers, channels = [], 1
            for width, stride in ((16, 2), (16, 1), (32, 2), (32, 1), (32, 1)):
                layers += [nn.Conv2d(channels, width, 3, stride, 1), activation()]
                channels = width
            model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 16, 10))
            for layer in model:
                if hasattr(layer, "weight"):
                    start(layer.weight)
            _descend(model, _halved(train.images), train.labels, bench, rate, 2, seed)
            tried.append(_right(model, _halved(test.images), test.labels, bench))
        values[name] = max(tried)
    return values


def small_filters(seed: int, bench: Bench) -> dict[str, float]:
    train, test, values = mnist("train"), mnist("test"), {}
    for name, sizes in {"one 7×7": (7,), "three 3×3": (3, 3, 3)}.items():
        for relu in (True, False):
            torch.manual_seed(seed)
            layers: list[nn.Module] = [nn.Conv2d(1, 12, 3, stride=2, padding=1), nn.ReLU()]
            for size in sizes:
                layers += [nn.Conv2d(12, 12, size, padding=size // 2)]
                layers += [nn.BatchNorm2d(12), nn.ReLU() if relu else nn.Identity()]
            model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(12 * 7 * 7, 10))
            _descend(model, _halved(train.images), train.labels, bench, 0.02, 2, seed)
            label = f"{name}, {'with' if relu else 'without'} ReLU"
            values[label] = _right(model, _halved(test.images), test.labels, bench)
    return values


SIDES = (20, 28, 36, 48, 64)


class SmallNiN(nn.Module):
    """Three NiN blocks, the last without its last ReLU, and the average of ten class maps."""

    def __init__(self) -> None:
        super().__init__()

        def block(inputs: int, width: int, outputs: int, size: int, stride=1) -> list[nn.Module]:
            return [
                nn.Conv2d(inputs, width, size, stride, size // 2),
                nn.ReLU(),
                nn.Conv2d(width, width, 1),
                nn.ReLU(),
                nn.Conv2d(width, outputs, 1),
            ]

        self.features = nn.Sequential(
            *(*block(1, 24, 24, 5, stride=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(*block(24, 32, 32, 3), nn.ReLU()),
            *block(32, 32, 10, 3),
        )
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.features(images).mean((2, 3))


def framed(images: torch.Tensor, side: int) -> torch.Tensor:
    """A digit in a black frame of ``side`` pixels, or without a part of its own border."""
    return F.pad(images, [(side - images.shape[-1]) // 2] * 4)


def frames(seed: int, bench: Bench) -> dict[str, float]:
    train, test, values = mnist("train"), mnist("test"), {}

    def any_frame(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return framed(images, SIDES[int(torch.randint(4, (), generator=generator))])

    for name, change in {"28 pixels": None, "20 to 48 pixels": any_frame}.items():
        torch.manual_seed(seed)
        model = SmallNiN()
        _descend(model, train.images, train.labels, bench, 0.006, 5, seed, change, adam=True)
        for side in SIDES:
            right = _right(model, framed(test.images, side), test.labels, bench)
            values[f"trained at {name}, tested at {side}"] = right
    return values


BRANCHES = ("1×1", "3×3", "5×5", "pool")


class SmallGoogLeNet(nn.Module):
    """A stem, two Inception modules, the average of each map; without ``missing`` if given."""

    def __init__(self, missing: str = ""):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.inception = nn.ModuleList(self.module(channels) for channels in (16, 40))
        self.fc = nn.Linear(40, 10)
        self.silent = {missing}
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)

    @staticmethod
    def module(channels: int) -> nn.ModuleDict:
        def conv(inputs: int, outputs: int, size: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(inputs, outputs, size, padding=size // 2), nn.ReLU())

        return nn.ModuleDict(
            {
                "1×1": conv(channels, 10, 1),
                "3×3": nn.Sequential(conv(channels, 8, 1), conv(8, 14, 3)),
                "5×5": nn.Sequential(conv(channels, 4, 1), conv(4, 8, 5)),
                "pool": nn.Sequential(nn.MaxPool2d(3, 1, padding=1), conv(channels, 8, 1)),
            }
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for module in self.inception:
            parts = {name: branch(x) for name, branch in module.items()}
            x = torch.cat([p * (name not in self.silent) for name, p in parts.items()], 1)
        return self.fc(x.mean((2, 3)))


def branches(seed: int, bench: Bench) -> dict[str, float]:
    train, test = mnist("train"), mnist("test")

    def trained(missing: str = "") -> SmallGoogLeNet:
        torch.manual_seed(seed)
        model = SmallGoogLeNet(missing)
        images = _halved(train.images)
        return _descend(model, images, train.labels, bench, 0.01, 2, seed, adam=True)

    def right(model: nn.Module) -> float:
        return _right(model, _halved(test.images), test.labels, bench)

    whole = trained()
    values = {"whole": right(whole)}
    for name in BRANCHES:
        whole.silent = {name}
        values[f"{name} silenced after training"] = right(whole)
    values["trained without 5×5"] = right(trained("5×5"))
    return values


def degradation(seed: int, bench: Bench) -> dict[str, float]:
    train = digits("train")
    return {
        name: 1 - bench.accuracy(_trained_resnet(*network, seed, bench), train)
        for name, network in RESNETS.items()
    }


def surgery(seed: int, bench: Bench) -> dict[str, float]:
    test, values = digits("test"), {}
    for name in ("plain-20", "ResNet-20"):
        model = _trained_resnet(*RESNETS[name], seed, bench)
        values[f"{name}, whole"] = bench.accuracy(model, test)
        cut = [bench.accuracy(one, test) for one in without_each_block(model)]
        values[f"{name}, without a block: mean"] = sum(cut) / len(cut)
        values[f"{name}, without a block: best"] = max(cut)
        values[f"{name}, without a block: worst"] = min(cut)
    return values


DEPTHS = (2, 4, 8, 16)


def _activations() -> dict[str, tuple[Callable[[], nn.Module], float]]:
    """Each activation with the gain that undoes its slope at 0, so that both start fairly.

    A sigmoid's slope is 1/4 (Glorot and Bengio 2010 treat tanh, whose slope is 1).
    """
    return {"ReLU": (nn.ReLU, 2**0.5), "sigmoid": (nn.Sigmoid, 4.0)}


def activations(seed: int, bench: Bench) -> dict[str, float]:
    train, values = digits("train"), {}
    recipe = Recipe(6, 32, optimizer="adam", learning_rate=0.004, seed=seed)
    for name, (activation, gain) in _activations().items():
        for depth in DEPTHS:
            model = ConvStack(depth, activation=activation, gain=gain, generator=_seeded(seed))
            values[f"{name}, {depth} layers"] = bench.accuracy(
                bench.train(model, train, recipe), train
            )
    return values


def vanishing(seed: int, bench: Bench) -> dict[str, float]:
    data, values = _few(256), {}
    images, labels = data.images.to(bench.device), data.labels.to(bench.device)
    for name, (activation, gain) in _activations().items():
        for depth in DEPTHS:
            model = ConvStack(depth, activation=activation, gain=gain, generator=_seeded(seed))
            first, *_, last = gradient_norms(model.to(bench.device), images, labels)
            values[f"{name}, {depth} layers"] = first / last
    return values


def batch_norm(seed: int, bench: Bench) -> dict[str, float]:
    train, values = digits("train"), {}
    for norm in (False, True):
        for rate in (0.01, 0.1, 0.5):
            model = ConvStack(8, batch_norm=norm, generator=_seeded(seed))
            recipe = Recipe(4, 64, learning_rate=rate, seed=seed)
            try:
                accuracy = bench.accuracy(bench.train(model, train, recipe), train)
            except FloatingPointError:  # diverged: no better than guessing
                accuracy = 1 / len(train.classes)
            values[f"{'batch norm' if norm else 'no norm'}, rate {rate}"] = accuracy
    return values


def auxiliary_heads(seed: int, bench: Bench) -> dict[str, float]:
    train, values = digits("train"), {}
    recipe = Recipe(6, 32, learning_rate=0.02, seed=seed)
    for norm in (False, True):
        for aux in (False, True):
            model = ConvStack(20, batch_norm=norm, aux=aux, generator=_seeded(seed))
            label = f"{'batch norm' if norm else 'no norm'}, {'a' if aux else 'no'} second head"
            values[label] = bench.accuracy(bench.train(model, train, recipe), train)
    return values


def stochastic_depth(seed: int, bench: Bench) -> dict[str, float]:
    train, test, values = _few(300), digits("test"), {}
    recipe = Recipe(12, 32, learning_rate=0.05, weight_decay=1e-4, warmup=1, seed=seed)
    for drop in (0.0, 0.2, 0.5):
        model = get_model(
            "resnet56_cifar",
            in_channels=1,
            width=8 * bench.scale,
            drop=drop,
            generator=_seeded(seed),
        )
        values[f"drop {drop}"] = bench.accuracy(bench.train(model, train, recipe), test)
    return values


def width_or_depth(seed: int, bench: Bench) -> dict[str, float]:
    train, test, values = _few(300), digits("test"), {}
    recipe = Recipe(12, 32, learning_rate=0.05, weight_decay=1e-4, warmup=1, seed=seed)
    for depth, width in ((8, 26), (20, 14), (56, 8)):
        model = get_model(
            "resnet20_cifar",
            in_channels=1,
            layers=((depth - 2) // 6,) * 3,
            width=width * bench.scale,
            generator=_seeded(seed),
        )
        values[f"{depth} layers, {width} wide"] = bench.accuracy(
            bench.train(model, train, recipe), test
        )
    return values


def augmentation(seed: int, bench: Bench) -> dict[str, float]:
    train, test, values = _few(300), digits("test"), {}
    for augment in ("none", "shift", "affine"):
        model = ConvStack(4, 32, batch_norm=True, generator=_seeded(seed))
        recipe = Recipe(20, 32, optimizer="adam", learning_rate=0.002, augment=augment, seed=seed)
        values[augment] = bench.accuracy(bench.train(model, train, recipe), test)
    return values


def ensemble(seed: int, bench: Bench) -> dict[str, float]:
    train, test = _few(300), digits("test")
    probabilities, accuracies = [], []
    for member in range(7):
        own = 100 * seed + member
        model = ConvStack(4, batch_norm=True, generator=_seeded(own))
        recipe = Recipe(15, 32, optimizer="adam", learning_rate=0.003, seed=own)
        bench.train(model, train, recipe)
        accuracies.append(bench.accuracy(model, test))
        probabilities.append(predict(model, test, device=bench.device))
    together = torch.stack(probabilities).mean(0).argmax(1)
    return {
        "one network": sum(accuracies) / len(accuracies),
        "best of seven": max(accuracies),
        "seven together": (together == test.labels).float().mean().item(),
    }


def neighbours(seed: int, bench: Bench) -> dict[str, float]:
    train, test, generator = mnist("train"), mnist("test"), _seeded(seed)
    order = torch.randperm(28 * 28, generator=generator)
    filters = torch.randn(32, 1, 5, 5, generator=generator)
    units = torch.randn(28 * 28, 32 * 6 * 6, generator=generator)

    def accuracy(features: Callable[[torch.Tensor], torch.Tensor]) -> float:
        inputs = features(train.images).flatten(1).double()
        wanted = F.one_hot(train.labels).double()
        pull = 10 * torch.eye(inputs.shape[1], dtype=torch.double)
        weights = torch.linalg.solve(inputs.T @ inputs + pull, inputs.T @ wanted)
        scores = features(test.images).flatten(1).double() @ weights
        return (scores.argmax(1) == test.labels).double().mean().item()

    def shuffled(images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, order].reshape(images.shape)

    layers = {
        "no layer": lambda images: images,
        "32 random filters": lambda images: F.max_pool2d(F.conv2d(images, filters).relu(), 4),
        "1,152 random units": lambda images: (images.flatten(1) @ units).relu() / 8,
    }
    values = {}
    for name, layer in layers.items():
        values[name] = accuracy(layer)
        values[f"{name}, shuffled"] = accuracy(lambda images, layer=layer: layer(shuffled(images)))
    return values


def large_batches(seed: int, bench: Bench) -> dict[str, float]:
    train, test, values = digits("train"), digits("test"), {}
    for label, batch_size, rate, warmup in (
        ("batch 24, rate 0.02", 24, 0.02, 0),
        ("batch 192, rate 0.02", 192, 0.02, 0),
        ("batch 192, rate 0.16", 192, 0.16, 0),
        ("batch 192, rate 0.16, warm-up", 192, 0.16, 2),
    ):
        model = ConvStack(4, batch_norm=True, generator=_seeded(seed))
        recipe = Recipe(
            8, batch_size, learning_rate=rate, momentum=0, schedule="constant", warmup=warmup,
            seed=seed,
        )  # fmt: skip
        values[label] = bench.accuracy(bench.train(model, train, recipe), test)
    return values


def short_numbers(seed: int, bench: Bench) -> dict[str, float]:
    recipe, values = Recipe(8, 32, learning_rate=0.05, seed=seed), {}
    model = ConvStack(4, batch_norm=True, generator=_seeded(seed))
    model = bench.train(model, digits("train"), recipe)
    for bits in (23, 10, 7, 3, 1):
        short = _shortened(model, bits)
        values[f"{bits} bits" if bits > 1 else "1 bit"] = bench.accuracy(short, digits("test"))
    return values


def _shortened(model: nn.Module, bits: int) -> nn.Module:
    """A copy whose convolutions multiply numbers with so many bits after the leading one."""
    drop = 23 - bits

    def rounded(x: torch.Tensor) -> torch.Tensor:
        whole = x.contiguous().view(torch.int32) + (1 << drop >> 1)
        return (whole >> drop << drop).view(torch.float32)

    model = copy.deepcopy(model)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data = rounded(layer.weight.data)
            layer.register_forward_pre_hook(lambda _, inputs: (rounded(inputs[0]),))
    return model


VIEWS = {15: (1, 1, 1, 1), 23: (1, 1, 2, 2), 31: (1, 2, 4, 1), 51: (1, 2, 4, 6)}


class Viewer(nn.Module):
    """Four convolutions with chosen dilations, then the average of each map."""

    def __init__(self, dilations: tuple[int, ...], width: int = 16):
        super().__init__()
        layers, channels, stride = [], 1, 2
        for d in dilations:
            layers += [
                nn.Conv2d(channels, width, 3, stride, padding=d, dilation=d),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            channels, stride = width, 1
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).mean((2, 3)))


def views(seed: int, bench: Bench) -> dict[str, float]:
    train, test, values = mnist("train"), mnist("test"), {}
    for pixels, dilations in VIEWS.items():
        torch.manual_seed(seed)
        model = Viewer(dilations)
        recipe = Recipe(
            5, 50, optimizer="adam", learning_rate=0.005, schedule="constant", seed=seed
        )
        accuracy = bench.accuracy(bench.train(model, train, recipe), test)
        values[f"view of {pixels} pixels"] = accuracy
    return values


@torch.no_grad()
def _rise_of_each_cut(network: nn.Module, block: nn.Module, images, labels, width: int):
    """Rise of the loss when a layer no longer sees some channels: (first of them, rise).

    For all layers of the block but the first, which can read the block's input only.
    """
    whole = F.cross_entropy(network(images), labels)
    for layer in [*block][1:]:
        for first in range(0, layer.conv1.in_channels, width):

            def cut(_, inputs, cut=slice(first, first + width)):
                x = inputs[0].clone()
                x[:, cut] = x[:, cut].mean((0, 2, 3), keepdim=True)
                return (x,)

            with layer.conv1.register_forward_pre_hook(cut):
                rise = F.cross_entropy(network(images), labels) - whole
            yield first, rise.item()


def dense_reuse(seed: int, bench: Bench) -> dict[str, float]:
    train, test, values = _half(mnist("train"), 2000), _half(mnist("test"), 250), {}
    network = get_model(
        "densenet40_cifar",
        in_channels=1,
        layers=(3, 3, 3),
        growth_rate=8,
        generator=_seeded(seed),
    )
    network = bench.train(network, train, Recipe(3, 50, learning_rate=0.1, seed=seed)).eval()
    images, labels = test.images.to(bench.device), test.labels.to(bench.device)
    for number in (1, 2, 3):
        block = getattr(network.features, f"denseblock{number}")
        start = block[0].conv1.in_channels
        cuts = [*_rise_of_each_cut(network, block, images, labels, 8)]
        entered = [rise for first, rise in cuts if first < start]
        made = [rise for first, rise in cuts if first >= start]
        values[f"block {number}, 8 channels of its input"] = sum(entered) / len(entered)
        values[f"block {number}, 8 channels of a layer"] = sum(made) / len(made)
    return values


def _half(data: ImageSet, count: int | None = None) -> ImageSet:
    """The first images at half their size, by averages of 2×2 pixels."""
    images = F.avg_pool2d(data.images[:count], 2)
    return ImageSet(images, data.labels[:count], data.classes, data.name)


def fractal_columns(seed: int, bench: Bench) -> dict[str, float]:
    train, test, values = digits("train"), digits("test"), {}
    for label, drop in (("dropped paths", 0.15), ("nothing dropped", 0.0)):
        network = get_model(
            "fractalnet20_cifar",
            in_channels=1,
            channels=(16, 32, 64),
            dropout=(0.0, 0.0, 0.0),
            drop=drop,
            generator=_seeded(seed),
        )
        network = bench.train(network, train, Recipe(8, 64, learning_rate=0.05, seed=seed))
        values[f"{label}, all columns"] = bench.accuracy(network, test)
        for module in network.eval().modules():
            if isinstance(module, DropPath):
                module.train()  # a join chooses only while training
        x = test.images.to(bench.device)
        for column in range(3):
            maps, chosen = x, torch.full((len(x),), column, device=x.device)
            with torch.no_grad():
                for block, pool in zip(network.blocks, network.pools, strict=True):
                    maps = pool(block(maps, chosen))
                right = network.fc(maps.mean((2, 3))).argmax(1).cpu() == test.labels
            values[f"{label}, column of {3 * 2**column}"] = right.double().mean().item()
    return values


class SelfAttention(nn.Module):
    """Each position asks all others, and adds the mixture of their answers: lecture 11's."""

    def __init__(self, channels: int, device=None, dtype=None):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        self.qkv = nn.Linear(channels, 3 * channels, **kw)
        self.out = nn.Linear(channels, channels, **kw)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).chunk(3, dim=-1)
        mixed = self.out(F.scaled_dot_product_attention(q, k, v))
        return x + mixed.transpose(1, 2).view_as(x)


GATES: dict[str, str | Callable[..., nn.Module] | None] = {
    "no gate": None,
    "SE": lambda channels, **kw: SqueezeExcitation(channels, channels // 4, **kw),
    "ECA": "eca",
    "CBAM": lambda channels, **kw: CBAM(channels, 4, **kw),
    "self-attention": SelfAttention,
}


def _gated(gate: str | Callable[..., nn.Module] | None) -> nn.Sequential:
    """Lecture 11's small ResNet, with a gate at the end of both branches."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, 2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(BasicBlock(16, 16, attention=gate), BasicBlock(16, 32, 2, attention=gate)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
    )


class SmallViT(nn.Module):
    """Patches of 4×4 pixels as words, three transformer layers, the average of all: lecture 11's.

    ``(N, 1, 24, 24)`` to scores ``(N, 10)``.
    """

    def __init__(self, width: int = 32, depth: int = 3):
        super().__init__()
        self.patches = nn.Conv2d(1, width, kernel_size=4, stride=4)
        self.places = nn.Parameter(0.02 * torch.randn(36, width))
        options = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        layers = [nn.TransformerEncoderLayer(width, 4, 2 * width, **options) for _ in range(depth)]
        self.layers, self.norm = nn.Sequential(*layers), nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        words = self.patches(images).flatten(2).transpose(1, 2) + self.places
        return self.head(self.norm(self.layers(words)).mean(1))


SCATTERED = Recipe(6, 25, optimizer="adamw", learning_rate=0.004, weight_decay=0.01)


def _scattered(split: str, count: int, centred: bool = False) -> ImageSet:
    images, labels, _ = scattered_digits(split, count, centred=centred)
    return ImageSet(images, labels, tuple("0123456789"), f"scattered digits ({split})")


def gates(seed: int, bench: Bench) -> dict[str, float]:
    train, test, values = _scattered("train", 800), _scattered("test", 500), {}
    for name in (*GATES, "ViT"):
        torch.manual_seed(seed)
        model = SmallViT() if name == "ViT" else _gated(GATES[name])
        model = bench.train(model, train, replace(SCATTERED, seed=seed))
        values[name] = bench.accuracy(model, test)
    return values


def patience(seed: int, bench: Bench) -> dict[str, float]:
    test, values = _scattered("test", 500), {}
    recipe = replace(SCATTERED, epochs=12, learning_rate=0.002, seed=seed)
    for count in (800, 4000):
        for name, make in {"ResNet": lambda: _gated(None), "ViT": SmallViT}.items():
            torch.manual_seed(seed)
            model = bench.train(make(), _scattered("train", count), recipe)
            values[f"{name}, {count:,} images"] = bench.accuracy(model, test)
    return values


def gate_places(seed: int, bench: Bench) -> dict[str, float]:
    values = {}
    for label, centred in (("centred", True), ("anywhere", False)):
        torch.manual_seed(seed)
        model = bench.train(
            _gated(GATES["CBAM"]),
            _scattered("train", 800, centred),
            replace(SCATTERED, seed=seed),
        )
        images, _, corners = scattered_digits("test", 500, centred=centred)
        kept = []
        with (
            torch.no_grad(),
            model[3].attention.spatial.register_forward_hook(
                lambda _, __, scores, kept=kept: kept.append(scores.sigmoid().cpu())
            ),
        ):
            model.eval()(images.to(bench.device))
        maps = kept[0][:, 0]
        values[f"{label}, its own gate"] = _openness(maps, corners)
        average = maps.mean(0).expand_as(maps)
        values[f"{label}, the average gate"] = _openness(average, corners)
    return values


def _openness(maps: torch.Tensor, corners: torch.Tensor) -> float:
    """How much more open a gate of 12×12 is where the digit lies than elsewhere."""
    rows = torch.arange(12)
    inside = (rows >= corners[:, :1] // 2) & (rows < corners[:, :1] // 2 + 7)
    across = (rows >= corners[:, 1:] // 2) & (rows < corners[:, 1:] // 2 + 7)
    digit = inside[:, :, None] & across[:, None, :]
    return (maps[digit].mean() - maps[~digit].mean()).item()


def rounded(weights: torch.Tensor, bits: int) -> torch.Tensor:
    """To the nearest of 2^bits - 1 values, equally spaced and symmetric about zero."""
    scale = weights.abs().max() / (2 ** (bits - 1) - 1)
    return (weights / scale).round() * scale


def pruned(weights: torch.Tensor, share: float) -> torch.Tensor:
    """With this share of the weights, the smallest, set to zero."""
    sizes = weights.abs()
    return weights * (sizes > sizes.flatten().kthvalue(round(share * weights.numel())).values)


def compression(seed: int, bench: Bench) -> dict[str, float]:
    data, test, values = mnist("train"), mnist("test"), {}
    train = ImageSet(data.images[:2000], data.labels[:2000], data.classes, data.name)
    net = bench.train(_lenet(seed), train, Recipe(2, 50, learning_rate=0.05, seed=seed))
    state = {name: value.clone() for name, value in net.state_dict().items()}
    values["32 bits"] = bench.accuracy(net, test)
    for label, change in (
        *((f"{bits} bits", lambda w, bits=bits: rounded(w, bits)) for bits in (8, 4, 3, 2)),
        *((f"{p:.0%} set to 0", lambda w, p=p: pruned(w, p)) for p in (0.5, 0.8, 0.9, 0.95)),
    ):
        net.load_state_dict({n: change(w) if w.ndim > 1 else w for n, w in state.items()})
        values[label] = bench.accuracy(net, test)
    return values


CHOICES = {"kernel": (1, 3, 5), "width": (4, 8, 16), "depth": (1, 2, 3), "pool": ("max", "mean")}


def from_genes(genes: dict) -> nn.Sequential:
    """Lecture 12's searched network for images of 8×8: a dictionary with a choice of each."""
    k, width, layers, c_in = genes["kernel"], genes["width"], [], 1
    for index in range(genes["depth"]):
        layers += [nn.Conv2d(c_in, width, k, padding=k // 2), nn.BatchNorm2d(width), nn.ReLU()]
        if index == 0:
            layers.append(nn.MaxPool2d(2) if genes["pool"] == "max" else nn.AvgPool2d(2))
        c_in = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * width, 10))


def search(seed: int, bench: Bench) -> dict[str, float]:
    random, values = Random(seed), {}
    train, judge, test = digits("train"), digits("validation"), digits("test")
    recipe = Recipe(2, 50, learning_rate=0.05, seed=seed)

    def born(parent: dict | None = None) -> tuple[float, float, dict]:
        genes = {name: random.choice(options) for name, options in CHOICES.items()}
        if parent is not None:  # one change
            name = random.choice([*CHOICES])
            genes = parent | {name: genes[name]}
        torch.manual_seed(random.randrange(10**6))
        net = bench.train(from_genes(genes), train, recipe)
        return bench.accuracy(net, judge), bench.accuracy(net, test), genes

    for label, ancestors in (("random", 12), ("evolution", 5)):
        alive = [born() for _ in range(ancestors)]
        seen = [*alive]
        for _ in range(12 - ancestors):
            parent = max(random.sample(alive, 3), key=lambda one: one[0])
            alive = [*alive[1:], born(parent[2])]  # the oldest dies
            seen.append(alive[-1])
        best = max(seen, key=lambda one: one[0])
        for index, where in enumerate(("by the judge", "on new images")):
            values[f"{label}, all 12, {where}"] = sum(one[index] for one in seen) / 12
            values[f"{label}, the best, {where}"] = best[index]
    return values


def modern_recipe(seed: int, bench: Bench) -> dict[str, float]:
    train, test, values = _half(mnist("train"), 500), _half(mnist("test")), {}
    for name, epochs in itertools.product(("old", "new"), (6, 24, 60)):
        torch.manual_seed(seed)
        model = small_resnet(8).to(bench.device)
        trained = train_by_recipe(model, train, epochs * bench.scale, modern=name == "new")
        values[f"{name} recipe, {epochs} epochs"] = bench.accuracy(trained, test)
    return values


def train_by_recipe(net: nn.Module, data: ImageSet, epochs: int, *, modern: bool) -> nn.Module:
    """As ResNet was trained in 2015, or with what was learned since: lecture 13's loop."""
    device = next(net.parameters()).device
    loader = DataLoader(data, batch_size=50, shuffle=True)
    steps, step = epochs * len(loader), 0
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for _ in range(epochs):
        for images, labels in loader:
            images, labels = images.to(device), F.one_hot(labels, 10).float().to(device)
            done = step / steps
            if modern:
                rate = 0.1 * min(1, 10 * done + 0.01) * (1 + math.cos(math.pi * done)) / 2
                share, other = torch.rand(()).item(), torch.randperm(len(images))
                images = share * images + (1 - share) * images[other]
                labels = 0.9 * (share * labels + (1 - share) * labels[other]) + 0.01
            else:
                rate = 0.1 * 0.1 ** ((done >= 0.5) + (done >= 0.75))
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            optimizer.step()
            average.update_parameters(net)
            step += 1
    return average.module if modern else net


EXPERIMENTS: dict[str, Experiment] = {
    "softmax_first": Experiment(
        "What does a softmax before the cross entropy do to training?",
        "Torch's cross entropy applies the softmax itself; a second one flattens the loss.",
        "test accuracy",
        "The 20-50-500 LeNet without padding on 4,000 images of MNIST, 1,000 others to test; SGD, "
        "rate 0.05 with a cosine schedule, batches of 64.",
        "The same network without the softmax, under the same seeds, images and recipe.",
        softmax_first,
    ),
    "starts": Experiment(
        "From which first weights does a network without normalization learn?",
        "A standard deviation of the square root of 2/n keeps the signal's scale (He et al. 2015); "
        "zeros never learn.",
        "test accuracy",
        "Six convolutions 3×3 with 16 channels and ReLUs and a linear classifier; He's deviation "
        "times a gain; 4,000 MNIST digits halved to 14×14, SGD with momentum 0.9, rate 0.02, 2 "
        "epochs, batches of 50. Tested on 1,000 digits.",
        "The same network, rate and order of images for each gain. Another rate may suit another "
        "gain, which is not tried.",
        starts,
    ),
    "rates": Experiment(
        "Which learning rates work with and without batch norm, in two epochs?",
        "With batch norm training takes higher rates (Ioffe and Szegedy 2015, section 3.3).",
        "test accuracy",
        "The network of *starts* with He's weights, with a batch norm after each convolution or "
        "without, the same digits and recipe.",
        "The same network without its norms, at the same four rates and seeds.",
        rates,
    ),
    "dropout": Experiment(
        "When does dropout help?",
        "It is a remedy against overfitting (Srivastava et al. 2014).",
        "test accuracy",
        "784-300-300-10 fully connected units with ReLU, dropout after both hidden layers; SGD "
        "with momentum 0.9, rate 0.02, batches of 50, 60 epochs on 300 MNIST digits or 5 on 4,000. "
        "Tested on 1,000 digits.",
        "The same network, images and steps without dropout.",
        dropout,
    ),
    "race": Experiment(
        "Does a ReLU learn faster than tanh and sigmoid?",
        "Six times faster than tanh on CIFAR-10 (Krizhevsky et al. 2012, figure 1).",
        "test accuracy",
        "Five convolutions 3×3 with 16 and 32 channels and a linear layer on 4,000 MNIST digits "
        "halved to 14×14; SGD with momentum 0.9, 2 epochs, batches of 50, the better of the rates "
        "0.01 and 0.03. Tested on 1,000 digits, which also choose the rate.",
        "The same layers, images and rates; ReLU with Xavier's weights separates the start from "
        "the activation.",
        race,
    ),
    "small_filters": Experiment(
        "One filter of 7×7, or three of 3×3 one after the other?",
        "Three see as far with 27 weights instead of 49, and with ReLUs between they compute more "
        "(Simonyan and Zisserman 2015, section 2.3).",
        "test accuracy",
        "A 3×3 convolution with stride 2 to 12 channels, then the one or the three with 12 "
        "channels and batch norm, and a linear classifier; 4,000 MNIST digits halved to 14×14, SGD "
        "with momentum 0.9, rate 0.02, 2 epochs, batches of 50. Tested on 1,000 digits.",
        "The same view, images and recipe; each with ReLUs and without. Depth and number of ReLUs "
        "differ together, as they do in VGG.",
        small_filters,
    ),
    "frames": Experiment(
        "Is a network with global average pooling indifferent to the size of its input?",
        "It takes any size (Lin et al. 2014).",
        "test accuracy",
        "A network of three NiN blocks on 4,000 MNIST digits of 28×28; Adam, rate 0.006, 5 epochs, "
        "batches of 50. Tested on the same 1,000 digits in black frames of other sizes.",
        "The same network, images and steps, each training batch in a frame of 20, 28, 36 or 48 "
        "pixels. 64 is new to both.",
        frames,
    ),
    "branches": Experiment(
        "Which branch of an Inception module is needed?",
        "Silencing a part of a trained network shows what it relies on, not what it needs.",
        "test accuracy",
        "A convolution, a pool, two Inception modules with 10, 14, 8 and 8 channels, the mean of "
        "each map, a linear classifier; 4,000 MNIST digits halved to 14×14, Adam, rate 0.01, 2 "
        "epochs, batches of 50. Tested on 1,000 digits.",
        "The whole network; and the same network trained without its 5×5 branches, under the same "
        "seed and recipe. The other three were not trained without.",
        branches,
    ),
    "neighbours": Experiment(
        "Does a layer that looks at neighbouring pixels help because they are neighbours?",
        "Random filters read more digits than random units that look at all pixels, and lose that "
        "when the pixels are shuffled.",
        "test accuracy",
        "A linear classifier by least squares (ridge 10) on 4,000 MNIST digits, on the pixels "
        "alone, after 32 random 5×5 filters with ReLU and a 4×4 max pool (1,152 numbers), or "
        "after 1,152 random fully connected units with ReLU. Tested on 1,000 digits.",
        "The same on pixels shuffled alike in all images; and as many random units that look at "
        "every pixel. Nothing random is trained.",
        neighbours,
    ),
    "views": Experiment(
        "How much of an image must a unit see?",
        "A view smaller than the object costs accuracy; more than the object does not help.",
        "test accuracy",
        "Four convolutions 3×3 with 16 channels, the first with stride 2, batch norm, then the "
        "average of each map and a linear classifier, on 4,000 MNIST digits; Adam, rate 0.005, "
        "5 epochs, batches of 50. Tested on 1,000 digits.",
        "Only the dilations differ: the same weights and multiply-adds. Larger dilations also "
        "sample more sparsely, which this does not separate.",
        views,
    ),
    "large_batches": Experiment(
        "Eight times the batch: must the learning rate change?",
        "k times the batch wants k times the learning rate, after a warm-up (Goyal et al. 2017, "
        "section 2.1).",
        "test accuracy",
        "A stack of 4 convolutions 3×3 with 16 channels and batch norm on 1,266 digits of 8×8; "
        "plain SGD without momentum at a constant rate, 8 epochs, with or without 2 of warm-up.",
        "The small batch, and the large one at the small batch's rate, under the same seeds. All "
        "see each image eight times; the large batch takes an eighth of the steps.",
        large_batches,
    ),
    "short_numbers": Experiment(
        "How many bits does a convolution need to multiply?",
        "TF32 keeps 10 bits after the leading one, bfloat16 keeps 7; float32 has 23.",
        "test accuracy",
        "A stack of 4 convolutions 3×3 with 16 channels and batch norm, trained in float32 on "
        "1,266 digits of 8×8 (SGD, rate 0.05, 8 epochs, batches of 32). In testing, inputs and "
        "weights of each convolution are rounded, and sums are taken in float32.",
        "The same trained network with all 23 bits. Only testing is rounded; to train with so few "
        "bits is another question.",
        short_numbers,
    ),
    "degradation": Experiment(
        "Does a plain network train better when it is deeper, and a residual one?",
        "The plain 56-layer network has the higher training error, so it is not overfitting; "
        "with shortcuts the same depth trains well (He et al. 2016, figures 1 and 6).",
        "training error",
        "The paper's networks of 6n + 2 layers for CIFAR, half as wide (8, 16 and 32 channels), on "
        "1,266 digits of 8×8; 16 epochs of SGD with momentum 0.9, rate 0.05 on a cosine schedule, "
        "weight decay 1e-4, batches of 64.",
        "The shallow plain network under the same recipe, trained until it knows its images; and "
        "for each plain network its residual twin, equal to the last parameter (shortcut A). One "
        "recipe: another, or more epochs, may do better for plain-56.",
        degradation,
    ),
    "surgery": Experiment(
        "What does a trained network lose with one of its blocks?",
        "A residual network loses little, a plain one nearly everything (Veit et al. 2016, "
        "figures 3 and 4).",
        "test accuracy",
        "Plain-20 and ResNet-20 as in *degradation*; each of the seven blocks that keep the shape "
        "cut out in turn, no training after it.",
        "The whole networks; a plain and a residual network of equal depth, parameters, images and "
        "training.",
        surgery,
    ),
    "activations": Experiment(
        "How deep can a network without normalization be and still learn?",
        "Sigmoid networks stop learning as they get deeper, ReLU networks do not "
        "(Krizhevsky et al. 2012, section 3.1).",
        "training accuracy",
        "A stack of 2 to 16 convolutions 3×3 with 16 channels, no normalization, on 1,266 "
        "digits of 8×8; Adam, rate 0.004, 6 epochs, batches of 32. Weights start with the "
        "gain that undoes the activation's slope at 0.",
        "The same depths for both activations. A sigmoid of 2 layers learns slowly too, so a "
        "low value at 8 layers is not depth alone; and the ReLU can fail at 16.",
        activations,
    ),
    "vanishing": Experiment(
        "How much of the gradient arrives at the first layer before training?",
        "A sigmoid passes on at most a quarter of a gradient, a ReLU all of it or nothing.",
        "gradient norm of the first layer, relative to the last",
        "The stacks of *activations* before any training; the gradient of one loss over 256 "
        "digits.",
        "The same depths and data for both activations, each with its fair start.",
        vanishing,
        percent=False,
        logarithmic=True,
    ),
    "batch_norm": Experiment(
        "Which learning rates work with and without batch norm, in four epochs?",
        "With batch norm training takes higher rates and is much faster "
        "(Ioffe and Szegedy 2015, section 3.3).",
        "training accuracy",
        "A stack of 8 convolutions 3×3 with 16 channels on 1,266 digits of 8×8; SGD with "
        "momentum 0.9 and a cosine schedule, 4 epochs, batches of 64. A run that diverges "
        "counts as guessing.",
        "The same network without its norms, at the same three rates and seeds.",
        batch_norm,
    ),
    "auxiliary_heads": Experiment(
        "Does a second classifier halfway help a deep network to train?",
        "It feeds gradient to the early layers (Szegedy et al. 2014); with batch norm it is no "
        "longer needed.",
        "training accuracy",
        "A stack of 20 convolutions 3×3 with 16 channels and He's start on 1,266 digits of "
        "8×8; SGD, rate 0.02, 6 epochs, batches of 32; the second classifier after 10 of "
        "them.",
        "The same network without the second head, with and without batch norm.",
        auxiliary_heads,
    ),
    "stochastic_depth": Experiment(
        "Does dropping residual blocks while training help on new images?",
        "It regularizes: the test error falls (Huang et al. 2016, after 500 passes over CIFAR). "
        "In a run as short as this one it slows training down more than it helps.",
        "test accuracy",
        "ResNet-56 for CIFAR, 8 channels wide, on 300 digits of 8×8; SGD, rate 0.05, 12 "
        "epochs, batches of 32.",
        "The same network with no block dropped. Twelve epochs say nothing of the 500 that "
        "the paper trains.",
        stochastic_depth,
    ),
    "width_or_depth": Experiment(
        "At about the same number of parameters: wide and shallow, or narrow and deep?",
        "Width does at least as well as depth and trains faster (Zagoruyko and Komodakis 2016).",
        "test accuracy",
        "ResNets for CIFAR of 8, 20 and 56 layers, each as wide as about the same number of "
        "parameters allows, on 300 digits of 8×8; SGD, rate 0.05, 12 epochs, batches of 32.",
        "About equal parameters; the multiply-adds and the best rate of each depth are not "
        "equalized.",
        width_or_depth,
    ),
    "augmentation": Experiment(
        "Do changed copies of 300 training images help on new ones?",
        "Augmentation is the simplest remedy against overfitting "
        "(Krizhevsky et al. 2012, section 4.1).",
        "test accuracy",
        "A stack of 4 convolutions 3×3 with 32 channels and batch norm on 300 digits of 8×8; "
        "Adam, rate 0.002, 20 epochs, batches of 32.",
        "The same network, images and recipe without any augmentation.",
        augmentation,
    ),
    "ensemble": Experiment(
        "Are seven networks together better than one?",
        "Averaging seven networks took AlexNet's top-5 error from 18.2 to 15.4 percent.",
        "test accuracy",
        "Seven stacks of 4 convolutions with batch norm, each from its own start, on 300 "
        "digits of 8×8; Adam, rate 0.003, 15 epochs.",
        "The mean of the seven alone, and the best of them, which no one knows without the "
        "test set.",
        ensemble,
    ),
    "dense_reuse": Experiment(
        "Which channels does a trained dense block read: those that entered it, or its own?",
        "All layers of a block use early features (Huang et al. 2017, figure 5, by the size of "
        "the weights).",
        "rise of the test loss",
        "DenseNet with three blocks of 3 layers and 8 new channels a layer, on 2,000 MNIST digits "
        "of half the size (14×14); SGD, rate 0.1 with a cosine schedule, 3 epochs, batches of 50. "
        "What one layer reads from 8 channels is replaced by its mean, on 250 test images; the "
        "mean over all groups of 8 channels and all layers but the first, which has no choice.",
        "Always 8 channels at a time. The input of a block has 16, 40 and 64: cut as a whole, it "
        "costs more for its size alone.",
        dense_reuse,
        percent=False,
        logarithmic=True,
    ),
    "fractal_columns": Experiment(
        "Is each column of a trained fractal a network by itself?",
        "Drop-path makes each column a working network (Larsson et al. 2017, section 4.2).",
        "test accuracy",
        "Three fractals of 3 columns with 16, 32 and 64 channels on 1,266 digits of 8×8; SGD, rate "
        "0.05 with a cosine schedule, 8 epochs, batches of 64. Half of the images lose each input "
        "of a join with a chance of 0.15, the other half all columns but one.",
        "The same network and recipe with no path dropped.",
        fractal_columns,
    ),
    "gates": Experiment(
        "Does a gate, or self-attention, help a small network?",
        "On ImageNet, gates are worth one to two points (Hu et al. 2018, table 2; Wang et al. "
        "2020, table 3).",
        "test accuracy",
        "A ResNet of two basic blocks with 16 and 32 channels, and a ViT with 36 patches, width 32 "
        "and 3 layers, on 800 MNIST digits of 14×14 anywhere on a noisy ground of 24×24; AdamW, "
        "rate 0.004 with a cosine schedule, weight decay 0.01, 6 epochs, batches of 25. Tested on "
        "500 others.",
        "The same network without a gate, under the same recipe and seeds. A gate adds "
        "parameters, which this does not equalize.",
        gates,
    ),
    "patience": Experiment(
        "Does a small ViT learn with five times the images?",
        "A ViT needs more data than a ResNet for the same (Dosovitskiy et al. 2021, figure 3).",
        "test accuracy",
        "The ViT of *gates*, and its ResNet without a gate, on 800 or 4,000 digits; AdamW, rate "
        "0.002 with a cosine schedule, weight decay 0.01, 12 epochs, batches of 25. Tested on 500 "
        "others.",
        "The ResNet under the same recipe, images and seeds. One recipe, and no augmentation: "
        "another may suit the ViT better.",
        patience,
    ),
    "gate_places": Experiment(
        "Does CBAM's spatial gate find the digit?",
        "Gates are often shown as maps of where a network looks.",
        "how much more open the gate is on the digit than beside it",
        "The network of *gates* with CBAM, trained and tested on digits in the middle, or on "
        "digits anywhere; the gate of its first block, 12×12, over 500 test images.",
        "The average of all test images' gates, which cannot know where the digit is in this one.",
        gate_places,
        percent=False,
    ),
    "compression": Experiment(
        "How few bits, or how few weights, does a trained network need?",
        "Eight bits are enough; small weights can go (Han et al. 2016).",
        "test accuracy",
        "The 20-50-500 LeNet without padding on 2,000 images of MNIST, 1,000 others to test; SGD, "
        "rate 0.05 with a cosine schedule, 2 epochs, batches of 50. The weights of each layer are "
        "rounded, or the smallest of them set to 0, with no training after it.",
        "The same network as it was trained, with 32 bits.",
        compression,
    ),
    "search": Experiment(
        "Is an evolutionary search better than a random one?",
        "Random search does nearly as well in several published spaces (Li and Talwalkar 2019).",
        "accuracy",
        "54 networks for digits of 8×8: kernel 1, 3, 5, width 4, 8, 16, depth 1, 2, 3, max or mean "
        "pool. 12 candidates, each trained for 2 epochs on 1,266 digits (SGD, rate 0.05 with a "
        "cosine schedule, batches of 50) and judged on 178; the best is tested on 353 others. "
        "Evolution: 5 ancestors, 7 children of the best of three, the oldest dies.",
        "As many candidates drawn at random. Whether the judge flatters the winner is seen beside "
        "the mean of all 12, which nobody picked: there judge and new images differ only as two "
        "sets of images do.",
        search,
    ),
    "borrowed_features": Experiment(
        "Five patches of each texture: from which numbers does a linear classifier read them best?",
        "The features of a network trained on ImageNet serve another task (Yosinski et al. 2014).",
        "test accuracy",
        "Logistic regression on 5 patches of 48×48 from each of 15 photographs, drawn by the seed; "
        "240 patches from other parts of the photographs test it. Inputs are scaled to one norm.",
        "Three kinds of numbers that nobody learned: six statistics of the colours, the pixels, "
        "and the features of the same network with random weights.",
        borrowed_features,
    ),
    "modern_recipe": Experiment(
        "What does a recipe of today give an old network?",
        "ResNet-50 gains almost five points (torchvision's two sets of weights).",
        "test accuracy",
        "ResNet-8, 8 channels wide, on 500 MNIST digits of half the size; SGD with momentum 0.9, "
        "rate 0.1, weight decay 5e-4, batches of 50. Old: the rate falls to a tenth at half and "
        "at three quarters. New: warm-up and a cosine, mixed images, label smoothing 0.1, and "
        "averaged weights (a tenth of each step's). Tested on 1,000.",
        "The old recipe for as many epochs; one network and one rate.",
        modern_recipe,
    ),
    "transfer": Experiment(
        "Little or much data, similar or different: which way of using a trained network is best?",
        "Little and similar: a linear classifier on top; little and different: trouble; much and "
        "similar: a few layers; much and different: more layers (deck S003).",
        "test accuracy",
        "EfficientNet-Lite0 with ImageNet's weights at 48×48 pixels; similar are the 15 textures, "
        "different MNIST's digits; little is 5 images a class, much is 30, drawn by the seed. A "
        "linear probe takes 200 steps of Adam on features; fine-tuning goes on from it for 20 "
        "steps on 32 images, the head at a rate of 0.001, the last 2 of 16 blocks and the last "
        "convolution at 0.0003. Tested on 240 patches and 240 digits.",
        "A small network of three convolutions from scratch on the same images (60 steps of "
        "Adam), in every cell. Rates and steps are not tuned for each cell, and more layers than "
        "these were not thawed.",
        transfer,
    ),
    "calibration": Experiment(
        "Is a network as often right as it is sure?",
        "Modern networks are too sure of themselves (Guo et al. 2017).",
        "share",
        "The networks of *transfer* on the textures: their accuracy on 240 test patches, and the "
        "mean of their largest probability.",
        "The same for a network trained from scratch and for a linear probe.",
        calibration,
    ),
    "forgetting": Experiment(
        "Does a backbone that was fine-tuned still serve its old head?",
        "Networks forget what they are no longer trained on (McCloskey and Cohen 1989).",
        "photographs that get the same name as before",
        "The backbones of *transfer* with the old head of 1,000 classes put back, on the 18 "
        "photographs of the course at 224×224.",
        "The linear probe, whose backbone did not change: all names stay.",
        forgetting,
    ),
    "shortcut": Experiment(
        "Does a network read the digit, or the mark above it?",
        "A network takes the easiest way that the training images leave open "
        "(Geirhos et al. 2020).",
        "test accuracy",
        "Two convolutions and a linear layer on 1,000 digits of MNIST with a fifth of their ink, "
        "each with a bright square of 3×3 above or below it, whose place says the class; 4 epochs "
        "of Adam, rate 0.003, batches of 50. Tested on 500 digits with the right mark, without "
        "one, and with that of the next class.",
        "The same network, images and recipe with marks at random, which say nothing.",
        shortcut,
    ),
    "sanity": Experiment(
        "Do the maps change when the weights are replaced by random ones?",
        "Guided backprop hardly changes, the gradient and Grad-CAM do (Adebayo et al. 2018).",
        "rank correlation with the map of the trained network",
        "EfficientNet-Lite0 with ImageNet's weights on chelsea, coffee and motorcycle, the class "
        "that it names; maps averaged to 28×28 positions; the mean of three photographs.",
        "The edges of the photograph, found with no network at all.",
        sanity,
        percent=False,
    ),
}
