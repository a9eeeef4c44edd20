"""Tasks of assignment 7: transfer learning."""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.assignments.authoring import altered, between, draw
from cnnlab.checks.task import Case, Misconception, Task
from cnnlab.data import ImageSet, patterns
from cnnlab.transfer import load_trunk


def _as_is(x):
    return x


# --- the warm-up: what knowing nothing is worth ---


def _baseline(labels):
    return labels.bincount().max().item() / len(labels)


def _shuffled(rng, counts):
    """Labels in any order, so many of each class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return torch.from_numpy(rng.permutation(labels))


def _baseline_cases(rng):
    for classes in (4, 6):
        yield Case("balanced classes", (_shuffled(rng, [between(rng, 2, 5)] * classes),))
    most = between(rng, 8, 12)
    first = torch.tensor([0])  # not of the most frequent class
    yield Case("uneven classes", (torch.cat([first, _shuffled(rng, [1, 4, most])]),))
    uneven = torch.cat([first, _shuffled(rng, [2, most, 0, 5, 1])])
    yield Case("uneven classes", (uneven,), note="an empty class")


BASELINE = Task(
    id="a7-baseline",
    kind="function",
    entry="baseline",
    points={"balanced classes": 3, "uneven classes": 3},
    reference=_baseline,
    cases=_baseline_cases,
    misconceptions=(
        Misconception(
            "one over the number of classes",
            lambda labels: 1 / len(labels.unique()),
            "Where one class has more images than the others, naming it is right more often.",
        ),
        Misconception(
            "percent",
            lambda labels: 100 * _baseline(labels),
            "Return a share from 0 to 1, not a percentage.",
        ),
        Misconception(
            "number for share",
            lambda labels: labels.bincount().max().item(),
            "Divide by the number of images.",
        ),
        Misconception(
            "rarest class",
            lambda labels: labels.unique(return_counts=True)[1].min().item() / len(labels),
            "Whoever knows nothing names the *most frequent* class.",
        ),
        Misconception(
            "error for accuracy",
            lambda labels: 1 - _baseline(labels),
            "This is the share that is wrong.",
        ),
        Misconception(
            "the class itself",
            lambda labels: labels.bincount().argmax().item(),
            "Asked is how often the most frequent class is right, not which one it is.",
        ),
        Misconception(
            "largest label",
            lambda labels: (labels == labels.max()).float().mean().item(),
            "The largest label is not the most frequent one.",
        ),
        Misconception(
            "first image's class",
            lambda labels: (labels == labels[0]).float().mean().item(),
            "Count the classes; do not take that of the first image.",
        ),
        Misconception(
            "guessing by the shares",
            lambda labels: (labels.bincount() / len(labels)).square().sum().item(),
            "Naming the most frequent class every time is better than guessing in proportion.",
        ),
    ),
)


# --- a small set ---


def _few(labels, each, start=0):
    seen, chosen = {}, []
    for index, label in enumerate(labels.tolist()):
        seen[label] = seen.get(label, -1) + 1
        if start <= seen[label] < start + each:
            chosen.append(index)
    return torch.tensor(chosen)


def _few_cases(rng):
    for classes, each in [(3, 2), (4, between(rng, 2, 4))]:
        labels = _shuffled(rng, [each + 3] * classes)
        yield Case("enough of each class", (labels, each))
    yield Case("enough of each class", (_shuffled(rng, [5, 4, 6]), 1), note="one of each")
    yield Case("too few of a class", (_shuffled(rng, [2, 7, 9]), 4))
    yield Case("too few of a class", (_shuffled(rng, [6, 1, 3, 8]), 3))
    gap = _shuffled(rng, [3, 0, 5, 4])
    yield Case("too few of a class", (gap, 4), note="a class in between has no image at all")


def _few_by_class(labels, each, kept=lambda indices, each: indices[:each]):
    groups = [(labels == c).nonzero().flatten() for c in labels.unique()]
    return torch.cat([kept(group, each) for group in groups])


def _sorted_few(kept):
    return lambda labels, each: _few_by_class(labels, each, kept).sort().values


FEW = Task(
    id="a7-few",
    kind="function",
    entry="few",
    points={"enough of each class": 4, "too few of a class": 4},
    reference=_few,
    cases=_few_cases,
    misconceptions=(
        Misconception(
            "first images, whatever their class",
            lambda labels, each: torch.arange(each * len(labels.unique())),
            "Count for each class by itself: the first images need not be evenly spread.",
        ),
        Misconception(
            "so many in all",
            lambda labels, each: torch.arange(each),
            "`each` images of *each* class.",
        ),
        Misconception(
            "last of each class",
            _sorted_few(lambda indices, each: indices[-each:]),
            "Take the first images of each class, in the order in which they lie there.",
        ),
        Misconception(
            "class after class",
            _few_by_class,
            "Return the indices in increasing order.",
        ),
        Misconception(
            "one too many",
            lambda labels, each: _few(labels, each + 1),
            "`each` images of a class are enough: compare with < and not with <=.",
        ),
        Misconception(
            "one too few",
            lambda labels, each: (
                _few(labels, each - 1) if each > 1 else torch.zeros(0, dtype=torch.int64)
            ),
            "`each` images of a class: the first one counts too.",
        ),
        Misconception(
            "first one skipped",
            lambda labels, each: _few(labels, each, 1),
            "Begin with the first image of a class.",
        ),
        Misconception(
            "labels for indices",
            lambda labels, each: labels[_few(labels, each)],
            "Return where the images lie, not their classes.",
        ),
        Misconception(
            "a mask",
            lambda labels, each: torch.isin(torch.arange(len(labels)), _few(labels, each)),
            "Return indices, not a True or False for each image.",
        ),
        Misconception(
            "small classes left out",
            _sorted_few(lambda indices, each: indices[: each if len(indices) >= each else 0]),
            "A class with fewer images gives all that it has.",
        ),
        Misconception(
            "as few of all as there are of the smallest class",
            lambda labels, each: _few(
                labels, min(each, labels.unique(return_counts=True)[1].min().item())
            ),
            "One small class does not make the others smaller.",
        ),
    ),
)


# --- another head ---


class _Trunk(nn.Module):
    """The network that the assignment gives."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, 8)

    def forward(self, x):
        return self.fc(self.bn(self.conv(x)).relu().mean((2, 3)))


