"""The kinds of task beside functions and values: modules, predictions, source text."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cnnlab.checks import Case, Finding, Misconception, Task, examine


class Scaled(nn.Module):
    """A convolution, batch normalization, and the input added."""

    def __init__(self, channels, relu=True, names=("conv", "bn"), skip=True):
        super().__init__()
        self.names = names
        self.relu, self.skip = relu, skip
        setattr(self, names[0], nn.Conv2d(channels, channels, 3, padding=1))
        setattr(self, names[1], nn.BatchNorm2d(channels))

    def forward(self, x):
        conv, bn = (getattr(self, name) for name in self.names)
        y = bn(conv(x)) + (x if self.skip else 0)
        return y.relu() if self.relu else y


def block_cases(rng):
    for part, training in [("evaluation", False), ("training", True)]:
        x = torch.from_numpy(rng.normal(size=(2, 3, 4, 5)).astype(np.float32))
        yield Case(part, (3,), inputs=(x,), training=training)


BLOCK = Task(
    id="t-block",
    kind="module",
    entry="Block",
    points={"evaluation": 2, "training": 3},
    reference=Scaled,
    cases=block_cases,
    misconceptions=(
        Misconception("relu missing", lambda c: Scaled(c, relu=False), "End with a ReLU."),
        Misconception("skip missing", lambda c: Scaled(c, skip=False), "Add the input."),
        Misconception("too narrow", lambda c: Scaled(c - 1), "Keep the channels."),
    ),
)


def block(entry):
    return examine(BLOCK, {"Block": entry})


def test_a_module_is_given_the_weights_of_the_question():
    assert block(Scaled).points == 5
    assert block(lambda channels: Scaled(channels)).points == 5


def test_a_wrong_module_is_explained_by_its_misconception():
    found = block(lambda channels: Scaled(channels, relu=False))
    assert (found.points, found.misconception) == (0, "relu missing")
    assert "`Block(3)` on 2×3×4×5 tensor, in evaluation mode" in " ".join(found.problem.split())


def test_a_module_that_does_not_fit_is_explained_by_its_misconception():
    assert block(lambda channels: Scaled(channels - 1)).misconception == "too narrow"
    assert block(lambda channels: Scaled(channels + 1)).misconception is None


def test_statistics_of_the_batch_in_evaluation_cost_that_part_only():
    class Always(Scaled):
        def train(self, mode=True):
            return super().train(True)

    assert block(Always).points == 3


@pytest.mark.parametrize(
    "entry, words",
    [
        (lambda c: Scaled(c, names=("conv1", "bn")), "has no parameter `conv.weight`; keep the"),
        (lambda c: nn.Sequential(), "has no parameter `conv.weight`"),
        (lambda c: torch.relu, "expected an nn.Module, got an object of type builtin"),
        (lambda c: Scaled(c + 1), "`conv.weight`: expected shape (3, 3, 3, 3), got (4, 4, 3, 3)"),
        (lambda: Scaled(3), "raised TypeError"),
        (3, "no longer a function"),
    ],
)
def test_a_module_that_does_not_fit_is_refused_in_words(entry, words):
    found = block(entry)
    assert found.points == 0 and words in found.problem


def test_a_module_with_more_parameters_is_refused():
    class More(Scaled):
        def __init__(self, channels):
            super().__init__(channels)
            self.extra = nn.Linear(1, 1)

    assert "has a parameter `extra.weight` that it should not have" in block(More).problem


PREDICT = Task(
    id="t-predict",
    kind="predictions",
    entry="predict",
    points={"better than chance": 2, "good": 3},
    bands={"better than chance": 0.5, "good": 0.9},
    reference=lambda images: (images.mean((1, 2)) > 0).long(),
    cases=lambda rng: [
        Case("good", (torch.from_numpy(rng.normal(size=(200, 4, 4)).astype(np.float32)),))
    ],
)


def right_on(share):
    """A predictor that is right on a share of the images."""

    def predict(images):
        truth = (images.mean((1, 2)) > 0).long()
        wrong = torch.arange(len(truth)) >= share * len(truth)
        return torch.where(wrong, 1 - truth, truth)

    return predict


@pytest.mark.parametrize("share, points", [(1.0, 5), (0.9, 5), (0.89, 2), (0.5, 2), (0.4, 0)])
def test_predictions_earn_points_in_bands(share, points):
    assert examine(PREDICT, {"predict": right_on(share)}).points == points


@pytest.mark.parametrize("convert", [torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.int])
def test_predictions_may_be_a_list_an_array_or_any_integers(convert):
    assert examine(PREDICT, {"predict": lambda x: convert(right_on(1)(x))}).points == 5


def test_one_class_for_all_images_is_pointed_out():
    problem = examine(PREDICT, {"predict": lambda x: torch.full((len(x),), 7)}).problem
    assert "It says the same class for every image." in problem


def test_predictions_that_follow_a_misconception_are_explained_by_it():
    swapped = Misconception("swapped", lambda x: 1 - PREDICT.reference(x), "0 and 1 are swapped.")
    task = replace(PREDICT, misconceptions=(swapped,))
    found = examine(task, {"predict": lambda x: 1 - right_on(0.95)(x)})
    assert (found.points, found.misconception) == (0, "swapped")
    assert examine(task, {"predict": lambda x: 1 - right_on(0.6)(x)}).misconception is None


@pytest.mark.parametrize(
    "predict, words",
    [
        (right_on(0.7), "is right on 70.0% of 200 images; 90% are needed for 'good'"),
        (lambda x: torch.zeros(200, 2), "expected 200 class numbers, got 200×2 tensor"),
        (lambda x: ["cat"] * 200, "expected 200 class numbers, got list of 200"),
        (lambda x: None, "expected 200 class numbers, got None"),
        (lambda x: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_predictions_that_are_not_good_enough_are_told_why(predict, words):
    assert words in examine(PREDICT, {"predict": predict}).problem


def count_loops(text, seed):
    yield Finding("a loop", "for" in text, "There is no loop.")
    yield Finding("a sum", "+=" in text, "Nothing is summed up.")


SOURCE = Task(
    id="t-source",
    kind="source",
    entry="kernel",
    points={"a loop": 2, "a sum": 3},
    reference=lambda: "for (;;) x += 1;",
    examine=count_loops,
)


@pytest.mark.parametrize(
    "text, points, words",
    [
        ("for (;;) x += 1;", 5, "5 of 5"),
        ("for (;;) x = 1;", 2, "Nothing is summed up."),
        ("", 0, "There is no loop."),
        (b"for +=", 0, "`kernel` should be source text, and it is an object of type bytes."),
    ],
)
def test_source_is_examined_part_by_part(text, points, words):
    found = examine(SOURCE, {"kernel": text})
    assert found.points == points and words in found.text()


def test_all_that_is_wrong_with_a_source_is_told():
    assert "Nothing is summed up." in examine(SOURCE, {"kernel": ""}).detail


@pytest.mark.parametrize(
    "change, words",
    [
        ({"kind": "essay"}, "is none of function, module, value"),
        ({"cases": None}, "its cases do not agree"),
        ({"bands": {"good": 0.9}}, "one band a part"),
        ({"examine": count_loops}, "`examine` is for source tasks"),
    ],
)
def test_a_task_that_contradicts_itself_is_refused(change, words):
    fields = {name: getattr(PREDICT, name) for name in PREDICT.__dataclass_fields__}
    with pytest.raises(ValueError, match=words):
        Task(**fields | change)


def test_a_network_that_reads_the_batch_is_found_out():
    by_batch = {"predict": lambda x: (x.mean((1, 2)) > x.mean()).long()}
    found = examine(PREDICT, by_batch)
    assert found.points == 0 and "is the network in evaluation mode?" in found.problem
