"""For those who write tasks: drawing questions, and making a right module wrong in one way."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import nn

from cnnlab.checks.task import Case, Task
from cnnlab.data import ImageSet, digits, moved

__all__ = ["altered", "between", "digits_task", "draw", "moved_digits", "trained"]


def draw(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    """Numbers of which no two are alike, and none is 0: with two decimals, as long as that is few.

    Few numbers are easy to read in feedback; many of two decimals could not all be different.
    """
    size = int(np.prod(shape))
    found, decimals = np.zeros(0), 2 if size <= 60 else 4
    while len(found) < size:
        more = rng.normal(size=size).round(decimals)
        found = np.concatenate([found, more[more != 0]])
        found = found[np.sort(np.unique(found, return_index=True)[1])][:size]
    return torch.from_numpy(found.reshape(shape).astype(np.float32))


def between(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number, both ends included."""
    return int(rng.integers(low, high + 1))


def altered(build: Callable, forward: Callable | None = None, **parts: Callable) -> Callable:
    """A builder like ``build`` of modules that are wrong in one way.

    Parameters
    ----------
    forward : callable
        What the module does instead: ``forward(module, *inputs)``.
    **parts
        Modules to put in place of those of that name, made from the builder's arguments:
        ``conv=lambda i, o: nn.Conv2d(i, o, 3, bias=False)``.
    """

    def answer(*args, **kwargs) -> nn.Module:
        module = build(*args, **kwargs)
        for name, make in parts.items():
            setattr(module, name, make(*args, **kwargs))
        if forward is not None:
            module.forward = lambda *inputs: forward(module, *inputs)
        return module

    return answer


def moved_digits(rng: np.random.Generator) -> ImageSet:
    """The digits of the test split in 16×16, each `moved` twice."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    known = digits("test", 16)
    images = torch.cat([moved(known.images, generator) for _ in range(2)])
    # Half precision is all that the student's edition keeps of them.
    return ImageSet(images.half().float(), known.labels.repeat(2), known.classes, "moved digits")


def trained(network: nn.Module, epochs: int = 16, rate: float = 0.01, seed: int = 0) -> nn.Module:
    """A network that has learned to read moved digits, in some seconds."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        train = digits("train", 16)
        optimizer = torch.optim.AdamW(network.parameters(), rate)
        steps = epochs * -(-len(train) // 32)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
        for _ in range(epochs):
            for batch in torch.randperm(len(train)).split(32):
                scores = network(moved(train.images[batch]))
                optimizer.zero_grad()
                nn.functional.cross_entropy(scores, train.labels[batch]).backward()
                optimizer.step()
                schedule.step()
    return network.eval()


def digits_task(
    task_id: str,
    build: Callable[[], nn.Module],
    points: tuple[float, ...],
    accuracies: tuple[float, ...],
    structure: tuple[str, ...],
) -> Task:
    """A task whose ``network`` has to read moved digits that the student has not seen.

    Parameters
    ----------
    build : callable
        Makes a network that can learn it.
    points, accuracies : tuple of three floats
        What each band is worth, and the share of right answers that it begins at.
    structure : tuple of str
        As a `Task` has it.
    """
    bands = ("better than guessing", "good", "very good")

    def cases(rng):
        unseen = moved_digits(rng)
        yield Case("very good", (unseen.images, unseen.labels))

    return Task(
        id=task_id,
        kind="weights",
        entry="network",
        points=dict(zip(bands, points, strict=True)),
        bands=dict(zip(bands, accuracies, strict=True)),
        structure=structure,
        reference=cache(lambda: trained(build())),
        cases=cases,
    )