def _adapted(width, classes, hidden=0, act=nn.ReLU, bias=True, end=None):
    network = _Trunk(width)
    if hidden:
        layers = [nn.Linear(width, hidden, bias=bias), act(), nn.Linear(hidden, classes, bias=bias)]
    else:
        layers = [nn.Linear(width, classes, bias=bias)]
    if end is not None:
        layers.append(end())
    network.fc = nn.Sequential(*layers) if len(layers) > 1 else layers[0]
    return network


def _adapted_cases(rng):
    for training in (False, True):
        images = (draw(rng, 3, 3, 4, 5),)
        yield Case("a linear head", (5, 3), inputs=images, training=training)
        classes = between(rng, 9, 12)
        yield Case("a linear head", (4, classes), {"hidden": 0}, inputs=images, training=training)
        yield Case("a hidden layer", (4, 6), {"hidden": 7}, inputs=images, training=training)
        yield Case("a hidden layer", (6, 2), {"hidden": 3}, inputs=images, training=training)


def _adapted_end(change):
    return altered(_adapted, lambda m, x: change(_Trunk.forward(m, x)))


def _on_old_scores(width, classes, hidden=0):
    network = _adapted(width, classes, hidden)
    network.fc = nn.Sequential(nn.Linear(width, 8), _adapted(8, classes, hidden).fc)
    return network


def _under_another_name(width, classes, hidden=0):
    network = _adapted(width, classes, hidden)
    network.head, network.fc = network.fc, nn.Identity()
    return network


def _beside_the_old(width, classes, hidden=0):
    network = _adapted(width, classes, hidden)
    network.new = nn.Linear(width, classes)
    return network


