"""Whether an answer can learn, keeps its state and works as asked: what its outputs do not show."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_judge import run_cell
from torch import nn

from cnnlab.checks import Case, Misconception, Task, examine


class Gated(nn.Module):
    """A convolution and a batch norm behind a gain that begins at 0, and the input added."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(channels)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x + self.gain * self.bn(self.conv(x)).relu()


def cases(rng):
    for training in (False, True):
        x = torch.from_numpy(rng.normal(size=(3, 2, 4, 5)).astype(np.float32))
        yield Case("all", (2,), inputs=(x,), training=training)


GATED = Task("t-gated", "module", "Gated", {"all": 1}, Gated, cases, initial=("gain",))


def build(change=None, forward=None):
    def make(channels):
        module = Gated(channels)
        if change:
            change(module)
        if forward:
            module.forward = lambda x: forward(module, x)
        return module

    return make


def alias(module):
    module.net = nn.Sequential(module.conv, module.bn)


def alias_before(module):
    parts = module.conv, module.bn
    del module.conv, module.bn
    module.net = nn.Sequential(*parts)
    module.conv, module.bn = parts


def in_chains(module):
    module.conv = nn.Sequential(module.conv)
    module.bn = nn.Sequential(nn.Sequential(module.bn), nn.ReLU())


@pytest.mark.parametrize(
    "change, forward",
    [
        (in_chains, None),
        (alias, lambda m, x: x + m.gain * m.net(x).relu()),
        (alias_before, None),
        (lambda m: m.register_buffer("mean", torch.zeros(3)), None),
        (None, lambda m, x: torch.addcmul(x, m.gain, m.bn(m.conv(x)).clamp(min=0))),
        (None, lambda m, x: x.add(torch.relu_(m.bn(m.conv(x))) * m.gain)),
        (
            None,
            lambda m, x: (
                torch.utils.checkpoint.checkpoint(
                    lambda t: t + m.gain * m.bn(m.conv(t)).relu(), x, use_reentrant=False
                )
                if not m.training
                else Gated.forward(m, x)
            ),
        ),
    ],
)
def test_style_does_not_matter(change, forward):

    found = examine(GATED, {"Gated": build(change, forward)})
    assert found.points == 1, found.text()


def frozen_statistics(m, x):
    bn = m.bn
    by_batch = torch.nn.functional.batch_norm(
        m.conv(x), bn.running_mean.clone(), bn.running_var.clone(), bn.weight, bn.bias, m.training
    )
    return x + m.gain * by_batch.relu()


def two_in_a_chain():
    return nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1))


def in_place(m, x):
    y = m.bn(m.conv(x)).relu()
    y_squared = y * y  # its backward pass needs y
    y += 1
    return x + m.gain * (y - 1) + 0 * y_squared


@pytest.mark.parametrize(
    "change, forward, words",
    [
        (None, torch.no_grad()(Gated.forward), "no gradient reaches `gain`"),
        (None, lambda m, x: Gated.forward(m, x).detach(), "no gradient reaches"),
        (None, lambda m, x: x + m.gain.item() * m.bn(m.conv(x)).relu(), "reaches `gain`"),
        (None, lambda m, x: x.data + m.gain * m.bn(m.conv(x)).relu(), "reaches the input is"),
        (None, in_place, "changed in place"),
        (None, frozen_statistics, "after one call `bn.running_mean`"),
        (lambda m: setattr(m.bn, "momentum", 0.9), None, "after one call `bn.running_mean`"),
        (lambda m: nn.init.ones_(m.gain), None, "new module's `gain` is not what the text says"),
        (lambda m: nn.init.zeros_(m.conv.weight), None, "weights of `conv.weight` begin alike"),
        (lambda m: m.conv.requires_grad_(False), None, "`conv.weight` requires no gradient"),
        (None, lambda m, x: x.add_(m.gain * m.bn(m.conv(x)).relu()), "changed its input"),
        (lambda m: setattr(m, "extra", nn.Linear(1, 1)), None, "has a parameter `extra.weight`"),
        (None, lambda m, x: x + m.gain * m.conv(m.bn(x)).relu(), "what reaches `conv` differs"),
        (in_chains, lambda m, x: x + m.gain * m.bn(2 * m.conv(x)), "reaches `bn` differs"),
        (lambda m: setattr(m.bn, "bias", m.bn.weight), None, "`bn.bias` are one and the same"),
        (lambda m: setattr(m, "conv", two_in_a_chain()), None, "has no parameter `conv.weight`"),
        (None, lambda m, x: x - m.gain * m.bn(m.conv(x)).relu(), "what comes after differs"),
        (lambda m: setattr(m.conv, "padding_mode", "reflect"), None, "`conv` gets the right input"),
        (None, lambda m, x: Gated.forward(m, x) if len(x) > 1 else x, "an image alone gives"),
    ],
)
def test_what_cannot_learn_or_forgets_is_refused_in_words(change, forward, words):
    found = examine(GATED, {"Gated": build(change, forward)})
    assert found.points == 0 and words in found.problem, found.problem


