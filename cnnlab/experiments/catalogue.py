"""The experiments, each a question, a claim of the lectures, and a function of a seed."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import nn
from torch.nn import functional as F

from cnnlab.data import ImageSet, digits, mnist
from cnnlab.device import get_device
from cnnlab.experiments.borrowing import borrowed_features, calibration, forgetting, transfer
from cnnlab.experiments.looking import sanity, shortcut
from cnnlab.experiments.networks import (
    ConvStack,
    gradient_norms,
    small_resnet,
    without_each_block,
)
from cnnlab.models import get_model
from cnnlab.models.lenet import LeNet
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