HEAD = Task(
    id="a7-head",
    kind="module",
    entry="adapted",
    points={"a linear head": 5, "a hidden layer": 5},
    reference=_adapted,
    cases=_adapted_cases,
    misconceptions=(
        Misconception(
            "probabilities for scores",
            _adapted_end(lambda scores: scores.softmax(1)),
            "Return the scores themselves: the loss takes the softmax.",
        ),
        Misconception(
            "log-probabilities for scores",
            _adapted_end(lambda scores: scores.log_softmax(1)),
            "Return the scores themselves: the loss takes the log-softmax.",
        ),
        Misconception(
            "scores rectified",
            _adapted_end(torch.relu),
            "Scores may be negative: no ReLU follows the last layer.",
        ),
        Misconception(
            "ReLU missing",
            lambda *args, **kwargs: _adapted(*args, **kwargs, act=nn.Identity),
            "Without a ReLU between them the two layers of the head are one linear layer.",
        ),
        Misconception(
            "tanh for ReLU",
            lambda *args, **kwargs: _adapted(*args, **kwargs, act=nn.Tanh),
            "The activation between the two layers is a ReLU.",
        ),
        Misconception(
            "head without biases",
            lambda *args, **kwargs: _adapted(*args, **kwargs, bias=False),
            "The layers of the head have biases.",
        ),
        Misconception(
            "old head kept",
            lambda width, classes, hidden=0: _Trunk(width),
            "The old head knows the eight old classes: put a new one in its place.",
        ),
        Misconception(
            "head on the old scores",
            _on_old_scores,
            "The new head sees the features, not the scores of the old head.",
        ),
        Misconception(
            "head under another name",
            _under_another_name,
            "Put the new head where the old one was: network.fc.",
        ),
        Misconception(
            "a second head",
            _beside_the_old,
            "There is one head, `fc`: the network needs no layer beside it.",
        ),
        Misconception(
            "hidden layer ignored",
            lambda width, classes, hidden=0: _adapted(width, classes),
            "With hidden > 0 the head has two layers: an nn.Sequential of three modules.",
        ),
        Misconception(
            "one class more",
            lambda width, classes, hidden=0: _adapted(width, classes + 1, hidden),
            "One score for each class: there is no class for everything else.",
        ),
        Misconception(
            "network always in evaluation mode",
            altered(_adapted, lambda m, x: _Trunk.forward(m.eval(), x)),
            "Nothing is said about modes here: leave `train` and `eval` to whoever trains.",
        ),
    ),
    forbidden=("replace_head",),
)


# --- freezing by depth ---

_UNITS = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("fc",))


@cache
def _numbers(classes):
    """How many numbers each parameter of the trunk has, by name."""
    network = load_trunk("patterns", classes)
    return {name: p.numel() for name, p in network.named_parameters()}


def _trained(trainable, classes, units=_UNITS, keep=lambda name: True):
    chosen = [name for unit in units[len(units) - trainable :] for name in unit]
    return _listed(classes, lambda name: name.split(".")[0] in chosen and keep(name))


def _listed(classes, keep):
    kept = [name for name in _numbers(classes) if keep(name)]
    return kept, sum(_numbers(classes)[name] for name in kept)


def _trained_cases(rng):
    classes = between(rng, 3, 7)
    yield Case("the head", (1, classes))
    yield Case("the head", (1, classes + 4))
    yield Case("the top", (2, classes))
    yield Case("the top", (3, classes + 1))
    yield Case("the top", (4, classes))
    yield Case("everything or nothing", (5, classes + 2), note="nothing frozen")
    yield Case("everything or nothing", (0, classes), note="everything frozen")


def _is_norm(name):
    return "bn" in name