def test_parameters_in_a_plain_list_are_told_from_renamed_ones():
    class Many(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.convs = nn.ModuleList([nn.Conv2d(channels, channels, 1)])

        def forward(self, x):
            return self.convs[0](x)

    def plain(channels):
        module = Many(channels)
        convs = list(module.convs)
        del module.convs
        module.convs = convs
        return module

    task = replace(GATED, entry="Many", reference=Many, initial=())
    assert (
        "plain list, in which PyTorch sees no parameters" in examine(task, {"Many": plain}).problem
    )


def test_a_mistake_in_learning_alone_is_named_too():
    silent = Misconception("detached", build(None, torch.no_grad()(Gated.forward)), "Let it learn.")
    task = replace(GATED, misconceptions=(silent,))
    found = examine(task, {"Gated": build(None, lambda m, x: Gated.forward(m, x).detach())})
    assert found.misconception == "detached"
    assert examine(task, {"Gated": Gated}).misconception is None


def sum_cases(rng):
    yield Case("all", (torch.from_numpy(rng.normal(size=(3, 4)).astype(np.float32)),))


SUM = Task(
    "t-sum", "function", "f", {"all": 1}, lambda x: x.sum(), sum_cases, compared=("gradients",)
)


@pytest.mark.parametrize(
    "answer, words",
    [
        (lambda x: x.flatten() @ torch.ones(x.numel()), ""),
        (lambda x: x.sum().item(), "expected a tensor, got"),
        (lambda x: x.detach().sum(), "no gradient reaches argument 1"),
        (lambda x: 2 * x.sum() - x.sum().detach(), "gradient that reaches argument 1 is another"),
        (lambda x: None, "returned None"),
    ],
)
def test_a_function_that_has_to_be_differentiable(answer, words):
    found = examine(SUM, {"f": answer})
    assert (found.points == 1) is (words == "") and words in found.problem


def test_a_result_that_must_not_require_a_gradient():
    task = replace(SUM, compared=("no gradient",))
    assert examine(task, {"f": lambda x: x.sum()}).points == 1
    found = examine(task, {"f": lambda x: x.sum().requires_grad_()})
    assert found.points == 0 and "torch.no_grad()" in found.problem


def joined_cases(rng):
    parts = [torch.from_numpy(rng.normal(size=(2, 3, 4)).astype(np.float32)) for _ in range(2)]
    yield Case("all", (parts,))


JOINED = Task(
    "t-joined",
    "function",
    "f",
    {"all": 1},
    lambda parts: sum(parts).sum(1),
    joined_cases,
    forbidden=("joining",),
)


@pytest.mark.parametrize(
    "code, right",
    [
        ("def f(parts): return sum(parts).sum(1)", True),
        ("def f(parts): return sum(p.sum(1) for p in parts)", True),
        ("def f(parts): return torch.cat(parts, 1).sum(1)", False),
        ("def f(parts): return torch.vstack(parts).unflatten(0, (2, 2)).sum((0, 2))", False),
        (
            "def f(parts):\n    room = parts[0].new_empty(2, 6, 4)\n"
            "    room[:, :3], room[:, 3:] = parts\n    return room.sum(1)",
            False,
        ),
    ],
)
def test_laying_together_is_seen_whatever_its_name(code, right):
    found = examine(JOINED, run_cell(code))
    assert (found.points == 1) is right and (right or "lays its arguments" in found.problem)
