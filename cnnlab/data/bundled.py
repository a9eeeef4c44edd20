"""The 1,797 handwritten digits that scikit-learn ships."""

from random import Random
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from cnnlab.data.image_set import ImageSet
from cnnlab.data.packages import shipped_file

__all__ = ["digits"]

SPLITS = ("train", "validation", "test")


def digits(
    split: Literal["train", "validation", "test", "all"] = "train", size: int = 8
) -> ImageSet:
    """1,797 real handwritten digits, in three fixed splits.

    The splits hold 1,266 / 178 / 353 images and are the same on every machine and in every version.
    The file comes form by form (one sequence of about 130 labels returns 14 times), so cutting
    it in order would test on hands that training never saw. Instead, of each ten consecutive
    images of a class, seven go to train, one to validation and two to test, in an order drawn
    once from a fixed seed. Every split therefore has all classes alike *and all writers*: its
    accuracy speaks of new digits by the same 13 hands, not of new hands.

    Parameters
    ----------
    split
        Which part; ``"all"`` is the whole file in its own order.
    size
        Height and width. The images are 8×8; a larger size is resampled from them
        bilinearly (which adds pixels, not detail), e.g. 28 for a network made for MNIST.

    Returns
    -------
    ImageSet
        Images (N, 1, size, size), float32 in [0, 1], white ink on black; labels 0 to 9.

    Raises
    ------
    ValueError
        If the split is unknown or the size is below 8.

    Notes
    -----
    Source: the test part of Alpaydin and Kaynak, *Optical Recognition of Handwritten Digits*,
    UCI Machine Learning Repository, 1998, doi:10.24432/C50P49 (CC BY 4.0). Each pixel counts
    the ink in a 4×4 block of the 32×32 scan, 0 to 16; here it is divided by 16.
    """
    if split != "all" and split not in SPLITS:
        raise ValueError(f"split {split!r} is none of {', '.join([*SPLITS, 'all'])}")
    if size < 8:
        raise ValueError(f"size {size} is below the 8 pixels that the digits have")
    # Importing scikit-learn takes a second; reading its file takes none of it.
    file = shipped_file("sklearn", "datasets/data/digits.csv.gz", "scikit-learn")
    table = torch.from_numpy(np.loadtxt(file, delimiter=",", dtype=np.float32))
    images, labels = table[:, :-1].reshape(-1, 1, 8, 8) / 16, table[:, -1].long()
    if split != "all":
        chosen = torch.tensor(_split_indices(labels.tolist())[split])
        images, labels = images[chosen], labels[chosen]
    if size != 8:
        images = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
    return ImageSet(images, labels, [str(digit) for digit in range(10)], f"digits ({split})")


def _split_indices(labels: list[int], seed: int = 0) -> dict[str, list[int]]:
    """File positions of each split, ascending: every ten of a class in file order cut 7, 1, 2.

    Sorting by ``Random.random()`` rather than shuffling keeps the splits fixed: only that
    method's sequence is promised not to change from one Python to the next.
    """
    random = Random(seed)
    splits = {name: [] for name in SPLITS}
    for digit in range(10):
        positions = [i for i, label in enumerate(labels) if label == digit]
        for start in range(0, len(positions), 10):
            ten = sorted(positions[start : start + 10], key=lambda _: random.random())
            splits["train"] += ten[:7]
            splits["validation"] += ten[7:8]
            splits["test"] += ten[8:]
    return {name: sorted(positions) for name, positions in splits.items()}