FREEZE = Task(
    id="a7-freeze",
    kind="function",
    entry="trained",
    points={"the head": 3, "the top": 4, "everything or nothing": 3},
    reference=lambda trainable, classes: _trained(trainable, classes),
    cases=_trained_cases,
    misconceptions=(
        Misconception(
            "lowest units",
            lambda trainable, classes: _trained(trainable, classes, units=_UNITS[:trainable]),
            "The *last* units train, those next to the head; the first ones are frozen.",
        ),
        Misconception(
            "frozen for trained",
            lambda trainable, classes: _trained(
                5 - trainable, classes, units=_UNITS[: 5 - trainable]
            ),
            "These are the parameters that are frozen: asked are those that train.",
        ),
        Misconception(
            "head not counted as a unit",
            lambda trainable, classes: _trained(min(trainable + 1, 5), classes),
            "The head is the last unit: with trainable=1 it trains alone.",
        ),
        Misconception(
            "one unit too few",
            lambda trainable, classes: _trained(max(trainable - 1, 0), classes),
            "`trainable` units train, the head among them.",
        ),
        Misconception(
            "head trains always",
            lambda trainable, classes: _trained(max(trainable, 1), classes),
            "With trainable=0 nothing trains, not even the head.",
        ),
        Misconception(
            "normalizations frozen",
            lambda trainable, classes: _trained(
                trainable, classes, keep=lambda name: not _is_norm(name)
            ),
            "A unit trains with all of its parameters: those of its normalizations too.",
        ),
        Misconception(
            "normalizations always trained",
            lambda trainable, classes: _listed(
                classes, lambda name: _is_norm(name) or name in _trained(trainable, classes)[0]
            ),
            "The normalizations of a frozen unit are frozen with it.",
        ),
        Misconception(
            "weights only",
            lambda trainable, classes: _trained(
                trainable, classes, keep=lambda name: name.endswith("weight")
            ),
            "Biases and shifts are parameters too.",
        ),
        Misconception(
            "old head",
            lambda trainable, classes: _trained(trainable, None),
            "The network gets a new head first, for `classes` classes.",
        ),
        Misconception(
            "first normalization is a unit of its own",
            lambda trainable, classes: _trained(
                trainable, classes, units=(("conv1",), ("bn1",), *_UNITS[1:])
            ),
            "conv1 and bn1 are one unit, the first.",
        ),
        Misconception(
            "head and so many blocks",
            lambda trainable, classes: _trained(1 if trainable < 3 else trainable, classes),
            "With trainable=2 the head trains, and the unit below it.",
        ),
    ),
    forbidden=("freeze", "parameter_groups", "adapt"),
)


# --- the modes of a frozen trunk ---


class _Frozen(nn.Module):
    def __init__(self, in_channels, width, classes):
        super().__init__()
        conv = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.trunk = nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU()).requires_grad_(False)
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.run(x)

    def run(
        self,
        x,
        trunk=False,
        norm=None,
        act=torch.relu,
        pool=lambda maps: maps.mean((2, 3)),
        first=True,
        second=True,
    ):
        """The network; ``trunk`` and ``norm`` say whether they use the batch's statistics."""
        conv, bn, _ = self.trunk
        norm = self.training if norm is None else norm
        x = conv(x)
        x = pool(act(_normalized(bn, x, trunk) if first else x))
        return self.head(_normalized(self.norm, x, norm) if second else x)


def _normalized(bn, x, by_batch):
    return F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, training=by_batch)


def _frozen_cases(rng):
    for part, training in [("evaluation", False), ("training", True)]:
        for arguments, batch, height, width in [((3, 4, 5), 4, 4, 5), ((1, 6, 2), 3, 6, 3)]:
            images = draw(rng, batch, arguments[0], height, width)
            yield Case(part, arguments, inputs=(images,), training=training)


def _frozen(**steps):
    return altered(_Frozen, lambda m, x: m.run(x, **steps))


def _by_mode(**steps):
    """Steps that are functions of the mode."""
    return altered(
        _Frozen, lambda m, x: m.run(x, **{k: step(m.training) for k, step in steps.items()})
    )


class _Thawed(_Frozen):
    def __init__(self, in_channels, width, classes):
        super().__init__(in_channels, width, classes)
        self.trunk.requires_grad_(True)


class _ForgetsItself(_Frozen):
    def train(self, mode=True):
        super().train(mode)


