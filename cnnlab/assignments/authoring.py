"""For those who write tasks: drawing questions, and making a right module wrong in one way."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import nn

from cnnlab.checks.task import Case, Misconception, Task
from cnnlab.data import ImageSet, digits

__all__ = ["altered", "between", "digits_task", "draw", "true_digits", "unseen_digits"]


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


@cache
def _test_digits(size: int) -> ImageSet:
    return digits("test", size)


def unseen_digits(rng: np.random.Generator, size: int) -> torch.Tensor:
    """All digits of the test split in any order, with a little noise: (N, 1, size, size).

    All of them, so that no network earns more or less by the choice.
    """
    chosen = rng.permutation(len(_test_digits(size)))
    images = _test_digits(size).images[torch.from_numpy(chosen)]
    noise = torch.from_numpy(rng.normal(0, 0.03, size=tuple(images.shape)).astype(np.float32))
    return (images + noise).clamp(0, 1)


def true_digits(images: torch.Tensor) -> torch.Tensor:
    """The classes of :func:`unseen_digits`: those of the nearest image of the test split."""
    known = _test_digits(images.shape[-1])
    return known.labels[torch.cdist(images.flatten(1), known.images.flatten(1)).argmin(1)]


def digits_task(
    task_id: str, side: int, points: tuple[float, ...], accuracies: tuple[float, ...]
) -> Task:
    """A task whose ``predict`` has to read handwritten digits that the student has not seen.

    Parameters
    ----------
    side : int
        Of the images, in pixels.
    points, accuracies : tuple of three floats
        What each band is worth, and the share of right answers that it begins at.
    """
    bands = ("better than guessing", "good", "very good")
    return Task(
        id=task_id,
        kind="predictions",
        entry="predict",
        points=dict(zip(bands, points, strict=True)),
        bands=dict(zip(bands, accuracies, strict=True)),
        reference=true_digits,
        cases=lambda rng: [Case("very good", (unseen_digits(rng, side),))],
        misconceptions=(
            Misconception(
                "counted from one",
                lambda images: true_digits(images) + 1,
                "The classes count from 0: the position of the largest score is the digit.",
            ),
        ),
    )
