"""Trained networks: what crosses, what is refused, and what reads the digits without learning."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from grader_quality import TASKS
from torch import nn

from cnnlab.answers import Refused, wire
from cnnlab.answers.networks import told
from cnnlab.assignments.authoring import moved_digits, trained
from cnnlab.checks import Case, Task, examine
from cnnlab.checks.weights import classes, figures, rebuilt
from cnnlab.data import digits, moved
from cnnlab.layers import Residual

# Judged on moved digits; assignments 8 and 9 are judged on MNIST.
TRAINING = [t for t in TASKS if t.kind == "weights" and t.id[:2] not in ("a8", "a9")]
SHAPE = (1, 8, 8)


def small(*more):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        Residual(nn.Conv2d(4, 4, 3, padding=1)),
        *more,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(4, 2),
    )


def across(network):
    return wire.unpack(*wire.pack(told(network)))


def test_the_copy_is_the_network_in_evaluation_mode_and_made_of_plain_values():
    network = small()
    network(torch.randn(9, *SHAPE))  # its statistics move
    copy = rebuilt(across(network), SHAPE, ())
    images = torch.randn(5, *SHAPE)
    with torch.no_grad():
        assert torch.equal(copy(images), network.eval()(images))
    assert classes(copy, images).tolist() == network(images).argmax(1).tolist()
    assert json.dumps(across(network)["layers"])


def test_a_network_that_looks_at_the_whole_batch_is_refused():
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten()
    )
    copy = rebuilt(across(network), SHAPE, ())
    with pytest.raises(Refused, match="alone gets other scores"):
        classes(copy, torch.randn(20, *SHAPE))


def test_a_part_that_is_used_twice_and_one_with_a_name_cross_too():
    act = nn.ReLU()
    network = nn.Sequential()
    network.add_module("conv", nn.Conv2d(1, 2, 3))
    network.add_module("act", act)
    network.add_module("again", nn.Sequential(nn.Conv2d(2, 2, 3), act, nn.Flatten()))
    copy = rebuilt(across(network), SHAPE, ())
    images = torch.randn(3, *SHAPE)
    assert torch.equal(copy(images), network(images))


class Own(nn.Module):
    def forward(self, x):
        return x


class Sly(nn.Sequential):
    def forward(self, x):
        return super().forward(x) + 1


class Convolution(nn.Conv2d):
    pass


@pytest.mark.parametrize(
    "network, words",
    [
        (None, "of type NoneType"),
        (nn.Linear, "this is a class"),
        (small(Own()), "its part `2` is of type Own"),
        (small(Sly()), "its part `2` is of type Sly"),
        (small(Convolution(4, 4, 1)), "its part `2` is of type Convolution"),
        (small(nn.Upsample(scale_factor=2)), "its part `2` is of type Upsample"),
    ],
)
def test_what_is_no_network_of_known_layers_is_refused(network, words):
    with pytest.raises(Refused, match=words):
        told(network)


LISTED = [
    ("Conv2d", 1, 4, 3, {"padding": 1, "bias": False}),
    ("BatchNorm2d", 4),
    ("ReLU",),
    ("Residual", [("Conv2d", 4, 4, 3, {"padding": 1})], []),
    ("Residual", [("Conv2d", 4, 6, 1, {"stride": 2})], [("Conv2d", 4, 6, 2, {"stride": 2})]),
    ("AdaptiveAvgPool2d", 1),
    ("Flatten",),
    ("Linear", 6, 2),
]


def of_list(layers=LISTED):
    """The network of a list, put together by hand."""
    made = []
    for kind, *numbers in layers:
        settings = numbers.pop() if numbers and isinstance(numbers[-1], dict) else {}
        ways = [of_list(way) for way in numbers] if kind == "Residual" else None
        made.append(Residual(*ways) if ways else getattr(nn, kind)(*numbers, **settings))
    return nn.Sequential(*made)


def test_a_list_with_its_weights_crosses_as_the_network_does():
    torch.manual_seed(0)
    network = of_list()
    network(torch.randn(9, *SHAPE))
    copy = rebuilt(across((LISTED, network.state_dict())), SHAPE, ())
    images = torch.randn(5, *SHAPE)
    with torch.no_grad():
        assert torch.equal(copy(images), network.eval()(images))
    assert figures(copy, SHAPE) == {"MACs": 36 * 64 + 16 * 9 * 64 + 24 * 16 + 96 * 16 + 96 + 12,
                                    "parameters": 36 + 8 + 148 + 30 + 102 + 14}  # fmt: skip


@pytest.mark.parametrize(
    "layers, words",
    [
        (3, "expected a list of layers, and got one of type int"),
        ([nn.ReLU()], r"a layer is written as \("),
        (["ReLU"], r"a layer is written as \("),
        ([()], r"a layer is written as \("),
        ([("Upsample", 2)], "of kind 'Upsample', and that is none"),
        ([("Sequential",)], "of kind 'Sequential', and that is none"),
        ([("Conv2d", 1)], "its layer .* cannot be made"),
        ([("Conv2d", 1, 4, 3, {"device": "cuda:9"})], "its layer .* cannot be made"),
        ([("Residual",)], "its layer .* cannot be made"),
        ([("Residual", [("Upsample", 2)])], "of kind 'Upsample'"),
        ([("Residual", [("Residual", [("Flatten",)] * 198)]), ("ELU",)], "more than 200 parts"),
        ([("Conv2d", 10**9, 1, 3)], "`Conv2d` has in_channels=1000000000, and 4096 is the most"),
        ([("MaxPool2d", {"kernel_size": [2, 33]})], r"has kernel_size=\[2, 33\], and 32 is the"),
    ],
)
def test_a_list_that_tells_no_network_is_refused_in_a_sentence(layers, words):
    with pytest.raises(Refused, match=words) as found:
        rebuilt(across((layers, {})), SHAPE, ())
    assert len(str(found.value)) < 350 and "\n" not in str(found.value)


@pytest.mark.parametrize(
    "layers, macs",
    [
        ([("Linear", 28, 10), ("Flatten",)], 28 * 28 * 10),  # in each row
        ([("Conv2d", 1, 4, 3, {"padding": "same", "dilation": 2})], 28 * 28 * 36),
        ([("Conv2d", 1, 4, 3, {"padding": 1, "padding_mode": "circular"})], 28 * 28 * 36),
        ([("AdaptiveMaxPool2d", 7)], 7 * 7 * 16),
        ([("AdaptiveAvgPool2d", [7, 1])], 7 * 4 * 28),
        ([("AvgPool2d", 3, {"stride": 1, "padding": 1, "count_include_pad": False})], 28 * 28 * 9),
        ([("BatchNorm2d", 1), ("PReLU",), ("Residual", [("Dropout",)])], 0),
    ],
)
def test_nothing_that_multiplies_escapes_the_count(layers, macs):
    layers = [*layers, ("Flatten",)]
    made = of_list(layers)
    copy = rebuilt(across((layers, made.state_dict())), (1, 28, 28), ())
    assert figures(copy, (1, 28, 28))["MACs"] == macs


@pytest.mark.parametrize("value", [(LISTED,), (LISTED, {}, 3), (LISTED, [1.0]), []])
def test_a_list_without_its_weights_is_refused(value):
    with pytest.raises(Refused, match="a list of layers and a dict of weights, in this order"):
        told(value)


def changed(**weights):
    """`small` with other weights of some names; None takes them away."""
    held = dict(across(small())["weights"])
    held |= {n.replace("_", ".", 1): w for n, w in weights.items()}
    return {**across(small()), "weights": {n: w for n, w in held.items() if w is not None}}


@pytest.mark.parametrize(
    "value, words",
    [
        (changed(more=torch.zeros(2)), "weights `more`, and no layer has any of that name"),
        (changed(**{"0_weight": None}), r"the weights `0\.weight` are missing"),
        (changed(**{"0_weight": torch.zeros(4, 1, 1, 9)}), r"is \(4, 1, 1, 9\), and its layer"),
        (changed(**{"0_weight": torch.zeros(4, 1, 3, 3).int()}), "of type torch.int32"),
        (changed(**{"0_weight": torch.zeros(4, 1, 3, 3) + 0j}), "of type torch.complex64"),
        (changed(**{"0_weight": torch.full((4, 1, 3, 3), torch.nan)}), "holds NaN, or a number"),
        (changed(**{"0_weight": torch.full((4, 1, 3, 3), 1e30)}), "a number beyond 1,000,000"),
        (changed(**{"1_running_var": torch.full((4,), torch.inf)}), "a number beyond 1,000,000"),
        (changed(**{"0_weight": [0.0] * 36}), r"is \(36,\), and its layer"),
        (changed(**{"0_weight": "all"}), "does not work"),
    ],
)
def test_weights_that_are_not_those_of_the_layers_are_refused_in_a_sentence(value, words):
    with pytest.raises(Refused, match=words) as found:
        rebuilt(value, SHAPE, ())
    assert len(str(found.value)) < 300 and "\n" not in str(found.value)


def test_weights_in_another_precision_are_taken():
    held = across(small())["weights"]
    halves = {n: w.half() if w.is_floating_point() else w for n, w in held.items()}
    assert rebuilt(forged(weights=halves), SHAPE, ())[0].weight.dtype == torch.float32


def forged(**changes):
    value = across(small())
    return {**value, **changes}


FIVE = [nn.Conv2d(40, 40, 3, padding=1) for _ in range(5)]
CONV = ("Conv2d", 1, 1024, 3, {"padding": 32})


@pytest.mark.parametrize(
    "value, words",
    [
        (None, "does not work"),
        ({"layers": []}, "does not work"),
        (forged(weights={}), "are missing"),
        (forged(layers=[("Flatten",)] * 201), "more than 200 parts"),
        (forged(weights={"0.weight": torch.zeros(500, 500)}), "more than 200,000 weights"),
        (forged(layers=[["Sequential", {}]]), "of kind 'Sequential', and that is none"),
        (forged(layers=[["Conv2d", {"device": "cpu"}]]), "cannot be made"),
        (forged(layers=[CONV]), "more than 65,536 numbers of an image"),
        (across(nn.Sequential(nn.Conv2d(1, 40, 3, padding=16), *FIVE)), "50 million"),
        (
            forged(weights={n: t + 0j for n, t in across(small())["weights"].items()}),
            "is of type torch.complex64",
        ),
        (across(nn.Sequential(nn.Conv2d(1, 4, 9))), "does not work on an image of 1×8×8: Calculat"),
        (across(nn.Sequential(nn.Conv2d(1, 4, 3))), r"it makes \(1, 4, 6, 6\)"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_a_sentence(value, words):
    with pytest.raises(Refused, match=words) as found:
        rebuilt(value, SHAPE, ())
    assert len(str(found.value)) < 300 and "\n" not in str(found.value)


ONE = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10))
IN_DISGUISE = nn.Sequential(nn.Conv2d(1, 200, 8), nn.ReLU(), nn.Conv2d(200, 10, 1), nn.Flatten())
AROUND_NOTHING = nn.Sequential(Residual(nn.ReLU()), nn.Flatten(), nn.Linear(64, 10))


@pytest.mark.parametrize(
    "network, structure, words",
    [
        (ONE, "convolutions", "1 convolutions"),
        (IN_DISGUISE, "convolutions", "0 convolutions"),
        (ONE, "no large linear layer", "a linear layer has 1,440 weights"),
        (IN_DISGUISE, "no large linear layer", "a linear layer has 12,800 weights"),
        (ONE, "shortcut", "no shortcut around a convolution"),
        (AROUND_NOTHING, "shortcut", "no shortcut around a convolution"),
    ],
)
def test_a_network_of_another_structure_is_refused(network, structure, words):
    with pytest.raises(Refused, match=words):
        rebuilt(across(network), SHAPE, (structure,))
    rebuilt(across(small()), SHAPE, (structure,))


def bright(rng):
    """Images of two classes: is there more light above or below?"""
    images = torch.from_numpy(rng.normal(size=(300, *SHAPE)).astype(np.float32)) * 0.1
    labels = torch.from_numpy(rng.integers(0, 2, 300))
    images[labels == 1, :, :4] += 1
    images[labels == 0, :, 4:] += 1
    yield Case("good", (images, labels))


TASK = Task(
    id="t-weights",
    kind="weights",
    entry="network",
    points={"better than chance": 2, "good": 3},
    bands={"better than chance": 0.7, "good": 0.95},
    reference=lambda: None,
    cases=bright,
)


def reader():
    """A network that reads `bright`, made without training."""
    conv, norm = nn.Conv2d(1, 1, (4, 8), (4, 1), bias=False), nn.BatchNorm2d(1)
    conv.weight.data.fill_(1 / 32)
    norm.running_mean.fill_(0.5)
    last = nn.Linear(2, 2)
    last.weight.data[:] = torch.tensor([[-1.0, 1.0], [1.0, -1.0]])
    last.bias.data.zero_()
    return nn.Sequential(conv, norm, nn.Sigmoid(), nn.Flatten(), last)


def test_a_network_earns_its_bands():
    assert examine(TASK, {"network": reader()}).points == 5
    network = reader()
    network[1].running_mean.fill_(1e4)  # everything looks alike
    found = examine(TASK, {"network": network})
    assert found.points == 0 and "the same class for every image" in found.problem
    assert "In training mode it does better" in found.hint


def test_a_network_earns_what_it_is_small_enough_for_and_its_figures_are_told():
    points = {**TASK.points, "small": 4, "tiny": 5}
    bands = {**TASK.bands, "small": 0.7, "tiny": 0.7}
    limits = {"small": {"MACs": 100}, "tiny": {"MACs": 100, "parameters": 20}}
    task = replace(TASK, points=points, bands=bands, limits=limits)
    found = examine(task, {"network": reader()})
    assert found.figures == {"accuracy": 1.0, "MACs": 32 * 2 + 4, "parameters": 32 + 2 + 6}
    assert found.points == 9
    assert found.problem == "`network` has 40 parameters, and 20 are the most for 'tiny'."
    assert "accuracy 100.0%, 68 MACs, 40 parameters." in found.text()
    network = reader()
    network[1].running_mean.fill_(1e4)
    assert examine(task, {"network": network}).points == 0
    assert examine(TASK, {"network": reader()}).figures == {}


def test_limits_are_for_parts_of_this_kind():
    with pytest.raises(ValueError, match="`limits` is for parts"):
        replace(TASK, limits={"other": {"MACs": 3}})


def test_a_network_that_was_trained_on_another_scale_is_told_so():
    network = reader()  # is it lighter above than at half of 255?
    network[1].running_mean.fill_(127.5)
    network[4].weight.data[:] = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    network[4].bias.data[:] = torch.tensor([0.5, 0.0])
    assert "images of 0 to 255" in examine(TASK, {"network": network}).hint


def test_predictions_are_no_network():
    found = examine(TASK, {"network": lambda images: images.mean((1, 2, 3)) > 0})
    told = "`network`: expected a trained nn.Module, and this is of type function."
    assert found.points == 0 and found.problem == told


# --- the data of assignments 3 to 5 ---


def test_no_image_of_grading_is_asked_twice():
    first, second = (moved_digits(np.random.default_rng(seed)).images for seed in (1, 2))
    assert first.shape == (706, 1, 16, 16) and first.min() >= 0 and first.max() <= 1
    assert (first != second).flatten(1).any(1).all()


def test_what_knows_no_convolution_stays_below_the_first_band():
    """A linear layer, class means, and the nearest of as many images as a network may hold."""
    torch.manual_seed(0)
    unseen, train = moved_digits(np.random.default_rng(0)), digits("train", 16)
    images = torch.cat([moved(train.images) for _ in range(10)]).flatten(1)
    labels, asked = train.labels.repeat(10), unseen.images.flatten(1)
    means = torch.stack([images[labels == c].mean(0) for c in range(10)])
    linear = nn.Linear(256, 10)
    optimizer = torch.optim.Adam(linear.parameters(), 3e-3)
    for _ in range(4):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(linear(images[batch]), labels[batch]).backward()
            optimizer.step()
    found = {
        "linear": linear(asked).argmax(1),
        "means": torch.cdist(asked, means).argmin(1),
        "nearest": labels[torch.cdist(asked, images).argmin(1)],
    }
    first = min(min(task.bands.values()) for task in TRAINING)
    for name, given in found.items():
        share = (given == unseen.labels).float().mean().item()
        assert 0.1 < share < first - 0.03, f"{name}: {share:.1%}"


@pytest.mark.slow
@pytest.mark.parametrize("task", TRAINING, ids=lambda task: task.id)
def test_a_right_network_keeps_its_points_under_a_hundred_keys(task):
    network = task.reference()
    shares = []
    for key in range(100):
        unseen = moved_digits(np.random.default_rng(key))
        with torch.no_grad():
            right = network(unseen.images).argmax(1) == unseen.labels
        shares.append(right.float().mean().item())
    assert min(shares) >= max(task.bands.values())


def test_training_leaves_the_generator_of_whoever_calls_it_alone():
    network, before = nn.Sequential(nn.Flatten(), nn.Linear(256, 10)), torch.get_rng_state()
    trained(network, epochs=1)
    assert torch.equal(before, torch.get_rng_state())


def test_a_task_of_this_kind_has_bands():
    with pytest.raises(ValueError, match="one band a part"):
        replace(TASK, bands={})