FROZEN = Task(
    id="a7-frozen-norm",
    kind="module",
    entry="FrozenTrunk",
    compared=("trainable", "gradients", "alone", "state"),
    points={"evaluation": 4, "training": 8},
    reference=_Frozen,
    cases=_frozen_cases,
    misconceptions=(
        Misconception(
            "trunk not frozen",
            _Thawed,
            "A frozen trunk does not learn: `self.trunk.requires_grad_(False)`.",
        ),
        Misconception(
            "trunk left in training mode",
            _by_mode(trunk=lambda training: training),
            "The trunk is frozen: in training its batch norm must use its running statistics too.",
        ),
        Misconception(
            "everything in evaluation mode",
            _frozen(norm=False),
            "Only the trunk is frozen: `norm` is trained, and uses the batch in training.",
        ),
        Misconception(
            "everything in training mode",
            _frozen(trunk=True, norm=True),
            "In evaluation nothing may depend on the batch.",
        ),
        Misconception(
            "norm frozen instead of the trunk",
            _by_mode(trunk=lambda training: training, norm=lambda training: False),
            "It is the trunk that is frozen, and `norm` that is trained.",
        ),
        Misconception(
            "norm always in training mode",
            _frozen(norm=True),
            "In evaluation `norm` uses its running statistics, as every batch norm does.",
        ),
        Misconception(
            "modes exchanged",
            _by_mode(norm=lambda training: not training),
            "`norm` uses the batch in training and its running statistics in evaluation.",
        ),
        Misconception(
            "train returns nothing",
            _ForgetsItself,
            "`train` has to return the module itself: end it with `return self`.",
        ),
        Misconception(
            "norm left out",
            _frozen(second=False),
            "The pooled features pass `norm` before the head.",
        ),
        Misconception(
            "trunk not normalized",
            _frozen(first=False),
            "The trunk is convolution, batch norm and ReLU.",
        ),
        Misconception(
            "ReLU missing",
            _frozen(act=_as_is),
            "The trunk ends with a ReLU.",
        ),
        Misconception(
            "maxima pooled",
            _frozen(pool=lambda maps: maps.amax((2, 3))),
            "Take the mean of each map.",
        ),
        Misconception(
            "probabilities for scores",
            altered(_Frozen, lambda m, x: m.run(x).softmax(1)),
            "Return the scores themselves: the loss takes the softmax.",
        ),
        Misconception(
            "convolution with a bias",
            altered(
                _Frozen,
                trunk=lambda i, width, classes: nn.Sequential(
                    nn.Conv2d(i, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()
                ),
            ),
            "The convolution has no bias: the batch norm after it has a shift.",
        ),
    ),
)


# --- learning rates by depth ---


def _rates(
    units, learning_rate, decay, frozen=0, height=lambda unit, units, frozen: units - 1 - unit
):
    return [
        0.0 if unit < frozen else learning_rate * decay ** height(unit, units, frozen)
        for unit in range(units)
    ]


def _rates_cases(rng):
    def numbers():
        return between(rng, 1, 9) / 10, between(rng, 4, 8) / 10

    yield Case("all units", (4, *numbers()))
    yield Case("all units", (between(rng, 5, 7), *numbers()), {"frozen": 0})
    yield Case("all units", (1, *numbers()), note="a head alone")
    yield Case("frozen units", (5, *numbers()), {"frozen": 2})
    yield Case("frozen units", (between(rng, 5, 7), *numbers()), {"frozen": 3})
    yield Case("frozen units", (4, *numbers()), {"frozen": 4}, "everything frozen")


def _rates_by(height):
    return lambda units, learning_rate, decay, frozen=0: _rates(
        units, learning_rate, decay, frozen, height
    )


RATES = Task(
    id="a7-rates",
    kind="function",
    entry="rates",
    points={"all units": 4, "frozen units": 4},
    reference=lambda units, learning_rate, decay, frozen=0: _rates(
        units, learning_rate, decay, frozen
    ),
    cases=_rates_cases,
    misconceptions=(
        Misconception(
            "head first",
            lambda *args, **kwargs: _rates(*args, **kwargs)[::-1],
            "The list begins with the first unit, next to the image, and ends with the head.",
        ),
        Misconception(
            "first unit fastest",
            _rates_by(lambda unit, units, frozen: unit),
            "The head learns fastest: the lower a unit, the more general what it knows.",
        ),
        Misconception(
            "head slowed too",
            _rates_by(lambda unit, units, frozen: units - unit),
            "The head has the learning rate itself.",
        ),
        Misconception(
            "faster downwards",
            _rates_by(lambda unit, units, frozen: unit + 1 - units),
            "Multiply by `decay` from unit to unit; dividing makes the lower ones faster.",
        ),
        Misconception(
            "one rate below the head",
            _rates_by(lambda unit, units, frozen: min(1, units - 1 - unit)),
            "Each unit is slower than the one above it: the factor is applied again and again.",
        ),
        Misconception(
            "one rate for all",
            _rates_by(lambda unit, units, frozen: 0),
            "Each unit learns `decay` times as fast as the one above it.",
        ),
        Misconception(
            "subtracted",
            lambda units, learning_rate, decay, frozen=0: [
                0.0 if i < frozen else learning_rate * (1 - (units - 1 - i) * (1 - decay))
                for i in range(units)
            ],
            "The rates fall by a factor, not by a fixed amount.",
        ),
        Misconception(
            "frozen units left out",
            lambda units, learning_rate, decay, frozen=0: _rates(units, learning_rate, decay)[
                frozen:
            ],
            "The list has an entry for every unit: 0 for the frozen ones.",
        ),
        Misconception(
            "frozen units learn",
            lambda units, learning_rate, decay, frozen=0: _rates(units, learning_rate, decay),
            "The `frozen` lowest units have a rate of 0.",
        ),
        Misconception(
            "frozen from the head",
            lambda units, learning_rate, decay, frozen=0: (
                _rates(units, learning_rate, decay)[: units - frozen] + [0.0] * frozen
            ),
            "The lowest units are frozen, not the head.",
        ),
        Misconception(
            "one frozen unit too few",
            lambda units, learning_rate, decay, frozen=0: _rates(
                units, learning_rate, decay, max(0, frozen - 1)
            ),
            "`frozen` units have a rate of 0: those with the numbers 0 to frozen - 1.",
        ),
        Misconception(
            "one frozen unit too many",
            lambda units, learning_rate, decay, frozen=0: (
                _rates(units, learning_rate, decay, frozen + 1 if frozen else 0)
                if frozen < units
                else _rates(units, learning_rate, decay, frozen)
            ),
            "`frozen` units have a rate of 0: those with the numbers 0 to frozen - 1.",
        ),
    ),
    forbidden=("parameter_groups",),
)


# --- features ---


_loaded = cache(load_trunk)


def _trunk_features(images, trunk, training=False, pool=lambda maps: maps.mean((2, 3))):
    network = (load_trunk(trunk) if training else _loaded(trunk)).train(training)
    with torch.no_grad():
        x = network.bn1(network.conv1(images)).relu()
        return pool(network.layer3(network.layer2(network.layer1(x))))


def _features_cases(rng):
    def images(number):
        return torch.from_numpy(rng.random((number, 3, 16, 16), dtype=np.float32))

    yield Case("one image", (images(1), "patterns"))
    yield Case("a batch", (images(4), "patterns"))
    yield Case("a batch", (images(7), "patterns"))
    yield Case("the other trunk", (images(3), "digits"))


def _features(**changes):
    return lambda images, trunk: _trunk_features(images, trunk, **changes)


def _scored(images, trunk):
    with torch.no_grad():
        return _loaded(trunk).fc(_trunk_features(images, trunk))


def _half_way(images, trunk):
    network = _loaded(trunk).eval()
    with torch.no_grad():
        x = network.bn1(network.conv1(images)).relu()
        return network.layer2(network.layer1(x)).mean((2, 3))


FEATURES = Task(
    id="a7-features",
    kind="function",
    entry="features",
    compared=("no gradient",),
    points={"one image": 4, "a batch": 4, "the other trunk": 4},
    reference=_features(),
    cases=_features_cases,
    misconceptions=(
        Misconception(
            "trunk in training mode",
            _features(training=True),
            "In training mode batch norm uses the batch: an image's features would depend on the "
            "others.",
        ),
        Misconception(
            "scores for features",
            _scored,
            "These are the scores of the old classes: stop before the head.",
        ),
        Misconception(
            "probabilities for features",
            lambda images, trunk: _scored(images, trunk).softmax(1),
            "These are probabilities of the old classes: stop before the head.",
        ),
        Misconception(
            "maxima pooled",
            _features(pool=lambda maps: maps.amax((2, 3))),
            "The network takes the mean of each of its last maps: so does its head.",
        ),
        Misconception(
            "sums pooled",
            _features(pool=lambda maps: maps.sum((2, 3))),
            "The network takes the mean of each of its last maps, not the sum.",
        ),
        Misconception(
            "not pooled",
            _features(pool=_as_is),
            "What goes into the head is pooled: one number for each of the 64 maps.",
        ),
        Misconception(
            "flattened for pooled",
            _features(pool=lambda maps: maps.flatten(1)),
            "Pool each map to its mean; do not lay all positions out.",
        ),
        Misconception(
            "axes of length one kept",
            _features(pool=lambda maps: maps.mean((2, 3), keepdim=True)),
            "The result has shape (N, 64): flatten what the pooling leaves.",
        ),
        Misconception(
            "batch of one squeezed",
            lambda images, trunk: _trunk_features(images, trunk).squeeze(0),
            "A batch of one stays a batch: shape (1, 64).",
        ),
        Misconception(
            "always the same trunk",
            lambda images, trunk: _trunk_features(images, "patterns"),
            "Load the trunk that is asked for.",
        ),
        Misconception(
            "one unit too low",
            _half_way,
            "All three layers belong to the trunk: the head sees 64 features.",
        ),
        Misconception(
            "scaled to length one",
            lambda images, trunk: F.normalize(_trunk_features(images, trunk)),
            "Return the features as the head gets them, without scaling.",
        ),
        Misconception(
            "images standardized",
            lambda images, trunk: _trunk_features((images - images.mean()) / images.std(), trunk),
            "This trunk has learned on images from 0 to 1: give it the same.",
        ),
    ),
    forbidden=("extract_features",),
)


# --- a classifier without training ---


def _means(features, labels):
    return torch.stack([features[labels == c].mean(0) for c in range(int(labels.max()) + 1)])


def _nearest(features, labels, queries, means=_means, distance=torch.cdist):
    return distance(queries, means(features, labels)).argmin(1)


def _nearest_cases(rng):
    for part, counts, width in [
        ("two classes", (5, 5), 3),
        ("two classes", (4, 6), 2),
        ("more classes", (4, 4, 4, 4), 3),
        ("more classes", (3, 9, 5), 2),
    ]:
        labels = _shuffled(rng, counts)
        centres = 2 * draw(rng, len(counts), width) + 1.5
        centres[0] = 3 * centres[0]
        features = centres[labels] + 1.5 * draw(rng, len(labels), width)
        queries = torch.cat([3 * draw(rng, 40, width), 2 * features + draw(rng, *features.shape)])
        yield Case(part, (features, labels, queries))


def _negative(similarity):
    return lambda queries, means: -similarity(queries, means)


def _one_of_each(position):
    def means(features, labels):
        return torch.stack([features[labels == c][position] for c in range(int(labels.max()) + 1)])

    return means


NEAREST = Task(
    id="a7-nearest-mean",
    kind="function",
    entry="nearest_mean",
    points={"two classes": 4, "more classes": 6},
    reference=lambda features, labels, queries: _nearest(features, labels, queries),
    cases=_nearest_cases,
    misconceptions=(
        Misconception(
            "farthest mean",
            lambda f, labels, q: _nearest(f, labels, q, distance=_negative(torch.cdist)),
            "The class is that of the *nearest* mean: take the smallest distance.",
        ),
        Misconception(
            "products for distances",
            lambda f, labels, q: _nearest(f, labels, q, distance=_negative(lambda a, b: a @ b.T)),
            "A product is large for means that are far from 0: take distances.",
        ),
        Misconception(
            "angles for distances",
            lambda f, labels, q: _nearest(
                f,
                labels,
                q,
                distance=_negative(lambda a, b: F.normalize(a) @ F.normalize(b).T),
            ),
            "Take the Euclidean distance between the points, not the angle.",
        ),
        Misconception(
            "sums of absolute differences",
            lambda f, labels, q: _nearest(
                f, labels, q, distance=lambda a, b: torch.cdist(a, b, p=1)
            ),
            "The Euclidean distance squares the differences before it adds them.",
        ),
        Misconception(
            "nearest neighbour",
            lambda f, labels, q: labels[torch.cdist(q, f).argmin(1)],
            "Compare with the mean of each class, not with every image.",
        ),
        Misconception(
            "sums for means",
            lambda f, labels, q: _nearest(
                f,
                labels,
                q,
                lambda f, labels: _means(f, labels) * labels.bincount()[:, None],
            ),
            "Divide each class's sum by the number of its images.",
        ),
        Misconception(
            "divided by all images",
            lambda f, labels, q: _nearest(
                f,
                labels,
                q,
                lambda f, labels: _means(f, labels) * labels.bincount()[:, None] / len(labels),
            ),
            "Divide each class's sum by the number of images of *that* class.",
        ),
        Misconception(
            "first image of each class",
            lambda f, labels, q: _nearest(f, labels, q, _one_of_each(0)),
            "A class's mean takes all of its images.",
        ),
        Misconception(
            "last image of each class",
            lambda f, labels, q: _nearest(f, labels, q, _one_of_each(-1)),
            "A class's mean takes all of its images: the last one overwrites the others.",
        ),
        Misconception(
            "classes counted from one",
            lambda f, labels, q: _nearest(f, labels, q) + 1,
            "Classes count from 0.",
        ),
        Misconception(
            "distances returned",
            lambda f, labels, q: torch.cdist(q, _means(f, labels)).amin(1),
            "Return the class of each query, not its distance.",
        ),
        Misconception(
            "medians for means",
            lambda f, labels, q: _nearest(
                f,
                labels,
                q,
                lambda f, labels: torch.stack(
                    [f[labels == c].median(0).values for c in range(int(labels.max()) + 1)]
                ),
            ),
            "Take the mean of each feature, not its median.",
        ),
    ),
)


# --- transfer ---

SHAPES = ("ell", "crescent", "star", "tee", "twins", "wedge")


@cache
def _pool() -> ImageSet:
    return patterns("test", 900, 16, classes=SHAPES, seed=707)


def _unseen_shapes(rng):
    chosen = torch.from_numpy(rng.permutation(len(_pool()))[:300])
    noise = torch.from_numpy(rng.normal(0, 0.01, size=(300, 3, 16, 16)).astype(np.float32))
    return (_pool().images[chosen] + noise).clamp(0, 1)


def _true_shapes(images):
    known = _pool().images.flatten(1)
    return _pool().labels[torch.cdist(images.flatten(1), known).argmin(1)]


TRAIN = Task(
    id="a7-train",
    kind="predictions",
    entry="predict",
    points={"more than from scratch": 4, "good": 4, "very good": 4},
    bands={"more than from scratch": 0.5, "good": 0.82, "very good": 0.92},
    reference=_true_shapes,
    cases=lambda rng: [Case("very good", (_unseen_shapes(rng),))],
    misconceptions=(
        Misconception(
            "counted from one",
            lambda images: _true_shapes(images) + 1,
            "The classes count from 0: the position of the largest score is the shape.",
        ),
    ),
)

TASKS = (
    BASELINE,
    FEW,
    HEAD,
    FREEZE,
    FROZEN,
    RATES,
    FEATURES,
    NEAREST,
    TRAIN,
)
